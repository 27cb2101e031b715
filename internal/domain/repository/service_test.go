package repository_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

var (
	reg   = name.Registry{Account: "111111111111", Region: "us-east-1"}
	other = name.Registry{Account: "111111111111", Region: "eu-west-1"}
)

type world struct {
	*repository.Service
	keys keys.Manager
	clk  *clock.Fake
}

func open(t *testing.T, db *sqldb.DB, change func(*repository.Config)) world {
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
	principals, err := principal.New(db, ring, clk)
	if err != nil {
		t.Fatal(err)
	}
	if err := principals.EnsureAccount(ctx, reg.Account); err != nil {
		t.Fatal(err)
	}
	c := repository.Config{DB: db, Clock: clk, Keys: ring, Quotas: quota.Fixed(quota.Default()), Sealing: true,
		Registries: registry.New(db, clk, []name.Region{reg.Region, other.Region})}
	if change != nil {
		change(&c)
	}
	return world{repository.New(c), ring, clk}
}

func mutable(repo name.Repository) repository.Create {
	return repository.Create{Registry: reg, Name: repo, Mutability: repository.Mutability{Setting: repository.Mutable}}
}

func nothing(context.Context, *sqldb.Tx, repository.Repository) error { return nil }

func TestLifeOfARepository(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		c := mutable("team/app")
		c.Tags = map[string]string{"owner": "me", "empty": ""}
		c.ScanOnPush = true
		made, err := w.Create(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if made.Encryption.Type != repository.AES256 || !made.ScanOnPush || !made.CreatedAt.Equal(w.clk.Now()) {
			t.Errorf("%+v", made)
		}
		if _, err := w.Create(ctx, c); !errs.Is(err, errs.RepositoryExists) ||
			err.Error() != "The repository with name 'team/app' already exists in the registry with id '111111111111'" {
			t.Errorf("a second create: %v", err)
		}
		if _, err := w.Get(ctx, other, "team/app"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("another region's registry: %v", err)
		}
		got, err := w.SetMutability(ctx, reg, "team/app", repository.Mutability{Setting: repository.ImmutableWithExclusion, Filters: []string{"dev-*"}})
		if err != nil || got.Mutability.Setting != repository.ImmutableWithExclusion || len(got.Mutability.Filters) != 1 {
			t.Errorf("%+v %v", got, err)
		}
		if got, err = w.SetScanOnPush(ctx, reg, "team/app", false); err != nil || got.ScanOnPush {
			t.Errorf("%+v %v", got, err)
		}
		if err := w.SetTags(ctx, got, map[string]string{"owner": "you"}); err != nil {
			t.Fatal(err)
		}
		if err := w.RemoveTags(ctx, got, []string{"empty", "unknown"}); err != nil {
			t.Fatal(err)
		}
		if tags, err := w.Tags(ctx, got); err != nil || fmt.Sprint(tags) != "map[owner:you]" {
			t.Errorf("%v %v", tags, err)
		}
		if _, err := w.Delete(ctx, reg, "team/app", false, nothing); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Get(ctx, reg, "team/app"); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("after the delete: %v", err)
		}
		if _, err := w.Delete(ctx, reg, "team/app", true, nothing); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("a second delete: %v", err)
		}
	})
}

func TestDeleteSparesImages(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		r, err := w.Create(ctx, mutable("ab"))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return w.AddImages(ctx, tx, r.ID, 2) }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(ctx, reg, "ab", false, nothing); !errs.Is(err, errs.RepositoryNotEmpty) {
			t.Errorf("without force: %v", err)
		}
		stop := errors.New("stop")
		if _, err := w.Delete(ctx, reg, "ab", true, func(context.Context, *sqldb.Tx, repository.Repository) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("a release that fails: %v", err)
		}
		if _, err := w.Get(ctx, reg, "ab"); err != nil {
			t.Errorf("the failed delete removed it: %v", err)
		}
		if _, err := w.Delete(ctx, reg, "ab", true, nothing); err != nil {
			t.Error(err)
		}
	})
}

func TestListPages(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		for _, n := range []name.Repository{"b", "a-b", "a/b", "a.b", "a_b", "ab"} {
			if _, err := w.Create(ctx, mutable(n+"x")); err != nil {
				t.Fatal(err)
			}
		}
		var all []name.Repository
		after := name.Repository("")
		for {
			page, err := w.List(ctx, reg, after, 2)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				all = append(all, r.Name)
			}
			after = all[len(all)-1]
		}
		if fmt.Sprint(all) != "[a-bx a.bx a/bx a_bx abx bx]" {
			t.Errorf("not in byte order: %v", all)
		}
		if _, err := w.GetAll(ctx, reg, []name.Repository{"bx", "missing"}); !errs.Is(err, errs.RepositoryNotFound) {
			t.Errorf("GetAll with a missing name: %v", err)
		}
	})
}

