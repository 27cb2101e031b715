package layer

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/inline"
)

// inlined has objects of up to 100 bytes stand in their rows, sealed ones in the
// store and plain ones in the archive.
func inlined(t *testing.T, w *world) *world {
	t.Helper()
	w.store = encrypted.NewEither(inline.New(w.store, 100), testKeys(t), true)
	w.archive = inline.New(w.archive, 100)
	return w
}

// TestWithin is the life of a layer whose bytes stand in its row: there is never an
// object, nor garbage, and nothing is missed.
func TestWithin(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		inlined(t, w)
		s := w.node()
		one, two := w.repo("one", ""), w.repo("two", "")
		content := random(50)
		d := name.SHA256(content)
		w.push(s, one, content)
		w.holds(s, one, content)
		// In two requests, as docker does, and on another process.
		id := w.begin(s, two)
		_, err := s.Append(ctx, two, id, Unannounced(), bytes.NewReader(content[:20]))
		w.must(err)
		s = w.node()
		_, err = s.Complete(ctx, two, id, []name.Digest{d}, Unannounced(), bytes.NewReader(content[20:]), CompleteOptions{})
		w.must(err)
		w.holds(s, two, content)
		nothing := func(when string) {
			t.Helper()
			if got := w.objects(); len(got) != 0 {
				t.Errorf("%s there are objects: %v", when, got)
			}
			if n := w.count(w.durable, `SELECT count(*) FROM garbage`); n != 0 {
				t.Errorf("%s there are %d rows of garbage", when, n)
			}
			w.sound(s)
		}
		nothing("after two pushes")
		if n := w.count(w.durable, `SELECT count(*) FROM blob`); n != 1 {
			t.Errorf("there are %d blobs", n)
		}
		// Neither does the comparison of rows and store miss an object.
		if got := w.reconcile(s); got.Blobs != 0 || got.Objects != 0 || got.Strays != 0 {
			t.Errorf("compared %+v", got)
		}
		if n := w.count(w.durable, `SELECT count(*) FROM layer_missing`); n != 0 {
			t.Errorf("%d objects are missed", n)
		}
		// To the archive and back.
		image, err := w.image(s, one, "type", d)
		w.must(err)
		other, err := w.image(s, two, "type", d)
		w.must(err)
		for _, status := range []int{archived, active} {
			w.state(s, one, image, status, d)
			w.state(s, two, other, status, d)
			w.settle(s, int64(status), int64(1-status))
			if n := w.count(w.durable, `SELECT count(*) FROM blob WHERE archived`); n != int64(status) {
				t.Errorf("%d blobs are archived, the status is %d", n, status)
			}
		}
		w.holds(s, one, content)
		// What has gone is gone.
		w.must(w.dropImage(s, one, image, d))
		w.must(w.dropImage(s, two, other, d))
		w.clock.Advance(25 * time.Hour)
		did, err := s.Collect(ctx)
		w.must(err)
		if did.Blobs != 1 || did.Freed != 0 {
			t.Errorf("collected %+v", did)
		}
		nothing("after the collection")
		_, err = read(s, one, d)
		w.wantCode(err, errs.LayersNotFound)
	})
}

// TestBegunInMemory: an upload without bytes is in the database only after a while;
// until then, and while it is written, it is as any other.
func TestBegunInMemory(t *testing.T) {
	w := aloneWorld(t)
	ctx := context.Background()
	rows := func() int64 { return w.count(w.volatile, `SELECT count(*) FROM upload`) }
	open := func(s *Service, want int64) {
		t.Helper()
		if n, err := s.OpenUploads(ctx); err != nil || n != want {
			t.Errorf("%d uploads are open, %v; want %d", n, err, want)
		}
	}
	s := w.nodeWith(func(c *upload.Config) { c.InlineBytes = 100 })
	r, other := w.repo("app", ""), w.repo("other", "")
	b := random(30)

	// Through in one request: there never is a row.
	w.push(s, r, b)
	if n := rows(); n != 0 {
		t.Errorf("%d rows after a whole push", n)
	}
	// One is cancelled, one is asked for, in its repository and in another.
	id := w.begin(s, r)
	open(s, 1)
	_, err := s.Status(ctx, other, id)
	w.wantCode(err, errs.UploadNotFound)
	_, err = s.Append(ctx, other, id, Unannounced(), bytes.NewReader(b))
	w.wantCode(err, errs.UploadNotFound)
	u, err := s.Status(ctx, r, id)
	if err != nil || u.Received != 0 {
		t.Errorf("%+v, %v", u, err)
	}
	w.must(s.Cancel(ctx, r, id))
	for range 2 {
		_, err = s.Status(ctx, r, id)
		w.wantCode(err, errs.UploadNotFound)
		_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.wantCode(err, errs.UploadNotFound)
		w.must(s.SaveUploads(ctx))
	}
	open(s, 0)
	// One has bytes: its row is written with them, and stays as it is.
	id = w.begin(s, r)
	_, err = s.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:10]))
	w.must(err)
	w.must(s.SaveUploads(ctx))
	if u, err := s.Status(ctx, r, id); err != nil || u.Received != 10 {
		t.Errorf("%+v, %v", u, err)
	}
	// One rests, and is found by the next process: after a proper end, and after a
	// while.
	rests := w.begin(s, r)
	w.must(s.SaveUploads(ctx))
	s = w.nodeWith(func(c *upload.Config) { c.SaveAfter = time.Millisecond })
	later := w.begin(s, r)
	for deadline := time.Now().Add(time.Minute); rows() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("an upload that rests is never written")
		}
	}
	open(s, 3)
	s = w.node()
	for _, id := range []string{rests, later} {
		b := random(20)
		_, err = s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b), CompleteOptions{})
		w.must(err)
		w.holds(s, r, b)
	}
	_, err = s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b[10:]), CompleteOptions{})
	w.must(err)
	open(s, 0)
	w.sound(s)
}

// TestMoreThanMemoryHolds: however many uploads are begun, all are there.
func TestMoreThanMemoryHolds(t *testing.T) {
	w := aloneWorld(t)
	ctx := context.Background()
	s := w.node()
	r := w.repo("app", "")
	var ids []string
	for range 600 {
		ids = append(ids, w.begin(s, r))
	}
	for _, id := range ids {
		if _, err := s.Status(ctx, r, id); err != nil {
			t.Fatal(err)
		}
		w.must(s.Cancel(ctx, r, id))
	}
	if n, err := s.OpenUploads(ctx); err != nil || n != 0 {
		t.Errorf("%d uploads are open, %v", n, err)
	}
}
