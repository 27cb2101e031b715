package usage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app/usageadmin"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/usage"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// server is a server's administration of usage.
type server struct{ admin http.Handler }

// call is an Admin that needs no socket.
func (s server) call(ctx context.Context, _, method, path string, in, out any) error {
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

// run is `berth usage` with arguments.
func (s server) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	var c Command
	parser, err := kong.New(&c, kong.Exit(func(int) {}), kong.Bind(Admin(s.call)), kong.BindTo(t.Context(), (*context.Context)(nil)), kong.BindTo(io.Writer(&out), (*io.Writer)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return "", err
	}
	err = parsed.Run()
	return out.String(), err
}

func TestUsage(t *testing.T) {
	db, clk := sqldbtest.SQLite(t), clock.NewFake(time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC))
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	counted := usage.New(usage.Config{DB: db, Clock: clk, Log: slog.New(slog.DiscardHandler)})
	mux := http.NewServeMux()
	usageadmin.Service{Usage: counted}.Routes(mux)
	s := server{mux}

	wants := func(want string, args ...string) {
		t.Helper()
		got, err := s.run(t, args...)
		if err != nil || got != want {
			t.Errorf("%v: %v\n%s\nwant\n%s", args, err, got, want)
		}
	}
	wants("From 2026-03-01 to 2026-03-10, UTC\n\nNothing was stored or moved.\n")
	here := name.Registry{Account: "111122223333", Region: "us-east-1"}
	counted.Transfer(here, "team/app", 3<<20, 900)
	counted.Pull(here, "team/app")
	counted.Push(name.PublicRegistry("444455556666"), "web")
	if err := counted.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(`From 2026-03-01 to 2026-03-10, UTC

ACCOUNT       STORED  ARCHIVED  SENT     RECEIVED  PULLS  PUSHES
111122223333  0 B     0 B       3.0 MiB  900 B     1      0
444455556666  0 B     0 B       0 B      0 B       0      1
`)
	wants(`From 2026-03-10 to 2026-03-10, UTC

DAY         ACCOUNT       REGION     REPOSITORY  STORED  ARCHIVED  SENT     RECEIVED  PULLS  PUSHES
2026-03-10  111122223333  us-east-1  team/app    0 B     0 B       3.0 MiB  900 B     1      0
`, "--group-by", "repository", "--by-day", "--from", "2026-03-10", "--account", "111122223333")
	wants(`From 2026-02-01 to 2026-03-31, UTC

MONTH    REGION     STORED  ARCHIVED  SENT     RECEIVED  PULLS  PUSHES
2026-03  public     0 B     0 B       0 B      0 B       0      1
2026-03  us-east-1  0 B     0 B       3.0 MiB  900 B     1      0
`, "--group-by", "region", "--by-month", "--from", "2026-02-01", "--to", "2026-03-31")
	wants(`From 2026-03-01 to 2026-03-10, UTC

TAG team       STORED  ARCHIVED  SENT     RECEIVED  PULLS  PUSHES
(no such tag)  0 B     0 B       3.0 MiB  900 B     1      1
`, "--group-by", "tag:team")
	wants(`period,account,region,repository,tag,stored_bytes,byte_hours,archived_bytes,archived_byte_hours,samples,sent_bytes,received_bytes,pulls,pushes
2026-03-01/2026-03-10,111122223333,us-east-1,team/app,,0,0,0,0,0,3145728,900,1,0
2026-03-01/2026-03-10,444455556666,public,web,,0,0,0,0,0,0,0,0,1
`, "--group-by", "repository", "--format", "csv")

	text, err := s.run(t, "--format", "json", "--group-by", "repository", "--account", "444455556666")
	var report usage.Report
	if err := errors.Join(err, json.Unmarshal([]byte(text), &report)); err != nil {
		t.Fatal(err)
	}
	if len(report.Rows) != 1 || report.Rows[0] != (usage.Row{Account: "444455556666", Region: "public", Repository: "web", Pushes: 1}) || report.From != "2026-03-01" {
		t.Errorf("%+v", report)
	}

	for said, args := range map[string][]string{
		"is no day":            {"--from", "01.03.2026"},
		"is no account":        {"--account", "1"},
		"before it begins":     {"--from", "2026-03-02", "--to", "2026-03-01"},
		"by account, region":   {"--group-by", "team"},
		"can't be used togeth": {"--by-day", "--by-month"},
	} {
		if _, err := s.run(t, args...); err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[float64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 5 << 30: "5.0 GiB", 1 << 62: "4096.0 PiB"} {
		if got := size(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
}
