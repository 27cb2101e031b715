package session_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
	"github.com/berth-registry/berth/internal/infra/oidcverify/oidcverifytest"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const (
	account = name.AccountID("111111111111")
	other   = name.AccountID("222222222222")
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// codes are MFA devices, by user id and serial number, whose only code is taken
// once.
type codes map[[2]string]string

func (c codes) CheckCode(_ context.Context, _ name.AccountID, userID, serial, code string) error {
	device := [2]string{userID, serial}
	if code == "" || c[device] != code {
		return errs.New(errs.AccessDenied, "MultiFactorAuthentication failed")
	}
	delete(c, device)
	return nil
}

type world struct {
	t *testing.T
	*session.Service
	principals *principal.Service
	entities   *entity.Service
	providers  *provider.Service
	codes      codes
	issuer     *oidcverifytest.Issuer
	db         *sqldb.DB
	clk        *clock.Fake
}

// each runs a test with both databases.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, db: db, clk: clock.NewFake(start), codes: codes{}, issuer: oidcverifytest.New(t, "/tenant")}
		ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), w.clk)
		if err != nil {
			t.Fatal(err)
		}
		if w.principals, err = principal.New(db, ring, w.clk); err != nil {
			t.Fatal(err)
		}
		for _, a := range []name.AccountID{account, other} {
			if err := w.principals.EnsureAccount(ctx, a); err != nil {
				t.Fatal(err)
			}
		}
		w.entities, w.providers = entity.New(w.principals), provider.New(w.principals)
		w.Service = session.New(session.Config{
			Principals: w.principals, Roles: w.entities, Codes: w.codes, Providers: w.providers,
			Verifier: oidcverify.New(oidcverify.Config{Clock: w.clk}),
		})
		test(t, w)
	})
}

const trustAccount = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}}`

func (w *world) role(c entity.Create) entity.Entity {
	w.t.Helper()
	c.Kind = entity.Role
	if c.Account == "" {
		c.Account = account
	}
	if c.Trust == "" {
		c.Trust = trustAccount
	}
	made, err := w.entities.Create(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w *world) user(userName string) principal.Principal {
	w.t.Helper()
	e, err := w.entities.Create(w.t.Context(), entity.Create{Account: account, Kind: entity.User, Name: userName, Path: "/team/"})
	if err != nil {
		w.t.Fatal(err)
	}
	return principal.Principal{Account: account, ARN: e.ARN(), ID: e.ID, Entity: e.ID, AccessKeyID: "AKIAEXAMPLE"}
}

// opened is the principal that the credentials of a session stand for.
func (w *world) opened(g session.Given) principal.Principal {
	w.t.Helper()
	k, found, err := w.principals.Credentials(w.t.Context(), g.AccessKeyID, g.SessionToken)
	if err != nil || !found || k.Secret != g.Secret || !k.Expires.Equal(g.Expires) {
		w.t.Fatalf("%+v %v %v", k, found, err)
	}
	return k.Principal
}

// refused makes sure that an error has the code and the text.
func refused(t *testing.T, what string, err error, code errs.Code, message string) {
	t.Helper()
	if !errs.Is(err, code) || message != "" && err.(*errs.Error).Message != message {
		t.Errorf("%s: %v (code %d), want %q (code %d)", what, err, errs.CodeOf(err), message, code)
	}
}
