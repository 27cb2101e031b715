package repository_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func (w world) count(t *testing.T) (n int64) {
	t.Helper()
	if err := w.DB.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT repositories FROM registry WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region)).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func (w world) windowed(t *testing.T, repo name.Repository) repository.Repository {
	t.Helper()
	c := mutable(repo)
	c.Tags = map[string]string{"berth:recovery-window": "7d", "owner": "me"}
	r, err := w.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestDeletedRepository(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		r := w.windowed(t, "app")
		d, err := policy.Parse(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"ecr:*"}]}`, policy.Repository)
		if err != nil {
			t.Fatal(err)
		}
		pin := func(_ context.Context, _ *sqldb.Tx, d *policy.Document) (*policy.Document, error) { return d, nil }
		if err := w.SetPolicy(ctx, reg, "app", d, pin); err != nil {
			t.Fatal(err)
		}
		sealed, err := w.Seal(ctx, r, "x", []byte("manifest"))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := w.Access(ctx, reg, "app"); err != nil || a.Policy == nil || a.Tags["owner"] != "me" {
			t.Fatalf("%+v %v", a, err)
		}
		deleted, err := w.Delete(ctx, reg, "app", false, func(context.Context, *sqldb.Tx, repository.Repository) error {
			return errors.New("what it holds was released")
		})
		if err != nil || deleted.Name != "app" {
			t.Fatalf("%+v %v", deleted, err)
		}

		// For everybody else it is gone.
		if n := w.count(t); n != 0 {
			t.Errorf("the registry counts %d", n)
		}
		if a, err := w.Access(ctx, reg, "app"); err != nil || a.Policy != nil || len(a.Tags) != 0 {
			t.Errorf("%+v %v", a, err)
		}
		hidden := name.Repository(fmt.Sprintf("deleted:%d", r.ID))
		for _, n := range []name.Repository{"app", hidden} {
			if _, err := w.Get(ctx, reg, n); !errs.Is(err, errs.RepositoryNotFound) {
				t.Errorf("%s: %v", n, err)
			}
			if _, err := w.GetAll(ctx, reg, []name.Repository{n}); !errs.Is(err, errs.RepositoryNotFound) {
				t.Errorf("%s: %v", n, err)
			}
			if _, err := w.Delete(ctx, reg, n, true, nothing); !errs.Is(err, errs.RepositoryNotFound) {
				t.Errorf("%s: %v", n, err)
			}
			if _, err := w.SetScanOnPush(ctx, reg, n, true); !errs.Is(err, errs.RepositoryNotFound) {
				t.Errorf("%s: %v", n, err)
			}
			if a, err := w.Access(ctx, reg, n); err != nil || a.Policy != nil {
				t.Errorf("%s: %+v %v", n, a, err)
			}
		}
		if all, err := w.List(ctx, reg, "", 10); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { _, err := w.Lock(ctx, tx, r); return err }); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("a push that was under way: %v", err)
		}

		// The operator sees it.
		all, err := w.ListDeleted(ctx, reg, "", 0, 10)
		if err != nil || len(all) != 1 || all[0].ID != r.ID || all[0].Name != "app" || !all[0].DeletedAt.Equal(w.clk.Now()) || !all[0].ExpiresAt.Equal(w.clk.Now().Add(7*day)) {
			t.Fatalf("%+v %v", all, err)
		}
		for n, want := range map[name.Repository]int{"app": 1, "other": 0, hidden: 0} {
			if all, err := w.ListDeleted(ctx, reg, n, 0, 10); err != nil || len(all) != want {
				t.Errorf("%s: %v %v", n, all, err)
			}
		}
		if all, err := w.ListDeleted(ctx, other, "", 0, 10); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}

		// The name is free; then the deleted one comes back under another.
		second := w.windowed(t, "app")
		if second.ID == r.ID {
			t.Fatal("the same repository")
		}
		if _, err := w.Undelete(ctx, r.ID, ""); !errs.Is(err, errs.RepositoryExists) {
			t.Errorf("%v", err)
		}
		if _, err := w.Undelete(ctx, second.ID, "x"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("one that is not deleted: %v", err)
		}
		if a, err := w.Access(ctx, reg, "old/app"); err != nil || a.Policy != nil {
			t.Errorf("%+v %v", a, err)
		}
		back, err := w.Undelete(ctx, r.ID, "old/app")
		if err != nil || back.Name != "old/app" || !back.DeletedAt.IsZero() {
			t.Fatalf("%+v %v", back, err)
		}
		if a, err := w.Access(ctx, reg, "old/app"); err != nil || a.Policy == nil || a.Tags["owner"] != "me" {
			t.Errorf("%+v %v", a, err)
		}
		got, err := w.Get(ctx, reg, "old/app")
		if err != nil || got.ID != r.ID || !got.CreatedAt.Equal(r.CreatedAt) || got.Name != "old/app" {
			t.Errorf("%+v %v", got, err)
		}
		if plain, err := w.Unseal(ctx, got, "x", sealed); err != nil || string(plain) != "manifest" {
			t.Errorf("%q %v", plain, err)
		}
		if n := w.count(t); n != 2 {
			t.Errorf("the registry counts %d", n)
		}

		// Deleted again, and to its end.
		if _, err := w.Delete(ctx, reg, "old/app", false, nothing); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(ctx, reg, "app", false, nothing); err != nil {
			t.Fatal(err)
		}
		w.clk.Advance(7*day - time.Second)
		released := 0
		release := func(_ context.Context, _ *sqldb.Tx, gone repository.Repository) error {
			if released++; gone.ID != r.ID {
				t.Errorf("%+v", gone)
			}
			return nil
		}
		if ids, err := w.Overdue(ctx, 0, 10); err != nil || len(ids) != 0 {
			t.Errorf("%v %v", ids, err)
		}
		if removed, err := w.Remove(ctx, r.ID, w.clk.Now(), release); err != nil || removed {
			t.Errorf("%v %v", removed, err)
		}
		w.clk.Advance(time.Second)
		if ids, err := w.Overdue(ctx, 0, 10); err != nil || len(ids) != 2 {
			t.Errorf("%v %v", ids, err)
		}
		for n, want := range []bool{true, false} {
			if removed, err := w.Remove(ctx, r.ID, w.clk.Now(), release); err != nil || removed != want || released != 1 {
				t.Errorf("%d: %v %v, released %d times", n, removed, err, released)
			}
		}
		if _, err := w.Undelete(ctx, r.ID, ""); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("%v", err)
		}
		if _, err := w.Stored(ctx, r.ID); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("%v", err)
		}
		if s, err := w.Stored(ctx, second.ID); err != nil || s.Name != "app" {
			t.Errorf("%+v %v", s, err)
		}
		if _, err := w.Undelete(ctx, second.ID, ""); err != nil { // the job was late
			t.Error(err)
		}
		if removed, err := w.Remove(ctx, second.ID, w.clk.Now(), release); err != nil || removed {
			t.Errorf("one that was restored: %v %v", removed, err)
		}
	})
}

// TestWithoutAWindow: nothing is kept where nothing was set.
func TestWithoutAWindow(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		r, err := w.Create(ctx, mutable("app"))
		if err != nil {
			t.Fatal(err)
		}
		released := false
		if _, err := w.Delete(ctx, reg, "app", false, func(context.Context, *sqldb.Tx, repository.Repository) error {
			released = true
			return nil
		}); err != nil || !released {
			t.Errorf("released %v, %v", released, err)
		}
		if _, err := w.Stored(ctx, r.ID); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("%v", err)
		}
		if all, err := w.ListDeleted(ctx, reg, "", 0, 10); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
	})
}

func TestUndeleteAtTheLimit(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, func(c *repository.Config) { c.Quotas = limits(func(l *quota.Limits) { l.RepositoriesPerRegistry = 1 }) }), t.Context()
		r := w.windowed(t, "app")
		if _, err := w.Delete(ctx, reg, "app", false, nothing); err != nil {
			t.Fatal(err)
		}
		w.windowed(t, "next")
		if _, err := w.Undelete(ctx, r.ID, ""); !errs.Is(err, errs.LimitExceeded) {
			t.Errorf("%v", err)
		}
		if n := w.count(t); n != 1 {
			t.Errorf("the registry counts %d", n)
		}
	})
}
