package fs

import (
	"errors"
	"sync/atomic"
	"syscall"

	"github.com/berth-registry/berth/internal/infra/blobstore/arena"
)

const (
	// flushSize is what one write past the page cache takes, in bytes: larger ones
	// cost hardly less per byte.
	flushSize = 512 << 10
	// maxLent is how many bytes can be lent. A block has room for them whatever it
	// holds, as it is flushed when it holds flushSize.
	maxLent   = 264 << 10
	blockSize = flushSize + maxLent
	// directLeast is the smallest write, in bytes, that is worth passing the page
	// cache by.
	directLeast = 64 << 10
	// alignment is what the file's position, the memory and the length of such a
	// write have to be multiples of. It is at least what today's file systems ask for.
	alignment = 4 << 10
	// maxBlocks bounds the memory, to 12 MiB: a writer that gets no block does without.
	maxBlocks = 16
)

// blocks lends memory to writers.
type blocks struct {
	arena *arena.Arena
	off   atomic.Bool // the file system cannot do it
}

// get lends a block, nil if there is none to be had.
func (b *blocks) get() []byte {
	if !canDirect || b.off.Load() {
		return nil
	}
	return b.arena.Get()
}

// plain writes p by way of the page cache.
func (w *writer) plain(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if w.direct {
		if err := setDirect(w.file, false); err != nil {
			return storeError("write", w.key, err)
		}
		w.direct = false
	}
	if _, err := w.file.Write(p); err != nil {
		return storeError("write", w.key, err)
	}
	return nil
}

// begin gets the writer a block, if the next write, of n bytes, is worth one.
func (w *writer) begin(n int) {
	if w.block == nil && n >= directLeast {
		w.block = w.store.blocks.get()
	}
}

// Lend implements blobstore.Lender.
func (w *writer) Lend(n int) []byte {
	if n > maxLent || w.usable() != nil {
		return nil
	}
	if w.offset%alignment == 0 {
		w.begin(n)
	}
	if w.block == nil {
		return nil
	}
	return w.block[w.held : w.held+n]
}

// gather puts p into the block, and flushes that when it holds enough. What does not
// fill the last page stays.
func (w *writer) gather(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), len(w.block)-w.held)
		if &p[0] != &w.block[w.held] { // else it was lent
			copy(w.block[w.held:], p[:n])
		}
		p = p[n:]
		if w.held += n; w.held < flushSize {
			continue
		}
		held := w.held
		full := held &^ (alignment - 1)
		if err := w.flush(full); err != nil {
			return err
		}
		w.held = copy(w.block, w.block[full:held])
	}
	return nil
}

// flush writes the first n bytes of the block, a multiple of alignment. A file system
// that cannot pass its cache by says so here.
func (w *writer) flush(n int) error {
	p := w.block[:n]
	if w.store.blocks.off.Load() {
		return w.plain(p)
	}
	if !w.direct {
		if setDirect(w.file, true) != nil {
			w.store.blocks.off.Store(true)
			return w.plain(p)
		}
		w.direct = true
	}
	done, err := w.file.Write(p)
	if errors.Is(err, syscall.EINVAL) {
		w.store.blocks.off.Store(true)
		return w.plain(p[done:])
	}
	if err != nil {
		return storeError("write", w.key, err)
	}
	return nil
}

// settle writes what the block holds, and gives it back.
func (w *writer) settle() error {
	if w.block == nil {
		return nil
	}
	defer w.release()
	rest := w.block[:w.held]
	if n := w.held &^ (alignment - 1); n >= directLeast {
		if err := w.flush(n); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return w.plain(rest)
}

func (w *writer) release() {
	if w.block != nil {
		w.store.blocks.arena.Put(w.block)
		w.block, w.held = nil, 0
	}
}
