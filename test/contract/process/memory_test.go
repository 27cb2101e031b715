package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

var big = flag.Bool("big", false, "also push and pull a layer of 10 GiB; it takes minutes and 11 GiB of disk")

const mib = 1 << 20

// memoryLimit is what the server may take for one layer, however large.
const memoryLimit = 150 * mib

// TestManyPushes pushes 1 MiB from each of 200 clients at once.
func TestManyPushes(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "many")
	registry := s.Registry(t)
	const n = 200
	contents := make([][]byte, n)
	for i := range contents {
		contents[i] = harness.Random(uint64(i), mib)
	}
	began := time.Now()
	failures := make([]error, n)
	var pushes sync.WaitGroup
	for i := range n {
		pushes.Go(func() {
			if i%2 == 0 {
				_, failures[i] = registry.PutBlob(t.Context(), "many", contents[i])
				return
			}
			location, err := registry.StartUpload(t.Context(), "many")
			for sent := 0; err == nil && sent < mib; sent += 256 << 10 {
				location, err = registry.Append(t.Context(), location, int64(sent), contents[i][sent:sent+256<<10])
			}
			if err == nil {
				err = registry.Finish(t.Context(), location, harness.Digest(contents[i]), nil)
			}
			failures[i] = err
		})
	}
	pushes.Wait()
	took := time.Since(began)
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	for i := range contents {
		if _, err := registry.Blob(t.Context(), "many", harness.Digest(contents[i])); err != nil {
			t.Fatal(err)
		}
	}
	peak := s.PeakMemory(t)
	// A constant for each push, on top of what one server may take.
	const limit = memoryLimit + n*(mib/2)
	t.Logf("200 pushes of 1 MiB at once: %s, %.0f MiB/s, the server's peak memory %d MiB", took.Round(time.Millisecond), n/took.Seconds(), peak/mib)
	if peak > limit {
		t.Errorf("the server took %d MiB, at most %d are allowed", peak/mib, limit/mib)
	}
	s.MustFsck(t)
}

// TestBigLayer sends a layer through in one piece and gets it back, and looks at
// the server's memory: 512 MiB, and with -big 10 GiB.
func TestBigLayer(t *testing.T) {
	size := int64(512 * mib)
	if *big {
		size = 10 << 30
	}
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "big")
	registry := s.Registry(t)
	sum := sha256.New()
	if _, err := io.Copy(sum, newStream(size)); err != nil {
		t.Fatal(err)
	}
	digest := "sha256:" + hex.EncodeToString(sum.Sum(nil))
	in := time.Now()
	location, err := registry.StartUpload(t.Context(), "big")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := registry.Do(t.Context(), harness.Request{
		Method: http.MethodPatch, Path: location, Body: newStream(size), Length: size,
	}, http.StatusAccepted)
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Finish(t.Context(), answer.Header.Get("Location"), digest, nil); err != nil {
		t.Fatal(err)
	}
	inTook := time.Since(in)
	out := time.Now()
	if err := readBack(t, registry, digest, size); err != nil {
		t.Fatal(err)
	}
	outTook := time.Since(out)
	peak := s.PeakMemory(t)
	rate := func(d time.Duration) float64 { return float64(size) / mib / d.Seconds() }
	t.Logf("a layer of %d MiB: in %s (%.0f MiB/s), out %s (%.0f MiB/s), the server's peak memory %d MiB",
		size/mib, inTook.Round(time.Millisecond), rate(inTook), outTook.Round(time.Millisecond), rate(outTook), peak/mib)
	if peak > memoryLimit {
		t.Errorf("the server took %d MiB, at most %d are allowed", peak/mib, memoryLimit/mib)
	}
}

func readBack(t *testing.T, registry *harness.Registry, digest string, size int64) error {
	t.Helper()
	response, err := registry.Open(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/big/blobs/" + url.PathEscape(digest)})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end or failed
	sum := sha256.New()
	n, err := io.Copy(sum, response.Body)
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); err == nil && (n != size || got != digest) {
		err = fmt.Errorf("%d bytes with the digest %s came back, want %d with %s", n, got, size, digest)
	}
	return err
}

// newStream is random bytes, the same ones each time, that are nowhere kept.
func newStream(size int64) io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
