package credential_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
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
	account = name.AccountID("111111111111")
	other   = name.AccountID("222222222222")
	bayID   = "AIDABAYBAYBAYBAYBAYBO"
	eveID   = "AIDAEVEEVEEVEEVEEVEEV"
)

var (
	bay  = credential.Owner{Name: "Bay"}
	elm  = credential.Owner{Name: "elm"}
	root = credential.Owner{}
)

type world struct {
	*credential.Service
	principals *principal.Service
	db         *sqldb.DB
	clk        *clock.Fake
}

// open makes two accounts with a user Bay each, and elm in the first.
func open(t *testing.T, db *sqldb.DB) world {
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
	p, err := principal.New(db, ring, clk)
	if err != nil {
		t.Fatal(err)
	}
	w := world{credential.New(p), p, db, clk}
	for _, a := range []name.AccountID{account, other} {
		if err := p.EnsureAccount(ctx, a); err != nil {
			t.Fatal(err)
		}
	}
	w.user(t, account, bayID, "Bay", "/dev/")
	w.user(t, account, eveID, "elm", "/")
	w.user(t, other, "AIDAOTHEROTHEROTHEROT", "Bay", "/")
	return w
}

func (w world) user(t *testing.T, a name.AccountID, id, userName, path string) {
	t.Helper()
	w.exec(t, `INSERT INTO iam_entity (id, account_id, kind, name, name_key, path, created_at) VALUES ($1, $2, 'user', $3, $4, $5, $6)`,
		id, string(a), userName, strings.ToLower(userName), path, w.clk.Now().UnixMicro())
}

func (w world) exec(t *testing.T, statement string, args ...any) {
	t.Helper()
	err := w.db.Update(t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), statement, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (w world) text(t *testing.T, query string, args ...any) string {
	t.Helper()
	var s string
	if err := w.db.View(t.Context(), func(tx *sqldb.Tx) error { return tx.QueryRow(t.Context(), query, args...).Scan(&s) }); err != nil {
		t.Fatal(err)
	}
	return s
}

// refused checks code and text of a refusal.
func refused(t *testing.T, err error, code errs.Code, text string) {
	t.Helper()
	if !errs.Is(err, code) || err.Error() != text {
		t.Errorf("got %v (code %d), want %q (code %d)", err, errs.CodeOf(err), text, code)
	}
}

func TestUser(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		w.exec(t, `INSERT INTO iam_tag (owner, key_fold, tag_key, tag_value) VALUES ($1, 'team', 'Team', 'red')`, bayID)
		for _, owner := range []credential.Owner{{Name: "bay"}, {Name: "BAY"}, {ID: bayID}} {
			u, err := w.User(ctx, account, owner)
			if err != nil || u.ID != bayID || u.Name != "Bay" || u.Path != "/dev/" || u.ARN(account) != "arn:aws:iam::111111111111:user/dev/Bay" ||
				len(u.Tags) != 1 || u.Tags[0].Key != "Team" || u.Tags[0].Value != "red" || !u.CreatedAt.Equal(w.clk.Now()) {
				t.Errorf("%+v: %+v %v", owner, u, err)
			}
		}
		if u, err := w.User(ctx, account, root); err != nil || !u.IsRoot() || u.ARN(account) != "arn:aws:iam::111111111111:root" {
			t.Errorf("root: %+v %v", u, err)
		}
		_, err := w.User(ctx, account, credential.Owner{Name: "mallows"})
		refused(t, err, errs.EntityNotFound, "The user with name mallows cannot be found.")
		_, err = w.User(ctx, other, credential.Owner{ID: bayID})
		refused(t, err, errs.EntityNotFound, "The user with name "+bayID+" cannot be found.")
		_, err = w.User(ctx, "999999999999", root)
		refused(t, err, errs.EntityNotFound, "The account with id 999999999999 cannot be found.")
	})
}

