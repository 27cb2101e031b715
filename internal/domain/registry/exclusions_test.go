package registry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// settingsWorld is a registry on two nodes.
func settingsWorld(t *testing.T, db *sqldb.DB) (here, there *registry.Service, clk *clock.Fake, reg name.Registry) {
	t.Helper()
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
	clk = clock.NewFake(time.UnixMicro(1_700_000_000_123_456))
	regions := []name.Region{"us-east-1", "eu-west-1"}
	return registry.New(db, clk, regions), registry.New(db, clk, regions), clk, name.Registry{Account: "111111111111", Region: "us-east-1"}
}

const maxExclusions = 100

func TestPullExclusions(t *testing.T) {
	const role, user = "arn:aws:iam::111111111111:role/team/puller", "arn:aws:iam::111111111111:user/scanner"
	session := principal.Principal{Account: "111111111111", ARN: "arn:aws:sts::111111111111:assumed-role/puller/s", Session: &principal.Session{Kind: principal.RoleSession, RoleARN: role, Name: "s"}}
	namesake := session
	namesake.Session = &principal.Session{Kind: principal.RoleSession, RoleARN: "arn:aws:iam::111111111111:role/puller", Name: "s"}
	scanner := principal.Principal{Account: "111111111111", ARN: user}
	token := principal.Principal{Account: "111111111111", ARN: user, Session: &principal.Session{Kind: principal.TokenSession}}
	federated := principal.Principal{Account: "111111111111", ARN: "arn:aws:sts::111111111111:federated-user/scanner", Session: &principal.Session{Kind: principal.FederatedSession, Name: "scanner"}}
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		here, there, clk, reg := settingsWorld(t, db)
		excluded := func(s *registry.Service, r name.Registry, want ...principal.Principal) {
			t.Helper()
			a, err := s.Access(ctx, r)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range []principal.Principal{session, namesake, scanner, token, federated, principal.Root("111111111111"), {}} {
				is := slices.ContainsFunc(want, func(w principal.Principal) bool { return w.ARN == p.ARN && w.Session == p.Session })
				if a.ExcludesPull(p) != is {
					t.Errorf("%s %+v: excluded is %v", p.ARN, p.Session, !is)
				}
			}
		}
		excluded(here, reg)
		excluded(there, reg)
		at, err := here.ExcludePulls(ctx, reg, role, maxExclusions)
		if err != nil || !at.Equal(time.UnixMicro(1_700_000_000_123_000)) {
			t.Fatal(at, err)
		}
		excluded(here, reg, session)
		clk.Advance(registry.CacheLife)
		excluded(there, reg, session)
		if _, err := here.ExcludePulls(ctx, reg, user, maxExclusions); err != nil {
			t.Fatal(err)
		}
		excluded(here, reg, session, scanner, token)
		elsewhere := reg
		elsewhere.Region = "eu-west-1"
		excluded(here, elsewhere)

		if _, err := here.ExcludePulls(ctx, reg, user, maxExclusions); !errs.Is(err, errs.ExclusionExists) ||
			err.Error() != "The pull time update exclusion for the principal '"+user+"' already exists in the registry with id '111111111111'" {
			t.Errorf("again: %v", err)
		}
		if err := here.IncludePulls(ctx, elsewhere, user); !errs.Is(err, errs.ExclusionNotFound) ||
			err.Error() != "The pull time update exclusion for the principal '"+user+"' does not exist in the registry with id '111111111111'" {
			t.Errorf("of another region: %v", err)
		}
		if all, err := here.PullExclusions(ctx, reg, "", 10); err != nil || !slices.Equal(all, []string{role, user}) {
			t.Errorf("%v %v", all, err)
		}
		if all, err := here.PullExclusions(ctx, reg, role, 1); err != nil || !slices.Equal(all, []string{user}) {
			t.Errorf("%v %v", all, err)
		}
		if err := here.IncludePulls(ctx, reg, role); err != nil {
			t.Fatal(err)
		}
		excluded(here, reg, scanner, token)
		clk.Advance(registry.CacheLife)
		excluded(there, reg, scanner, token)

		for i := range maxExclusions - 1 {
			if _, err := here.ExcludePulls(ctx, reg, fmt.Sprintf("%s-%02d", role, i), maxExclusions); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := here.ExcludePulls(ctx, reg, role, maxExclusions); !errs.Is(err, errs.LimitExceeded) {
			t.Errorf("one too many: %v", err)
		}
		if all, err := here.PullExclusions(ctx, reg, "", 1000); err != nil || len(all) != maxExclusions {
			t.Errorf("%d %v", len(all), err)
		}
		if err := here.IncludePulls(ctx, reg, user); err != nil {
			t.Fatal(err)
		}
		if _, err := here.ExcludePulls(ctx, reg, role, maxExclusions); err != nil {
			t.Errorf("the last that has room: %v", err)
		}
	})
}

func TestBlobMounting(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		here, there, clk, reg := settingsWorld(t, db)
		for _, c := range []struct {
			set              string
			byDefault, wants bool
		}{{"", true, true}, {"", false, false}, {registry.Disabled, true, false}, {registry.Enabled, false, true}} {
			if c.set != "" {
				if err := here.PutSetting(ctx, reg, registry.SettingBlobMounting, c.set); err != nil {
					t.Fatal(err)
				}
			}
			for _, s := range []*registry.Service{here, there} {
				a, err := s.Access(ctx, reg)
				if err != nil || a.Mounts(c.byDefault) != c.wants {
					t.Errorf("%q, by default %v: %v %v", c.set, c.byDefault, a.Mounts(c.byDefault), err)
				}
				clk.Advance(registry.CacheLife)
			}
		}
	})
}
