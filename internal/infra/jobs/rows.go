package jobs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// maxErrorText bounds what of an error is kept in its row, in bytes.
const maxErrorText = 2048

// newOwner names a queue, with the host and the process for people. Its text is
// what guards its tasks, so it ends in what is not guessed and not repeated.
func newOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown" // the rest of the name is what counts
	}
	return fmt.Sprintf("%s/%d/%s", storable(host, 64), os.Getpid(), rand.Text())
}

func insertJob(ctx context.Context, tx *sqldb.Tx, j Job, payload string, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO job (id, kind, unique_key, payload, state, again, attempt, max_attempts, run_at, owner, lease_until, created_at, last_error)
		VALUES ($1, $2, $3, $4, 0, FALSE, 0, $5, $6, '', 0, $7, '')
		ON CONFLICT (kind, unique_key) WHERE unique_key <> '' AND state < 2 DO UPDATE SET
			again   = (job.state = 1),
			payload = CASE WHEN job.state = 1 THEN excluded.payload ELSE job.payload END,
			run_at  = CASE WHEN job.state = 0 AND job.attempt = 0 AND excluded.run_at < job.run_at THEN excluded.run_at ELSE job.run_at END`,
		sqldb.NewID(), j.Kind, j.UniqueKey, payload, j.MaxAttempts, j.RunAt.UnixMicro(), now.UnixMicro())
	return err
}

// due says what there is to do at now: which of the kinds have waiting jobs,
// whether leases have run out, and which periods are over.
type due struct {
	kinds   []string
	expired bool
	periods []periodRow
}

type periodRow struct {
	kind   string
	nextAt int64 // microseconds
}

func findDue(ctx context.Context, tx *sqldb.Tx, kinds []string, now time.Time) (due, error) {
	var d due
	for _, k := range kinds {
		var any bool
		// The first in the order of the index: PostgreSQL would look for any other by
		// reading the table, where many jobs wait for another day.
		if err := tx.QueryRow(ctx, `SELECT COALESCE(min(run_at) <= $2, FALSE) FROM job WHERE kind = $1 AND state = 0`, k, now.UnixMicro()).Scan(&any); err != nil {
			return due{}, err
		}
		if any {
			d.kinds = append(d.kinds, k)
		}
	}
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM job WHERE state = 1 AND lease_until <= $1)`, now.UnixMicro()).Scan(&d.expired); err != nil {
		return due{}, err
	}
	var err error
	d.periods, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (p periodRow, err error) {
		return p, row.Scan(&p.kind, &p.nextAt)
	}, `SELECT kind, next_at FROM job_period WHERE next_at <= $1`, now.UnixMicro())
	return d, err
}

// claim takes up to n waiting jobs of a kind for owner.
func claim(ctx context.Context, tx *sqldb.Tx, kind, owner string, n int, now, leaseUntil time.Time) ([]Task, error) {
	tasks, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Task, error) {
		t := Task{Kind: kind}
		var payload string
		err := row.Scan(&t.ID, &payload, &t.Attempt, &t.run)
		t.Payload, t.Attempt, t.run = json.RawMessage(payload), t.Attempt+1, t.run+1
		return t, err
	}, `SELECT id, payload, attempt, run FROM job WHERE kind = $1 AND state = 0 AND run_at <= $2 ORDER BY run_at, id LIMIT $3`+tx.SkipLocked(),
		kind, now.UnixMicro(), n)
	if err != nil || len(tasks) == 0 {
		return nil, err
	}
	args := []any{owner, leaseUntil.UnixMicro()}
	for _, t := range tasks {
		args = append(args, t.ID)
	}
	_, err = tx.Exec(ctx, `UPDATE job SET state = 1, attempt = attempt + 1, run = run + 1, owner = $1, lease_until = $2,
		progress_done = 0, progress_total = 0, progress_text = '', progress_at = 0 WHERE id IN `+sqldb.In(3, len(tasks)), args...)
	return tasks, err
}

// expired is a job that was taken back from its owner.
type expired struct {
	task Task
	dead bool
}

// expire makes the jobs wait again whose owners gave no sign of life, or sets
// them aside if that was their last attempt.
func expire(ctx context.Context, tx *sqldb.Tx, now time.Time) ([]expired, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (e expired, err error) {
		return e, row.Scan(&e.task.ID, &e.task.Kind, &e.task.Attempt, &e.dead)
	}, `UPDATE job SET owner = '', run_at = $1, last_error = $2, again = FALSE,
			state   = CASE WHEN attempt >= max_attempts AND NOT again THEN 2 ELSE 0 END,
			died_at = CASE WHEN attempt >= max_attempts AND NOT again THEN $1 ELSE 0 END,
			attempt = CASE WHEN again THEN 0 ELSE attempt END
		WHERE id IN (SELECT id FROM job WHERE state = 1 AND lease_until <= $1`+tx.SkipLocked()+`) AND state = 1 AND lease_until <= $1
		RETURNING id, kind, attempt, state = 2`,
		now.UnixMicro(), "the node that ran it stopped without a word")
}

