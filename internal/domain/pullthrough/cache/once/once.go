// Package once owns that work which many want at the same time is done once: within a
// process by flights that all join (this file), among nodes by leases on rows of
// pullthrough_fetch (lease.go). Work goes on when those who wanted it have gone, until
// Stop.
//
// It does not know what the work is; pullthrough/cache and its packages do.
package once

import (
	"context"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Group is the work of one process. The zero value is ready.
type Group struct {
	mu      sync.Mutex
	flights map[string]*Flight

	life    sync.Mutex
	stopped bool
	running map[int64]context.CancelFunc // of what goes on without its caller
	next    int64
	ended   sync.WaitGroup
}

// Stop ends the contexts of all work, and waits until it is over. What is begun
// afterwards is errs.Unavailable.
func (g *Group) Stop() {
	g.life.Lock()
	g.stopped = true
	for _, cancel := range g.running {
		cancel()
	}
	g.life.Unlock()
	g.ended.Wait()
}

// Begin makes a context for work that goes on when its caller has gone, until Stop.
// The work calls end when it is done. errs.Unavailable after Stop.
func (g *Group) Begin(ctx context.Context) (_ context.Context, end func(), err error) {
	g.life.Lock()
	defer g.life.Unlock()
	if g.stopped {
		return nil, nil, ShuttingDown(nil)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if g.running == nil {
		g.running = map[int64]context.CancelFunc{}
	}
	id := g.next
	g.next++
	g.running[id] = cancel
	g.ended.Add(1)
	return ctx, func() {
		g.life.Lock()
		delete(g.running, id)
		g.life.Unlock()
		cancel()
		g.ended.Done()
	}, nil
}

// ShuttingDown is the failure of work that Stop has ended.
func ShuttingDown(cause error) error {
	return errs.Wrap(cause, errs.Unavailable, "The server is shutting down. Try again.")
}

// Flight is work that all who want it at the same time share.
type Flight struct {
	done chan struct{} // closed at its end
	err  error         // read after that
}

// Fly begins the work, or joins what was begun under the same key and is not over.
func (g *Group) Fly(ctx context.Context, key string, work func(ctx context.Context) error) (*Flight, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flights[key]; f != nil {
		return f, nil
	}
	ctx, end, err := g.Begin(ctx)
	if err != nil {
		return nil, err
	}
	if g.flights == nil {
		g.flights = map[string]*Flight{}
	}
	f := &Flight{done: make(chan struct{})}
	g.flights[key] = f
	go func() {
		defer end()
		f.err = work(ctx)
		g.mu.Lock()
		delete(g.flights, key)
		g.mu.Unlock()
		close(f.done)
	}()
	return f, nil
}

// Wait waits for the flight's end, and returns its error, or that of ctx.
func (f *Flight) Wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Sleep waits for d, or until ctx ends, which is its error then.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
