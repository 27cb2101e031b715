package layer

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// named lists the objects that blobs name: what a backup's snapshot has.
func (w *world) named() []string {
	w.t.Helper()
	var all []string
	w.must(w.durable.View(context.Background(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(context.Background(), tx, sqldb.One[string], `SELECT object_key FROM blob ORDER BY object_key`)
		return err
	}))
	return all
}

// wants fails the test if one of the objects is in neither place.
func (w *world) wants(keys []string) {
	w.t.Helper()
	there := map[string]bool{}
	for _, store := range []blobstore.Store{w.store, w.archive} {
		for info, err := range store.List(context.Background(), "") {
			w.must(err)
			there[info.Key] = true
		}
	}
	for _, k := range keys {
		if !there[k] {
			w.t.Errorf("the object %s of a snapshot is gone while the hold lives", k)
		}
	}
}

// Everything that deletes objects waits while a hold lives, on all nodes.
func TestHold(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, other, r := w.node(), w.node(), w.repo("app", "")
		a, b := random(70_000), random(100)
		w.push(s, r, a)
		id, err := w.image(s, r, "type", w.push(s, r, b).Digest)
		w.must(err)
		_, err = other.Hold(ctx, "backup", 30*time.Hour)
		w.wantCode(err, errs.InvalidParameter)
		h, err := other.Hold(ctx, "backup", 13*time.Hour)
		w.must(err)
		snapshot := w.named()

		// Collected, given up, pushed twice, moved: the objects stay.
		w.clock.Advance(12 * time.Hour)
		w.must(h.Extend(ctx))
		w.clock.Advance(12 * time.Hour)
		w.must(h.Extend(ctx))
		w.collect(s, Collected{Reviews: 2, Layers: 1, Blobs: 1, Bytes: 70_000, Held: true})
		w.push(s, r, b)
		up := w.start(s, r)
		_, err = s.Append(ctx, r, up, Unannounced(), &repeated{n: 10})
		w.must(err)
		w.must(s.Cancel(ctx, r, up))
		w.state(s, r, id, archived, name.SHA256(b))
		w.settle(s, 1, 0)
		w.collect(other, Collected{Held: true})
		w.wants(snapshot)
		w.stands(4, 1)
		if st, err := s.CollectionStats(ctx); err != nil || st.Holds != 1 || st.Garbage != 4 || st.GarbageBytes < 70_000 {
			t.Errorf("%+v, %v", st, err)
		}
		holds, err := s.Collector().Holds(ctx)
		if err != nil || len(holds) != 1 || holds[0].Owner != "backup" || holds[0].ID != h.ID {
			t.Errorf("%+v, %v", holds, err)
		}

		w.must(h.Release(ctx))
		for _, err := range []error{h.Release(ctx), h.Extend(ctx)} {
			if !errors.Is(err, collect.ErrHoldLost) {
				t.Errorf("got %v", err)
			}
		}
		got, err := s.Collect(ctx)
		w.must(err)
		if got.Objects != 4 || got.Freed < 70_000+2*100+10 || got.Held {
			t.Errorf("collected %+v", got)
		}
		w.stands(0, 1)
		w.sound(s)

		// One that is forgotten ends by itself, a little late for clocks that differ.
		h, err = s.Hold(ctx, "a backup that died", time.Hour)
		w.must(err)
		w.push(s, r, a)
		w.clock.Advance(25*time.Hour - time.Second)
		w.must(s.Delete(ctx, r, name.SHA256(a)))
		w.exec(`UPDATE layer_review SET due_at = 0`)
		if err := h.Extend(ctx); !errors.Is(err, collect.ErrHoldLost) {
			t.Errorf("got %v", err)
		}
		w.exec(`UPDATE layer_hold SET expires_at = $1`, w.clock.Now().Add(-time.Second).UnixMicro())
		if got, err := s.Collect(ctx); err != nil || !got.Held || got.Objects != 0 {
			t.Errorf("collected %+v, %v", got, err)
		}
		w.clock.Advance(time.Minute)
		if got, err := s.Collect(ctx); err != nil || got.Held || got.Objects != 1 {
			t.Errorf("collected %+v, %v", got, err)
		}
	})
}

// repeated is n bytes.
type repeated struct{ n int }

func (r *repeated) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	n := min(r.n, len(p))
	r.n -= n
	return n, nil
}

