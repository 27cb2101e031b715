// Package storetest is the suite that every blobstore.Store and every
// decorator of one passes. It supports tests and is not for programs.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// Segment is the size of the pieces that sealing stores work in. The suite
// looks closely at offsets around its multiples.
const Segment = 64 << 10

// DamageFunc puts in place of an object's stored bytes what change makes of
// them; s is a Store that the suite opened.
type DamageFunc func(t *testing.T, s blobstore.Store, key string, change func(stored []byte) []byte)

// ReopenFunc returns another Store over the same stored bytes, as another node
// or the next process has.
type ReopenFunc func(t *testing.T, s blobstore.Store) blobstore.Store

// Option says more about the store than that it is one.
type Option func(*suite)

// WithDamage lets the suite damage stored bytes and see that it is found.
func WithDamage(damage DamageFunc) Option { return func(s *suite) { s.damage = damage } }

// WithReopen has the suite resume and open objects through another Store than
// the one that they were written with.
func WithReopen(reopen ReopenFunc) Option { return func(s *suite) { s.reopen = reopen } }

// Sealed says that the store seals: that it finds every change of stored
// bytes, and that neither they nor its States show what was written. Together
// with WithDamage only.
func Sealed() Option { return func(s *suite) { s.sealed = true } }

// InMemory says that stored bytes are part of the process's memory.
func InMemory() Option { return func(s *suite) { s.inMemory = true } }

// Buffered says that a Writer of the store holds up to perWriter bytes in memory
// and stores nothing of an object before they are full, or before Suspend or
// Commit: so long the object is not listed.
func Buffered(perWriter int64) Option { return func(s *suite) { s.buffered = perWriter } }

// Inline says that objects of which no more than max bytes are stored stand in their
// Seals, and unfinished ones in their States: they are not listed, and nothing of
// them can be damaged.
func Inline(max int) Option { return func(s *suite) { s.inline = max } }

type suite struct {
	open     func(t *testing.T) blobstore.Store
	damage   DamageFunc
	reopen   ReopenFunc
	sealed   bool
	inMemory bool
	buffered int64
	inline   int
}

// Run runs the suite. Each call of open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) blobstore.Store, options ...Option) {
	s := &suite{open: open, reopen: func(_ *testing.T, s blobstore.Store) blobstore.Store { return s }}
	for _, option := range options {
		option(s)
	}
	t.Run("Write", s.testWrite)
	t.Run("Empty", s.testEmpty)
	t.Run("Keys", s.testKeys)
	t.Run("Ended", s.testEnded)
	t.Run("NotFound", s.testNotFound)
	t.Run("List", s.testList)
	t.Run("Resume", s.testResume)
	t.Run("ResumeChain", s.testResumeChain)
	t.Run("CutBack", s.testCutBack)
	t.Run("BadState", s.testBadState)
	t.Run("History", s.testHistory)
	t.Run("Ranges", s.testRanges)
	t.Run("RangesOutside", s.testRangesOutside)
	t.Run("Concurrency", s.testConcurrency)
	t.Run("Memory", s.testMemory)
	if s.damage != nil {
		t.Run("Truncated", s.testTruncated)
	}
	if s.sealed {
		t.Run("Altered", s.testAltered)
		t.Run("Exchanged", s.testExchanged)
		t.Run("Hidden", s.testHidden)
	}
}

// boundaries are the sizes and offsets where a store that works in segments,
// and in runs of them, may go wrong.
var boundaries = [...]int{
	0, 1, Segment - 1, Segment, Segment + 1, 2 * Segment, 3*Segment - 1,
	4 * Segment, 4*Segment + 1, 5 * Segment, 8 * Segment, 8*Segment + 1, 9*Segment - 1, 16*Segment + 5,
}

// content is n bytes that tell their place and the seed.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = source.Read(b) // cannot fail
	return b
}

