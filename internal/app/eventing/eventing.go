// Package eventing wires events to where they go: it makes a sink of each destination,
// holds those that are in use open, and sends.
//
// It does not decide which event goes where (domain/event/rule), or when a failed one is
// sent again (domain/event/delivery).
package eventing

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event/destination"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/eventsink"
)

const (
	// idleTime is how long a sink stays open that nothing is sent by.
	idleTime = 10 * time.Minute
	// sweepPeriod is how often those are looked for, at most.
	sweepPeriod = time.Minute
)

// Senders send to destinations. They are safe for concurrent use.
type Senders struct {
	destinations *destination.Service
	maker        Maker
	log          *slog.Logger

	mu     sync.Mutex
	open   map[key]*sender
	swept  time.Time
	closed bool
}

// key is what a destination is known by.
type key struct {
	home name.Registry
	arn  string
}

// sender is an open sink of one version of a destination. Its fields but sink are
// Senders.mu's.
type sender struct {
	sink        eventsink.Sink
	id, version int64
	users       int
	gone        bool // it is closed once nobody uses it
	used        time.Time
}

// New returns senders, which who made them closes.
func New(destinations *destination.Service, maker Maker, log *slog.Logger) *Senders {
	return &Senders{destinations: destinations, maker: maker, log: log, open: map[key]*sender{}}
}

// errClosed says that the server is ending.
var errClosed = errors.New("the server is ending; the event is sent once it runs again")

// Send sends a message to the destination that a rule's target names by its ARN.
// errs.EventResourceNotFound where there is none, else the sink's errors.
func (s *Senders) Send(ctx context.Context, account name.AccountID, region name.Region, arn string, m eventsink.Message) error {
	k := key{name.Registry{Account: account, Region: region}, arn}
	by, err := s.take(ctx, k)
	if err != nil {
		return err
	}
	defer s.give(by)
	return by.sink.Send(ctx, m)
}

// take finds an open sink of the destination as it is now, or opens one.
func (s *Senders) take(ctx context.Context, k key) (*sender, error) {
	now, err := s.destinations.Describe(ctx, k.home, k.arn)
	if err != nil {
		if errs.Is(err, errs.EventResourceNotFound) {
			s.drop(k)
		}
		return nil, err
	}
	if by, err := s.held(k, now.ID, now.Version); by != nil || err != nil {
		return by, err
	}
	o, err := s.destinations.Open(ctx, k.home.Account, k.home.Region, now.ARN)
	if err != nil {
		return nil, err
	}
	sink, err := s.maker.Make(o)
	if err != nil {
		return nil, err
	}
	return s.add(k, &sender{sink: sink, id: o.ID, version: o.Version})
}

// held takes the open sink of a destination's version or a later one; nil if there is
// none.
func (s *Senders) held(k key, id, version int64) (*sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.sweep()
	by := s.open[k]
	if by == nil || by.id != id || by.version < version {
		return nil, nil
	}
	by.users++
	return by, nil
}

// add puts a sink in the place of an older one, and takes it. Where another call has
// done so meanwhile, its sink is taken.
func (s *Senders) add(k key, by *sender) (*sender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.open[k]
	switch {
	case s.closed:
		s.end(by)
		return nil, errClosed
	case old != nil && old.id == by.id && old.version >= by.version:
		s.end(by)
		by = old
	default:
		if old != nil {
			s.end(old)
		}
		s.open[k] = by
	}
	by.users++
	return by, nil
}

// give gives a sink back.
func (s *Senders) give(by *sender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	by.users--
	by.used = s.maker.Clock.Now()
	if by.gone {
		s.end(by)
	}
}

// drop ends the sink of a destination that is gone.
func (s *Senders) drop(k key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by := s.open[k]; by != nil {
		delete(s.open, k)
		s.end(by)
	}
}

// sweep ends sinks that nothing was sent by for long. It is for who holds mu.
func (s *Senders) sweep() {
	now := s.maker.Clock.Now()
	if now.Sub(s.swept) < sweepPeriod {
		return
	}
	s.swept = now
	for k, by := range s.open {
		if by.users == 0 && now.Sub(by.used) >= idleTime {
			delete(s.open, k)
			s.end(by)
		}
	}
}

// end closes a sink once nobody uses it. It is for who holds mu.
func (s *Senders) end(by *sender) {
	by.gone = true
	if by.users > 0 {
		return
	}
	if err := by.sink.Close(); err != nil {
		s.log.Warn("closing a destination of events", "error", err)
	}
}

// Close ends all sinks, those in use once they are given back. Send refuses from then on.
func (s *Senders) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for k, by := range s.open {
		delete(s.open, k)
		s.end(by)
	}
}

// The sample event's source and detail type, which no rule of ECR's events matches.
const (
	SampleSource     = "berth"
	SampleDetailType = "Berth Test Event"
)

// Try sends a sample event to a destination, by its name or its ARN, and returns the
// event's id and the sink's error.
func (s *Senders) Try(ctx context.Context, home name.Registry, ref string) (id string, err error) {
	d, err := s.destinations.Describe(ctx, home, ref)
	if err != nil {
		return "", err
	}
	m, err := s.sample(d)
	if err != nil {
		return "", err
	}
	return m.ID, s.Send(ctx, home.Account, home.Region, d.ARN, m)
}

func (s *Senders) sample(d destination.Destination) (eventsink.Message, error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return eventsink.Message{}, err
	}
	now := s.maker.Clock.Now().UTC().Truncate(time.Second)
	event, err := json.Marshal(struct {
		Version    string            `json:"version"`
		ID         string            `json:"id"`
		DetailType string            `json:"detail-type"`
		Source     string            `json:"source"`
		Account    name.AccountID    `json:"account"`
		Time       time.Time         `json:"time"`
		Region     name.Region       `json:"region"`
		Resources  []string          `json:"resources"`
		Detail     map[string]string `json:"detail"`
	}{"0", id.String(), SampleDetailType, SampleSource, d.Home.Account, now, d.Home.Region, []string{}, map[string]string{"destination": d.Name, "message": "This is a test."}})
	if err != nil {
		return eventsink.Message{}, err
	}
	return eventsink.Message{ID: id.String(), Body: event, Event: event, Time: now, Source: SampleSource, DetailType: SampleDetailType, Try: 1}, nil
}
