// Package jobsadmin is what the administration socket does with the job queue: it
// reads requests, names what they mean, and words what an operator can act on.
//
// It holds no rules of its own; those are in infra/jobs. The routes stand in app.
package jobsadmin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/infra/jobs"
)

// Service does it.
type Service struct{ Queue *jobs.Queue }

// Summary counts the jobs by kind and state.
func (s Service) Summary(ctx context.Context) ([]jobs.Count, error) {
	all, err := s.Queue.Counts(ctx)
	if all == nil {
		all = []jobs.Count{} // "[]" in JSON
	}
	return all, err
}

// Show describes one job.
func (s Service) Show(ctx context.Context, text string) (jobs.Description, error) {
	id, err := parseID(text)
	if err != nil {
		return jobs.Description{}, err
	}
	d, err := s.Queue.Show(ctx, id)
	return d, refusal(id, err)
}

// Page is a page of the jobs that were asked for.
type Page struct {
	Jobs []jobs.Description `json:"jobs"`
	// After is what the next page is asked for with; 0: there is none.
	After int64 `json:"after,string,omitzero"`
}

const (
	pageSize = 100
	pageMost = 1000
)

// List reads a page: state, kind, after and limit as jobs.Filter has them.
func (s Service) List(ctx context.Context, in url.Values) (Page, error) {
	f := jobs.Filter{Kind: in.Get("kind"), State: jobs.State(in.Get("state")), Limit: pageSize}
	if all := []jobs.State{jobs.Waiting, jobs.Running, jobs.Dead}; f.State != "" && !slices.Contains(all, f.State) {
		return Page{}, errs.New(errs.InvalidParameter, "%q is no state of a job: waiting, running or dead", f.State)
	}
	var err error
	if text := in.Get("after"); text != "" {
		if f.After, err = parseID(text); err != nil {
			return Page{}, err
		}
	}
	if text := in.Get("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > pageMost {
			return Page{}, errs.New(errs.InvalidParameter, "limit is a number from 1 to %d, not %q", pageMost, text)
		}
	}
	page := Page{}
	if page.Jobs, err = s.Queue.List(ctx, f); err != nil {
		return Page{}, err
	}
	if len(page.Jobs) == f.Limit {
		page.After = page.Jobs[f.Limit-1].ID
	}
	if page.Jobs == nil {
		page.Jobs = []jobs.Description{}
	}
	return page, nil
}

func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errs.New(errs.InvalidParameter, "%q is no id of a job: an id is a number; see berth jobs list", text)
	}
	return id, nil
}

// Request names jobs to change: by their ids, or all that are dead.
type Request struct {
	IDs     []int64 `json:"ids,omitempty"`
	AllDead bool    `json:"allDead,omitempty"`
	Kind    string  `json:"kind,omitempty"` // with AllDead: only those of the kind
}

// Changed says what became of each job that was named.
type Changed struct {
	Changed []jobs.Description `json:"changed"` // as they are now, or were when they were discarded
	Refused []Refused          `json:"refused"`
}

// Refused is a job that stays as it is.
type Refused struct {
	ID     int64  `json:"id,string"`
	Reason string `json:"reason"`
}

// Retry has jobs run at once, each in a transaction of its own: dead ones
// with their attempts counted anew, waiting ones before their time.
func (s Service) Retry(ctx context.Context, in Request) (Changed, error) {
	switch {
	case in.AllDead && len(in.IDs) > 0:
		return Changed{}, errs.New(errs.InvalidParameter, "name jobs, or all that are dead, not both")
	case !in.AllDead && in.Kind != "":
		return Changed{}, errs.New(errs.InvalidParameter, "a kind chooses among all dead jobs; ask for all dead ones, or name jobs by their ids alone")
	case !in.AllDead:
		return change(ctx, in.IDs, s.Queue.Retry)
	}
	out := Changed{Changed: []jobs.Description{}, Refused: []Refused{}}
	for f := (jobs.Filter{Kind: in.Kind, State: jobs.Dead, Limit: pageSize}); ; {
		page, err := s.Queue.List(ctx, f)
		if err != nil || len(page) == 0 {
			return out, err
		}
		ids := make([]int64, len(page))
		for i, d := range page {
			ids[i] = d.ID
		}
		some, err := change(ctx, ids, s.Queue.Retry)
		out.Changed, out.Refused = append(out.Changed, some.Changed...), append(out.Refused, some.Refused...)
		if err != nil {
			return out, err
		}
		f.After = ids[len(ids)-1] // so that one which dies again at once is not taken again
	}
}

// Discard removes dead jobs.
func (s Service) Discard(ctx context.Context, in Request) (Changed, error) {
	if in.AllDead || in.Kind != "" {
		return Changed{}, errs.New(errs.InvalidParameter, "jobs are discarded one by one: name their ids")
	}
	return change(ctx, in.IDs, s.Queue.Discard)
}

// change does one thing to each of the jobs. What is refused does not stop
// the others; a failure does.
func change(ctx context.Context, ids []int64, do func(context.Context, int64) (jobs.Description, error)) (Changed, error) {
	out := Changed{Changed: []jobs.Description{}, Refused: []Refused{}}
	if len(ids) == 0 {
		return out, errs.New(errs.InvalidParameter, "no job was named; see berth jobs list for their ids")
	}
	for _, id := range ids {
		d, err := do(ctx, id)
		why := refusal(id, err)
		switch refused, ok := errors.AsType[*errs.Error](why); {
		case err == nil:
			out.Changed = append(out.Changed, d)
		case ok:
			out.Refused = append(out.Refused, Refused{ID: id, Reason: refused.Message})
		default:
			return out, fmt.Errorf("job %d: %w (%d jobs before it were changed)", id, err, len(out.Changed))
		}
	}
	return out, nil
}

// refusal words what the queue refuses; other errors stay as they are.
func refusal(id int64, err error) error {
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
