package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

// parted answers with a blob in two parts, the second when it is told to.
func parted(content []byte, first int, second <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, req *http.Request) {
		_, _ = out.Write(content[:first])           // the test sees what came
		_ = http.NewResponseController(out).Flush() // likewise
		select {
		case <-second:
			_, _ = out.Write(content[first:]) // likewise
		case <-req.Context().Done():
		}
	})
}

// TestStreams: clients read a blob while it comes, each at its own pace, and its end
// only when it is verified and stored.
func TestStreams(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		content := random(1 << 20)
		want := w.up.PushImage("app", "v1", content)
		layer := want.Layers[0].Digest.String()
		second := make(chan struct{})
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: layer, Handler: parted(content, 600_000, second)})
		_, r := n.pull("hub/app", "v1")

		body, l, err := n.Open(t.Context(), r, name.Digest(layer), 0, -1)
		w.must(err)
		if l.Size != int64(len(content)) {
			t.Errorf("opened %+v", l)
		}
		got := make([]byte, 600_000)
		if _, err := io.ReadFull(body, got); err != nil || !bytes.Equal(got, content[:600_000]) {
			t.Fatalf("the first part: %v", err)
		}
		// A range in the middle, by another client.
		if part, err := n.readPart(r, layer, 1000, 500_000); err != nil || !bytes.Equal(part, content[1000:501_000]) {
			t.Errorf("a range: %d bytes, %v", len(part), err)
		}
		if part, err := n.readPart(r, layer, 599_999, 0); err != nil || len(part) != 0 {
			t.Errorf("an empty range: %d bytes, %v", len(part), err)
		}
		for _, bad := range [][2]int64{{-1, 5}, {0, 1<<20 + 1}, {1<<20 + 1, 0}, {1<<20 + 1, -1}} {
			_, err := n.readPart(r, layer, bad[0], bad[1])
			w.code(err, errs.RangeInvalid)
		}
		// A client that goes leaves the others alone.
		gone, cancel := context.WithCancel(t.Context())
		waiting, _, err := n.Open(gone, r, name.Digest(layer), 700_000, 10)
		w.must(err)
		cancel()
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("a client that has gone: %v", err)
		}
		w.must(errors.Join(waiting.Close(), waiting.Close()))
		if address, ok := n.Redirect(t.Context(), r, name.Digest(layer)); ok {
			t.Errorf("redirected to %s", address)
		}
		close(second)
		rest, err := io.ReadAll(body)
		if err != nil || !bytes.Equal(rest, content[600_000:]) {
			t.Errorf("the second part: %d bytes, %v", len(rest), err)
		}
		w.must(body.Close())
		w.arrived()
		if got := w.up.CountPath(upstreamtest.Blob, layer); got != 1 {
			t.Errorf("fetched %d times", got)
		}
		if files, err := os.ReadDir(w.dir); err != nil || len(files) != 0 {
			t.Errorf("left in the directory: %v %v", files, err)
		}
	})
}

// TestGoesOn: a download goes on when its clients have gone.
func TestGoesOn(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node()
	content := random(300_000)
	want := w.up.PushImage("app", "v1", content)
	hold := make(chan struct{})
	w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Hold: hold})
	ctx, cancel := context.WithCancel(t.Context())
	_, r, err := n.Image(ctx, pull("hub/app", "v1"))
	w.must(err)
	opened := make(chan error)
	go func() {
		_, _, err := n.Open(ctx, r, name.Digest(want.Layers[0].Digest), 0, -1)
		opened <- err
	}()
	w.eventually("the blob is asked for", func() bool { return w.up.Count(upstreamtest.Blob) > 0 })
	cancel()
	if err := <-opened; !errors.Is(err, context.Canceled) {
		t.Errorf("opening: %v", err)
	}
	close(hold)
	w.arrived()
	n.is(r, want, content)
}

