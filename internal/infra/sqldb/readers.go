package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
)

// readers are the connections to SQLite that Views use. The one returned last
// is taken first, so that an idle database keeps few caches warm.
type readers struct {
	pool  *sql.DB
	slots chan struct{}

	// How often and how long, in nanoseconds, Views waited for a slot.
	waits, waited atomic.Int64

	mu     sync.Mutex
	idle   []*statements
	closed bool
}

func newReaders(pool *sql.DB, n int) *readers {
	return &readers{pool: pool, slots: make(chan struct{}, n)}
}

func (r *readers) take(ctx context.Context) (*statements, error) {
	select {
	case r.slots <- struct{}{}:
	default:
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
	}
	s, err := r.pop(ctx)
	if err != nil {
		<-r.slots
	}
	return s, err
}

func (r *readers) pop(ctx context.Context) (*statements, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	if n := len(r.idle); n > 0 {
		s := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return s, nil
	}
	r.mu.Unlock()
	conn, err := r.pool.Conn(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return newStatements(conn), nil
}

// give returns a connection; one whose transaction could not be ended is
// dropped.
func (r *readers) give(s *statements) {
	if s.do("ROLLBACK") != nil {
		_ = s.close() // it is given up
	} else {
		r.mu.Lock()
		r.idle = append(r.idle, s)
		r.mu.Unlock()
	}
	<-r.slots
}

func (r *readers) view(ctx context.Context, fn func(tx *Tx) error) error {
	tx, err := r.run(ctx, fn)
	if err != nil {
		return err
	}
	tx.runAfterCommit()
	return nil
}

func (r *readers) run(ctx context.Context, fn func(tx *Tx) error) (*Tx, error) {
	s, err := r.take(ctx)
	if err != nil {
		return nil, err
	}
	defer r.give(s) // also when fn panics
	if err := s.do("BEGIN DEFERRED"); err != nil {
		return nil, err
	}
	tx := &Tx{s: s}
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
	for _, s := range r.idle {
		all = append(all, s.close())
	}
	r.idle = nil
	for range cap(r.slots) {
		<-r.slots
	}
	return errors.Join(all...)
}
