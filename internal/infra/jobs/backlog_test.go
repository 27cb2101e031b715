package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/jobs"
)

func TestOverdue(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		q := b.queue(quick)
		now := b.clk.Now()
		b.enqueue(q,
			jobs.Job{Kind: "a", RunAt: now.Add(-time.Minute)}, jobs.Job{Kind: "a", RunAt: now.Add(-time.Hour)},
			jobs.Job{Kind: "b", RunAt: now.Add(time.Second)}, jobs.Job{Kind: "c"},
			jobs.Job{Kind: "dead", RunAt: now.Add(-time.Hour)}, jobs.Job{Kind: "running", RunAt: now.Add(-time.Hour)})
		b.exec(`UPDATE job SET state = 2 WHERE kind = 'dead'`)
		b.exec(`UPDATE job SET state = 1 WHERE kind = 'running'`)
		b.clk.Advance(time.Second)
		got, err := q.Overdue(t.Context())
		want := map[string]time.Duration{"a": time.Hour + time.Second, "b": 0, "c": time.Second}
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("overdue %v, %v; want %v", got, err, want)
		}
	})
}

// TestAround: what is around a task sees its end, as an error where it panicked,
// and the task runs in the context that it is given.
func TestAround(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		type key struct{}
		var mu sync.Mutex
		var seen []string
		o := quick
		o.Around = func(ctx context.Context, task jobs.Task, run func(context.Context) error) error {
			err := run(context.WithValue(ctx, key{}, task.Kind))
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, fmt.Sprintf("%s %d %t", task.Kind, task.Attempt, err != nil))
			return err
		}
		q := b.queue(o)
		for _, kind := range []string{"fails", "good", "panics"} {
			q.Handle(kind, jobs.Handler{Run: func(ctx context.Context, _ jobs.Task) error {
				switch {
				case ctx.Value(key{}) != kind:
					return nil // the list below shows it
				case kind == "fails":
					return jobs.Permanent(errors.New("no"))
				case kind == "panics":
					panic("on purpose")
				}
				return nil
			}})
			b.enqueue(q, jobs.Job{Kind: kind, MaxAttempts: 1})
		}
		b.run(q)
		want := []string{"fails 1 true", "good 1 false", "panics 1 true"}
		deadline := time.Now().Add(patience)
		for {
			mu.Lock()
			got := slices.Sorted(slices.Values(seen))
			mu.Unlock()
			if slices.Equal(got, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("seen %q, want %q", got, want)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}
