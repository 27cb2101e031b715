package gate

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with rules that another node has changed,
// and with a scan that is not the last one any more.
const CacheLife = 2 * time.Second

// Decisions are made again after decisionLife even if nothing was changed, since graces,
// waits and exceptions end by themselves.
const decisionLife = time.Minute

// maxCached bounds the registries and the images that are in memory.
const maxCached = 10_000

// keptExpired is how long an exception can be seen after its end.
const keptExpired = 30 * 24 * time.Hour

// Standing is how the scan of an image stands. At is when the report was made that holds,
// zero where there is none; another report has another time.
type Standing struct {
	State State
	At    time.Time
}

// Reports tell what scans have found. domain/scan does. An image that the pull-through
// cache is still bringing has no ID, and is known by Stored.
type Reports interface {
	// Standing is asked every CacheLife for an image that is pulled a lot: one row.
	Standing(ctx context.Context, r repository.Repository, img image.Image) (Standing, error)
	// Report is asked when Standing is Scanned, after each scan, and once in a minute: the
	// report of the last completed scan of the image that is kept under the digest, when
	// each vulnerability in it was first found there, by its id, and when the scan was
	// completed. scanned is false where there is none after all.
	Report(ctx context.Context, r repository.Repository, d name.Digest) (report finding.Report, first map[string]time.Time, scanned bool, completed time.Time, err error)
}

// Config is what a Service stands on. Everything is needed.
type Config struct {
	DB         *sqldb.DB
	Clock      clock.Clock
	Registries *registry.Service
	Reports    Reports
}

// Service keeps the rules and exceptions, and decides pulls. A nil *Service lets every
// pull pass.
type Service struct {
	Config
	policies  *revcache.Cache[name.Registry, policy]
	decisions *revcache.Cache[decided, []verdict]
}

// policy is what a registry has, with the revision of it.
type policy struct {
	revision   int64
	rules      []Rule
	exceptions []Exception
}

// decided is an image under a policy.
type decided struct {
	repository, policy int64
	digest             name.Digest
}

// verdict is a decision that holds an image back.
type verdict struct {
	rule     Rule
	decision Decision
}

// New returns the service.
func New(c Config) *Service {
	return &Service{
		Config:   c,
		policies: revcache.New[name.Registry, policy](c.Clock, CacheLife, maxCached), decisions: revcache.New[decided, []verdict](c.Clock, CacheLife, maxCached),
	}
}

func (s *Service) now() time.Time { return s.Clock.Now().UTC().Truncate(time.Millisecond) }

// Check lets the caller pull the image, or fails with errs.PullBlocked and says why.
// Without rules in the registry it costs one look into memory; with rules for the
// repository, once in CacheLife, one row of the image's scan. It writes nothing. What
// cannot be read is not handed out: then the error is that of reading.
func (s *Service) Check(ctx context.Context, r repository.Repository, img image.Image, who principal.Principal) error {
	if s == nil {
		return nil
	}
	p, err := s.policy(ctx, r.Registry)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(p.rules, func(rule Rule) bool { return rule.Covers(r.Name) }) {
		return nil
	}
	found, err := s.decisions.Get(ctx, decided{r.ID, p.revision, img.Stored}, s.source(p, r, img))
	if err != nil {
		return err
	}
	for _, v := range found {
		if !v.rule.Exempts(who) {
			return errs.New(errs.PullBlocked, "%s", v.decision.Text(v.rule.Name, r.Name, img.Digest))
		}
	}
	return nil
}

// Filter is Check for several images: those that are held back become failures.
func (s *Service) Filter(ctx context.Context, r repository.Repository, who principal.Principal, images []image.Image, failures []image.Failure) ([]image.Image, []image.Failure, error) {
	if s == nil {
		return images, failures, nil
	}
	var passed []image.Image
	for _, img := range images {
		err := s.Check(ctx, r, img, who)
		var blocked *errs.Error
		switch {
		case err == nil:
			passed = append(passed, img)
		case errors.As(err, &blocked) && blocked.Code == errs.PullBlocked:
			failures = append(failures, image.Failure{Ref: image.Ref{Tag: img.Tag, Digest: img.Digest}, Code: image.Inaccessible, Reason: blocked.Message})
		default:
			return nil, nil, err
		}
	}
	return passed, failures, nil
}

