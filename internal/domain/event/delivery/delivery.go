// Package delivery brings recorded events to the targets of rules: it makes deliveries of
// the outbox's rows (the router), sends them, tries again what failed, and keeps what is
// dead for operators.
//
// What it promises. An event whose change was committed reaches every target whose rule
// matched when it was routed, or is in the list of the dead: at least once, under one id,
// though nodes are killed at any moment. A target gets the events of one repository in
// their order: only the first of a repository is sent, and the next when that one is
// delivered or dead. Repositories do not wait for each other.
//
// It does not write the envelope (event/envelope), choose the rules (event/rule), or know
// what a target is (the function Send).
package delivery

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/domain/event/rule"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Rules are the rules of all registries; rule.Service is them.
type Rules interface {
	RoutesTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, region name.Region) ([]rule.Route, error)
	TargetTx(ctx context.Context, tx *sqldb.Tx, ruleID int64, targetID string) (rule.Target, bool, error)
}

// Config is what the service stands on. DB, Clock, Log, Rules and Send are needed.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	Rules Rules
	// Send brings a message to the target that has the ARN, and returns once it is there
	// for good. One that is or wraps an eventsink.Permanent failure is not tried again.
	Send func(ctx context.Context, account name.AccountID, region name.Region, arn string, m eventsink.Message) error
	// Retention is how long routed events stay in the outbox, and Keep how long dead
	// deliveries and their events do; 0: 7 days, and 14.
	Retention, Keep time.Duration
	// Alone says that no other node can be on the database: targets that this node sent
	// to before it was cut off need not wait for their lease.
	Alone bool
	// Options of the node; the zero value is right for production.
	Options Options
}

// Options tune a node; zero values stand for the defaults.
type Options struct {
	Poll    time.Duration // how often the tables are looked at; 0: 1 s
	Lease   time.Duration // how long a target is spared from other nodes without a sign of life; 0: 30 s
	Timeout time.Duration // of one try, at most two thirds of Lease; 0: 20 s
	Drain   time.Duration // how long tries under way may take when Run's ctx ends; 0: 5 s
	// Parallel is how many repositories are sent to one target at once; 0: 8. Streams is
	// how many targets this node serves at once; 0: 256.
	Parallel, Streams int
	// FirstPause is what a failed delivery waits for, twice as long each time up to
	// LongestPause, each time between half and all of it; 0: 1 s, and 10 min: with these,
	// 185 retries, which is the most, take about a day, which is the longest.
	FirstPause, LongestPause time.Duration
}

func (c *Config) fill() {
	o := &c.Options
	for _, d := range []struct {
		value  *time.Duration
		preset time.Duration
	}{
		{&c.Retention, 7 * 24 * time.Hour},
		{&c.Keep, 14 * 24 * time.Hour},
		{&o.Poll, time.Second},
		{&o.Lease, 30 * time.Second},
		{&o.Timeout, 20 * time.Second},
		{&o.Drain, 5 * time.Second},
		{&o.FirstPause, time.Second},
		{&o.LongestPause, 10 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.preset
		}
	}
	o.Timeout = min(o.Timeout, o.Lease*2/3)
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Streams <= 0 {
		o.Streams = 256
	}
}

// Service routes and delivers, while Run runs, and administers deliveries. Several nodes
// may run one on the same database.
type Service struct {
	Config
	owner string // this service among all that use the database

	routing    chan struct{} // holds one token when there may be something to route
	delivering chan struct{} // holds one token when there may be something to send

	mu      sync.Mutex
	streams map[target]chan struct{} // of targets that this node serves; a token has the stream look again

	sent, failures, died, dropped, unroutable atomic.Int64
}

// target names a target of a rule.
type target struct {
	rule int64
	id   string
}

// New makes the service.
func New(c Config) *Service {
	c.fill()
	owner := make([]byte, 16)
	_, _ = rand.Read(owner) // it cannot fail (crypto/rand)
	return &Service{
		Config: c, owner: hex.EncodeToString(owner),
		routing: make(chan struct{}, 1), delivering: make(chan struct{}, 1), streams: map[target]chan struct{}{},
	}
}

// WantedTx says whether rules of the registry are in force, for the outbox: without
// any there is nothing to route. Where there are some, the event that is recorded in
// the transaction is routed at once. A rule that is put at the same time may come too
// late for it.
func (s *Service) WantedTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (bool, error) {
	routes, err := s.Rules.RoutesTx(ctx, tx, reg.Account, reg.Region)
	if err != nil || len(routes) == 0 {
		return false, err
	}
	tx.AfterCommit(s.Wake)
	return true, nil
}