func create(ctx context.Context, t rapid.TB, s blobstore.Store, key string) blobstore.Writer {
	t.Helper()
	w, err := s.Create(ctx, key, blobstore.Placement{})
	if err != nil {
		t.Fatalf("create %s: %v", key, err)
	}
	return w
}

// put writes p in pieces.
func put(t rapid.TB, w blobstore.Writer, p []byte, piece int) {
	t.Helper()
	before := w.Offset()
	for rest := p; len(rest) > 0; {
		n, err := w.Write(rest[:min(piece, len(rest))])
		if err != nil || n != min(piece, len(rest)) {
			t.Fatalf("write at %d: %d, %v", w.Offset(), n, err)
		}
		rest = rest[n:]
	}
	if got, want := w.Offset(), before+int64(len(p)); got != want {
		t.Fatalf("offset after writing is %d, want %d", got, want)
	}
}

func suspend(ctx context.Context, t rapid.TB, w blobstore.Writer) blobstore.State {
	t.Helper()
	offset := w.Offset()
	state, err := w.Suspend(ctx)
	if err != nil {
		t.Fatalf("suspend at %d: %v", offset, err)
	}
	if w.Offset() != offset {
		t.Fatalf("suspend moved the offset from %d to %d", offset, w.Offset())
	}
	if len(state) > 70<<10 {
		t.Fatalf("the state at %d takes %d bytes", offset, len(state))
	}
	return state
}

func resume(ctx context.Context, t rapid.TB, s blobstore.Store, key string, state blobstore.State, offset int) blobstore.Writer {
	t.Helper()
	w, err := s.Resume(ctx, key, state)
	if err != nil {
		t.Fatalf("resume %s at %d: %v", key, offset, err)
	}
	if w.Offset() != int64(offset) {
		t.Fatalf("resumed at %d, want %d", w.Offset(), offset)
	}
	return w
}

func commit(ctx context.Context, t rapid.TB, w blobstore.Writer, key string) blobstore.Object {
	t.Helper()
	size := w.Offset()
	o, err := w.Commit(ctx)
	if err != nil {
		t.Fatalf("commit %s: %v", key, err)
	}
	if o.Key != key || o.Size != size {
		t.Fatalf("committed %q with %d bytes, want %q with %d", o.Key, o.Size, key, size)
	}
	return o
}

func closeWriter(t rapid.TB, w blobstore.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// object writes a whole object.
func object(ctx context.Context, t rapid.TB, s blobstore.Store, key string, p []byte) blobstore.Object {
	t.Helper()
	w := create(ctx, t, s, key)
	put(t, w, p, 48<<10)
	return commit(ctx, t, w, key)
}

// read is what Open yields, with the error that ended it.
func read(ctx context.Context, s blobstore.Store, o blobstore.Object, offset, length int64) ([]byte, error) {
	r, err := s.Open(ctx, o, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// expect reads the whole object both ways.
func expect(ctx context.Context, t rapid.TB, s blobstore.Store, o blobstore.Object, want []byte) {
	t.Helper()
	got, err := read(ctx, s, o, 0, -1)
	if err != nil {
		t.Fatalf("read %s: %v", o.Key, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s has other bytes than were written (%d, want %d)", o.Key, len(got), len(want))
	}
	r, err := s.Open(ctx, o, 0, -1)
	if err != nil {
		t.Fatalf("open %s: %v", o.Key, err)
	}
	to, ok := r.(io.WriterTo)
	if !ok {
		t.Fatalf("the reader is no io.WriterTo")
	}
	var b bytes.Buffer
	n, err := to.WriteTo(writerOnly{&b})
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("WriteTo of %s: %v", o.Key, err)
	}
	if n != int64(len(want)) || !bytes.Equal(b.Bytes(), want) {
		t.Fatalf("WriteTo of %s yields other bytes than were written (%d, want %d)", o.Key, n, len(want))
	}
}

// writerOnly hides that a buffer can read by itself.
type writerOnly struct{ io.Writer }

// wantError says when err is not the one that it should be.
func wantError(t rapid.TB, err, want error, what string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}
