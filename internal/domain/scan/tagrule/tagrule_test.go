package tagrule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/scan/tagrule"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func TestAllows(t *testing.T) {
	rules := []tagrule.Rule{{Repository: "team/*", Tags: []string{"v*", "latest"}}, {Repository: "team/app", Tags: []string{"*-rc"}}, {Repository: "exact", Tags: []string{"*"}}}
	for _, c := range []struct {
		repo name.Repository
		tags string
		want bool
	}{
		{"other", "x", true}, {"other", "", true}, {"exact/more", "", true},
		{"team/web", "v1", true}, {"team/web", "latest", true}, {"team/web", "latest2", false}, {"team/web", "x-rc", false}, {"team/web", "x v2", true}, {"team/web", "", false},
		{"team/app", "x-rc", true}, {"team/app", "v1", true}, {"team/app", "x", false},
		{"exact", "anything", true}, {"exact", "", false},
	} {
		var tags []name.Tag
		for _, tag := range strings.Fields(c.tags) {
			tags = append(tags, name.Tag(tag))
		}
		if got := tagrule.Allows(rules, c.repo, tags); got != c.want {
			t.Errorf("%s with %q: %v", c.repo, c.tags, got)
		}
	}
	if !tagrule.Allows(nil, "a", nil) {
		t.Error("no rules let nothing pass")
	}
}

func TestRows(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(db.Migrate(ctx, "schema_version", schema.Durable()...))
		reg := name.Registry{Account: "111111111111", Region: "us-east-1"}
		must(db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, string(reg.Account), "", 1)
			return err
		}))
		clk := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		s := tagrule.New(tagrule.Config{DB: db, Clock: clk, Registries: registry.New(db, clk, []name.Region{reg.Region})})
		allows := func(repo name.Repository, tag name.Tag) (ok bool) {
			t.Helper()
			must(db.View(ctx, func(tx *sqldb.Tx) (err error) {
				ok, err = s.AllowsTx(ctx, tx, reg, repo, []name.Tag{tag})
				return err
			}))
			return ok
		}
		if !allows("a", "x") {
			t.Error("without rules a push is not scanned")
		}
		_, err := s.Put(ctx, reg, tagrule.Rule{Repository: "b*", Tags: []string{"v*"}})
		must(err)
		clk.Advance(time.Minute)
		made, err := s.Put(ctx, reg, tagrule.Rule{Repository: "b*", Tags: []string{"release-*", "v1"}})
		must(err)
		_, err = s.Put(ctx, reg, tagrule.Rule{Repository: "a", Tags: []string{"v*"}})
		must(err)
		if all, err := s.Rules(ctx, reg); err != nil || len(all) != 2 || all[0].Repository != "a" || fmt.Sprint(all[1]) != fmt.Sprint(made) || !made.CreatedAt.Equal(clk.Now()) {
			t.Errorf("%+v %v", all, err)
		}
		if allows("b1", "v2") || !allows("b1", "v1") || allows("a", "x") || !allows("c", "x") {
			t.Error("the rules do not count")
		}
		refused := func(err error, code errs.Code, want string) {
			t.Helper()
			if !errs.Is(err, code) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		for want, r := range map[string]tagrule.Rule{
			`"A" cannot be a filter`: {Repository: "A", Tags: []string{"x"}}, "needs 1 to 50 patterns": {Repository: "a"}, `"a b" cannot be a pattern of tags`: {Repository: "a", Tags: []string{"a b"}},
		} {
			_, err := s.Put(ctx, reg, r)
			refused(err, errs.InvalidParameter, want)
		}
		_, err = s.Put(ctx, name.Registry{Account: "222222222222", Region: reg.Region}, made)
		refused(err, errs.InvalidParameter, "does not exist")
		for i := range tagrule.MaxRules - 2 {
			_, err := s.Put(ctx, reg, tagrule.Rule{Repository: fmt.Sprintf("r%d", i), Tags: []string{"x"}})
			must(err)
		}
		_, err = s.Put(ctx, reg, tagrule.Rule{Repository: "more", Tags: []string{"x"}})
		refused(err, errs.LimitExceeded, "has 100 tag rules")
		must(s.Delete(ctx, reg, "a"))
		refused(s.Delete(ctx, reg, "a"), errs.InvalidParameter, `no tag rule for "a"`)
		if !allows("a", "x") {
			t.Error("a deleted rule counts")
		}
	})
}
