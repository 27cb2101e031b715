package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// kill makes the waiting jobs of a kind dead by running them.
func (b *bench) kill(kinds ...string) {
	b.t.Helper()
	q := b.queue(quick)
	for _, k := range kinds {
		q.Handle(k, jobs.Handler{Run: func(context.Context, jobs.Task) error { return jobs.Permanent(errors.New("hopeless")) }})
	}
	stop := b.run(q)
	b.eventually("the jobs to be dead", func([]row) bool {
		return b.number(`SELECT COUNT(*) FROM job WHERE state < 2 AND kind IN ('`+strings.Join(kinds, `','`)+`')`) == 0
	})
	stop()
}

func (b *bench) list(q *jobs.Queue, f jobs.Filter) []jobs.Description {
	b.t.Helper()
	all, err := q.List(b.t.Context(), f)
	if err != nil {
		b.t.Fatal(err)
	}
	return all
}

func (b *bench) only(q *jobs.Queue, f jobs.Filter) jobs.Description {
	b.t.Helper()
	all := b.list(q, f)
	if len(all) != 1 {
		b.t.Fatalf("%+v, want one job", all)
	}
	return all[0]
}

func TestPermanent(t *testing.T) {
	if jobs.Permanent(nil) != nil {
		t.Error("no failure is permanent")
	}
	cause := errors.New("no such image")
	if err := jobs.Permanent(cause); !errors.Is(err, cause) || err.Error() != "no such image" {
		t.Errorf("%v", err)
	}
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("judged", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { begun <- t; return <-finish }})
		b.run(q)
		for text, err := range map[string]error{
			"no such image":                     jobs.Permanent(cause),
			"scan: no such image":               fmt.Errorf("scan: %w", jobs.Permanent(cause)),
			"no such image\nand another reason": errors.Join(jobs.Permanent(cause), errors.New("and another reason")),
		} {
			b.enqueue(q, jobs.Job{Kind: "judged"})
			id := receive(b, begun, "the job").ID
			finish <- err
			b.eventually("the job to be dead", func(r []row) bool { return len(r) == 1 && r[0] == row{state: 2, attempt: 1, err: text} })
			if d, err := q.Discard(t.Context(), id); err != nil || d.Died != b.clk.Now() {
				t.Errorf("%+v %v", d, err)
			}
		}
		// News may mend it.
		b.enqueue(q, jobs.Job{Kind: "judged", UniqueKey: "k", Payload: 1})
		receive(b, begun, "the job")
		b.enqueue(q, jobs.Job{Kind: "judged", UniqueKey: "k", Payload: 2})
		finish <- jobs.Permanent(cause)
		b.eventually("the job to wait", func(r []row) bool { return len(r) == 1 && r[0].state == 0 && r[0].attempt == 0 })
		b.clk.Advance(time.Minute)
		if got := receive(b, begun, "the job with the news"); string(got.Payload) != "2" {
			t.Errorf("runs with %s", got.Payload)
		}
		finish <- nil
		b.empty()
	})
}

// TestPermanentWhileStopping: a run that was cut off by the end of its node
// proves nothing, whatever it says.
func TestPermanentWhileStopping(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, DrainTimeout: time.Millisecond})
		begun := make(chan jobs.Task, 1)
		q.Handle("cut", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			<-ctx.Done()
			return jobs.Permanent(ctx.Err())
		}})
		stop := b.run(q)
		b.enqueue(q, jobs.Job{Kind: "cut"})
		receive(b, begun, "the job")
		stop()
		if r := b.rows(); len(r) != 1 || r[0] != (row{}) {
			t.Errorf("left are %+v, want the job given back as it was", r)
		}
	})
}

