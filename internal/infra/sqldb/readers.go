package sqldb

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/berth-registry/berth/internal/infra/sqldb/direct"
)

// readers are the connections to SQLite that Views use. The one returned last
// is taken first, so that an idle database keeps few caches warm.
type readers struct {
	name  string // of the database, see direct.Open
	slots chan struct{}

	// How often and how long, in nanoseconds, Views waited for a slot.
	waits, waited atomic.Int64

	mu     sync.Mutex
	idle   []*direct.Conn
	closed bool
}

func newReaders(name string, n int) *readers {
	return &readers{name: name, slots: make(chan struct{}, n)}
}

func (r *readers) take(ctx context.Context) (*direct.Conn, error) {
	select {
	case r.slots <- struct{}{}:
	default:
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
	}
	c, err := r.pop()
	if err != nil {
		<-r.slots
	}
	return c, err
}

func (r *readers) pop() (*direct.Conn, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	if n := len(r.idle); n > 0 {
		c := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	c, err := direct.Open(r.name)
	return c, translate(err)
}

// give returns a connection that is in a transaction if begun; one whose
// transaction could not be ended is dropped.
func (r *readers) give(c *direct.Conn, begun bool) {
	c.Rest()
	if begun && c.Do("ROLLBACK") != nil {
		_ = c.Close() // it is given up
	} else {
		r.mu.Lock()
		r.idle = append(r.idle, c)
		r.mu.Unlock()
	}
	<-r.slots
}

func (r *readers) view(ctx context.Context, l look, fn func(tx *Tx) error) error {
	tx, err := r.run(ctx, l, fn)
	if err != nil {
		return err
	}
	tx.runAfterCommit()
	return nil
}

// run needs no transaction for a single statement: SQLite shows it one state.
func (r *readers) run(ctx context.Context, l look, fn func(tx *Tx) error) (*Tx, error) {
	c, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	begun := l == lookAll
	defer r.give(c, begun) // also when fn panics
	if begun {
		if err := c.Do("BEGIN DEFERRED"); err != nil {
			return nil, translate(err)
		}
	}
	tx := &Tx{s: reading{c}, look: l}
	defer func() { _ = tx.end(nil) }() // closes the rows before the rollback when fn panics
	return tx, tx.end(fn(tx))
}

// close waits for the Views under way.
func (r *readers) close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	for range cap(r.slots) {
		r.slots <- struct{}{}
	}
	var all []error
	for _, c := range r.idle {
		all = append(all, c.Close())
	}
	r.idle = nil
	for range cap(r.slots) {
		<-r.slots
	}
	return errors.Join(all...)
}

// reading is a connection as Views see it: the end of a context interrupts its
// statements.
type reading struct{ c *direct.Conn }

var _ session = reading{}

func (r reading) exec(ctx context.Context, query string, args []any) (int64, error) {
	return r.c.Exec(ctx, query, args)
}

func (r reading) query(ctx context.Context, query string, args []any) (rows, error) {
	return r.c.Query(ctx, query, args)
}
