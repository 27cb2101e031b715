package pullthrough

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/secret"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

const (
	// ServiceName is the AWS service that pulls through the cache; its service-linked
	// role is made with an account's first rule.
	ServiceName = "pullthroughcache.ecr.amazonaws.com"
	// sessionName is what it calls its sessions of roles.
	sessionName = "ecr-pull-through-cache"
)

// CacheLife bounds how long a node may go on with rules that another node has
// changed.
const CacheLife = 2 * time.Second

// maxCached bounds the registries whose rules are in memory.
const maxCached = 10_000

// Config is what a Service stands on. Everything is needed but the functions.
type Config struct {
	DB         *sqldb.DB
	Clock      clock.Clock
	Registries *registry.Service
	Entities   *entity.Service
	Access     *authz.Service
	Secrets    *secret.Service
	// Hosts are the deployment's domains: a registry under them is of the kind ECR.
	Hosts name.Hosts
	// Upstreams says whether the operator has listed a host (lower case, with a port
	// where it has its own) as an upstream; nil lists none.
	Upstreams func(host string) bool
	// Local reaches an ECR registry, which Service.RegistryOf reads out of the rule's
	// URL, as the role of that ARN. The role may be used: that is asked before. nil:
	// there is no way to one.
	Local func(ctx context.Context, r Rule, role string) (upstream.Endpoint, error)
	// Upstream tries upstreams out; *upstream.Client does.
	Upstream interface {
		Ping(ctx context.Context, e upstream.Endpoint, repo string) error
	}
}

// Service stores rules and says what their upstreams are spoken to with.
type Service struct {
	Config
	rules *revcache.Cache[name.Registry, []Rule]
}

// New returns the service.
func New(c Config) *Service {
	return &Service{Config: c, rules: revcache.New[name.Registry, []Rule](c.Clock, CacheLife, maxCached)}
}

func (s *Service) now() time.Time { return s.Clock.Now().UTC().Truncate(time.Millisecond) }

// change runs fn in a transaction that changes the rules of the registry.
func (s *Service) change(ctx context.Context, reg name.Registry, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO pullthrough_revision (account_id, region, revision) VALUES ($1, $2, $3)
			ON CONFLICT (account_id, region) DO UPDATE SET revision = excluded.revision`, string(reg.Account), string(reg.Region), sqldb.NewID())
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { s.rules.Forget(func(k name.Registry) bool { return k == reg }) })
		return fn(tx)
	})
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// Create stores a rule and returns it as it is then, with the kind that its URL has
// and the service-linked role made if it is not there. The secret is read, and what
// is in it not looked at. errs.PullThroughRuleExists for a prefix that has a rule,
// errs.UpstreamUnsupported for the URL, or when it needs credentials,
// errs.InvalidParameter for the rest, errs.LimitExceeded, errs.SecretNotFound,
// errs.SecretInaccessible, errs.SecretUndecryptable.
func (s *Service) Create(ctx context.Context, r Rule) (Rule, error) {
	if err := s.settle(&r); err != nil {
		return Rule{}, err
	}
	if _, err := s.Get(ctx, r.Registry, r.Prefix); err == nil {
		return Rule{}, exists(r)
	} else if !errs.Is(err, errs.PullThroughRuleNotFound) {
		return Rule{}, err
	}
	if _, err := s.Entities.EnsureServiceRole(ctx, r.Registry.Account, ServiceName); err != nil {
		return Rule{}, err
	}
	if err := s.reachable(ctx, r); err != nil {
		return Rule{}, err
	}
	r.CreatedAt = s.now()
	r.UpdatedAt = r.CreatedAt
	err := s.change(ctx, r.Registry, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO pullthrough_rule (`+columns+`, prefix_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT (account_id, region, prefix_key) DO NOTHING`,
			string(r.Registry.Account), string(r.Registry.Region), r.Prefix, string(r.Upstream), r.URL, r.UpstreamPrefix, r.CredentialARN, r.CustomRole,
			r.CreatedAt.UnixMicro(), r.UpdatedAt.UnixMicro(), key(r.Prefix))
		if err != nil {
			return err
		}
		if n == 0 {
			return exists(r)
		}
		var many int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM pullthrough_rule WHERE account_id = $1 AND region = $2`, string(r.Registry.Account), string(r.Registry.Region)).Scan(&many); err != nil {
			return err
		}
		if many > maxRules {
			return tooMany(r.Registry)
		}
		return nil
	})
	if err != nil {
		return Rule{}, err
	}
	return r, nil
}

func exists(r Rule) error {
	return errs.New(errs.PullThroughRuleExists, "The pull through cache rule with Amazon ECR repository prefix '%s' already exists in the registry with id '%s'", r.Prefix, r.Registry.Account)
}

// Change is what Update changes; nil leaves a setting as it is, and "" takes it away.
type Change struct{ CredentialARN, CustomRole *string }

// Update changes a rule and returns it as it is then. It fails as Create does, and
// with errs.PullThroughRuleNotFound.
func (s *Service) Update(ctx context.Context, reg name.Registry, prefix string, c Change) (Rule, error) {
	apply := func(r Rule) (Rule, error) {
		if c.CredentialARN != nil {
			r.CredentialARN = *c.CredentialARN
		}
		if c.CustomRole != nil {
			r.CustomRole = *c.CustomRole
		}
		return r, s.checkAccess(r)
	}
	r, err := s.Get(ctx, reg, prefix)
	if err != nil {
		return Rule{}, err
	}
	if r, err = apply(r); err != nil {
		return Rule{}, err
	}
	if c.CredentialARN != nil {
		if err := s.reachable(ctx, r); err != nil {
			return Rule{}, err
		}
	}
	err = s.change(ctx, reg, func(tx *sqldb.Tx) error {
		held, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM pullthrough_rule WHERE account_id = $1 AND region = $2 AND prefix_key = $3`+tx.ForUpdate(),
			string(reg.Account), string(reg.Region), key(prefix)))
		if errors.Is(err, sqldb.ErrNoRows) {
			return notFound(reg, prefix)
		}
		if err != nil {
			return err
		}
		if r, err = apply(held); err != nil {
			return err
		}
		r.UpdatedAt = s.now()
		_, err = tx.Exec(ctx, `UPDATE pullthrough_rule SET credential = $4, custom_role = $5, updated_at = $6 WHERE account_id = $1 AND region = $2 AND prefix_key = $3`,
			string(reg.Account), string(reg.Region), key(prefix), r.CredentialARN, r.CustomRole, r.UpdatedAt.UnixMicro())
		return err
	})
	return r, err
}

