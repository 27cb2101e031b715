package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m, sqldbtest.Migrated("jobs_version", migrations())) }

func migrations() fs.FS {
	dir, err := fs.Sub(jobs.Migrations, "migrations")
	if err != nil {
		panic(err) // only for a malformed path
	}
	return dir
}

// patience is how long a test waits for what must happen, glance how long it
// watches for what must not.
const (
	patience = 30 * time.Second
	glance   = 60 * time.Millisecond
)

var quick = jobs.Options{Poll: 5 * time.Millisecond, DrainTimeout: patience}

// bench is a database with the queue's tables and a clock.
type bench struct {
	t   *testing.T
	db  *sqldb.DB
	clk *clock.Fake
	log *lockedBuffer
}

func each(t *testing.T, fn func(t *testing.T, b *bench)) {
	t.Helper()
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) { fn(t, newBench(t, db)) })
}

func newBench(t *testing.T, db *sqldb.DB) *bench {
	t.Helper()
	if err := db.Migrate(t.Context(), "jobs_version", migrations()); err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, db: db, clk: clock.NewFake(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), log: &lockedBuffer{}}
}

func (b *bench) queue(o jobs.Options) *jobs.Queue {
	return jobs.New(b.db, b.clk, slog.New(slog.NewTextHandler(b.log, nil)), o)
}

// run starts a queue and returns what stops it, which the end of the test does
// at the latest.
func (b *bench) run(q *jobs.Queue) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- q.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run returned %v", err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

func (b *bench) enqueue(q *jobs.Queue, all ...jobs.Job) {
	b.t.Helper()
	err := b.db.Update(b.t.Context(), func(tx *sqldb.Tx) error {
		for _, j := range all {
			if err := q.Enqueue(b.t.Context(), tx, j); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) exec(query string, args ...any) {
	b.t.Helper()
	err := b.db.Update(b.t.Context(), func(tx *sqldb.Tx) error {
		_, err := tx.Exec(b.t.Context(), query, args...)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// row is what the table says about a job.
type row struct {
	state, attempt int
	owner, err     string
}

func (b *bench) rows() []row {
	b.t.Helper()
	var all []row
	err := b.db.View(b.t.Context(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(b.t.Context(), tx, func(s sqldb.Scanner) (r row, err error) {
			return r, s.Scan(&r.state, &r.attempt, &r.owner, &r.err)
		}, `SELECT state, attempt, owner, last_error FROM job ORDER BY id`)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

// number is the answer to a query of one number.
func (b *bench) number(query string) (n int64) {
	b.t.Helper()
	err := b.db.View(b.t.Context(), func(tx *sqldb.Tx) error { return tx.QueryRow(b.t.Context(), query).Scan(&n) })
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// eventually waits until the table looks as it should.
func (b *bench) eventually(what string, ok func([]row) bool) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		rows := b.rows()
		if ok(rows) {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("waited in vain for %s; the jobs are %+v\n%s", what, rows, b.log)
		}
	}
}

func (b *bench) empty() {
	b.t.Helper()
	b.eventually("the queue to be empty", func(r []row) bool { return len(r) == 0 })
}

func receive[T any](b *bench, from <-chan T, what string) T {
	b.t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		b.t.Fatalf("waited in vain for %s; the jobs are %+v\n%s", what, b.rows(), b.log)
		panic("not reached")
	}
}

func nothing[T any](b *bench, from <-chan T, what string) {
	b.t.Helper()
	select {
	case v := <-from:
		b.t.Fatalf("%s: %v", what, v)
	case <-time.After(glance):
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// collector is a handler that hands over each task it is given.
func collector() (jobs.Handler, chan jobs.Task) {
	ran := make(chan jobs.Task, 1000)
	return jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { ran <- t; return nil }}, ran
}

func TestEnqueueIsPartOfTheTransaction(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		h, ran := collector()
		q.Handle("greet", h)
		b.run(q)
		boom := errors.New("boom")
		err := b.db.Update(t.Context(), func(tx *sqldb.Tx) error {
			if err := q.Enqueue(t.Context(), tx, jobs.Job{Kind: "greet", Payload: "never"}); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatal(err)
		}
		type greeting struct{ Name string }
		b.enqueue(q, jobs.Job{Kind: "greet", Payload: greeting{"Wörld"}})
		task := receive(b, ran, "the job")
		if string(task.Payload) != `{"Name":"Wörld"}` || task.Kind != "greet" || task.Attempt != 1 || task.ID <= 0 {
			t.Errorf("the task is %+v with %s", task, task.Payload)
		}
		b.empty()
		nothing(b, ran, "another task")
	})
}

func TestBadJobs(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		for _, j := range []jobs.Job{{}, {Kind: "x", Payload: make(chan int)}, {Kind: "nul\x00"}} {
			err := b.db.Update(t.Context(), func(tx *sqldb.Tx) error { return q.Enqueue(t.Context(), tx, j) })
			if err == nil {
				t.Errorf("%+v was enqueued", j)
			}
		}
	})
}

func TestRunAt(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		h, ran := collector()
		q.Handle("later", h)
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "later", RunAt: b.clk.Now().Add(time.Minute)})
		nothing(b, ran, "ran too early")
		b.clk.Advance(time.Minute)
		receive(b, ran, "the job whose time has come")
		b.empty()
	})
}

// TestWakeUp polls so rarely that only the commit can have woken the worker.
func TestWakeUp(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: time.Hour})
		h, ran := collector()
		q.Handle("now", h)
		b.run(q)
		for range 3 {
			b.enqueue(q, jobs.Job{Kind: "now"})
			receive(b, ran, "the job just enqueued")
		}
		b.enqueue(q, jobs.Job{Kind: "now"}, jobs.Job{Kind: "now"}, jobs.Job{Kind: "now"})
		for range 3 { // one worker: each is claimed when the one before has ended
			receive(b, ran, "the next job")
		}
		b.empty()
	})
}