func TestDescriptions(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("scan", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { begun <- t; return <-finish }})
		created := b.clk.Now()
		later := created.Add(time.Minute) // before the queue's own hourly job
		b.enqueue(q, jobs.Job{Kind: "scan", UniqueKey: "k", Payload: map[string]string{"image": "ä"}, RunAt: later, MaxAttempts: 3})
		want := jobs.Description{
			Kind: "scan", UniqueKey: "k", Payload: json.RawMessage(`{"image":"ä"}`), State: jobs.Waiting, MaxAttempts: 3, Created: created, RunAt: later,
		}
		same := func(what string) {
			t.Helper()
			got := b.only(q, jobs.Filter{})
			want.ID = got.ID
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || got.ID <= 0 {
				t.Errorf("%s: got\n%+v, want\n%+v", what, got, want)
			}
			one, err := q.Show(t.Context(), got.ID)
			if err != nil || fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", got) {
				t.Errorf("%s: shown is\n%+v (%v), listed\n%+v", what, one, err, got)
			}
		}
		same("waiting")
		b.run(q)
		b.clk.Advance(time.Minute)
		receive(b, begun, "the job")
		want.State, want.Attempt, want.RunAt, want.Lease = jobs.Running, 1, time.Time{}, later.Add(30*time.Second)
		want.Node = b.only(q, jobs.Filter{}).Node
		if want.Node == "" {
			t.Error("no node is named")
		}
		same("running")
		b.enqueue(q, jobs.Job{Kind: "scan", UniqueKey: "k", Payload: 2})
		want.Again, want.Payload = true, json.RawMessage(`2`)
		same("enqueued again")
		b.exec(`UPDATE job SET again = FALSE`)
		want.Again = false
		finish <- jobs.Permanent(errors.New("boom"))
		b.eventually("the job to be dead", func(r []row) bool { return r[0].state == 2 })
		want.State, want.LastError, want.Died, want.Node, want.Lease = jobs.Dead, "boom", b.clk.Now(), "", time.Time{}
		same("dead")
		if text, err := json.Marshal(b.only(q, jobs.Filter{})); err != nil || !strings.Contains(string(text), fmt.Sprintf(`{"id":"%d","kind":"scan"`, want.ID)) {
			t.Errorf("%s %v", text, err)
		}
		for _, id := range []int64{0, -1, want.ID + 1} {
			if _, err := q.Show(t.Context(), id); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("job %d: %v", id, err)
			}
		}
	})
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		if all := b.list(q, jobs.Filter{}); len(all) != 0 {
			t.Errorf("%+v", all)
		}
		var put []jobs.Job
		for i := range 1103 {
			put = append(put, jobs.Job{Kind: fmt.Sprintf("k%d", i%3), Payload: i, RunAt: b.clk.Now().Add(time.Hour)})
		}
		b.enqueue(q, put...)
		b.exec(`UPDATE job SET state = 2 WHERE kind = 'k1'`)
		b.exec(`UPDATE job SET state = 1 WHERE kind = 'k2'`)
		for _, c := range []struct {
			f    jobs.Filter
			want func(i int) bool
		}{
			{jobs.Filter{}, func(int) bool { return true }},
			{jobs.Filter{Limit: 7}, func(int) bool { return true }},
			{jobs.Filter{Limit: 1000}, func(int) bool { return true }},
			{jobs.Filter{Limit: 5, Kind: "k0"}, func(i int) bool { return i%3 == 0 }},
			{jobs.Filter{State: jobs.Dead}, func(i int) bool { return i%3 == 1 }},
			{jobs.Filter{State: jobs.Running, Kind: "k2"}, func(i int) bool { return i%3 == 2 }},
			{jobs.Filter{State: jobs.Waiting, Kind: "k2"}, func(int) bool { return false }},
		} {
			var want, got []string
			for i := range put {
				if c.want(i) {
					want = append(want, fmt.Sprint(i))
				}
			}
			limit := c.f.Limit
			if limit == 0 {
				limit = 100
			}
			for f := c.f; ; {
				page := b.list(q, f)
				for _, d := range page {
					got = append(got, string(d.Payload))
					f.After = d.ID
				}
				if len(page) < limit {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: %d jobs, want %d", c.f, len(got), len(want))
			}
		}
		if n := len(b.list(q, jobs.Filter{Limit: 5000})); n != 1000 {
			t.Errorf("a page of %d jobs", n)
		}
		if _, err := q.List(t.Context(), jobs.Filter{State: "done"}); err == nil || !strings.Contains(err.Error(), `"done"`) {
			t.Errorf("%v", err)
		}
		counts, err := q.Counts(t.Context())
		if want := []jobs.Count{{Kind: "k0", Waiting: 368}, {Kind: "k1", Dead: 368}, {Kind: "k2", Running: 367}}; err != nil || !slices.Equal(counts, want) {
			t.Errorf("%+v %v, want %+v", counts, err, want)
		}
	})
}

