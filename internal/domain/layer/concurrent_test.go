package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// Many push the same layer at once, into a few repositories: all succeed, and
// one object is left.
func TestSameDigestAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		nodes := w.nodes(2)
		repos := []repository.Repository{w.repo("a", ""), w.repo("b", ""), w.repo("c", "")}
		b := random(70_000)
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 32 {
			wg.Go(func() {
				<-start
				if _, err := push(context.Background(), nodes[i%2], repos[i%3], b); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if got := w.objects(); len(got) != 1 {
			t.Errorf("%d objects are left", len(got))
		}
		for _, r := range repos {
			w.holds(nodes[0], r, b)
		}
		w.sound(nodes[0])
	})
}

// Pushes, images coming and going, repositories' mounts and the collector, all
// at once, with a grace period that is always over. A push whose layer was
// collected before its image came has to begin again, as with any registry that
// ran out of grace; an image that was taken has its bytes.
func TestCollectRacesPush(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		nodes := w.nodes(2)
		for _, s := range nodes {
			s.grace = time.Microsecond // the clock moves on below
		}
		repos := []repository.Repository{w.repo("a", ""), w.repo("b", "")}
		layers := [][]byte{random(10), random(70_000), random(1)}
		until := time.Now().Add(time.Second)
		var wg, collector sync.WaitGroup
		stop := make(chan struct{})
		var images, again int
		var mu sync.Mutex
		for i := range 6 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), 7))
				for time.Now().Before(until) {
					s, r, b := nodes[random.IntN(2)], repos[random.IntN(2)], layers[random.IntN(3)]
					d := name.SHA256(b)
					if _, err := push(context.Background(), s, r, b); err != nil {
						t.Errorf("push: %v", err)
						return
					}
					id, err := w.image(s, r, "type", d)
					if errs.CodeOf(err) == errs.LayersNotFound {
						mu.Lock()
						again++
						mu.Unlock()
						continue
					}
					if err != nil {
						t.Errorf("image: %v", err)
						return
					}
					w.holds(s, r, b)
					other := repos[random.IntN(2)]
					if _, _, err := s.Mount(context.Background(), r, other, d); err != nil {
						t.Errorf("mount: %v", err)
					}
					w.holds(nodes[random.IntN(2)], r, b)
					if err := w.dropImage(s, r, id, d); err != nil {
						t.Errorf("drop: %v", err)
						return
					}
					mu.Lock()
					images++
					mu.Unlock()
				}
			})
		}
		for _, s := range nodes {
			collector.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					w.clock.Advance(time.Millisecond)
					if _, err := s.Collect(context.Background()); err != nil {
						t.Errorf("collect: %v", err)
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		collector.Wait()
		t.Logf("%d images, %d pushes to be repeated", images, again)
		if images == 0 {
			t.Error("no image was ever taken")
		}
		w.sound(nodes[0])
		w.clock.Advance(time.Hour)
		for range 2 {
			_, err := nodes[0].Collect(context.Background())
			w.must(err)
		}
		if got := w.objects(); len(got) != 0 {
			t.Errorf("%d objects are left", len(got))
		}
		for _, table := range []string{"blob", "layer", "layer_review", "garbage"} {
			if n := w.count(w.durable, `SELECT count(*) FROM `+table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	})
}

// slow begins an Append whose client sends b and then nothing more; it returns
// once b is on its way. The result comes when the request ends; hangUp ends the
// client.
func (w *world) slow(s *Service, r repository.Repository, id string, b []byte) (result chan error, hangUp func()) {
	w.t.Helper()
	body, sender := io.Pipe()
	result = make(chan error, 1)
	go func() {
		_, err := s.Append(context.Background(), r, id, Unannounced(), body)
		result <- err
	}()
	_, err := sender.Write(b)
	w.must(err)
	return result, func() { _ = sender.CloseWithError(io.ErrUnexpectedEOF) }
}

// quick is a node whose writers take turns fast, and that waits for its turn so
// long.
func (w *world) quick(wait time.Duration) *Service {
	return w.nodeWith(func(c *upload.Config) {
		c.Timing = upload.Timing{Lease: 15 * time.Second, Beat: 20 * time.Millisecond, Skew: 5 * time.Second, Wait: wait, Poll: 10 * time.Millisecond}
	})
}

const patient, hasty = 10 * time.Second, 50 * time.Millisecond

// A client that lost its connection comes back while the server still waits for
// the old one.
func TestReconnect(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		b := random(2*bufferSize + 100)
		sent := 2 * bufferSize // whole buffers have come through when the pipe takes no more
		for _, where := range []string{"same node", "other node"} {
			t.Run(where, func(t *testing.T) {
				first := w.quick(patient)
				second := first
				if where == "other node" && !w.alone {
					second = w.quick(patient)
				}
				id := w.start(first, r)
				old, hangUp := w.slow(first, r, id, b[:sent])
				defer hangUp()
				_, err := second.Append(ctx, r, id, at(int64(len(b)), 1), strings.NewReader("x"))
				w.wantCode(err, errs.RangeInvalid) // it only had to have its turn
				w.wantCode(<-old, errs.UploadBusy)
				u, err := second.Status(ctx, r, id)
				w.must(err)
				if u.Received == 0 || u.Received > int64(sent) {
					t.Fatalf("%d bytes of the old request are kept", u.Received)
				}
				_, err = second.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[u.Received:]))
				w.must(err)
				_, err = second.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), nil, CompleteOptions{})
				w.must(err)
				w.holds(first, r, b)
			})
		}
		w.sound(w.node())
	})
}

