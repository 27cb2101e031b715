package authz_test

import (
	"context"
	"net/netip"
	"path/filepath"
	"strings"
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
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	ours   = name.AccountID("111111111111")
	theirs = name.AccountID("222222222222")
	region = name.Region("us-east-1")
)

// world is an authorizer over a real database with two accounts and the
// repository "app" in the first.
type world struct {
	t testing.TB
	*authz.Service
	clk *clock.Fake
}

func newWorld(t testing.TB, db *sqldb.DB) *world {
	ctx := t.Context()
	w := &world{t: t, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))}
	w.must(db.Migrate(ctx, "schema_version", schema.Durable()...))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
	w.must(err)
	principals, err := principal.New(db, ring, w.clk)
	w.must(err)
	for _, a := range []name.AccountID{ours, theirs} {
		w.must(principals.EnsureAccount(ctx, a))
	}
	registries := registry.New(db, w.clk, []name.Region{region, "eu-west-1"})
	w.Service, err = authz.New(authz.Config{
		Principals: principals, Entities: entity.New(principals), Registries: registries, Keys: ring, Clock: w.clk,
		Repositories: repository.New(repository.Config{DB: db, Clock: w.clk, Registries: registries, Keys: ring, Quotas: quota.Fixed(quota.Default())}),
	})
	w.must(err)
	_, err = w.Repositories.Create(ctx, repository.Create{Registry: reg(ours), Name: "app", Mutability: repository.Mutability{Setting: repository.Mutable}, Tags: map[string]string{"Stage": "prod"}})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func reg(a name.AccountID) name.Registry { return name.Registry{Account: a, Region: region} }

// user makes a user with the statements as its policy; none for "".
func (w *world) user(account name.AccountID, userName, statements string) principal.Principal {
	w.t.Helper()
	e, err := w.Entities.Create(w.t.Context(), entity.Create{Account: account, Kind: entity.User, Name: userName})
	w.must(err)
	if statements != "" {
		w.must(w.Entities.PutInline(w.t.Context(), account, entity.User, userName, "p", document(statements)))
	}
	return principal.Principal{Account: account, ARN: e.ARN(), ID: e.ID, Entity: e.ID, AccessKeyID: "AKIA" + userName}
}

func document(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// hang puts the statements on the repository "app".
func (w *world) hang(statements string) {
	w.t.Helper()
	d, err := policy.Parse(document(statements), policy.Repository)
	w.must(err)
	w.must(w.Repositories.SetPolicy(w.t.Context(), reg(ours), "app", d, w.Entities.PinPrincipals))
}

// registry sets the registry's policy.
func (w *world) registry(statements string) {
	w.t.Helper()
	d, err := policy.Parse(document(statements), policy.Registry)
	w.must(err)
	w.must(w.Registries.SetPolicy(w.t.Context(), reg(ours), d, w.Entities.PinPrincipals))
}

func app(action string) authz.Need {
	return authz.Need{Action: action, Resource: reg(ours).RepositoryARN("app")}
}

func request(p principal.Principal, needs ...authz.Need) authz.Request {
	return authz.Request{Principal: p, Needs: needs, Region: region, UserAgent: "docker/20.10",
		Origin: authz.Origin{SourceIP: netip.MustParseAddr("198.51.100.7")}}
}

// allowed expects the action on "app" to be allowed.
func (w *world) allowed(p principal.Principal, action string) {
	w.t.Helper()
	if err := w.Authorize(w.t.Context(), request(p, app(action))); err != nil {
		w.t.Errorf("%s: %v", action, err)
	}
}

// refused expects the action on "app" to be refused with the end of a sentence.
func (w *world) refused(p principal.Principal, action, end string) {
	w.t.Helper()
	err := w.Authorize(w.t.Context(), request(p, app(action)))
	w.refusal(err, p, action, end)
}

func (w *world) refusal(err error, p principal.Principal, action, end string) {
	w.t.Helper()
	if !errs.Is(err, errs.AccessDenied) {
		w.t.Errorf("%s was not refused: %v", action, err)
		return
	}
	start := "User: " + p.ARN + " is not authorized to perform: " + action
	if !strings.HasPrefix(err.Error(), start) || !strings.HasSuffix(err.Error(), end) {
		w.t.Errorf("%s: refused with %q, want the end %q", action, err, end)
	}
}

func (w *world) ask(p principal.Principal, need authz.Need, change func(*authz.Request)) bool {
	w.t.Helper()
	r := request(p, need)
	if change != nil {
		change(&r)
	}
	err := w.Authorize(context.Background(), r)
	if err != nil && !errs.Is(err, errs.AccessDenied) {
		w.t.Fatal(err)
	}
	return err == nil
}
