package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestTwoQueues has two queues share the work, each job done once.
func TestTwoQueues(t *testing.T) {
	each(t, func(t *testing.T, b *bench) { shareWork(t, b, b) })
}

// TestTwoNodes is the same with two handles on one PostgreSQL database.
func TestTwoNodes(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	first := newBench(t, sqldbtest.OpenPostgres(t, url))
	second := newBench(t, sqldbtest.OpenPostgres(t, url))
	shareWork(t, first, second)
}

func shareWork(t *testing.T, nodes ...*bench) {
	const n = 200
	var mu sync.Mutex
	times, by := map[int64]int{}, map[int]int{}
	for i, b := range nodes {
		q := b.queue(quick)
		q.Handle("share", jobs.Handler{Workers: 4, Run: func(_ context.Context, t jobs.Task) error {
			mu.Lock()
			defer mu.Unlock()
			times[t.ID]++
			by[i]++
			return nil
		}})
		if i == 0 {
			for j := range n {
				b.enqueue(q, jobs.Job{Kind: "share", Payload: j})
			}
		}
		defer b.run(q)()
	}
	nodes[0].empty()
	mu.Lock()
	defer mu.Unlock()
	if len(times) != n {
		t.Errorf("%d jobs ran, want %d", len(times), n)
	}
	for id, k := range times {
		if k != 1 {
			t.Errorf("the job %d ran %d times", id, k)
		}
	}
	t.Logf("shared as %v", by)
}

// TestNodeThatDied leaves a running job of an owner that is no more.
func TestNodeThatDied(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		h, ran := collector()
		q.Handle("orphan", h)
		b.enqueue(q, jobs.Job{Kind: "orphan", UniqueKey: "a"}, jobs.Job{Kind: "orphan", UniqueKey: "b", MaxAttempts: 1})
		b.exec(`UPDATE job SET state = 1, attempt = 1, owner = 'gone', lease_until = $1`, b.clk.Now().Add(30*time.Second).UnixMicro())
		b.run(q)
		nothing(b, ran, "took a job whose lease still runs")
		b.clk.Advance(30 * time.Second)
		if got := receive(b, ran, "the job of the node that died"); got.Attempt != 2 {
			t.Errorf("attempt %d, want 2: the one that killed the node counts", got.Attempt)
		}
		b.eventually("the job without attempts left to be dead", func(r []row) bool {
			return len(r) == 1 && r[0].state == 2 && strings.Contains(r[0].err, "stopped without a word")
		})
	})
}

// TestLateFinish: a node that was cut off for longer than its lease does not
// touch the job that another one has taken over.
func TestLateFinish(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		type event struct {
			node string
			task jobs.Task
		}
		begun := make(chan event, 10)
		finish := map[string]chan error{"cut off": make(chan error), "healthy": make(chan error)}
		node := func(name string) *jobs.Queue {
			q := b.queue(quick)
			q.Handle("fenced", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error {
				begun <- event{name, t}
				return <-finish[name]
			}})
			return q
		}
		cutOff := node("cut off")
		b.run(cutOff)
		b.enqueue(cutOff, jobs.Job{Kind: "fenced"})
		receive(b, begun, "the first node")

		b.clk.Advance(31 * time.Second) // its next sign of life is ten real seconds away
		b.run(node("healthy"))
		// Either of the two takes it, since the first still has its worker busy:
		// the second.
		if e := receive(b, begun, "the second node"); e.node != "healthy" || e.task.Attempt != 2 {
			t.Errorf("taken over by the %s node in attempt %d", e.node, e.task.Attempt)
		}
		finish["cut off"] <- nil
		for end := time.Now().Add(patience); !strings.Contains(b.log.String(), "no longer this node's"); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the first node did not notice:\n%s", b.log)
			}
		}
		if r := b.rows(); len(r) != 1 || r[0].state != 1 || r[0].attempt != 2 {
			t.Errorf("the late finish changed the job: %+v", r)
		}
		finish["healthy"] <- nil
		b.empty()
	})
}

