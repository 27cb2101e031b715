package jobs_test

import (
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestHint: a job that one node enqueues and only another can do is done long
// before that one would have looked.
func TestHint(t *testing.T) {
	for name, open := range map[string]func(testing.TB, string) *sqldb.DB{"direct": sqldbtest.OpenPostgres, "pooled": sqldbtest.OpenPooled} {
		t.Run(name, func(t *testing.T) {
			url := sqldbtest.PostgresURL(t)
			a, b := newBench(t, open(t, url)), newBench(t, open(t, url))
			rarely := jobs.Options{Poll: time.Hour, DrainTimeout: patience}
			first, second := a.queue(rarely), b.queue(rarely)
			h, ran := collector()
			second.Handle("elsewhere", h)
			a.run(first)
			b.run(second)
			for range 3 { // the first may be found by the look that each makes when it begins
				a.enqueue(first, jobs.Job{Kind: "elsewhere"})
				receive(b, ran, "the job of the other node")
			}
			// Of a burst none is left behind.
			burst := make([]jobs.Job, 50)
			for i := range burst {
				burst[i] = jobs.Job{Kind: "elsewhere", Payload: i}
			}
			for _, j := range burst {
				a.enqueue(first, j)
			}
			for range burst {
				receive(b, ran, "a job of the burst")
			}
		})
	}
}
