package registry_test

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func TestRegistriesAreMadeOnDemand(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		s := registry.New(db, clock.NewFake(time.UnixMicro(7)), []name.Region{"us-east-1", "eu-west-1"})
		if !s.Enabled("eu-west-1") || s.Enabled("eu-west-2") {
			t.Errorf("regions %v", s.Regions())
		}
		ensure := func(r name.Registry) error {
			return db.Update(ctx, func(tx *sqldb.Tx) error { return s.EnsureTx(ctx, tx, r) })
		}
		if err := ensure(name.Registry{Account: "111111111111", Region: "us-east-1"}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("an unknown account: %v", err)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, "111111111111", "", 1)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := ensure(name.Registry{Account: "111111111111", Region: "us-east-1"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := ensure(name.Registry{Account: "111111111111", Region: "eu-west-2"}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("a region not served: %v", err)
		}
		for _, want := range []int64{3, 2} {
			delta := map[int64]int64{3: 3, 2: -1}[want]
			var n int64
			if err := db.Update(ctx, func(tx *sqldb.Tx) error {
				var err error
				n, err = s.AddRepositoriesTx(ctx, tx, name.Registry{Account: "111111111111", Region: "us-east-1"}, delta)
				return err
			}); err != nil || n != want {
				t.Errorf("%d %v", n, err)
			}
		}
	})
}
