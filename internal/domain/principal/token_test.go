package principal_test

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestTokenLife(t *testing.T) {
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
		issue := func(want time.Duration) string {
			t.Helper()
			password, expires, err := s.IssueToken(ctx, k.Principal, "us-east-1")
			if err != nil || !expires.Equal(clk.Now().Add(want)) {
				t.Errorf("the token lives until %v, want %v: %v", expires, clk.Now().Add(want), err)
			}
			return password
		}
		holds := func(password string, want bool) {
			t.Helper()
			if _, err := s.Verify(ctx, password, "us-east-1"); (err == nil) != want || err != nil && !errs.Is(err, errs.TokenExpired) {
				t.Errorf("%v, want %v", err, want)
			}
		}
		long := issue(12 * time.Hour)
		if err := s.SetTokenLife(ctx, "111111111111", 5*time.Minute); err != nil {
			t.Fatal(err)
		}
		short := issue(5 * time.Minute)
		if a, err := s.Account(ctx, "111111111111"); err != nil || a.TokenLife != 5*time.Minute {
			t.Errorf("%+v %v", a, err)
		}
		clk.Advance(5 * time.Minute)
		holds(short, false)
		holds(long, true)
		clk.Advance(11*time.Hour + 54*time.Minute)
		holds(long, true)
		for _, life := range []time.Duration{time.Second, 5*time.Minute - 1, 12*time.Hour + 1, -time.Hour} {
			if err := s.SetTokenLife(ctx, "111111111111", life); !errs.Is(err, errs.InvalidInput) {
				t.Errorf("%v: %v", life, err)
			}
		}
		if err := s.SetTokenLife(ctx, "999999999999", time.Hour); !errs.Is(err, errs.EntityNotFound) {
			t.Error(err)
		}
		for _, life := range []time.Duration{12 * time.Hour, 0} {
			if err := s.SetTokenLife(ctx, "111111111111", life); err != nil {
				t.Fatal(err)
			}
			issue(12 * time.Hour)
		}
		if a, err := s.Account(ctx, "111111111111"); err != nil || a.TokenLife != principal.TokenLife {
			t.Errorf("%+v %v", a, err)
		}

		// A session that ends before goes on ending its tokens.
		p := k.Principal
		p.Session = &principal.Session{Expires: clk.Now().Add(10 * time.Minute)}
		issueOf := func(want time.Duration) {
			t.Helper()
			if _, expires, err := s.IssueToken(ctx, p, "us-east-1"); err != nil || !expires.Equal(clk.Now().Add(want).Truncate(time.Millisecond)) {
				t.Errorf("%v %v", expires, err)
			}
		}
		issueOf(10 * time.Minute)
		if err := s.SetTokenLife(ctx, "111111111111", 6*time.Minute); err != nil {
			t.Fatal(err)
		}
		issueOf(6 * time.Minute)

		// Set on another node: seen once what this one knows is old.
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE account SET revision = revision + 1, token_life = 0 WHERE id = '111111111111'`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		clk.Advance(principal.CacheLife)
		issue(12 * time.Hour)
	})
}