func TestCancelStopsTheWriter(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		r := w.repo("app", "")
		s := w.quick(patient)
		id := w.start(s, r)
		old, hangUp := w.slow(s, r, id, random(bufferSize))
		defer hangUp()
		w.must(s.Cancel(t.Context(), r, id))
		w.wantCode(<-old, errs.UploadBusy)
		if got := w.objects(); len(got) != 0 {
			t.Errorf("objects %q", got)
		}
	})
}

// The client's own end, by its context, keeps what came.
func TestContextEnds(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		r := w.repo("app", "")
		s := w.node()
		id := w.start(s, r)
		ctx, cancel := context.WithCancel(t.Context())
		body, sender := io.Pipe()
		defer func() { _ = sender.Close() }() // a pipe always closes
		result := make(chan error, 1)
		go func() {
			_, err := s.Append(ctx, r, id, Unannounced(), body)
			result <- err
		}()
		_, err := sender.Write(random(2 * bufferSize))
		w.must(err)
		cancel()
		err = <-result
		w.wantCode(err, errs.UploadInterrupted)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the cause is lost: %v", err)
		}
		u, err := s.Status(t.Context(), r, id)
		w.must(err)
		if u.Received == 0 {
			t.Error("nothing is kept")
		}
	})
}

func TestBusy(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		r := w.repo("app", "")
		w.several()
		deaf := w.node() // does not hear that it is wanted: its beat is seconds away
		other := w.quick(hasty)
		id := w.start(deaf, r)
		old, hangUp := w.slow(deaf, r, id, []byte("abc"))
		_, err := other.Append(t.Context(), r, id, Unannounced(), strings.NewReader("x"))
		w.wantCode(err, errs.UploadBusy)
		hangUp()
		w.wantCode(<-old, errs.UploadInterrupted)
		u, err := other.Append(t.Context(), r, id, at(3, 1), strings.NewReader("d"))
		w.must(err)
		if u.Received != 4 {
			t.Errorf("got %+v", u)
		}
	})
}

// A node that lost touch stops by itself, and cannot change the row that another
// one took over.
func TestFencing(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		w.several()
		lost, other := w.node(), w.quick(hasty)
		b := random(1000)
		id := w.start(lost, r)
		body, sender := io.Pipe()
		result := make(chan error, 1)
		go func() {
			_, err := lost.Append(ctx, r, id, Unannounced(), body)
			result <- err
		}()
		_, err := sender.Write(b[:500])
		w.must(err)
		w.clock.Advance(16 * time.Second) // the lease is over, but clocks differ
		_, err = other.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.wantCode(err, errs.UploadBusy)
		w.clock.Advance(5 * time.Second)
		u, err := other.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.must(err)
		if u.Received != 1000 {
			t.Errorf("got %+v", u)
		}
		_ = sender.Close() // the lost node comes to its end
		w.wantCode(<-result, errs.Unavailable)
		_, err = other.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), nil, CompleteOptions{})
		w.must(err)
		w.holds(other, r, b)
		w.sound(other)
	})
}

