package collect

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Collected is what a run did, or all of them.
type Collected struct {
	// Reviews were due; Layers of them were taken away from their repositories.
	Reviews int64 `json:"reviews"`
	Layers  int64 `json:"layers"`
	// Blobs lost their last holder; Bytes is their size before sealing.
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Objects were deleted from stores, those of given up uploads and of former
	// copies among them; Freed is what they took there, in bytes as stored.
	Objects int64 `json:"objects"`
	Freed   int64 `json:"freed"`
	// Held says that objects were left because of a hold.
	Held bool `json:"held,omitempty"`
}

func (c *Collected) add(d Collected) {
	c.Reviews += d.Reviews
	c.Layers += d.Layers
	c.Blobs += d.Blobs
	c.Bytes += d.Bytes
	c.Objects += d.Objects
	c.Freed += d.Freed
	c.Held = c.Held || d.Held
}

// Run is one run of the collector.
type Run struct {
	Started time.Time `json:"started"`
	// Seen is when it was last heard of.
	Seen time.Time `json:"seen"`
	// Ended is zero while it runs, and for ever if its node was killed.
	Ended time.Time `json:"ended,omitzero"`
	Collected
	// Error is what failed, "" if nothing did.
	Error string `json:"error,omitempty"`
}

const (
	// keptRuns is how many runs are remembered: at the usual period, a day's.
	keptRuns = 150
	maxError = 2000
)

// running is a run under way, and its row.
type running struct {
	s      *Service
	id     int64
	report func(Run)

	mu  sync.Mutex
	run Run
}

// Run reviews every digest whose grace period is over and deletes the objects
// that nobody needs any more. It runs beside pushes and pulls, on any number of
// nodes. One item's failure does not stop the others; all failures come back
// joined. report, if not nil, is called with every page that is done.
func (s *Service) Run(ctx context.Context, report func(Run)) (Collected, error) {
	now := s.Clock.Now()
	r := &running{s: s, id: sqldb.NewID(), report: report, run: Run{Started: now, Seen: now}}
	if err := r.begin(ctx); err != nil {
		return Collected{}, err
	}
	failed := errors.Join(s.reviewAll(ctx, r), s.empty(ctx, r), ctx.Err())
	failed = errors.Join(failed, r.end(ctx, failed))
	c := r.run.Collected
	if c != (Collected{}) {
		s.Log.InfoContext(ctx, "layers were collected", "reviews", c.Reviews, "layers", c.Layers, "blobs", c.Blobs, "bytes", c.Bytes,
			"objects", c.Objects, "freed", c.Freed, "held", c.Held)
	}
	return c, failed
}

func (r *running) begin(ctx context.Context) error {
	return r.s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO layer_collection (id, started_at, seen_at, ended_at, reviews, layers, blobs, bytes, objects, freed, held, error)
			VALUES ($1, $2, $2, 0, 0, 0, 0, 0, 0, 0, FALSE, '')`, r.id, r.run.Started.UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM layer_collection WHERE id IN (SELECT id FROM layer_collection ORDER BY id DESC LIMIT 1000 OFFSET $1)`, int64(keptRuns))
		return err
	})
}

func (r *running) add(ctx context.Context, did Collected) error {
	return r.addWith(ctx, did, func(*sqldb.Tx) error { return nil })
}

// addWith counts what was done, in the run's row and in the sum of all, in the
// transaction of do.
func (r *running) addWith(ctx context.Context, did Collected, do func(tx *sqldb.Tx) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := r.run
	next.add(did)
	next.Seen = r.s.Clock.Now()
	err := r.s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := do(tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE layer_collection SET seen_at = $2, reviews = $3, layers = $4, blobs = $5, bytes = $6, objects = $7, freed = $8, held = $9 WHERE id = $1`,
			r.id, next.Seen.UnixMicro(), next.Reviews, next.Layers, next.Blobs, next.Bytes, next.Objects, next.Freed, next.Held); err != nil {
			return err
		}
		// The sum comes last: all nodes want its row.
		_, err := tx.Exec(ctx, `INSERT INTO layer_collection_total (id, since, reviews, layers, blobs, bytes, objects, freed) VALUES (1, $1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO UPDATE SET reviews = layer_collection_total.reviews + excluded.reviews, layers = layer_collection_total.layers + excluded.layers,
				blobs = layer_collection_total.blobs + excluded.blobs, bytes = layer_collection_total.bytes + excluded.bytes,
				objects = layer_collection_total.objects + excluded.objects, freed = layer_collection_total.freed + excluded.freed`,
			r.run.Started.UnixMicro(), did.Reviews, did.Layers, did.Blobs, did.Bytes, did.Objects, did.Freed)
		return err
	})
	if err != nil {
		return err
	}
	r.run = next
	if r.report != nil {
		r.report(next)
	}
	return nil
}

func (r *running) end(ctx context.Context, failure error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.Ended = r.s.Clock.Now()
	r.run.Seen = r.run.Ended
	if failure != nil {
		r.run.Error = failure.Error()
		if len(r.run.Error) > maxError {
			r.run.Error = r.run.Error[:maxError]
		}
	}
	return r.s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE layer_collection SET ended_at = $2, seen_at = $2, error = $3 WHERE id = $1`, r.id, r.run.Ended.UnixMicro(), printable(r.run.Error))
		return err
	})
}
