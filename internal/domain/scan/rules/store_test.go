package rules_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func TestStore(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx, now := t.Context(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(db.Migrate(ctx, "schema_version", schema.Durable()...))
		one := name.Registry{Account: "111111111111", Region: "us-east-1"}
		two := name.Registry{Account: "111111111111", Region: "eu-west-1"}
		three := name.Registry{Account: "222222222222", Region: "eu-west-1"}
		all := registry.New(db, clock.NewFake(now), []name.Region{one.Region, two.Region})
		must(db.Update(ctx, func(tx *sqldb.Tx) error {
			for _, r := range []name.Registry{one, two, three} {
				if _, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, '', 0) ON CONFLICT (id) DO NOTHING`, string(r.Account)); err != nil {
					return err
				}
				if err := all.EnsureTx(ctx, tx, r); err != nil {
					return err
				}
			}
			return nil
		}))
		store := func(r name.Registry, c rules.Configuration) error {
			return db.Update(ctx, func(tx *sqldb.Tx) error { return rules.Store(ctx, tx, r, c, now) })
		}
		stored := func(r name.Registry, want rules.Configuration) {
			t.Helper()
			must(db.View(ctx, func(tx *sqldb.Tx) error {
				got, err := rules.Stored(ctx, tx, r)
				if err == nil && !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %+v, want %+v", r, got, want)
				}
				return err
			}))
		}
		enhanced := func(want ...name.Registry) {
			t.Helper()
			must(db.View(ctx, func(tx *sqldb.Tx) error {
				got, err := rules.Registries(ctx, tx)
				if err == nil && !reflect.DeepEqual(append([]name.Registry{}, got...), append([]name.Registry{}, want...)) {
					t.Errorf("enhanced: %v, want %v", got, want)
				}
				return err
			}))
		}
		stored(one, rules.Default())
		enhanced()

		first := rules.Configuration{Type: rules.Enhanced, Rules: []rules.Rule{rule(rules.Continuous, "prod*", "*"), rule(rules.OnPush)}}
		must(store(one, first))
		must(store(three, rules.Configuration{Type: rules.Enhanced}))
		must(store(two, rules.Configuration{Type: rules.Enhanced, Rules: []rules.Rule{{Frequency: rules.OnPush}}}))
		stored(one, first)
		stored(two, rules.Configuration{Type: rules.Enhanced, Rules: []rules.Rule{rule(rules.OnPush)}})
		stored(three, rules.Configuration{Type: rules.Enhanced, Rules: []rules.Rule{}})
		enhanced(two, one, three)

		if err := store(one, rules.Configuration{Type: rules.Basic, Rules: first.Rules}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("an invalid one: %v", err)
		}
		stored(one, first)
		must(store(one, rules.Default()))
		stored(one, rules.Default())
		stored(three, rules.Configuration{Type: rules.Enhanced, Rules: []rules.Rule{}})
		enhanced(two, three)
	})
}
