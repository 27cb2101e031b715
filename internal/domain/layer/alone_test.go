package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func aloneWorld(t *testing.T) *world {
	w := newWorld(t, sqldbtest.SQLite(t), sqldbtest.SQLite(t), memory.New())
	w.alone = true
	return w
}

// Rows of finished uploads stay for a while. Neither this process nor the next one
// takes them for open ones.
func TestFinishedRowsAreRefused(t *testing.T) {
	w := aloneWorld(t)
	ctx, s, r := t.Context(), w.node(), w.repo("app", "")
	b := random(100)
	id := w.start(s, r)
	digests := []name.Digest{name.SHA256(b)}
	_, err := s.Complete(ctx, r, id, digests, Unannounced(), bytes.NewReader(b), CompleteOptions{})
	w.must(err)
	refuses := func(s *Service) {
		t.Helper()
		_, err := s.Status(ctx, r, id)
		w.wantCode(err, errs.UploadNotFound)
		_, err = s.Append(ctx, r, id, Unannounced(), strings.NewReader("x"))
		w.wantCode(err, errs.UploadNotFound)
		_, err = s.Complete(ctx, r, id, digests, Unannounced(), nil, CompleteOptions{})
		w.wantCode(err, errs.UploadNotFound)
		w.wantCode(s.Cancel(ctx, r, id), errs.UploadNotFound)
		w.holds(s, r, b)
		w.sound(s)
	}
	if n := w.count(w.volatile, `SELECT count(*) FROM upload`); n != 1 {
		t.Fatalf("%d rows: there is nothing to refuse", n)
	}
	refuses(s)
	if n, err := s.uploads.Open(ctx); n != 0 || err != nil {
		t.Errorf("%d uploads are open, %v", n, err)
	}
	refuses(w.node())
}

// They are deleted with the next uploads, many at once, and all by Expire.
func TestFinishedRowsAreDeletedTogether(t *testing.T) {
	w := aloneWorld(t)
	ctx, s, r := t.Context(), w.node(), w.repo("app", "")
	most := int64(0)
	for i := range 100 {
		w.push(s, r, []byte{byte(i)})
		most = max(most, w.count(w.volatile, `SELECT count(*) FROM upload`))
	}
	if most < 2 || most > 20 {
		t.Errorf("up to %d rows stayed", most)
	}
	n, err := s.Expire(ctx)
	w.must(err)
	if left := w.count(w.volatile, `SELECT count(*) FROM upload`); n != 0 || left != 0 {
		t.Errorf("%d uploads expired, %d rows are left", n, left)
	}
}

// More uploads than are remembered go on, and one that another repository asks for
// is not lost by that.
func TestManyOpenUploads(t *testing.T) {
	w := aloneWorld(t)
	ctx, s, r := t.Context(), w.node(), w.repo("app", "")
	other := w.repo("other", "")
	var ids []string
	for range 300 {
		ids = append(ids, w.start(s, r))
	}
	for _, piece := range []string{"abc", "def"} {
		for i, id := range ids {
			_, err := s.Append(ctx, other, id, Unannounced(), strings.NewReader("x"))
			w.wantCode(err, errs.UploadNotFound)
			_, err = s.Append(ctx, r, id, Unannounced(), strings.NewReader(fmt.Sprint(piece, i)))
			w.must(err)
		}
	}
	for i, id := range ids {
		b := fmt.Sprintf("abc%ddef%d", i, i)
		_, err := s.Complete(ctx, r, id, []name.Digest{name.SHA256([]byte(b))}, Unannounced(), nil, CompleteOptions{})
		w.must(err)
		w.holds(s, r, []byte(b))
	}
}

// A process that is alone asks its volatile database once for the object and once for
// what one request left to the next, and the durable one once.
func TestTransactionsOfAPush(t *testing.T) {
	w := aloneWorld(t)
	ctx, r := t.Context(), w.repo("app", "")
	s, f := w.mortal(1 << 30)
	s.uploads.InlineBytes = 1000
	var did []string
	s.durable.(*faultyDB).f.fail = func(op string) error {
		if strings.HasSuffix(op, "view") || strings.HasSuffix(op, "update") {
			did = append(did, op)
		}
		return f.blow(op)
	}
	in := func(requests int, b []byte) string {
		did = nil
		id, rest := w.begin(s, r), io.Reader(bytes.NewReader(b))
		if requests == 3 {
			_, err := s.Append(ctx, r, id, Unannounced(), rest)
			w.must(err)
			rest = nil
		}
		_, err := s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), rest, CompleteOptions{})
		w.must(err)
		return strings.Join(did, ", ")
	}
	for what, c := range map[string]struct {
		requests, size int
		want           string
	}{
		"a large one in three": {3, 100_000, "volatile update, volatile update, durable update"},
		"a large one in two":   {2, 100_000, "volatile update, durable update"},
		"a small one in three": {3, 100, "volatile update, durable update"},
		"a small one in two":   {2, 100, "durable update"},
	} {
		if got := in(c.requests, random(c.size)); got != c.want {
			t.Errorf("%s: got %s, want %s", what, got, c.want)
		}
	}
}

