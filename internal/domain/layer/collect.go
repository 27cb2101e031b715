package layer

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/reconcile"
	"github.com/berth-registry/berth/internal/infra/jobs"
)

// The periodic work.
const (
	JobCollect   = "layer.collect"
	JobExpire    = "layer.expire"
	JobReconcile = "layer.reconcile"

	collectPeriod = 10 * time.Minute
	expirePeriod  = 10 * time.Minute
	// reconcilePeriod is how often the round of Config.ReconcileRound goes on.
	reconcilePeriod = 30 * time.Minute
	// jobLimit bounds one run; what is left waits for the next.
	jobLimit = 30 * time.Minute
)

// Collected is what a run of Collect did.
type Collected = collect.Collected

// Hold keeps all garbage from being deleted, for a backup.
type Hold = collect.Hold

func (s *Service) register(q *jobs.Queue, reconciles bool) {
	every := func(kind string, period time.Duration, run func(ctx context.Context, t jobs.Task) error) {
		q.Handle(kind, jobs.Handler{Timeout: jobLimit, Workers: 1, Run: run})
		q.Every(kind, period)
	}
	every(JobCollect, collectPeriod, func(ctx context.Context, t jobs.Task) error {
		_, err := s.collector.Run(ctx, func(r collect.Run) {
			_ = t.Progress(ctx, r.Reviews+r.Objects, 0, "reviews and objects") // the run sees for itself that ctx has ended
		})
		return err
	})
	every(JobExpire, expirePeriod, func(ctx context.Context, _ jobs.Task) error {
		_, err := s.Expire(ctx)
		return err
	})
	if !reconciles {
		return
	}
	every(JobReconcile, reconcilePeriod, func(ctx context.Context, t jobs.Task) error {
		return s.reconciler.Run(ctx, reconcile.Options{Report: func(r reconcile.Round) {
			_ = t.Progress(ctx, r.Pages, r.AllPages, "pages of "+string(r.Region)) // likewise
		}})
	})
}

// Collect reviews every digest whose grace period is over and deletes the
// objects that nobody needs any more. It runs beside pushes and pulls, on any
// number of nodes. One item's failure does not stop the others; all failures
// come back joined.
func (s *Service) Collect(ctx context.Context) (Collected, error) { return s.collector.Run(ctx, nil) }

// CollectNow is Collect, and calls report with every page that is done.
func (s *Service) CollectNow(ctx context.Context, report func(collect.Run)) (Collected, error) {
	return s.collector.Run(ctx, report)
}

// CollectionStats says how the collection stands on all nodes together: a few
// short queries, to be asked as often as every some seconds.
func (s *Service) CollectionStats(ctx context.Context) (collect.Stats, error) {
	return s.collector.Stats(ctx)
}

// Collector tells more: the last runs, and the holds that live.
func (s *Service) Collector() *collect.Service { return s.collector }

// Reconciler compares the stores with the rows.
func (s *Service) Reconciler() *reconcile.Service { return s.reconciler }

// Hold keeps every object in its store that a row of garbage names or comes to
// name, on all nodes, until it is released or life, at most collect.MaxHold, is over since it
// was begun or last extended. What the blobs of a snapshot of the durable
// database name, if it is taken after Hold returned and while the hold lives, is in
// the stores as long as the hold lives. owner is for people.
func (s *Service) Hold(ctx context.Context, owner string, life time.Duration) (Hold, error) {
	return s.collector.Hold(ctx, owner, life)
}
