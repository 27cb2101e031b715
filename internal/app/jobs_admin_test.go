package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app/jobsadmin"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// queue is the program's queue, and a worker for kinds that the program does
// not know.
type queue struct {
	t  *testing.T
	q  *jobs.Queue
	db *sqldb.DB
}

func (q queue) update(fn func(tx *sqldb.Tx) error) {
	q.t.Helper()
	if err := q.db.Update(q.t.Context(), fn); err != nil {
		q.t.Fatal(err)
	}
}

func (q queue) enqueue(all ...jobs.Job) {
	q.t.Helper()
	q.update(func(tx *sqldb.Tx) error {
		for _, j := range all {
			if err := q.q.Enqueue(q.t.Context(), tx, j); err != nil {
				return err
			}
		}
		return nil
	})
}

// work runs the jobs of a kind until the test ends.
func (q queue) work(kind string, h jobs.Handler) {
	worker := jobs.New(q.db, clock.System{}, slog.New(slog.DiscardHandler), jobs.Options{Poll: 10 * time.Millisecond, DrainTimeout: time.Millisecond})
	worker.Handle(kind, h)
	ctx, stop := context.WithCancel(context.WithoutCancel(q.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx) }()
	q.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			q.t.Error(err)
		}
	})
}

// wait asks for a job until it is as it should be.
func (a admin) wait(id int64, what string, ok func(jobs.Description) bool) jobs.Description {
	a.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var d jobs.Description
		if a.must("GET", fmt.Sprint("/jobs/", id), nil, &d); ok(d) {
			return d
		}
		if time.Now().After(end) {
			a.t.Fatalf("waited in vain for %s: %+v", what, d)
		}
	}
}

func (a admin) jobs(query string) []jobs.Description {
	a.t.Helper()
	var page jobsadmin.Page
	a.must("GET", "/jobs"+query, nil, &page)
	return page.Jobs
}

func TestJobAdministration(t *testing.T) {
	s, a := startAdmin(t)
	q := queue{t: t}
	q.q, q.db = s.App.Queue()
	if status, text := a.call("GET", "/jobs", nil, nil); status != 200 || strings.TrimSpace(text) != `{"jobs":[]}` {
		t.Errorf("none: %d %s", status, text)
	}
	if status, text := a.call("GET", "/jobs/summary", nil, nil); status != 200 || strings.TrimSpace(text) != `[]` {
		t.Errorf("none: %d %s", status, text)
	}

	finish := make(chan error)
	q.enqueue(jobs.Job{Kind: "test.work", UniqueKey: "k", Payload: map[string]int{"n": 1}}, jobs.Job{Kind: "test.later", RunAt: time.Now().Add(time.Hour)})
	q.work("test.work", jobs.Handler{Run: func(ctx context.Context, t jobs.Task) error {
		if err := t.Progress(ctx, 1, 4, "half of a half"); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-finish:
			return err
		}
	}})
	id := a.jobs("?kind=test.work")[0].ID
	d := a.wait(id, "the job to tell how far it is", func(d jobs.Description) bool { return d.Progress != nil })
	if d.State != jobs.Running || d.Node == "" || d.Lease.IsZero() || d.Progress.Total != 4 || d.Progress.Text != "half of a half" || string(d.Payload) != `{"n":1}` || d.UniqueKey != "k" {
		t.Errorf("%+v %+v", d, d.Progress)
	}
	const retry, discard = "/jobs/retry", "/jobs/discard"
	type request = jobsadmin.Request
	change := func(path string, in request) jobsadmin.Changed {
		t.Helper()
		var out jobsadmin.Changed
		a.must("POST", path, in, &out)
		return out
	}
	refusedOne := func(path string, id int64, want string) {
		t.Helper()
		if out := change(path, request{IDs: []int64{id}}); len(out.Changed) != 0 || len(out.Refused) != 1 || out.Refused[0].ID != id || !strings.Contains(out.Refused[0].Reason, want) {
			t.Errorf("%s %d: %+v, want %q", path, id, out, want)
		}
	}
	refusedOne(retry, id, fmt.Sprintf("job %d is running: wait until it has ended", id))
	refusedOne(discard, id, "only dead jobs can be discarded")
	finish <- jobs.Permanent(errors.New("the scanner knows no such format"))
	d = a.wait(id, "the job to be dead", func(d jobs.Description) bool { return d.State == jobs.Dead })
	if d.LastError != "the scanner knows no such format" || d.Died.IsZero() || d.Attempt != 1 {
		t.Errorf("%+v", d)
	}
	if out := change(retry, request{IDs: []int64{id}}); len(out.Changed) != 1 || out.Changed[0].ID != id || out.Changed[0].Attempt != 0 || len(out.Refused) != 0 {
		t.Errorf("%+v", out)
	}
	finish <- nil
	for end := time.Now().Add(30 * time.Second); len(a.jobs("?kind=test.work")) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the job did not end")
		}
	}
	gone := fmt.Sprintf("no job has the id %d (a job that is done is gone); see berth jobs list", id)
	a.refused(gone, "GET", fmt.Sprint("/jobs/", id), nil)
	refusedOne(retry, id, gone)
	refusedOne(discard, id, gone)
	later := a.jobs("?kind=test.later")[0].ID
	if out := change(retry, request{IDs: []int64{later}}); len(out.Changed) != 1 || out.Changed[0].RunAt.After(time.Now()) {
		t.Errorf("%+v", out)
	}

	for _, c := range []struct{ want, method, path string }{
		{`"x" is no id of a job`, "GET", "/jobs/x"},
		{`"x" is no id of a job`, "GET", "/jobs?after=x"},
		{`"done" is no state of a job: waiting, running or dead`, "GET", "/jobs?state=done"},
		{"from 1 to 1000", "GET", "/jobs?limit=0"},
		{"from 1 to 1000", "GET", "/jobs?limit=1001"},
		{"from 1 to 1000", "GET", "/jobs?limit=many"},
	} {
		a.refused(c.want, c.method, c.path, nil)
	}
	a.refused("no job was named", "POST", retry, request{})
	a.refused("no job was named", "POST", discard, request{})
	a.refused("not both", "POST", retry, request{IDs: []int64{1}, AllDead: true})
	a.refused("a kind chooses among all dead jobs", "POST", retry, request{IDs: []int64{1}, Kind: "x"})
	a.refused("one by one", "POST", discard, request{AllDead: true})
	a.refused("not the JSON", "POST", retry, "text")
}

