package vulndb

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app/vulndbadmin"
	"github.com/berth-registry/berth/internal/app/vulndbfetch"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var start = time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check opens a database, as the worker process does. Commands of a test come one
// after the other, and a process has one open database at most.
func check(ctx context.Context, dir string) (match.Metadata, error) {
	db, err := match.Open(dir)
	if err != nil {
		return match.Metadata{}, err
	}
	return db.Metadata(), errors.Join(db.Check(ctx), db.Close())
}

// archive is a published archive of a database of an age.
func archive(t *testing.T, age time.Duration) []byte {
	t.Helper()
	db, err := matchtest.PerlDB()
	must(t, err)
	db.UpdatedAt, db.NextUpdate = start.Add(-age), start.Add(6*time.Hour-age)
	dir := t.TempDir()
	must(t, matchtest.Write(dir, db))
	b, err := matchtest.Archive(dir)
	must(t, err)
	return b
}

// push puts an artifact with an archive into a registry.
func push(t *testing.T, r *upstreamtest.Registry, content []byte) name.Digest {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": layout.MediaTypeOCI,
		"config": map[string]any{"mediaType": layout.MediaTypeConfig, "digest": r.PutBlob("trivy-db", []byte("{}")), "size": 2},
		"layers": []any{map[string]any{"mediaType": layout.MediaTypeLayer, "digest": r.PutBlob("trivy-db", content), "size": len(content)}},
	})
	must(t, err)
	return name.Digest(r.PutManifest("trivy-db", "2", layout.MediaTypeOCI, body))
}

// serve serves the administration socket of a data directory.
func serve(t *testing.T, change func(*vulndb.Config)) (data string, clk *clock.Fake) {
	t.Helper()
	store := memory.New()
	clk = clock.NewFake(start)
	c := vulndb.Config{
		DB: sqldbtest.SQLite(t), Store: func() blobstore.Store { return store }, Dir: t.TempDir(), Clock: clk, Log: slog.New(slog.DiscardHandler),
		Check: check, MaxAge: 7 * 24 * time.Hour,
	}
	if change != nil {
		change(&c)
	}
	s, err := vulndb.New(c)
	must(t, err)
	data = t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(data, "admin.sock"))
	must(t, err)
	mux := http.NewServeMux()
	vulndbadmin.Service{Databases: s}.Routes(mux)
	server := &http.Server{Handler: mux}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		must(t, server.Close())
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return data, clk
}

// run runs a command line, as the program does, and returns what it prints.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	var root struct {
		VulnDB Command `cmd:"" name:"vulndb"`
	}
	parser, err := kong.New(&root, kong.BindTo(t.Context(), (*context.Context)(nil)), kong.BindTo(io.Writer(&out), (*io.Writer)(nil)))
	must(t, err)
	parsed, err := parser.Parse(append([]string{"vulndb"}, args...))
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

func has(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s\nhas no %q", text, w)
		}
	}
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := run(t, args...)
	if err != nil {
		t.Fatalf("berth vulndb %s: %v", strings.Join(args, " "), err)
	}
	return out
}

func write(t *testing.T, file string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), file)
	must(t, os.WriteFile(path, content, 0o644))
	return path
}

