package sqldb

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb/direct"
)

const (
	// presetMaxBatch closures share a commit at the most, and no closure is
	// added to a batch that has been under way for presetBatchTime: those that
	// are done wait for the others.
	presetMaxBatch  = 256
	presetBatchTime = 20 * time.Millisecond

	// queueLength is how many closures wait without holding up their senders.
	queueLength = 1024

	// maxAttempts is how often a closure runs when others break its batch.
	maxAttempts = 3
)

// writer is the one connection that writes to a SQLite file. Closures that
// arrive while a commit is being synced are put into one transaction, so that one
// sync serves them all. Each but the first has its own savepoint; the first can
// be undone with the transaction.
//
// A closure runs in the goroutine of its caller, which is handed the connection
// for that time: a panic unwinds where it belongs.
type writer struct {
	maxBatch  int
	batchTime time.Duration

	c       *direct.Conn
	queue   chan *turn
	closing chan struct{}
	stopped chan struct{} // closed when run has returned
	once    sync.Once
	err     error

	groups, grouped atomic.Int64 // commits, and closures in them; see Stats
}

// turn is one closure's way through a batch.
type turn struct {
	state  atomic.Int32
	start  chan *Tx    // the connection is yours; nil: it is not, see result
	ran    chan error  // what the closure returned; the connection is the writer's again
	result chan result // what became of the batch
}

const (
	turnWaiting int32 = iota
	turnTaken         // the writer will hand it the connection
	turnGivenUp       // its caller has gone away
)

type result struct {
	err   error
	again bool // nothing was done, through no fault of the closure
}

// errUnwound stands for a closure that panicked or ended its goroutine.
var errUnwound = errors.New("sqldb: the closure did not return")

func startWriter(c *direct.Conn) *writer {
	w := &writer{
		maxBatch: presetMaxBatch, batchTime: presetBatchTime,
		c: c, queue: make(chan *turn, queueLength), closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *writer) update(ctx context.Context, fn func(tx *Tx) error) error {
	for attempt := 1; ; attempt++ {
		tx, r := w.try(ctx, fn)
		if r.again && attempt < maxAttempts {
			continue
		}
		if r.err != nil {
			return r.err
		}
		tx.runAfterCommit()
		return nil
	}
}

func (w *writer) try(ctx context.Context, fn func(tx *Tx) error) (*Tx, result) {
	t := &turn{start: make(chan *Tx, 1), ran: make(chan error, 1), result: make(chan result, 1)}
	select {
	case w.queue <- t:
	case <-ctx.Done():
		return nil, result{err: ctx.Err()}
	case <-w.closing:
		return nil, result{err: ErrClosed}
	}
	var tx *Tx
	select {
	case tx = <-t.start:
	case <-ctx.Done():
		if t.state.CompareAndSwap(turnWaiting, turnGivenUp) {
			return nil, result{err: ctx.Err()}
		}
		tx = <-t.start
	case <-w.stopped:
		if t.state.CompareAndSwap(turnWaiting, turnGivenUp) {
			return nil, result{err: ErrClosed}
		}
		tx = <-t.start
	}
	if tx != nil {
		t.runClosure(tx, fn)
	}
	return tx, <-t.result
}

// runClosure gives the connection back in every case, also when fn panics.
func (t *turn) runClosure(tx *Tx, fn func(tx *Tx) error) {
	err := errUnwound
	defer func() { t.ran <- tx.end(err) }()
	err = fn(tx)
}

func (w *writer) run() {
	defer close(w.stopped)
	for {
		select {
		case t := <-w.queue:
			w.batch(t)
		case <-w.closing:
			return
		}
	}
}

// batch runs t and those that wait behind it, and commits them together.
func (w *writer) batch(t *turn) {
	if !t.take() {
		return
	}
	if err := w.do("BEGIN IMMEDIATE"); err != nil {
		t.fail(err)
		return
	}
	begun := time.Now()
	if err := w.hand(t); err != nil {
		_ = w.do("ROLLBACK") // SQLite may have done so already
		t.result <- result{err: err}
		return // those behind it begin anew
	}
	done := []outcome{{t, nil}}
	for t = w.next(len(done), begun); t != nil; t = w.next(len(done), begun) {
		intact, err := w.one(t)
		done = append(done, outcome{t, err})
		if !intact {
			w.broken(done)
			return
		}
	}
	if err := w.do("COMMIT"); err != nil {
		_ = w.do("ROLLBACK") // SQLite may have done so already
		for _, o := range done {
			o.t.result <- result{err: fmt.Errorf("the commit failed: %w", err)}
		}
		return
	}
	w.groups.Add(1)
	w.grouped.Add(int64(len(done)))
	for _, o := range done {
		o.t.result <- result{err: o.err}
	}
}

type outcome struct {
	t   *turn
	err error
}

// next is the closure that joins the batch, nil if it is to be committed now. Before that
// whoever can run may: a commit costs more than a closure, and with nobody to run there is
// no wait.
func (w *writer) next(n int, begun time.Time) *turn {
	for yielded := false; n < w.maxBatch && time.Since(begun) < w.batchTime; {
		select {
		case t := <-w.queue:
			if t.take() {
				return t
			}
		default:
			if yielded {
				return nil
			}
			yielded = true
			runtime.Gosched()
		}
	}
	return nil
}

func (t *turn) take() bool { return t.state.CompareAndSwap(turnWaiting, turnTaken) }

// fail ends a turn that was taken before its closure ran.
func (t *turn) fail(err error) {
	t.result <- result{err: err}
	t.start <- nil
}

// one runs one closure in a savepoint. intact says whether the transaction
// around it still stands.
func (w *writer) one(t *turn) (intact bool, err error) {
	if err := w.do("SAVEPOINT closure"); err != nil {
		t.start <- nil
		return false, err
	}
	if err := w.hand(t); err != nil {
		if w.do("ROLLBACK TO closure") != nil || w.do("RELEASE closure") != nil {
			return false, err
		}
		return true, err
	}
	if err := w.do("RELEASE closure"); err != nil {
		return false, err
	}
	return true, nil
}

// hand has a closure run on the connection.
func (w *writer) hand(t *turn) error {
	t.start <- &Tx{s: running{w.c}}
	return <-t.ran
}

// do runs a statement of the writer's own, such as COMMIT.
func (w *writer) do(query string) error { return translate(w.c.Do(query)) }

// broken ends a batch whose transaction the last closure took down with it, as
// a full disk does: the last gets its error, the others run again.
func (w *writer) broken(done []outcome) {
	_ = w.do("ROLLBACK") // SQLite has mostly done so already
	last := done[len(done)-1]
	last.t.result <- result{err: last.err}
	for _, o := range done[:len(done)-1] {
		o.t.result <- result{err: fmt.Errorf("another transaction of the same commit failed: %w", last.err), again: true}
	}
}

func (w *writer) close() error {
	w.once.Do(func() {
		close(w.closing)
		<-w.stopped
		w.err = w.c.Close()
	})
	return w.err
}

// running is the writer's connection as closures see it: their contexts do not
// interrupt it, since SQLite answers an interrupted write by rolling back the
// whole transaction, which is that of others too.
type running struct{ c *direct.Conn }

var _ session = running{}

func (r running) exec(_ context.Context, query string, args []any) (int64, error) {
	return r.c.Exec(context.Background(), query, args)
}

func (r running) query(_ context.Context, query string, args []any) (rows, error) {
	return r.c.Query(context.Background(), query, args)
}
