package fetch

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/berth-registry/berth/internal/domain/repository"
)

// heldBack is how much of a blob's end clients get only when its digest has been
// verified, so that nobody ever gets a whole wrong blob. Of a shorter blob it is all.
const heldBack = 64 << 10

// phase is how far a fetch is.
type phase int

const (
	waiting phase = iota // for a place, a lease, or the upstream's first answer
	remote               // another node fetches the blob
	flowing              // bytes come
	stored               // the layer store has the blob
	failed
)

// Fetch is a blob on its way into the layer store, with all who follow it.
type Fetch struct {
	r    repository.Repository
	blob Blob
	// forget is called once, before the fetch is over, so that who comes later looks
	// into the layer store, or begins anew.
	forget func()

	mu sync.Mutex
	// changed is closed, and made anew, when anything below changes.
	changed chan struct{}
	phase   phase
	err     error // of failed
	// base is where file begins within the blob: the bytes before it came earlier. written
	// is where it ends.
	base, written int64
	whole         bool     // all bytes have come, and the upstream has said that these are all
	file          *os.File // nil before the first byte may come, and after the last user has gone
	users         int
}

// key is what there is one fetch of in a process. The size belongs to it: what a
// false manifest says must not fail who has the right one.
type key struct {
	repository int64
	digest     string
	size       int64
}

func newFetch(r repository.Repository, b Blob) *Fetch {
	return &Fetch{r: r, blob: b, changed: make(chan struct{}), users: 1}
}

// change alters the fetch and wakes who follows it.
func (f *Fetch) change(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	close(f.changed)
	f.changed = make(chan struct{})
}

// use keeps the file for one more user.
func (f *Fetch) use() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users++
}

// Release ends what Begin began for its caller; the fetch goes on. The last user closes
// the file.
func (f *Fetch) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 && f.file != nil {
		_ = f.file.Close() // it has no name, and nobody reads it any more
		f.file = nil
	}
}

// over ends the fetch.
func (f *Fetch) over(err error) {
	f.forget()
	f.change(func() {
		f.phase, f.err = stored, nil
		if err != nil {
			f.phase, f.err = failed, err
		}
	})
}

// state is what a follower sees at one moment.
type state struct {
	phase         phase
	err           error
	base, written int64
	whole         bool
	file          *os.File
	changed       <-chan struct{}
}

func (f *Fetch) state() state {
	f.mu.Lock()
	defer f.mu.Unlock()
	return state{phase: f.phase, err: f.err, base: f.base, written: f.written, whole: f.whole, file: f.file, changed: f.changed}
}

// visible is how far clients may read.
func (s state) visible(size int64) int64 {
	if s.phase == stored {
		return s.written
	}
	return min(s.written, max(0, size-heldBack))
}

// Wait waits for the end of the fetch: nil says that the layer store has the blob.
func (f *Fetch) Wait(ctx context.Context) error {
	return f.until(ctx, stored)
}

// until waits until the fetch is at least in the given phase. Its failure is the error.
func (f *Fetch) until(ctx context.Context, p phase) error {
	for {
		s := f.state()
		if s.phase == failed || s.phase >= p {
			return s.err
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin opens the file for the bytes from base on.
func (f *Fetch) begin(dir string, base int64) error {
	file, err := os.CreateTemp(dir, spoolPattern)
	if err != nil {
		return spoolError(err)
	}
	if err := os.Remove(file.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(spoolError(err), file.Close())
	}
	f.change(func() { f.base, f.written, f.file = base, base, file })
	return nil
}

// spoolPattern names a file between its making and its unlinking.
const spoolPattern = "berth-pull-*"

// add appends bytes. Only the one who downloads calls it.
func (f *Fetch) add(p []byte) error {
	s := f.state()
	if _, err := s.file.WriteAt(p, s.written-s.base); err != nil {
		return spoolError(err)
	}
	f.change(func() { f.written += int64(len(p)) })
	return nil
}

// spoolError is the failure to keep bytes on their way.
func spoolError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return repository.StorageFull(err)
	}
	return err
}

// intake is the reader that the upload into the layer store has: all bytes from the
// base on, as they come.
type intake struct {
	f    *Fetch
	off  int64
	done <-chan struct{} // the upload's end
}

// Read waits for bytes.
func (r *intake) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		s := r.f.state()
		switch {
		case s.phase == failed:
			return 0, s.err
		case r.off < s.written:
			n, err := s.file.ReadAt(p[:min(int64(len(p)), s.written-r.off)], r.off-s.base)
			r.off += int64(n)
			if n > 0 {
				err = nil
			}
			return n, err
		case s.whole:
			return 0, io.EOF
		}
		select {
		case <-s.changed:
		case <-r.done:
			return 0, context.Canceled
		}
	}
}

// follower is the reader that a client has.
type follower struct {
	f        *Fetch
	off, end int64
	done     <-chan struct{} // the client's end
	// store opens the layer where it is stored.
	store func(offset, length int64) (io.ReadCloser, error)
	body  io.ReadCloser // of the store, once it is used
	gone  sync.Once
}

// Read waits for bytes that may be read. After a failure it never says that the blob
// has ended.
func (r *follower) Read(p []byte) (int, error) {
	if r.body != nil {
		return r.body.Read(p)
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		s := r.f.state()
		inFile := s.file != nil && r.off >= s.base
		switch {
		case s.phase == failed:
			return 0, s.err
		case r.off == r.end && (s.phase == stored || r.end < r.f.blob.Size):
			return 0, io.EOF
		case inFile && r.off < s.visible(r.f.blob.Size):
			return r.readFile(s, p)
		case s.phase == stored:
			body, err := r.store(r.off, r.end-r.off)
			if err != nil {
				return 0, err
			}
			r.body = body
			return body.Read(p)
		}
		select {
		case <-s.changed:
		case <-r.done:
			return 0, context.Canceled
		}
	}
}

func (r *follower) readFile(s state, p []byte) (int, error) {
	n := min(int64(len(p)), s.visible(r.f.blob.Size)-r.off, r.end-r.off)
	if n == 0 { // an empty range before the end
		return 0, io.EOF
	}
	k, err := s.file.ReadAt(p[:n], r.off-s.base)
	r.off += int64(k)
	if k > 0 {
		err = nil
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return k, err
}

// Close ends the following; the fetch goes on.
func (r *follower) Close() (err error) {
	r.gone.Do(func() {
		if r.body != nil {
			err = r.body.Close()
		}
		r.f.Release()
	})
	return err
}
