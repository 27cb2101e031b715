package encrypted

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// writer seals every segment as soon as it is full, straight from the caller's
// bytes where a whole one stands in them. Between two Writes it holds the tail
// and nothing else.
type writer struct {
	buffers  *buffers
	key      string
	inner    blobstore.Writer
	sealer   *sealer
	wrapped  []byte // the data key
	segments int64  // sealed so far
	tail     *[segmentSize]byte
	tailSize int // always less than a segment between two calls
	ended    bool
	err      error // the Write that failed
}

var _ blobstore.Writer = (*writer)(nil)

func (w *writer) Offset() int64 { return w.segments*segmentSize + int64(w.tailSize) }

func (w *writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	size := len(p)
	if w.tailSize+len(p) < segmentSize {
		w.keep(p)
		return size, nil
	}
	run, giveBack := w.run(w.tailSize + len(p))
	defer func() { giveBack() }()
	if w.tailSize > 0 {
		n := copy(w.tail[w.tailSize:], p)
		p = p[n:]
		run = w.seal(run, w.tail[:])
		w.tailSize = 0
	}
	for len(p) >= segmentSize {
		if cap(run)-len(run) < sealedSegment {
			if err := w.flush(run); err != nil {
				return 0, err
			}
			giveBack()
			run, giveBack = w.run(len(p))
		}
		run = w.seal(run, p[:segmentSize])
		p = p[segmentSize:]
	}
	if err := w.flush(run); err != nil {
		return 0, err
	}
	w.keep(p)
	return size, nil
}

// run is memory for a run of segments out of n bytes: the inner writer's own, if it lends
// some.
func (w *writer) run(n int) (run []byte, giveBack func()) {
	if lent := blobstore.Lend(w.inner, runSize); lent != nil {
		return lent[:0:runSize], func() {}
	}
	if n < 2*segmentSize {
		short := w.buffers.borrow(sealedSegment)
		return short.bytes[:0:sealedSegment], func() { w.buffers.giveBack(short) }
	}
	buffer := w.buffers.run()
	return buffer[:0], func() { w.buffers.runs.Put(buffer) }
}

// keep puts p, which leaves the tail less than full, behind the tail.
func (w *writer) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.tail == nil {
		w.tail = w.buffers.segment()
	}
	w.tailSize += copy(w.tail[w.tailSize:], p)
}

// seal appends a full segment to run.
func (w *writer) seal(run, plain []byte) []byte {
	run = w.sealer.seal(run, plain, kindInner, w.segments)
	w.segments++
	return run
}

// flush hands sealed bytes to the inner store.
func (w *writer) flush(sealed []byte) error {
	n, err := w.inner.Write(sealed)
	if err == nil && n < len(sealed) {
		err = io.ErrShortWrite
	}
	w.err = err
	return err
}

// openTail brings back the tail that a State holds.
func (w *writer) openTail(s state) error {
	buffer := w.buffers.segment()
	plain, err := w.sealer.openTail(buffer[:0], s.tail, s.segments, s.inner)
	if err != nil || len(plain) == 0 {
		w.buffers.segments.Put(buffer)
		return err
	}
	w.tail, w.tailSize = buffer, len(plain)
	return nil
}

// usable says why the writer can do no more.
func (w *writer) usable() error {
	if w.err != nil {
		return w.err
	}
	if w.ended {
		return fmt.Errorf("%w: %q", blobstore.ErrEnded, w.key)
	}
	return nil
}

func (w *writer) Suspend(ctx context.Context) (blobstore.State, error) {
	if err := w.usable(); err != nil {
		return nil, err
	}
	defer w.release()
	innerState, err := w.inner.Suspend(ctx)
	if err != nil {
		return nil, err
	}
	sealed := w.sealer.sealTail(w.tailBytes(), w.segments, innerState)
	return state{segments: w.segments, wrapped: w.wrapped, inner: innerState, tail: sealed}.encode(), nil
}

func (w *writer) Commit(ctx context.Context) (blobstore.Object, error) {
	if err := w.usable(); err != nil {
		return blobstore.Object{}, err
	}
	defer w.release()
	size, last := w.Offset(), make([]byte, 0, w.tailSize+overhead)
	if err := w.flush(w.sealer.seal(last, w.tailBytes(), kindLast, w.segments)); err != nil {
		return blobstore.Object{}, errors.Join(err, w.inner.Close())
	}
	o, err := w.inner.Commit(ctx)
	if err != nil {
		return blobstore.Object{}, err
	}
	if o.Size != sealedSize(size) || o.Sealed() {
		return blobstore.Object{}, fmt.Errorf("blobstore: commit %q: the inner store answers %d bytes (want %d), or seals too", w.key, o.Size, sealedSize(size))
	}
	return blobstore.Object{Key: w.key, Size: size, Seal: makeSeal(w.wrapped, o.Seal)}, nil
}

func (w *writer) tailBytes() []byte {
	if w.tail == nil {
		return nil
	}
	return w.tail[:w.tailSize]
}

func (w *writer) Close() error {
	w.release()
	if w.inner == nil {
		return nil // Resume did not get that far
	}
	return w.inner.Close()
}

// release ends the writer and gives its memory back.
func (w *writer) release() {
	w.ended = true
	if w.tail != nil {
		w.buffers.segments.Put(w.tail)
		w.tail = nil
	}
}
