// Package rules owns what a registry copies and where to: its replication
// configuration, and Berth's own options of every destination.
//
// It does not own the copying, nor the queue (replication).
package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// roleService is the service that replicates, with its service-linked role
// AWSServiceRoleForECRReplication.
const roleService = "replication.ecr.amazonaws.com"

// CacheLife bounds how long a node may go on with a configuration that another
// node has changed.
const CacheLife = 2 * time.Second

// maxCached bounds the registries whose configuration is in memory.
const maxCached = 10_000

// Config is what a Service stands on. Everything is needed.
type Config struct {
	DB         *sqldb.DB
	Registries *registry.Service
	Entities   *entity.Service
	Clock      clock.Clock
	// Served says whether a region is served, here or by a peer.
	Served func(name.Region) bool
}

// Service keeps the configurations. Its methods may be called from many goroutines
// and on many nodes at once.
type Service struct {
	c     Config
	plans *revcache.Cache[name.Registry, Plan]
}

// New returns the service.
func New(c Config) *Service {
	return &Service{c: c, plans: revcache.New[name.Registry, Plan](c.Clock, CacheLife, maxCached)}
}

// Plan is what a registry has set: its configuration and the options of its
// destinations.
type Plan struct {
	Configuration
	options map[name.Registry]Options
}

// Of gives the options of a destination.
func (p Plan) Of(destination name.Registry) Options { return p.options[destination] }

// Destinations are those that a repository goes to.
func (p Plan) Destinations(repo name.Repository) []name.Registry {
	return slices.DeleteFunc(p.For(repo), func(d name.Registry) bool { return !p.options[d].Covers(repo) })
}

// unconfigured is the revision of a registry that has set nothing.
const unconfigured = -1

// PlanTx reads the plan of a registry in the caller's transaction, mostly from
// memory.
func (s *Service) PlanTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (Plan, error) {
	revision := func(ctx context.Context) (revision int64, rules string, err error) {
		err = tx.QueryRow(ctx, `SELECT revision, rules FROM replication_config WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region)).Scan(&revision, &rules)
		if errors.Is(err, sqldb.ErrNoRows) {
			return unconfigured, "", nil
		}
		return revision, rules, err
	}
	return s.plans.Get(ctx, reg, revcache.Source[Plan]{
		Revision: func(ctx context.Context) (int64, error) {
			n, _, err := revision(ctx)
			return n, err
		},
		Load: func(ctx context.Context) (Plan, int64, error) {
			n, rules, err := revision(ctx)
			if err != nil || n == unconfigured {
				return Plan{}, n, err
			}
			var p Plan
			if err := json.Unmarshal([]byte(rules), &p.Rules); err != nil {
				return Plan{}, n, fmt.Errorf("the replication configuration of the registry %s cannot be read: %w", reg, err)
			}
			p.options, err = optionsTx(ctx, tx, reg)
			return p, n, err
		},
	})
}

// Plan is PlanTx in a transaction of its own.
func (s *Service) Plan(ctx context.Context, reg name.Registry) (p Plan, err error) {
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		p, err = s.PlanTx(ctx, tx, reg)
		return err
	})
	return p, err
}

func optionsTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (map[name.Registry]Options, error) {
	all := map[name.Registry]Options{}
	_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var to name.Registry
		var text string
		var o Options
		err := row.Scan(&to.Account, &to.Region, &text)
		if err == nil {
			err = json.Unmarshal([]byte(text), &o)
		}
		all[to] = o
		return struct{}{}, err
	}, `SELECT to_account, to_region, options FROM replication_option WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region))
	return all, err
}

// Get reads the registry's configuration; one that was never set has no rules.
func (s *Service) Get(ctx context.Context, reg name.Registry) (Configuration, error) {
	p, err := s.Plan(ctx, reg)
	return p.Configuration, err
}

// Put sets the registry's configuration in place of the one before. With rules it
// makes the service-linked role if it is not there. A push that begins once Put has
// returned follows the new configuration, on this node at once and on others within
// CacheLife.
//
// errs.InvalidParameter for a destination that cannot be and for too many rules,
// destinations or filters.
func (s *Service) Put(ctx context.Context, reg name.Registry, c Configuration) error {
	if err := s.check(reg, c); err != nil {
		return err
	}
	if len(c.Rules) > 0 {
		if _, err := s.c.Entities.EnsureServiceRole(ctx, reg.Account, roleService); err != nil {
			return err
		}
	}
	rules, err := json.Marshal(append([]Rule{}, c.Rules...))
	if err != nil {
		return err
	}
	return s.change(ctx, reg, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE replication_config SET rules = $3 WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region), string(rules))
		return err
	})
}

