package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/storage"
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The kinds of work.
const (
	JobRun       = "lifecycle.run"
	JobPreview   = "lifecycle.preview"
	JobReferrers = "lifecycle.referrers"
	JobSweep     = "lifecycle.sweep"

	// DefaultDelay is how long after a change a policy runs; ECR says within 24
	// hours.
	DefaultDelay = time.Minute

	sweepPeriod = time.Hour
	// evaluateAfter is how old a policy's last run is at most when a sweep comes by.
	evaluateAfter = 23 * time.Hour
	jobLimit      = 2 * time.Hour
)

// Options are what a repository has set beyond ECR; see repository.Settings.
type Options struct {
	// Extended lets policies use Berth's additions to the grammar.
	Extended  bool
	MultiArch bool
}

// Config is what a Service stands on.
type Config struct {
	Durable      *sqldb.DB
	Repositories *repository.Service
	Images       *image.Service
	Storage      *storage.Service
	Outbox       *event.Outbox
	Clock        clock.Clock
	Log          *slog.Logger
	Jobs         *jobs.Queue
	Quotas       quota.Source
	// OptionsTx reads what a repository has set; nil: nothing.
	OptionsTx func(ctx context.Context, tx *sqldb.Tx, repositoryID int64) (Options, error)
	// Delay is how long after a change a policy runs; 0: DefaultDelay.
	Delay time.Duration
}

// Service keeps and runs policies. Its methods may be called from many goroutines
// and on many nodes at once.
type Service struct{ Config }

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	if c.Delay <= 0 {
		c.Delay = DefaultDelay
	}
	s := &Service{c}
	for kind, run := range map[string]func(context.Context, jobs.Task) error{
		JobRun: s.run, JobPreview: s.preview, JobReferrers: s.followSubject, JobSweep: func(ctx context.Context, _ jobs.Task) error { return s.sweep(ctx) },
	} {
		c.Jobs.Handle(kind, jobs.Handler{Timeout: jobLimit, Workers: 2, Run: run})
	}
	c.Jobs.Every(JobSweep, sweepPeriod)
	return s
}

// target names a repository in the payload of a job. One that was made again
// under its old name is another one.
type target struct {
	Registry   name.Registry   `json:"registry"`
	Repository name.Repository `json:"repository"`
	ID         int64           `json:"id"`
}

// find reads the repository, false if it is gone.
func (s *Service) find(ctx context.Context, t target) (repository.Repository, bool, error) {
	r, err := s.Repositories.Get(ctx, t.Registry, t.Repository)
	if errs.Is(err, errs.RepositoryNotFound) || (err == nil && r.ID != t.ID) {
		return repository.Repository{}, false, nil
	}
	return r, err == nil, err
}

// Policy is a repository's policy.
type Policy struct {
	// Text is the policy without white space.
	Text string
	// EvaluatedAt is when it last ran; zero before the first run.
	EvaluatedAt time.Time
}

// stored is a policy's row.
type stored struct {
	id          string
	version     int64
	document    string
	evaluatedAt int64
	reportedAt  int64
}

func notFound(r repository.Repository) error {
	return errs.New(errs.LifecyclePolicyNotFound, "Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", r.Name, r.Registry.Account)
}

func policyTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository) (p stored, err error) {
	err = tx.QueryRow(ctx, `SELECT policy_id, version, document, evaluated_at, reported_at FROM lifecycle_policy WHERE repository_id = $1`, r.ID).
		Scan(&p.id, &p.version, &p.document, &p.evaluatedAt, &p.reportedAt)
	if errors.Is(err, sqldb.ErrNoRows) {
		return stored{}, notFound(r)
	}
	return p, err
}

func (p stored) policy() Policy {
	out := Policy{Text: p.document}
	if p.evaluatedAt > 0 {
		out.EvaluatedAt = time.UnixMicro(p.evaluatedAt)
	}
	return out
}