// source decides about an image.
func (s *Service) source(p policy, r repository.Repository, img image.Image) revcache.Source[[]verdict] {
	standing := func(ctx context.Context) (Standing, int64, error) {
		now, err := s.Reports.Standing(ctx, r, img)
		h := fnv.New64a()
		_ = binary.Write(h, binary.BigEndian, []int64{int64(now.State), now.At.UnixMicro(), s.Clock.Now().UnixNano() / int64(decisionLife)}) // a hash takes everything
		return now, int64(h.Sum64()), err
	}
	return revcache.Source[[]verdict]{
		Revision: func(ctx context.Context) (int64, error) {
			_, revision, err := standing(ctx)
			return revision, err
		},
		Load: func(ctx context.Context) ([]verdict, int64, error) {
			found, revision, err := standing(ctx)
			if err != nil {
				return nil, 0, err
			}
			about := Image{Repository: r.Name, PushedAt: img.PushedAt, State: found.State}
			if found.State == Scanned {
				scanned := false
				if about.Report, about.FirstSeen, scanned, _, err = s.Reports.Report(ctx, r, img.Stored); err != nil {
					return nil, 0, err
				}
				if !scanned {
					about.State = Waiting
				}
			}
			var all []verdict
			for _, rule := range p.rules {
				if rule.Covers(r.Name) {
					if d := rule.Decide(about, p.exceptions, s.Clock.Now()); d.Blocked {
						all = append(all, verdict{rule, d})
					}
				}
			}
			return all, revision, nil
		},
	}
}

// policy reads what the registry has, at most CacheLife older than the database and never
// older than the last change on this node.
func (s *Service) policy(ctx context.Context, reg name.Registry) (policy, error) {
	return s.policies.Get(ctx, reg, revcache.Source[policy]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
				revision, err = revisionTx(ctx, tx, reg)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (policy, int64, error) {
			p, err := s.read(ctx, reg)
			return p, p.revision, err
		},
	})
}

// revisionTx is the revision of the gate of a registry; 0 for one that never had a rule.
func revisionTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (revision int64, err error) {
	err = tx.QueryRow(ctx, `SELECT revision FROM scan_gate_revision WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region)).Scan(&revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return 0, nil
	}
	return revision, err
}

func (s *Service) read(ctx context.Context, reg name.Registry) (p policy, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if p.revision, err = revisionTx(ctx, tx, reg); err != nil || p.revision == 0 {
			return err
		}
		if p.rules, err = sqldb.Collect(ctx, tx, scanRule, `SELECT name, repositories, severity, fixable, grace, unscanned, wait, exempt, created_at, updated_at
			FROM scan_gate_rule WHERE account_id = $1 AND region = $2 ORDER BY name`, string(reg.Account), string(reg.Region)); err != nil {
			return err
		}
		p.exceptions, err = sqldb.Collect(ctx, tx, scanException, `SELECT id, vulnerability, repository, package, reason, until, created_at
			FROM scan_gate_exception WHERE account_id = $1 AND region = $2 ORDER BY id`, string(reg.Account), string(reg.Region))
		return err
	})
	return p, err
}

func scanRule(row sqldb.Scanner) (r Rule, err error) {
	var repositories, exempt string
	var wait, created, updated int64
	if err := row.Scan(&r.Name, &repositories, &r.Severity, &r.FixableOnly, &r.Grace, &r.Unscanned, &wait, &exempt, &created, &updated); err != nil {
		return r, err
	}
	r.Wait, r.CreatedAt, r.UpdatedAt = time.Duration(wait)*time.Second, time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	if err := json.Unmarshal([]byte(repositories), &r.Repositories); err != nil {
		return r, fmt.Errorf("the rule %q of the pull gate cannot be read: %w", r.Name, err)
	}
	if err := json.Unmarshal([]byte(exempt), &r.Exempt); err != nil {
		return r, fmt.Errorf("the rule %q of the pull gate cannot be read: %w", r.Name, err)
	}
	return r, nil
}

func scanException(row sqldb.Scanner) (e Exception, err error) {
	var until, created int64
	err = row.Scan(&e.ID, &e.Vulnerability, &e.Repository, &e.Package, &e.Reason, &until, &created)
	e.Until, e.CreatedAt = time.UnixMicro(until).UTC(), time.UnixMicro(created).UTC()
	return e, err
}

// change runs fn in a transaction that changes the gate of the registry.
func (s *Service) change(ctx context.Context, reg name.Registry, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO scan_gate_revision (account_id, region, revision) VALUES ($1, $2, $3)
			ON CONFLICT (account_id, region) DO UPDATE SET revision = excluded.revision`, string(reg.Account), string(reg.Region), sqldb.NewID())
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { s.policies.Forget(func(k name.Registry) bool { return k == reg }) })
		return fn(tx)
	})
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

// Rules lists the rules of a registry by name.
func (s *Service) Rules(ctx context.Context, reg name.Registry) ([]Rule, error) {
	p, err := s.read(ctx, reg)
	return p.rules, err
}