// When it is not known whether a layer was recorded, the upload is over, and expiry
// removes what is not a layer's.
func TestFateUnknown(t *testing.T) {
	for _, there := range []bool{false, true} {
		for _, closes := range []bool{false, true} {
			w := aloneWorld(t)
			ctx, r := t.Context(), w.repo("app", "")
			s, _ := w.mortal(1 << 30)
			store := s.durable.(*faultyDB).f
			b := random(1000)
			id := w.start(s, r)
			lost := errors.New("the answer is lost")
			volatile, recorded := 0, false
			store.fail = func(op string) error {
				recorded = recorded || op == "durable update"
				switch {
				case there && op == "durable update done", !there && op == "durable update":
					return lost
				case op == "volatile update" && recorded && !closes:
					volatile++
					return lost
				}
				return nil
			}
			digests := []name.Digest{name.SHA256(b)}
			_, err := s.Complete(ctx, r, id, digests, Unannounced(), bytes.NewReader(b), CompleteOptions{})
			if !errors.Is(err, lost) || !closes && volatile == 0 {
				t.Fatalf("got %v", err)
			}
			store.fail = func(string) error { return nil }
			_, err = s.Append(ctx, r, id, Unannounced(), strings.NewReader("x"))
			w.wantCode(err, errs.UploadNotFound)
			_, err = s.Status(ctx, r, id)
			w.wantCode(err, errs.UploadNotFound)
			w.clock.Advance(25 * time.Hour)
			n, err := s.Expire(ctx)
			w.must(err)
			want := 0
			if there {
				w.holds(s, r, b)
				want = 1
			}
			if n != 1 || len(w.objects()) != want {
				t.Errorf("%d expired, objects %q", n, w.objects())
			}
			w.sound(s)
		}
	}
}

// interruptible is a body whose Read waits until it is interrupted.
type interruptible struct {
	io.Reader
	once sync.Once
	over chan struct{}
}

func (b *interruptible) Read(p []byte) (int, error) {
	if n, err := b.Reader.Read(p); n > 0 || err != io.EOF {
		return n, err
	}
	<-b.over
	return 0, os.ErrDeadlineExceeded
}

func (b *interruptible) Interrupt(time.Duration) { b.once.Do(func() { close(b.over) }) }

var _ upload.Interruptible = (*interruptible)(nil)

// A body that can be interrupted is, when another request wants the upload or the
// client has gone.
func TestInterruptedBody(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		r := w.repo("app", "")
		s := w.quick(patient)
		begin := func(ctx context.Context, id string) chan error {
			result := make(chan error, 1)
			silent := &waiting{Reader: &interruptible{Reader: strings.NewReader("abc"), over: make(chan struct{})}, reached: make(chan struct{})}
			go func() {
				_, err := s.Append(ctx, r, id, Unannounced(), silent)
				result <- err
			}()
			<-silent.reached
			return result
		}
		id := w.start(s, r)
		old := begin(t.Context(), id)
		u, err := s.Append(t.Context(), r, id, at(3, 3), strings.NewReader("def"))
		w.must(err)
		w.wantCode(<-old, errs.UploadBusy)
		if u.Received != 6 {
			t.Errorf("got %+v", u)
		}
		ctx, cancel := context.WithCancel(t.Context())
		old = begin(ctx, id)
		cancel()
		err = <-old
		w.wantCode(err, errs.UploadInterrupted)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the cause is lost: %v", err)
		}
		if u, err = s.Status(t.Context(), r, id); err != nil || u.Received != 9 {
			t.Errorf("got %+v, %v", u, err)
		}
	})
}

// waiting tells when its second Read has begun.
type waiting struct {
	io.Reader
	reads   int
	reached chan struct{}
}

func (b *waiting) Read(p []byte) (int, error) {
	if b.reads++; b.reads == 2 {
		close(b.reached)
	}
	return b.Reader.Read(p)
}

func (b *waiting) Interrupt(after time.Duration) { b.Reader.(upload.Interruptible).Interrupt(after) }

// Long bodies are stored while they are read. They end as short ones do.
func TestLongBodies(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx, r := t.Context(), w.repo("app", "")
		real := w.store
		var room atomic.Int64 // writes until the store is full
		room.Store(1 << 30)
		w.store = &faultyStore{Store: real, fail: func(op string) error {
			if op == "write" && room.Add(-1) < 0 {
				return blobstore.ErrFull
			}
			return nil
		}}
		s := w.node()
		b := random(3<<20 + 17)
		id := w.start(s, r)
		// Cut off, and gone on with.
		_, err := s.Append(ctx, r, id, Unannounced(), broken(b[:2<<20+5]))
		w.wantCode(err, errs.UploadInterrupted)
		u, err := s.Status(ctx, r, id)
		w.must(err)
		if u.Received != 2<<20+5 {
			t.Fatalf("got %+v", u)
		}
		// A store that is full in the middle takes the upload back to where it was.
		room.Store(6)
		_, err = s.Append(ctx, r, id, Unannounced(), zeros{})
		w.wantCode(err, errs.StorageFull)
		room.Store(1 << 30)
		_, err = s.Append(ctx, r, id, Unannounced(), io.LimitReader(zeros{}, 7<<20))
		w.wantCode(err, errs.LayerTooLarge)
		if u, err = s.Status(ctx, r, id); err != nil || u.Received != 2<<20+5 {
			t.Fatalf("got %+v, %v", u, err)
		}
		_, err = s.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b[2<<20+5:]), CompleteOptions{})
		w.must(err)
		w.holds(s, r, b)
		// Many at once, of which some are stored beside their reading.
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				if _, err := push(context.Background(), s, r, b); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		w.holds(s, r, b)
		w.sound(s)
	})
}
