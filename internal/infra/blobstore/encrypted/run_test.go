package encrypted

import (
	"bytes"
	"crypto/rand"
	"io"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

// TestManyReaders: beyond the bound readers go on with little memory each, and all
// of them see the same bytes.
func TestManyReaders(t *testing.T) {
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	s := New(memory.New(), ring)
	for _, size := range []int{3*segmentSize - 1, 3 * segmentSize, longSegments * segmentSize, 2*longSegments*segmentSize + 77} {
		plain := make([]byte, size)
		_, _ = rand.Read(plain) // cannot fail
		w, err := s.Create(t.Context(), "a", blobstore.Placement{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		o, err := w.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var readers []io.ReadCloser
		short := 0
		for range longRuns + 5 {
			r, err := s.Open(t.Context(), o, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if err := blobstore.Begin(r); err != nil {
				t.Fatal(err)
			}
			if r.(*reader).run.gap == 0 {
				short++
			}
			readers = append(readers, r)
		}
		if short != 5 {
			t.Errorf("%d readers of %d bytes have a short run, want 5", short, size)
		}
		for i := len(readers) - 1; i >= 0; i-- { // those with short runs first
			var got bytes.Buffer
			if _, err := readers[i].(io.WriterTo).WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), plain) {
				t.Errorf("reader %d of %d bytes: %d bytes, %v", i, size, got.Len(), err)
			}
			if err := readers[i].Close(); err != nil {
				t.Error(err)
			}
		}
		if n := s.buffers.toRead.Lent(); n != 0 {
			t.Errorf("%d long runs are still lent", n)
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLongRunsComeBack: a reader that began when memory was scarce takes longer runs
// when there is some.
func TestLongRunsComeBack(t *testing.T) {
	b := newBuffers()
	var lent []run
	for range longRuns {
		lent = append(lent, b.borrow(1<<20))
	}
	scarce := b.borrow(1 << 20)
	if scarce.gap != 0 {
		t.Fatal("more long runs than there may be")
	}
	b.giveBack(scarce)
	b.giveBack(lent[0])
	if r := b.borrow(1 << 20); r.gap == 0 {
		t.Error("a long run was given back, and is not lent again")
	}
	if r := b.borrow(sealedSegment + overhead); r.gap != 0 {
		t.Error("a segment takes a long run")
	}
}

// TestNoAllocations: reading takes no memory for each run.
func TestNoAllocations(t *testing.T) {
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	s := New(memory.New(), ring)
	per := map[int]float64{}
	for _, runs := range []int{1, 9} {
		key := []string{"a", "b"}[runs/9]
		w, err := s.Create(t.Context(), key, blobstore.Placement{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(make([]byte, runs*longSegments*segmentSize)); err != nil {
			t.Fatal(err)
		}
		o, err := w.Commit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		per[runs] = testing.AllocsPerRun(20, func() {
			r, err := s.Open(t.Context(), o, 0, -1)
			if err == nil {
				_, err = r.(io.WriterTo).WriteTo(discarding{})
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close() // it was only read
		})
	}
	// Fewer than one a run: whatever else runs in the process counts too.
	if more := per[9] - per[1]; more >= 4 {
		t.Errorf("eight runs more take %v allocations more", more)
	}
}

type discarding struct{}

func (discarding) Write(p []byte) (int, error) { return len(p), nil }
