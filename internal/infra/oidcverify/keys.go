package oidcverify

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// How long keys are used, and how often they are asked for.
const (
	// fresh is how long keys are used without a question.
	fresh = time.Hour
	// usable is how long they are used while the issuer does not answer.
	usable = 24 * time.Hour
	// betweenFetches is the least time between two questions to an issuer, so
	// that tokens with made-up keys cannot have it flooded.
	betweenFetches = 5 * time.Second
	// betweenRefreshes is the same while the keys at hand will do.
	betweenRefreshes = time.Minute
	// maxIssuers bounds the issuers whose keys are kept.
	maxIssuers = 500
)

// keySets keeps the keys of issuers.
type keySets struct {
	clk   clock.Clock
	fetch func(context.Context, Issuer) ([]jose.JSONWebKey, error)

	mu      sync.Mutex
	entries map[string]*keySet
}

// keySet is what is known of one issuer.
type keySet struct {
	used time.Time // guarded by keySets.mu

	// gate is held by whoever looks at the fields below or asks the issuer.
	gate    chan struct{}
	keys    []jose.JSONWebKey
	fetched time.Time // when keys were read
	tried   time.Time // when they were last asked for
	err     error     // of that try
}

func newKeySets(clk clock.Clock, fetch func(context.Context, Issuer) ([]jose.JSONWebKey, error)) *keySets {
	return &keySets{clk: clk, fetch: fetch, entries: map[string]*keySet{}}
}

// get returns the issuer's keys that fit, at least one.
func (s *keySets) get(ctx context.Context, issuer Issuer, fit func(*jose.JSONWebKey) bool) ([]jose.JSONWebKey, error) {
	e := s.entry(issuer)
	select {
	case e.gate <- struct{}{}:
		defer func() { <-e.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := s.clk.Now()
	found := e.fitting(now, fit)
	if len(found) > 0 && now.Sub(e.fetched) < fresh {
		return found, nil
	}
	pause := betweenFetches
	if len(found) > 0 {
		pause = betweenRefreshes
	}
	if e.tried.IsZero() || now.Sub(e.tried) >= pause {
		// The keys are for everybody, so they are read to the end also when the
		// first who wants them goes away. The fetcher has a time limit.
		keys, err := s.fetch(context.WithoutCancel(ctx), issuer)
		// Who has waited at the gate for an issuer that hangs is not to wait again.
		now = s.clk.Now()
		e.tried, e.err = now, err
		if err == nil {
			e.keys, e.fetched = keys, now
		}
		found = e.fitting(now, fit)
	}
	switch {
	case len(found) > 0:
		return found, nil
	case e.err != nil:
		return nil, e.err
	}
	return nil, ErrKey
}

// fitting returns those of the keys that fit and are not too old.
func (e *keySet) fitting(now time.Time, fit func(*jose.JSONWebKey) bool) []jose.JSONWebKey {
	if now.Sub(e.fetched) >= usable {
		return nil
	}
	var found []jose.JSONWebKey
	for i := range e.keys {
		if fit(&e.keys[i]) {
			found = append(found, e.keys[i])
		}
	}
	return found
}

// entry finds or makes the entry of an issuer. Whose keys were read because of
// thumbprints are good only for providers with the same ones.
func (s *keySets) entry(issuer Issuer) *keySet {
	thumbprints := slices.Clone(issuer.Thumbprints)
	slices.Sort(thumbprints)
	key := issuer.URL + "\n" + strings.ToLower(strings.Join(thumbprints, "\n"))
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[key]
	if !ok {
		if len(s.entries) >= maxIssuers {
			s.dropOldest()
		}
		e = &keySet{gate: make(chan struct{}, 1)}
		s.entries[key] = e
	}
	e.used = s.clk.Now()
	return e
}

// dropOldest forgets the issuer that was not needed for the longest time.
func (s *keySets) dropOldest() {
	oldest := ""
	for key, e := range s.entries {
		if oldest == "" || e.used.Before(s.entries[oldest].used) {
			oldest = key
		}
	}
	delete(s.entries, oldest)
}