// TestUpstreamDies: a download that is cut off goes on where it stands; what cannot be
// had is a failure, and never a short success; and it comes when the upstream is back.
func TestUpstreamDies(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		content := random(900_000)
		want := w.up.PushImage("app", "v1", content)
		layer := want.Layers[0].Digest.String()
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: layer, CutAfter: 300_000, Times: 2})
		_, r := n.pull("hub/app", "v1")
		n.is(r, want, content)
		w.arrived()
		if got := w.up.CountPath(upstreamtest.Blob, layer); got != 3 || w.up.BlobBytes() > 1_000_000 {
			t.Errorf("fetched %d times, %d bytes", got, w.up.BlobBytes())
		}

		other := random(900_001)
		want = w.up.PushImage("app", "v2", other)
		layer = want.Layers[0].Digest.String()
		w.up.ResetRequests()
		// Little enough that neither the import nor the read after it comes to the end.
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: layer, CutAfter: 80_000})
		n.pull("hub/app", "v2")
		got, err := n.read(r, layer)
		if w.code(err, errs.UpstreamLayerFailed); len(got) >= len(other) || !bytes.HasPrefix(other, got) {
			t.Errorf("got %d bytes", len(got))
		}
		w.eventually("the failure is known", func() bool { return w.count(`SELECT count(*) FROM pullthrough_import WHERE failed_at <> 0`) == 1 })
		w.up.Heal()
		w.up.ResetRequests()
		// A job may join an import that began before the upstream was back; the next try does not.
		w.eventually("a job brings the image", func() bool { return n.runJobs() == nil })
		w.eventually("what was under way when the upstream came back has ended", func() bool {
			_, err := n.read(r, layer)
			return err == nil
		})
		n.whole(r, want, "v2")
		n.is(r, want, other)
		for _, req := range w.up.Requests() {
			if req.Kind == upstreamtest.Blob && strings.Contains(req.Path, layer) && req.Header.Get("Range") == "" {
				t.Error("what had come was fetched again")
			}
		}
	})
}

// TestOldTagStays: a tag whose new image cannot be had keeps the one that is here.
func TestOldTagStays(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node()
	first := w.up.PushImage("app", "v1", random(1000))
	_, r := n.pull("hub/app", "v1")
	w.arrived()
	second := w.up.PushImage("app", "v1", random(1001))
	w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Status: 503})
	w.clk.Advance(25 * time.Hour)
	n.pull("hub/app", "v1")
	w.eventually("the failure is known", func() bool { return w.count(`SELECT count(*) FROM pullthrough_import WHERE failed_at <> 0`) == 1 })
	if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != first.Digest() {
		t.Errorf("got %s", img.Digest)
	}
	if got := n.Stats().Stale["layers"]; got != 1 {
		t.Errorf("counted %v", n.Stats().Stale)
	}
	// Who asks after a while has it tried again, before the job does.
	// The fetch of a second blob may be about to fail still: who comes now waits for that
	// one, and fails once more.
	w.up.Heal()
	var failed int64
	w.eventually("a pull has the import go on", func() bool {
		if last := w.count(`SELECT COALESCE(max(failed_at), 0) FROM pullthrough_import`); last != failed {
			failed = last
			w.clk.Advance(2 * time.Minute)
		}
		n.pull("hub/app", "v1")
		return w.imports() == 0
	})
	n.whole(r, second, "v1")
}

// TestPoisoned: an upstream that sends something else harms nobody.
func TestPoisoned(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		cut := func(content []byte) http.Handler {
			return http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
				_, _ = out.Write(content[:len(content)-1]) // the client sees what came
			})
		}
		for tag, fault := range map[string]func(content []byte) upstreamtest.Fault{
			"corrupt": func([]byte) upstreamtest.Fault { return upstreamtest.Fault{Corrupt: true} },
			"endless": func([]byte) upstreamtest.Fault { return upstreamtest.Fault{Endless: true} },
			"short":   func(content []byte) upstreamtest.Fault { return upstreamtest.Fault{Handler: cut(content)} },
			"gone":    func([]byte) upstreamtest.Fault { return upstreamtest.Fault{Status: 404} },
			"away":    func([]byte) upstreamtest.Fault { return upstreamtest.Fault{Redirect: "http://127.0.0.1:1/x"} },
		} {
			content := random(500_000)
			want := w.up.PushImage("app", tag, content)
			layer := want.Layers[0].Digest.String()
			bad := fault(content)
			bad.Kind, bad.Contains = upstreamtest.Blob, layer
			w.up.Inject(bad)
			_, r := n.pull("hub/app", tag)
			for range 2 {
				got, err := n.read(r, layer)
				if w.code(err, errs.UpstreamLayerFailed); len(got) > len(content)-heldBackOfEveryBlob {
					t.Errorf("%s: a client got %d of %d bytes", tag, len(got), len(content))
				}
			}
			w.eventually(tag+" is known", func() bool { return w.count(`SELECT count(*) FROM pullthrough_import WHERE failed_at <> 0`) == 1 })
			if err := n.runJobs(); err == nil {
				t.Errorf("%s: the import succeeded", tag)
			}
			if got := w.count(`SELECT count(*) FROM layer WHERE digest = $1`, layer); got != 0 {
				t.Errorf("%s: the layer is here", tag)
			}
			w.up.Heal()
			w.eventually(tag+" comes", func() bool { return n.runJobs() == nil }) // a job may join an import that began before
			n.whole(r, want, name.Tag(tag))
			n.is(r, want, content)
		}
	})
}

