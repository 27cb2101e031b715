package catalog_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

var defaultForm = regexp.MustCompile(`^[a-z][a-z0-9]{7}$`)

func TestDefaultAlias(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		if r := w.registry(w.here, us); r.Account != us || len(r.Aliases) != 0 || r.Primary() != "" {
			t.Errorf("before: %+v", r)
		}
		w.must(w.here.SetDisplayName(ctx, us, "Us")) // makes no alias
		if r := w.registry(w.here, us); len(r.Aliases) != 0 || r.DisplayName != "Us" {
			t.Errorf("with a name only: %+v", r)
		}
		w.create(us, "team/app")
		r := w.registry(w.here, us)
		if len(r.Aliases) != 1 || !r.Aliases[0].Default || r.Aliases[0].Status != catalog.Active || r.Aliases[0].Name != r.Primary() || !defaultForm.MatchString(string(r.Primary())) ||
			r.DisplayName != "Us" || !r.Aliases[0].RequestedAt.Equal(w.clk.Now()) || !r.Aliases[0].DecidedAt.Equal(w.clk.Now()) {
			t.Errorf("%+v", r)
		}
		w.resolves(w.here, string(r.Primary()), us)
		w.create(us, "team/other")
		if _, err := w.repos.Delete(ctx, name.PublicRegistry(us), "team/app", true, nothing); err != nil {
			t.Fatal(err)
		}
		if _, err := w.repos.Delete(ctx, name.PublicRegistry(us), "team/other", true, nothing); err != nil {
			t.Fatal(err)
		}
		w.create(us, "again")
		if now := w.registry(w.here, us); len(now.Aliases) != 1 || now.Primary() != r.Primary() {
			t.Errorf("the alias was %s and is %+v", r.Primary(), now)
		}
		w.create(them, "team/app")
		if theirs := w.registry(w.here, them).Primary(); theirs == r.Primary() || theirs == "" {
			t.Errorf("theirs is %q", theirs)
		}
	})
}

// A repository that is not made leaves no alias.
func TestDefaultAliasIsOneTransaction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		broken := errors.New("broken")
		c := public(us, "team/app")
		c.Tags = map[string]string{strings.Repeat("k", 200): "too long"}
		if _, _, err := w.here.CreateRepository(t.Context(), c, nil); !errs.Is(err, errs.InvalidResourceTag) {
			t.Errorf("a bad tag: %v", err)
		}
		err := w.db.Update(t.Context(), func(tx *sqldb.Tx) error {
			w.must(w.here.EnsureTx(t.Context(), tx, us))
			return broken
		})
		if !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		if n := w.count(`SELECT count(*) FROM public_alias`) + w.count(`SELECT count(*) FROM public_registry`) + w.count(`SELECT count(*) FROM repository`); n != 0 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestFirstRepositoriesAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const n = 12
		failed := make([]error, n)
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				s := w.here
				if i%2 == 0 {
					s = w.there
				}
				if i%3 == 0 {
					failed[i] = w.db.Update(t.Context(), func(tx *sqldb.Tx) error { return s.EnsureTx(t.Context(), tx, us) })
					return
				}
				_, _, failed[i] = s.CreateRepository(t.Context(), public(us, name.Repository(fmt.Sprintf("app%d", i))), nil)
			})
		}
		all.Wait()
		w.must(errors.Join(failed...))
		if r := w.registry(w.here, us); len(r.Aliases) != 1 || r.Primary() == "" {
			t.Errorf("%+v", r)
		}
	})
}

func TestLifeOfACustomAlias(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		a, err := w.here.RequestAlias(ctx, us, "acme")
		if err != nil || a.Name != "acme" || a.Account != us || a.Status != catalog.Pending || a.Default || a.Primary || !a.RequestedAt.Equal(w.clk.Now()) || !a.DecidedAt.IsZero() {
			t.Fatalf("%+v %v", a, err)
		}
		r := w.registry(w.here, us)
		if len(r.Aliases) != 2 || !r.Aliases[0].Default || r.Primary() != r.Aliases[0].Name || r.Aliases[1] != a {
			t.Errorf("a request gives the default alias too: %+v", r)
		}
		usual := r.Primary()
		w.resolves(w.here, "acme", "")
		w.clk.Advance(time.Hour)
		if a, err = w.here.Approve(ctx, "acme", false); err != nil || a.Status != catalog.Active || !a.Primary || !a.DecidedAt.Equal(w.clk.Now()) {
			t.Errorf("%+v %v", a, err)
		}
		if r = w.registry(w.here, us); r.Primary() != "acme" || r.Aliases[0].Primary || !r.Aliases[0].Default {
			t.Errorf("%+v", r)
		}
		w.resolves(w.here, "acme", us)
		w.resolves(w.here, string(usual), us)
		if a, err = w.here.SetPrimary(ctx, usual); err != nil || !a.Primary {
			t.Errorf("%+v %v", a, err)
		}
		if r = w.registry(w.here, us); r.Primary() != usual {
			t.Errorf("%+v", r)
		}
		if _, err = w.here.SetPrimary(ctx, "acme"); err != nil {
			t.Fatal(err)
		}
		if a, err = w.here.RemoveAlias(ctx, "acme"); err != nil || a.Name != "acme" || a.Status != catalog.Active {
			t.Errorf("%+v %v", a, err)
		}
		if r = w.registry(w.here, us); len(r.Aliases) != 1 || r.Primary() != usual {
			t.Errorf("%+v", r)
		}
		w.resolves(w.here, "acme", "")
		w.active(them, "acme") // it is free again
		w.resolves(w.here, "acme", them)
	})
}

