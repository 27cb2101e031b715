package credential_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const reuse = "Policy constraint violation with password reuse prevention during password change."

func (w world) verify(t *testing.T, a name.AccountID, userName, secret string, ok, mustChange bool) {
	t.Helper()
	gotOK, gotMust, err := w.Verify(t.Context(), a, userName, secret)
	if err != nil || gotOK != ok || gotMust != mustChange {
		t.Errorf("Verify(%s, %s): %v %v %v, want %v %v", userName, secret, gotOK, gotMust, err, ok, mustChange)
	}
}

func TestLoginProfile(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		const none = "Login Profile for User Bay cannot be found."
		_, err := w.LoginProfile(ctx, account, bay)
		refused(t, err, errs.EntityNotFound, none)
		refused(t, w.UpdateLoginProfile(ctx, account, bay, new("Secret-22"), nil), errs.EntityNotFound, none)
		refused(t, w.DeleteLoginProfile(ctx, account, bay), errs.EntityNotFound, none)
		refused(t, w.ChangePassword(ctx, account, bay, "x", "Secret-22"), errs.EntityNotFound, none)
		w.verify(t, account, "Bay", "Secret-11", false, false)

		p, err := w.CreateLoginProfile(ctx, account, credential.Owner{Name: "bAY"}, "Secret-11", true)
		want := credential.LoginProfile{UserName: "Bay", ResetRequired: true, CreatedAt: w.clk.Now()}
		if err != nil || p != want {
			t.Fatalf("%+v %v", p, err)
		}
		_, err = w.CreateLoginProfile(ctx, account, bay, "Secret-11", true)
		refused(t, err, errs.EntityExists, "Login Profile for user Bay already exists.")
		if p, err := w.LoginProfile(ctx, account, bay); err != nil || p != want {
			t.Errorf("%+v %v", p, err)
		}
		if hash := w.text(t, `SELECT hash FROM iam_login_profile`); !strings.HasPrefix(hash, "$argon2id$") || strings.Contains(hash, "Secret") {
			t.Errorf("stored: %q", hash)
		}
		w.verify(t, account, "bay", "Secret-11", true, true)
		w.verify(t, account, "Bay", "Secret-12", false, false)
		w.verify(t, account, "elm", "Secret-11", false, false)
		w.verify(t, account, "mallows", "Secret-11", false, false)
		w.verify(t, account, "", "Secret-11", false, false)
		w.verify(t, other, "Bay", "Secret-11", false, false)
		w.verify(t, "999999999999", "Bay", "Secret-11", false, false)

		w.clk.Advance(time.Hour)
		if err := w.UpdateLoginProfile(ctx, account, bay, nil, new(false)); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-11", true, false)
		if err := w.UpdateLoginProfile(ctx, account, bay, new("Secret-22"), nil); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-11", false, false)
		w.verify(t, account, "Bay", "Secret-22", true, false)
		if err := w.UpdateLoginProfile(ctx, account, bay, new("Secret-33"), new(true)); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-33", true, true)
		want.ResetRequired = true
		if p, err := w.LoginProfile(ctx, account, bay); err != nil || p != want { // still of the same age
			t.Errorf("%+v %v", p, err)
		}
		if used := w.text(t, `SELECT CAST(used_at AS TEXT) FROM iam_login_profile`); used != fmt.Sprint(w.clk.Now().UnixMicro()) {
			t.Errorf("used at %s", used)
		}
		// A change of one's own does what was required.
		refused(t, w.ChangePassword(ctx, account, bay, "Secret-22", "Secret-44"), errs.AccessDenied, "The old password was incorrect.")
		if err := w.ChangePassword(ctx, account, credential.Owner{ID: bayID}, "Secret-33", "Secret-44"); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-44", true, false)
		if err := w.DeleteLoginProfile(ctx, account, bay); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-44", false, false)

		_, err = w.CreateLoginProfile(ctx, account, credential.Owner{Name: "mallows"}, "Secret-11", false)
		refused(t, err, errs.EntityNotFound, "The user with name mallows cannot be found.")
		// The root user has none.
		_, err = w.CreateLoginProfile(ctx, account, root, "Secret-11", false)
		refused(t, err, errs.InvalidUserType, "Only IAM users have a login profile. Specify the name of one.")
		refused(t, w.ChangePassword(ctx, account, root, "a", "b"), errs.InvalidUserType, "Only IAM Users can change their own password.")
		_, err = w.LoginProfile(ctx, account, root)
		refused(t, err, errs.EntityNotFound, "Login Profile for the root user cannot be found.")
		refused(t, w.DeleteLoginProfile(ctx, account, root), errs.EntityNotFound, "Login Profile for the root user cannot be found.")
	})
}

