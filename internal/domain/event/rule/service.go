package rule

import (
	"context"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what a Service stands on.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Known refuses ARNs that no destination of the account and region has, with
	// errs.EventResourceNotFound or another failure for the caller.
	Known func(ctx context.Context, account name.AccountID, region name.Region, arn string) error
}

// Service keeps rules and targets. It is safe for concurrent use.
type Service struct {
	Config
	routes *cache
}

// New returns the service.
func New(c Config) *Service {
	return &Service{Config: c, routes: &cache{entries: map[name.Registry]cached{}}}
}

func (s *Service) now() time.Time { return s.Clock.Now().UTC().Truncate(time.Millisecond) }
