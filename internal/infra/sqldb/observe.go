package sqldb

import (
	"context"
	"errors"
	"time"
)

// Result is how a transaction ended.
type Result int

// The results.
const (
	// Committed: its work is done.
	Committed Result = iota
	// RolledBack: the closure returned an error of its own, a refusal perhaps.
	RolledBack
	// Canceled: its context ended.
	Canceled
	// Failed: the database could not do it.
	Failed
)

// Transaction is what became of one View or Update.
type Transaction struct {
	Update bool // else a View
	Begun  time.Time
	Took   time.Duration // waiting for a connection included
	// Runs is how often the closure was run: more than once after conflicts, 0
	// where it did not come to its turn.
	Runs   int
	Result Result
}

// Observe has fn told of every transaction when it is over, in its caller's
// goroutine, but of those that panic. It is called once, before the database is
// used.
func (db *DB) Observe(fn func(ctx context.Context, t Transaction)) { db.observer = fn }

// observed is run with its observer told.
func (db *DB) observed(ctx context.Context, update bool, run func(context.Context, func(*Tx) error) error, fn func(tx *Tx) error) error {
	t := Transaction{Update: update, Begun: time.Now()}
	var own, broken bool
	err := run(ctx, func(tx *Tx) error {
		t.Runs++
		err := fn(tx)
		own, broken = err != nil, tx.failed != nil
		return err
	})
	t.Took = time.Since(t.Begun)
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		t.Result = Canceled
	case own && !broken:
		t.Result = RolledBack
	default:
		t.Result = Failed
	}
	db.observer(ctx, t)
	return err
}

// Stats are the numbers of a database handle at one moment. Those of the
// connections are of the ones that transactions run on; on SQLite only Views
// take theirs from a pool, and Updates wait for the one writer.
type Stats struct {
	Max, Open, InUse, Idle int
	// Waits counts the transactions that had to wait for a connection, Waited is
	// how long they did.
	Waits  int64
	Waited time.Duration
	// Groups counts the commits of SQLite's writer, Grouped the Updates in them;
	// Queued is how many Updates wait for it now. All are 0 on PostgreSQL.
	Groups, Grouped int64
	Queued          int
}

// Stats reads the numbers.
func (db *DB) Stats() Stats {
	switch e := db.engine.(type) {
	case *sqliteEngine:
		s := e.readers.stats()
		s.Groups, s.Grouped, s.Queued = e.writer.groups.Load(), e.writer.grouped.Load(), len(e.writer.queue)
		return s
	case *postgresEngine:
		p := e.pool.Stats()
		return Stats{Max: p.MaxOpenConnections, Open: p.OpenConnections, InUse: p.InUse, Idle: p.Idle, Waits: p.WaitCount, Waited: p.WaitDuration}
	}
	return Stats{}
}

func (r *readers) stats() Stats {
	r.mu.Lock()
	idle := len(r.idle)
	r.mu.Unlock()
	used := len(r.slots)
	return Stats{Max: cap(r.slots), Open: idle + used, InUse: used, Idle: idle, Waits: r.waits.Load(), Waited: time.Duration(r.waited.Load())}
}

// wait takes a slot that is not free.
func (r *readers) wait(ctx context.Context) error {
	begun := time.Now()
	r.waits.Add(1)
	defer func() { r.waited.Add(int64(time.Since(begun))) }()
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