// TestSignsOfLife: a task that takes several leases is not taken over.
func TestSignsOfLife(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		const lease = 90 * time.Millisecond // signs come three times in that, on the machine's clock
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		for range 2 {
			q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, Lease: lease})
			q.Handle("long", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error {
				begun <- t
				return <-finish
			}})
			b.run(q)
		}
		b.enqueue(b.queue(quick), jobs.Job{Kind: "long"})
		receive(b, begun, "the task")
		for range 5 {
			b.clk.Advance(lease * 2 / 3)
			b.eventually("the lease to be renewed", func([]row) bool { return b.number(`SELECT lease_until FROM job`) == b.clk.Now().Add(lease).UnixMicro() })
		}
		nothing(b, begun, "the task was taken over")
		finish <- nil
		b.empty()
	})
}

// TestUnreachableDatabase: a node that cannot renew its leases stops its tasks
// when others may have them.
func TestUnreachableDatabase(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, Lease: 90 * time.Millisecond})
		begun, causes := make(chan jobs.Task, 10), make(chan error, 10)
		q.Handle("cut off", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "cut off"})
		receive(b, begun, "the task")
		if err := b.db.Close(); err != nil {
			t.Fatal(err)
		}
		nothing(b, causes, "stopped while its lease still ran")
		b.clk.Advance(90 * time.Millisecond)
		select {
		case cause := <-causes:
			if !strings.Contains(cause.Error(), "another node") {
				t.Errorf("stopped because of %v", cause)
			}
		case <-time.After(patience):
			t.Fatalf("the task was not stopped:\n%s", b.log)
		}
	})
}

// TestLostLease: the context of a task ends when another node has it.
func TestLostLease(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, Lease: 90 * time.Millisecond})
		begun, causes := make(chan jobs.Task, 10), make(chan error, 10)
		q.Handle("stolen", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "stolen"})
		receive(b, begun, "the task")
		b.exec(`UPDATE job SET owner = 'thief', attempt = 2, lease_until = $1`, b.clk.Now().Add(time.Hour).UnixMicro())
		if cause := receive(b, causes, "the task to be stopped"); !strings.Contains(cause.Error(), "another node") {
			t.Errorf("stopped because of %v", cause)
		}
		if r := b.rows(); len(r) != 1 || r[0] != (row{state: 1, attempt: 2, owner: "thief"}) {
			t.Errorf("the job of the thief was changed: %+v", r)
		}
	})
}

func TestDrain(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("drained", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			err := <-finish
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}})
		stop := b.run(q)
		b.enqueue(q, jobs.Job{Kind: "drained"}, jobs.Job{Kind: "drained"})
		receive(b, begun, "the first job")
		stopped := make(chan struct{})
		go func() { defer close(stopped); stop() }()
		nothing(b, stopped, "Run returned before its task had ended")
		finish <- nil
		receive(b, stopped, "Run to return")
		nothing(b, begun, "a job was claimed while stopping")
		if r := b.rows(); len(r) != 1 || r[0].state != 0 || r[0].attempt != 0 {
			t.Errorf("left are %+v, want the second job, untouched", r)
		}
	})
}

// TestDrainTimeout gives a job back that takes too long, without counting the
// attempt.
func TestDrainTimeout(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, DrainTimeout: 30 * time.Millisecond})
		begun := make(chan jobs.Task, 10)
		handler := jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			<-ctx.Done()
			return ctx.Err()
		}}
		q.Handle("endless", handler)
		stop := b.run(q)
		b.enqueue(q, jobs.Job{Kind: "endless"})
		receive(b, begun, "the job")
		stop()
		if r := b.rows(); len(r) != 1 || r[0] != (row{}) {
			t.Errorf("left are %+v, want the job given back as it was", r)
		}
		other := b.queue(jobs.Options{Poll: 5 * time.Millisecond, DrainTimeout: time.Millisecond})
		other.Handle("endless", handler)
		b.run(other)
		if got := receive(b, begun, "another node"); got.Attempt != 1 {
			t.Errorf("attempt %d, want 1", got.Attempt)
		}
	})
}