// Wake has Run look at the outbox at once.
func (s *Service) Wake() { put(s.routing) }

func put(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // there is one already
	}
}

// Run routes and delivers until ctx ends. Then it begins nothing new, and waits for the
// tries under way as long as Options.Drain.
func (s *Service) Run(ctx context.Context) error {
	if s.Alone {
		err := s.again(ctx, "the nodes that sent events before cannot be forgotten; trying again", func() error {
			return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `DELETE FROM event_stream`)
				return err
			})
		})
		if err != nil {
			return nil // ctx has ended
		}
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var loops sync.WaitGroup
	loops.Go(func() { s.loop(ctx, s.routing, "events cannot be routed; trying again", s.routeAll) })
	loops.Go(func() {
		s.loop(ctx, nil, "dead letters cannot be sent; trying again", func(ctx context.Context) error { return s.sendLetters(ctx, work) })
	})
	loops.Go(func() {
		var streams sync.WaitGroup
		s.loop(ctx, s.delivering, "deliveries cannot be read; trying again", func(ctx context.Context) error { return s.dispatch(ctx, work, &streams) })
		streams.Wait()
	})
	ended := make(chan struct{})
	go func() {
		loops.Wait()
		close(ended)
	}()
	<-ctx.Done()
	drain := time.NewTimer(s.Options.Drain)
	defer drain.Stop()
	select {
	case <-ended:
	case <-drain.C:
		cancel()
		<-ended
	}
	return nil
}

// loop does something again and again, with a poll's pause or until it is woken, till ctx ends.
func (s *Service) loop(ctx context.Context, wake <-chan struct{}, failed string, do func(context.Context) error) {
	poll := time.NewTicker(s.Options.Poll)
	defer poll.Stop()
	for ctx.Err() == nil {
		if err := do(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn(failed, "error", err)
			pause(ctx, s.Options.Poll) // a wake-up does not help here
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-poll.C:
		}
	}
}

// again does something until it succeeds; its error is that ctx has ended.
func (s *Service) again(ctx context.Context, failed string, do func() error) error {
	for {
		err := do()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		s.Log.Warn(failed, "error", err)
		pause(ctx, s.Options.Poll)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// wait is how long a delivery waits that has failed so many times, lastly so: no shorter
// than its target asks for.
func (s *Service) wait(attempts int64, failure error) time.Duration {
	longest := s.Options.LongestPause
	if n := min(attempts-1, 30); s.Options.FirstPause<<n < longest {
		longest = s.Options.FirstPause << n
	}
	asked, _ := eventsink.Wait(failure)
	return max(asked, longest/2+time.Duration(mathrand.Int64N(int64(longest/2)+1)))
}

// Stats is how the service is doing.
type Stats struct {
	// Unrouted events wait for the router, Pending deliveries to be sent; Dead ones are
	// kept for operators. They are of all nodes.
	Unrouted, Pending, Dead int64
	// Oldest is how long the oldest pending delivery, or the oldest unrouted event, has
	// been waiting.
	Oldest time.Duration
	// What this node has done since it started: messages that were sent, tries that
	// failed, deliveries that died, deliveries that were dropped since their target or
	// its rule is gone, and events that could not be put into an envelope.
	Sent, Failed, Died, Dropped, Unroutable int64
}

// Stats counts.
func (s *Service) Stats(ctx context.Context) (Stats, error) {
	st := Stats{Sent: s.sent.Load(), Failed: s.failures.Load(), Died: s.died.Load(), Dropped: s.dropped.Load(), Unroutable: s.unroutable.Load()}
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		var pending, unrouted int64
		if err := tx.QueryRow(ctx, `SELECT count(*), COALESCE(min(routed_at), 0) FROM event_delivery WHERE state = 0`).Scan(&st.Pending, &pending); err != nil {
			return err
		}
		if err := tx.QueryRow(ctx, `SELECT count(*), COALESCE(min(occurred_at), 0) FROM event WHERE NOT routed`).Scan(&st.Unrouted, &unrouted); err != nil {
			return err
		}
		if oldest := min(orLast(pending), orLast(unrouted)); oldest != orLast(0) {
			st.Oldest = max(0, s.Clock.Now().Sub(time.UnixMicro(oldest)))
		}
		return tx.QueryRow(ctx, `SELECT count(*) FROM event_delivery WHERE state = 1`).Scan(&st.Dead)
	})
	return st, err
}

// orLast has no time come after all times.
func orLast(at int64) int64 {
	if at == 0 {
		return 1<<63 - 1
	}
	return at
}
