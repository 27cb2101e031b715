package replication_test

import (
	"context"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/replication"
)

// TestPauses: a region that cannot be reached is tried after one second, then two,
// four and so on, not only when a sweep looks.
func TestPauses(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		began := w.clk.Now()
		var tries []time.Duration
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, first: func(context.Context) error {
				w.mu.Lock()
				defer w.mu.Unlock()
				tries = append(tries, w.clk.Now().Sub(began))
				return errs.New(errs.Unavailable, "no route")
			}}
		}
		w.push("app", "v1", "one")
		w.eventually("five tries", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(tries) >= 5 })
		w.mu.Lock()
		defer w.mu.Unlock()
		if tries[4] < 15*time.Second || tries[4] > 25*time.Second {
			w.t.Errorf("the first five tries are at %v; want the pauses 1s, 2s, 4s and 8s", tries)
		}
	})
}