// Every way to a password goes past the account's rules.
func TestPasswordPolicyHolds(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		if p, err := w.PasswordPolicy(ctx, account); err != nil || p != nil {
			t.Errorf("at first: %+v %v", p, err)
		}
		refused(t, w.DeletePasswordPolicy(ctx, account), errs.EntityNotFound, "The Password Policy with domain name 111111111111 cannot be found.")
		const weak, short = "abcdefgh", "Password should have a minimum length of 20"
		for _, policy := range []*password.Policy{nil, {Length: 20, Symbols: true, MaxAge: 90, Remembered: 3, UsersMayChange: true}} {
			text := "Password should meet 2 more of the following requirements: Password should have at least one uppercase letter, " +
				"Password should have at least one number, Password should have at least one symbol"
			good := "Secret-11"
			if policy != nil {
				if err := w.SetPasswordPolicy(ctx, account, *policy); err != nil {
					t.Fatal(err)
				}
				text, good = short+", Password should have at least one symbol", "a-long-and-fine-secret"
			}
			if p, err := w.PasswordPolicy(ctx, account); err != nil || (p == nil) != (policy == nil) || p != nil && *p != *policy {
				t.Errorf("%+v %v", p, err)
			}
			_, err := w.CreateLoginProfile(ctx, account, bay, weak, false)
			refused(t, err, errs.PasswordRefused, text)
			if _, err = w.CreateLoginProfile(ctx, account, bay, good, false); err != nil {
				t.Fatal(err)
			}
			refused(t, w.UpdateLoginProfile(ctx, account, bay, new(weak), nil), errs.PasswordRefused, text)
			refused(t, w.ChangePassword(ctx, account, bay, good, weak), errs.PasswordRefused, text)
			if err := w.DeleteLoginProfile(ctx, account, bay); err != nil {
				t.Fatal(err)
			}
		}
		// Names are no passwords.
		if err := w.SetPasswordPolicy(ctx, account, password.Policy{Length: 3}); err != nil {
			t.Fatal(err)
		}
		if err := w.SetAlias(ctx, account, "acme-corp"); err != nil {
			t.Fatal(err)
		}
		for _, named := range []string{"bay", "ACME-corp", string(account)} {
			_, err := w.CreateLoginProfile(ctx, account, bay, named, false)
			refused(t, err, errs.PasswordRefused, "Password should not be the name of the user or the account")
		}
		if err := w.DeletePasswordPolicy(ctx, account); err != nil {
			t.Fatal(err)
		}
		if p, err := w.PasswordPolicy(ctx, account); err != nil || p != nil {
			t.Errorf("in the end: %+v %v", p, err)
		}
		if _, err := w.PasswordPolicy(ctx, "999999999999"); !errs.Is(err, errs.EntityNotFound) {
			t.Errorf("no account: %v", err)
		}
	})
}

func TestReusePrevention(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		secret := func(i int) string { return fmt.Sprintf("Secret-%02d", i) }
		if _, err := w.CreateLoginProfile(ctx, account, bay, secret(0), false); err != nil {
			t.Fatal(err)
		}
		if err := w.ChangePassword(ctx, account, bay, secret(0), secret(0)); err != nil {
			t.Errorf("without a policy: %v", err)
		}
		if err := w.SetPasswordPolicy(ctx, account, password.Policy{Length: 6, Remembered: 2}); err != nil {
			t.Fatal(err)
		}
		// The present one and the one before.
		refused(t, w.ChangePassword(ctx, account, bay, secret(0), secret(0)), errs.PasswordRefused, reuse)
		if err := w.ChangePassword(ctx, account, bay, secret(0), secret(1)); err != nil {
			t.Fatal(err)
		}
		refused(t, w.ChangePassword(ctx, account, bay, secret(1), secret(0)), errs.PasswordRefused, reuse)
		refused(t, w.UpdateLoginProfile(ctx, account, bay, new(secret(0)), nil), errs.PasswordRefused, reuse)
		if err := w.ChangePassword(ctx, account, bay, secret(1), secret(2)); err != nil {
			t.Fatal(err)
		}
		if err := w.ChangePassword(ctx, account, bay, secret(2), secret(0)); err != nil {
			t.Errorf("three passwords ago: %v", err)
		}
		// Deleting the profile does not help.
		if err := w.DeleteLoginProfile(ctx, account, bay); err != nil {
			t.Fatal(err)
		}
		_, err := w.CreateLoginProfile(ctx, account, bay, secret(2), false)
		refused(t, err, errs.PasswordRefused, reuse)
		// 24 are kept and no more, also while nothing asks for them.
		if err := w.DeletePasswordPolicy(ctx, account); err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateLoginProfile(ctx, account, bay, secret(10), false); err != nil {
			t.Fatal(err)
		}
		// Rows in place of changes, each of which would take its time.
		for i := range 30 {
			w.exec(t, `INSERT INTO iam_password_history (user_id, changed_at, hash) SELECT user_id, $1, hash FROM iam_login_profile`, w.clk.Now().UnixMicro()+int64(100+i))
		}
		if err := w.UpdateLoginProfile(ctx, account, bay, new(secret(11)), nil); err != nil {
			t.Fatal(err)
		}
		got := w.text(t, `SELECT CAST(count(*) AS TEXT) || ' from ' || CAST(min(changed_at) AS TEXT) FROM iam_password_history`)
		if want := fmt.Sprintf("24 from %d", w.clk.Now().UnixMicro()+107); got != want {
			t.Errorf("remembered: %s, want %s", got, want)
		}
		if err := w.SetPasswordPolicy(ctx, account, password.Policy{Length: 6, Remembered: 24}); err != nil {
			t.Fatal(err)
		}
		refused(t, w.UpdateLoginProfile(ctx, account, bay, new(secret(11)), nil), errs.PasswordRefused, reuse)
		if err := w.UpdateLoginProfile(ctx, account, bay, new(secret(0)), nil); err != nil {
			t.Errorf("more than 24 passwords ago: %v", err)
		}
	})
}