// heldBackOfEveryBlob is what fetch keeps back until a blob is verified.
const heldBackOfEveryBlob = 64 << 10

// full is a store with no room for large objects.
type full struct {
	*memory.Store
	mu  sync.Mutex
	now bool
}

func (s *full) set(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
}

func (s *full) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now {
		return nil, blobstore.ErrFull
	}
	return s.Store.Create(ctx, key, p)
}

// TestNoRoom: failures of the layer store reach the client as they are.
func TestNoRoom(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		store := &full{Store: memory.New(), now: true}
		w.store = store
		n := w.node()
		content := random(500_000)
		want := w.up.PushImage("app", "v1", content)
		layer := want.Layers[0].Digest.String()
		_, r := n.pull("hub/app", "v1")
		_, err := n.read(r, layer)
		w.code(err, errs.StorageFull)
		w.eventually("the failure is known", func() bool { return w.count(`SELECT count(*) FROM pullthrough_import WHERE failed_at <> 0`) == 1 })
		store.set(false)
		// A try may join one that is just failing.
		w.eventually("it goes on", func() bool { return n.runJobs() == nil })
		n.is(r, want, content)

		w.limits.RepositoryStorageBytes = 100_000
		other := w.node()
		want = w.up.PushImage("app", "v2", random(400_000))
		other.pull("hub/app", "v2")
		_, err = other.read(r, want.Layers[0].Digest.String())
		w.code(err, errs.LimitExceeded)
	})
}

// TestTakeover: a node that died in the middle of a blob is waited for, and another one
// goes on where it stood.
func TestTakeover(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		content := random(900_000)
		want := w.up.PushImage("app", "v1", content)
		layer := want.Layers[0].Digest.String()
		second := make(chan struct{})
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: layer, Handler: parted(content, 600_000, second), Times: 1})
		first := w.node()
		_, r := first.pull("hub/app", "v1")
		if _, err := first.readPart(r, layer, 0, 600_000); err != nil {
			t.Fatal(err)
		}
		w.eventually("the upload has begun", func() bool { return w.count(`SELECT count(*) FROM upload WHERE writer <> ''`) == 1 })
		first.Stop() // what it has got stands in the upload
		w.eventually("the upload rests", func() bool { return w.count(`SELECT count(*) FROM upload WHERE writer <> ''`) == 0 })
		from := ""
		// Another upload, of the small blob, may have a row too.
		if received := w.count(`SELECT COALESCE(MAX(received), 0) FROM upload`); received > 0 { // else it was stopped before its first byte
			from = fmt.Sprintf("bytes=%d-", received)
		}
		w.exec(`UPDATE pullthrough_fetch SET owner = 7, leased_until = $1 WHERE id = $2`, w.clk.Now().Add(30*time.Second).UnixMicro(), fmt.Sprintf("b/%d/%s", r.ID, layer))
		w.up.ResetRequests()

		n := w.node()
		got := make(chan error)
		go func() {
			b, err := n.read(r, layer)
			if err == nil && !bytes.Equal(b, content) {
				err = errors.New("other bytes")
			}
			got <- err
		}()
		ended := make(chan error)
		go func() { ended <- n.runJobs() }()
		w.eventually("the small blob is here", func() bool {
			_, err := n.Layers.Stat(context.Background(), r, name.Digest(want.Config.Digest))
			return err == nil
		})
		if w.up.CountPath(upstreamtest.Blob, layer) != 0 {
			t.Error("the lease was not heeded")
		}
		w.clk.Advance(36 * time.Second)
		w.must(<-got)
		w.must(<-ended)
		n.whole(r, want, "v1")
		for _, req := range w.up.Requests() {
			if strings.Contains(req.Path, layer) && req.Header.Get("Range") != from {
				t.Errorf("went on with %q, not %q", req.Header.Get("Range"), from)
			}
		}
	})
}

