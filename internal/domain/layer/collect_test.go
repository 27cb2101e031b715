package layer

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/check"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// pageSize is more than a page of reviews.
const pageSize = 200

func (w *world) collect(s *Service, want Collected) {
	w.t.Helper()
	got, err := s.Collect(context.Background())
	w.must(err)
	// What was freed is as stored, which sealing makes more.
	if want.Objects > 0 && got.Freed < want.Bytes || want.Objects == 0 && got.Freed != 0 {
		w.t.Errorf("collected %+v", got)
	}
	if got.Freed = 0; got != want {
		w.t.Errorf("collected %+v, want %+v", got, want)
	}
}

func TestCollect(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		a, b := random(70_000), random(10)
		da, db := name.SHA256(a), name.SHA256(b)

		// Pushed and never referred to.
		w.push(s, r, a)
		w.clock.Advance(24*time.Hour - time.Second)
		w.collect(s, Collected{})
		w.clock.Advance(time.Second)
		w.collect(s, Collected{Reviews: 1, Layers: 1, Blobs: 1, Bytes: 70_000, Objects: 1})
		_, err := s.Stat(t.Context(), r, da)
		w.wantCode(err, errs.LayersNotFound)

		// Referred to by one repository and pushed to two.
		w.push(s, r, a)
		w.push(s, other, a)
		w.push(s, r, b)
		id, err := w.image(s, r, "type", da, db)
		w.must(err)
		second, err := w.image(s, r, "type", db)
		w.must(err)
		w.clock.Advance(24 * time.Hour)
		w.collect(s, Collected{Reviews: 3, Layers: 1})
		w.holds(s, r, a)
		w.wantCode(s.Delete(t.Context(), r, da), errs.LayerReferenced)

		// The image goes; the layer that another image has stays.
		w.must(w.dropImage(s, r, id, da, db))
		w.collect(s, Collected{})
		w.holds(s, r, a)
		w.clock.Advance(24 * time.Hour)
		w.collect(s, Collected{Reviews: 2, Layers: 1, Blobs: 1, Bytes: 70_000, Objects: 1})
		w.holds(s, r, b)

		// The other image goes and comes back in time.
		w.must(w.dropImage(s, r, second, db))
		w.clock.Advance(23 * time.Hour)
		w.push(s, r, b) // begins the grace period anew
		w.clock.Advance(23 * time.Hour)
		w.collect(s, Collected{})
		_, err = w.image(s, r, "type", db)
		w.must(err)
		w.clock.Advance(2 * time.Hour)
		w.collect(s, Collected{Reviews: 1})
		w.holds(s, r, b)
		w.clock.Advance(100 * time.Hour)
		w.collect(s, Collected{})
		w.sound(s)
	})
}

// Whoever asks for a layer that nothing refers to has half of the grace period
// to push the image.
func TestAskingKeeps(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		s, r := w.node(), w.repo("app", "")
		b := random(10)
		d := w.push(s, r, b).Digest
		w.clock.Advance(11 * time.Hour)
		for range 5 {
			_, err := s.Stat(t.Context(), r, d)
			w.must(err)
			w.clock.Advance(12 * time.Hour)
			w.collect(s, Collected{})
		}
		got, err := s.Check(t.Context(), r, []name.Digest{d, name.SHA256(nil)})
		w.must(err)
		if len(got) != 1 {
			t.Errorf("got %v", got)
		}
		w.clock.Advance(12 * time.Hour)
		w.collect(s, Collected{})
		w.clock.Advance(12 * time.Hour)
		w.collect(s, Collected{Reviews: 1, Layers: 1, Blobs: 1, Bytes: 10, Objects: 1})
	})
}

func TestDelete(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		b := random(70_000)
		d := w.push(s, r, b).Digest
		w.must(s.Delete(ctx, r, d))
		w.wantCode(s.Delete(ctx, r, d), errs.LayersNotFound)
		_, err := read(s, r, d)
		w.wantCode(err, errs.LayersNotFound)
		// Pushed again within the grace period: the same object serves.
		object := w.objects()
		w.clock.Advance(23 * time.Hour)
		w.push(s, r, b)
		if !slices.Equal(object, w.objects()) {
			t.Errorf("objects %q, before %q", w.objects(), object)
		}
		w.must(s.Delete(ctx, r, d))
		w.clock.Advance(25 * time.Hour)
		w.collect(s, Collected{Reviews: 1, Blobs: 1, Bytes: 70_000, Objects: 1})
		w.push(s, r, b)
		w.holds(s, r, b)
		w.sound(s)
	})
}