func TestExpiry(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		if _, err := w.CreateLoginProfile(ctx, account, bay, "Secret-11", false); err != nil {
			t.Fatal(err)
		}
		if err := w.SetPasswordPolicy(ctx, account, password.Policy{Length: 6, MaxAge: 10}); err != nil {
			t.Fatal(err)
		}
		w.clk.Advance(10*24*time.Hour - time.Second)
		w.verify(t, account, "Bay", "Secret-11", true, false)
		w.clk.Advance(time.Second)
		w.verify(t, account, "Bay", "Secret-11", true, true)
		if err := w.SetPasswordPolicy(ctx, account, password.Policy{Length: 6, MaxAge: 10, HardExpiry: true}); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-11", false, true)
		w.verify(t, account, "Bay", "Secret-12", false, false) // who does not know it learns nothing
		// With a key of its own the user can change it all the same.
		if err := w.ChangePassword(ctx, account, bay, "Secret-11", "Secret-22"); err != nil {
			t.Fatal(err)
		}
		w.verify(t, account, "Bay", "Secret-22", true, false)
		// The age is the password's, not the profile's.
		w.clk.Advance(9 * 24 * time.Hour)
		w.verify(t, account, "Bay", "Secret-22", true, false)
	})
}

// Of many changes that start from one password, one happens.
func TestChangesSideBySide(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db), t.Context()
		if _, err := w.CreateLoginProfile(ctx, account, bay, "Secret-11", false); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		results := make([]error, 6)
		for i := range results {
			wg.Go(func() {
				results[i] = w.ChangePassword(ctx, account, bay, "Secret-11", fmt.Sprintf("Changed-%d", i))
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range results {
			if err == nil {
				if winner >= 0 {
					t.Errorf("%d and %d both changed it", winner, i)
				}
				winner = i
			} else if !errs.Is(err, errs.AccessDenied) {
				t.Error(err)
			}
		}
		w.verify(t, account, "Bay", fmt.Sprintf("Changed-%d", winner), true, false)
	})
}

// Whether there is such a user does not show in the time taken: Verify hashes in
// any case. No machine does that in the three milliseconds in which any finds out
// that there is nobody; a busy one only takes longer.
func TestVerifyTakesItsTime(t *testing.T) {
	w := open(t, sqldbtest.SQLite(t))
	if _, err := w.CreateLoginProfile(t.Context(), account, bay, "Secret-11", false); err != nil {
		t.Fatal(err)
	}
	for _, userName := range []string{"Bay", "mallows", "elm"} {
		best := time.Hour
		for range 5 {
			start := time.Now()
			w.verify(t, account, userName, "wrong", false, false)
			best = min(best, time.Since(start))
		}
		if best < 3*time.Millisecond {
			t.Errorf("%s: %v", userName, best)
		}
	}
}

func TestGivenUp(t *testing.T) {
	w := open(t, sqldbtest.SQLite(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Verify(ctx, account, "Bay", "x"); err == nil {
		t.Error("Verify went on")
	}
	if err := w.ChangePassword(ctx, account, bay, "x", "y"); err == nil {
		t.Error("ChangePassword went on")
	}
}
