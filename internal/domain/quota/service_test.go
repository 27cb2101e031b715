package quota

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const other = name.AccountID("444455556666")

func TestValues(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db)
		ctx, clk := t.Context(), clock.NewFake(time.Unix(1_800_000_000, 0))
		deployment := Default()
		deployment.TagsPerImage = 7
		open := func() *Service {
			return New(Config{DB: db, Clock: clk, Log: quiet, Limits: deployment, Rates: Rates{"PutImage": 10}, Share: true})
		}
		s, elsewhere := open(), open()
		limits := func(s *Service, a name.AccountID, r name.Repository) Limits {
			t.Helper()
			l, err := s.Limits(ctx, a)
			if r != "" {
				l, err = s.RepositoryLimits(ctx, a, r)
			}
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		set := func(r name.Repository, named string, value int64) {
			t.Helper()
			if err := s.Set(ctx, account, r, named, value); err != nil {
				t.Fatal(err)
			}
		}
		if got := limits(s, account, ""); got != deployment {
			t.Errorf("without values of its own: %+v", got)
		}
		limits(elsewhere, account, "")

		set("", "images-per-repository", 5)
		set("", "images-per-repository", 6)
		set("", "lifecycle-rules", 3)
		set("", repositoryStorage, 100)
		set("team/one", repositoryStorage, 50)
		want := deployment
		want.ImagesPerRepository, want.LifecycleRules, want.RepositoryStorageBytes = 6, 3, 100
		if got := limits(s, account, ""); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if got := limits(s, account, "team/two"); got != want {
			t.Errorf("a repository without values of its own: %+v", got)
		}
		if got := limits(s, account, "team/one"); got.RepositoryStorageBytes != 50 || got.ImagesPerRepository != 6 {
			t.Errorf("a repository with a value of its own: %+v", got)
		}
		if got := limits(s, other, "team/one"); got != deployment {
			t.Errorf("another account: %+v", got)
		}
		if got := limits(elsewhere, account, ""); got != deployment {
			t.Errorf("another node reads the database each time: %+v", got)
		}
		clk.Advance(CacheLife)
		if got := limits(elsewhere, account, ""); got != want {
			t.Errorf("another node, %s later: %+v", CacheLife, got)
		}

		if err := s.Unset(ctx, account, "team/one", repositoryStorage); err != nil {
			t.Fatal(err)
		}
		if got := limits(s, account, "team/one"); got != want {
			t.Errorf("unset: %+v", got)
		}
		refused := func(what string, err error) {
			t.Helper()
			if !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%s: %v", what, err)
			}
		}
		refused("unset twice", s.Unset(ctx, account, "team/one", repositoryStorage))
		refused("an unknown name", s.Set(ctx, account, "", "imagez", 1))
		refused("an unknown name", s.Unset(ctx, account, "", "rate:"))
		refused("0", s.Set(ctx, account, "", "images-per-repository", 0))
		refused("less than 0", s.Set(ctx, account, "", "storage-bytes", -1))
		refused("more than the machine can", s.Set(ctx, account, "", "resource-tags", 1<<40))
		refused("an account's value", s.Set(ctx, account, "team/one", "images-per-repository", 1))
		refused("parts that cannot be", s.Set(ctx, account, "", "max-part-bytes", 1<<20))
		if err := s.Set(ctx, other, "", "tags-per-image", 1); err == nil {
			t.Error("an account that does not exist has a value")
		}
		if got := limits(s, account, ""); got != want {
			t.Errorf("after what was refused: %+v", got)
		}

		// Rates: at once here, after a Refresh elsewhere.
		set("", "rate:PutImage", 2)
		set("", "rate:DescribeImages", 3)
		for action, n := range map[string]int{"PutImage": 2, "DescribeImages": 3} {
			// Shared, a bucket starts small; a request that finds it full counts.
			if rate := s.table.Load().of(account, action); rate != int64(n) {
				t.Errorf("%s: %d", action, rate)
			}
		}
		if rate := elsewhere.table.Load().of(account, "PutImage"); rate != 10 {
			t.Errorf("elsewhere: %d", rate)
		}
		if err := elsewhere.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		if rate := elsewhere.table.Load().of(account, "PutImage"); rate != 2 {
			t.Errorf("elsewhere after a Refresh: %d", rate)
		}
		set("", "rate:PutImage", 0)
		if got := admitted(t, s, request("PutImage"), 100); got != 100 {
			t.Errorf("%d of 100 without a limit", got)
		}

		all, err := s.List(ctx, account, "")
		if err != nil {
			t.Fatal(err)
		}
		// Two are of addresses, and one was set.
		if want := len(All()) + len(ECRRates()) - 2 + 1; len(all) != want {
			t.Errorf("%d values are listed, want %d", len(all), want)
		}
		set("team/one", repositoryStorage, 1<<30)
		of, err := s.List(ctx, account, "team/one")
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range [][]Value{all, of} {
			for _, v := range list {
				wantSet, value := "", v.Default
				switch v.Name {
				case "images-per-repository":
					wantSet, value = setForAccount, 6
				case "lifecycle-rules":
					wantSet, value = setForAccount, 3
				case "rate:PutImage":
					wantSet, value = setForAccount, 0
				case "rate:DescribeImages":
					wantSet, value = setForAccount, 3
				case repositoryStorage:
					wantSet, value = setForAccount, 100
					if &list[0] == &of[0] {
						wantSet, value = setForRepository, 1<<30
					}
				case "tags-per-image":
					value = 7
				}
				if v.Set != wantSet || v.Value != value || v.Title == "" {
					t.Errorf("listed as %+v, want %d set for %q", v, value, wantSet)
				}
			}
		}
	})
}

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, q := range All() {
		var l Limits
		q.set(&l, 12345)
		if seen[q.Name] || q.Of(l) != 12345 || q.Title == "" || q.Unit == "" {
			t.Errorf("%+v", q)
		}
		seen[q.Name] = true
		if err := q.check(q.Default()); err != nil {
			t.Errorf("the default of %s: %v", q.Name, err)
		}
		again, err := ParseValue(q.Name, text(q.Default(), q.Unit, q.Unlimited))
		if err != nil || again != q.Default() {
			t.Errorf("%s is written as %q, which reads as %d, %v", q.Name, text(q.Default(), q.Unit, q.Unlimited), again, err)
		}
	}
	if l, err := Fixed(Default()).Limits(t.Context(), account); err != nil || l != Default() {
		t.Errorf("fixed: %+v, %v", l, err)
	}
}

