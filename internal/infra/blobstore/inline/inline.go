// Package inline keeps small objects out of another blobstore.Store: their bytes
// stand in their Seals, and so in the row of whoever remembers the Object. That
// saves making, syncing and opening a file, or requests to object storage, for
// configurations and other blobs that are not larger than a file's name and inode.
//
// An object that is as small as that when it is committed is not stored anywhere
// else. It is not listed, deleting it does nothing, and it can be read by whoever
// has the Object. An unfinished one stands in its State until it outgrows it.
//
// The package does not seal: a store that does stands outside of it, and puts what
// this one gives as Seal into its own.
package inline

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// Max is the greatest size that an object in its Seal can have, in bytes: rows
// that hold one are read with others. Sealed, 16 KiB are not more.
const Max = 16<<10 + 256

// The first bytes of a State. The inner store's own States, which begin with
// something else, are taken as well.
const (
	stateHeld  = 0xb1 // the bytes follow behind their number as a varint
	stateInner = 0xb2 // the inner store's State follows
)

// Store is a blobstore.Store over another one.
type Store struct {
	inner blobstore.Store
	max   int
}

var (
	_ blobstore.Store        = (*Store)(nil)
	_ blobstore.BatchDeleter = (*Store)(nil)
	_ blobstore.Redirector   = (*Store)(nil)
	_ blobstore.Forgetter    = (*Store)(nil)
)

// New returns a store that keeps objects of up to max bytes in their Seals, at
// most Max, and others in inner. With 0 or less all new objects stand in inner;
// what was made before can be read and goes on all the same.
func New(inner blobstore.Store, max int) *Store { return &Store{inner: inner, max: min(max, Max)} }

// Create implements blobstore.Store. The inner store's Create is called once the
// object has outgrown its Seal, and what it refuses is a failure of that Write.
func (s *Store) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	w := &writer{key: key, max: s.max, begin: func() (blobstore.Writer, error) { return s.inner.Create(ctx, key, p) }}
	if s.max <= 0 {
		if err := w.spill(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Resume implements blobstore.Store.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	w := &writer{key: key, max: s.max}
	if len(state) > 0 && state[0] == stateHeld {
		size, n := binary.Uvarint(state[1:])
		if n <= 0 || size > Max || size != uint64(len(state)-1-n) {
			return nil, fmt.Errorf("%w: resume %q: not a state of this store", blobstore.ErrCorrupt, key)
		}
		w.held = slices.Clone(state[1+n:])
		w.begin = func() (blobstore.Writer, error) {
			// A writer that was lost may have outgrown the State before.
			if err := s.inner.Delete(ctx, key); err != nil {
				return nil, err
			}
			return s.inner.Create(ctx, key, blobstore.Placement{})
		}
		return w, nil
	}
	if len(state) > 0 && state[0] == stateInner {
		state = state[1:]
	}
	var err error
	if w.inner, err = s.inner.Resume(ctx, key, state); err != nil {
		return nil, err
	}
	return w, nil
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if !o.Within() {
		return s.inner.Open(ctx, o, offset, length)
	}
	if err := blobstore.CheckKey(o.Key); err != nil {
		return nil, err
	}
	length, err := o.Span(offset, length)
	if err != nil {
		return nil, err
	}
	held := o.Seal[1:]
	if o.Seal[0] != blobstore.PlainWithin || int64(len(held)) != o.Size {
		return nil, fmt.Errorf("%w: open %q: the seal holds %d bytes of %d", blobstore.ErrCorrupt, o.Key, len(held), o.Size)
	}
	return newReader(held[offset : offset+length]), nil
}

// Delete implements blobstore.Store. An object in a Seal may have left a rest in the
// inner store, of an upload that was lost when it was larger.
func (s *Store) Delete(ctx context.Context, key string) error { return s.inner.Delete(ctx, key) }

// List implements blobstore.Store.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return s.inner.List(ctx, prefix)
}

// DeleteAll implements blobstore.BatchDeleter.
func (s *Store) DeleteAll(ctx context.Context, keys []string) (map[string]error, error) {
	return blobstore.DeleteAll(ctx, s.inner, keys)
}

// Redirect implements blobstore.Redirector. What stands in a Seal has no URL.
func (s *Store) Redirect(ctx context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	if o.Within() {
		return "", false, nil
	}
	return blobstore.Redirect(ctx, s.inner, o, life, contentType)
}

// Forget implements blobstore.Forgetter.
func (s *Store) Forget(key string) { blobstore.Forget(s.inner, key) }
