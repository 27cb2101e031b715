package fs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// TestWriterKeepsBytes writes objects in pieces of all sizes, lent and not, with
// interruptions, on stores that pass the page cache by and that do not.
func TestWriterKeepsBytes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	random := make([]byte, 4<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		key := fmt.Sprintf("a/%d", n)
		s.blocks.off.Store(rapid.IntRange(0, 3).Draw(r, "off") == 0)
		w, err := s.Create(t.Context(), key, blobstore.Placement{})
		if err != nil {
			r.Fatal(err)
		}
		size := 0
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			switch rapid.IntRange(0, 5).Draw(r, "step") {
			case 0:
				state, err := w.Suspend(t.Context())
				if err != nil {
					r.Fatal(err)
				}
				if err := os.Truncate(filepath.Join(dir, key), int64(size)); err != nil { // no more than the state says
					r.Fatal(err)
				}
				if w, err = s.Resume(t.Context(), key, state); err != nil {
					r.Fatal(err)
				}
			case 1:
				s.blocks.off.Store(true)
			default:
				most := rapid.SampledFrom([]int{10, alignment, directLeast, maxLent, 2 * flushSize}).Draw(r, "most")
				p := random[size:][:min(rapid.IntRange(0, most).Draw(r, "length"), len(random)-size)]
				if lent := blobstore.Lend(w, len(p)); lent != nil && len(p) > 0 {
					p = lent[:copy(lent, p)]
				}
				if got, err := w.Write(p); err != nil || got != len(p) {
					r.Fatalf("wrote %d of %d, %v", got, len(p), err)
				}
				size += len(p)
			}
			if w.Offset() != int64(size) {
				r.Fatalf("stands at %d of %d", w.Offset(), size)
			}
		}
		o, err := w.Commit(t.Context())
		if err != nil || o.Size != int64(size) {
			r.Fatalf("got %+v, %v, want %d bytes", o, err, size)
		}
		got, err := os.ReadFile(filepath.Join(dir, key))
		if err != nil || !bytes.Equal(got, random[:size]) {
			r.Fatalf("%d of %d bytes are stored, or others, %v", len(got), size, err)
		}
		if lent := s.blocks.arena.Lent(); lent != 0 {
			r.Fatalf("%d blocks were not given back", lent)
		}
	})
}

// TestBlocksAreAligned: what make gives is what the kernel takes.
func TestBlocksAreAligned(t *testing.T) {
	s := open(t, t.TempDir())
	for {
		block := s.blocks.get()
		if block == nil { // all are lent, or there are none
			return
		}
		address, err := strconv.ParseUint(fmt.Sprintf("%p", &block[0]), 0, 64)
		if err != nil || address%alignment != 0 || len(block) != blockSize {
			t.Fatalf("a block of %d bytes at %#x, %v", len(block), address, err)
		}
	}
}

// TestBlocksAreBounded opens more writers than there are blocks: all of them write,
// and none keeps its block.
func TestBlocksAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	content := bytes.Repeat([]byte{7}, directLeast)
	var open []blobstore.Writer
	for i := range maxBlocks + 5 {
		open = append(open, create(t, s, fmt.Sprint(i), string(content)))
	}
	if lent := s.blocks.arena.Lent(); lent > maxBlocks || canDirect && lent != maxBlocks {
		t.Errorf("%d blocks are lent", lent)
	}
	for i, w := range open {
		if i%2 == 0 {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		commit(t, w)
		if got, err := os.ReadFile(filepath.Join(dir, fmt.Sprint(i))); err != nil || !bytes.Equal(got, content) {
			t.Errorf("object %d: %d bytes, %v", i, len(got), err)
		}
	}
	if lent := s.blocks.arena.Lent(); lent != 0 {
		t.Errorf("%d blocks were not given back", lent)
	}
}

// TestNoDirectWrites writes to a file that refuses to be written past the cache.
func TestNoDirectWrites(t *testing.T) {
	s := open(t, t.TempDir())
	w := create(t, s, "a", "").(*writer)
	content := bytes.Repeat([]byte("berth"), flushSize/5+1)
	// Misaligned memory is what the kernel refuses.
	w.block = s.blocks.arena.Get()[1:]
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	commit(t, w)
	got, err := os.ReadFile(filepath.Join(s.root.Name(), "a"))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if canDirect && !s.blocks.off.Load() {
		t.Error("the store would try again")
	}
}

// TestFailedFlush: what the block holds and cannot be written is an error of the
// call that needs it, and the block is given back.
func TestFailedFlush(t *testing.T) {
	s := open(t, t.TempDir())
	for name, end := range map[string]func(w blobstore.Writer) error{
		"suspend": func(w blobstore.Writer) error { _, err := w.Suspend(t.Context()); return err },
		"commit":  func(w blobstore.Writer) error { _, err := w.Commit(t.Context()); return err },
	} {
		w := create(t, s, name, string(bytes.Repeat([]byte("x"), directLeast))).(*writer)
		if err := w.file.Close(); err != nil {
			t.Fatal(err)
		}
		if w.block == nil {
			w.block, w.held = s.blocks.arena.Get(), directLeast // where the system has no such writes
		}
		if err := end(w); !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.EBADF) {
			t.Errorf("%s: %v", name, err)
		}
		_ = w.Close() // its file is closed
		if lent := s.blocks.arena.Lent(); lent != 0 {
			t.Errorf("%s: %d blocks were not given back", name, lent)
		}
	}
}
