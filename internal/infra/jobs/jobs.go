// Package jobs is the queue of work that outlives the request that asked for
// it: enqueued in the caller's transaction, run at least once by any node, tried
// again with growing pauses, and set aside as dead when that does not help, for
// an operator to look at (List, Show), try again (Retry) or remove (Discard).
//
// It owns the tables job and job_period. It does not know what a job does: the
// packages that own the work register a Handler for their kind. Nor does it
// decide which fact starts which job; app/subscriptions.go does.
//
// A job may run twice, when a node is killed or cut off after the work and
// before the row that says so: handlers must be idempotent. Leases compare the
// clocks of the nodes, which must agree to within a few seconds.
package jobs

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Migrations makes the queue's tables: the files in "migrations". Their numbers
// are of one order with those of domain/schema.
//
//go:embed migrations/*.sql
var Migrations embed.FS

// Job is work to enqueue.
type Job struct {
	Kind string
	// UniqueKey, if not empty, allows at most one waiting or running job of
	// that kind and key. Enqueued while the other waits, the job is that one,
	// which runs at the earlier of the two times. Enqueued while the other
	// runs, it makes that one run once more afterwards, with the newer
	// payload, so that no fact is missed.
	UniqueKey   string
	Payload     any       // written as JSON
	RunAt       time.Time // not before then; zero: now
	MaxAttempts int       // before the job is dead; 0: 20
}

// Task is a job that runs.
type Task struct {
	ID      int64
	Kind    string
	Payload json.RawMessage
	Attempt int // 1 in the first run

	run    int64 // tells this run of the job from all others
	report *report
}

// Handler does the work of one kind.
type Handler struct {
	// Run does the task. An error or a panic has it tried again later, and an
	// error that is or wraps a Permanent one has it set aside as dead. ctx ends
	// at the Timeout, when another node took the task over, and when the queue,
	// stopping, has waited long enough for it.
	Run func(ctx context.Context, t Task) error
	// Timeout bounds one run; 0: 10 minutes.
	Timeout time.Duration
	// Workers is how many tasks of the kind run at once on this node; 0: 1.
	Workers int
}

// Options tune a queue; zero values stand for the defaults.
type Options struct {
	DrainTimeout time.Duration // how long Run waits for running tasks when its ctx ends; 0: 30 s
	Poll         time.Duration // how often the tables are looked at; 0: 2 s
	Lease        time.Duration // how long a task is spared from other nodes without a sign of life; 0: 30 s
	KeepDead     time.Duration // how long a dead job is kept; 0: 30 days
	// Alone says that no other node can be on the database: what ran when this one
	// starts, was cut off, and is taken back without waiting for its lease.
	Alone bool
	// Around, where it is set, is called for every run of a task in place of the
	// handler, and has to call run, which is the handler; its error is that of the
	// task. A panic of the handler is an error by then.
	Around func(ctx context.Context, t Task, run func(context.Context) error) error
}

const (
	defaultTimeout     = 10 * time.Minute
	defaultMaxAttempts = 20
	defaultDrain       = 30 * time.Second
	defaultPoll        = 2 * time.Second
	defaultLease       = 30 * time.Second
	defaultKeepDead    = 30 * 24 * time.Hour
)

// Permanent marks the failure of a task that no later attempt can mend, so that
// its job is dead at once. It keeps the text of err, and is nil if err is.
//
// If the same unique job was enqueued meanwhile, the job runs once more all the
// same: that may be the news which mends it.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

type permanentError struct{ error }

// Unwrap gives the failure itself.
func (e *permanentError) Unwrap() error { return e.error }

// Queue enqueues jobs and, while Run runs, works on them.
type Queue struct {
	db    *sqldb.DB
	clk   clock.Clock
	log   *slog.Logger
	o     Options
	owner string // this queue among all that use the database

	kinds   map[string]*kind
	periods map[string]time.Duration

	wake     chan struct{} // holds one token when there may be something to claim
	hinted   chan struct{} // holds one token when another node says so
	news     chan struct{} // holds one token when there is something to tell other nodes
	reported chan struct{} // holds one token when a task has said how far it is

	mu      sync.Mutex
	running map[int64]*run  // by job id
	fresh   map[string]bool // kinds of which jobs were enqueued here, to tell other nodes
	tasks   sync.WaitGroup
}

// kind is a handler and how many of its workers are free.
type kind struct {
	Handler
	busy int // guarded by Queue.mu
}

// New returns a queue on the tables of db, which must have been migrated.
func New(db *sqldb.DB, clk clock.Clock, log *slog.Logger, o Options) *Queue {
	for _, d := range []struct {
		value  *time.Duration
		preset time.Duration
	}{{&o.DrainTimeout, defaultDrain}, {&o.Poll, defaultPoll}, {&o.Lease, defaultLease}, {&o.KeepDead, defaultKeepDead}} {
		if *d.value <= 0 {
			*d.value = d.preset
		}
	}
	q := &Queue{
		db: db, clk: clk, log: log, o: o, owner: newOwner(),
		kinds: map[string]*kind{}, periods: map[string]time.Duration{},
		wake: make(chan struct{}, 1), hinted: make(chan struct{}, 1), news: make(chan struct{}, 1), fresh: map[string]bool{}, reported: make(chan struct{}, 1), running: map[int64]*run{},
	}
	q.Handle(kindExpire, Handler{Run: func(ctx context.Context, _ Task) error { return q.expireDead(ctx) }})
	q.Every(kindExpire, expirePeriod)
	return q
}

// Handle has h do the jobs of a kind on this node. It is called before Run.
// Jobs of a kind that no node handles wait.
func (q *Queue) Handle(name string, h Handler) {
	if h.Timeout <= 0 {
		h.Timeout = defaultTimeout
	}
	h.Workers = max(h.Workers, 1)
	q.kinds[name] = &kind{Handler: h}
}

// Every has a job of the kind, with the payload null, enqueued once a period,
// by whichever node comes first; the first time one period after the first
// start. Periods missed while nothing ran count once. It is called before Run.
func (q *Queue) Every(name string, period time.Duration) { q.periods[name] = period }

// Enqueue adds a job in the caller's transaction: it exists if and only if that
// commits. A free worker of this node takes it at once, those of others soon
// after, by a hint; if that is lost, within their polling interval.
func (q *Queue) Enqueue(ctx context.Context, tx *sqldb.Tx, j Job) error {
	if j.Kind == "" {
		return errors.New("jobs: a job needs a kind")
	}
	payload, err := json.Marshal(j.Payload)
	if err != nil {
		return fmt.Errorf("jobs: the payload of a job of the kind %s: %w", j.Kind, err)
	}
	now := q.clk.Now()
	if j.RunAt.IsZero() {
		j.RunAt = now
	}
	if j.MaxAttempts <= 0 {
		j.MaxAttempts = defaultMaxAttempts
	}
	if err := insertJob(ctx, tx, j, string(payload), now); err != nil {
		return fmt.Errorf("jobs: enqueueing a job of the kind %s: %w", j.Kind, err)
	}
	if !j.RunAt.After(now) {
		tx.AfterCommit(func() {
			q.wakeUp()
			q.tell(j.Kind)
		})
	}
	return nil
}

func (q *Queue) wakeUp() { put(q.wake) }

// put puts the token there if it is not.
func put(token chan struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}