func TestRetryDead(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: time.Hour}) // only being woken up makes it look
		b.enqueue(q, jobs.Job{Kind: "revived", UniqueKey: "k", MaxAttempts: 1, Payload: "x"})
		b.kill("revived")
		dead := b.only(q, jobs.Filter{State: jobs.Dead})
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("revived", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { begun <- t; return <-finish }})
		b.run(q)
		nothing(b, begun, "a dead job ran")
		d, err := q.Retry(t.Context(), dead.ID)
		if err != nil || d.ID != dead.ID || d.State != jobs.Waiting || d.Attempt != 0 || d.RunAt != b.clk.Now() || d.LastError != "hopeless" || !d.Died.IsZero() {
			t.Errorf("%+v %v", d, err)
		}
		if got := receive(b, begun, "the revived job"); got.ID != dead.ID || got.Attempt != 1 || string(got.Payload) != `"x"` {
			t.Errorf("%+v", got)
		}
		if _, err := q.Retry(t.Context(), dead.ID); !errors.Is(err, jobs.ErrRunning) {
			t.Errorf("a running one: %v", err)
		}
		if _, err := q.Discard(t.Context(), dead.ID); !errors.Is(err, jobs.ErrNotDead) {
			t.Errorf("discarding a running one: %v", err)
		}
		finish <- nil
		b.empty()
		for what, do := range map[string]func(context.Context, int64) (jobs.Description, error){"retry": q.Retry, "discard": q.Discard} {
			if _, err := do(t.Context(), dead.ID); !errors.Is(err, jobs.ErrNotFound) {
				t.Errorf("%s of a job that is done: %v", what, err)
			}
		}
	})
}

func TestRetryWaiting(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: time.Hour})
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("put off", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { begun <- t; return <-finish }})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "put off", RunAt: b.clk.Now().Add(time.Hour)})
		id := b.only(q, jobs.Filter{}).ID
		for attempt := 1; attempt <= 3; attempt++ {
			nothing(b, begun, "ran too early")
			if d, err := q.Retry(t.Context(), id); err != nil || d.State != jobs.Waiting || d.Attempt != attempt-1 || d.RunAt != b.clk.Now() {
				t.Errorf("%+v %v", d, err)
			}
			if got := receive(b, begun, "the job"); got.Attempt != attempt {
				t.Errorf("attempt %d, want %d", got.Attempt, attempt)
			}
			finish <- errors.New("boom")
			b.eventually("the failure", func(r []row) bool { return len(r) == 1 && r[0].state == 0 && r[0].err == "boom" })
		}
		if _, err := q.Discard(t.Context(), id); !errors.Is(err, jobs.ErrNotDead) {
			t.Errorf("discarding a waiting one: %v", err)
		}
		b.exec(`DELETE FROM job`)
		// One whose time has come keeps its place.
		b.enqueue(q, jobs.Job{Kind: "unknown"})
		other := b.only(q, jobs.Filter{Kind: "unknown"})
		b.clk.Advance(time.Minute)
		if d, err := q.Retry(t.Context(), other.ID); err != nil || d.RunAt != other.RunAt {
			t.Errorf("%+v %v", d, err)
		}
	})
}

// TestRetrySuperseded: a dead job stays dead while another of its key is there,
// and does not stand in the way of that one.
func TestRetrySuperseded(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		put := func() { b.enqueue(q, jobs.Job{Kind: "unique", UniqueKey: "k"}) }
		put()
		b.kill("unique")
		dead := b.only(q, jobs.Filter{})
		put()
		live := b.only(q, jobs.Filter{State: jobs.Waiting})
		refused := func(what string) {
			t.Helper()
			_, err := q.Retry(t.Context(), dead.ID)
			if by, ok := errors.AsType[*jobs.SupersededError](err); !ok || by.By != live.ID {
				t.Errorf("%s: %v", what, err)
			}
			if d, err := q.Show(t.Context(), dead.ID); err != nil || d.State != jobs.Dead {
				t.Errorf("%s: %+v %v", what, d, err)
			}
		}
		refused("the other waits")
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		q.Handle("unique", jobs.Handler{Run: func(_ context.Context, t jobs.Task) error { begun <- t; return <-finish }})
		stop := b.run(q)
		receive(b, begun, "the other")
		refused("the other runs")
		finish <- jobs.Permanent(errors.New("boom"))
		b.eventually("both to be dead", func(r []row) bool { return len(r) == 2 && r[0].state == 2 && r[1].state == 2 })
		stop()
		if d, err := q.Retry(t.Context(), dead.ID); err != nil || d.State != jobs.Waiting {
			t.Errorf("%+v %v", d, err)
		}
		// The dead of other keys, of other kinds and of no key are nobody's business.
		for _, j := range []jobs.Job{{Kind: "unique", UniqueKey: "other"}, {Kind: "different", UniqueKey: "k"}, {Kind: "plain"}, {Kind: "plain"}} {
			b.enqueue(q, j)
		}
		b.exec(`UPDATE job SET state = 2 WHERE kind <> 'unique' OR unique_key = 'other'`)
		for _, d := range b.list(q, jobs.Filter{State: jobs.Dead}) {
			if d.ID == live.ID {
				continue
			}
			if _, err := q.Retry(t.Context(), d.ID); err != nil {
				t.Errorf("%+v: %v", d, err)
			}
		}
	})
}

