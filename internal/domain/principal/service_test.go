package principal_test

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func open(t *testing.T, db *sqldb.DB) (*principal.Service, *clock.Fake) {
	t.Helper()
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	clk := clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clk)
	if err != nil {
		t.Fatal(err)
	}
	s, err := principal.New(db, ring, clk)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EnsureAccount(t.Context(), "111111111111"); err != nil {
		t.Fatal(err)
	}
	return s, clk
}

func TestRootKey(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		ctx := t.Context()
		id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, "111111111111")
		if len(id) != 20 || !strings.HasPrefix(id, "AKIA") || len(secret) != 40 {
			t.Errorf("%q %q", id, secret)
		}
		if has, err := s.HasRootKey(ctx, "111111111111"); err != nil || has {
			t.Errorf("before: %v %v", has, err)
		}
		if _, found, err := s.AccessKey(ctx, id); err != nil || found {
			t.Errorf("before: %v %v", found, err)
		}
		if err := s.PutRootKey(ctx, "111111111111", id, secret); err != nil {
			t.Fatal(err)
		}
		k, found, err := s.AccessKey(ctx, id)
		if err != nil || !found || k.Secret != secret || !k.Enabled || !k.Principal.IsRoot() || k.Principal.AccessKeyID != id {
			t.Errorf("%+v %v %v", k, found, err)
		}
		var stored []byte
		if err := db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT secret FROM access_key WHERE id = $1`, id).Scan(&stored)
		}); err != nil || strings.Contains(string(stored), secret) {
			t.Errorf("the secret stands in the database as it is: %v", err)
		}
		// A change made elsewhere is seen once the cache is old.
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE access_key SET enabled = $1`, false)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		clk.Advance(6 * time.Second)
		if k, _, err := s.AccessKey(ctx, id); err != nil || k.Enabled {
			t.Errorf("after the change: %+v %v", k, err)
		}
	})
}

func TestTokens(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		s, clk := open(t, db)
		ctx := t.Context()
		id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, "111111111111")
		if err := s.PutRootKey(ctx, "111111111111", id, secret); err != nil {
			t.Fatal(err)
		}
		k, _, err := s.AccessKey(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		password, expires, err := s.IssueToken(t.Context(), k.Principal, "us-east-1")
		if err != nil || !expires.Equal(clk.Now().Add(12*time.Hour)) {
			t.Fatalf("%v %v", expires, err)
		}
		if p, err := s.Verify(ctx, password, "us-east-1"); err != nil || p != k.Principal {
			t.Errorf("%+v %v", p, err)
		}
		if _, err := s.Verify(ctx, password, "eu-west-1"); !errs.Is(err, errs.AccessDenied) {
			t.Errorf("in another region: %v", err)
		}
		for i := range password {
			altered := []byte(password)
			altered[i] ^= 1
			if p, err := s.Verify(ctx, string(altered), "us-east-1"); err == nil {
				t.Fatalf("a token altered at %d was taken for %+v", i, p)
			}
		}
		for _, bad := range []string{"", "x", "====", base64.StdEncoding.EncodeToString([]byte("{}")), base64.StdEncoding.EncodeToString([]byte(`{"payload":"AAAA"}`))} {
			if _, err := s.Verify(ctx, bad, "us-east-1"); !errs.Is(err, errs.AccessDenied) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		// A longer life written on the outside does not help.
		text, err := base64.StdEncoding.DecodeString(password)
		if err != nil {
			t.Fatal(err)
		}
		var envelope map[string]any
		if err := json.Unmarshal(text, &envelope); err != nil {
			t.Fatal(err)
		}
		envelope["expiration"] = clk.Now().Add(48 * time.Hour).Unix()
		longer, err := json.Marshal(envelope)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(ctx, base64.StdEncoding.EncodeToString(longer), "us-east-1"); !errs.Is(err, errs.AccessDenied) {
			t.Errorf("with a longer life: %v", err)
		}
		clk.Advance(12 * time.Hour)
		if _, err := s.Verify(ctx, password, "us-east-1"); !errs.Is(err, errs.TokenExpired) {
			t.Errorf("after twelve hours: %v", err)
		}
	})
}
