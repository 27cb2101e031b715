package outcome

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Stats are numbers since the start of the process.
type Stats struct {
	// Stale counts pulls that got the local copy although the upstream should have
	// been asked, by reason: those of this package, and the names of upstream.Kind.
	Stale map[string]int64
	// Requests counts what upstreams were asked, by outcome: OutcomeOK and the names
	// of upstream.Kind.
	Requests map[string]int64
	// Bytes is how much of blobs has come from upstreams.
	Bytes int64
	// Downloads is how many blobs are coming now.
	Downloads int64
	// Imported counts images that have come whole, Dropped those that were given up.
	Imported, Dropped int64
}

// Tracker remembers what upstreams did. All methods may be called from many goroutines.
type Tracker struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Pause is how long an upstream that failed is left alone, unless it asks for more,
	// and the time between two warnings of a kind.
	Pause time.Duration

	stats struct {
		mu sync.Mutex
		Stats
	}
	pauses pauses
}

// Stats reads the numbers.
func (t *Tracker) Stats() Stats {
	t.stats.mu.Lock()
	defer t.stats.mu.Unlock()
	out := t.stats.Stats
	out.Stale, out.Requests = maps.Clone(out.Stale), maps.Clone(out.Requests)
	return out
}

// Count changes the numbers.
func (t *Tracker) Count(fn func(*Stats)) {
	t.stats.mu.Lock()
	defer t.stats.mu.Unlock()
	if t.stats.Stale == nil {
		t.stats.Stale, t.stats.Requests = map[string]int64{}, map[string]int64{}
	}
	fn(&t.stats.Stats)
}

// Asked counts a request and passes its failure on.
func (t *Tracker) Asked(err error) error {
	outcome := OutcomeOK
	if err != nil {
		if upstream.KindOf(err) == 0 {
			return err // the caller's own end
		}
		outcome = upstream.KindOf(err).String()
	}
	t.Count(func(n *Stats) { n.Requests[outcome]++ })
	return err
}

// pauses remembers which upstreams are left alone for a while, and which warnings
// were logged a while ago.
type pauses struct {
	mu   sync.Mutex
	till map[string]pause
}

type pause struct {
	until  time.Time
	reason string
}

// maxPauses bounds the memory; beyond, all are forgotten.
const maxPauses = 10_000

func (p *pauses) set(key, reason string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.till == nil || len(p.till) >= maxPauses {
		p.till = map[string]pause{}
	}
	p.till[key] = pause{until: until, reason: reason}
}

// get says whether the key rests now, and why.
func (p *pauses) get(key string, now time.Time) (pause, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.till[key]
	if ok && !now.Before(e.until) {
		delete(p.till, key)
		ok = false
	}
	return e, ok
}

// Rest has the upstream left alone after a failure: the host where the failure is
// the host's, else the one thing that was asked for.
func (t *Tracker) Rest(host, key string, err error) {
	why := Reason(err)
	if why == ReasonLocal && errors.Is(err, context.Canceled) {
		return // the server stops
	}
	pause := t.Pause
	switch upstream.KindOf(err) {
	case upstream.TooManyRequests, upstream.Unavailable:
		key = "host " + host
		var f *upstream.Failure
		if errors.As(err, &f) {
			pause = max(pause, min(f.RetryAfter, longestRest))
		}
	default:
		if why == ReasonSlow {
			key = "host " + host
		}
	}
	t.pauses.set(key, why, t.Clock.Now().Add(pause))
}

// longestRest bounds how long an upstream is left alone at its own wish.
const longestRest = time.Hour

// Resting says whether the upstream is to be left alone where there is a local copy.
func (t *Tracker) Resting(host, key string) (string, bool) {
	now := t.Clock.Now()
	if p, ok := t.pauses.get(key, now); ok {
		return p.reason, true
	}
	p, ok := t.pauses.get("host "+host, now)
	return p.reason, ok
}

// ServedStale counts and logs that the local copy was served; of one upstream and
// reason it logs once in Pause.
func (t *Tracker) ServedStale(ctx context.Context, rule pullthrough.Rule, repo name.Repository, why string, err error) {
	t.Count(func(n *Stats) { n.Stale[why]++ })
	key := "log " + rule.URL + " " + why
	now := t.Clock.Now()
	if _, quiet := t.pauses.get(key, now); quiet {
		return
	}
	t.pauses.set(key, why, now.Add(t.Pause))
	t.Log.WarnContext(ctx, "an upstream registry does not give what it should; the cached copies are served",
		"upstream", rule.URL, "registry", rule.Registry.String(), "repository", repo, "reason", why, "error", err)
}

// Throttling says whether the upstream has told us to leave it alone, and for how long.
func (t *Tracker) Throttling(host string) (time.Duration, bool) {
	now := t.Clock.Now()
	p, ok := t.pauses.get("host "+host, now)
	return p.until.Sub(now), ok && p.reason == upstream.TooManyRequests.String()
}