// A deletion that was claimed before the hold goes on after it: nothing that a
// snapshot names is hit by it.
func TestHoldDuringADeletion(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		w.push(s, r, random(10))
		w.clock.Advance(25 * time.Hour)
		kept := random(20)
		w.push(s, r, kept)
		reached, goOn := make(chan struct{}), make(chan struct{})
		real := w.store
		w.store = &faultyStore{Store: real, fail: func(did string) error {
			if did == "delete" {
				close(reached)
				<-goOn
			}
			return nil
		}}
		slow := w.node()
		w.store = real
		result := make(chan error, 1)
		go func() {
			_, err := slow.Collect(context.Background())
			result <- err
		}()
		<-reached
		h, err := s.Hold(ctx, "backup", time.Hour)
		w.must(err)
		snapshot := w.named()
		if len(snapshot) != 1 {
			t.Errorf("a snapshot of %q", snapshot)
		}
		w.must(s.Delete(ctx, r, name.SHA256(kept)))
		w.exec(`UPDATE layer_review SET due_at = 0`)
		close(goOn)
		w.must(<-result)
		_, err = s.Collect(ctx)
		w.must(err)
		w.wants(snapshot)
		if got := w.objects(); len(got) != 1 {
			t.Errorf("objects %q", got)
		}
		w.must(h.Release(ctx))
		w.collect(s, Collected{Objects: 1})
	})
}

// What the last runs did can be read on any node.
func TestCollectionStats(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, other, r := w.node(), w.node(), w.repo("app", "")
		if st, err := s.CollectionStats(ctx); err != nil || st != (collect.Stats{}) {
			t.Errorf("%+v, %v", st, err)
		}
		w.push(s, r, random(30))
		w.clock.Advance(time.Hour)
		w.push(s, r, random(12))
		w.clock.Advance(23 * time.Hour)
		st, err := other.CollectionStats(ctx)
		w.must(err)
		if st.Reviews != 2 || st.Due != 1 || !st.OldestDue.Equal(w.clock.Now()) {
			t.Errorf("%+v", st)
		}
		var seen []collect.Run
		began := w.clock.Now()
		_, err = s.CollectNow(ctx, func(r collect.Run) { seen = append(seen, r) })
		w.must(err)
		if len(seen) != 2 || seen[0].Reviews != 1 || seen[0].Freed != 0 || seen[1].Freed != 30 || !seen[1].Ended.IsZero() {
			t.Errorf("progress %+v", seen)
		}
		w.clock.Advance(time.Hour)
		_, err = other.Collect(ctx)
		w.must(err)
		st, err = other.CollectionStats(ctx)
		w.must(err)
		if st.Total != (Collected{Reviews: 2, Layers: 2, Blobs: 2, Bytes: 42, Objects: 2, Freed: 42}) || !st.Since.Equal(began) ||
			st.Last == nil || st.Last.Freed != 12 || !st.Last.Ended.Equal(w.clock.Now()) || st.Last.Error != "" {
			t.Errorf("%+v %+v", st, st.Last)
		}
		runs, err := s.Collector().Runs(ctx, 10)
		w.must(err)
		if len(runs) != 2 || runs[0].Freed != 12 || runs[1].Freed != 30 {
			t.Errorf("runs %+v", runs)
		}
		for range 160 {
			_, err = s.Collect(ctx)
			w.must(err)
		}
		if n := w.count(w.durable, `SELECT count(*) FROM layer_collection`); n != 150 {
			t.Errorf("%d runs are kept", n)
		}
	})
}

// Garbage of more than one batch, on two nodes at once: each object is deleted by
// one of them.
func TestTwoNodesEmpty(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		const n = 2300
		w.exec(`INSERT INTO garbage (region, object_key, due_at) WITH RECURSIVE g (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < 2300)
			SELECT 'eu-west-1', '123456789012/eu-west-1/aa/' || i, 0 FROM g`)
		got := make(chan Collected, 2)
		for range 2 {
			s := w.node()
			go func() {
				c, err := s.Collect(context.Background())
				if err != nil {
					t.Error(err)
				}
				got <- c
			}()
		}
		if a, b := <-got, <-got; a.Objects+b.Objects != n {
			t.Errorf("%d and %d objects", a.Objects, b.Objects)
		}
		if left := w.count(w.durable, `SELECT count(*) FROM garbage`); left != 0 {
			t.Errorf("%d rows are left", left)
		}
	})
}
