// Package scan owns the scans of images: when one is due, how it stands, and what the
// last completed one found, for basic and for enhanced scanning.
//
// It does not read layers or match packages (scan/worker does, in processes of their
// own), nor own the rules that select repositories (scan/rules), the vulnerability
// databases (scan/vulndb), what is done with findings beyond ECR (scan/gate), nor the
// delivery of its events.
//
// # How an image is scanned
//
// A push, a start by hand or a change of the configuration writes a row of scan_image
// and enqueues a job in one transaction. The job makes the inventory of each layer that
// has none yet, puts them together and has them matched. Inventories are kept by layer,
// so that another database means matching again and no reading.
//
// What an image does to the process that reads it costs that image its scan, which has
// failed then, and nothing else. What the store or the database fails at is tried again.
package scan

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/tally"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The jobs.
const (
	JobImage    = "scan.image"
	JobRematch  = "scan.rematch"
	JobRegistry = "scan.registry"
)

// DailyScans is how many basic scans a registry can begin in 24 hours, and Again how
// long after the start of one the same image can have another (ECR user guide, "service
// quotas").
const (
	DailyScans = 100_000
	Again      = 24 * time.Hour
)

// Images is what scanning needs of domain/image.
type Images interface {
	FindTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref image.Ref) (image.Detail, error)
	Peek(ctx context.Context, r repository.Repository, ref image.Ref, accept []string) (image.Image, error)
}

// Layers is what it needs of domain/layer.
type Layers interface {
	Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error)
}

// Workers are the processes that read layers and match packages: scan/worker.
type Workers interface {
	ReadLayer(ctx context.Context, mediaType string, size int64, r io.Reader) (inventory.Layer, error)
	Match(ctx context.Context, dir string, img inventory.Image, o match.Options) (finding.Report, error)
}

// Databases are the vulnerability databases: scan/vulndb.
type Databases interface {
	Current(ctx context.Context) (vulndb.Database, bool, error)
}

// Config is what a Service stands on.
type Config struct {
	DB           *sqldb.DB
	Registries   *registry.Service
	Repositories *repository.Service
	Images       Images
	Layers       Layers
	Workers      Workers
	Databases    Databases
	Outbox       *event.Outbox
	Jobs         *jobs.Queue
	Clock        clock.Clock
	Log          *slog.Logger
	// Complete brings an image here whole that the pull-through cache has in part; nil
	// where there is none.
	Complete func(ctx context.Context, r repository.Repository, d name.Digest) error
	// Role makes the role of enhanced scanning for an account that has none; nil: there is none.
	Role func(ctx context.Context, account name.AccountID) error
	// TagsTx says whether a push with these tags is one that scans; nil: every one.
	TagsTx func(ctx context.Context, tx *sqldb.Tx, reg name.Registry, repo name.Repository, tags []name.Tag) (bool, error)
	// DoneTx is called in the transaction that stores a completed scan; nil: nothing.
	DoneTx func(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) error
	// Parallel is how many images a node scans at once; 0 is 1.
	Parallel int
	// Daily bounds the basic scans of a registry in 24 hours; 0 is DailyScans.
	Daily int64
	// Eligible is how long ago an image may have been pushed when enhanced scanning comes
	// to its repository, to be scanned still; 0 is 14 days (ECR user guide, "enhanced scanning").
	Eligible time.Duration
	// Rescan is how long after its push an image is scanned anew for each database; 0 is
	// as long as it is there.
	Rescan time.Duration
}

// Service scans images. Its methods may be called from many goroutines and on many
// nodes at once.
type Service struct {
	Config
	counts tally.Counts
}

// tries is how often a scan is tried that a fault of ours ends.
const tries = 6

// imageLimit bounds one scan, sweepLimit a run of one of the other jobs, which goes on
// in the next where it was stopped.
const (
	imageLimit = 2 * time.Hour
	sweepLimit = 6 * time.Hour
)

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	if c.Parallel == 0 {
		c.Parallel = 1
	}
	if c.Daily == 0 {
		c.Daily = DailyScans
	}
	if c.Eligible == 0 {
		c.Eligible = 14 * 24 * time.Hour
	}
	s := &Service{Config: c}
	c.Jobs.Handle(JobImage, jobs.Handler{Timeout: imageLimit, Workers: c.Parallel, Run: decoded(s.scan)})
	c.Jobs.Handle(JobRematch, jobs.Handler{Timeout: sweepLimit, Run: decoded(s.rematch)})
	c.Jobs.Handle(JobRegistry, jobs.Handler{Timeout: sweepLimit, Run: decoded(s.evaluate)})
	return s
}

// decoded has a handler given its payload.
func decoded[T any](do func(ctx context.Context, t jobs.Task, payload T) error) func(context.Context, jobs.Task) error {
	return func(ctx context.Context, t jobs.Task) error {
		var p T
		if err := json.Unmarshal(t.Payload, &p); err != nil {
			return jobs.Permanent(err)
		}
		return do(ctx, t, p)
	}
}

// order is the payload of JobImage.
type order struct {
	Image int64          `json:"image,string"`
	Type  rules.ScanType `json:"type"`
	// Counted says that the scan is in the count of the registry already.
	Counted bool `json:"counted,omitempty"`
}

// enqueue adds the job of one image.
func (s *Service) enqueue(ctx context.Context, tx *sqldb.Tx, o order) error {
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobImage, UniqueKey: fmt.Sprintf("%d %s", o.Image, o.Type), Payload: o, MaxAttempts: tries})
}

// Stats says what this node has done since it started.
func (s *Service) Stats() tally.Stats { return s.counts.Stats() }
