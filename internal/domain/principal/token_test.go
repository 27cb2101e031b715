package principal_test

import (
	"encoding/base64"
	"strings"
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

// TestWholeTokens: a token as clients send it says what its password says, and neither is taken for
// the other.
func TestWholeTokens(t *testing.T) {
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
		password, _, err := s.IssueToken(ctx, k.Principal, "us-east-1")
		if err != nil {
			t.Fatal(err)
		}
		encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
		whole := encode("AWS:" + password)
		for range 2 { // read, and known
			if p, err := s.VerifyToken(ctx, whole, "us-east-1"); err != nil || p != k.Principal {
				t.Errorf("%+v %v", p, err)
			}
			if _, err := s.VerifyToken(ctx, whole, "eu-west-1"); !errs.Is(err, errs.AccessDenied) {
				t.Errorf("in another region: %v", err)
			}
			if p, err := s.Verify(ctx, password, "us-east-1"); err != nil || p != k.Principal {
				t.Errorf("the password: %+v %v", p, err)
			}
			if _, err := s.Verify(ctx, whole, "us-east-1"); !errs.Is(err, errs.AccessDenied) {
				t.Errorf("a whole token is taken for a password: %v", err)
			}
			for _, bad := range []string{"", "x", password, encode(password), encode("aws:" + password), encode("AWS" + password), encode("AWS:"), encode("AWS:" + whole), encode("AWS:" + password + "x"), whole[1:], strings.Repeat(whole, 9)} {
				if p, err := s.VerifyToken(ctx, bad, "us-east-1"); !errs.Is(err, errs.AccessDenied) {
					t.Errorf("%q is taken for %+v: %v", bad, p, err)
				}
			}
		}
		clk.Advance(12 * time.Hour)
		if _, err := s.VerifyToken(ctx, whole, "us-east-1"); !errs.Is(err, errs.TokenExpired) {
			t.Errorf("after twelve hours: %v", err)
		}
	})
}

// TestIsRoot: only the ARN of the account's own root user is one.
func TestIsRoot(t *testing.T) {
	for arn, want := range map[string]bool{
		principal.RootARN("111111111111"): true, principal.RootARN("222222222222"): false, "": false, "arn:aws:iam:::root": false, "arn:aws:iam::111111111111": false,
		"arn:aws:iam::111111111111:root:root": false, "arn:aws:iam::111111111111:user/root": false, "arn:aws:sts::111111111111:root": false,
	} {
		if got := (principal.Principal{Account: "111111111111", ARN: arn}).IsRoot(); got != want {
			t.Errorf("%q is root: %v", arn, got)
		}
	}
	if p := principal.Root("111111111111"); !p.IsRoot() {
		t.Errorf("%+v is not root", p)
	}
	if (principal.Principal{Account: "111111111111", ARN: principal.RootARN("111111111111"), Entity: "AIDA"}).IsRoot() {
		t.Error("a user is root")
	}
}