// TestManyJobs: nothing is cut off, in lists and in what is done to all.
func TestManyJobs(t *testing.T) {
	s, a := startAdmin(t)
	q := queue{t: t}
	q.q, q.db = s.App.Queue()
	const n = 230
	var put []jobs.Job
	for i := range n {
		put = append(put, jobs.Job{Kind: "test.a", UniqueKey: strconv.Itoa(i)}, jobs.Job{Kind: "test.b", UniqueKey: strconv.Itoa(i)})
	}
	q.enqueue(put...)
	q.update(func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `UPDATE job SET state = 2, attempt = 20, last_error = 'boom', died_at = run_at`)
		return err
	})
	q.enqueue(jobs.Job{Kind: "test.a", UniqueKey: "7"})
	live := a.jobs("?state=waiting")
	if len(live) != 1 {
		t.Fatalf("%+v", live)
	}

	seen, pages := map[int64]bool{}, 0
	for after := int64(0); ; pages++ {
		status, text := a.call("GET", fmt.Sprintf("/jobs?state=dead&kind=test.a&limit=50&after=%d", after), nil, nil)
		var page jobsadmin.Page
		if err := json.Unmarshal([]byte(text), &page); status != 200 || err != nil {
			t.Fatalf("%d %s %v", status, text, err)
		}
		for _, d := range page.Jobs {
			if d.ID <= after || seen[d.ID] || d.Kind != "test.a" || d.State != jobs.Dead {
				t.Fatalf("%+v after %d", d, after)
			}
			seen[d.ID] = true
		}
		if after = page.After; after == 0 {
			break
		}
	}
	if len(seen) != n || pages != 4 {
		t.Errorf("%d jobs on %d pages, want %d", len(seen), pages+1, n)
	}

	var out jobsadmin.Changed
	a.must("POST", "/jobs/retry", jobsadmin.Request{AllDead: true, Kind: "test.a"}, &out)
	if len(out.Changed) != n-1 || len(out.Refused) != 1 {
		t.Fatalf("%d changed, refused: %+v", len(out.Changed), out.Refused)
	}
	stays := out.Refused[0]
	if want := fmt.Sprintf("job %d stays dead: job %d of the same kind and key does its work; discard it with: berth jobs discard %d", stays.ID, live[0].ID, stays.ID); stays.Reason != want {
		t.Errorf("%q, want %q", stays.Reason, want)
	}
	var counts []jobs.Count
	a.must("GET", "/jobs/summary", nil, &counts)
	if len(counts) != 2 || counts[0] != (jobs.Count{Kind: "test.a", Waiting: n, Dead: 1}) || counts[1] != (jobs.Count{Kind: "test.b", Dead: n}) {
		t.Errorf("%+v", counts)
	}
	out = jobsadmin.Changed{}
	a.must("POST", "/jobs/discard", jobsadmin.Request{IDs: []int64{stays.ID, live[0].ID, 1}}, &out)
	if len(out.Changed) != 1 || out.Changed[0].ID != stays.ID || len(out.Refused) != 2 {
		t.Errorf("%+v", out)
	}
	out = jobsadmin.Changed{}
	a.must("POST", "/jobs/retry", jobsadmin.Request{AllDead: true}, &out)
	if len(out.Changed) != n || len(out.Refused) != 0 {
		t.Errorf("%d changed, refused: %+v", len(out.Changed), out.Refused)
	}
	if status, text := a.call("POST", "/jobs/retry", jobsadmin.Request{AllDead: true}, nil); status != 200 || strings.TrimSpace(text) != `{"changed":[],"refused":[]}` {
		t.Errorf("%d %s", status, text)
	}
}
