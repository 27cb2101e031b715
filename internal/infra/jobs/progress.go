package jobs

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// progressPause is how long the queue waits between two writes of what its
	// tasks report, on the machine's clock.
	progressPause = time.Second

	// maxProgressText bounds the text of a report, in bytes.
	maxProgressText = 256
)

// Progress is how far a run is, as its handler says.
type Progress struct {
	Done  int64     `json:"done"`
	Total int64     `json:"total,omitzero"` // 0: not known
	Text  string    `json:"text,omitempty"` // for people
	At    time.Time `json:"at"`             // when it was reported
}

// report holds the latest that a run has said, until it is stored.
type report struct {
	q      *Queue
	mu     sync.Mutex
	latest Progress
	said   int // how often something was reported
	stored int // what said was when the row was last written
	over   bool
}

// Progress says how far the task is, for the people who look at the queue: done
// of total, 0 where that is not known, and what is being done, of which 256
// bytes are kept. It only remembers it, so it can be called for every item: the
// queue writes the latest report of each of its tasks at most once a second,
// and the last one when the run ends.
//
// A report that cannot be stored is no failure and is not returned. The error
// is the reason why ctx has ended, if it has, so that a loop that reports can
// stop by it.
func (t Task) Progress(ctx context.Context, done, total int64, text string) error {
	if t.report != nil {
		t.report.say(done, total, text)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (r *report) say(done, total int64, text string) {
	p := Progress{Done: max(done, 0), Total: max(total, 0), Text: storable(text, maxProgressText), At: r.q.clk.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return // the run has ended, and the row says how far it came
	}
	r.latest = p
	r.said++
	select {
	case r.q.reported <- struct{}{}:
	default: // the token is there already
	}
}

// unstored returns what the row does not say yet, and what to tell wrote then.
func (r *report) unstored() (p Progress, said int, news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest, r.said, r.said != r.stored && !r.over
}

func (r *report) wrote(said int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored = said
}

// end takes no more reports, and returns what the row does not say yet.
func (r *report) end() (p Progress, news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	return r.latest, r.said != r.stored
}

// writeProgress stores what the tasks report, all of them in one transaction,
// until ctx ends. It is silent while nobody reports.
func (q *Queue) writeProgress(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-q.reported:
		}
		if err := q.storeReports(ctx); err != nil && ctx.Err() == nil {
			q.log.Debug("the progress of running jobs could not be written; trying again", "error", err)
			select {
			case q.reported <- struct{}{}:
			default: // the token is there already
			}
		}
		pause.Reset(progressPause)
	}
}

func (q *Queue) storeReports(ctx context.Context) error {
	type news struct {
		*run
		Progress
		said int
	}
	var all []news
	for _, r := range q.underWay() {
		if p, said, ok := r.task.report.unstored(); ok {
			all = append(all, news{r, p, said})
		}
	}
	if len(all) == 0 {
		return nil
	}
	// In one order, so that nodes do not lock crosswise.
	slices.SortFunc(all, func(a, b news) int { return cmp.Compare(a.task.ID, b.task.ID) })
	err := q.db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, n := range all {
			if err := setProgress(ctx, tx, n.task, q.owner, n.Progress); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, n := range all {
		n.task.report.wrote(n.said)
	}
	return nil
}

// setProgress writes what a run has reported, if the job is still the owner's.
func setProgress(ctx context.Context, tx *sqldb.Tx, t Task, owner string, p Progress) error {
	_, err := tx.Exec(ctx, `UPDATE job SET progress_done = $4, progress_total = $5, progress_text = $6, progress_at = $7`+mine,
		t.ID, owner, t.run, p.Done, p.Total, p.Text, p.At.UnixMicro())
	return err
}
