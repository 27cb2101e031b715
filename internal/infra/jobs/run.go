package jobs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// A task that failed waits firstPause, then twice as long each time, up to
	// longestPause, each time between half and all of it.
	firstPause   = time.Second
	longestPause = time.Hour

	// endTimeout bounds the transactions that say what became of a task.
	endTimeout = 30 * time.Second

	// lastGrace is how long Run waits for tasks whose contexts it has ended.
	lastGrace = 5 * time.Second
)

var (
	errLost     = errors.New("jobs: another node has taken the task over")
	errStopping = errors.New("jobs: the node is stopping")
)

// run is a task under way on this node.
type run struct {
	task   Task
	cancel context.CancelCauseFunc
}

// Run works on jobs until ctx ends. Then it claims no more, waits for the
// running tasks up to the drain timeout, ends the contexts of those that are
// left and gives them back. It returns an error if one did not stop even then;
// other nodes get that one when its lease runs out.
func (q *Queue) Run(ctx context.Context) error {
	err := q.startPeriods(ctx)
	if err == nil && q.o.Alone {
		err = q.db.Update(ctx, func(tx *sqldb.Tx) error { return endLeases(ctx, tx) })
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("jobs: starting: %w", err)
	}
	// Tasks and the signs of life for them go on after ctx while they drain.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	beside.Go(func() { q.heartbeat(work) })
	beside.Go(func() { q.writeProgress(work) })
	if q.db.Shared() {
		beside.Go(func() { q.announce(work) })
		beside.Go(func() { q.hear(ctx) })
		beside.Go(func() { q.heed(ctx) })
	}

	poll := time.NewTicker(q.o.Poll)
	defer poll.Stop()
	for ctx.Err() == nil {
		if err := q.dispatch(ctx, work); err != nil && ctx.Err() == nil {
			q.log.Warn("the job queue cannot be read; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-poll.C:
		}
	}

	stopped := make(chan struct{})
	go func() {
		q.tasks.Wait()
		close(stopped)
	}()
	inTime := wait(stopped, q.o.DrainTimeout)
	stopWork(errStopping)
	beside.Wait()
	if !inTime && !wait(stopped, lastGrace) {
		return errors.New("jobs: tasks did not stop when they were told to; they will run again elsewhere when their leases run out")
	}
	return nil
}

func wait(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

func (q *Queue) startPeriods(ctx context.Context) error {
	if len(q.periods) == 0 {
		return nil
	}
	return q.db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, kind := range slices.Sorted(maps.Keys(q.periods)) { // in one order, so that nodes do not lock crosswise
			if err := startPeriod(ctx, tx, kind, q.clk.Now().Add(q.periods[kind])); err != nil {
				return err
			}
		}
		return nil
	})
}

// dispatch looks what is due and starts as much of it as there are workers.
func (q *Queue) dispatch(ctx, work context.Context) error {
	free := q.free()
	now := q.clk.Now()
	var d due
	err := q.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		d, err = findDue(ctx, tx, slices.Sorted(maps.Keys(free)), now)
		return err
	})
	if err != nil {
		return err
	}
	var all []error
	for _, p := range d.periods {
		if period, ok := q.periods[p.kind]; ok {
			all = append(all, q.turnPeriod(ctx, p, period))
		}
	}
	if d.expired {
		all = append(all, q.expire(ctx))
	}
	for _, kind := range d.kinds {
		all = append(all, q.start(ctx, work, kind, free[kind]))
	}
	return errors.Join(all...)
}

// free returns the kinds that have free workers here, and how many.
func (q *Queue) free() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	free := map[string]int{}
	for name, k := range q.kinds {
		if n := k.Workers - k.busy; n > 0 {
			free[name] = n
		}
	}
	return free
}

// turnPeriod enqueues a periodic job if no other node has just done so.
func (q *Queue) turnPeriod(ctx context.Context, p periodRow, period time.Duration) error {
	return q.db.Update(ctx, func(tx *sqldb.Tx) error {
		first, err := claimPeriod(ctx, tx, p, q.clk.Now().Add(period))
		if err != nil || !first {
			return err
		}
		return q.Enqueue(ctx, tx, Job{Kind: p.kind, UniqueKey: "every"})
	})
}

func (q *Queue) expire(ctx context.Context) error {
	var all []expired
	err := q.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = expire(ctx, tx, q.clk.Now())
		if len(all) > 0 {
			tx.AfterCommit(q.wakeUp)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range all {
		attrs := []any{"kind", e.task.Kind, "job", e.task.ID, "attempt", e.task.Attempt}
		if e.dead {
			q.log.Error("a job was taken back from a node that gave no sign of life; it was its last attempt, and the job is dead", attrs...)
		} else {
			q.log.Warn("a job was taken back from a node that gave no sign of life", attrs...)
		}
	}
	return nil
}

// start claims up to n jobs of a kind and runs them.
func (q *Queue) start(ctx, work context.Context, kind string, n int) error {
	var tasks []Task
	err := q.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
		now := q.clk.Now()
		tasks, err = claim(ctx, tx, kind, q.owner, n, now, now.Add(q.o.Lease))
		return err
	})
	if err != nil {
		return err
	}
	for _, t := range tasks {
		q.startTask(work, t)
	}
	return nil
}

