package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// State is what becomes of a job next.
type State string

// The states of a job. One that is done is gone.
const (
	Waiting State = "waiting" // until its time, for the first run or another one
	Running State = "running"
	Dead    State = "dead" // nothing, until an operator decides
)

// states are the states by their numbers in the table.
var states = [...]State{Waiting, Running, Dead}

// Errors of Show, Retry and Discard.
var (
	ErrNotFound = errors.New("jobs: there is no such job")
	ErrRunning  = errors.New("jobs: the job is running")
	ErrNotDead  = errors.New("jobs: the job is not dead")
)

// SupersededError says that a dead job is not tried again, since another of the
// same kind and unique key waits or runs. That one was enqueued after the dead
// one had failed, so that it does the same work with what is known since.
type SupersededError struct {
	By int64 // the id of the other
}

// Error tells which job does the work.
func (e *SupersededError) Error() string {
	return fmt.Sprintf("jobs: the job %d of the same kind and unique key does its work", e.By)
}

// Description is all that is known of a job.
type Description struct {
	// ID is a string in JSON, where many programs read numbers of that size
	// inexactly.
	ID        int64           `json:"id,string"`
	Kind      string          `json:"kind"`
	UniqueKey string          `json:"uniqueKey,omitempty"`
	Payload   json.RawMessage `json:"payload"`
	State     State           `json:"state"`
	// Again says that the job, which runs, was enqueued anew meanwhile and will
	// run once more.
	Again bool `json:"again,omitempty"`
	// Attempt is how many runs were begun since the job was enqueued or an
	// operator had it tried again.
	Attempt     int       `json:"attempt"`
	MaxAttempts int       `json:"maxAttempts"`
	Created     time.Time `json:"created"`
	RunAt       time.Time `json:"runAt,omitzero"` // of a waiting job: not before then
	Died        time.Time `json:"died,omitzero"`  // of a dead job
	// Node is host/process/queue, and Lease until when it is spared from other
	// nodes, of a running job.
	Node      string    `json:"node,omitempty"`
	Lease     time.Time `json:"lease,omitzero"`
	LastError string    `json:"lastError,omitempty"` // of the last run that failed
	// Progress is what the present run has reported, or the last one; nil if
	// that was nothing.
	Progress *Progress `json:"progress,omitempty"`
}

// Filter chooses jobs to list; zero values choose all.
type Filter struct {
	Kind  string
	State State
	After int64 // only larger ids: the last one of the page before
	Limit int   // 0: 100, at most 1000
}

// Count is how many jobs of a kind there are in each state.
type Count struct {
	Kind    string `json:"kind"`
	Waiting int64  `json:"waiting"`
	Running int64  `json:"running"`
	Dead    int64  `json:"dead"`
}

const (
	defaultPage = 100
	maxPage     = 1000

	selectJobs = `SELECT id, kind, unique_key, payload, state, again, attempt, max_attempts, created_at, run_at, died_at, owner, lease_until,
		last_error, progress_done, progress_total, progress_text, progress_at FROM job`
)

func scanDescription(row sqldb.Scanner) (Description, error) {
	var d Description
	var p Progress
	var payload string
	var state, created, runAt, died, lease, progressAt int64
	if err := row.Scan(&d.ID, &d.Kind, &d.UniqueKey, &payload, &state, &d.Again, &d.Attempt, &d.MaxAttempts, &created, &runAt, &died, &d.Node, &lease,
		&d.LastError, &p.Done, &p.Total, &p.Text, &progressAt); err != nil {
		return Description{}, err
	}
	if state < 0 || int(state) >= len(states) {
		return Description{}, fmt.Errorf("jobs: the job %d has the unknown state %d", d.ID, state)
	}
	d.State, d.Payload, d.Created = states[state], json.RawMessage(payload), instant(created)
	switch d.State {
	case Waiting:
		d.RunAt = instant(runAt)
	case Running:
		d.Lease = instant(lease)
	case Dead:
		d.Died = instant(died)
	}
	if progressAt != 0 {
		p.At = instant(progressAt)
		d.Progress = &p
	}
	return d, nil
}

func instant(micro int64) time.Time { return time.UnixMicro(micro).UTC() }