func TestReleaseRepository(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r, other := w.node(), w.repo("app", ""), w.repo("other", "")
		shared, own := random(10), random(20)
		w.push(s, r, shared)
		w.push(s, other, shared)
		w.push(s, r, own)
		for _, repo := range []struct {
			id int64
			ds []name.Digest
		}{{r.ID, []name.Digest{name.SHA256(own), name.SHA256(shared)}}} {
			_, err := w.image(s, r, "type", repo.ds...)
			w.must(err)
		}
		_, err := w.image(s, other, "type", name.SHA256(shared))
		w.must(err)
		w.clock.Advance(48 * time.Hour)
		w.collect(s, Collected{Reviews: 3})
		w.must(w.durable.Update(ctx, func(tx *sqldb.Tx) error {
			if err := s.ReleaseRepositoryTx(ctx, tx, r.ID); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, `DELETE FROM repository WHERE id = $1`, r.ID)
			return err
		}))
		w.collect(s, Collected{})
		w.clock.Advance(24 * time.Hour)
		w.collect(s, Collected{Reviews: 2, Blobs: 1, Bytes: 20, Objects: 1})
		w.holds(s, other, shared)
		w.sound(s)
	})
}

// What cannot be deleted now is deleted later and holds up nothing else.
func TestCollectGoesOn(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		for i := range pageSize + 50 {
			w.push(s, r, []byte{byte(i), byte(i >> 8)})
		}
		w.clock.Advance(24 * time.Hour)
		stuck := w.objects()[0]
		ill := w.node()
		ill.store = func(name.Region) (blobstore.Store, bool) { return &stuckStore{w.store, stuck}, true }
		got, err := ill.Collect(ctx)
		if !errors.Is(err, errStuck) || got.Blobs != pageSize+50 || got.Objects != pageSize+49 {
			t.Errorf("collected %+v, %v", got, err)
		}
		if left := w.objects(); !slices.Equal(left, []string{stuck}) {
			t.Errorf("objects %q", left)
		}
		// A node without the region's store leaves the row alone.
		blind := w.node()
		blind.store = func(name.Region) (blobstore.Store, bool) { return nil, false }
		w.collect(blind, Collected{})
		w.collect(s, Collected{Objects: 1})
		w.sound(s)
	})
}

var errStuck = errors.New("the object is stuck")

type stuckStore struct {
	blobstore.Store
	key string
}

func (s *stuckStore) Delete(ctx context.Context, key string) error {
	if key == s.key {
		return errStuck
	}
	return s.Store.Delete(ctx, key)
}

// Should both tables name an object all the same, its bytes stay.
func TestGarbageNeverTakesABlob(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		s, r := w.node(), w.repo("app", "")
		b := random(10)
		w.push(s, r, b)
		w.exec(`INSERT INTO garbage (region, object_key, due_at) VALUES ($1, $2, 0)`, string(testRegion), w.objects()[0])
		_, err := s.Collect(t.Context())
		if !errors.Is(err, collect.ErrNamed) {
			t.Errorf("got %v", err)
		}
		w.holds(s, r, b)
	})
}