func TestUnknownKindWaits(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		h, ran := collector()
		q.Handle("known", h)
		stop := b.run(q)
		b.enqueue(q, jobs.Job{Kind: "unknown"}, jobs.Job{Kind: "known"})
		receive(b, ran, "the known job")
		b.eventually("the known job to be gone", func(r []row) bool { return len(r) == 1 && r[0].state == 0 && r[0].attempt == 0 })
		stop()
		newer := b.queue(quick)
		newer.Handle("unknown", h)
		b.run(newer)
		receive(b, ran, "the job of a kind that a newer node knows")
		b.empty()
	})
}

func TestUniqueWhileWaiting(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		later := b.clk.Now().Add(time.Hour)
		b.enqueue(q,
			jobs.Job{Kind: "a", UniqueKey: "k", Payload: 1, RunAt: later},
			jobs.Job{Kind: "a", UniqueKey: "k", Payload: 2, RunAt: later.Add(time.Hour)},
			jobs.Job{Kind: "a", UniqueKey: "other", Payload: 3, RunAt: later},
			jobs.Job{Kind: "b", UniqueKey: "k", Payload: 4, RunAt: later},
			jobs.Job{Kind: "a", Payload: 5, RunAt: later},
			jobs.Job{Kind: "a", Payload: 6, RunAt: later},
		)
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				err := b.db.Update(t.Context(), func(tx *sqldb.Tx) error {
					return q.Enqueue(t.Context(), tx, jobs.Job{Kind: "a", UniqueKey: "k", RunAt: later})
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(b.rows()); n != 5 {
			t.Errorf("%d jobs wait, want 5", n)
		}
		// The earlier of two times counts.
		h, ran := collector()
		q.Handle("a", h)
		b.run(q)
		nothing(b, ran, "ran too early")
		b.enqueue(q, jobs.Job{Kind: "a", UniqueKey: "k", Payload: 7})
		if got := receive(b, ran, "the job brought forward"); string(got.Payload) != "1" {
			t.Errorf("ran with %s, want the payload of the job that waited", got.Payload)
		}
	})
}

func TestUniqueWhileRunning(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("sync", jobs.Handler{Workers: 4, Run: func(_ context.Context, t jobs.Task) error {
			begun <- t
			return <-finish
		}})
		b.run(q)
		put := func(payload int) { b.enqueue(q, jobs.Job{Kind: "sync", UniqueKey: "k", Payload: payload}) }
		want := func(payload string, attempt int) {
			t.Helper()
			if got := receive(b, begun, "the job"); string(got.Payload) != payload || got.Attempt != attempt {
				t.Errorf("runs with %s in attempt %d, want %s in attempt %d", got.Payload, got.Attempt, payload, attempt)
			}
		}
		put(1)
		want("1", 1)
		put(2)
		put(3)
		nothing(b, begun, "runs beside itself")
		finish <- nil
		want("3", 1) // the facts that came while it ran
		nothing(b, begun, "runs once more than asked")
		put(4)
		finish <- errors.New("boom") // fails with news waiting: begins to count anew
		b.eventually("the job to wait", func(r []row) bool { return len(r) == 1 && r[0].state == 0 && r[0].attempt == 0 })
		b.clk.Advance(time.Minute)
		want("4", 1)
		finish <- nil
		b.empty()
	})
}

