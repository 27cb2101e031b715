package replication

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication/rules"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Presets of Config.
const (
	DefaultWorkers = 4
	DefaultGiveUp  = 24 * time.Hour
)

// Config is what a Service stands on. Everything is needed that is not said to be
// optional.
type Config struct {
	Durable      *sqldb.DB
	Registries   *registry.Service
	Repositories *repository.Service
	Images       *image.Service
	Layers       *layer.Service
	Entities     *entity.Service
	Outbox       *event.Outbox
	Clock        clock.Clock
	Log          *slog.Logger
	Jobs         *jobs.Queue
	// Served says whether a region is served, here or by a peer.
	Served func(name.Region) bool
	// Destination gives what takes images to a region; false while nothing does.
	Destination func(name.Region) (Destination, bool)
	// Complete brings an image into a repository here that an index of it names and
	// that the pull-through cache has not needed so far; nil where there is none.
	Complete func(ctx context.Context, r repository.Repository, d name.Digest) error
	// Done hears of every item of a backfill that has ended; optional.
	Done DoneFunc
	// Wanted says whether a backfill still wants what it has put into the queue: the
	// code that the item ends with otherwise, "" if it does; optional.
	Wanted func(ctx context.Context, backfill string) (code string, err error)
	// Workers is how many lanes this node works on at once, and half as many of
	// backfills besides; 0 is DefaultWorkers.
	Workers int
	// Bandwidth bounds what this node sends, in bytes per second; 0 is no bound.
	Bandwidth int64
	// GiveUp is how long after its push an image that cannot be copied is tried
	// again; 0 is DefaultGiveUp.
	GiveUp time.Duration
}

// Service keeps the configurations and sends. Its methods may be called from many
// goroutines and on many nodes at once.
type Service struct {
	Config
	*rules.Service
	gates   gates
	flights flights
	limiter *rate.Limiter // nil for none
}

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	if c.Workers <= 0 {
		c.Workers = DefaultWorkers
	}
	if c.GiveUp <= 0 {
		c.GiveUp = DefaultGiveUp
	}
	s := &Service{Config: c, Service: rules.New(rules.Config{DB: c.Durable, Registries: c.Registries, Entities: c.Entities, Clock: c.Clock, Served: c.Served})}
	if c.Bandwidth > 0 {
		s.limiter = rate.NewLimiter(rate.Limit(c.Bandwidth), pieceSize)
	}
	s.register()
	return s
}