func TestVerify(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		s, r := w.node(), w.repo("app", "")
		store := w.store.(*memory.Store)
		for i := range pageSize + 10 {
			w.push(s, r, []byte{byte(i), byte(i >> 8)})
		}
		if got := w.problems(s); len(got) != 0 {
			t.Fatalf("a sound registry: %+v", got)
		}
		objectOf := func(b []byte) string {
			var k string
			w.must(w.durable.View(ctx, func(tx *sqldb.Tx) error {
				return tx.QueryRow(ctx, `SELECT object_key FROM blob WHERE digest = $1`, string(name.SHA256(b))).Scan(&k)
			}))
			return k
		}
		missing, short, wrong, away := random(10), random(10), random(10), random(10)
		for _, b := range [][]byte{missing, short, wrong, away} {
			w.push(s, r, b)
		}
		w.must(store.Delete(ctx, objectOf(missing)))
		w.must(store.Damage(objectOf(short), func(b []byte) []byte { return b[:9] }))
		w.must(store.Damage(objectOf(wrong), func(b []byte) []byte { return append(bytes.Clone(b[1:]), b[0]+1) }))
		w.exec(`UPDATE blob SET region = 'us-east-1' WHERE object_key = $1`, objectOf(away))
		id := w.start(s, r)
		_, err := s.Append(ctx, r, id, Unannounced(), bytes.NewReader([]byte("unfinished")))
		w.must(err)
		for _, k := range []string{"stray", "waits"} {
			o, err := store.Create(ctx, k, blobstore.Placement{})
			w.must(err)
			_, err = o.Commit(ctx)
			w.must(err)
		}
		w.exec(`INSERT INTO garbage (region, object_key, due_at) VALUES ($1, 'waits', 0)`, string(testRegion))

		found := map[check.ProblemKind][]string{}
		var done, total, doneBytes, totalBytes int64
		w.must(s.Checker().Verify(ctx, check.Options{
			Regions: []name.Region{testRegion},
			Progress: func(a, b, c, d int64) {
				if a != done+1 {
					t.Errorf("progress from %d to %d", done, a)
				}
				done, total, doneBytes, totalBytes = a, b, c, d
			},
			Report: func(p check.Problem) {
				if p.Serious() != (p.Account != "") || p.Serious() != (p.Digest != "") {
					t.Errorf("got %+v", p)
				}
				found[p.Kind] = append(found[p.Kind], p.ObjectKey)
			},
		}))
		want := map[check.ProblemKind][]string{
			check.ObjectMissing: {objectOf(missing)}, check.ObjectDamaged: {objectOf(short)}, check.DigestWrong: {objectOf(wrong)}, check.RegionUnserved: {objectOf(away)},
			check.ObjectUnreferenced: {"stray"}, check.ObjectGarbage: {"waits"}, check.UploadUnfinished: {w.unfinished(id)},
		}
		if !reflect.DeepEqual(found, want) {
			t.Errorf("got %v\nwant %v", found, want)
		}
		if done != pageSize+14 || total != done || doneBytes != totalBytes || doneBytes != 2*(pageSize+10)+40 {
			t.Errorf("progress %d of %d, %d of %d bytes", done, total, doneBytes, totalBytes)
		}
		// Reading a damaged layer says so to the log, and gives no wrong bytes
		// where the store can tell.
		_, err = read(s, r, name.SHA256(short))
		w.wantCode(err, errs.Internal)
		_, err = read(s, r, name.SHA256(missing))
		w.wantCode(err, errs.Internal)
		if n := bytes.Count(w.logged.Bytes(), []byte("run fsck")); n != 2 {
			t.Errorf("%d entries in the log:\n%s", n, w.logged)
		}
	})
}

// A registry that is in use has no findings.
func TestVerifyWhileServing(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		s, r := w.node(), w.repo("app", "")
		s.grace = time.Microsecond
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := push(context.Background(), s, r, random(10)); err != nil {
					t.Error(err)
				}
				w.clock.Advance(time.Second)
				if _, err := s.Collect(context.Background()); err != nil {
					t.Error(err)
				}
			}
		}()
		for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
			w.sound(s)
		}
		close(stop)
		<-stopped
	})
}

// The periodic work runs from the queue.
func TestJobs(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q := jobs.New(w.durable, w.clock, w.log, jobs.Options{Poll: 10 * time.Millisecond})
		s := New(Config{
			Durable: w.durable, Volatile: w.volatile, Repositories: w.repositories, Clock: w.clock, Log: w.log, Quotas: quota.Fixed(w.limits), Jobs: q,
			Store: func(name.Region) (blobstore.Store, bool) { return w.store, true },
			Grace: time.Hour, UploadLife: 2 * time.Hour,
		})
		r := w.repo("app", "")
		w.push(s, r, random(10))
		_, err := s.Append(ctx, r, w.start(s, r), Unannounced(), bytes.NewReader(random(10)))
		w.must(err)
		ended := make(chan error, 1)
		go func() { ended <- q.Run(ctx) }()
		for tries := 0; len(w.objects()) > 0; tries++ {
			if tries == 500 {
				t.Fatalf("objects %q are left", w.objects())
			}
			time.Sleep(10 * time.Millisecond)
			w.clock.Advance(time.Minute)
		}
		cancel()
		w.must(<-ended)
	})
}
