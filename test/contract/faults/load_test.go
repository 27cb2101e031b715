package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

const (
	clients = 4
	// everyNth image of a client has a layer of several parts.
	everyNth = 3
	// pause lies between the images of a client and before it tries again, as
	// real clients wait: the load is there to be disturbed, not to fill the
	// machine.
	pause = 50 * time.Millisecond
	// patience is how long a client waits for the end of a push or pull where a fault has no
	// patience of its own: longer than the server waits for anything here.
	patience = 2 * time.Minute
	// limit bounds the wait for something that has to happen.
	limit = 2 * time.Minute
)

// What clients see beside the statuses of answers.
const (
	wrongBytes = "wrong bytes"
	brokeOff   = "broke off"
	timeOut    = "time-out"
)

var errWrongBytes = errors.New("a blob came whole and is another one")

// load is clients that push images and pull those that were acknowledged. What
// fails they repeat until it works.
type load struct {
	registry *harness.Registry
	repo     string
	seed     uint64
	stop     chan struct{}
	work     sync.WaitGroup

	mu           sync.Mutex
	wait         time.Duration     // for the end of one push or pull
	acknowledged map[string]string // tag to digest
	tags         []string
	seen         map[string]int    // "push: 500" to how often
	example      map[string]string // one error's text of each kind
	slowest      time.Duration     // of a push or a pull, whatever came of it
	resumed      int               // uploads that went on after a failure
	phase        int               // counts up when a fault is over
	cycles       [clients]int      // images that were begun in this phase, pushed and pulled
}

// image is what one client pushes.
type image struct {
	tag, digest string
	raw         []byte
	blobs       [][]byte
	uploads     []progress // of the blobs
}

// progress is how far the upload of a blob got.
type progress struct {
	location string
	sent     int64
	done     bool
}

// startLoad starts the clients. wait is how long they wait for an answer.
func startLoad(ctx context.Context, registry *harness.Registry, repo string, seed uint64, wait time.Duration) *load {
	l := &load{
		registry: registry, repo: repo, seed: seed, stop: make(chan struct{}),
		acknowledged: map[string]string{}, seen: map[string]int{}, example: map[string]string{}, wait: wait,
	}
	for i := range clients {
		l.work.Go(func() { l.client(ctx, i) })
	}
	return l
}

func (l *load) client(ctx context.Context, id int) {
	rnd := rand.New(rand.NewPCG(l.seed, uint64(id)))
	for n := 0; l.next(ctx); n++ {
		l.mu.Lock()
		phase := l.phase
		l.mu.Unlock()
		m := l.image(rnd, id, n)
		for !l.try(ctx, "push", func(ctx context.Context) error { return l.push(ctx, m) }) {
			if !l.next(ctx) {
				return
			}
			// So that pulls meet the fault as well.
			if tag, digest := l.any(rnd); tag != "" {
				l.try(ctx, "pull", func(ctx context.Context) error { return l.pull(ctx, tag, digest) })
			}
		}
		l.acknowledge(m)
		tag, digest := l.any(rnd)
		for !l.try(ctx, "pull", func(ctx context.Context) error { return l.pull(ctx, tag, digest) }) {
			if !l.next(ctx) {
				return
			}
			// So that pushes meet the fault as well, where it finds all clients pulling.
			n++
			m := l.image(rnd, id, n)
			if l.try(ctx, "push", func(ctx context.Context) error { return l.push(ctx, m) }) {
				l.acknowledge(m)
			}
		}
		l.mu.Lock()
		if l.phase == phase {
			l.cycles[id]++
		}
		l.mu.Unlock()
	}
}

// acknowledge notes that an image was pushed.
func (l *load) acknowledge(m *image) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acknowledged[m.tag] = m.digest
	l.tags = append(l.tags, m.tag)
}

// any is one of the acknowledged images, "" before there is one.
func (l *load) any(rnd *rand.Rand) (tag, digest string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tags) == 0 {
		return "", ""
	}
	tag = l.tags[rnd.IntN(len(l.tags))]
	return tag, l.acknowledged[tag]
}

// next pauses and says whether to go on.
func (l *load) next(ctx context.Context) bool {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-l.stop:
		return false
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// try does something once, notes how it went, and says whether it worked.
func (l *load) try(ctx context.Context, what string, do func(context.Context) error) bool {
	l.mu.Lock()
	bounded, cancel := context.WithTimeout(ctx, l.wait)
	l.mu.Unlock()
	defer cancel()
	began := time.Now()
	err := do(bounded)
	took := time.Since(began)
	if err != nil && ctx.Err() != nil {
		return false // the test is over
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, took)
	kind := what + ": " + kindOf(err)
	l.seen[kind]++
	if err != nil && l.example[kind] == "" {
		l.example[kind] = err.Error()
	}
	return err == nil
}

// kindOf is how a client would report an error.
func kindOf(err error) string {
	var status *harness.StatusError
	var network net.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &status):
		return strconv.Itoa(status.Status)
	case errors.Is(err, errWrongBytes):
		return wrongBytes
	case errors.As(err, &network) && network.Timeout():
		return timeOut
	}
	return brokeOff
}

