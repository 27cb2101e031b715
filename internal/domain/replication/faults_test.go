package replication_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// watched looks at what goes to a destination, and gets in the way.
type watched struct {
	replication.Destination
	first func(context.Context) error                             // before Prepare
	image func(p replication.Place, m replication.Manifest) error // before PutImage
	blob  func(part replication.Part)                             // before PutBlob
	body  func(part replication.Part, body io.Reader) io.Reader   // in place of the body
	after func()                                                  // after every step
}

func (d *watched) done() {
	if d.after != nil {
		d.after()
	}
}

// Prepare implements replication.Destination.
func (d *watched) Prepare(ctx context.Context, p replication.Place) error {
	defer d.done()
	if d.first != nil {
		if err := d.first(ctx); err != nil {
			return err
		}
	}
	return d.Destination.Prepare(ctx, p)
}

// PutBlob implements replication.Destination.
func (d *watched) PutBlob(ctx context.Context, p replication.Place, part replication.Part, body io.Reader) error {
	defer d.done()
	if d.blob != nil {
		d.blob(part)
	}
	if d.body != nil {
		body = d.body(part, body)
	}
	return d.Destination.PutBlob(ctx, p, part, body)
}

// PutImage implements replication.Destination.
func (d *watched) PutImage(ctx context.Context, p replication.Place, m replication.Manifest) (bool, error) {
	defer d.done()
	if d.image != nil {
		if err := d.image(p, m); err != nil {
			return false, err
		}
	}
	return d.Destination.PutImage(ctx, p, m)
}

var errCut = errors.New("the connection was reset")

// cut is a body that breaks off.
type cut struct {
	io.Reader
	left int
}

// Read reads until the break.
func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errCut
	}
	n, err := c.Reader.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// TestResumes: what has arrived is not sent again, whichever side broke off.
func TestResumes(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		large := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
		var mu sync.Mutex
		var offsets []int64
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, body: func(part replication.Part, body io.Reader) io.Reader {
				mu.Lock()
				defer mu.Unlock()
				if part.Size < int64(len(large)) {
					return body
				}
				offsets = append(offsets, part.Offset)
				if len(offsets) < 4 {
					return &cut{Reader: body, left: 300_000}
				}
				return body
			}}
		}
		img := w.push("app", "v1", large, "small")
		w.settle()
		w.whole(away, "app", img.Digest)
		mu.Lock()
		defer mu.Unlock()
		if fmt.Sprint(offsets) != "[0 300000 600000 900000]" {
			w.t.Errorf("sent from %v", offsets)
		}
		if n := w.count(`SELECT count(*) FROM replication_item`); n != 0 {
			w.t.Errorf("%d items", n)
		}
	})
}

// TestTruncatedBody: a body that ends too early is no layer.
func TestTruncatedBody(t *testing.T) {
	on(t, func(w *world) {
		w.put(home, to(away))
		var n atomic.Int64
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, body: func(part replication.Part, body io.Reader) io.Reader {
				if part.Size == 5000 && n.Add(1) == 1 {
					return io.LimitReader(body, 1000)
				}
				return body
			}}
		}
		img := w.push("app", "v1", strings.Repeat("x", 5000))
		w.settle()
		w.whole(away, "app", img.Digest)
		if n.Load() != 2 {
			w.t.Errorf("sent %d times", n.Load())
		}
	})
}

// TestManySendersOfOneBlob: they do not break each other, on one node or on two.
func TestManySendersOfOneBlob(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		r := w.repo(home, "app")
		content := bytes.Repeat([]byte("layer"), 200_000)
		w.blob(r, "type", content)
		p := replication.Place{Source: home, Destination: away, Repository: "app"}
		w.must(w.receiver.Prepare(ctx, p))
		blob := replication.Blob{Digest: name.SHA256(content), Size: int64(len(content))}
		var senders sync.WaitGroup
		var busy, brought atomic.Int64
		for range 8 {
			senders.Go(func() {
				for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					parts, err := w.receiver.Lacking(ctx, p, []replication.Blob{blob})
					if err != nil {
						w.t.Error(err)
						return
					}
					if len(parts) == 0 {
						return
					}
					err = w.receiver.PutBlob(ctx, p, parts[0], bytes.NewReader(content[parts[0].Offset:]))
					switch {
					case err == nil:
						brought.Add(1)
						return
					case errs.Is(err, errs.UploadBusy):
						busy.Add(1)
					case !errs.Is(err, errs.LayerPartInvalid):
						w.t.Error(err)
						return
					}
				}
				w.t.Error("a sender has not come to an end")
			})
		}
		senders.Wait()
		if brought.Load() == 0 {
			w.t.Error("nobody has brought it")
		}
		if parts, err := w.receiver.Lacking(ctx, p, []replication.Blob{blob}); err != nil || len(parts) != 0 {
			w.t.Errorf("%v, %v", parts, err)
		}
		if _, err := w.layers.Stat(ctx, w.repo(away, "app"), blob.Digest); err != nil {
			w.t.Error(err)
		}
	})
}

