package replication

import (
	"context"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

const (
	// A region that cannot be reached is tried again after firstPause, then after
	// twice as long each time, up to longestPause.
	firstPause   = time.Second
	longestPause = time.Minute
)

// gates keep a region that cannot be reached from taking up the workers: while it
// is shut, one item at a time tries it. Every node has its own.
type gates struct {
	mu   sync.Mutex
	shut map[name.Region]*gate
}

type gate struct {
	pause time.Duration
	until time.Time
	tried bool // somebody tries it now
}

// enter says whether the region may be tried. Whoever may, leaves.
func (g *gates) enter(r name.Region, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.shut[r]
	if one == nil {
		return true
	}
	if one.tried || now.Before(one.until) {
		return false
	}
	one.tried = true
	return true
}

// leave tells how it went. healed says that the gate was shut and is open now.
func (g *gates) leave(r name.Region, reached bool, now time.Time) (healed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.shut[r]
	if reached {
		delete(g.shut, r)
		return one != nil
	}
	if one == nil {
		one = &gate{}
		if g.shut == nil {
			g.shut = map[name.Region]*gate{}
		}
		g.shut[r] = one
	}
	if !now.Before(one.until) { // once for all that fail together
		one.pause = min(max(2*one.pause, firstPause), longestPause)
		one.until = now.Add(one.pause)
	}
	one.tried = false
	return false
}

// release is leave for who was cut off and has learned nothing.
func (g *gates) release(r name.Region) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if one := g.shut[r]; one != nil {
		one.tried = false
	}
}

// isShut says whether nobody may try the region now.
func (g *gates) isShut(r name.Region, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	one := g.shut[r]
	return one != nil && (one.tried || now.Before(one.until))
}

// opens is when the region may be tried again; in the past, or zero, where it may be
// now.
func (g *gates) opens(r name.Region) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if one := g.shut[r]; one != nil {
		return one.until
	}
	return time.Time{}
}

// flights let one of those that bring the same blob to the same place go at a time.
type flights struct {
	mu  sync.Mutex
	now map[flight]chan struct{} // closed at the end of the flight
}

type flight struct {
	to     Place
	digest name.Digest
}

// begin waits for the flight before, if there is one, and says so.
func (f *flights) begin(ctx context.Context, key flight) (waited bool, err error) {
	for {
		f.mu.Lock()
		before := f.now[key]
		if before == nil {
			if f.now == nil {
				f.now = map[flight]chan struct{}{}
			}
			f.now[key] = make(chan struct{})
			f.mu.Unlock()
			return waited, nil
		}
		f.mu.Unlock()
		waited = true
		select {
		case <-before:
		case <-ctx.Done():
			return waited, context.Cause(ctx)
		}
	}
}

func (f *flights) end(key flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.now[key])
	delete(f.now, key)
}
