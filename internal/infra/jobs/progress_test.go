package jobs_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// progress waits until the job's row tells what ok accepts.
func (b *bench) progress(q *jobs.Queue, id int64, what string, ok func(jobs.Progress) bool) {
	b.t.Helper()
	b.eventually(what, func([]row) bool {
		d, err := q.Show(b.t.Context(), id)
		return err == nil && d.Progress != nil && ok(*d.Progress)
	})
}

// countWrites has the database count how often a report is written.
func (b *bench) countWrites(postgres bool) {
	b.t.Helper()
	text := `
CREATE TRIGGER count_write AFTER UPDATE OF progress_done ON job WHEN NEW.progress_at <> 0 BEGIN INSERT INTO counted VALUES (NEW.progress_done); END;`
	if postgres {
		text = `
CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO counted VALUES (NEW.progress_done); RETURN NULL; END';
CREATE TRIGGER count_write AFTER UPDATE OF progress_done ON job FOR EACH ROW WHEN (NEW.progress_at <> 0) EXECUTE FUNCTION count_write();`
	}
	text = "-- +goose Up\nCREATE TABLE counted (done BIGINT NOT NULL);\n-- +goose StatementBegin" + text + "\n-- +goose StatementEnd\n"
	if err := b.db.Migrate(b.t.Context(), "test_version", fstest.MapFS{"0001_test_count.sql": {Data: []byte(text)}}); err != nil {
		b.t.Fatal(err)
	}
}

func TestProgress(t *testing.T) {
	test := func(t *testing.T, b *bench, postgres bool) {
		b.countWrites(postgres)
		q := b.queue(quick)
		type say struct {
			done, total int64
			text        string
		}
		begun, says, finish := make(chan jobs.Task, 10), make(chan say), make(chan error)
		q.Handle("long", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			for {
				select {
				case s := <-says:
					if err := t.Progress(ctx, s.done, s.total, s.text); err != nil {
						return err
					}
				case err := <-finish:
					return err
				}
			}
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "long"})
		id := receive(b, begun, "the job").ID
		if d, err := q.Show(t.Context(), id); err != nil || d.Progress != nil {
			t.Errorf("before anything was said: %+v %v", d.Progress, err)
		}
		says <- say{0, 1000, "beginning"}
		b.progress(q, id, "the first report", func(p jobs.Progress) bool { return p == jobs.Progress{Total: 1000, Text: "beginning", At: b.clk.Now()} })

		// Many reports are few writes, and the last is seen although none follows.
		start := time.Now()
		b.clk.Advance(time.Second)
		for i := range int64(1000) {
			says <- say{i, 1000, "counting"}
		}
		says <- say{1000, 1000, "counted"}
		b.progress(q, id, "the last report", func(p jobs.Progress) bool {
			return p == jobs.Progress{Done: 1000, Total: 1000, Text: "counted", At: b.clk.Now()}
		})
		if n, most := b.number(`SELECT COUNT(*) FROM counted`), int64(time.Since(start)/time.Second)+2; n > most {
			t.Errorf("%d writes, want at most %d", n, most)
		}

		// What is said last stands in the row of a run that has failed, until the
		// next run begins; nonsense is stored as well as it can be.
		says <- say{-5, -7, "\x00 \xff" + strings.Repeat("ä", 1000)}
		finish <- errors.New("boom")
		b.eventually("the failure", func(r []row) bool { return len(r) == 1 && r[0].state == 0 && r[0].err == "boom" })
		d, err := q.Show(t.Context(), id)
		if err != nil || d.Progress == nil || d.Progress.Done != 0 || d.Progress.Total != 0 || !strings.HasPrefix(d.Progress.Text, "? ?ää") || !utf8.ValidString(d.Progress.Text) || len(d.Progress.Text) > 300 {
			t.Errorf("%+v %v", d.Progress, err)
		}
		b.clk.Advance(time.Minute)
		receive(b, begun, "the second run")
		if d, err := q.Show(t.Context(), id); err != nil || d.Progress != nil || d.LastError != "boom" {
			t.Errorf("the second run begins with %+v %v", d, err)
		}
		says <- say{1, 2, "unseen"}
		finish <- nil
		b.empty()
	}
	t.Run("sqlite", func(t *testing.T) { test(t, newBench(t, sqldbtest.SQLite(t)), false) })
	t.Run("postgres", func(t *testing.T) { test(t, newBench(t, sqldbtest.Postgres(t)), true) })
}