// List returns a page of jobs in the order of their ids, which is that in which
// they were enqueued. A page that has as many as the limit may have a next one.
func (q *Queue) List(ctx context.Context, f Filter) ([]Description, error) {
	if f.Limit <= 0 {
		f.Limit = defaultPage
	}
	where, args := []string{`id > $1`}, []any{f.After}
	if f.Kind != "" {
		args = append(args, f.Kind)
		where = append(where, fmt.Sprintf(`kind = $%d`, len(args)))
	}
	if f.State != "" {
		number := slices.Index(states[:], f.State)
		if number < 0 {
			return nil, fmt.Errorf("jobs: there is no state %q", f.State)
		}
		args = append(args, number)
		where = append(where, fmt.Sprintf(`state = $%d`, len(args)))
	}
	args = append(args, min(f.Limit, maxPage))
	var page []Description
	err := q.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		page, err = sqldb.Collect(ctx, tx, scanDescription,
			selectJobs+` WHERE `+strings.Join(where, ` AND `)+fmt.Sprintf(` ORDER BY id LIMIT $%d`, len(args)), args...)
		return err
	})
	return page, err
}

// Show describes a job, or returns ErrNotFound.
func (q *Queue) Show(ctx context.Context, id int64) (d Description, err error) {
	err = q.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		d, err = describe(ctx, tx, id, "")
		return err
	})
	return d, err
}

func describe(ctx context.Context, tx *sqldb.Tx, id int64, lock string) (Description, error) {
	d, err := scanDescription(tx.QueryRow(ctx, selectJobs+` WHERE id = $1`+lock, id))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Description{}, ErrNotFound
	}
	return d, err
}

// Counts returns how many jobs there are of each kind that has any, by name.
func (q *Queue) Counts(ctx context.Context) (all []Count, err error) {
	err = q.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (c Count, err error) {
			return c, row.Scan(&c.Kind, &c.Waiting, &c.Running, &c.Dead)
		}, `SELECT kind, COUNT(CASE WHEN state = 0 THEN 1 END), COUNT(CASE WHEN state = 1 THEN 1 END), COUNT(CASE WHEN state = 2 THEN 1 END)
			FROM job GROUP BY kind ORDER BY kind`)
		return err
	})
	return all, err
}

// Retry has a job run at once, and returns it as it then is. A dead one begins
// to count its attempts anew; it keeps its last error until it has run. A
// waiting one, put off by a failure or by who enqueued it, keeps its count.
//
// It returns ErrNotFound, ErrRunning, or for a dead job a SupersededError.
func (q *Queue) Retry(ctx context.Context, id int64) (Description, error) {
	for tries := 1; ; tries++ {
		d, err := q.retry(ctx, id)
		// The same work was enqueued between the look and the change.
		if !sqldb.IsUnique(err) || tries == 5 {
			return d, err
		}
	}
}

func (q *Queue) retry(ctx context.Context, id int64) (d Description, err error) {
	err = q.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
		if d, err = describe(ctx, tx, id, tx.ForUpdate()); err != nil {
			return err
		}
		now := q.clk.Now().UnixMicro()
		switch d.State {
		case Running:
			return ErrRunning
		case Waiting:
			_, err = tx.Exec(ctx, `UPDATE job SET run_at = $2 WHERE id = $1 AND run_at > $2`, id, now)
		case Dead:
			if err := notSuperseded(ctx, tx, d); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `UPDATE job SET state = 0, attempt = 0, died_at = 0, run_at = $2 WHERE id = $1`, id, now)
		}
		if err != nil {
			return err
		}
		tx.AfterCommit(q.wakeUp)
		d, err = describe(ctx, tx, id, "")
		return err
	})
	return d, err
}

func notSuperseded(ctx context.Context, tx *sqldb.Tx, d Description) error {
	if d.UniqueKey == "" {
		return nil
	}
	var other int64
	err := tx.QueryRow(ctx, `SELECT id FROM job WHERE kind = $1 AND unique_key = $2 AND unique_key <> '' AND state < 2`, d.Kind, d.UniqueKey).Scan(&other)
	switch {
	case errors.Is(err, sqldb.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return &SupersededError{By: other}
}

// Discard removes a dead job, and returns what it was. It returns ErrNotFound
// or ErrNotDead.
func (q *Queue) Discard(ctx context.Context, id int64) (d Description, err error) {
	err = q.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
		if d, err = describe(ctx, tx, id, tx.ForUpdate()); err != nil {
			return err
		}
		if d.State != Dead {
			return ErrNotDead
		}
		_, err = tx.Exec(ctx, `DELETE FROM job WHERE id = $1`, id)
		return err
	})
	if err == nil {
		q.log.InfoContext(ctx, "a dead job was discarded", "kind", d.Kind, "job", d.ID, "attempt", d.Attempt, "died", d.Died)
	}
	return d, err
}
