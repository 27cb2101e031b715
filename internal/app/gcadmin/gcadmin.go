// Package gcadmin is what the administration socket does with the garbage
// collection: how it stands, and a run at once.
//
// It holds no rules of its own; those are in domain/layer/collect and
// domain/layer/reconcile. App gives it its routes.
package gcadmin

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/reconcile"
)

// Service does it.
type Service struct{ Layers *layer.Service }

// Status is how the collection stands, on all nodes together.
type Status struct {
	collect.Stats
	Runs []collect.Run `json:"runs"` // the last ones, the newest first
	// LiveHolds keep the garbage.
	LiveHolds []collect.HoldInfo `json:"liveHolds"`
	// Reconciliation is how far each region's round is.
	Reconciliation []reconcile.Round `json:"reconciliation"`
	// Findings are blobs whose objects are missing, at most shownFindings; Stats
	// counts them all.
	Findings []reconcile.Missing `json:"findings"`
}

const (
	shownRuns     = 10
	shownFindings = 100
	// progressEvery bounds how often a run reports progress.
	progressEvery = 500 * time.Millisecond
)

// Status reads it.
func (s Service) Status(ctx context.Context) (st Status, err error) {
	if st.Stats, err = s.Layers.CollectionStats(ctx); err != nil {
		return st, err
	}
	if st.Runs, err = s.Layers.Collector().Runs(ctx, shownRuns); err != nil {
		return st, err
	}
	if st.LiveHolds, err = s.Layers.Collector().Holds(ctx); err != nil {
		return st, err
	}
	if st.Reconciliation, err = s.Layers.Reconciler().Rounds(ctx); err != nil {
		return st, err
	}
	st.Findings, err = s.Layers.Reconciler().Findings(ctx, "", shownFindings)
	// "[]" in JSON
	st.Runs, st.LiveHolds = append([]collect.Run{}, st.Runs...), append([]collect.HoldInfo{}, st.LiveHolds...)
	st.Reconciliation, st.Findings = append([]reconcile.Round{}, st.Reconciliation...), append([]reconcile.Missing{}, st.Findings...)
	return st, err
}

// Request asks for a run.
type Request struct {
	// Reconcile compares the stores with the rows first, in a whole round.
	Reconcile bool `json:"reconcile,omitempty"`
}

// Line is one line of a run's report: progress of the comparison or of the
// collection, or the end (Sum or Error).
type Line struct {
	Reconcile *reconcile.Round `json:"reconcile,omitempty"`
	Collect   *collect.Run     `json:"collect,omitempty"`
	Sum       *Sum             `json:"sum,omitempty"`
	Error     string           `json:"error,omitempty"`
}

// Sum is what a run did.
type Sum struct {
	collect.Collected
	// Rounds are the comparisons that were asked for.
	Rounds []reconcile.Round `json:"rounds,omitempty"`
	// Missing are blobs whose objects are not there, of all rounds so far.
	Missing int64 `json:"missing"`
}

// Run collects now, beside the periodic work, and reports through line; it always
// ends with a Sum or an Error.
func (s Service) Run(ctx context.Context, in Request, line func(Line)) {
	var sum Sum
	last := time.Now()
	due := func() bool {
		ok := time.Since(last) >= progressEvery
		if ok {
			last = time.Now()
		}
		return ok
	}
	var err error
	if in.Reconcile {
		rounds := map[string]reconcile.Round{}
		err = s.Layers.Reconciler().Run(ctx, reconcile.Options{Full: true, Report: func(r reconcile.Round) {
			rounds[string(r.Region)] = r
			if due() {
				line(Line{Reconcile: &r})
			}
		}})
		var all []reconcile.Round
		if err == nil {
			all, err = s.Layers.Reconciler().Rounds(ctx)
		}
		for _, r := range all {
			if _, ok := rounds[string(r.Region)]; ok {
				sum.Rounds = append(sum.Rounds, r)
			}
		}
	}
	if err == nil {
		sum.Collected, err = s.Layers.CollectNow(ctx, func(r collect.Run) {
			if due() {
				line(Line{Collect: &r})
			}
		})
	}
	if err == nil {
		var stats collect.Stats
		stats, err = s.Layers.CollectionStats(ctx)
		sum.Missing = stats.Missing
	}
	if err != nil {
		line(Line{Error: err.Error()})
		return
	}
	line(Line{Sum: &sum})
}

// Routes adds the administration of the collection.
func (s Service) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /gc", func(w http.ResponseWriter, r *http.Request) {
		st, err := s.Status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(st) // the client has gone; nobody is left to tell
	})
	mux.HandleFunc("POST /gc/run", func(w http.ResponseWriter, r *http.Request) {
		var in Request
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, "not the JSON of a request: "+err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := json.NewEncoder(w)
		flush := http.NewResponseController(w)
		// A client that has gone away ends the request's context, which ends the run.
		s.Run(r.Context(), in, func(l Line) { _, _ = out.Encode(l), flush.Flush() })
	})
}