func TestAccessKeys(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		for _, owner := range []credential.Owner{bay, root} {
			one, err := w.CreateAccessKey(ctx, account, owner)
			if err != nil || !strings.HasPrefix(one.ID, "AKIA") || len(one.Secret) != 40 || !one.Active || one.UserName != owner.Name || !one.CreatedAt.Equal(w.clk.Now()) {
				t.Fatalf("%+v %v", one, err)
			}
			two, err := w.CreateAccessKey(ctx, account, owner)
			if err != nil || two.ID == one.ID {
				t.Fatal(err)
			}
			_, err = w.CreateAccessKey(ctx, account, owner)
			refused(t, err, errs.EntityLimit, "Cannot exceed quota for AccessKeysPerUser: 2")

			k, found, err := w.principals.AccessKey(ctx, one.ID)
			if err != nil || !found || k.Secret != one.Secret || !k.Enabled || k.Principal.IsRoot() != (owner == root) {
				t.Errorf("%+v %v %v", k, found, err)
			}
			if err := w.SetAccessKey(ctx, account, owner, one.ID, false); err != nil {
				t.Fatal(err)
			}
			if k, _, err := w.principals.AccessKey(ctx, one.ID); err != nil || k.Enabled {
				t.Errorf("switched off: %+v %v", k, err)
			}
			all, err := w.AccessKeys(ctx, account, owner, "", 10)
			if err != nil || len(all) != 2 || all[0].ID > all[1].ID || all[0].Secret+all[1].Secret != "" || all[0].Active == all[1].Active || all[0].UserName != owner.Name {
				t.Errorf("%+v %v", all, err)
			}
			rest, err := w.AccessKeys(ctx, account, owner, all[0].ID, 10)
			if err != nil || len(rest) != 1 || rest[0] != all[1] {
				t.Errorf("%+v %v", rest, err)
			}
			if first, err := w.AccessKeys(ctx, account, owner, "", 1); err != nil || len(first) != 1 || first[0] != all[0] {
				t.Errorf("%+v %v", first, err)
			}
			missing := "The Access Key with id " + one.ID + " cannot be found."
			refused(t, w.SetAccessKey(ctx, account, elm, one.ID, true), errs.EntityNotFound, missing)
			refused(t, w.DeleteAccessKey(ctx, account, elm, one.ID), errs.EntityNotFound, missing)
			refused(t, w.DeleteAccessKey(ctx, other, owner, one.ID), errs.EntityNotFound, missing)
			if err := w.DeleteAccessKey(ctx, account, owner, one.ID); err != nil {
				t.Fatal(err)
			}
			if _, found, err := w.principals.AccessKey(ctx, one.ID); err != nil || found {
				t.Errorf("deleted: %v %v", found, err)
			}
			refused(t, w.DeleteAccessKey(ctx, account, owner, one.ID), errs.EntityNotFound, missing)
		}
		mallows := credential.Owner{Name: "mallows"}
		const nobody = "The user with name mallows cannot be found."
		_, err := w.CreateAccessKey(ctx, account, mallows)
		refused(t, err, errs.EntityNotFound, nobody)
		_, err = w.AccessKeys(ctx, account, mallows, "", 1)
		refused(t, err, errs.EntityNotFound, nobody)
		refused(t, w.SetAccessKey(ctx, account, mallows, "AKIA", true), errs.EntityNotFound, nobody)
	})
}

func TestLastUsed(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		k, err := w.CreateAccessKey(ctx, account, bay)
		if err != nil {
			t.Fatal(err)
		}
		if u, use, err := w.LastUsed(ctx, account, k.ID); err != nil || u.Name != "Bay" || use != (credential.KeyUse{}) {
			t.Errorf("%+v %+v %v", u, use, err)
		}
		w.principals.Used(k.ID, "eu-west-1", "ecr")
		if err := w.principals.FlushUsage(ctx); err != nil {
			t.Fatal(err)
		}
		if u, use, err := w.LastUsed(ctx, account, k.ID); err != nil || u.ID != bayID || use.Region != "eu-west-1" || use.Service != "ecr" || !use.At.Equal(w.clk.Now()) {
			t.Errorf("%+v %+v %v", u, use, err)
		}
		if u, err := w.KeyOwner(ctx, account, k.ID); err != nil || u.ID != bayID {
			t.Errorf("%+v %v", u, err)
		}
		_, _, err = w.LastUsed(ctx, other, k.ID)
		refused(t, err, errs.EntityNotFound, "The Access Key with id "+k.ID+" cannot be found.")
	})
}

func TestAlias(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		has := func(a name.AccountID, want string) {
			t.Helper()
			if got, err := w.Alias(ctx, a); err != nil || got != want {
				t.Errorf("%s: %q %v", a, got, err)
			}
		}
		has(account, "")
		if err := w.SetAlias(ctx, account, "acme"); err != nil {
			t.Fatal(err)
		}
		has(account, "acme")
		refused(t, w.SetAlias(ctx, other, "acme"), errs.EntityExists, "The account alias acme already exists.")
		refused(t, w.SetAlias(ctx, account, "acme"), errs.EntityExists, "The account alias acme already exists.")
		refused(t, w.SetAlias(ctx, other, string(account)), errs.Validation,
			"The account alias 111111111111 has the form of an account id; choose one that cannot be taken for one.")
		if err := w.SetAlias(ctx, account, "acme-2"); err != nil { // in place of the first
			t.Fatal(err)
		}
		has(account, "acme-2")
		if err := w.SetAlias(ctx, other, "acme"); err != nil {
			t.Fatal(err)
		}
		refused(t, w.DeleteAlias(ctx, account, "acme"), errs.EntityNotFound, "The account alias acme cannot be found.")
		if err := w.DeleteAlias(ctx, account, "acme-2"); err != nil {
			t.Fatal(err)
		}
		has(account, "")
		has(other, "acme")
		refused(t, w.DeleteAlias(ctx, account, ""), errs.EntityNotFound, "The account alias  cannot be found.")
		refused(t, w.SetAlias(ctx, "999999999999", "zzz"), errs.EntityNotFound, "The account with id 999999999999 cannot be found.")
	})
}
