package catalog_test

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"image/png"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
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
	us   name.AccountID = "111111111111"
	them name.AccountID = "222222222222"
)

// world is the catalog on two nodes.
type world struct {
	t           *testing.T
	db          *sqldb.DB
	clk         *clock.Fake
	here, there *catalog.Service
	repos       *repository.Service
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) { fn(t, open(t, db)) })
}

func open(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	ctx := t.Context()
	if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	clk := clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	if err != nil {
		t.Fatal(err)
	}
	principals, err := principal.New(db, ring, clk)
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range []name.AccountID{us, them} {
		if err := principals.EnsureAccount(ctx, account); err != nil {
			t.Fatal(err)
		}
	}
	repos := repository.New(repository.Config{DB: db, Clock: clk, Keys: ring, Quotas: quota.Fixed(quota.Default()), Sealing: true,
		Registries: registry.New(db, clk, []name.Region{"us-east-1"})})
	c := catalog.Config{DB: db, Clock: clk, Log: slog.New(slog.DiscardHandler), Repositories: repos}
	return &world{t: t, db: db, clk: clk, here: catalog.New(c), there: catalog.New(c), repos: repos}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func public(account name.AccountID, repo name.Repository) repository.Create {
	return repository.Create{Registry: name.PublicRegistry(account), Name: repo}
}

// create makes a public repository.
func (w *world) create(account name.AccountID, repo name.Repository) repository.Repository {
	w.t.Helper()
	made, _, err := w.here.CreateRepository(w.t.Context(), public(account, repo), nil)
	w.must(err)
	return made
}

func (w *world) registry(s *catalog.Service, account name.AccountID) catalog.Registry {
	w.t.Helper()
	r, err := s.Registry(w.t.Context(), account)
	w.must(err)
	return r
}

// active has an account have a custom alias.
func (w *world) active(account name.AccountID, alias name.Alias) {
	w.t.Helper()
	_, err := w.here.RequestAlias(w.t.Context(), account, string(alias))
	w.must(err)
	_, err = w.here.Approve(w.t.Context(), alias, false)
	w.must(err)
}

// resolves checks whose an alias is on a node, "" for nobody's.
func (w *world) resolves(s *catalog.Service, alias string, want name.AccountID) {
	w.t.Helper()
	got, err := s.Resolve(w.t.Context(), alias)
	if got != want || (err == nil) != (want != "") {
		w.t.Errorf("Resolve(%s) = %q, %v; want %q", alias, got, err, want)
	}
}

// count counts rows.
func (w *world) count(query string, args ...any) (n int64) {
	w.t.Helper()
	w.must(w.db.View(w.t.Context(), func(tx *sqldb.Tx) (err error) {
		n, err = sqldb.One[int64](tx.QueryRow(w.t.Context(), query, args...))
		return err
	}))
	return n
}

// entry has the gallery know a repository.
func (w *world) entry(r repository.Repository) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), `INSERT INTO catalog_entry (repository_id, changed_at, pushed_at, downloads) VALUES ($1, 1, 1, 0)`, r.ID)
		return err
	}))
}

// changed says whether the gallery is told that a repository has changed, and forgets it.
func (w *world) changed(r repository.Repository) (changed bool) {
	w.t.Helper()
	at := w.count(`SELECT changed_at FROM catalog_entry WHERE repository_id = $1`, r.ID)
	if at != 1 && at != w.clk.Now().UnixMicro() {
		w.t.Errorf("changed at %d", at)
	}
	w.must(w.db.Update(w.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(w.t.Context(), `UPDATE catalog_entry SET changed_at = 1 WHERE repository_id = $1`, r.ID)
		return err
	}))
	return at != 1
}

// picture is a PNG of a colour.
func picture(t *testing.T, shade uint8) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 64, 64))
	for x := range 64 {
		img.Set(x, x, color.Gray{shade})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func nothing(context.Context, *sqldb.Tx, repository.Repository) error { return nil }
