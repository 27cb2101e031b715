package vulndb_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb/layout"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var start = time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)

// made is when the n-th database was made: the later, the greater n.
func made(n int) time.Time { return start.Add(time.Duration(n-10) * time.Hour) }

// opened is held while a database is open: a process has at most one.
type opened struct{ mu sync.Mutex }

// check opens a database and looks through it, as the worker process does.
func (o *opened) check(ctx context.Context, dir string) (match.Metadata, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	db, err := match.Open(dir)
	if err != nil {
		return match.Metadata{}, err
	}
	return db.Metadata(), errors.Join(db.Check(ctx), db.Close())
}

var one opened // of the process

// archives are made once: each takes some hundredths of a second.
type archives struct {
	mu   sync.Mutex
	made map[string][]byte
}

var published archives

// database is a published archive of a database that was made at made(n).
func database(t testing.TB, n int) []byte {
	return archive(t, matchtest.DB{UpdatedAt: made(n), NextUpdate: made(n).Add(6 * time.Hour)})
}

func archive(t testing.TB, db matchtest.DB) []byte {
	t.Helper()
	published.mu.Lock()
	defer published.mu.Unlock()
	key := fmt.Sprint(db.UpdatedAt, db.NextUpdate, db.Schema, len(db.Buckets))
	if b, ok := published.made[key]; ok {
		return b
	}
	if db.Buckets == nil {
		perl, err := matchtest.PerlDB()
		must(t, err)
		db.Buckets, db.Vulnerabilities = perl.Buckets, perl.Vulnerabilities
	}
	dir := t.TempDir()
	must(t, matchtest.Write(dir, db))
	b, err := matchtest.Archive(dir)
	must(t, err)
	if published.made == nil {
		published.made = map[string][]byte{}
	}
	published.made[key] = b
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// manifest is the manifest of an artifact with the archive.
func manifest(t testing.TB, archive []byte) layout.Artifact {
	t.Helper()
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": layout.MediaTypeOCI,
		"config": map[string]any{"mediaType": layout.MediaTypeConfig, "digest": name.SHA256([]byte("{}")), "size": 2},
		"layers": []any{map[string]any{"mediaType": layout.MediaTypeLayer, "digest": name.SHA256(archive), "size": len(archive),
			"annotations": map[string]string{"org.opencontainers.image.title": "db.tar.gz"}}},
	})
	must(t, err)
	a, err := layout.ParseManifest(body, "")
	must(t, err)
	return a
}

// laidOut is an OCI layout of the archive, as a tar archive.
func laidOut(t testing.TB, archive []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, layout.Write(&b, manifest(t, archive), []byte("{}"), bytes.NewReader(archive)))
	return b.Bytes()
}

// files writes the files of a tar archive into a directory.
func files(t testing.TB, archive []byte) string {
	t.Helper()
	dir := t.TempDir()
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		must(t, err)
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(h.Name)), 0o755))
		b, err := io.ReadAll(r)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, h.Name), b, 0o644))
	}
}

func file(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(path, content, 0o644))
	return path
}

// entry is an entry of a tar archive of a test's own.
type entry struct {
	tar.Header
	content string
}

func packed(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		if e.Typeflag == tar.TypeReg {
			e.Size = int64(len(e.content))
		}
		e.Mode = 0o644
		must(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.content)
		must(t, err)
	}
	must(t, errors.Join(w.Close(), z.Close()))
	return b.Bytes()
}

// unpacked are the two files of an archive.
func unpacked(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	must(t, err)
	all := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, err)
		all[h.Name] = string(b)
	}
}

// deployment is what the nodes of a deployment share.
type deployment struct {
	t     testing.TB
	db    *sqldb.DB
	store blobstore.Store
	clk   *clock.Fake
	// changed are the databases that Changed was told of.
	mu      sync.Mutex
	changed []name.Digest
}

func deploy(t testing.TB, db *sqldb.DB) *deployment {
	return &deployment{t: t, db: db, store: memory.New(), clk: clock.NewFake(start)}
}

// node starts a node with a directory of its own.
func (d *deployment) node(change ...func(*vulndb.Config)) *node {
	d.t.Helper()
	return d.nodeOn(d.t.TempDir(), change...)
}

func (d *deployment) nodeOn(dir string, change ...func(*vulndb.Config)) *node {
	d.t.Helper()
	c := vulndb.Config{
		DB: d.db, Store: func() blobstore.Store { return d.store }, Dir: dir, Clock: d.clk, Log: slog.New(slog.DiscardHandler), Check: one.check,
		Changed: func(ctx context.Context, tx *sqldb.Tx, db vulndb.Database) error {
			tx.AfterCommit(func() {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.changed = append(d.changed, db.Digest)
			})
			return nil
		},
		Poll: 10 * time.Millisecond,
	}
	for _, f := range change {
		f(&c)
	}
	s, err := vulndb.New(c)
	must(d.t, err)
	return &node{Service: s, d: d, dir: dir}
}

func (d *deployment) told() []name.Digest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.changed)
}

// objects are the keys in the store.
func (d *deployment) objects() []string {
	d.t.Helper()
	var all []string
	for info, err := range d.store.List(context.Background(), "") {
		must(d.t, err)
		if !strings.HasPrefix(info.Key, vulndb.Prefix) {
			d.t.Errorf("the object %s has no %s", info.Key, vulndb.Prefix)
		}
		all = append(all, info.Key)
	}
	return all
}

// states are the states of the rows, sorted.
func (d *deployment) states() string {
	d.t.Helper()
	var all []string
	must(d.t, d.db.View(context.Background(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(context.Background(), tx, sqldb.One[string], `SELECT state FROM scan_database ORDER BY state`)
		return err
	}))
	return strings.Join(all, " ")
}

type node struct {
	*vulndb.Service
	d   *deployment
	dir string
}

// entries are the names in the node's directory.
func (n *node) entries() []string {
	n.d.t.Helper()
	all, err := os.ReadDir(n.dir)
	must(n.d.t, err)
	names := []string{}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// mustImport imports an archive.
func (n *node) mustImport(archive []byte) vulndb.Database {
	n.d.t.Helper()
	db, err := n.Import(context.Background(), file(n.d.t, archive), "test", vulndb.ImportOptions{})
	must(n.d.t, err)
	return db
}

// serves makes sure that the node has the archive's database in use, whole.
func (n *node) serves(archive []byte) vulndb.Database {
	n.d.t.Helper()
	db, ok, err := n.Current(context.Background())
	if err != nil || !ok || db.Digest != name.SHA256(archive) {
		n.d.t.Fatalf("the node serves %+v, %t, %v in place of %s", db, ok, err, name.SHA256(archive))
	}
	for file, content := range unpacked(n.d.t, archive) {
		if got, err := os.ReadFile(filepath.Join(db.Dir, file)); err != nil || string(got) != content {
			n.d.t.Fatalf("%s of the database has %d bytes, %v, in place of %d", file, len(got), err, len(content))
		}
	}
	return db
}

// refused makes sure that an error is a refusal that says all of want.
func refused(t testing.TB, err error, want ...string) {
	t.Helper()
	var r *vulndb.Refused
	if !errors.As(err, &r) {
		t.Fatalf("%v is no refusal", err)
	}
	for _, w := range want {
		if !strings.Contains(r.Reason, w) {
			t.Errorf("%q does not say %q", r.Reason, w)
		}
	}
}

// eventually waits until something holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("it never came to this: " + what)
		}
	}
}
