// Package measured tells an observer what a blobstore.Store was asked to do, how
// long that took and what came of it.
//
// It changes nothing of what the store does, and does not know what becomes of
// the numbers (app/observe does). It stands right on the store whose medium is to
// be measured, inside of one that seals.
package measured

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// Op is something that a store was asked to do.
type Op string

// The operations. Read is one reading from Open to the reader's Close, of which
// FirstByte is the time from Open until bytes came, or Begin said that there are
// some; Write is one Write of a
// Writer; List is a whole walk.
const (
	Create    Op = "create"
	Resume    Op = "resume"
	Write     Op = "write"
	Suspend   Op = "suspend"
	Commit    Op = "commit"
	Open      Op = "open"
	FirstByte Op = "first_byte"
	Read      Op = "read"
	Delete    Op = "delete"
	DeleteAll Op = "delete_all"
	Redirect  Op = "redirect"
	List      Op = "list"
)

// Ops are all operations.
func Ops() []Op {
	return []Op{Create, Resume, Write, Suspend, Commit, Open, FirstByte, Read, Delete, DeleteAll, Redirect, List}
}

// Done is an operation that is over.
type Done struct {
	Op    Op
	Begun time.Time
	Took  time.Duration
	Bytes int64 // written or read
	Err   error // nil: it went well
}

// Tell is told of an operation when it is over, in the goroutine that asked for
// it.
type Tell func(Done)

// Observer gives the Tell for what is asked for under ctx; for a Writer and a
// reader that is the context which they were opened with.
type Observer func(ctx context.Context) Tell

// Store is a blobstore.Store that is watched.
type Store struct {
	inner   blobstore.Store
	observe Observer
}

var _ blobstore.Store = (*Store)(nil)

// New returns inner with an observer.
func New(inner blobstore.Store, o Observer) *Store { return &Store{inner: inner, observe: o} }

func (t Tell) done(op Op, begun time.Time, n int64, err error) {
	t(Done{Op: op, Begun: begun, Took: time.Since(begun), Bytes: n, Err: err})
}

// Create implements blobstore.Store.
func (s *Store) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	tell, begun := s.observe(ctx), time.Now()
	w, err := s.inner.Create(ctx, key, p)
	tell.done(Create, begun, 0, err)
	if err != nil {
		return nil, err
	}
	return &writer{Writer: w, tell: tell}, nil
}

// Resume implements blobstore.Store.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	tell, begun := s.observe(ctx), time.Now()
	w, err := s.inner.Resume(ctx, key, state)
	tell.done(Resume, begun, 0, err)
	if err != nil {
		return nil, err
	}
	return &writer{Writer: w, tell: tell}, nil
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	tell, begun := s.observe(ctx), time.Now()
	r, err := s.inner.Open(ctx, o, offset, length)
	tell.done(Open, begun, 0, err)
	if err != nil {
		return nil, err
	}
	return &reader{inner: r, tell: tell, begun: begun}, nil
}

// Delete implements blobstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	tell, begun := s.observe(ctx), time.Now()
	err := s.inner.Delete(ctx, key)
	tell.done(Delete, begun, 0, err)
	return err
}

// List implements blobstore.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		tell, begun := s.observe(ctx), time.Now()
		var failed error
		defer func() { tell.done(List, begun, 0, failed) }()
		for info, err := range s.inner.List(ctx, prefix) {
			if err != nil {
				failed = err
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// writer tells of each step of an object that is being written.
type writer struct {
	blobstore.Writer
	tell Tell
}

// Write implements blobstore.Writer.
func (w *writer) Write(p []byte) (int, error) {
	begun := time.Now()
	n, err := w.Writer.Write(p)
	w.tell.done(Write, begun, int64(n), err)
	return n, err
}

// Lend implements blobstore.Lender.
func (w *writer) Lend(n int) []byte { return blobstore.Lend(w.Writer, n) }

// Suspend implements blobstore.Writer.
func (w *writer) Suspend(ctx context.Context) (blobstore.State, error) {
	begun := time.Now()
	state, err := w.Writer.Suspend(ctx)
	w.tell.done(Suspend, begun, 0, err)
	return state, err
}

// Commit implements blobstore.Writer.
func (w *writer) Commit(ctx context.Context) (blobstore.Object, error) {
	begun := time.Now()
	o, err := w.Writer.Commit(ctx)
	w.tell.done(Commit, begun, 0, err)
	return o, err
}

// reader tells when the first bytes came, and at its end how many there were.
type reader struct {
	inner io.ReadCloser
	tell  Tell
	begun time.Time
	n     int64
	err   error // what broke the reading off
	begin bool  // bytes have come
	over  bool
}

var (
	_ io.WriterTo        = (*reader)(nil)
	_ blobstore.Beginner = (*reader)(nil)
)

// Begin implements blobstore.Beginner.
func (r *reader) Begin() error {
	err := blobstore.Begin(r.inner)
	if errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if !r.begin {
		r.begin = true
		r.tell.done(FirstByte, r.begun, 0, err)
	}
	if r.err == nil {
		r.err = err
	}
	return err
}

// got notes bytes, or why there are none.
func (r *reader) got(n int64, err error) {
	r.n += n
	if err != nil && err != io.EOF && r.err == nil {
		r.err = err
	}
	if !r.begin && (n > 0 || r.err != nil) {
		r.begin = true
		r.tell.done(FirstByte, r.begun, 0, r.err)
	}
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.inner.Read(p)
	r.got(int64(n), err)
	return n, err
}

// WriteTo lets the inner reader move its bytes as it does best. A w that takes
// bytes from a reader is handed on as it is, so that the kernel can move them;
// then nobody sees when the first came, and FirstByte is not told.
func (r *reader) WriteTo(w io.Writer) (int64, error) {
	to, ok := r.inner.(io.WriterTo)
	if !ok {
		return io.Copy(w, readOnly{r})
	}
	if _, direct := w.(io.ReaderFrom); direct {
		n, err := to.WriteTo(w)
		r.begin = r.begin || n > 0
		r.note(w, n, err)
		return n, err
	}
	watched := &firstWrite{Writer: w, r: r}
	n, err := to.WriteTo(watched)
	r.note(watched, n, err)
	return n, err
}

// note adds what a WriteTo has moved. An error can be the writer's, which is no
// failure of the store: only watched writers tell the two apart, beside bytes that
// are missing.
func (r *reader) note(w io.Writer, n int64, err error) {
	if f, ok := w.(*firstWrite); ok && f.err != nil || !ok && !errors.Is(err, blobstore.ErrCorrupt) {
		err = nil
	}
	r.got(n, err)
}

// readOnly hides WriteTo.
type readOnly struct{ io.Reader }

// firstWrite sees when the first bytes go out, and whether their receiver failed.
type firstWrite struct {
	io.Writer
	r   *reader
	err error
}

// Write implements io.Writer.
func (f *firstWrite) Write(p []byte) (int, error) {
	if !f.r.begin && len(p) > 0 {
		f.r.begin = true
		f.r.tell.done(FirstByte, f.r.begun, 0, nil)
	}
	n, err := f.Writer.Write(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// Close implements io.Closer.
func (r *reader) Close() error {
	err := r.inner.Close()
	if !r.over {
		r.over = true
		r.tell.done(Read, r.begun, r.n, r.err)
	}
	return err
}
