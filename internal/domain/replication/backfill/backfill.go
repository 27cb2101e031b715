// Package backfill sends the images that a registry has already to a destination
// of its replication configuration (ECR API reference, StartReplicationBackfill).
//
// A backfill is a list of images, each with one of its tags or none, that a job
// writes down page by page, and that the same job then hands to the queue of
// replications, a bounded number at a time. Whatever is written down is written
// with how far it is, in one transaction, so that a job that was killed goes on
// where it was.
//
// It does not own the configuration, the queue or the sending of an image
// (domain/replication), and it decides nothing about permissions: each image is
// authorized when it is sent.
package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The kinds of the jobs.
const (
	// Job lists the images of one backfill and feeds the queue with them.
	Job = "replication.backfill"
	// JobTend looks after all backfills once in TendEvery.
	JobTend = "replication.backfill.tend"
)

const (
	// MaxOpen is how many backfills of a registry may be in progress (API
	// reference, StartReplicationBackfill).
	MaxOpen = 10
	// Kept is how long a backfill that has ended is shown (API reference,
	// ListReplicationBackfills).
	Kept = 90 * 24 * time.Hour
	// TendEvery is how often JobTend runs.
	TendEvery = 5 * time.Minute
	// maxOutstanding bounds the images of one backfill in the queue, so that what
	// is pushed meanwhile does not wait behind all of them, and a stop is soon.
	maxOutstanding = 200
	// refillAt is how few there may be before more are fed.
	refillAt = maxOutstanding / 2
)

// Status says how far a backfill is, in ECR's words.
type Status string

// The statuses of a backfill.
const (
	// Preparing: its images are being listed.
	Preparing  Status = "PREPARING"
	InProgress Status = "IN_PROGRESS"
	// Complete: every image has been sent, or has failed.
	Complete Status = "COMPLETE"
	// Failed: it could not go on as a whole.
	Failed Status = "FAILED"
	// Stopping: images that were under way when it was stopped are not there yet.
	Stopping Status = "STOPPING"
	Stopped  Status = "STOPPED"
)

// Terminal says whether nothing can follow the status.
func (s Status) Terminal() bool { return s == Complete || s == Failed || s == Stopped }

// NotSent is the code of an image that was in the queue, and had not begun, when its
// backfill was stopped. It waits again: it has no result.
const NotSent = "NotSent"

// Backfill is one backfill.
type Backfill struct {
	// ID is a UUID.
	ID          string
	Registry    name.Registry
	Destination name.Registry
	Status      Status
	StartedAt   time.Time
	// EndedAt is zero until the status is terminal.
	EndedAt time.Time
	// FailureCode says why the backfill as a whole failed.
	FailureCode string
	// Progress is nil until all images are listed.
	Progress *Progress

	number int64
	work
}

// Progress counts the images of a backfill, each with each of its tags.
type Progress struct {
	Total, Completed, Failed int64
	// FailureCodes are those of the failed ones, each once.
	FailureCodes []string
}

// work is how far the jobs are.
type work struct {
	repository  name.Repository
	cursor      image.Cursor
	total       int64
	fed         int64
	outstanding int64
	completed   int64
	failed      int64
	codes       []string
}

// failing says that the backfill fails once what is under way has ended.
func (b Backfill) failing() bool { return b.FailureCode != "" }

// Queue is what a backfill needs of domain/replication.
type Queue interface {
	// Get reads the registry's configuration.
	Get(ctx context.Context, reg name.Registry) (replication.Configuration, error)
	// Options reads what is set for its destinations.
	Options(ctx context.Context, reg name.Registry) (map[name.Registry]replication.Options, error)
	// EnqueueTx has an image sent, with the tag unless it is "", and Service.DoneTx
	// called when that has ended. The caller holds the repository's Lock.
	EnqueueTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, destination name.Registry, d name.Digest, tag name.Tag, backfill string) error
}

var _ Queue = (*replication.Service)(nil)

// Config is what a Service stands on. Everything is needed.
type Config struct {
	DB           *sqldb.DB
	Clock        clock.Clock
	Log          *slog.Logger
	Registries   *registry.Service
	Repositories *repository.Service
	Images       *image.Service
	Jobs         *jobs.Queue
	Queue        Queue
}

// Service keeps the backfills. Its methods may be called from many goroutines and
// on many nodes at once.
type Service struct{ Config }

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	s := &Service{c}
	c.Jobs.Handle(Job, jobs.Handler{Workers: 2, Run: func(ctx context.Context, t jobs.Task) error {
		var p payload
		if err := json.Unmarshal(t.Payload, &p); err != nil {
			return jobs.Permanent(err)
		}
		return s.run(ctx, t, p)
	}})
	c.Jobs.Handle(JobTend, jobs.Handler{Run: func(ctx context.Context, _ jobs.Task) error { return s.Tend(ctx) }})
	c.Jobs.Every(JobTend, TendEvery)
	return s
}

