package repository_test

import (
	"context"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const anyone = `{"Version":"2012-10-17","Statement":[{"Sid":"pull","Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}]}`

func asIs(_ context.Context, _ *sqldb.Tx, d *policy.Document) (*policy.Document, error) {
	return d, nil
}

func parsed(t *testing.T, text string) *policy.Document {
	t.Helper()
	d, err := policy.Parse(text, policy.Repository)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAccess(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		access := func(want bool, tags int) {
			t.Helper()
			a, err := w.Access(ctx, reg, "team/app")
			if err != nil || (a.Policy != nil) != want || len(a.Tags) != tags {
				t.Errorf("policy %v, tags %v, %v; want %v, %d", a.Policy, a.Tags, err, want, tags)
			}
		}
		access(false, 0) // also while there is no repository
		if err := w.SetPolicy(ctx, reg, "team/app", parsed(t, anyone), asIs); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("a policy without a repository: %v", err)
		}
		c := mutable("team/app")
		c.Tags = map[string]string{"a": "b"}
		made, err := w.Create(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		access(false, 1)
		if _, err := w.Policy(ctx, reg, "team/app", asIs); !errs.Is(err, errs.RepositoryPolicyNotFound) ||
			err.Error() != "Repository policy does not exist for the repository with name 'team/app' in the registry with id '111111111111'" {
			t.Errorf("no policy: %v", err)
		}
		for range 2 {
			if err := w.SetPolicy(ctx, reg, "team/app", parsed(t, anyone), asIs); err != nil {
				t.Fatal(err)
			}
		}
		access(true, 1)
		if d, err := w.Policy(ctx, reg, "team/app", asIs); err != nil || d.JSON() != anyone {
			t.Errorf("%v %v", d, err)
		}
		if err := w.SetTags(ctx, made, map[string]string{"c": "d"}); err != nil {
			t.Fatal(err)
		}
		access(true, 2)
		if err := w.RemoveTags(ctx, made, []string{"a", "c"}); err != nil {
			t.Fatal(err)
		}
		access(true, 0)
		if d, err := w.DeletePolicy(ctx, reg, "team/app", asIs); err != nil || d.JSON() != anyone {
			t.Errorf("%v %v", d, err)
		}
		access(false, 0)
		if _, err := w.DeletePolicy(ctx, reg, "team/app", asIs); !errs.Is(err, errs.RepositoryPolicyNotFound) {
			t.Errorf("a second delete: %v", err)
		}

		// A repository that is made again has nothing of the one before.
		if err := w.SetPolicy(ctx, reg, "team/app", parsed(t, anyone), asIs); err != nil {
			t.Fatal(err)
		}
		access(true, 0)
		if _, err := w.Delete(ctx, reg, "team/app", false, nothing); err != nil {
			t.Fatal(err)
		}
		access(false, 0)
		if _, err := w.Create(ctx, mutable("team/app")); err != nil {
			t.Fatal(err)
		}
		access(false, 0)
	})
}

// Another node sees a change once its entry is old, and a repository made again
// in between is not taken for the one before.
func TestAccessOnAnotherNode(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		there := repository.New(w.Config)
		if _, err := w.Create(ctx, mutable("team/app")); err != nil {
			t.Fatal(err)
		}
		if a, err := there.Access(ctx, reg, "team/app"); err != nil || a.Policy != nil {
			t.Fatalf("%+v %v", a, err)
		}
		seen := func(want bool) {
			t.Helper()
			w.clk.Advance(repository.CacheLife)
			if a, err := there.Access(ctx, reg, "team/app"); err != nil || (a.Policy != nil) != want {
				t.Errorf("%+v %v; want %v", a, err, want)
			}
		}
		if err := w.SetPolicy(ctx, reg, "team/app", parsed(t, anyone), asIs); err != nil {
			t.Fatal(err)
		}
		seen(true)
		if _, err := w.Delete(ctx, reg, "team/app", false, nothing); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Create(ctx, mutable("team/app")); err != nil {
			t.Fatal(err)
		}
		seen(false)
	})
}

// TestCreateWhole: a repository is made with its policy and with what After adds,
// or not at all.
func TestCreateWhole(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		if a, err := w.Access(ctx, reg, "team/app"); err != nil || a.Policy != nil { // what is not there is remembered too
			t.Fatal(a, err)
		}
		c := mutable("team/app")
		c.Policy, c.Tags = parsed(t, anyone), map[string]string{"a": "b"}
		broken := errs.New(errs.Validation, "After fails")
		c.After = func(ctx context.Context, tx *sqldb.Tx, made repository.Repository) error {
			if again, err := w.GetTx(ctx, tx, reg, "team/app"); err != nil || again.ID != made.ID {
				t.Errorf("After sees %+v, %v", again, err)
			}
			return broken
		}
		if _, err := w.Create(ctx, c); !errs.Is(err, errs.Validation) {
			t.Fatalf("a failing After: %v", err)
		}
		if _, err := w.Get(ctx, reg, "team/app"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("after a failure: %v", err)
		}
		broken = nil
		c.After = nothing
		if _, err := w.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
		if a, err := w.Access(ctx, reg, "team/app"); err != nil || a.Policy == nil || a.Policy.Document.JSON() != anyone || a.Tags["a"] != "b" {
			t.Errorf("%+v %v", a, err)
		}
	})
}
