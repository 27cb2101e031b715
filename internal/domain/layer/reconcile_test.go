package layer

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer/reconcile"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// agedStore is a store whose objects were modified long before the world's clock
// says, save those that the test calls young.
type agedStore struct {
	blobstore.Store
	w     *world
	young map[string]bool
}

func (a *agedStore) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		for info, err := range a.Store.List(ctx, prefix) {
			if info.Modified = a.w.clock.Now().Add(-60 * time.Hour); a.young[info.Key] {
				info.Modified = a.w.clock.Now().Add(-51 * time.Hour)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// aged makes all objects of the world old.
func (w *world) aged() *agedStore {
	a := &agedStore{Store: w.store, w: w, young: map[string]bool{}}
	w.store = a
	w.archive = &agedStore{Store: w.archive, w: w}
	return a
}

// reconcile does a whole round and returns what it found.
func (w *world) reconcile(s *Service) reconcile.Round {
	w.t.Helper()
	w.clock.Advance(time.Second)
	w.must(s.Reconciler().Run(context.Background(), reconcile.Options{Full: true}))
	all, err := s.Reconciler().Rounds(context.Background())
	w.must(err)
	if len(all) != 1 || all[0].Region != testRegion || all[0].Pages != 256 || all[0].AllPages != 256 || all[0].Ended.IsZero() {
		w.t.Fatalf("rounds %+v", all)
	}
	return all[0]
}

// lose makes an object as one whose upload's row a power cut took.
func (w *world) lose(store blobstore.Store, b []byte) string {
	w.t.Helper()
	key := upload.NewObjectKey(testRegistry)
	o, err := store.Create(context.Background(), key, blobstore.Placement{})
	w.must(err)
	_, err = o.Write(b)
	w.must(err)
	_, err = o.Commit(context.Background())
	w.must(err)
	return key
}

func TestReconcileStrays(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		store := w.aged()
		s, r := w.node(), w.repo("app", "")
		// What has its rows: blobs here and in the archive, an upload under way, garbage.
		a, b := random(10), random(20)
		w.push(s, r, a)
		id, err := w.image(s, r, "type", w.push(s, r, b).Digest)
		w.must(err)
		w.state(s, r, id, archived, name.SHA256(b))
		w.settle(s, 1, 0)
		up := w.start(s, r)
		_, err = s.Append(ctx, r, up, Unannounced(), bytes.NewReader(a))
		w.must(err)
		waits := w.lose(w.store, a)
		w.exec(`INSERT INTO garbage (region, object_key, due_at) VALUES ($1, $2, $3)`, string(testRegion), waits, w.clock.Now().Add(time.Hour).UnixMicro())
		// What has none.
		young, old, away := w.lose(w.store, a), w.lose(w.store, b), w.lose(w.archive, b)
		store.young[young] = true
		foreign, err := w.store.Create(ctx, "123456789012/eu-west-1/aa/deeper/object", blobstore.Placement{})
		w.must(err)
		_, err = foreign.Commit(ctx)
		w.must(err)

		got := w.reconcile(s)
		if got.Objects != 8 || got.Blobs != 2 || got.Strays != 2 || got.StrayBytes < 40 {
			t.Errorf("%+v", got)
		}
		var strays []string
		w.must(w.durable.View(ctx, func(tx *sqldb.Tx) (err error) {
			strays, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT object_key FROM garbage WHERE size > 0 ORDER BY object_key`)
			return err
		}))
		if want := slices.Sorted(slices.Values([]string{old, away})); !slices.Equal(strays, want) {
			t.Errorf("garbage %q, want %q", strays, want)
		}
		if again := w.reconcile(s); again.Strays != 0 {
			t.Errorf("found again: %+v", again)
		}
		// They go after all who could name them have given up.
		w.clock.Advance(3*time.Hour + 59*time.Minute + 50*time.Second)
		w.collect(s, Collected{Objects: 1}) // the one that was garbage before
		w.clock.Advance(time.Minute)
		if got, err := s.Collect(ctx); err != nil || got.Objects != 2 || got.Freed < 40 {
			t.Errorf("collected %+v, %v", got, err)
		}
		w.stands(4, 1)
		w.holds(s, r, a)
		_, err = s.Append(ctx, r, up, Unannounced(), bytes.NewReader(b))
		w.must(err)
	})
}

// An upload that lost its row comes to its end after the reconciliation has found
// its object: it is refused, and nothing names what is deleted.
func TestReconcileBesideAPush(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		slow, reached, goOn := w.hanging("commit")
		w.aged()
		s := w.node()
		b := random(100)
		result := make(chan error, 1)
		go func() {
			_, err := push(context.Background(), slow, r, b)
			result <- err
		}()
		<-reached
		w.volatileExec(`DELETE FROM upload`)
		if got := w.reconcile(s); got.Strays != 1 {
			t.Errorf("%+v", got)
		}
		close(goOn)
		if err := <-result; err == nil {
			t.Error("the push was acknowledged")
		}
		w.push(s, r, b)
		w.clock.Advance(5 * time.Hour)
		_, err := s.Collect(ctx)
		w.must(err)
		w.holds(s, r, b)
		w.stands(1, 0)
		w.sound(s)
	})
}

func TestReconcileMissing(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		gone := random(10)
		w.push(s, r, gone)
		key := w.objects()[0]
		w.push(s, r, random(20))
		w.must(w.store.Delete(ctx, key))
		w.reconcile(s)
		found, err := s.Reconciler().Findings(ctx, "", 10)
		if err != nil || len(found) != 1 || found[0].ObjectKey != key || found[0].Digest != name.SHA256(gone) || found[0].Account != testAccount || found[0].Archived {
			t.Errorf("%+v, %v", found, err)
		}
		if st, err := s.CollectionStats(ctx); err != nil || st.Missing != 1 {
			t.Errorf("%+v, %v", st, err)
		}
		if n := bytes.Count(w.logged.Bytes(), []byte("level=ERROR")); n != 1 {
			t.Errorf("%d errors in the log", n)
		}
		if n := w.count(w.durable, `SELECT count(*) FROM blob`); n != 2 {
			t.Errorf("%d blobs", n)
		}
		// Brought back from a backup, it is no finding any more.
		o, err := w.store.Create(ctx, key, blobstore.Placement{})
		w.must(err)
		_, err = o.Commit(ctx)
		w.must(err)
		w.reconcile(s)
		if st, err := s.CollectionStats(ctx); err != nil || st.Missing != 0 {
			t.Errorf("%+v, %v", st, err)
		}
		// Nor is one whose blob is collected.
		w.must(w.store.Delete(ctx, key))
		w.reconcile(s)
		w.clock.Advance(25 * time.Hour)
		_, err = s.Collect(ctx)
		w.must(err)
		if st, err := s.CollectionStats(ctx); err != nil || st.Missing != 0 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

// A round takes a week: each run does what is due, on whichever node, and goes on
// where the last one stopped.
func TestReconcileInPieces(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		nodes := w.nodes(2)
		pages := func(s *Service) (r reconcile.Round) {
			t.Helper()
			w.must(s.Reconciler().Run(ctx, reconcile.Options{}))
			all, err := s.Reconciler().Rounds(ctx)
			w.must(err)
			return all[0]
		}
		began := w.clock.Now()
		if r := pages(nodes[0]); r.Pages != 1 || !r.Started.Equal(began) {
			t.Errorf("first %+v", r)
		}
		if r := pages(nodes[1]); r.Pages != 1 {
			t.Errorf("nothing was due: %+v", r)
		}
		for day := range 6 {
			w.clock.Advance(24 * time.Hour)
			want := int64((day+1)*256/7 + 1)
			if r := pages(nodes[day%2]); r.Pages != want || !r.Ended.IsZero() {
				t.Errorf("day %d: %+v, want %d pages", day+1, r, want)
			}
		}
		w.clock.Advance(24 * time.Hour)
		if r := pages(nodes[0]); r.Pages != 256 || r.Ended.IsZero() {
			t.Errorf("the last day: %+v", r)
		}
		if r := pages(nodes[1]); r.Pages != 1 || r.Started.Equal(began) {
			t.Errorf("the next round: %+v", r)
		}
		// Two at once do not come into each other's way.
		done := make(chan error, 2)
		for _, s := range nodes {
			go func() { done <- s.Reconciler().Run(context.Background(), reconcile.Options{Full: true}) }()
		}
		w.must(<-done)
		w.must(<-done)
		if all, err := nodes[0].Reconciler().Rounds(ctx); err != nil || all[0].Pages != 256 || all[0].Ended.IsZero() {
			t.Errorf("%+v, %v", all, err)
		}
	})
}
