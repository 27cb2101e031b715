package observe

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/measured"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// results are the labels of sqldb.Result.
func results() [4]string {
	return [...]string{sqldb.Committed: "ok", sqldb.RolledBack: "rolled_back", sqldb.Canceled: "canceled", sqldb.Failed: "failed"}
}

// Database watches a database, before it is used. One that is attached already
// keeps its name.
func (o *Observer) Database(label string, db *sqldb.DB) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range o.databases {
		if d.db == db {
			return
		}
	}
	o.databases = append(o.databases, database{label, db})
	type cells struct {
		ended   [4]prometheus.Counter
		seconds prometheus.Observer
		retries prometheus.Counter
		span    string
	}
	cellsOf := func(kind string) *cells {
		c := &cells{seconds: o.m.transactionSeconds.WithLabelValues(label, kind), retries: o.m.retries.WithLabelValues(label, kind), span: "db " + kind}
		for result, named := range results() {
			c.ended[result] = o.m.transactions.WithLabelValues(label, kind, named)
		}
		return c
	}
	view, update := cellsOf("view"), cellsOf("update")
	db.Observe(func(ctx context.Context, t sqldb.Transaction) {
		c := view
		if t.Update {
			c = update
		}
		c.ended[t.Result].Inc()
		c.seconds.Observe(t.Took.Seconds())
		if t.Runs > 1 {
			c.retries.Add(float64(t.Runs - 1))
		}
		if o.cfg.Tracing.Within(ctx) {
			o.cfg.Tracing.Done(ctx, c.span, t.Begun, t.Took, t.Result == sqldb.Failed,
				attribute.String("berth.db", label), attribute.String("berth.db.result", results()[t.Result]), attribute.Int("berth.db.runs", t.Runs))
		}
	})
}

// Store watches a blob store: place is main or archive. It stands nearest to the
// medium, inside of what seals.
func (o *Observer) Store(s blobstore.Store, place string, region name.Region) blobstore.Store {
	if f, ok := s.(interface{ Free() (uint64, error) }); ok {
		o.mu.Lock()
		o.stores = append(o.stores, freeStore{place, string(region), f.Free})
		o.mu.Unlock()
	}
	w := &storeWatch{o: o, place: place, region: string(region), cells: map[measured.Op]*storeCells{},
		read: o.m.storeRead.WithLabelValues(place, string(region)), written: o.m.storeWritten.WithLabelValues(place, string(region))}
	for _, op := range measured.Ops() {
		c := &storeCells{seconds: o.m.storeSeconds.WithLabelValues(place, string(region), string(op))}
		for i, result := range storeResults() {
			c.ended[i] = o.m.storeOperations.WithLabelValues(place, string(region), string(op), result)
		}
		w.cells[op] = c
	}
	tell := measured.Tell(w.count)
	return measured.New(s, func(ctx context.Context) measured.Tell {
		if !o.cfg.Tracing.Within(ctx) {
			return tell
		}
		return func(d measured.Done) {
			w.count(d)
			w.trace(ctx, d)
		}
	})
}

// storeWatch counts what one store does.
type storeWatch struct {
	o             *Observer
	place, region string
	cells         map[measured.Op]*storeCells
	read, written prometheus.Counter
}

type storeCells struct {
	ended   [len(storeLabels{})]prometheus.Counter
	seconds prometheus.Observer
}

// storeLabels has a place for each result of an operation.
type storeLabels [6]string

// storeResults are the labels of results, by the numbers of storeResult.
func storeResults() storeLabels {
	return storeLabels{"ok", "not_found", "full", "corrupt", "canceled", "error"}
}

func storeResult(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, blobstore.ErrNotFound):
		return 1
	case errors.Is(err, blobstore.ErrFull):
		return 2
	case errors.Is(err, blobstore.ErrCorrupt):
		return 3
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return 4
	}
	return 5
}

func (w *storeWatch) count(d measured.Done) {
	c := w.cells[d.Op]
	c.ended[storeResult(d.Err)].Inc()
	c.seconds.Observe(d.Took.Seconds())
	if d.Bytes > 0 {
		if d.Op == measured.Write {
			w.written.Add(float64(d.Bytes))
		} else {
			w.read.Add(float64(d.Bytes))
		}
	}
}

func (w *storeWatch) trace(ctx context.Context, d measured.Done) {
	if !traced(d.Op) {
		return
	}
	w.o.cfg.Tracing.Done(ctx, "blobstore "+string(d.Op), d.Begun, d.Took, storeResult(d.Err) > 1,
		attribute.String("berth.store", w.place), attribute.String("berth.region", w.region),
		attribute.String("berth.store.result", storeResults()[storeResult(d.Err)]), attribute.Int64("berth.store.bytes", d.Bytes))
}

// Job is around every run of a job: jobs.Options.Around.
func (o *Observer) Job(ctx context.Context, t jobs.Task, run func(context.Context) error) error {
	begun := time.Now()
	var err error
	if o.cfg.Tracing == nil {
		err = run(ctx)
	} else {
		traced, span := o.cfg.Tracing.Job(ctx, t.Kind, t.Attempt)
		if err = run(traced); err != nil {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
	result := "ok"
	if err != nil {
		result = "failed"
	}
	o.m.jobRuns.WithLabelValues(t.Kind, result).Inc()
	o.m.jobSeconds.WithLabelValues(t.Kind).Observe(time.Since(begun).Seconds())
	return err
}