func TestParseValue(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       int64 // -1: refused
	}{
		{"storage-bytes", "10GiB", 10 << 30}, {"storage-bytes", "10 GiB", 10 << 30}, {"storage-bytes", "1TiB", 1 << 40},
		{"storage-bytes", "7KiB", 7 << 10}, {"storage-bytes", "123", 123}, {"storage-bytes", "unlimited", 0}, {"storage-bytes", "0", 0},
		{"storage-bytes", "10GB", -1}, {"storage-bytes", "-1GiB", -1}, {"storage-bytes", "GiB", -1}, {"storage-bytes", "1.5GiB", -1},
		{"storage-bytes", "9000000TiB", -1}, {"storage-bytes", "", -1},
		{"images-per-repository", "5", 5}, {"images-per-repository", "5KiB", -1}, {"images-per-repository", "0", -1}, {"images-per-repository", "unlimited", -1},
		{"rate:PutImage", "20", 20}, {"rate:PutImage", "unlimited", 0}, {"rate:PutImage", "0.5", -1}, {"rate:Put Image", "1", -1},
		{"nothing", "1", -1},
	} {
		got, err := ParseValue(c.name, c.text)
		if c.want < 0 {
			if !errs.Is(err, errs.InvalidParameter) {
				t.Errorf("%s %q is %d, %v", c.name, c.text, got, err)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s %q is %d, %v, want %d", c.name, c.text, got, err, c.want)
		}
	}
}
