package cached

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// reader reads the bytes from at to end of an object, chunk by chunk.
type reader struct {
	store   *Store
	object  blobstore.Object
	at, end int64
	// chunk holds the object's bytes from start to start+filled.
	chunk  *[ChunkSize]byte
	start  int64
	filled int64
	// inner is open where chunks were missing: it reads on from innerAt.
	inner   io.ReadCloser
	innerAt int64
	open    func(offset, length int64) (io.ReadCloser, error)
	cancel  <-chan struct{}
	cause   func() error
	err     error
}

var (
	_ io.WriterTo        = (*reader)(nil)
	_ blobstore.Beginner = (*reader)(nil)
)

func newReader(ctx context.Context, s *Store, o blobstore.Object, at, end int64) *reader {
	return &reader{
		store: s, object: o, at: at, end: end, chunk: s.chunks.borrow(),
		open:   func(offset, length int64) (io.ReadCloser, error) { return s.inner.Open(ctx, o, offset, length) },
		cancel: ctx.Done(), cause: ctx.Err,
	}
}

// load brings the chunk that at lies in into memory.
func (r *reader) load() error {
	index := r.at / ChunkSize
	r.start = index * ChunkSize
	r.filled = min(ChunkSize, r.object.Size-r.start)
	p := r.chunk[:r.filled]
	at := place{key: r.object.Key, index: index}
	if r.store.chunks.read(at, p) {
		return nil
	}
	f, first := r.store.chunks.begin(at)
	if first {
		err := r.fetch(p)
		if err != nil {
			p = nil
		}
		r.store.chunks.finish(f, p)
		return err
	}
	select {
	case <-f.done:
	case <-r.cancel:
		return r.cause()
	}
	if r.store.chunks.read(at, p) {
		return nil
	}
	return r.fetch(p) // it failed for them, or could not be kept
}

// fetch fills p with the chunk from the inner store. One stream serves all chunks
// that are missing in a row.
func (r *reader) fetch(p []byte) error {
	if r.inner != nil && r.innerAt != r.start {
		r.closeInner()
	}
	if r.inner == nil {
		last := (r.end - 1) / ChunkSize
		stop := min((last+1)*ChunkSize, r.object.Size)
		inner, err := r.open(r.start, stop-r.start)
		if err != nil {
			return err
		}
		r.inner, r.innerAt = inner, r.start
	}
	n, err := io.ReadFull(r.inner, p)
	r.innerAt += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: read %q: it ends at %d of %d", blobstore.ErrCorrupt, r.object.Key, r.innerAt, r.object.Size)
	}
	if err == nil && r.innerAt == r.object.Size {
		// What the inner store finds out at its end has a say.
		var b [1]byte
		if _, end := r.inner.Read(b[:]); end != io.EOF && end != nil {
			err = end
		}
	}
	if err != nil {
		r.closeInner()
	}
	return err
}

func (r *reader) closeInner() {
	_ = r.inner.Close() // it was only read
	r.inner = nil
}

// piece is what can be read now.
func (r *reader) piece() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.at == r.end {
		return nil, io.EOF
	}
	if r.at >= r.start+r.filled {
		if r.err = r.load(); r.err != nil {
			return nil, r.err
		}
	}
	return r.chunk[r.at-r.start : min(r.filled, r.end-r.start)], nil
}

// Begin implements blobstore.Beginner: it has the first chunk in memory.
func (r *reader) Begin() error {
	if _, err := r.piece(); err != io.EOF {
		return err
	}
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	piece, err := r.piece()
	n := copy(p, piece)
	r.at += int64(n)
	return n, err
}

func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		piece, err := r.piece()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(piece)
		r.at += int64(n)
		total += int64(n)
		if err == nil && n < len(piece) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
}

func (r *reader) Close() error {
	if r.inner != nil {
		r.closeInner()
	}
	if r.chunk != nil {
		r.store.chunks.buffers.Put(r.chunk)
		r.chunk = nil
		if r.err == nil {
			r.err = fmt.Errorf("%w: the reader of %q was closed", blobstore.ErrEnded, r.object.Key)
		}
	}
	return nil
}

// borrow lends memory for a chunk.
func (c *chunks) borrow() *[ChunkSize]byte {
	if b, ok := c.buffers.Get().(*[ChunkSize]byte); ok {
		return b
	}
	return new([ChunkSize]byte)
}