func TestRetries(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		attempts := make(chan int, 10)
		q.Handle("flaky", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error {
			attempts <- t.Attempt
			switch t.Attempt {
			case 1:
				return errors.New("not valid \xff, with a \x00, and long: " + strings.Repeat("ä", 5000))
			case 2:
				panic("at the disco")
			}
			return nil
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "flaky"})
		receive(b, attempts, "the first attempt")
		b.eventually("the first failure", func(r []row) bool {
			return len(r) == 1 && r[0].state == 0 && strings.Contains(r[0].err, "not valid ?, with a ?")
		})
		nothing(b, attempts, "tried again at once")
		b.clk.Advance(time.Second) // the longest pause after the first attempt
		receive(b, attempts, "the second attempt")
		b.eventually("the panic", func(r []row) bool {
			return len(r) == 1 && r[0].state == 0 && strings.Contains(r[0].err, "panic: at the disco")
		})
		b.clk.Advance(900 * time.Millisecond) // pauses grow: the shortest is a second now
		nothing(b, attempts, "tried again too soon")
		b.clk.Advance(1100 * time.Millisecond)
		if n := receive(b, attempts, "the third attempt"); n != 3 {
			t.Errorf("attempt %d, want 3", n)
		}
		b.empty()
		if log := b.log.String(); strings.Count(log, "level=WARN") != 2 || !strings.Contains(log, "tried again") {
			t.Errorf("the log does not tell of the two failures:\n%s", log)
		}
	})
}

func TestDead(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		attempts := make(chan int, 10)
		q.Handle("hopeless", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error {
			attempts <- t.Attempt
			return fmt.Errorf("failure %d", t.Attempt)
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "hopeless", UniqueKey: "k", MaxAttempts: 2})
		receive(b, attempts, "the first attempt")
		b.eventually("the first failure", func(r []row) bool { return len(r) == 1 && r[0].state == 0 })
		b.clk.Advance(time.Hour)
		receive(b, attempts, "the second attempt")
		b.eventually("the job to be dead", func(r []row) bool { return len(r) == 1 && r[0] == row{state: 2, attempt: 2, err: "failure 2"} })
		b.clk.Advance(700 * time.Hour) // not so long that it is removed
		nothing(b, attempts, "a dead job ran")
		if !strings.Contains(b.log.String(), "level=ERROR") {
			t.Errorf("the log does not tell of the dead job:\n%s", b.log)
		}
		// A dead job does not stand in the way of a new one.
		b.enqueue(q, jobs.Job{Kind: "hopeless", UniqueKey: "k"})
		if n := receive(b, attempts, "the new job"); n != 1 {
			t.Errorf("attempt %d, want 1", n)
		}
	})
}

func TestTimeout(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		q.Handle("slow", jobs.Handler{Timeout: 20 * time.Millisecond, Run: func(ctx context.Context, _ jobs.Task) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "slow"})
		b.eventually("the timeout", func(r []row) bool {
			return len(r) == 1 && r[0].state == 0 && strings.Contains(r[0].err, "deadline exceeded")
		})
	})
}

func TestWorkers(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		var now, most atomic.Int64
		q.Handle("many", jobs.Handler{Workers: 3, Run: func(context.Context, jobs.Task) error {
			n := now.Add(1)
			defer now.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(3 * time.Millisecond)
			return nil
		}})
		h, ran := collector()
		q.Handle("other", h)
		for i := range 30 {
			b.enqueue(q, jobs.Job{Kind: "many", Payload: i})
		}
		b.enqueue(q, jobs.Job{Kind: "other"})
		b.run(q)
		receive(b, ran, "the job of another kind")
		b.empty()
		if most.Load() != 3 {
			t.Errorf("%d tasks ran at once, want 3", most.Load())
		}
	})
}

func TestOrder(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		var all []jobs.Job
		for i := range 20 {
			all = append(all, jobs.Job{Kind: "ordered", Payload: i})
		}
		b.enqueue(q, all...)
		h, ran := collector()
		q.Handle("ordered", h)
		b.run(q)
		for i := range 20 {
			var got int
			if err := json.Unmarshal(receive(b, ran, "the next job").Payload, &got); err != nil || got != i {
				t.Fatalf("ran %d (%v), want %d: jobs of one worker run in their order", got, err, i)
			}
		}
	})
}
