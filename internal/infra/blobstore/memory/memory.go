// Package memory keeps objects in the process's memory, for tests and for
// trying things out. It keeps every promise of a blobstore.Store save the one
// about power cuts.
package memory

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

const (
	// Bytes are kept in chunks that grow with the object up to maxChunk, so
	// that appending copies nothing.
	minChunk = 4 << 10
	maxChunk = 1 << 20

	// stateFormat is the first byte of every State.
	stateFormat = 1
	stateSize   = 1 + 8
)

// Store is a blobstore.Store in memory.
type Store struct {
	mu      sync.Mutex
	objects map[string]*object
}

var _ blobstore.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{objects: make(map[string]*object)} }

// object is guarded by its own mutex; chunks below size never change once the
// object is committed.
type object struct {
	mu        sync.Mutex
	chunks    [][]byte
	size      int64
	committed bool
	modified  time.Time
}

// Create implements blobstore.Store. A key that is taken is an error.
func (s *Store) Create(ctx context.Context, key string, _ blobstore.Placement) (blobstore.Writer, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[key] != nil {
		return nil, fmt.Errorf("blobstore: create %q: the key is taken", key)
	}
	o := &object{modified: time.Now()}
	s.objects[key] = o
	return &writer{key: key, object: o}, nil
}

// Resume implements blobstore.Store.
func (s *Store) Resume(ctx context.Context, key string, state blobstore.State) (blobstore.Writer, error) {
	if err := check(ctx, key); err != nil {
		return nil, err
	}
	if len(state) != stateSize || state[0] != stateFormat {
		return nil, fmt.Errorf("%w: resume %q: not a state of this store", blobstore.ErrCorrupt, key)
	}
	o, err := s.find("resume", key)
	if err != nil {
		return nil, err
	}
	offset := int64(binary.BigEndian.Uint64(state[1:]))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.committed || offset < 0 || offset > o.size {
		return nil, fmt.Errorf("%w: resume %q at %d", blobstore.ErrNotFound, key, offset)
	}
	o.cut(offset)
	return &writer{key: key, object: o, offset: offset}, nil
}

// Open implements blobstore.Store.
func (s *Store) Open(ctx context.Context, want blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if err := check(ctx, want.Key); err != nil {
		return nil, err
	}
	length, err := want.Span(offset, length)
	if err != nil {
		return nil, err
	}
	o, err := s.find("open", want.Key)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.committed {
		return nil, fmt.Errorf("%w: open %q: not finished", blobstore.ErrNotFound, want.Key)
	}
	if o.size < want.Size {
		return nil, fmt.Errorf("%w: open %q: %d bytes of %d", blobstore.ErrCorrupt, want.Key, o.size, want.Size)
	}
	r := &reader{chunks: o.chunks, left: length}
	r.skip(offset)
	return r, nil
}

// Delete implements blobstore.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

// List implements blobstore.Store; it walks the keys that were there when it
// began.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[blobstore.Info, error] {
	return func(yield func(blobstore.Info, error) bool) {
		s.mu.Lock()
		objects := maps.Clone(s.objects)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(objects)) {
			if err := ctx.Err(); err != nil {
				yield(blobstore.Info{}, err)
				return
			}
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			o := objects[key]
			o.mu.Lock()
			info := blobstore.Info{Key: key, Size: o.size, Modified: o.modified}
			o.mu.Unlock()
			if !yield(info, nil) {
				return
			}
		}
	}
}

// Damage puts in place of an object's stored bytes what change makes of a copy
// of them, so that tests can see what a store above makes of it. ErrNotFound
// when there is no such object.
func (s *Store) Damage(key string, change func(stored []byte) []byte) error {
	o, err := s.find("damage", key)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	changed := change(slices.Concat(o.chunks...))
	o.chunks, o.size = [][]byte{changed}, int64(len(changed))
	return nil
}

func (s *Store) find(op, key string) (*object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[key]; o != nil {
		return o, nil
	}
	return nil, fmt.Errorf("%w: %s %q", blobstore.ErrNotFound, op, key)
}

func check(ctx context.Context, key string) error {
	if err := blobstore.CheckKey(key); err != nil {
		return err
	}
	return ctx.Err()
}

// append copies p behind the object's last byte.
func (o *object) append(p []byte) {
	for len(p) > 0 {
		last := len(o.chunks) - 1
		if last < 0 || len(o.chunks[last]) == cap(o.chunks[last]) {
			size := min(max(o.size, int64(len(p)), minChunk), maxChunk)
			o.chunks = append(o.chunks, make([]byte, 0, size))
			last++
		}
		chunk := o.chunks[last]
		n := min(len(p), cap(chunk)-len(chunk))
		o.chunks[last] = append(chunk, p[:n]...)
		o.size += int64(n)
		p = p[n:]
	}
}

// cut drops what stands behind the first size bytes.
func (o *object) cut(size int64) {
	o.size = size
	for i, chunk := range o.chunks {
		if size < int64(len(chunk)) {
			o.chunks[i] = chunk[:size]
			o.chunks = o.chunks[:i+1]
			return
		}
		size -= int64(len(chunk))
	}
}

type writer struct {
	key    string
	object *object // nil once ended
	offset int64
}

var _ blobstore.Writer = (*writer)(nil)

func (w *writer) Offset() int64 { return w.offset }

func (w *writer) Write(p []byte) (int, error) {
	if w.object == nil {
		return 0, w.ended()
	}
	w.object.mu.Lock()
	defer w.object.mu.Unlock()
	w.object.append(p)
	w.object.modified = time.Now()
	w.offset += int64(len(p))
	return len(p), nil
}

func (w *writer) Suspend(context.Context) (blobstore.State, error) {
	if w.object == nil {
		return nil, w.ended()
	}
	w.object = nil
	state := make([]byte, 1, stateSize)
	state[0] = stateFormat
	return binary.BigEndian.AppendUint64(state, uint64(w.offset)), nil
}

func (w *writer) Commit(context.Context) (blobstore.Object, error) {
	if w.object == nil {
		return blobstore.Object{}, w.ended()
	}
	w.object.mu.Lock()
	defer w.object.mu.Unlock()
	w.object.committed = true
	w.object = nil
	return blobstore.Object{Key: w.key, Size: w.offset}, nil
}

func (w *writer) Close() error {
	w.object = nil
	return nil
}

func (w *writer) ended() error { return fmt.Errorf("%w: %q", blobstore.ErrEnded, w.key) }

// reader walks the chunks of a committed object.
type reader struct {
	chunks [][]byte
	at     int // in chunks[0]
	left   int64
}

var _ io.WriterTo = (*reader)(nil)

func (r *reader) skip(n int64) {
	for n > 0 {
		step := min(n, int64(len(r.chunks[0])-r.at))
		r.advance(int(step))
		n -= step
	}
}

// next is as much as stands in one piece at the reader's place.
func (r *reader) next() []byte {
	for r.at == len(r.chunks[0]) {
		r.chunks, r.at = r.chunks[1:], 0
	}
	piece := r.chunks[0][r.at:]
	return piece[:min(int64(len(piece)), r.left)]
}

func (r *reader) advance(n int) {
	r.at += n
	if r.at == len(r.chunks[0]) {
		r.chunks, r.at = r.chunks[1:], 0
	}
}

func (r *reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.next())
	r.advance(n)
	r.left -= int64(n)
	return n, nil
}

func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for r.left > 0 {
		n, err := w.Write(r.next())
		r.advance(n)
		r.left -= int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (r *reader) Close() error { return nil }
