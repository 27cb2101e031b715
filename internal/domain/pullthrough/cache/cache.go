package cache

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/fetch"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/once"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/outcome"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Rules says where repositories come from; domain/pullthrough is it.
type Rules interface {
	// Covering finds the rule for a repository, from memory.
	Covering(ctx context.Context, reg name.Registry, repo name.Repository) (pullthrough.Rule, bool, error)
	// Endpoint says how the rule's upstream is spoken to.
	Endpoint(ctx context.Context, r pullthrough.Rule) (upstream.Endpoint, error)
}

// Upstream is what is asked of other registries; *upstream.Client is it.
type Upstream interface {
	Manifest(ctx context.Context, e upstream.Endpoint, repo, reference string, accept []string) (upstream.Manifest, error)
	Head(ctx context.Context, e upstream.Endpoint, repo, reference string, accept []string) (upstream.Descriptor, error)
	Blob(ctx context.Context, e upstream.Endpoint, repo, digest string, offset int64) (body io.ReadCloser, size int64, err error)
	Referrers(ctx context.Context, e upstream.Endpoint, repo, digest string, artifactType string) (index []byte, err error)
}

var _ Upstream = (*upstream.Client)(nil)

// Config is what a Service stands on.
type Config struct {
	// Durable keeps imports and times, Volatile who fetches what. They may be two
	// handles on one database.
	Durable, Volatile *sqldb.DB
	Layers            *layer.Service
	Images            *image.Service
	Repositories      *repository.Service
	Outbox            *event.Outbox
	// Jobs gets the work that brings imports to their end; nil leaves it to the
	// process that began them.
	Jobs   *jobs.Queue
	Clock  clock.Clock
	Log    *slog.Logger
	Quotas quota.Source
	Rules  Rules
	// Upstream speaks to upstreams.
	Upstream Upstream
	// Make makes a repository by the template that holds for it, and is
	// errs.TemplateNotFound where none does; nil is that for all.
	Make func(ctx context.Context, reg name.Registry, repo name.Repository) (repository.Repository, error)
	// Tags are the resource tags that Make would give the repository; nil is none.
	Tags func(ctx context.Context, reg name.Registry, repo name.Repository) (map[string]string, error)
	// Refresh is for how long a tag, and a list of referrers, is served without a
	// question to the upstream; 0 is 24 hours (ECR user guide, "Sync an upstream
	// registry").
	Refresh time.Duration
	// Dir is where blobs stand while they come; "" is the system's directory for
	// temporary files. Files have no name there and go with the process.
	Dir    string
	Limits Limits
}

// Limits are the bounds of the work; 0 takes the default of each.
type Limits struct {
	// Downloads is how many blobs are fetched at once; 16.
	Downloads int
	// Tries is how often a blob is begun or gone on with, before it has failed; 3.
	// A try that brings 8 MiB does not count.
	Tries int
	// Again is the pause before the second try, doubled before each further one; 1 s.
	Again time.Duration
	// Slow is how long a pull for which there is a local copy waits for the
	// upstream; 5 s.
	Slow time.Duration
	// Check bounds the question what a tag or a digest is; 2 minutes.
	Check time.Duration
	// Pause is how long an upstream that failed is left alone where there is a local
	// copy; 1 minute.
	Pause time.Duration
	// GiveUp is after how long an import is dropped whose layers cannot be had; 24 hours.
	GiveUp time.Duration
	// Lease is how long a node that is not heard of keeps a fetch to itself; 30 s.
	Lease time.Duration
	// Poll is the time between two looks at what another node fetches; 200 ms.
	Poll time.Duration
}

func (l *Limits) fill() {
	or(&l.Downloads, 16)
	or(&l.Tries, 3)
	or(&l.Again, time.Second)
	or(&l.Slow, 5*time.Second)
	or(&l.Check, 2*time.Minute)
	or(&l.Pause, time.Minute)
	or(&l.GiveUp, 24*time.Hour)
	or(&l.Lease, 30*time.Second)
	or(&l.Poll, 200*time.Millisecond)
}

func or[T int | time.Duration](v *T, standard T) {
	if *v <= 0 {
		*v = standard
	}
}

// Service is the cache. All methods may be called from many goroutines and on many
// nodes at once.
type Service struct {
	Config
	work   once.Group
	leases once.Leases
	track  outcome.Tracker
	blobs  *fetch.Service
	quiet  atomic.Bool // no image is on its way here, nor was one since Alone
}

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	c.Limits.fill()
	or(&c.Refresh, 24*time.Hour)
	s := &Service{
		Config: c,
		leases: once.Leases{DB: c.Volatile, Clock: c.Clock, Log: c.Log, Life: c.Limits.Lease},
		track:  outcome.Tracker{Clock: c.Clock, Log: c.Log, Pause: c.Limits.Pause},
	}
	s.blobs = fetch.New(fetch.Config{
		Layers: c.Layers, Rules: c.Rules, Source: c.Upstream, Leases: s.leases, Work: &s.work, Track: &s.track, Log: c.Log, Dir: c.Dir,
		Downloads: c.Limits.Downloads, Tries: c.Limits.Tries, Again: c.Limits.Again, Poll: c.Limits.Poll,
	})
	if c.Jobs != nil {
		c.Jobs.Handle(JobImport, jobs.Handler{Run: s.runJob, Timeout: jobTimeout, Workers: jobWorkers})
	}
	return s
}

// Stats reads the numbers of this process.
func (s *Service) Stats() outcome.Stats { return s.track.Stats() }

// Alone gives free what an earlier process was fetching: for a process that has its
// databases to itself, before it works.
func (s *Service) Alone(ctx context.Context) error {
	err := s.Durable.Lookup(ctx, func(tx *sqldb.Tx) error {
		n := 0
		err := tx.QueryRow(ctx, `SELECT count(*) FROM pullthrough_import`).Scan(&n)
		s.quiet.Store(err == nil && n == 0)
		return err
	})
	return errors.Join(err, s.leases.Free(ctx))
}

// Run returns when ctx has ended and all that the service does by itself has
// stopped. Layers that were still coming are gone on with by jobs, here or elsewhere.
func (s *Service) Run(ctx context.Context) error {
	if err := s.blobs.Clean(); err != nil {
		s.Log.WarnContext(ctx, "what an earlier process has left of layers on their way was not removed", "directory", s.Dir, "error", err)
	}
	<-ctx.Done()
	s.Stop()
	return nil
}

// Stop ends downloads and everything else that goes on without a caller, and waits
// until it has. What is asked of the service afterwards and needs an upstream is
// errs.Unavailable.
func (s *Service) Stop() { s.work.Stop() }
