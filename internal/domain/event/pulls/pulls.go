// Package pulls makes events of pulls, where an operator asks for them: counted over a
// while, or of one pull in so many. ECR has no such event.
//
// A pull never waits for it: pulls are noted in memory, within a bound, and what was noted
// is recorded later. So a node that is killed loses what it has noted and not recorded
// yet, and counts are no bill.
//
// It does not know which requests are pulls, or where events go.
package pulls

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// Mode is which pulls events are made of.
type Mode string

// The modes.
const (
	// Off makes none.
	Off Mode = "off"
	// Aggregate makes one event of all pulls of an image by a tag, or by its digest,
	// within an interval.
	Aggregate Mode = "aggregate"
	// Sample makes an event of one pull in OneIn, taken at random.
	Sample Mode = "sample"
)

const (
	presetInterval = time.Minute
	presetBound    = 100_000
	// batch events are recorded at once.
	batch = 100
	// lastWords is how long what was noted may take to be recorded when Run ends.
	lastWords = 5 * time.Second
)

// Config is what the service stands on. Record, Clock and Log are needed unless Mode is
// Off.
type Config struct {
	Mode Mode
	// Interval is how often what was noted is recorded; 0: a minute. Samples are recorded
	// each second at least.
	Interval time.Duration
	// OneIn is how many pulls a sample stands for, at least 1.
	OneIn int
	// Bound is how many images and tags are noted at once; 0: 100,000, which is some 30 MB.
	Bound int
	// Record records events in one transaction. It is called by one goroutine.
	Record func(ctx context.Context, events []event.Event) error
	Clock  clock.Clock
	Log    *slog.Logger
}

// Service notes pulls and makes events of them.
type Service struct {
	Config
	overflow atomic.Int64

	mu    sync.Mutex
	noted map[pull]count
}

// pull is what pulls are counted by.
type pull struct {
	registry   name.Registry
	repository name.Repository
	digest     name.Digest
	tag        name.Tag
}

type count struct {
	n     int64
	since time.Time
}

// New makes a service. It fails for a mode that is none and numbers that are out of range.
func New(c Config) (*Service, error) {
	switch c.Mode {
	case "", Off:
		c.Mode = Off
	case Sample:
		if c.OneIn < 1 {
			return nil, fmt.Errorf("a sample of pulls is one in 1 or more, not one in %d", c.OneIn)
		}
	case Aggregate:
	default:
		return nil, fmt.Errorf("%q is no mode of pull events: take off, aggregate or sample", string(c.Mode))
	}
	if c.Interval < 0 || c.Bound < 0 {
		return nil, errors.New("the interval of pull events, and how many are noted, cannot be below zero")
	}
	if c.Interval == 0 {
		c.Interval = presetInterval
	}
	if c.Mode == Sample {
		c.Interval = min(c.Interval, time.Second)
	}
	if c.Bound == 0 {
		c.Bound = presetBound
	}
	return &Service{Config: c, noted: map[pull]count{}}, nil
}

// Pulled notes a pull of an image, by a tag or, where tag is "", by its digest. It does not
// block. Public registries are passed over: EventBridge knows none of their events.
func (s *Service) Pulled(reg name.Registry, repo name.Repository, digest name.Digest, tag name.Tag) {
	n := int64(1)
	switch {
	case s.Mode == Off || reg.IsPublic():
		return
	case s.Mode == Sample:
		if n = int64(s.OneIn); rand.Int64N(n) != 0 {
			return
		}
	}
	s.note(pull{reg, repo, digest, tag}, count{n, s.Clock.Now()})
}

func (s *Service) note(p pull, c count) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, there := s.noted[p]
	if !there && len(s.noted) >= s.Bound {
		s.overflow.Add(c.n)
		return
	}
	if there {
		c.n += before.n
		if before.since.Before(c.since) {
			c.since = before.since
		}
	}
	s.noted[p] = c
}

// Overflow is how many pulls no event tells of, since too many images were noted.
func (s *Service) Overflow() int64 { return s.overflow.Load() }

// Run records what is noted, each Interval and once more when ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if s.Mode == Off {
		return nil
	}
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.Flush(ctx); err != nil && ctx.Err() == nil {
				s.Log.Warn("the events of pulls cannot be recorded; trying again", "error", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
			defer cancel()
			if err := s.Flush(last); err != nil {
				s.Log.Warn("the last events of pulls could not be recorded", "error", err)
			}
			return nil
		}
	}
}

// Flush records what is noted. What cannot be recorded stays noted.
func (s *Service) Flush(ctx context.Context) error {
	s.mu.Lock()
	noted := s.noted
	s.noted = map[pull]count{}
	s.mu.Unlock()
	all := make([]pull, 0, len(noted))
	for p := range noted {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b pull) int {
		return cmp.Or(noted[a].since.Compare(noted[b].since), cmp.Compare(a.registry.String(), b.registry.String()), cmp.Compare(a.repository, b.repository),
			cmp.Compare(a.digest, b.digest), cmp.Compare(a.tag, b.tag))
	})
	now := s.Clock.Now()
	var failed error
	for some := range slices.Chunk(all, batch) {
		if failed == nil {
			events := make([]event.Event, 0, len(some))
			for _, p := range some {
				c := noted[p]
				events = append(events, event.Event{
					Registry: p.registry, Kind: event.ImagePulled, OccurredAt: now,
					Detail: event.PullDetail{Repository: p.repository, Digest: p.digest, Tag: p.tag, Count: c.n, Since: c.since.UTC()},
				})
			}
			failed = s.Record(ctx, events)
		}
		if failed != nil {
			for _, p := range some {
				s.note(p, noted[p])
			}
		}
	}
	return failed
}