// TestClaimEnds: a sender that is dead is waited for as long as its claim lives.
func TestClaimEnds(t *testing.T) {
	on(t, func(w *world) {
		ctx := w.t.Context()
		content := []byte(strings.Repeat("y", 1000))
		p := replication.Place{Source: home, Destination: away, Repository: "app"}
		w.must(w.receiver.Prepare(ctx, p))
		part := replication.Part{Blob: replication.Blob{Digest: name.SHA256(content), Size: 1000}}
		silent, begun := make(chan struct{}), make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- w.receiver.PutBlob(ctx, p, part, readFunc(func([]byte) (int, error) {
				select {
				case <-begun:
				default:
					close(begun)
				}
				<-silent
				return 0, errCut
			}))
		}()
		<-begun
		if err := w.receiver.PutBlob(ctx, p, part, bytes.NewReader(content)); !errs.Is(err, errs.UploadBusy) {
			w.t.Errorf("%v", err)
		}
		w.clk.Advance(16 * time.Second)
		w.must(w.receiver.PutBlob(ctx, p, part, bytes.NewReader(content)))
		close(silent)
		if err := <-ended; err == nil {
			w.t.Error("the silent sender has brought it")
		}
		if _, err := w.layers.Stat(ctx, w.repo(away, "app"), part.Digest); err != nil {
			w.t.Error(err)
		}
	})
}

type readFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// TestStoppedNode: a sender that is stopped in the middle leaves everything in the
// queue, and another one goes on.
func TestStoppedNode(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db, sqldbtest.SQLite(t))
		w.put(home, to(away))
		begun := make(chan struct{}, 1)
		w.between = func(d replication.Destination) replication.Destination {
			return &watched{Destination: d, first: func(ctx context.Context) error {
				begun <- struct{}{}
				<-ctx.Done()
				return context.Cause(ctx)
			}}
		}
		img := w.push("app", "v1", "one")
		ctx, cancel := context.WithCancel(context.Background())
		held := make(chan error, 1)
		go func() { held <- w.queue.Run(ctx) }()
		<-begun
		cancel()
		if err := <-held; err != nil {
			t.Fatal(err)
		}
		w.status("app", img.Digest, "111111111111/us-east-1 IN_PROGRESS")
		w.between = nil
		w.run()
		w.settle()
		w.has(away, "app", at("v1", img))
		w.status("app", img.Digest, "111111111111/us-east-1 COMPLETE")
	})
}

// TestFlaky pushes and moves tags at random over a destination that fails at every
// step, before or after it has done what it was asked for: in the end both sides
// have the same, and at no time there is an image that cannot be pulled.
func TestFlaky(t *testing.T) {
	for seed := range uint64(3) {
		on(t, func(w *world) {
			random := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return random.IntN(n) }
			w.put(home, to(away))
			var calm atomic.Bool
			w.between = func(d replication.Destination) replication.Destination {
				return &flaky{Destination: d, fails: func() error {
					if calm.Load() {
						return nil
					}
					switch roll(14) {
					case 0:
						return errs.New(errs.Unavailable, "away")
					case 1:
						return errCut
					case 2:
						return errs.New(errs.StorageFull, "full")
					}
					return nil
				}}
			}
			tags := []name.Tag{"a", "b", "", "latest"}
			r := w.repo(home, "app")
			var all []image.Image
			for range 40 {
				if len(all) > 2 && roll(3) == 0 {
					w.store(r, w.indexOf(all[roll(len(all))], all[roll(len(all))]), tags[roll(len(tags))])
					continue
				}
				all = append(all, w.store(r, w.manifestOf(r, nil, fmt.Sprint("layer ", roll(12)), fmt.Sprint("layer ", roll(12))), tags[roll(len(tags))]))
				if roll(8) == 0 {
					if err := w.nothingPartial(away); err != nil {
						w.t.Error(err)
					}
				}
			}
			calm.Store(true)
			w.settle()
			want := w.tagsIn(home, "app")
			got := w.tagsIn(away, "app")
			for one := range want {
				if !got[one] {
					w.t.Errorf("seed %d: %s is missing", seed, one)
				}
			}
			if len(got) != len(want) {
				w.t.Errorf("seed %d: got %d, want %d", seed, len(got), len(want))
			}
			w.must(w.nothingPartial(away))
			if n := w.count(`SELECT count(*) FROM replication_status WHERE status <> 'COMPLETE'`); n != 0 {
				w.t.Errorf("%d statuses are not COMPLETE", n)
			}
		})
	}
}

// flaky fails before a call, or loses its answer.
type flaky struct {
	replication.Destination
	fails func() error
}

func (d *flaky) around(do func() error) error {
	if err := d.fails(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return d.fails()
}

// Prepare implements replication.Destination.
func (d *flaky) Prepare(ctx context.Context, p replication.Place) error {
	return d.around(func() error { return d.Destination.Prepare(ctx, p) })
}

// Lacking implements replication.Destination.
func (d *flaky) Lacking(ctx context.Context, p replication.Place, blobs []replication.Blob) (parts []replication.Part, err error) {
	err = d.around(func() error { parts, err = d.Destination.Lacking(ctx, p, blobs); return err })
	return parts, err
}

// PutBlob implements replication.Destination.
func (d *flaky) PutBlob(ctx context.Context, p replication.Place, part replication.Part, body io.Reader) error {
	return d.around(func() error { return d.Destination.PutBlob(ctx, p, part, body) })
}

// PutImage implements replication.Destination.
func (d *flaky) PutImage(ctx context.Context, p replication.Place, m replication.Manifest) (tagged bool, err error) {
	err = d.around(func() error { tagged, err = d.Destination.PutImage(ctx, p, m); return err })
	return tagged, err
}

// TestBandwidth: bytes leave no faster than the node may send them.
func TestBandwidth(t *testing.T) {
	const size, perSecond, burst = 768 << 10, 1 << 20, 256 << 10
	on(t, func(w *world) {
		w.put(home, to(away))
		img := w.push("app", "v1", strings.Repeat("z", size))
		begun := time.Now()
		w.settle()
		if took := time.Since(begun); took < time.Second*(size-2*burst)/perSecond {
			w.t.Errorf("%d bytes took %s", size, took)
		}
		w.whole(away, "app", img.Digest)
	}, func(c *replication.Config) { c.Bandwidth = perSecond })
}