func (q *Queue) startTask(work context.Context, t Task) {
	k := q.kinds[t.Kind]
	t.report = &report{q: q}
	stoppable, cancel := context.WithCancelCause(work)
	r := &run{task: t, cancel: cancel}
	q.mu.Lock()
	k.busy++
	if earlier := q.running[t.ID]; earlier != nil {
		earlier.cancel(errLost) // it lost its lease, and this node got the job again
	}
	q.running[t.ID] = r
	q.mu.Unlock()
	q.tasks.Go(func() {
		defer func() {
			cancel(nil)
			q.mu.Lock()
			k.busy--
			if q.running[t.ID] == r {
				delete(q.running, t.ID)
			}
			q.mu.Unlock()
			q.wakeUp() // the worker is free for the next
		}()
		limited, end := context.WithTimeout(stoppable, k.Timeout)
		defer end()
		err := q.do(limited, k.Run, t)
		q.finish(stoppable, t, err)
	})
}

// do runs a handler, with Options.Around about it.
func (q *Queue) do(ctx context.Context, fn func(context.Context, Task) error, t Task) error {
	if q.o.Around == nil {
		return call(ctx, fn, t)
	}
	return q.o.Around(ctx, t, func(ctx context.Context) error { return call(ctx, fn, t) })
}

// call runs a handler and turns a panic into an error.
func call(ctx context.Context, fn func(context.Context, Task) error, t Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(ctx, t)
}

// finish writes down what became of a task. What cannot be written runs again
// when its lease has run out.
func (q *Queue) finish(ctx context.Context, t Task, taskErr error) {
	cause := context.Cause(ctx)
	progress, news := t.report.end()
	if errors.Is(cause, errLost) {
		q.log.Warn("a job was taken over by another node while it ran here", "kind", t.Kind, "job", t.ID, "attempt", t.Attempt, "error", taskErr)
		return
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	var held, dead bool
	err := q.db.Update(end, func(tx *sqldb.Tx) (err error) {
		now := q.clk.Now()
		if news && taskErr != nil {
			if err := setProgress(end, tx, t, q.owner, progress); err != nil {
				return err
			}
		}
		switch {
		case taskErr == nil:
			held, _, err = complete(end, tx, t, q.owner, now)
		case errors.Is(cause, errStopping):
			held, err = true, release(end, tx, t, q.owner, now)
		default:
			held, dead, err = failed(end, tx, t, q.owner, taskErr, now, now.Add(pauseAfter(t.Attempt)))
		}
		return err
	})
	attrs := []any{"kind", t.Kind, "job", t.ID, "attempt", t.Attempt}
	switch {
	case err != nil:
		q.log.Error("what became of a job could not be written; it will run again", append(attrs, "error", err, "job_error", taskErr)...)
	case !held:
		q.log.Warn("a job was no longer this node's when it ended", append(attrs, "job_error", taskErr)...)
	case dead:
		q.log.Error("a job failed for good and is dead", append(attrs, "error", taskErr)...)
	case taskErr != nil && !errors.Is(cause, errStopping):
		q.log.Warn("a job failed and will be tried again", append(attrs, "error", taskErr)...)
	}
}

// pauseAfter is how long a task waits that failed in the attempt given.
func pauseAfter(attempt int) time.Duration {
	longest := min(firstPause<<min(attempt-1, 30), longestPause)
	return longest/2 + time.Duration(rand.Int64N(int64(longest/2)))
}

// heartbeat renews the leases of the running tasks three times within a lease,
// and ends the contexts of those that have been lost.
func (q *Queue) heartbeat(ctx context.Context) {
	tick := time.NewTicker(q.o.Lease / 3)
	defer tick.Stop()
	renewed := q.clk.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		tasks := q.underWay()
		if len(tasks) == 0 {
			renewed = q.clk.Now()
			continue
		}
		now := q.clk.Now()
		var held map[int64]int64
		err := q.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
			held, err = extend(ctx, tx, q.owner, slices.Sorted(maps.Keys(tasks)), now.Add(q.o.Lease))
			return err
		})
		switch {
		case err == nil:
			renewed = now
		case ctx.Err() != nil:
			return
		case now.Sub(renewed) < q.o.Lease:
			q.log.Warn("the leases of running jobs could not be renewed; trying again", "error", err)
			continue
		default:
			// Other nodes may have taken all of them by now.
			q.log.Error("the leases of running jobs could not be renewed in time; stopping these jobs here", "error", err)
		}
		for id, r := range tasks {
			if run, ok := held[id]; !ok || run != r.task.run {
				r.cancel(errLost)
			}
		}
	}
}

// underWay is a copy of what runs on this node.
func (q *Queue) underWay() map[int64]*run {
	q.mu.Lock()
	defer q.mu.Unlock()
	return maps.Clone(q.running)
}