// hanging is a node that stops after it did op, until told to go on; reached is
// closed when it stands there.
func (w *world) hanging(op string) (s *Service, reached, goOn chan struct{}) {
	reached, goOn = make(chan struct{}), make(chan struct{})
	real := w.store
	w.store = &faultyStore{Store: real, fail: func(did string) error {
		if did == op+" done" {
			close(reached)
			<-goOn
		}
		return nil
	}}
	s = w.node()
	w.store = real
	return s, reached, goOn
}

// A node that hangs between suspending the object and writing the row, while
// another one takes over, leaves the row alone.
func TestFencedRow(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		w.several()
		lost, reached, goOn := w.hanging("suspend")
		other := w.quick(hasty)
		b := random(1000)
		id := w.start(lost, r)
		result := make(chan error, 1)
		go func() {
			_, err := lost.Append(ctx, r, id, Unannounced(), bytes.NewReader(random(300)))
			result <- err
		}()
		<-reached
		w.clock.Advance(21 * time.Second)
		_, err := other.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:500]))
		w.must(err)
		close(goOn)
		w.wantCode(<-result, errs.Unavailable)
		u, err := other.Status(ctx, r, id)
		w.must(err)
		if u.Received != 500 {
			t.Errorf("got %+v", u)
		}
		_, err = other.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b[500:]), CompleteOptions{})
		w.must(err)
		w.holds(other, r, b)
	})
}

// A node that hangs between finishing the object and recording it keeps
// everybody else away from the object, also when its lease is over.
func TestFinishedObjectIsNotTouched(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		w.several()
		slow, reached, goOn := w.hanging("commit")
		other := w.quick(hasty)
		b := random(100_000)
		id := w.start(slow, r)
		_, err := other.Append(ctx, r, id, Unannounced(), bytes.NewReader(b[:70_000]))
		w.must(err)
		result := make(chan error, 1)
		go func() {
			_, err := slow.Complete(ctx, r, id, []name.Digest{name.SHA256(b)}, Unannounced(), bytes.NewReader(b[70_000:]), CompleteOptions{})
			result <- err
		}()
		<-reached
		_, err = other.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.wantCode(err, errs.UploadBusy)
		w.clock.Advance(21 * time.Second)
		_, err = other.Append(ctx, r, id, Unannounced(), bytes.NewReader(b))
		w.wantCode(err, errs.UploadNotFound)
		w.wantCode(other.Cancel(ctx, r, id), errs.UploadNotFound)
		_, err = other.Expire(ctx)
		w.must(err)
		close(goOn)
		w.must(<-result)
		w.holds(other, r, b)
		w.sound(other)
	})
}

// After a kill the client finds its upload free as soon as the dead writer's
// lease is over, within its first request.
func TestTakeOverAfterKill(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		r := w.repo("app", "")
		dead := w.node()
		id := w.start(dead, r)
		_, err := dead.Append(ctx, r, id, Unannounced(), strings.NewReader("abc"))
		w.must(err)
		_, hangUp := w.slow(dead, r, id, []byte("never to be kept"))
		defer hangUp()
		go func() {
			time.Sleep(50 * time.Millisecond)
			w.clock.Advance(21 * time.Second)
		}()
		u, err := w.quick(patient).Append(ctx, r, id, at(3, 3), strings.NewReader("def"))
		w.must(err)
		if u.Received != 6 {
			t.Errorf("got %+v", u)
		}
	})
}

// A long upload takes a bounded amount of memory.
func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t), sqldbtest.SQLite(t), fileStore(t))
	w.limits.MaxLayerBytes = 1 << 30
	s, r := w.node(), w.repo("app", "")
	const size = 256 << 20
	id := w.start(s, r)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak uint64
	body := io.LimitReader(zeros{}, size)
	_, err := s.Append(t.Context(), r, id, Unannounced(), readerFunc(func(p []byte) (int, error) {
		if rand.IntN(200) == 0 {
			runtime.ReadMemStats(&after)
			peak = max(peak, after.HeapAlloc)
		}
		return body.Read(p)
	}))
	w.must(err)
	runtime.ReadMemStats(&after)
	// The race detector has buffers thrown away, which the collector then finds.
	if total := after.TotalAlloc - before.TotalAlloc; total > size/2 {
		t.Errorf("%d bytes were allocated for an upload of %d", total, size)
	}
	if peak > before.HeapAlloc+32<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, peak)
	}
	w.must(s.Cancel(t.Context(), r, id))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