// Put stores a rule, in place of the one of its name, and returns it as it is then.
// errs.InvalidParameter, errs.LimitExceeded.
func (s *Service) Put(ctx context.Context, reg name.Registry, r Rule) (Rule, error) {
	if err := r.Validate(); err != nil {
		return Rule{}, err
	}
	repositories, err := json.Marshal(r.Repositories)
	if err != nil {
		return Rule{}, err
	}
	exempt, err := json.Marshal(append([]string{}, r.Exempt...))
	if err != nil {
		return Rule{}, err
	}
	now := s.now()
	err = s.change(ctx, reg, func(tx *sqldb.Tx) error {
		var created int64
		err := tx.QueryRow(ctx, `INSERT INTO scan_gate_rule (account_id, region, name, repositories, severity, fixable, grace, unscanned, wait, exempt, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
			ON CONFLICT (account_id, region, name) DO UPDATE SET repositories = excluded.repositories, severity = excluded.severity, fixable = excluded.fixable,
				grace = excluded.grace, unscanned = excluded.unscanned, wait = excluded.wait, exempt = excluded.exempt, updated_at = excluded.updated_at
			RETURNING created_at`,
			string(reg.Account), string(reg.Region), r.Name, string(repositories), string(r.Severity), r.FixableOnly, int64(r.Grace), string(r.Unscanned),
			int64(r.Wait/time.Second), string(exempt), now.UnixMicro(), now.UnixMicro()).Scan(&created)
		if err != nil {
			return err
		}
		r.CreatedAt, r.UpdatedAt = time.UnixMicro(created).UTC(), now
		return limit(ctx, tx, `SELECT count(*) FROM scan_gate_rule WHERE account_id = $1 AND region = $2`, reg, MaxRules, "rules of the pull gate. Delete one, or have one rule cover more repositories.")
	})
	return r, err
}

func limit(ctx context.Context, tx *sqldb.Tx, query string, reg name.Registry, most int64, what string) error {
	var n int64
	if err := tx.QueryRow(ctx, query, string(reg.Account), string(reg.Region)).Scan(&n); err != nil {
		return err
	}
	if n > most {
		return errs.New(errs.LimitExceeded, "The registry %s has %d %s", reg, most, what)
	}
	return nil
}

// Delete removes a rule. errs.InvalidParameter when there is none of the name.
func (s *Service) Delete(ctx context.Context, reg name.Registry, rule string) error {
	return s.change(ctx, reg, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM scan_gate_rule WHERE account_id = $1 AND region = $2 AND name = $3`, string(reg.Account), string(reg.Region), rule)
		if err == nil && n == 0 {
			err = errs.New(errs.InvalidParameter, "The registry %s has no rule %q of the pull gate. berth scan gate list shows them.", reg, rule)
		}
		return err
	})
}

// Exceptions lists the exceptions of a registry, the oldest first; one that has ended is
// listed for 30 days more.
func (s *Service) Exceptions(ctx context.Context, reg name.Registry) ([]Exception, error) {
	p, err := s.read(ctx, reg)
	return p.exceptions, err
}

// Except stores an exception and returns it with its number.
// errs.InvalidParameter, errs.LimitExceeded.
func (s *Service) Except(ctx context.Context, reg name.Registry, e Exception) (Exception, error) {
	now := s.now()
	if err := e.Validate(now); err != nil {
		return Exception{}, err
	}
	e.Until, e.CreatedAt = e.Until.UTC().Truncate(time.Millisecond), now
	err := s.change(ctx, reg, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM scan_gate_exception WHERE account_id = $1 AND region = $2 AND until < $3`,
			string(reg.Account), string(reg.Region), now.Add(-keptExpired).UnixMicro()); err != nil {
			return err
		}
		e.ID = sqldb.NewID()
		if _, err := tx.Exec(ctx, `INSERT INTO scan_gate_exception (account_id, region, id, vulnerability, repository, package, reason, until, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			string(reg.Account), string(reg.Region), e.ID, e.Vulnerability, e.Repository, e.Package, e.Reason, e.Until.UnixMicro(), now.UnixMicro()); err != nil {
			return err
		}
		return limit(ctx, tx, `SELECT count(*) FROM scan_gate_exception WHERE account_id = $1 AND region = $2`, reg, MaxExceptions, "exceptions from the pull gate. Remove some; those that have ended go 30 days later.")
	})
	return e, err
}

// Revoke removes an exception before its time and returns it. errs.InvalidParameter when
// there is none of the number.
func (s *Service) Revoke(ctx context.Context, reg name.Registry, id int64) (gone Exception, err error) {
	err = s.change(ctx, reg, func(tx *sqldb.Tx) error {
		gone, err = scanException(tx.QueryRow(ctx, `DELETE FROM scan_gate_exception WHERE account_id = $1 AND region = $2 AND id = $3
			RETURNING id, vulnerability, repository, package, reason, until, created_at`, string(reg.Account), string(reg.Region), id))
		if errors.Is(err, sqldb.ErrNoRows) {
			return errs.New(errs.InvalidParameter, "The registry %s has no exception with the number %d. berth scan gate except list shows them.", reg, id)
		}
		return err
	})
	return gone, err
}
