package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app/auditadmin"
	domain "github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/audit/trails"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/trailstore"
	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const us name.AccountID = "111122223333"

// server is a server's administration of the audit trail, with a trail that has written
// a file and a digest.
type server struct {
	t     *testing.T
	root  string
	admin http.Handler
}

func start(t *testing.T) *server {
	t.Helper()
	s, db, ctx := &server{t: t, root: t.TempDir()}, sqldbtest.SQLite(t), t.Context()
	s.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	s.must(db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, '', 1)`, string(us))
		return err
	}))
	clk, log := clock.NewFake(time.Now().UTC()), slog.New(slog.DiscardHandler)
	keys, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	s.must(err)
	store, err := dir.Open(s.root)
	s.must(err)
	t.Cleanup(func() { s.must(store.Close()) })
	trail := domain.NewTrail(db, log, domain.Options{})
	service := trails.New(trails.Config{
		DB: db, Clock: clk, Log: log, Keys: keys, Records: trail, Regions: []name.Region{"eu-west-1"}, Margin: time.Nanosecond,
		Buckets: map[string]trailstore.Store{"logs": store},
	})
	home := name.Registry{Account: us, Region: "eu-west-1"}
	_, err = service.Create(ctx, trails.Create{Home: home, Name: "all", Bucket: "logs", GlobalEvents: true, Validation: true})
	s.must(err)
	s.must(service.Start(ctx, home, "all"))
	for _, event := range []string{"PutImage", "BatchDeleteImage"} {
		trail.Record(ctx, domain.Entry{
			Time: clk.Now(), EventSource: "ecr.amazonaws.com", EventName: event, Region: "eu-west-1", Account: us,
			Principal: domain.Identity{Account: us, ARN: "arn:aws:iam::111122223333:user/ann", Type: "IAMUser", UserName: "ann"},
			Resources: []string{"arn:aws:ecr:eu-west-1:111122223333:repository/app"},
		})
	}
	s.must(trail.Flush(ctx))
	s.must(service.Deliver(ctx))
	clk.Advance(time.Hour + time.Minute)
	s.must(service.Deliver(ctx))
	mux := http.NewServeMux()
	auditadmin.Service{Trails: service, Lookup: lookup.New(db), Default: us}.Routes(mux)
	s.admin = mux
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) call(ctx context.Context, _, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	w := httptest.NewRecorder()
	s.admin.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body)))
	if w.Code != http.StatusOK {
		return errors.New(strings.TrimSpace(w.Body.String()))
	}
	return json.Unmarshal(w.Body.Bytes(), out)
}

// run runs a command and returns what it prints.
func (s *server) run(args ...string) (string, error) {
	s.t.Helper()
	var out bytes.Buffer
	parser, err := kong.New(&Command{}, kong.BindTo(s.t.Context(), (*context.Context)(nil)), kong.BindTo(&out, (*io.Writer)(nil)), kong.Bind(Admin(s.call)))
	s.must(err)
	k, err := parser.Parse(args)
	s.must(err)
	err = k.Run()
	return out.String(), err
}

func (s *server) succeed(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("%q: %v", args, err)
	}
	return out
}

func TestLookup(t *testing.T) {
	s := start(t)
	out := s.succeed("lookup")
	if !strings.Contains(out, "TIME") || !strings.Contains(out, "PutImage") || !strings.Contains(out, "BatchDeleteImage") {
		t.Error(out)
	}
	out = s.succeed("lookup", "--from", "24h", "--limit", "0", "EventName=PutImage")
	if strings.Contains(out, "BatchDeleteImage") || !strings.Contains(out, "ann") || !strings.Contains(out, "repository/app") {
		t.Error(out)
	}
	if out := s.succeed("lookup", "--limit", "1", "--json"); strings.Count(out, "\n") != 1 || !json.Valid([]byte(out)) {
		t.Error(out)
	}
	if out := s.succeed("lookup", "--to", "2020-01-01"); out != "There are no such records.\n" {
		t.Error(out)
	}
	for _, args := range [][]string{{"lookup", "EventName"}, {"lookup", "--from", "yesterday"}, {"lookup", "--account", "1"}} {
		if out, err := s.run(args...); err == nil {
			t.Errorf("%q: %s", args, out)
		}
	}
}

func TestVerify(t *testing.T) {
	s := start(t)
	const intact = "1 of 1 digests valid\n1 of 1 log files valid\n2 records, "
	if out := s.succeed("verify", "--bucket", "logs"); out != intact+"2 compared with the database\n" {
		t.Error(out)
	}
	if out := s.succeed("verify", "--directory", s.root); out != intact+"0 compared with the database\n" {
		t.Error(out)
	}
	file := filepath.Join(t.TempDir(), "keys.pem")
	s.must(os.WriteFile(file, []byte(s.succeed("keys")), 0o600))
	if out := s.succeed("verify", "--directory", s.root, "--key", file); out != intact+"0 compared with the database\n" {
		t.Error(out)
	}
	if out := s.succeed("keys", "--json"); !strings.Contains(out, "BEGIN RSA PUBLIC KEY") {
		t.Error(out)
	}
	var gone string
	s.must(filepath.WalkDir(s.root, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, "_CloudTrail_") {
			gone = path
		}
		return err
	}))
	s.must(os.Remove(gone))
	for _, args := range [][]string{{"--bucket", "logs"}, {"--directory", s.root, "--key", file}, {"--directory", s.root, "--bucket", "logs", "--json"}} {
		out, err := s.run(append([]string{"verify"}, args...)...)
		if err == nil || !strings.Contains(err.Error(), "1 problems") || !strings.Contains(out, "log file missing") || !strings.Contains(out, filepath.Base(gone)) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
	s.must(os.WriteFile(file, []byte("no key"), 0o600))
	for _, args := range [][]string{{}, {"--bucket", "none"}, {"--bucket", "logs", "--key", file}, {"--directory", s.root, "--key", file}, {"--directory", s.root + "/none"}, {"--bucket", "logs", "--to", "x"}} {
		if out, err := s.run(append([]string{"verify"}, args...)...); err == nil {
			t.Errorf("%q: %s", args, out)
		}
	}
}