// TestKilled: whatever is killed between two steps, the job brings the image here.
func TestKilled(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		content := random(200_000)
		want := w.up.PushImage("app", "v1", content)
		w.up.PushImage("app", "v1-alias", content)
		hold := make(chan struct{})
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Hold: hold})
		n := w.node()
		_, r := n.pull("hub/app", "v1")
		n.pull("hub/app", "v1-alias") // a second tag of the same image
		n.Stop()
		_, _, err := n.Image(t.Context(), pull("hub/app", "v3"))
		w.code(err, errs.Unavailable)
		if got := w.count(`SELECT count(*) FROM job WHERE kind = $1`, JobImport); got != 1 {
			t.Errorf("%d jobs", got)
		}
		close(hold)

		// The next node has the manifest, and no blob yet.
		n = w.node()
		if img, _ := n.pull("hub/app", "v1"); string(img.Digest) != want.Digest() || w.up.Count(upstreamtest.Manifest) != 2 {
			t.Errorf("got %s after %d GETs", img.Digest, w.up.Count(upstreamtest.Manifest))
		}
		// All blobs are here, and no image yet.
		for _, d := range []string{want.Config.Digest.String(), want.Layers[0].Digest.String()} {
			b, _, err := n.needed(t.Context(), r, name.Digest(d))
			w.must(err)
			w.must(n.fetchOne(t.Context(), r, b))
		}
		if w.imports() != 1 {
			t.Error("the import is over")
		}
		// One tag has gone over, the other has not.
		n.Stop()
		n = w.node()
		a, err := n.arrival(t.Context(), arrivalByDigest, r.ID, want.Digest())
		w.must(err)
		c, err := n.open(t.Context(), r, a)
		w.must(err)
		_, _, err = n.Images.Put(t.Context(), r, image.Put{Manifest: c.body, MediaType: a.mediaType, Tag: "v1", Before: func(ctx context.Context, tx *sqldb.Tx, _ repository.Repository) error {
			over, err := n.handOverTx(ctx, tx, a, "v1")
			if over {
				t.Error("the import was over with one of two tags")
			}
			return err
		}})
		w.must(err)
		w.must(n.runJobs())
		n.whole(r, want, "v1", "v1-alias")
		if w.imports() != 0 || w.count(`SELECT count(*) FROM pullthrough_import_blob`)+w.count(`SELECT count(*) FROM pullthrough_import_tag`) != 0 {
			t.Error("rows of the import are left")
		}
		w.must(n.bringHere(t.Context(), a.id)) // a job that runs once more
	})
}

// TestRepositoryGoes: an import ends with its repository.
func TestRepositoryGoes(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		n := w.node()
		w.up.PushImage("app", "v1", random(1000))
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Status: 503})
		_, r := n.pull("hub/app", "v1")
		w.eventually("the failure is known", func() bool { return w.count(`SELECT count(*) FROM pullthrough_import WHERE failed_at <> 0`) == 1 })
		release := func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
			return n.Layers.ReleaseRepositoryTx(ctx, tx, r.ID)
		}
		if _, err := n.Repositories.Delete(t.Context(), testRegistry, r.Name, true, release); err != nil {
			t.Fatal(err)
		}
		if got := w.count(`SELECT count(*) FROM pullthrough_check`) + w.count(`SELECT count(*) FROM pullthrough_import_blob`) + w.imports(); got != 0 {
			t.Errorf("%d rows are left", got)
		}
	})
}

