// Package usage counts what a deployment is used for, as AWS reports it: calls and pulls
// by the minute, how many repositories and images there are, and by the day what each
// repository held and moved, with its resource tags.
//
// It owns the tables usage_series, usage_point, usage_task, usage_repository, usage_tags,
// usage_day and usage_hour, and reads those of registry, repository and layer for its
// samples. What a request counts as is for app/metering to say, what CloudWatch's calls
// answer for api/cloudwatch; what a metric is stands in usage/metric.
package usage

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// Period is how often what was counted is written down: the resolution of
	// CloudWatch's metrics.
	Period = time.Minute
	// Keep is how long points stay: ECR's guide says two weeks ("Amazon ECR
	// monitoring").
	Keep = 14 * 24 * time.Hour
	// KeepMonths is for how many whole months before the present one days stay: what
	// Cost Explorer shows (ECR's guide, "Amazon ECR usage reports").
	KeepMonths = 13
	// lastFlush bounds the flush at the end.
	lastFlush = 5 * time.Second
)

// Config is what a Service stands on. DB, Clock and Log are needed.
type Config struct {
	// DB is the durable database.
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Repositories is of how many repositories this node tells the pulls one by one
	// (PullCounts); 0 of none.
	Repositories int
}

// Service counts, samples and answers. It is safe for concurrent use.
type Service struct {
	c Config
	// maxKeys bounds each kind of what is counted in memory.
	maxKeys int

	flushing sync.Mutex // held by one Flush at a time

	mu       sync.Mutex
	points   map[pointKey]int64
	days     map[dayKey]traffic
	dropped  int64
	dropping bool // since the last flush, and the log says so
	failing  bool
	pulls    map[registryRepository]int64 // since the start, where Config.Repositories asks for it
}

// New makes a Service. Run has to run for it to write anything down.
func New(c Config) *Service {
	return &Service{c: c, maxKeys: maxKeys, points: map[pointKey]int64{}, days: map[dayKey]traffic{}, pulls: map[registryRepository]int64{}}
}

// Run writes down what is counted, samples, and removes what is old, each Period and
// once more at the end, until ctx ends. What could not be written is kept for the next
// time; a process that is killed loses what it has counted since the last.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(Period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			err := errors.Join(s.Flush(ctx), s.Sample(ctx), s.Expire(ctx))
			if ctx.Err() == nil {
				s.report(err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			return s.Flush(last)
		}
	}
}

// report logs the first failure of several, and their end.
func (s *Service) report(err error) {
	s.mu.Lock()
	before := s.failing
	s.failing = err != nil
	s.mu.Unlock()
	switch {
	case err != nil && !before:
		s.c.Log.Warn("usage cannot be written down; what is counted is kept in memory until it can", "error", err)
	case err == nil && before:
		s.c.Log.Info("usage is written down again")
	}
}

// minuteOf counts minutes since 1970.
func minuteOf(t time.Time) int64 { return floorDiv(t.Unix(), 60) }

// hourOf counts hours since 1970.
func hourOf(t time.Time) int64 { return floorDiv(t.Unix(), 3600) }

// dayOf counts days since 1970, UTC.
func dayOf(t time.Time) int64 { return floorDiv(t.Unix(), 24*3600) }

// floorDiv rounds down, also below zero.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

const (
	minutesPerDay = 24 * 60
	hoursPerDay   = 24
)

func timeOfMinute(m int64) time.Time { return time.Unix(m*60, 0).UTC() }

func timeOfDay(d int64) time.Time { return time.Unix(d*24*3600, 0).UTC() }
