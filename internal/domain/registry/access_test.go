package registry_test

import (
	"context"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const fromAfar = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:ReplicateImage","Resource":"*"}]}`

func TestAccess(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3)`, "111111111111", "", 1)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		clk := clock.NewFake(time.UnixMicro(7))
		regions := []name.Region{"us-east-1"}
		here, there := registry.New(db, clk, regions), registry.New(db, clk, regions)
		reg := name.Registry{Account: "111111111111", Region: "us-east-1"}
		asIs := func(_ context.Context, _ *sqldb.Tx, d *policy.Document) (*policy.Document, error) { return d, nil }
		check := func(s *registry.Service, v1, want bool) {
			t.Helper()
			a, err := s.Access(ctx, reg)
			if err != nil || (a.Policy != nil) != want || a.V1 != v1 {
				t.Errorf("%+v, %v; want V1 %v, a policy %v", a, err, v1, want)
			}
		}
		check(here, false, false)
		check(there, false, false)
		if _, err := here.Policy(ctx, reg, asIs); !errs.Is(err, errs.RegistryPolicyNotFound) ||
			err.Error() != "Registry policy does not exist in the registry with id '111111111111'" {
			t.Errorf("no policy: %v", err)
		}
		d, err := policy.Parse(fromAfar, policy.Registry)
		if err != nil {
			t.Fatal(err)
		}
		if err := here.SetPolicy(ctx, reg, d, asIs); err != nil {
			t.Fatal(err)
		}
		check(here, false, true)
		clk.Advance(registry.CacheLife)
		check(there, false, true)
		if err := here.PutSetting(ctx, reg, registry.SettingPolicyScope, registry.ScopeV1); err != nil {
			t.Fatal(err)
		}
		check(here, true, true)
		clk.Advance(registry.CacheLife)
		check(there, true, true)
		if v, err := here.Setting(ctx, reg, registry.SettingPolicyScope, registry.ScopeV2); err != nil || v != registry.ScopeV1 {
			t.Errorf("%q %v", v, err)
		}
		if got, err := here.DeletePolicy(ctx, reg, asIs); err != nil || got.JSON() != fromAfar {
			t.Errorf("%v %v", got, err)
		}
		check(here, true, false)
		if _, err := here.DeletePolicy(ctx, reg, asIs); !errs.Is(err, errs.RegistryPolicyNotFound) {
			t.Errorf("a second delete: %v", err)
		}
		if err := here.SetPolicy(ctx, name.Registry{Account: "333333333333", Region: "us-east-1"}, d, asIs); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("a registry without an account: %v", err)
		}
	})
}

func TestScopes(t *testing.T) {
	v1, v2 := registry.Access{V1: true}, registry.Access{}
	for action, want := range map[string]bool{
		"ecr:ReplicateImage": true, "ecr:CreateRepository": true, "ecr:BatchImportUpstreamImage": true, "ecr:createrepository": true,
		"ecr:BatchGetImage": false, "ecr:*": false,
	} {
		if v1.Applies(action) != want || !v2.Applies(action) {
			t.Errorf("%s: V1 %v, V2 %v", action, v1.Applies(action), v2.Applies(action))
		}
	}
}
