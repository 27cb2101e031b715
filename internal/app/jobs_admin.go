package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/jobs"
)

// jobRoutes adds the administration of the job queue.
func (a *App) jobRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /jobs", adminJSON(func(r *http.Request) (any, error) { return a.jobsPage(r.Context(), r.URL.Query()) }))
	mux.HandleFunc("GET /jobs/summary", adminJSON(func(r *http.Request) (any, error) {
		all, err := a.queue.Counts(r.Context())
		if all == nil {
			all = []jobs.Count{} // "[]" in JSON
		}
		return all, err
	}))
	mux.HandleFunc("GET /jobs/{id}", adminJSON(func(r *http.Request) (any, error) {
		id, err := jobID(r.PathValue("id"))
		if err != nil {
			return nil, err
		}
		d, err := a.queue.Show(r.Context(), id)
		return d, jobRefusal(id, err)
	}))
	mux.HandleFunc("POST /jobs/retry", adminJSON(withBody(a.RetryJobs)))
	mux.HandleFunc("POST /jobs/discard", adminJSON(withBody(a.DiscardJobs)))
}

// JobsPage is a page of the jobs that were asked for.
type JobsPage struct {
	Jobs []jobs.Description `json:"jobs"`
	// After is what the next page is asked for with; 0: there is none.
	After int64 `json:"after,string,omitzero"`
}

const (
	jobsPageSize = 100
	jobsPageMost = 1000
)

// jobsPage reads a page: state, kind, after and limit as jobs.Filter has them.
func (a *App) jobsPage(ctx context.Context, in url.Values) (JobsPage, error) {
	f := jobs.Filter{Kind: in.Get("kind"), State: jobs.State(in.Get("state")), Limit: jobsPageSize}
	if all := []jobs.State{jobs.Waiting, jobs.Running, jobs.Dead}; f.State != "" && !slices.Contains(all, f.State) {
		return JobsPage{}, errs.New(errs.InvalidParameter, "%q is no state of a job: waiting, running or dead", f.State)
	}
	var err error
	if text := in.Get("after"); text != "" {
		if f.After, err = jobID(text); err != nil {
			return JobsPage{}, err
		}
	}
	if text := in.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > jobsPageMost {
			return JobsPage{}, errs.New(errs.InvalidParameter, "limit is a number from 1 to %d, not %q", jobsPageMost, text)
		}
	}
	page := JobsPage{}
	if page.Jobs, err = a.queue.List(ctx, f); err != nil {
		return JobsPage{}, err
	}
	if len(page.Jobs) == f.Limit {
		page.After = page.Jobs[f.Limit-1].ID
	}
	if page.Jobs == nil {
		page.Jobs = []jobs.Description{}
	}
	return page, nil
}

func jobID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errs.New(errs.InvalidParameter, "%q is no id of a job: an id is a number; see berth jobs list", text)
	}
	return id, nil
}

// JobsRequest names jobs to change: by their ids, or all that are dead.
type JobsRequest struct {
	IDs     []int64 `json:"ids,omitempty"`
	AllDead bool    `json:"allDead,omitempty"`
	Kind    string  `json:"kind,omitempty"` // with AllDead: only those of the kind
}

// JobsChanged says what became of each job that was named.
type JobsChanged struct {
	Changed []jobs.Description `json:"changed"` // as they are now, or were when they were discarded
	Refused []JobRefused       `json:"refused"`
}

// JobRefused is a job that stays as it is.
type JobRefused struct {
	ID     int64  `json:"id,string"`
	Reason string `json:"reason"`
}

// RetryJobs has jobs run at once, each in a transaction of its own: dead ones
// with their attempts counted anew, waiting ones before their time.
func (a *App) RetryJobs(ctx context.Context, in JobsRequest) (JobsChanged, error) {
	switch {
	case in.AllDead && len(in.IDs) > 0:
		return JobsChanged{}, errs.New(errs.InvalidParameter, "name jobs, or all that are dead, not both")
	case !in.AllDead && in.Kind != "":
		return JobsChanged{}, errs.New(errs.InvalidParameter, "a kind chooses among all dead jobs; ask for all dead ones, or name jobs by their ids alone")
	case !in.AllDead:
		return changeJobs(ctx, in.IDs, a.queue.Retry)
	}
	out := JobsChanged{Changed: []jobs.Description{}, Refused: []JobRefused{}}
	for f := (jobs.Filter{Kind: in.Kind, State: jobs.Dead, Limit: jobsPageSize}); ; {
		page, err := a.queue.List(ctx, f)
		if err != nil || len(page) == 0 {
			return out, err
		}
		ids := make([]int64, len(page))
		for i, d := range page {
			ids[i] = d.ID
		}
		some, err := changeJobs(ctx, ids, a.queue.Retry)
		out.Changed, out.Refused = append(out.Changed, some.Changed...), append(out.Refused, some.Refused...)
		if err != nil {
			return out, err
		}
		f.After = ids[len(ids)-1] // so that one which dies again at once is not taken again
	}
}

// DiscardJobs removes dead jobs.
func (a *App) DiscardJobs(ctx context.Context, in JobsRequest) (JobsChanged, error) {
	if in.AllDead || in.Kind != "" {
		return JobsChanged{}, errs.New(errs.InvalidParameter, "jobs are discarded one by one: name their ids")
	}
	return changeJobs(ctx, in.IDs, a.queue.Discard)
}

// changeJobs does one thing to each of the jobs. What is refused does not stop
// the others; a failure does.
func changeJobs(ctx context.Context, ids []int64, do func(context.Context, int64) (jobs.Description, error)) (JobsChanged, error) {
	out := JobsChanged{Changed: []jobs.Description{}, Refused: []JobRefused{}}
	if len(ids) == 0 {
		return out, errs.New(errs.InvalidParameter, "no job was named; see berth jobs list for their ids")
	}
	for _, id := range ids {
		d, err := do(ctx, id)
		refusal := jobRefusal(id, err)
		switch refused, ok := errors.AsType[*errs.Error](refusal); {
		case err == nil:
			out.Changed = append(out.Changed, d)
		case ok:
			out.Refused = append(out.Refused, JobRefused{ID: id, Reason: refused.Message})
		default:
			return out, fmt.Errorf("job %d: %w (%d jobs before it were changed)", id, err, len(out.Changed))
		}
	}
	return out, nil
}

// jobRefusal words what the queue refuses; other errors stay as they are.
func jobRefusal(id int64, err error) error {
	if other, ok := errors.AsType[*jobs.SupersededError](err); ok {
		return errs.New(errs.InvalidParameter, "job %d stays dead: job %d of the same kind and key does its work; discard it with: berth jobs discard %d", id, other.By, id)
	}
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return errs.New(errs.EntityNotFound, "no job has the id %d (a job that is done is gone); see berth jobs list", id)
	case errors.Is(err, jobs.ErrRunning):
		return errs.New(errs.InvalidParameter, "job %d is running: wait until it has ended; if its node is gone, another one takes it when its lease runs out, see berth jobs show %d", id, id)
	case errors.Is(err, jobs.ErrNotDead):
		return errs.New(errs.InvalidParameter, "job %d is not dead: only dead jobs can be discarded, see berth jobs show %d", id, id)
	}
	return err
}