func TestRejectedAlias(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		_, err := w.here.RequestAlias(ctx, us, "acme")
		w.must(err)
		for _, reason := range []string{"", " \n", strings.Repeat("x", catalog.MaxReason+1)} {
			if _, err := w.here.Reject(ctx, "acme", reason); !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("a reason of %d bytes: %v", len(reason), err)
			}
		}
		a, err := w.here.Reject(ctx, "acme", "it is theirs")
		if err != nil || a.Status != catalog.Rejected || a.Reason != "it is theirs" || a.DecidedAt.IsZero() {
			t.Errorf("%+v %v", a, err)
		}
		w.resolves(w.here, "acme", "")
		if r := w.registry(w.here, us); len(r.Aliases) != 2 || r.Aliases[1] != a {
			t.Errorf("%+v", r)
		}
		if a, err = w.here.RequestAlias(ctx, us, "acme"); err != nil || a.Status != catalog.Pending || a.Reason != "" || !a.DecidedAt.IsZero() {
			t.Errorf("asked for again: %+v %v", a, err)
		}
		_, err = w.here.Reject(ctx, "acme", "it is theirs")
		w.must(err)
		if r := w.registry(w.here, us); len(r.Aliases) != 2 { // has it in memory
			t.Errorf("%+v", r)
		}
		if a, err = w.here.RequestAlias(ctx, them, "acme"); err != nil || a.Account != them || a.Status != catalog.Pending {
			t.Errorf("asked for by another: %+v %v", a, err)
		}
		if r := w.registry(w.here, us); len(r.Aliases) != 1 {
			t.Errorf("%+v", r)
		}
		if r := w.registry(w.here, them); len(r.Aliases) != 2 {
			t.Errorf("%+v", r)
		}
	})
}

func TestAliasRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.active(us, "acme")
		refused := func(what string, err error, want string) {
			t.Helper()
			if !errs.Is(err, errs.InvalidParameter) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
		request := func(account name.AccountID, alias string) error {
			_, err := w.here.RequestAlias(ctx, account, alias)
			return err
		}
		refused("an account that is not there", request("333333333333", "other"), "no account '333333333333'")
		refused("taken", request(them, "acme"), "taken")
		refused("taken by itself", request(us, "acme"), "taken")
		refused("the form", request(us, "Acme"), "cannot be an alias")
		refused("reserved", request(us, "search"), "reserved")
		w.must(request(us, "acme2"))
		refused("two that wait", request(us, "acme3"), "'acme2'")
		_, err := w.here.Approve(ctx, "acme2", false)
		refused("two that are active", err, "'acme'")
		_, err = w.here.Approve(ctx, "acme", false)
		refused("approved twice", err, "ACTIVE")
		_, err = w.here.Reject(ctx, "acme", "why")
		refused("an active one rejected", err, "not pending")
		_, err = w.here.SetPrimary(ctx, "acme2")
		refused("a pending one as primary", err, "PENDING")
		for what, do := range map[string]func(name.Alias) (catalog.Alias, error){
			"approve": func(a name.Alias) (catalog.Alias, error) { return w.here.Approve(ctx, a, true) },
			"reject":  func(a name.Alias) (catalog.Alias, error) { return w.here.Reject(ctx, a, "why") },
			"primary": func(a name.Alias) (catalog.Alias, error) { return w.here.SetPrimary(ctx, a) },
			"remove":  func(a name.Alias) (catalog.Alias, error) { return w.here.RemoveAlias(ctx, a) },
		} {
			_, err := do("nobody")
			refused(what, err, "no alias 'nobody'")
		}
		usual := w.registry(w.here, us).Aliases[0].Name
		_, err = w.here.RemoveAlias(ctx, usual)
		refused("the default one removed", err, "stays")

		w.must(request(them, "aws-tools"))
		_, err = w.here.Approve(ctx, "aws-tools", false)
		refused("what is to be avoided", err, "includes 'aws'")
		if _, err = w.here.Approve(ctx, "aws-tools", true); err != nil {
			t.Error(err)
		}
		w.resolves(w.here, "aws-tools", them)
	})
}

func TestRequestsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.create(us, "app")
		w.create(them, "app")
		var all sync.WaitGroup
		var mu sync.Mutex
		won := map[name.AccountID]int{}
		for i := range 8 {
			account := []name.AccountID{us, them}[i%2]
			all.Go(func() {
				a, err := w.here.RequestAlias(t.Context(), account, "acme")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won[a.Account]++
				} else if !errs.Is(err, errs.InvalidParameter) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(won) != 1 || won[us]+won[them] != 1 {
			t.Errorf("%v", won)
		}
	})
}

func TestResolveIsFresh(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		both := func(want name.AccountID) {
			t.Helper()
			w.resolves(w.here, "acme", want)
			w.clk.Advance(catalog.CacheLife)
			w.resolves(w.there, "acme", want)
		}
		both("")
		w.active(us, "acme")
		w.resolves(w.there, "acme", "") // as long as the other node may go on
		both(us)
		_, err := w.here.RemoveAlias(ctx, "acme")
		w.must(err)
		w.resolves(w.there, "acme", us)
		both("")
		w.active(them, "acme")
		both(them)
		for _, alias := range []string{"", string(us), "Acme", "a", "acme/x", strings.Repeat("a", 51), "a\x00b", "\xff"} {
			if _, err := w.here.Resolve(ctx, alias); !errs.Is(err, errs.RegistryNotFound) {
				t.Errorf("%q: %v", alias, err)
			}
		}
	})
}

// What was read is not read again, also that nobody has an alias.
func TestResolveIsCached(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.active(us, "acme")
		for _, alias := range []string{"acme", "nobody"} {
			first, err := w.here.Resolve(t.Context(), alias)
			w.must(w.db.Update(t.Context(), func(tx *sqldb.Tx) error { // behind its back
				_, err := tx.Exec(t.Context(), `UPDATE public_alias SET alias = 'x' || alias WHERE is_default = $1`, false)
				return err
			}))
			second, again := w.here.Resolve(t.Context(), alias)
			if first != second || (err == nil) != (again == nil) {
				t.Errorf("%s: %q %v, then %q %v", alias, first, err, second, again)
			}
		}
		w.clk.Advance(catalog.CacheLife)
		w.resolves(w.here, "acme", "")
	})
}

func TestRegistryIsFresh(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.create(us, "app")
		_ = w.registry(w.there, us) // has it in memory
		w.must(w.here.SetDisplayName(ctx, us, "Us"))
		w.must(w.here.SetVerified(ctx, us, true))
		if r := w.registry(w.here, us); r.DisplayName != "Us" || !r.Verified {
			t.Errorf("%+v", r)
		}
		if r := w.registry(w.there, us); r.DisplayName != "" {
			t.Errorf("not from memory: %+v", r)
		}
		w.clk.Advance(catalog.CacheLife)
		r := w.registry(w.there, us)
		if r.DisplayName != "Us" || !r.Verified {
			t.Errorf("%+v", r)
		}
		r.Aliases[0].Name = "mine" // a caller's copy
		if w.registry(w.there, us).Aliases[0].Name == "mine" {
			t.Error("a caller changed what is in memory")
		}
		w.must(w.here.SetVerified(ctx, us, false))
		w.must(w.here.SetDisplayName(ctx, us, ""))
		if r := w.registry(w.here, us); r.DisplayName != "" || r.Verified || len(r.Aliases) != 1 {
			t.Errorf("%+v", r)
		}
		if err := w.here.SetVerified(ctx, "333333333333", true); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("an account that is not there: %v", err)
		}
	})
}

func TestListAliases(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.active(us, "bb")
		_, err := w.here.RequestAlias(ctx, us, "cc")
		w.must(err)
		_, err = w.here.RequestAlias(ctx, them, "aa")
		w.must(err)
		list := func(status catalog.AliasStatus, after name.Alias, limit int) (all []name.Alias) {
			t.Helper()
			found, err := w.here.ListAliases(ctx, status, after, limit)
			w.must(err)
			for _, a := range found {
				if status != "" && a.Status != status {
					t.Errorf("%+v", a)
				}
				if !a.Default {
					all = append(all, a.Name)
				}
			}
			return all
		}
		if got := fmt.Sprint(list("", "", 10), list(catalog.Pending, "", 10), list(catalog.Pending, "aa", 10), list(catalog.Pending, "", 1), list(catalog.Rejected, "", 10)); got != "[aa bb cc] [aa cc] [cc] [aa] []" {
			t.Error(got)
		}
	})
}
