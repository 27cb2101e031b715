package replication_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func TestBackfillItems(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		img := w.push("app", "v1", "one")
		lost := w.push("app", "v2", "two")
		w.put(home, to(away))
		fill := "fill"
		add := func(dest name.Registry, d name.Digest, tag name.Tag) {
			w.t.Helper()
			w.must(w.db.Update(ctx, func(tx *sqldb.Tx) error {
				r, err := w.repositories.Lock(ctx, tx, w.repositoryTx(ctx, tx))
				if err != nil {
					return err
				}
				return w.EnqueueTx(ctx, tx, r, dest, d, tag, fill)
			}))
		}
		fill = "stopped" // before its turn came
		add(away, img.Digest, "v1")
		w.settle()
		w.status("app", img.Digest, "")
		w.has(away, "app")
		fill = "fill"
		add(away, img.Digest, "v1")
		w.settle()
		w.status("app", img.Digest, "111111111111/us-east-1 COMPLETE")
		w.has(away, "app", at("v1", img))
		_, _, err := w.images.Delete(ctx, w.repo(home, "app"), []image.Ref{{Digest: lost.Digest}})
		w.must(err)
		add(away, lost.Digest, "v2")
		add(third, img.Digest, "v1")
		w.settle()
		w.mu.Lock()
		defer w.mu.Unlock()
		var got []string
		for _, d := range w.done {
			got = append(got, fmt.Sprintf("%s %s %s %s:%s %s", d.Backfill, d.Source, d.Destination, d.Repository, d.Tag, d.Code))
		}
		slices.Sort(got)
		equal(w.t, "done", got, []string{
			"fill 111111111111/eu-west-1 111111111111/us-east-1 app:v1 ", "fill 111111111111/eu-west-1 111111111111/us-east-1 app:v2 ImageNotFound",
			"fill 111111111111/eu-west-1 111111111111/us-west-2 app:v1 DestinationRemoved",
			"stopped 111111111111/eu-west-1 111111111111/us-east-1 app:v1 NotSent",
		})
	})
}

func (w *world) repositoryTx(ctx context.Context, tx *sqldb.Tx) repository.Repository {
	r, err := w.repositories.GetTx(ctx, tx, home, "app")
	w.must(err)
	return r
}

func TestDroppedAndGone(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		w.put(home, to(away))
		held := make(chan struct{})
		var sending atomic.Int32
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, first: func(context.Context) error { sending.Add(1); <-held; return nil }}
		}
		w.push("app", "latest", "one")
		second := w.push("app", "latest", "two")
		w.push("gone", "latest", "one")
		w.push("gone", "latest", "two")
		w.eventually("both lanes to be under way", func() bool { return sending.Load() == 2 })
		w.put(home, replication.Configuration{})
		_, err := w.repositories.Delete(ctx, home, "gone", true, func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
			return w.layers.ReleaseRepositoryTx(ctx, tx, r.ID)
		})
		w.must(err)
		close(held)
		w.settle()
		w.status("app", second.Digest, "")
		if w.tagsIn(away, "app")[at("latest", second)] {
			w.t.Error("it was copied all the same")
		}
		if n := w.count(`SELECT count(*) FROM replication_status`); n != 1 {
			w.t.Errorf("%d statuses are left", n)
		}
	})
}

func TestTidy(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		w.must(w.SetOptions(w.t.Context(), home, away, replication.Options{Deletes: true}))
		w.push("app", "v1", "one")
		gone := w.push("app", "v2", "two")
		w.settle()
		_, _, err := w.images.Delete(w.t.Context(), w.repo(home, "app"), []image.Ref{{Digest: gone.Digest}})
		w.must(err)
		w.settle()
		left := func(want int64) {
			w.t.Helper()
			w.must(w.receiver.Tidy(w.t.Context()))
			if n := w.count(`SELECT count(*) FROM replication_guard`); n != want {
				w.t.Errorf("%d guards are left, want %d", n, want)
			}
		}
		left(4)
		w.clk.Advance(91 * 24 * time.Hour)
		left(2)
	})
}
