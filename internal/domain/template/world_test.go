package template_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/domain/template"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const account = name.AccountID("111111111111")

var (
	reg       = name.Registry{Account: account, Region: "us-east-1"}
	elsewhere = name.Registry{Account: account, Region: "eu-west-1"}
)

// world is the service over a real database, with lifecycle policies that are
// texts beginning with "{".
type world struct {
	*template.Service
	t    *testing.T
	clk  *clock.Fake
	keys *keyring.Keyring
	// lifecycles are those of the repositories, by name; failing makes giving one
	// fail.
	lifecycles map[name.Repository]string
	failing    error
}

func newWorld(t *testing.T, db *sqldb.DB) *world {
	t.Helper()
	w := &world{t: t, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)), lifecycles: map[name.Repository]string{}}
	ctx := t.Context()
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	var err error
	w.keys, err = keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(db, w.keys, w.clk)
	w.must(err)
	w.must(principals.EnsureAccount(ctx, account))
	registries := registry.New(db, w.clk, []name.Region{reg.Region, elsewhere.Region})
	repositories := repository.New(repository.Config{DB: db, Clock: w.clk, Registries: registries, Keys: w.keys, Quotas: quota.Fixed(quota.Default()), Sealing: true})
	entities := entity.New(principals)
	access, err := authz.New(authz.Config{Principals: principals, Entities: entities, Registries: registries, Repositories: repositories, Keys: w.keys, Clock: w.clk})
	w.must(err)
	w.Service = template.New(template.Config{
		DB: db, Clock: w.clk, Registries: registries, Repositories: repositories, Entities: entities, Access: access,
		CheckLifecycle: func(text string, _ quota.Limits) error {
			if text[0] != '{' {
				return errs.Parameter("LifecyclePolicyText", "no policy")
			}
			return nil
		},
		PutLifecycleTx: func(ctx context.Context, tx *sqldb.Tx, r repository.Repository, text string) error {
			if _, err := repositories.GetTx(ctx, tx, r.Registry, r.Name); err != nil {
				return err
			}
			w.lifecycles[r.Name] = text
			return w.failing
		},
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// refused fails unless the error has the code and the whole text.
func (w *world) refused(what string, err error, code errs.Code, text string) {
	w.t.Helper()
	if !errs.Is(err, code) || err.Error() != text {
		w.t.Errorf("%s: %v, want %q", what, err, text)
	}
}

// plain is a template with nothing set; without triggers it is for pushes.
func plain(prefix string, triggers ...template.Trigger) template.Template {
	if len(triggers) == 0 {
		triggers = []template.Trigger{template.CreateOnPush}
	}
	return template.Template{Registry: reg, Prefix: prefix, Mutability: repository.Mutability{Setting: repository.Mutable}, AppliedFor: triggers}
}

func (w *world) make(t template.Template) template.Template {
	w.t.Helper()
	made, err := w.Create(w.t.Context(), t)
	w.must(err)
	return made
}

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

func (w *world) policy(statements string) *policy.Document {
	w.t.Helper()
	d, err := policy.Parse(document(statements), policy.Repository)
	w.must(err)
	return d
}

// role makes a role for the service with the statements as its policy.
func (w *world) role(roleName, service, statements string) string {
	w.t.Helper()
	e, err := w.Entities.Create(w.t.Context(), entity.Create{
		Account: account, Kind: entity.Role, Name: roleName, Path: "/ecr/",
		Trust: document(`{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}`),
	})
	w.must(err)
	if statements != "" {
		w.must(w.Entities.PutInline(w.t.Context(), account, entity.Role, roleName, "p", document(statements)))
	}
	return e.ARN()
}

func (w *world) missing(repo name.Repository) {
	w.t.Helper()
	if r, err := w.Repositories.Get(w.t.Context(), reg, repo); !errs.Is(err, errs.RepositoryNotFound) {
		w.t.Errorf("something was left behind: %+v, %v", r, err)
	}
}