// image makes a client's next image.
func (l *load) image(rnd *rand.Rand, id, n int) *image {
	sizes := []int{1 + rnd.IntN(300_000), 1 + rnd.IntN(20_000)}
	if n%everyNth == id%everyNth {
		sizes = []int{5<<20 + 1 + rnd.IntN(4<<20)}
	}
	m := &image{tag: fmt.Sprintf("r%d-c%d-%d", l.seed, id, n)}
	manifest := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIImage}
	add := func(mediaType string, b []byte) harness.Descriptor {
		m.blobs = append(m.blobs, b)
		return harness.Descriptor{MediaType: mediaType, Digest: harness.Digest(b), Size: int64(len(b))}
	}
	config := add(harness.OCIConfig, fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","of":"%d %s"}`, l.seed, m.tag))
	manifest.Config = &config
	for _, size := range sizes {
		manifest.Layers = append(manifest.Layers, add(harness.OCILayer, harness.Random(rnd.Uint64(), size)))
	}
	m.raw, _ = json.Marshal(manifest) // has nothing that cannot be written
	m.digest = harness.Digest(m.raw)
	m.uploads = make([]progress, len(m.blobs))
	return m
}

// push pushes an image, or goes on with it after a failure.
func (l *load) push(ctx context.Context, m *image) error {
	for i, b := range m.blobs {
		if err := l.blob(ctx, b, &m.uploads[i]); err != nil {
			if kindOf(err) == timeOut {
				m.uploads[i] = progress{} // the server may still be at it
			}
			return err
		}
	}
	return l.registry.PutManifest(ctx, l.repo, m.tag, harness.OCIImage, m.raw)
}

// blob uploads a blob in chunks, or goes on with it where the registry still has
// the upload.
func (l *load) blob(ctx context.Context, b []byte, u *progress) error {
	if u.done {
		return nil
	}
	digest := harness.Digest(b)
	if u.location != "" {
		a, err := l.registry.Do(ctx, harness.Request{Method: http.MethodHead, Path: "/v2/" + l.repo + "/blobs/" + digest}, http.StatusOK, http.StatusNotFound)
		if err != nil {
			return err
		}
		if a.Status == http.StatusOK {
			u.done = true // the answer was lost, not the blob
			return nil
		}
		n, found, err := l.registry.Received(ctx, u.location)
		if err != nil {
			return err
		}
		if !found {
			u.location = ""
		} else {
			u.sent = n
			l.mu.Lock()
			l.resumed++
			l.mu.Unlock()
		}
	}
	if u.location == "" {
		location, err := l.registry.StartUpload(ctx, l.repo)
		if err != nil {
			return err
		}
		*u = progress{location: location}
	}
	for half := int64(len(b) / 2); len(b) > 1<<20 && u.sent < half; {
		next, err := l.registry.Append(ctx, u.location, u.sent, b[u.sent:half])
		if err != nil {
			return err
		}
		u.location, u.sent = next, half
	}
	if err := l.registry.FinishAt(ctx, u.location, digest, u.sent, b[u.sent:]); err != nil {
		return err
	}
	u.done = true
	return nil
}

// pull fetches an image and compares every digest.
func (l *load) pull(ctx context.Context, tag, digest string) error {
	raw, _, err := l.registry.Manifest(ctx, l.repo, tag)
	if err != nil {
		return err
	}
	if harness.Digest(raw) != digest {
		return fmt.Errorf("%w: the manifest of %s", errWrongBytes, tag)
	}
	var m harness.Manifest
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&m); err != nil {
		return err
	}
	for _, d := range append(m.Layers, *m.Config) {
		a, err := l.registry.Do(ctx, harness.Request{Method: http.MethodGet, Path: "/v2/" + l.repo + "/blobs/" + d.Digest}, http.StatusOK)
		if err != nil {
			return err
		}
		if harness.Digest(a.Body) != d.Digest {
			return fmt.Errorf("%w: %s of %s", errWrongBytes, d.Digest, tag)
		}
	}
	return nil
}

// count is how often clients have seen this, "push: 500".
func (l *load) count(kind string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[kind]
}

// images is how many images have been acknowledged.
func (l *load) images() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tags)
}

// recovered waits until every client has pushed and pulled an image that it began
// after this call.
func (l *load) recovered(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	l.phase++
	l.wait = patience
	l.cycles = [clients]int{}
	l.mu.Unlock()
	eventually(t, "every client pushes and pulls as before", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range l.cycles {
			if n == 0 {
				return false
			}
		}
		return true
	})
}

// finish ends the clients. It may be called twice.
func (l *load) finish() {
	l.mu.Lock()
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.mu.Unlock()
	l.work.Wait()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); {
		if time.Since(began) > limit {
			t.Fatalf("not within %s: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