// TestGivenUp: an import whose blobs cannot be had is dropped, and asked for anew.
func TestGivenUp(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node()
	want := w.up.PushImage("app", "v1", random(1000))
	w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Status: 503})
	_, r := n.pull("hub/app", "v1")
	w.eventually("the failure is known", func() bool { return w.count(`SELECT count(*) FROM pullthrough_import WHERE failed_at <> 0`) == 1 })
	// What is under way would lose its upload by the clock's jump.
	rest := func() {
		w.eventually("no layer is on its way", func() bool { return n.Stats().Downloads == 0 })
	}
	rest()
	w.clk.Advance(23 * time.Hour)
	if err := n.runJobs(); err == nil {
		t.Error("the job succeeded")
	}
	rest()
	w.clk.Advance(2 * time.Hour)
	w.must(n.runJobs())
	if w.imports() != 0 || n.Stats().Dropped != 1 {
		t.Errorf("%d imports, %+v", w.imports(), n.Stats())
	}
	w.eventually("the event is told", func() bool { return len(w.attempts()) > 0 }) // after its commit
	if got := w.attempts(); len(got) != 1 || got[0] != "FAILED v1" {
		t.Errorf("events: %v", got)
	}
	w.up.Heal()
	n.pull("hub/app", "v1")
	w.arrived()
	n.whole(r, want, "v1")
}

// TestNothingStays: no goroutine and no file outlives Stop.
func TestNothingStays(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	w.up.PushImage("warm", "v1", random(10))
	n := w.node()
	n.pull("hub/warm", "v1")
	w.arrived()
	n.Stop()
	w.client.Close()
	var before int
	w.eventually("the goroutines of the first pull have ended", func() bool {
		now := runtime.NumGoroutine()
		settled := now == before
		before = now
		return settled
	})
	content := random(900_000)
	want := w.up.PushImage("app", "v1", content)
	layer := want.Layers[0].Digest.String()
	w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: layer, Handler: parted(content, 600_000, nil)})
	n = w.node()
	_, r := n.pull("hub/app", "v1")
	body, _, err := n.Open(t.Context(), r, name.Digest(layer), 0, -1)
	w.must(err)
	if _, err := io.ReadFull(body, make([]byte, 500_000)); err != nil {
		t.Fatal(err)
	}
	n.Stop()
	_, err = io.ReadAll(body)
	w.code(err, errs.Unavailable)
	w.must(body.Close())
	w.client.Close()
	w.eventually("no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
	if files, err := os.ReadDir(w.dir); err != nil || len(files) != 0 {
		t.Errorf("left in the directory: %v %v", files, err)
	}
}

// TestSlots: no more blobs come at once than Limits.Downloads.
func TestSlots(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	n := w.node(func(c *Config) { c.Limits.Downloads = 2 })
	var contents [][]byte
	for i := range 6 {
		contents = append(contents, random(1000+i))
	}
	want := w.up.PushImage("app", "v1", contents...)
	var mu sync.Mutex
	now, most := 0, 0
	for i, l := range want.Layers {
		w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: l.Digest.String(), Handler: http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(20 * time.Millisecond) // so that others would come beside it
			mu.Lock()
			now--
			mu.Unlock()
			_, _ = out.Write(contents[i]) // the test sees what came
		})})
	}
	_, r := n.pull("hub/app", "v1")
	w.arrived()
	n.is(r, want, contents...)
	if most > 2 {
		t.Errorf("%d came at once", most)
	}
}

// TestJob: the queue of any node brings home what a node that is gone has begun.
func TestJob(t *testing.T) {
	w := newWorld(t, sqldbtest.SQLite(t))
	content := random(1000)
	want := w.up.PushImage("app", "v1", content)
	hold := make(chan struct{})
	w.up.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Hold: hold})
	n := w.node()
	_, r := n.pull("hub/app", "v1")
	n.Stop()
	close(hold)
	w.clk.Advance(2 * time.Minute)
	n = w.node()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- n.queue.Run(ctx) }()
	go func() { ended <- n.Run(ctx) }()
	w.arrived()
	n.whole(r, want, "v1")
	n.is(r, want, content)
	w.eventually("the job is done", func() bool { return w.count(`SELECT count(*) FROM job WHERE kind = $1`, JobImport) == 0 })
	cancel()
	w.must(errors.Join(<-ended, <-ended))
}