// TestWithoutInternet fetches on one machine and imports on another.
func TestWithoutInternet(t *testing.T) {
	data, clk := serve(t, nil)
	has(t, mustRun(t, "status", "--data", data), "Database  none", "No vulnerability database: run berth vulndb fetch -o FILE on a machine with internet and berth vulndb import FILE here.", "no automatic refresh")

	r := upstreamtest.New(t)
	content := archive(t, time.Hour)
	manifest := push(t, r, content)
	file := filepath.Join(t.TempDir(), "trivy-db.tar")
	has(t, mustRun(t, "fetch", "-o", file, "--source", r.Host()+"/trivy-db:2", "--plain-http"), "Wrote "+file, r.Host()+"/trivy-db:2", "berth vulndb import trivy-db.tar")
	has(t, mustRun(t, "import", file, "--data", data), "The vulnerability database "+string(name.SHA256(content)), "made 2026-01-02 23:00", "is in use")
	has(t, mustRun(t, "status", "--data", data), "Database", string(name.SHA256(content)), "schema", "2026-01-02 23:00 (1 h ago)", "2026-01-03 05:00", "2026-01-03 00:00 from "+file, "KiB", "on this node", "yes")
	var st vulndbadmin.Status
	must(t, json.Unmarshal([]byte(mustRun(t, "status", "--json", "--data", data)), &st))
	if st.Current == nil || st.Current.Manifest != manifest || st.Current.Size != int64(len(content)) || st.AgeSeconds != 3600 || !st.Unpacked || st.Sources == nil || st.Former != nil || st.Stale {
		t.Errorf("%+v", st)
	}

	out := mustRun(t, "import", file, "--data", data)
	has(t, out, "in use already")
	if strings.Contains(out, "old") {
		t.Error(out)
	}
	old := write(t, "db.tar.gz", archive(t, 8*24*time.Hour))
	if _, err := run(t, "import", old, "--data", data); err == nil {
		t.Error("an older one is taken")
	} else {
		has(t, err.Error(), "before the one in use", "--older")
	}
	has(t, mustRun(t, "import", old, "--older", "--data", data), "made 2025-12-26 00:00", "It is old")
	has(t, mustRun(t, "status", "--data", data), "8 days ago, too old", "Former", "The database is old: run berth vulndb fetch")
	has(t, mustRun(t, "former", "--data", data), string(name.SHA256(content)))
	var done vulndbadmin.Changed
	must(t, json.Unmarshal([]byte(mustRun(t, "former", "--json", "--data", data)), &done))
	if done.Database.Digest == name.SHA256(content) || !done.Stale || !done.New {
		t.Errorf("%+v", done)
	}
	clk.Advance(time.Minute)

	for what, c := range map[string]struct{ file, want string }{
		"text":      {write(t, "text", []byte("hello")), "neither a gzip nor a tar"},
		"cut off":   {write(t, "cut", content[:len(content)/2]), "ends early"},
		"directory": {t.TempDir(), "no oci-layout"},
		"none":      {filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		_, err := run(t, "import", c.file, "--data", data)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := run(t, "refresh", "--data", data); err == nil {
		t.Error("there are no sources to ask")
	} else {
		has(t, err.Error(), "no sources", "berth vulndb import")
	}
	if _, err := run(t, "status", "--data", t.TempDir()); err == nil {
		t.Error("there is no server")
	} else {
		has(t, err.Error(), "no server is running", "berth serve --data")
	}
}

// TestDirectory imports an OCI layout in a directory.
func TestDirectory(t *testing.T) {
	data, _ := serve(t, nil)
	content := archive(t, time.Hour)
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755))
	blob := func(content []byte) (name.Digest, int) {
		d := name.SHA256(content)
		must(t, os.WriteFile(filepath.Join(dir, "blobs", "sha256", d.Hex()), content, 0o644))
		return d, len(content)
	}
	text := func(v any) []byte {
		b, err := json.Marshal(v)
		must(t, err)
		return b
	}
	d, size := blob(content)
	d, size = blob(text(map[string]any{
		"schemaVersion": 2, "mediaType": layout.MediaTypeDocker, "config": map[string]any{"mediaType": layout.MediaTypeConfig, "digest": name.SHA256([]byte("{}")), "size": 2},
		"layers": []any{map[string]any{"mediaType": layout.MediaTypeLayer, "digest": d, "size": size}},
	}))
	must(t, os.WriteFile(filepath.Join(dir, "index.json"), text(map[string]any{"manifests": []any{map[string]any{"mediaType": layout.MediaTypeDocker, "digest": d, "size": size}}}), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	has(t, mustRun(t, "import", dir, "--data", data), string(name.SHA256(content)))
	has(t, mustRun(t, "status", "--data", data), "from "+dir)
}

// TestSources has the server ask a registry.
func TestSources(t *testing.T) {
	r := upstreamtest.New(t)
	f := vulndbfetch.New(vulndbfetch.Config{Upstream: upstreamtest.Config(r), Pause: time.Millisecond})
	t.Cleanup(f.Close)
	ref := r.Host() + "/trivy-db:2"
	data, _ := serve(t, func(c *vulndb.Config) { c.Sources, c.Fetch, c.Resolve = []string{ref}, f.Fetch, f.Resolve })
	has(t, mustRun(t, "status", "--data", data), ref, "never", "fetched soon")
	if _, err := run(t, "refresh", "--data", data); err == nil {
		t.Error("the source has nothing")
	} else {
		has(t, err.Error(), ref)
	}
	has(t, mustRun(t, "status", "--data", data), "2026-01-03 00:00, failed: "+ref, "No vulnerability database: run berth vulndb fetch")
	content := archive(t, time.Hour)
	push(t, r, content)
	has(t, mustRun(t, "refresh", "--data", data), string(name.SHA256(content)))
	has(t, mustRun(t, "refresh", "--data", data), string(name.SHA256(content)), "nothing newer")
	has(t, mustRun(t, "status", "--data", data), ref+" answered", "from "+ref)
}

func TestFetch(t *testing.T) {
	r := upstreamtest.NewTLS(t)
	content := archive(t, time.Hour)
	manifest := push(t, r, content)
	ca := write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Server.Certificate().Raw}))
	dir := t.TempDir()
	file := filepath.Join(dir, "db.tar")
	must(t, os.WriteFile(file, []byte("the one before"), 0o600))
	ref := r.Host() + "/trivy-db:2"
	unchanged := func() {
		t.Helper()
		entries, err := os.ReadDir(dir)
		must(t, err)
		b, err := os.ReadFile(file)
		must(t, err)
		if len(entries) != 1 || string(b) != "the one before" {
			t.Errorf("%v, %d bytes", entries, len(b))
		}
	}
	for _, args := range [][]string{
		{"--source", ref}, // an authority that nobody knows
		{"--source", r.Host() + "/other:2", "--ca", ca},               // a repository that is not there
		{"--source", "nonsense"},                                      // no reference
		{"--source", ref, "--ca", filepath.Join(dir, "none")},         // no authorities
		{"--source", r.Host() + "/trivy-db:2", "--ca", ca, "--bogus"}, // no flag
	} {
		if _, err := run(t, append([]string{"fetch", "-o", file}, args...)...); err == nil {
			t.Errorf("%q succeeds", args)
		}
		unchanged()
	}
	remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: name.SHA256(content).Hex(), Corrupt: true})
	if _, err := run(t, "fetch", "-o", file, "--source", ref, "--ca", ca); err == nil {
		t.Error("a damaged archive is taken")
	}
	unchanged()
	remove()
	var done Fetched
	must(t, json.Unmarshal([]byte(mustRun(t, "fetch", "-o", file, "--source", r.Host()+"/other:2", "--source", ref, "--ca", ca, "--json")), &done))
	info, err := os.Stat(file)
	must(t, err)
	if done.Digest != manifest || done.Source != ref || done.File != file || done.Size != info.Size() || info.Mode().Perm() != 0o644 {
		t.Errorf("%+v, %v", done, info.Mode())
	}
	data, _ := serve(t, nil)
	has(t, mustRun(t, "import", file, "--data", data), string(name.SHA256(content)))
}