// endLeases ends the leases of all running jobs, which the next look at the queue
// then takes back.
func endLeases(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `UPDATE job SET lease_until = 0 WHERE state = 1`)
	return err
}

// mine is the guard that all changes to a running job carry: it is still the
// owner's, and in the same run.
const mine = ` WHERE id = $1 AND owner = $2 AND run = $3 AND state = 1`

// complete removes a job that is done, or makes it wait again if it was
// enqueued anew meanwhile. It returns false if the job was no longer owner's.
func complete(ctx context.Context, tx *sqldb.Tx, t Task, owner string, now time.Time) (held, again bool, err error) {
	n, err := tx.Exec(ctx, `DELETE FROM job`+mine+` AND NOT again`, t.ID, owner, t.run)
	if err != nil || n == 1 {
		return n == 1, false, err
	}
	n, err = tx.Exec(ctx, `UPDATE job SET state = 0, again = FALSE, attempt = 0, owner = '', last_error = '', run_at = $4,
			progress_done = 0, progress_total = 0, progress_text = '', progress_at = 0`+mine,
		t.ID, owner, t.run, now.UnixMicro())
	return n == 1, n == 1, err
}

// failed makes a job wait until runAt, or sets it aside as dead, after the last
// attempt or when no other could help.
func failed(ctx context.Context, tx *sqldb.Tx, t Task, owner string, taskErr error, now, runAt time.Time) (held, dead bool, err error) {
	_, permanent := errors.AsType[*permanentError](taskErr)
	err = tx.QueryRow(ctx, `UPDATE job SET owner = '', run_at = $4, last_error = $5, again = FALSE,
			state   = CASE WHEN ($6 OR attempt >= max_attempts) AND NOT again THEN 2 ELSE 0 END,
			died_at = CASE WHEN ($6 OR attempt >= max_attempts) AND NOT again THEN CAST($7 AS BIGINT) ELSE 0 END,
			attempt = CASE WHEN again THEN 0 ELSE attempt END`+mine+` RETURNING state = 2`,
		t.ID, owner, t.run, runAt.UnixMicro(), storable(taskErr.Error(), maxErrorText), permanent, now.UnixMicro()).Scan(&dead)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, false, nil
	}
	return err == nil, dead, err
}

// release gives a job back that was cut off by the end of this node's work, as
// if it had not been claimed.
func release(ctx context.Context, tx *sqldb.Tx, t Task, owner string, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE job SET state = 0, again = FALSE, owner = '', run_at = $4,
			attempt = CASE WHEN again THEN 0 ELSE attempt - 1 END`+mine,
		t.ID, owner, t.run, now.UnixMicro())
	return err
}

// extend renews the leases of owner's tasks and returns those that are still
// its own, as job id and run.
func extend(ctx context.Context, tx *sqldb.Tx, owner string, ids []int64, leaseUntil time.Time) (map[int64]int64, error) {
	held := map[int64]int64{}
	for some := range slices.Chunk(ids, 100) {
		args := []any{leaseUntil.UnixMicro(), owner}
		for _, id := range some {
			args = append(args, id)
		}
		_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var id, run int64
			err := row.Scan(&id, &run)
			held[id] = run
			return struct{}{}, err
		}, `UPDATE job SET lease_until = $1 WHERE owner = $2 AND state = 1 AND id IN `+sqldb.In(3, len(some))+` RETURNING id, run`, args...)
		if err != nil {
			return nil, err
		}
	}
	return held, nil
}

// startPeriod makes the row of a periodic job, and brings it forward if its
// period has become shorter.
func startPeriod(ctx context.Context, tx *sqldb.Tx, kind string, nextAt time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO job_period (kind, next_at) VALUES ($1, $2)
		ON CONFLICT (kind) DO UPDATE SET next_at = excluded.next_at WHERE job_period.next_at > excluded.next_at`,
		kind, nextAt.UnixMicro())
	return err
}

// claimPeriod moves a period on and returns whether this node was the one to do
// so.
func claimPeriod(ctx context.Context, tx *sqldb.Tx, p periodRow, nextAt time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE job_period SET next_at = $3 WHERE kind = $1 AND next_at = $2`, p.kind, p.nextAt, nextAt.UnixMicro())
	return n == 1, err
}

// storable is a text as a row can hold it, of up to n bytes.
func storable(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}
