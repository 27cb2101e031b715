package public

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/berth-registry/berth/internal/app/publicadmin"
	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	us   name.AccountID = "111122223333"
	them name.AccountID = "444455556666"
)

// server is a server's administration of public registries.
type server struct {
	t       *testing.T
	catalog *catalog.Service
	admin   http.Handler
}

func start(t *testing.T) *server {
	t.Helper()
	db, ctx := sqldbtest.SQLite(t), t.Context()
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, account := range []name.AccountID{us, them} {
			if _, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, string(account), "", 1); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	clk := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	if err != nil {
		t.Fatal(err)
	}
	repositories := repository.New(repository.Config{DB: db, Clock: clk, Keys: ring, Quotas: quota.Fixed(quota.Default()), Registries: registry.New(db, clk, []name.Region{"us-east-1"})})
	s := &server{t: t, catalog: catalog.New(catalog.Config{DB: db, Clock: clk, Log: slog.New(slog.DiscardHandler), Repositories: repositories})}
	mux := http.NewServeMux()
	publicadmin.Service{Catalog: s.catalog, Default: us}.Routes(mux)
	s.admin = mux
	return s
}

// call is an Admin that asks the server without a socket.
func (s *server) call(ctx context.Context, data, method, path string, in, out any) error {
	if data != "./berth-data" {
		s.t.Errorf("the data directory is %s", data)
	}
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

// run runs a command, and returns what it printed and the error's text.
func (s *server) run(args ...string) string {
	s.t.Helper()
	var out bytes.Buffer
	parser, err := kong.New(&Command{}, kong.Name("berth public"), kong.BindTo(s.t.Context(), (*context.Context)(nil)), kong.BindTo(&out, (*io.Writer)(nil)),
		kong.Bind(Admin(s.call)), kong.Exit(func(int) {}), kong.Writers(&out, &out))
	if err != nil {
		s.t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err == nil {
		err = parsed.Run()
	}
	if err != nil {
		return out.String() + err.Error()
	}
	return out.String()
}

// says runs a command and looks for texts in what it says.
func (s *server) says(args string, want ...string) {
	s.t.Helper()
	got := s.run(strings.Split(args, " ")...)
	for _, text := range want {
		if !strings.Contains(got, text) {
			s.t.Errorf("%s says\n%s\nwithout %q", args, got, text)
		}
	}
}

func TestLifeOfAnAlias(t *testing.T) {
	s := start(t)
	s.says("registry", "111122223333", "no alias yet")
	s.says("alias list", "There are no such aliases.")
	s.says("alias request acme", "alias acme of the account 111122223333 waits", "berth public alias approve acme")
	s.says("alias request Acme", "cannot be an alias")
	s.says("alias request other --account 12", "12 digits")
	s.says("alias request aws-tools --account 444455556666", "Beware: the alias aws-tools includes 'aws'", "waits")
	s.says("alias list --status pending", "ALIAS", "acme       111122223333  PENDING  custom  2026-03-01 12:00  -        -", "to be avoided: includes 'aws'")
	s.says("alias approve aws-tools", "--force")
	s.says("alias approve aws-tools --force", "is active, and its primary one")
	s.says("alias reject acme", "--reason")
	s.says("alias reject acme --reason No", "Rejected the alias acme of the account 111122223333")
	s.says("alias list --status rejected", "acme   111122223333  REJECTED  custom", "No")
	s.says("alias request acme", "waits")
	s.says("alias approve acme", "is active")
	s.says("registry", "Address shows  acme", "default", "custom, primary")
	usual, err := s.catalog.Registry(t.Context(), us)
	if err != nil {
		t.Fatal(err)
	}
	s.says("alias primary "+string(usual.Aliases[0].Name), "show the alias "+string(usual.Aliases[0].Name))
	s.says("alias remove acme", "Removed the alias acme")
	s.says("alias remove acme", "There is no alias 'acme'")
	s.says("alias list --status odd", "must be one of")
}

func TestVerify(t *testing.T) {
	s := start(t)
	s.says("verify 444455556666", "444455556666 is verified")
	s.says("registry 444455556666", "Verified       yes")
	s.says("verify 444455556666 --off", "not verified any more")
	s.says("registry 444455556666", "Verified       no")
	s.says("verify 999999999999", "There is no account '999999999999'")
	s.says("verify", "expected")
}

func TestJSON(t *testing.T) {
	s := start(t)
	if err := s.catalog.SetDisplayName(t.Context(), us, "A & B"); err != nil {
		t.Fatal(err)
	}
	s.says("alias request acme --json", `"alias": "acme"`, `"status": "PENDING"`)
	for args, out := range map[string]any{
		"alias list --json": &[]publicadmin.Alias{}, "registry --json": &publicadmin.Registry{}, "verify 111122223333 --json": &publicadmin.Registry{},
		"alias approve acme --json": &publicadmin.Alias{}, "alias list --status rejected --json": &[]publicadmin.Alias{},
	} {
		if got := s.run(strings.Split(args, " ")...); json.Unmarshal([]byte(got), out) != nil || strings.Contains(got, "null") {
			t.Errorf("%s: %s", args, got)
		}
	}
	s.says("registry --json", `"displayName": "A & B"`)
}

// Lists are read to their end.
func TestManyAliases(t *testing.T) {
	s := start(t)
	for i := range 120 {
		alias := fmt.Sprintf("acme%d", i)
		if _, err := s.catalog.RequestAlias(t.Context(), us, alias); err != nil {
			t.Fatal(err)
		}
		if _, err := s.catalog.Reject(t.Context(), name.Alias(alias), "no"); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(s.run("alias", "list"), "REJECTED"); n != 120 {
		t.Errorf("%d were listed", n)
	}
}

func TestHostileTexts(t *testing.T) {
	s := start(t)
	if _, err := s.catalog.RequestAlias(t.Context(), us, "acme"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.catalog.Reject(t.Context(), "acme", "no\x1b[2J\nno"); err != nil {
		t.Fatal(err)
	}
	if got := s.run("alias", "list"); strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 3 {
		t.Errorf("%q", got)
	}
}

func TestHelp(t *testing.T) {
	s := start(t)
	s.says("--help", "registry", "alias", "verify", "what AWS decides by hand")
	s.says("alias --help", "list", "request", "approve", "reject", "primary", "remove", "docker pull public.ecr.aws/ALIAS/REPOSITORY")
	s.says("alias request --help", "2 to 50", "--account")
	s.says("alias approve --help", "to be avoided", "--force")
	s.says("alias reject --help", "--reason")
	s.says("alias remove --help", "another account can be given it")
	s.says("verify --help", "--off", "who it says it is")
}