// Delete removes a rule and returns it; what came through it stays.
// errs.PullThroughRuleNotFound.
func (s *Service) Delete(ctx context.Context, reg name.Registry, prefix string) (gone Rule, err error) {
	err = s.change(ctx, reg, func(tx *sqldb.Tx) error {
		gone, err = scan(tx.QueryRow(ctx, `DELETE FROM pullthrough_rule WHERE account_id = $1 AND region = $2 AND prefix_key = $3 RETURNING `+columns,
			string(reg.Account), string(reg.Region), key(prefix)))
		if errors.Is(err, sqldb.ErrNoRows) {
			return notFound(reg, prefix)
		}
		return err
	})
	return gone, err
}

// Get reads one rule. errs.PullThroughRuleNotFound.
func (s *Service) Get(ctx context.Context, reg name.Registry, prefix string) (Rule, error) {
	found, err := s.List(ctx, reg, []string{prefix}, "", 1)
	if err != nil {
		return Rule{}, err
	}
	return found[0], nil
}

// List returns up to limit rules of the registry in the byte order of their prefixes,
// from the first after the given prefix. With prefixes it is only those, each of
// which has to be there: errs.PullThroughRuleNotFound.
func (s *Service) List(ctx context.Context, reg name.Registry, prefixes []string, after string, limit int) ([]Rule, error) {
	all, _, err := s.load(ctx, reg)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b Rule) int { return strings.Compare(key(a.Prefix), key(b.Prefix)) })
	asked := map[string]bool{}
	for _, p := range prefixes {
		if !slices.ContainsFunc(all, func(r Rule) bool { return key(r.Prefix) == key(p) }) {
			return nil, notFound(reg, p)
		}
		asked[key(p)] = true
	}
	all = slices.DeleteFunc(all, func(r Rule) bool {
		return len(asked) > 0 && !asked[key(r.Prefix)] || after != "" && key(r.Prefix) <= key(after)
	})
	return all[:min(len(all), limit)], nil
}

// InUse says in which regions the account has rules, while the service is the one
// that pulls through them. It is an entity.InUse.
func (s *Service) InUse(ctx context.Context, account name.AccountID, of string) (regions []name.Region, err error) {
	if of != ServiceName {
		return nil, nil
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		regions, err = sqldb.Collect(ctx, tx, sqldb.One[name.Region], `SELECT DISTINCT region FROM pullthrough_rule WHERE account_id = $1 ORDER BY region`, string(account))
		return err
	})
	return regions, err
}

// Covering finds the rule that a repository's images come through, whether the
// repository is there or not: the one with the longest prefix in front of a slash,
// and the one of ROOT for everything else. It answers from memory, at most CacheLife
// older than the database and never older than the last change on this node.
func (s *Service) Covering(ctx context.Context, reg name.Registry, repo name.Repository) (r Rule, found bool, err error) {
	rules, err := s.rules.Get(ctx, reg, revcache.Source[[]Rule]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				revision, err = revisionTx(ctx, tx, reg)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) ([]Rule, int64, error) { return s.load(ctx, reg) },
	})
	if err != nil {
		return Rule{}, false, err
	}
	for _, r := range rules {
		if r.Prefix == Root || strings.HasPrefix(string(repo), key(r.Prefix)+"/") {
			return r, true, nil
		}
	}
	return Rule{}, false, nil
}

// load reads the rules of a registry, the longest prefix first and ROOT last, with
// the revision that they have.
func (s *Service) load(ctx context.Context, reg name.Registry) (all []Rule, revision int64, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if revision, err = revisionTx(ctx, tx, reg); err != nil {
			return err
		}
		all, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM pullthrough_rule WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region))
		return err
	})
	slices.SortFunc(all, func(a, b Rule) int { return cmp.Compare(reach(b), reach(a)) })
	return all, revision, err
}

// reach orders rules by how closely they name what they cover.
func reach(r Rule) int {
	if r.Prefix == Root {
		return 0
	}
	return len(key(r.Prefix))
}

func revisionTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (revision int64, err error) {
	err = tx.QueryRow(ctx, `SELECT revision FROM pullthrough_revision WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region)).Scan(&revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return -1, nil
	}
	return revision, err
}

const columns = `account_id, region, prefix, kind, url, upstream_prefix, credential, custom_role, created_at, updated_at`

func scan(row sqldb.Scanner) (Rule, error) {
	var r Rule
	var created, updated int64
	err := row.Scan(&r.Registry.Account, &r.Registry.Region, &r.Prefix, &r.Upstream, &r.URL, &r.UpstreamPrefix, &r.CredentialARN, &r.CustomRole, &created, &updated)
	r.CreatedAt, r.UpdatedAt = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return r, err
}