// options reads what the repository has set.
func (s *Service) options(ctx context.Context, tx *sqldb.Tx, repositoryID int64) (Options, error) {
	if s.OptionsTx == nil {
		return Options{}, nil
	}
	return s.OptionsTx(ctx, tx, repositoryID)
}

func (o Options) grammar() rules.Grammar {
	if o.Extended {
		return rules.Extended
	}
	return rules.ECR
}

func (o Options) selection() selection.Options { return selection.Options{MultiArch: o.MultiArch} }

// limits are the quotas on the policies of an account, which a text has to keep.
func (s *Service) limits(ctx context.Context, account name.AccountID, text string) (rules.Limits, error) {
	l, err := s.Quotas.Limits(ctx, account)
	if err == nil {
		err = checkLength(text, l)
	}
	return rules.Limits{Rules: l.LifecycleRules}, err
}

func checkLength(text string, l quota.Limits) error {
	if utf8.RuneCountInString(text) > l.LifecyclePolicyChars {
		return errs.Parameter("lifecyclePolicyText", fmt.Sprintf("Member must have length less than or equal to %d", l.LifecyclePolicyChars))
	}
	return nil
}

// checked are the limits for a policy that has passed its quotas when it was set.
var checked = rules.Limits{Rules: rules.MaxNumber}

// Check says what is wrong with a policy in the grammar of ECR and within an
// account's quotas, before there is a repository to put it on:
// errs.InvalidParameter, nil for nothing.
func Check(text string, l quota.Limits) error {
	if err := checkLength(text, l); err != nil {
		return err
	}
	_, err := rules.Parse(text, rules.ECR, rules.Limits{Rules: l.LifecycleRules})
	return err
}

// Put stores a policy in place of the one before and has it run soon.
// errs.InvalidParameter for a text that is no policy, errs.RepositoryNotFound.
func (s *Service) Put(ctx context.Context, r repository.Repository, text string) (p Policy, err error) {
	l, err := s.limits(ctx, r.Registry.Account, text)
	if err != nil {
		return Policy{}, err
	}
	err = s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err == nil {
			p, err = s.putTx(ctx, tx, locked, text, l)
		}
		return err
	})
	return p, err
}

// PutTx is Put in the transaction that makes the repository, of a text that Check
// has passed.
func (s *Service) PutTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, text string) error {
	_, err := s.putTx(ctx, tx, r, text, checked)
	return err
}

func (s *Service) putTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, text string, l rules.Limits) (Policy, error) {
	o, err := s.options(ctx, tx, r.ID)
	if err != nil {
		return Policy{}, err
	}
	if _, err := rules.Parse(text, o.grammar(), l); err != nil {
		return Policy{}, err
	}
	short, err := rules.Minify(text)
	if err != nil {
		return Policy{}, err
	}
	// The policy keeps its id and counts its versions; what it did so far is the
	// old version's.
	_, err = tx.Exec(ctx, `INSERT INTO lifecycle_policy (repository_id, policy_id, version, document) VALUES ($1, $2, 1, $3)
		ON CONFLICT (repository_id) DO UPDATE SET document = excluded.document, version = lifecycle_policy.version + 1, reported_at = 0`, r.ID, uuid.NewString(), short)
	if err != nil {
		return Policy{}, err
	}
	p, err := policyTx(ctx, tx, r)
	if err != nil {
		return Policy{}, err
	}
	return p.policy(), s.enqueue(ctx, tx, r)
}

// enqueue has the repository's policy run after the delay.
func (s *Service) enqueue(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
	return s.enqueueAt(ctx, tx, target{Registry: r.Registry, Repository: r.Name, ID: r.ID}, s.Clock.Now().Add(s.Delay))
}

func (s *Service) enqueueAt(ctx context.Context, tx *sqldb.Tx, t target, at time.Time) error {
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobRun, UniqueKey: strconv.FormatInt(t.ID, 10), Payload: t, RunAt: at})
}