func TestPeriods(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		h, ran := collector()
		node := func(period time.Duration) func() {
			q := b.queue(quick)
			q.Handle("sweep", h)
			q.Every("sweep", period)
			return b.run(q)
		}
		stops := []func(){node(time.Hour), node(time.Hour)}
		due := func(at time.Duration) {
			b.t.Helper()
			want := b.clk.Now().Add(at).UnixMicro()
			b.eventually("the period to be set", func([]row) bool {
				return b.number(`SELECT COALESCE(max(next_at), 0) FROM job_period WHERE kind = 'sweep'`) == want
			})
		}
		due(time.Hour)
		nothing(b, ran, "ran before its first period was over")
		for range 3 {
			b.clk.Advance(time.Hour)
			if got := receive(b, ran, "the periodic job"); string(got.Payload) != "null" {
				t.Errorf("the payload is %s", got.Payload)
			}
			b.empty()
			nothing(b, ran, "ran twice in one period")
		}
		for _, stop := range stops {
			stop()
		}
		b.clk.Advance(50 * time.Hour) // nobody is there
		stop := node(time.Hour)
		receive(b, ran, "the job that was missed")
		b.empty()
		nothing(b, ran, "missed periods counted more than once")
		stop()

		stop = node(time.Minute) // a shorter period is in force at once
		defer stop()
		due(time.Minute)
		b.clk.Advance(time.Minute)
		receive(b, ran, "the job of the shorter period")
	})
}

// TestStubbornTask: Run does not wait for ever for a task that ignores its
// context, and says so.
func TestStubbornTask(t *testing.T) {
	b := newBench(t, sqldbtest.SQLite(t))
	q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, DrainTimeout: time.Millisecond})
	begun, finish := make(chan jobs.Task, 1), make(chan struct{})
	q.Handle("stubborn", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error {
		begun <- t
		<-finish
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- q.Run(ctx) }()
	b.enqueue(q, jobs.Job{Kind: "stubborn"})
	receive(b, begun, "the task")
	cancel()
	if err := receive(b, ended, "Run to return"); err == nil {
		t.Error("Run returned no error although a task still runs")
	}
	close(finish)
	b.empty() // it ended well after all, and could still say so
}

// countingClock counts how often the queue looks what is due.
type countingClock struct {
	clock.Clock
	asked atomic.Int64
}

func (c *countingClock) Now() time.Time {
	c.asked.Add(1)
	return c.Clock.Now()
}

// TestNoBusyPolling: between polls a queue is quiet, also when there is more to
// do than it has workers.
func TestNoBusyPolling(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		clk := &countingClock{Clock: b.clk}
		q := jobs.New(b.db, clk, slog.New(slog.DiscardHandler), jobs.Options{Poll: time.Hour, Lease: time.Hour})
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("busy", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error {
			begun <- t
			return <-finish
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "busy"}, jobs.Job{Kind: "busy"}, jobs.Job{Kind: "unknown"})
		receive(b, begun, "the first job")
		// What the wake-up began is over some time, and the look after listening to
		// other nodes has begun.
		quiet := func() bool {
			before := clk.asked.Load()
			nothing(b, begun, "more than one ran")
			return clk.asked.Load() == before
		}
		deadline := time.Now().Add(patience)
		for still := 0; still < 3; {
			if quiet() {
				still++
			} else if still = 0; time.Now().After(deadline) {
				t.Fatal("the clock is asked again and again while there is nothing to do")
			}
		}
		finish <- nil
		receive(b, begun, "the second job")
		finish <- nil
	})
}