// limits are ECR's but for what change does.
func limits(change func(*quota.Limits)) quota.Source {
	l := quota.Default()
	change(&l)
	return quota.Fixed(l)
}

func TestLimits(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, func(c *repository.Config) {
			c.Quotas = limits(func(l *quota.Limits) { l.RepositoriesPerRegistry, l.ResourceTags = 2, 2 })
		}), t.Context()
		var wg sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			wg.Go(func() { _, results[i] = w.Create(ctx, mutable(name.Repository(fmt.Sprintf("repo-%d", i)))) })
		}
		wg.Wait()
		made := 0
		for _, err := range results {
			switch {
			case err == nil:
				made++
			case !errs.Is(err, errs.LimitExceeded):
				t.Error(err)
			}
		}
		if made != 2 {
			t.Errorf("%d repositories were made under a limit of 2", made)
		}
		all, err := w.List(ctx, reg, "", 10)
		if err != nil || len(all) != 2 {
			t.Fatalf("%v %v", all, err)
		}
		if err := w.SetTags(ctx, all[0], map[string]string{"a": "", "b": ""}); err != nil {
			t.Fatal(err)
		}
		if err := w.SetTags(ctx, all[0], map[string]string{"c": ""}); !errs.Is(err, errs.TooManyResourceTags) {
			t.Errorf("a third tag: %v", err)
		}
		if tags, err := w.Tags(ctx, all[0]); err != nil || len(tags) != 2 {
			t.Errorf("%v %v", tags, err)
		}
		for _, bad := range []map[string]string{{"": "v"}, {"aws:x": "v"}, {"k": "aws:v"}, {"k*": "v"}, {"k": "v\x00"}, {string(bytes.Repeat([]byte("k"), 129)): ""}, {"k": string(bytes.Repeat([]byte("v"), 257))}} {
			if err := w.SetTags(ctx, all[0], bad); !errs.Is(err, errs.InvalidResourceTag) {
				t.Errorf("%v: %v", bad, err)
			}
		}
	})
}

func TestSealAndKeys(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w, ctx := open(t, db, nil), t.Context()
		key, err := w.keys.Create(ctx, string(reg.Account), string(reg.Region), "alias/mine")
		if err != nil {
			t.Fatal(err)
		}
		c := mutable("sealed")
		c.Encryption = repository.Encryption{Type: repository.KMS, KMSKey: "alias/mine"}
		if _, err := w.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
		r, err := w.Get(ctx, reg, "sealed")
		if err != nil {
			t.Fatal(err)
		}
		if r.Encryption.KMSKey != "arn:aws:kms:us-east-1:111111111111:key/"+key.ID {
			t.Errorf("%+v", r.Encryption)
		}
		sealed, err := w.Seal(ctx, r, "one", []byte("manifest"))
		if err != nil || bytes.Contains(sealed, []byte("manifest")) {
			t.Fatalf("%q %v", sealed, err)
		}
		if plain, err := w.Unseal(ctx, r, "one", sealed); err != nil || string(plain) != "manifest" {
			t.Errorf("%q %v", plain, err)
		}
		if _, err := w.Unseal(ctx, r, "two", sealed); !errs.Is(err, errs.KeyFailure) {
			t.Errorf("under another context: %v", err)
		}
		if _, err := w.keys.SetEnabled(ctx, key.ID, false); err != nil {
			t.Fatal(err)
		}
		w.clk.Advance(time.Minute)
		if _, err := w.Unseal(ctx, r, "one", sealed); !errs.Is(err, errs.KeyFailure) {
			t.Errorf("with a disabled key: %v", err)
		}
		c.Name, c.Encryption.KMSKey = "second", "alias/unknown"
		var e *errs.Error
		if _, err := w.Create(ctx, c); !errors.As(err, &e) || e.Code != errs.KeyFailure || e.Detail["kmsError"] != "NotFoundException" {
			t.Errorf("an unknown key: %v", err)
		}
		c.Name, c.Encryption.KMSKey = "third", ""
		if r, err := w.Create(ctx, c); err != nil || r.Encryption.KMSKey == "" {
			t.Errorf("the account's own key: %+v %v", r, err)
		}
		c.Encryption = repository.Encryption{Type: "KMS_DSSE"}
		if _, err := w.Create(ctx, c); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("KMS_DSSE: %v", err)
		}
	})
}