// Get reads the policy. errs.LifecyclePolicyNotFound when there is none.
func (s *Service) Get(ctx context.Context, r repository.Repository) (p Policy, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		row, err := policyTx(ctx, tx, r)
		p = row.policy()
		return err
	})
	return p, err
}

// Delete removes the policy and returns it: a run under way stops.
// errs.LifecyclePolicyNotFound when there is none.
func (s *Service) Delete(ctx context.Context, r repository.Repository) (p Policy, err error) {
	err = s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		row, err := policyTx(ctx, tx, locked)
		if err != nil {
			return err
		}
		p = row.policy()
		_, err = tx.Exec(ctx, `DELETE FROM lifecycle_policy WHERE repository_id = $1`, r.ID)
		return err
	})
	return p, err
}

// sweepPage is how many policies are enqueued in one transaction.
const sweepPage = 200

// sweep enqueues a run for every policy that has not run for most of a day, and
// lets old previews expire.
func (s *Service) sweep(ctx context.Context) error {
	before := s.Clock.Now().Add(-evaluateAfter).UnixMicro()
	var after int64
	for {
		var page []target
		err := s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanTarget, `SELECT r.id, r.account_id, r.region, r.name FROM lifecycle_policy p JOIN repository r ON r.id = p.repository_id
				WHERE p.evaluated_at <= $1 AND p.repository_id > $2 AND r.deleted_at = 0 ORDER BY p.repository_id LIMIT $3`, before, after, sweepPage)
			if err != nil {
				return err
			}
			for _, t := range page {
				if err := s.enqueueAt(ctx, tx, t, s.Clock.Now()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(page) < sweepPage {
			break
		}
		after = page[len(page)-1].ID
	}
	return s.expirePreviews(ctx)
}

func scanTarget(row sqldb.Scanner) (t target, err error) {
	var account, region, repo string
	err = row.Scan(&t.ID, &account, &region, &repo)
	t.Registry, t.Repository = name.Registry{Account: name.AccountID(account), Region: name.Region(region)}, name.Repository(repo)
	return t, err
}

// Subscribe is told of every event. A change of the images of a repository with a
// policy enqueues a run; a subject that was deleted, archived or restored is
// followed by its referrers.
func (s *Service) Subscribe(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	var d event.ImageDetail
	switch e.Kind {
	case event.ImagePushed, event.ImageDeleted:
		d = e.Detail.(event.ImageDetail)
	case event.StorageClassChanged:
		d = e.Detail.(event.StorageClassDetail).ImageDetail
	case event.PolicyExecuted, event.PolicyPreviewed:
		return nil
	default:
		return nil
	}
	t := target{Registry: e.Registry, Repository: d.Repository}
	var governed, followed bool
	err := tx.QueryRow(ctx, subscribed(e.Kind == event.ImagePushed), string(e.Registry.Account), string(e.Registry.Region), string(d.Repository), string(d.Digest)).Scan(&t.ID, &governed, &followed)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil
	}
	if err == nil && governed {
		err = s.enqueueAt(ctx, tx, t, s.Clock.Now().Add(s.Delay))
	}
	if err == nil && followed {
		err = s.enqueueFollowers(ctx, tx, t, d.Digest)
	}
	return err
}

// subscribed asks whether a repository has a policy, and whether an image of it has
// referrers that could follow it: every push asks. The referrers of an image that
// was pushed have something to follow only where they are archived: it was, too.
func subscribed(pushed bool) string {
	archived := ""
	if pushed {
		archived = ` AND i.status = 1`
	}
	return `SELECT r.id, EXISTS (SELECT 1 FROM lifecycle_policy p WHERE p.repository_id = r.id),
		EXISTS (SELECT 1 FROM image i WHERE i.repository_id = r.id AND i.subject = $4 AND i.subject <> ''` + archived + `)
		FROM repository r WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3`
}

func decode(t jobs.Task, into any) error { return json.Unmarshal(t.Payload, into) }