// TestLateFinishHere: a run that has lost its job is told so when the same node
// gets the job again, and what it says afterwards does not count, although node
// and attempt are the same in both runs.
func TestLateFinishHere(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		contexts := make(chan context.Context, 10)
		q.Handle("again", jobs.Handler{Workers: 2, Run: func(ctx context.Context, t jobs.Task) error {
			contexts <- ctx
			begun <- t
			return <-finish
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "again", MaxAttempts: 1})
		task := receive(b, begun, "the first run")
		first := <-contexts
		b.clk.Advance(31 * time.Second) // its next sign of life is ten real seconds away
		b.eventually("the job to be dead", func(r []row) bool { return len(r) == 1 && r[0].state == 2 })
		b.eventually("the log to tell of it", func([]row) bool {
			return strings.Contains(b.log.String(), "level=ERROR") && strings.Contains(b.log.String(), "last attempt")
		})
		if _, err := q.Retry(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		if again := receive(b, begun, "the second run"); again.ID != task.ID || again.Attempt != 1 {
			t.Errorf("%+v runs, want the job %d in its first attempt", again, task.ID)
		}
		second := <-contexts
		receive(b, first.Done(), "the first run to be told")
		if cause := context.Cause(first); second.Err() != nil || !strings.Contains(cause.Error(), "taken the task over") {
			t.Errorf("told %v, and the second run %v", cause, second.Err())
		}
		finish <- nil
		finish <- nil
		b.empty()
	})
}

// TestFence: a run whose row says that another one has begun changes nothing,
// by its end, its reports or its signs of life.
func TestFence(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for name, end := range map[string]error{"done": nil, "failed": errors.New("boom"), "permanent": jobs.Permanent(errors.New("boom"))} {
			q := b.queue(quick)
			begun, finish := make(chan jobs.Task, 10), make(chan error)
			q.Handle(name, jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
				begun <- t
				err := <-finish
				_ = t.Progress(ctx, 1, 2, "late") // it cannot fail
				return err
			}})
			stop := b.run(q)
			b.enqueue(q, jobs.Job{Kind: name})
			receive(b, begun, "the job")
			b.exec(`UPDATE job SET run = run + 1`)
			finish <- end
			stop()
			all, err := q.List(t.Context(), jobs.Filter{})
			if err != nil || len(all) != 1 || all[0].State != jobs.Running || all[0].Attempt != 1 || all[0].LastError != "" || all[0].Progress != nil {
				t.Errorf("%s: the late end changed the job: %+v %v", name, all, err)
			}
			b.exec(`DELETE FROM job`)
		}

		q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, Lease: 90 * time.Millisecond})
		begun, causes := make(chan jobs.Task, 10), make(chan error, 10)
		q.Handle("beat", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "beat"})
		receive(b, begun, "the job")
		b.exec(`UPDATE job SET run = run + 1`)
		if cause := receive(b, causes, "the task to be stopped"); !strings.Contains(cause.Error(), "taken the task over") {
			t.Errorf("stopped because of %v", cause)
		}
	})
}

// A node that is alone on its database does not wait for the leases of the one
// that was killed before it.
func TestAlone(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		dead := b.queue(quick)
		started, never := make(chan struct{}), make(chan struct{})
		dead.Handle("work", jobs.Handler{Run: func(context.Context, jobs.Task) error {
			close(started)
			<-never
			return nil
		}})
		b.enqueue(dead, jobs.Job{Kind: "work"})
		stop := b.run(dead)
		receive(b, started, "the job to start")
		defer func() { close(never); stop() }()

		o := quick
		o.Alone = true
		next := b.queue(o)
		h, ran := collector()
		next.Handle("work", h)
		b.run(next)
		if got := receive(b, ran, "the job of the node before"); got.Attempt != 2 {
			t.Errorf("attempt %d", got.Attempt)
		}
	})
}