// change runs fn in a transaction that changes what a plan reads; the row of
// replication_config is there.
func (s *Service) change(ctx context.Context, reg name.Registry, fn func(tx *sqldb.Tx) error) error {
	err := s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.c.Registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO replication_config (account_id, region, rules, revision) VALUES ($1, $2, '[]', $3)
			ON CONFLICT (account_id, region) DO UPDATE SET revision = excluded.revision`, string(reg.Account), string(reg.Region), sqldb.NewID())
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { s.plans.Forget(func(k name.Registry) bool { return k == reg }) })
		return fn(tx)
	})
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

const parameter = "replicationConfiguration"

// check holds a configuration to its rules.
func (s *Service) check(reg name.Registry, c Configuration) error {
	if len(c.Rules) > MaxRules {
		return errs.Parameter(parameter, fmt.Sprintf("A replication configuration can contain at most %d rules", MaxRules))
	}
	for _, r := range c.Rules {
		if len(r.Filters) > MaxFilters {
			return errs.Parameter(parameter, fmt.Sprintf("A replication rule can contain at most %d repository filters", MaxFilters))
		}
		for _, d := range r.Destinations {
			if err := s.checkDestination(reg, d); err != nil {
				return err
			}
		}
	}
	if len(c.Destinations()) > MaxDestinations {
		return errs.Parameter(parameter, fmt.Sprintf("A replication configuration can contain at most %d unique destinations", MaxDestinations))
	}
	return nil
}

func (s *Service) checkDestination(reg, d name.Registry) error {
	if d == reg {
		return errs.Parameter(parameter, "Replication destination cannot be the same as the source registry")
	}
	if _, err := name.ParseAccountID(string(d.Account)); err != nil {
		return errs.Parameter(parameter, "The replication destination '"+string(d.Account)+"' is not the id of a registry")
	}
	if _, err := name.ParseRegion(string(d.Region)); err != nil {
		return errs.Parameter(parameter, "The replication destination '"+string(d.Region)+"' is not a region")
	}
	if d.Region.Partition() != reg.Region.Partition() {
		return errs.Parameter(parameter, "The replication destination region '"+string(d.Region)+"' is in another partition than the source registry")
	}
	if !s.c.Served(d.Region) {
		return errs.Parameter(parameter, "The replication destination region '"+string(d.Region)+"' is served neither by this deployment nor by one of its peers")
	}
	return nil
}

// InUse says in which regions the account has a replication configuration with
// rules, while the service is the one whose role replicates. It is an entity.InUse.
func (s *Service) InUse(ctx context.Context, account name.AccountID, service string) (regions []name.Region, err error) {
	if service != roleService {
		return nil, nil
	}
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		regions, err = sqldb.Collect(ctx, tx, sqldb.One[name.Region], `SELECT region FROM replication_config WHERE account_id = $1 AND rules <> '[]' ORDER BY region`, string(account))
		return err
	})
	return regions, err
}

// Options reads Berth's own options of all destinations of a registry that have
// any, configured or not.
func (s *Service) Options(ctx context.Context, reg name.Registry) (all map[name.Registry]Options, err error) {
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = optionsTx(ctx, tx, reg)
		return err
	})
	return all, err
}

// maxOptions bounds each of an option's lists.
const maxOptions = 100

// SetOptions sets Berth's own options of a destination in place of those before;
// the zero Options take them away. They hold for the destination while the
// registry's configuration names it. errs.InvalidParameter for entries that fit
// nothing.
func (s *Service) SetOptions(ctx context.Context, reg, destination name.Registry, o Options) error {
	if err := s.checkDestination(reg, destination); err != nil {
		return err
	}
	for what, list := range map[string][]string{"tags": o.Tags, "repositories": o.Repositories, "exclude": o.Exclude} {
		if len(list) > maxOptions {
			return errs.Parameter(what, fmt.Sprintf("at most %d entries", maxOptions))
		}
		if slices.Contains(list, "") {
			return errs.Parameter(what, "an entry is empty")
		}
	}
	for _, r := range o.Repositories {
		if _, err := name.ParseRepository(r); err != nil {
			return errs.Parameter("repositories", "'"+r+"' is not the name of a repository")
		}
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	key := []any{string(reg.Account), string(reg.Region), string(destination.Account), string(destination.Region)}
	return s.change(ctx, reg, func(tx *sqldb.Tx) error {
		if o.IsZero() {
			_, err := tx.Exec(ctx, `DELETE FROM replication_option WHERE account_id = $1 AND region = $2 AND to_account = $3 AND to_region = $4`, key...)
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO replication_option (account_id, region, to_account, to_region, options) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (account_id, region, to_account, to_region) DO UPDATE SET options = excluded.options`, append(slices.Clone(key), string(text))...)
		return err
	})
}