// payload names the backfill that a job is about.
type payload struct {
	Backfill int64 `json:"backfill"`
}

// enqueue has the backfill's job run, once more if it runs already.
func (s *Service) enqueue(ctx context.Context, tx *sqldb.Tx, number int64) error {
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: Job, UniqueKey: strconv.FormatInt(number, 10), Payload: payload{number}})
}

// update runs fn in a transaction. errs.StorageFull when the database has no
// room.
func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.DB.Update(ctx, fn)
	if errors.Is(err, sqldb.ErrFull) {
		return repository.StorageFull(err)
	}
	return err
}

const columns = `id, uuid, account_id, region, to_account_id, to_region, status, started_at, ended_at, failure_code, prepared, repository_name, list_cursor, total, fed, outstanding, completed, failed, failure_codes`

func scan(row sqldb.Scanner) (Backfill, error) {
	var b Backfill
	var started, ended int64
	var prepared bool
	var codes string
	if err := row.Scan(&b.number, &b.ID, &b.Registry.Account, &b.Registry.Region, &b.Destination.Account, &b.Destination.Region, &b.Status, &started, &ended,
		&b.FailureCode, &prepared, &b.repository, &b.cursor, &b.total, &b.fed, &b.outstanding, &b.completed, &b.failed, &codes); err != nil {
		return Backfill{}, err
	}
	if err := json.Unmarshal([]byte(codes), &b.codes); err != nil {
		return Backfill{}, err
	}
	b.StartedAt = time.UnixMicro(started).UTC()
	if ended != 0 {
		b.EndedAt = time.UnixMicro(ended).UTC()
	}
	if prepared {
		b.Progress = &Progress{Total: b.total, Completed: b.completed, Failed: b.failed, FailureCodes: b.codes}
	}
	return b, nil
}

// shown leaves out what has ended too long ago, gone or not.
const shown = ` AND (ended_at = 0 OR ended_at > `

func (s *Service) keptAfter() int64 { return s.Clock.Now().Add(-Kept).UnixMicro() }

// Start begins to send the images of the registry that match its configuration to
// one of its destinations.
//
// errs.InvalidParameter for a destination that is not configured,
// errs.BackfillInProgress while another one goes to its region, whatever its
// account, and errs.LimitExceeded while MaxOpen are in progress.
func (s *Service) Start(ctx context.Context, reg, destination name.Registry) (Backfill, error) {
	configuration, err := s.Queue.Get(ctx, reg)
	if err != nil {
		return Backfill{}, err
	}
	if !slices.Contains(configuration.Destinations(), destination) {
		return Backfill{}, errs.Parameter("destination", "The destination with registry id '"+string(destination.Account)+"' in region '"+string(destination.Region)+
			"' is not in the replication configuration of the registry with id '"+string(reg.Account)+"'. Add it with PutReplicationConfiguration first.")
	}
	b := Backfill{
		ID: uuid.NewString(), Registry: reg, Destination: destination, Status: Preparing, StartedAt: s.Clock.Now().UTC().Truncate(time.Millisecond), number: sqldb.NewID(),
	}
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		// One start after the other, so that the count holds.
		if _, err := s.Registries.AddRepositoriesTx(ctx, tx, reg, 0); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO replication_backfill (id, uuid, account_id, region, to_account_id, to_region, status, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (account_id, region, to_region) WHERE ended_at = 0 DO NOTHING`,
			b.number, b.ID, string(reg.Account), string(reg.Region), string(destination.Account), string(destination.Region), string(b.Status), b.StartedAt.UnixMicro())
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.BackfillInProgress, "A replication backfill to the region '%s' is already in progress in the registry with id '%s'. Wait until it has ended, or stop it.", destination.Region, reg.Account)
		}
		var open int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM replication_backfill WHERE account_id = $1 AND region = $2 AND ended_at = 0`, string(reg.Account), string(reg.Region)).Scan(&open); err != nil {
			return err
		}
		if open > MaxOpen {
			return errs.New(errs.LimitExceeded, "The registry with id '%s' already has the maximum allowed number of replication backfills in progress which is '%d'. Wait until one of them has ended, or stop it.", reg.Account, MaxOpen)
		}
		return s.enqueue(ctx, tx, b.number)
	})
	if err != nil {
		return Backfill{}, err
	}
	return b, nil
}

