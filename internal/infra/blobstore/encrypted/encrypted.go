// Package encrypted seals the bytes of another blobstore.Store: what that
// store keeps is readable only with the key of infra/keys that the object was
// placed under.
//
// A sealed object is a sequence of segments. Each segment holds 64 KiB of
// plaintext, the last one less and possibly nothing, so that an object of n
// bytes has n/65536 + 1 segments. A stored segment is
//
//	nonce (12 bytes, random) | ciphertext | tag (16 bytes)
//
// by AES-256-GCM under the object's own random data key. Its associated data
// is one byte that says what it is (0: more segments follow, 1: the last one,
// 2: the tail of an unfinished object), the index as eight bytes in big-endian
// order, and the object's key. So the place of every byte is known by
// arithmetic; a segment that was cut off, moved within its object or taken
// from another one does not open; and an upload that is cut back and sent
// again never uses a nonce twice.
//
// The plaintext behind the last full segment of an unfinished object, its
// tail, stands sealed in the State and not in the inner store; its associated
// data goes on with a zero byte and the inner store's State. The data key stands
// wrapped, with the object's key as context, in the State and in
// Object.Seal.
//
// The package does not keep keys (infra/keys does), nor choose which key
// protects an object (domain/repository does).
package encrypted

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/keys"
)

// dataKeySize is that of an AES-256 key.
const dataKeySize = 32

// Store is a blobstore.Store that seals what it puts into another one.
// Info.Size in its listings is the sealed size.
type Store struct {
	inner   blobstore.Store
	keys    keys.Manager
	buffers *buffers
}

var (
	_ blobstore.Store        = (*Store)(nil)
	_ blobstore.BatchDeleter = (*Store)(nil)
	_ blobstore.Forgetter    = (*Store)(nil)
)

// New returns a store that keeps its objects in inner, sealed under keys of m.
// A key that m refuses makes Create, Resume and Open fail with
// blobstore.ErrKey and m's own error.
func New(inner blobstore.Store, m keys.Manager) *Store {
	return &Store{inner: inner, keys: m, buffers: newBuffers()}
}

// Create implements blobstore.Store. The inner store gets no key to place the
// object under.
func (s *Store) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	dataKey := make([]byte, dataKeySize)
	defer clear(dataKey)
	_, _ = rand.Read(dataKey) // cannot fail
	wrapped, err := s.keys.Wrap(ctx, p.KeyID, dataKey, []byte(key))
	if err != nil {
		return nil, keyError("create", key, err)
	}
	sealer, err := newSealer(dataKey, key)
	if err != nil {
		return nil, err
	}
	inner, err := s.inner.Create(ctx, key, blobstore.Placement{})
	if err != nil {
		return nil, err
	}
	return &writer{buffers: s.buffers, key: key, inner: inner, sealer: sealer, wrapped: wrapped}, nil
}

// Resume implements blobstore.Store.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	parts, err := parseState(state)
	if err != nil {
		return nil, fmt.Errorf("resume %q: %w", key, err)
	}
	sealer, err := s.unwrap(ctx, "resume", key, parts.wrapped)
	if err != nil {
		return nil, err
	}
	w := &writer{buffers: s.buffers, key: key, sealer: sealer, wrapped: parts.wrapped, segments: parts.segments}
	// The State is judged before the inner store cuts anything off.
	if err := w.openTail(parts); err != nil {
		return nil, fmt.Errorf("resume %q: %w", key, err)
	}
	inner, err := s.inner.Resume(ctx, key, parts.inner)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.inner = inner
	if want := parts.segments * sealedSegment; inner.Offset() != want {
		err := fmt.Errorf("%w: resume %q: the inner store stands at %d, not %d", blobstore.ErrCorrupt, key, inner.Offset(), want)
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Open implements blobstore.Store. It reads no more than the segments that the
// part lies in.
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if err := blobstore.CheckKey(o.Key); err != nil {
		return nil, err
	}
	length, err := o.Span(offset, length)
	if err != nil {
		return nil, err
	}
	if o.Size > maxSize {
		return nil, fmt.Errorf("%w: open %q: no object has %d bytes", blobstore.ErrCorrupt, o.Key, o.Size)
	}
	wrapped, innerSeal, err := parseSeal(o.Seal)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", o.Key, err)
	}
	sealer, err := s.unwrap(ctx, "open", o.Key, wrapped)
	if err != nil {
		return nil, err
	}
	span := locate(o.Size, offset, length)
	inner, err := s.inner.Open(ctx, blobstore.Object{Key: o.Key, Size: sealedSize(o.Size), Seal: innerSeal}, span.sealedOffset, span.sealedLength)
	if err != nil {
		return nil, err
	}
	// A copy that the inner store keeps may be what is damaged.
	damaged := func() { blobstore.Forget(s.inner, o.Key) }
	return newReader(s.buffers, o.Key, inner, sealer, span, damaged), nil
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

// Forget implements blobstore.Forgetter.
func (s *Store) Forget(key string) { blobstore.Forget(s.inner, key) }

// unwrap opens the data key of an object.
func (s *Store) unwrap(ctx context.Context, op, key string, wrapped []byte) (*sealer, error) {
	dataKey, err := s.keys.Unwrap(ctx, wrapped, []byte(key))
	if err != nil {
		return nil, keyError(op, key, err)
	}
	defer clear(dataKey)
	if len(dataKey) != dataKeySize {
		return nil, fmt.Errorf("%w: %s %q: the data key has %d bytes", blobstore.ErrKey, op, key, len(dataKey))
	}
	return newSealer(dataKey, key)
}

// keyError tells a key that cannot be used from a key manager that could not
// be asked, which is worth another attempt.
func keyError(op, key string, err error) error {
	if errors.Is(err, keys.ErrDisabled) || errors.Is(err, keys.ErrNotFound) || errors.Is(err, keys.ErrUnwrap) {
		return fmt.Errorf("%w: %s %q: %w", blobstore.ErrKey, op, key, err)
	}
	return fmt.Errorf("blobstore: %s %q: data key: %w", op, key, err)
}