// TestRetryRaces has a dead job retried while its key is enqueued again and
// again: there is never more than one, and nobody gets an error of the database.
func TestRetryRaces(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		for range 20 {
			b.enqueue(q, jobs.Job{Kind: "raced", UniqueKey: "k"})
			b.exec(`UPDATE job SET state = 2`)
			dead := b.only(q, jobs.Filter{})
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					_, err := q.Retry(t.Context(), dead.ID)
					if _, ok := errors.AsType[*jobs.SupersededError](err); err != nil && !ok {
						t.Error(err)
					}
				})
				wg.Go(func() {
					if err := b.db.Update(t.Context(), func(tx *sqldb.Tx) error {
						return q.Enqueue(t.Context(), tx, jobs.Job{Kind: "raced", UniqueKey: "k"})
					}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := b.number(`SELECT COUNT(*) FROM job WHERE state = 0`); n != 1 {
				t.Errorf("%d jobs wait", n)
			}
			b.exec(`DELETE FROM job`)
		}
	})
}

func TestDiscard(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		b.enqueue(q, jobs.Job{Kind: "lost", UniqueKey: "a"}, jobs.Job{Kind: "lost", UniqueKey: "b"})
		b.kill("lost")
		all := b.list(q, jobs.Filter{})
		d, err := q.Discard(t.Context(), all[0].ID)
		if err != nil || d.ID != all[0].ID || d.State != jobs.Dead {
			t.Errorf("%+v %v", d, err)
		}
		if left := b.only(q, jobs.Filter{}); left.ID != all[1].ID {
			t.Errorf("left is %+v", left)
		}
		if log := b.log.String(); !strings.Contains(log, "discarded") || !strings.Contains(log, fmt.Sprint(d.ID)) {
			t.Errorf("the log does not tell of it:\n%s", log)
		}
	})
}

// TestDeadAreKept for thirty days, or as long as the options say, and then
// removed by whichever node comes first.
func TestDeadAreKept(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct{ option, kept time.Duration }{"default": {0, 30 * day}, "option": {2 * day, 2 * day}} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				o := quick
				o.KeepDead = c.option
				q := b.queue(o)
				var put []jobs.Job
				for range 250 { // more than go at once
					put = append(put, jobs.Job{Kind: "lost"})
				}
				b.enqueue(q, put...)
				b.exec(`UPDATE job SET state = 2, died_at = $1`, b.clk.Now().UnixMicro())
				b.clk.Advance(c.kept / 2)
				b.enqueue(q, jobs.Job{Kind: "lost"}, jobs.Job{Kind: "waiting"})
				b.kill("lost") // a queue of its own
				b.eventually("the dead jobs to be kept so far", func(r []row) bool { return len(r) == 252 })
				first := b.list(q, jobs.Filter{})[0].ID

				due := func() {
					b.t.Helper()
					want := b.clk.Now().Add(time.Hour).UnixMicro()
					b.eventually("the period to be set", func([]row) bool {
						return b.number(`SELECT COALESCE(max(next_at), 0) FROM job_period WHERE kind = 'jobs.expire'`) == want
					})
					b.eventually("the expiry to be done", func([]row) bool { return b.number(`SELECT COUNT(*) FROM job WHERE kind = 'jobs.expire'`) == 0 })
				}
				b.run(q)
				b.run(b.queue(o))
				b.clk.Advance(c.kept/2 - time.Microsecond)
				due()
				if n := len(b.rows()); n != 252 {
					t.Fatalf("%d jobs are there, want 252: removed too early", n)
				}
				b.clk.Advance(time.Hour)
				b.eventually("the old dead jobs to be gone", func(r []row) bool { return len(r) == 2 })
				due()
				if all := b.list(q, jobs.Filter{}); len(all) != 2 || all[0].Kind != "lost" || all[1].Kind != "waiting" {
					t.Errorf("left are %+v", all)
				}
				if log := b.log.String(); strings.Count(log, "a dead job was removed") != 250 || !strings.Contains(log, fmt.Sprintf("job=%d ", first)) {
					t.Errorf("the log tells of %d", strings.Count(log, "a dead job was removed"))
				}
				// What is tried again is not old any more when it fails again.
				last := b.only(q, jobs.Filter{Kind: "lost"})
				if _, err := q.Retry(t.Context(), last.ID); err != nil {
					t.Fatal(err)
				}
				b.kill("lost")
				if d := b.only(q, jobs.Filter{Kind: "lost"}); d.Died != b.clk.Now() {
					t.Errorf("died %s, want %s", d.Died, b.clk.Now())
				}
			})
		})
	}
}