// Stop ends a backfill: what has not begun is not sent, and what has is Stopping
// until it is there. One that is Stopping stays so. errs.BackfillNotFound, and
// errs.BackfillStatusInvalid for one that has ended.
func (s *Service) Stop(ctx context.Context, reg name.Registry, id string) (b Backfill, err error) {
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		if b, err = s.getTx(ctx, tx, reg, id, tx.ForUpdate()); err != nil {
			return err
		}
		if b.Status.Terminal() {
			return errs.New(errs.BackfillStatusInvalid, "The replication backfill with id '%s' in the registry with id '%s' cannot be stopped because its status is %s", id, reg.Account, b.Status)
		}
		if b.Status == Stopping {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE replication_backfill SET status = $2 WHERE id = $1`, b.number, string(Stopping)); err != nil {
			return err
		}
		if err := s.settleTx(ctx, tx, b.number); err != nil {
			return err
		}
		b, err = s.getTx(ctx, tx, reg, id, "")
		return err
	})
	return b, err
}

// settleTx ends a backfill for which nothing is left to wait for.
func (s *Service) settleTx(ctx context.Context, tx *sqldb.Tx, number int64) error {
	_, err := tx.Exec(ctx, `UPDATE replication_backfill SET ended_at = $2, status = CASE WHEN status = 'STOPPING' THEN 'STOPPED' WHEN failure_code <> '' THEN 'FAILED' ELSE 'COMPLETE' END
		WHERE id = $1 AND ended_at = 0 AND outstanding = 0 AND (status = 'STOPPING' OR failure_code <> '' OR prepared AND fed = total)`, number, s.Clock.Now().UnixMicro())
	return err
}

// getTx reads a backfill of the registry. errs.BackfillNotFound.
func (s *Service) getTx(ctx context.Context, tx *sqldb.Tx, reg name.Registry, id, lock string) (Backfill, error) {
	b, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM replication_backfill WHERE uuid = $1 AND account_id = $2 AND region = $3`+shown+`$4)`+lock,
		id, string(reg.Account), string(reg.Region), s.keptAfter()))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Backfill{}, errs.New(errs.BackfillNotFound, "The replication backfill with id '%s' does not exist in the registry with id '%s'", id, reg.Account)
	}
	return b, err
}

// List returns a page of the registry's backfills, the newest first. after is the
// next of the page before, 0 begins; next is 0 on the last page.
func (s *Service) List(ctx context.Context, reg name.Registry, after int64, limit int) (all []Backfill, next int64, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		next = 0
		condition, args := ``, []any{string(reg.Account), string(reg.Region), s.keptAfter(), limit + 1}
		if after != 0 {
			condition, args = ` AND id < $5`, append(args, after)
		}
		if all, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM replication_backfill WHERE account_id = $1 AND region = $2`+shown+`$3)`+condition+` ORDER BY id DESC LIMIT $4`, args...); err != nil {
			return err
		}
		if len(all) > limit {
			all = all[:limit]
			next = all[limit-1].number
		}
		return nil
	})
	return all, next, err
}

// Result says what became of an image with one of its tags.
type Result struct {
	Repository name.Repository
	Digest     name.Digest
	// Tag is "" for an image that had none.
	Tag name.Tag
	// Code is "" where the image has been sent.
	Code string
	// Sub are the codes of the images that an index refers to, each once. It is
	// nil for an image that is no index.
	Sub []string
}

// Outcome selects results.
type Outcome string

// The outcomes, in ECR's words.
const (
	Any       Outcome = ""
	Succeeded Outcome = "COMPLETE"
	Unable    Outcome = "FAILED"
)

// ResultQuery selects a page of results.
type ResultQuery struct {
	Outcome Outcome
	// After is the next of the page before; 0 begins.
	After int64
	// Limit is the number of results of a page, at least 1.
	Limit int
}

// Describe returns a backfill and, once its status is terminal, a page of its
// results; next is 0 on the last page. What was not sent because the backfill was
// stopped, or failed, has no result. errs.BackfillNotFound.
func (s *Service) Describe(ctx context.Context, reg name.Registry, id string, q ResultQuery) (b Backfill, results []Result, next int64, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		results, next = nil, 0
		if b, err = s.getTx(ctx, tx, reg, id, ""); err != nil || !b.Status.Terminal() {
			return err
		}
		state := `state > 1`
		switch q.Outcome {
		case Any:
		case Succeeded:
			state = `state > 1 AND state = 2`
		case Unable:
			state = `state > 1 AND state = 3`
		}
		type row struct {
			position int64
			Result
		}
		rows, err := sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (r row, err error) {
			var sub string
			if err := from.Scan(&r.position, &r.Repository, &r.Digest, &r.Tag, &r.Code, &sub); err != nil || sub == "" {
				return r, err
			}
			return r, json.Unmarshal([]byte(sub), &r.Sub)
		}, `SELECT position, repository_name, digest, tag, code, sub_codes FROM replication_backfill_item WHERE backfill_id = $1 AND `+state+` AND position > $2 ORDER BY position LIMIT $3`,
			b.number, q.After, q.Limit+1)
		if err != nil {
			return err
		}
		if len(rows) > q.Limit {
			rows = rows[:q.Limit]
			next = rows[q.Limit-1].position
		}
		for _, r := range rows {
			results = append(results, r.Result)
		}
		return nil
	})
	return b, results, next, err
}