// TestProgressOfDrainedTask: a run that is cut off keeps its last report, and
// hears of its end by the next.
func TestProgressOfDrainedTask(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(jobs.Options{Poll: 5 * time.Millisecond, DrainTimeout: 10 * time.Millisecond})
		begun := make(chan jobs.Task, 1)
		q.Handle("endless", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			for i := int64(1); ; i++ {
				if err := t.Progress(ctx, i, 0, ""); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
		}})
		stop := b.run(q)
		b.enqueue(q, jobs.Job{Kind: "endless"})
		id := receive(b, begun, "the job").ID
		stop()
		d, err := q.Show(t.Context(), id)
		if err != nil || d.State != jobs.Waiting || d.Attempt != 0 || d.Progress == nil || d.Progress.Done < 2 {
			t.Errorf("%+v %+v %v", d, d.Progress, err)
		}
	})
}

// TestProgressFailsNothing: a database that is away, and a run that is over, do
// no harm to who reports; nor does a Task that no queue has made.
func TestProgressFailsNothing(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 10), make(chan error)
		said := make(chan error, 10)
		q.Handle("cut off", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
			begun <- t
			err := <-finish
			said <- t.Progress(ctx, 1, 2, "nobody hears it")
			return err
		}})
		b.run(q)
		b.enqueue(q, jobs.Job{Kind: "cut off"}, jobs.Job{Kind: "cut off"})
		over := receive(b, begun, "the first job")
		finish <- nil
		if err := receive(b, said, "the report"); err != nil {
			t.Error(err)
		}
		receive(b, begun, "the second job")
		if err := over.Progress(t.Context(), 7, 7, "too late"); err != nil {
			t.Error(err)
		}
		b.exec(`ALTER TABLE job RENAME TO hidden`)
		finish <- nil
		if err := receive(b, said, "the report"); err != nil {
			t.Errorf("the report failed: %v", err)
		}
		if err := (jobs.Task{}).Progress(t.Context(), 1, 1, ""); err != nil {
			t.Error(err)
		}
		boom := errors.New("boom")
		ended, end := context.WithCancelCause(t.Context())
		end(boom)
		if err := (jobs.Task{}).Progress(ended, 1, 1, ""); !errors.Is(err, boom) {
			t.Errorf("%v, want the reason why the context has ended", err)
		}
	})
}

// TestProgressOfManyTasks: each task's report is its own.
func TestProgressOfManyTasks(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		begun, finish := make(chan jobs.Task, 20), make(chan struct{})
		q.Handle("many", jobs.Handler{Workers: 10, Run: func(ctx context.Context, t jobs.Task) error {
			err := t.Progress(ctx, t.ID%1000, t.ID, string(t.Payload))
			begun <- t
			<-finish
			return err
		}})
		b.run(q)
		for i := range 10 {
			b.enqueue(q, jobs.Job{Kind: "many", Payload: i})
		}
		for range 10 {
			task := receive(b, begun, "a job")
			b.progress(q, task.ID, "its report", func(p jobs.Progress) bool {
				return p.Done == task.ID%1000 && p.Total == task.ID && p.Text == string(task.Payload)
			})
		}
		close(finish)
		b.empty()
	})
}

// TestOldRows: jobs of the form before progress was kept are jobs of this form.
func TestOldRows(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.exec(`INSERT INTO job (id, kind, unique_key, payload, state, again, attempt, max_attempts, run_at, owner, lease_until, created_at, last_error)
			VALUES (1, 'old', 'k', '7', 0, FALSE, 3, 20, 0, '', 0, 0, 'boom')`)
		q := b.queue(quick)
		if d, err := q.Show(t.Context(), 1); err != nil || d.Progress != nil || !d.Died.IsZero() || d.Attempt != 3 || d.LastError != "boom" {
			t.Errorf("%+v %v", d, err)
		}
		h, ran := collector()
		q.Handle("old", h)
		b.run(q)
		if got := receive(b, ran, "the old job"); got.ID != 1 || got.Attempt != 4 {
			t.Errorf("%+v", got)
		}
		b.empty()
	})
}
