// Package reserve keeps the last bytes of a medium free of layers: what else
// stands there, a database above all, needs room too, and a registry that cannot
// write its metadata can do less than one that takes no more layers.
//
// It does not count who uses how much (quotas do), and does not know which medium
// it looks at. It stands outside of a store that seals: an upload that has all
// its bytes is finished below the mark too, and sealing writes to do so.
package reserve

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
)

// checkEvery is how long one look at the medium holds.
const checkEvery = time.Second

// Store is a blobstore.Store that takes no new bytes while its medium has less
// room than it has to keep: Create fails with blobstore.ErrFull, and so does the
// first Write of a Writer that Resume gave. Reading, deleting, Writers that are
// under way and the Commit of what is there go on.
type Store struct {
	inner blobstore.Store
	least uint64
	free  func() (uint64, error)
	clk   clock.Clock

	mu    sync.Mutex
	until time.Time // the last look holds
	full  error
}

var (
	_ blobstore.Store        = (*Store)(nil)
	_ blobstore.BatchDeleter = (*Store)(nil)
	_ blobstore.Redirector   = (*Store)(nil)
	_ blobstore.Forgetter    = (*Store)(nil)
)

// New returns a store that keeps its objects in inner and least bytes free, by
// what free says. While free fails nothing is refused: the medium itself will
// say when it is full.
func New(inner blobstore.Store, least uint64, free func() (uint64, error), clk clock.Clock) *Store {
	return &Store{inner: inner, least: least, free: free, clk: clk}
}

// room is blobstore.ErrFull below the mark.
func (s *Store) room() error {
	now := s.clk.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.until) && s.until.Sub(now) <= checkEvery {
		return s.full
	}
	s.until, s.full = now.Add(checkEvery), nil
	if free, err := s.free(); err == nil && free < s.least {
		s.full = fmt.Errorf("%w: %d bytes are free, and %d are to stay so", blobstore.ErrFull, free, s.least)
	}
	return s.full
}

// Create implements blobstore.Store.
func (s *Store) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	if err := s.room(); err != nil {
		return nil, err
	}
	return s.inner.Create(ctx, key, p)
}

// Resume implements blobstore.Store. What has to be written is refused, and not
// that an upload which has all its bytes is opened to be finished.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	w, err := s.inner.Resume(ctx, key, state)
	if err != nil {
		return nil, err
	}
	return &writer{Writer: w, store: s}, nil
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	return s.inner.Open(ctx, o, offset, length)
}

// Delete implements blobstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error { return s.inner.Delete(ctx, key) }

// List implements blobstore.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return s.inner.List(ctx, prefix)
}

// DeleteAll implements blobstore.BatchDeleter.
func (s *Store) DeleteAll(ctx context.Context, keys []string) (map[string]error, error) {
	return blobstore.DeleteAll(ctx, s.inner, keys)
}

// Redirect implements blobstore.Redirector.
func (s *Store) Redirect(ctx context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	return blobstore.Redirect(ctx, s.inner, o, life, contentType)
}

// Forget implements blobstore.Forgetter.
func (s *Store) Forget(key string) { blobstore.Forget(s.inner, key) }

// writer looks for room before its first byte.
type writer struct {
	blobstore.Writer
	store   *Store
	begun   bool
	refused error
}

// Write implements blobstore.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.refused == nil && !w.begun && len(p) > 0 {
		w.begun = true
		w.refused = w.store.room()
	}
	if w.refused != nil {
		return 0, w.refused
	}
	return w.Writer.Write(p)
}

// Suspend implements blobstore.Writer.
func (w *writer) Suspend(ctx context.Context) (blobstore.State, error) {
	if w.refused != nil {
		return nil, w.refused
	}
	return w.Writer.Suspend(ctx)
}

// Commit implements blobstore.Writer.
func (w *writer) Commit(ctx context.Context) (blobstore.Object, error) {
	if w.refused != nil {
		return blobstore.Object{}, w.refused
	}
	return w.Writer.Commit(ctx)
}
