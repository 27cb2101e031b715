// Package cached keeps what was read from another blobstore.Store on a local
// disk, so that it is fetched once and not with every read.
//
// Objects are kept in aligned chunks of ChunkSize bytes, as the inner store gives
// them: it stands below encrypted, so that sealed objects are sealed in the cache
// too. What is written passes through and is cached when it is first read. The
// chunks that were not used for the longest time make room for new ones. Each is
// stored with a SHA-256, and one that does not match is fetched anew. When the
// disk fails or is full, reads go to the inner store.
//
// The cache begins empty: what a process before left in the directory is removed.
//
// An object that another node has deleted can be read here until its chunks are
// displaced; keys are never used twice, so it is never another object's bytes. A
// store above that finds bytes damaged calls Forget.
package cached

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

const (
	// ChunkSize is the unit of fetching and keeping, in bytes. An open reader
	// holds one chunk in memory.
	ChunkSize = 512 << 10
	// MinBytes is the least that a cache can have: a few chunks.
	MinBytes = 8 << 20
	// retryDisk is how long nothing is cached after the disk failed.
	retryDisk = time.Minute
)

// Options say where and how much is cached.
type Options struct {
	// Dir is the cache's own directory, made if need be. What is in its
	// subdirectory "chunks" is removed at the start.
	Dir string
	// MaxBytes bounds the size of all chunks on disk, checksums and whole 4 KiB
	// blocks included. Beyond it go only directories (a few hundred KiB) and,
	// for the moment of a read, a chunk that was displaced while it was open. At
	// least MinBytes.
	MaxBytes int64
	// MaxObject is the size of the largest object that is cached, in bytes, so
	// that one huge layer does not displace all others. 0 is a quarter of
	// MaxBytes.
	MaxObject int64
	// Log hears of disk failures; nil discards it.
	Log *slog.Logger
}

// Store is a blobstore.Store that caches reads of another one.
type Store struct {
	inner     blobstore.Store
	maxObject int64
	chunks    *chunks
	lock      *os.File
}

var (
	_ blobstore.Store        = (*Store)(nil)
	_ blobstore.BatchDeleter = (*Store)(nil)
	_ blobstore.Redirector   = (*Store)(nil)
	_ blobstore.Forgetter    = (*Store)(nil)
)

// New returns a store over inner that caches as o says. It fails when the
// directory cannot be used or another process uses it.
func New(inner blobstore.Store, o Options) (*Store, error) {
	if o.MaxBytes < MinBytes {
		return nil, fmt.Errorf("blob cache: %d bytes are too few; give it at least %d", o.MaxBytes, MinBytes)
	}
	if o.Dir == "" {
		return nil, errors.New("blob cache: no directory is named")
	}
	if o.MaxObject == 0 {
		o.MaxObject = o.MaxBytes / 4
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir := filepath.Join(o.Dir, "chunks")
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(o.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("blob cache: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("blob cache: another process uses %s; give each its own directory: %w", o.Dir, err), lock.Close())
	}
	if err := errors.Join(os.RemoveAll(dir), makeDirs(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("blob cache: %w", err), lock.Close())
	}
	return &Store{inner: inner, maxObject: o.MaxObject, chunks: newChunks(dir, o.MaxBytes, o.Log), lock: lock}, nil
}

// Close gives the directory free. What is in it stays until it is used again. No
// other method may be called after it.
func (s *Store) Close() error { return s.lock.Close() }

// Stats is what a cache has done since it was opened.
type Stats struct {
	Hits, Misses int64 // chunks that were read from the disk, and that were fetched
	Bytes        int64 // on disk now, as MaxBytes counts them
}

// Stats returns the numbers so far.
func (s *Store) Stats() Stats { return s.chunks.stats() }

// Create implements blobstore.Store.
func (s *Store) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	return s.inner.Create(ctx, key, p)
}

// Resume implements blobstore.Store.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	return s.inner.Resume(ctx, key, state)
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if err := blobstore.CheckKey(o.Key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	length, err := o.Span(offset, length)
	if err != nil {
		return nil, err
	}
	if length == 0 || o.Size > s.maxObject {
		return s.inner.Open(ctx, o, offset, length)
	}
	r := newReader(ctx, s, o, offset, offset+length)
	if err := r.load(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Delete implements blobstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	// Afterwards, so that no reader brings back what is being deleted.
	defer s.chunks.forget(key)
	return s.inner.Delete(ctx, key)
}

// DeleteAll implements blobstore.BatchDeleter.
func (s *Store) DeleteAll(ctx context.Context, keys []string) (map[string]error, error) {
	defer func() {
		for _, key := range keys {
			s.chunks.forget(key)
		}
	}()
	return blobstore.DeleteAll(ctx, s.inner, keys)
}

// List implements blobstore.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return s.inner.List(ctx, prefix)
}

// Redirect implements blobstore.Redirector.
func (s *Store) Redirect(ctx context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	return blobstore.Redirect(ctx, s.inner, o, life, contentType)
}

// Forget implements blobstore.Forgetter.
func (s *Store) Forget(key string) {
	s.chunks.forget(key)
	blobstore.Forget(s.inner, key)
}
