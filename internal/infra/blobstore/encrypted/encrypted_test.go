package encrypted_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

const (
	segment       = 64 << 10
	sealedSegment = segment + 28
)

func manager(t testing.TB) *keyring.Keyring {
	t.Helper()
	m, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clock.NewFake(time.Unix(1_700_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func files(t *testing.T, dir string) *fs.Store {
	t.Helper()
	s, err := fs.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStoreOverFiles(t *testing.T) {
	type place struct {
		dir string
		m   keys.Manager
	}
	var places sync.Map // the inner parts of each store that was opened
	over := func(t *testing.T, p place) blobstore.Store {
		s := encrypted.New(files(t, p.dir), p.m)
		places.Store(s, p)
		return s
	}
	find := func(t *testing.T, s blobstore.Store) place {
		p, ok := places.Load(s)
		if !ok {
			t.Fatal("not one of this test's stores")
		}
		return p.(place)
	}
	storetest.Run(t,
		func(t *testing.T) blobstore.Store { return over(t, place{t.TempDir(), manager(t)}) },
		storetest.Sealed(),
		storetest.WithReopen(func(t *testing.T, s blobstore.Store) blobstore.Store { return over(t, find(t, s)) }),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			path := filepath.Join(find(t, s).dir, key)
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := change(stored)
			if err := errors.Join(os.Remove(path), os.WriteFile(path, changed, 0o400)); err != nil {
				t.Fatal(err)
			}
		}),
	)
}

func TestStoreOverMemory(t *testing.T) {
	var inners sync.Map
	storetest.Run(t,
		func(t *testing.T) blobstore.Store {
			inner := memory.New()
			s := encrypted.New(inner, manager(t))
			inners.Store(s, inner)
			return s
		},
		storetest.Sealed(),
		storetest.InMemory(),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			inner, ok := inners.Load(s)
			if !ok {
				t.Fatal("not one of this test's stores")
			}
			if err := inner.(*memory.Store).Damage(key, change); err != nil {
				t.Fatal(err)
			}
		}),
	)
}

func fill(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func put(t testing.TB, s blobstore.Store, key string, p blobstore.Placement, plain []byte) blobstore.Object {
	t.Helper()
	w, err := s.Create(context.Background(), key, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	o, err := w.Commit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func get(s blobstore.Store, o blobstore.Object, offset, length int64) ([]byte, error) {
	r, err := s.Open(context.Background(), o, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// fixedManager wraps nothing: it knows one data key.
type fixedManager struct {
	keys.Manager
	dataKey []byte
}

func (m fixedManager) Unwrap(context.Context, []byte, []byte) ([]byte, error) {
	return slices.Clone(m.dataKey), nil
}

// TestForm reads what is stored by the words of the package comment alone.
func TestForm(t *testing.T) {
	inner, m := memory.New(), manager(t)
	s := encrypted.New(inner, m)
	for _, size := range []int{0, 5, segment - 1, segment, 2*segment + 9} {
		plain := fill(size)
		key := fmt.Sprintf("form/%d", size)
		o := put(t, s, key, blobstore.Placement{}, plain)
		var stored []byte
		if err := inner.Damage(key, func(b []byte) []byte { stored = b; return b }); err != nil {
			t.Fatal(err)
		}
		dataKey, err := m.Unwrap(t.Context(), o.Seal[1:], []byte(key))
		if err != nil || o.Seal[0] != 1 || len(dataKey) != 32 {
			t.Fatalf("the seal %x holds a key of %d bytes, %v", o.Seal, len(dataKey), err)
		}
		block, err := aes.NewCipher(dataKey)
		if err != nil {
			t.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		segments := size/segment + 1
		if want := size + segments*28; len(stored) != want {
			t.Fatalf("%d bytes are stored as %d, want %d", size, len(stored), want)
		}
		var got []byte
		nonces := map[string]bool{}
		for i := range segments {
			sealed := stored[i*sealedSegment : min((i+1)*sealedSegment, len(stored))]
			ad := []byte{0}
			if i == segments-1 {
				ad[0] = 1
			}
			ad = append(binary.BigEndian.AppendUint64(ad, uint64(i)), key...)
			nonces[string(sealed[:12])] = true
			if got, err = aead.Open(got, sealed[:12], sealed[12:], ad); err != nil {
				t.Fatalf("segment %d of %d: %v", i, segments, err)
			}
		}
		if !bytes.Equal(got, plain) || len(nonces) != segments {
			t.Errorf("%d segments hold other bytes, or %d nonces", segments, len(nonces))
		}
	}
}

// oldObject is the stored form of TestOldObject's object under the data key
// fill(32).
const oldObject = "4684b745fbadf2a850fd69aeb16bd8841d62381100860faffebce2ed9093f05549e95a7e32420716d78520af3cb83c84abd482"

// TestOldObject opens what an earlier build sealed: this must go on for ever.
func TestOldObject(t *testing.T) {
	const key, plain = "old/object", "sealed in the year 2026"
	stored, err := hex.DecodeString(oldObject)
	if err != nil {
		t.Fatal(err)
	}
	inner := memory.New()
	put(t, inner, key, blobstore.Placement{}, stored)
	s := encrypted.New(inner, fixedManager{dataKey: fill(32)})
	got, err := get(s, blobstore.Object{Key: key, Size: int64(len(plain)), Seal: []byte{1, 'w'}}, 0, -1)
	if err != nil || string(got) != plain {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestNoncesAreFresh seals the same bytes again after cutting back.
func TestNoncesAreFresh(t *testing.T) {
	inner := memory.New()
	s := encrypted.New(inner, manager(t))
	w, err := s.Create(t.Context(), "a", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	nonces := map[string]bool{}
	for range 20 {
		if w, err = s.Resume(t.Context(), "a", state); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(fill(segment + 10)); err != nil {
			t.Fatal(err)
		}
		next, err := w.Suspend(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		nonces[string(next[len(next)-38:len(next)-26])] = true // the tail's
		if err := inner.Damage("a", func(stored []byte) []byte {
			nonces[string(stored[:12])] = true
			return stored
		}); err != nil {
			t.Fatal(err)
		}
	}
	if len(nonces) != 40 {
		t.Errorf("40 sealings used %d nonces", len(nonces))
	}
}

// TestMoved moves segments within an object and between its ends.
func TestMoved(t *testing.T) {
	inner := memory.New()
	s := encrypted.New(inner, manager(t))
	plain := fill(3*segment + 10)
	o := put(t, s, "a", blobstore.Placement{}, plain)
	var stored []byte
	damage := func(change func(b []byte) []byte) {
		if err := inner.Damage("a", change); err != nil {
			t.Fatal(err)
		}
	}
	damage(func(b []byte) []byte { stored = slices.Clone(b); return b })
	part := func(i int) []byte { return stored[i*sealedSegment : min((i+1)*sealedSegment, len(stored))] }
	smaller := func(size int64) blobstore.Object {
		return blobstore.Object{Key: o.Key, Size: size, Seal: o.Seal}
	}
	for name, test := range map[string]struct {
		stored []byte
		object blobstore.Object
	}{
		"first two exchanged":     {slices.Concat(part(1), part(0), part(2), part(3)), o},
		"one repeated":            {slices.Concat(part(0), part(0), part(2), part(3)), o},
		"last two exchanged":      {slices.Concat(part(0), part(1), part(3), part(2)), o},
		"cut at a segment":        {slices.Concat(part(0), part(1), part(2)), smaller(3*segment - 28)},
		"an earlier one as last":  {slices.Concat(part(0), part(1)), smaller(2*segment - 28)},
		"one left out":            {slices.Concat(part(0), part(2), part(3)), smaller(2*segment + 10)},
		"a smaller size":          {stored, smaller(3*segment + 9)},
		"a size of full segments": {stored, smaller(3 * segment)},
		"a larger size":           {append(slices.Clone(stored), 0), smaller(3*segment + 11)},
		"the last one alone":      {part(3), smaller(10)},
	} {
		damage(func([]byte) []byte { return test.stored })
		got, err := get(s, test.object, 0, -1)
		if !errors.Is(err, blobstore.ErrCorrupt) || !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	// What was not touched can still be read.
	damage(func([]byte) []byte {
		b := slices.Clone(stored)
		b[sealedSegment+100] ^= 1
		return b
	})
	for _, span := range [][2]int64{{0, segment}, {2 * segment, segment}, {2*segment + 1, -1}} {
		got, err := get(s, o, span[0], span[1])
		want := plain[span[0]:]
		if span[1] >= 0 {
			want = want[:span[1]]
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes from %d: %v", span[1], span[0], err)
		}
	}
	if _, err := get(s, o, segment+200, 1); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("a byte of a damaged segment: %v", err)
	}
}

// TestEndIsSeenFirst: whoever reads exactly as many bytes as the object has
// does not get the last ones unless the empty segment behind them is there.
func TestEndIsSeenFirst(t *testing.T) {
	for _, segments := range []int{1, 3, 4, 5, 8} {
		inner := memory.New()
		s := encrypted.New(inner, manager(t))
		plain := fill(segments * segment)
		o := put(t, s, "a", blobstore.Placement{}, plain)
		if err := inner.Damage("a", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }); err != nil {
			t.Fatal(err)
		}
		r, err := s.Open(t.Context(), o, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.ReadFull(r, make([]byte, len(plain)))
		if !errors.Is(err, blobstore.ErrCorrupt) || n >= len(plain) {
			t.Errorf("%d segments: read %d bytes, %v", segments, n, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// noted writes down what an inner store is asked for.
type noted struct {
	blobstore.Store
	placements []blobstore.Placement
	writes     []int
}

type notedWriter struct {
	blobstore.Writer
	store *noted
}

func (s *noted) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	s.placements = append(s.placements, p)
	w, err := s.Store.Create(ctx, key, p)
	return notedWriter{w, s}, err
}

func (w notedWriter) Write(p []byte) (int, error) {
	w.store.writes = append(w.store.writes, len(p))
	return w.Writer.Write(p)
}

// TestRuns: large writes become runs of four segments, and the inner store is
// not told of the key.
func TestRuns(t *testing.T) {
	inner, m := &noted{Store: memory.New()}, manager(t)
	key, err := m.Create(t.Context(), "123456789012", "eu-west-1", "")
	if err != nil {
		t.Fatal(err)
	}
	put(t, encrypted.New(inner, m), "a", blobstore.Placement{KeyID: key.ID}, fill(10*segment+1))
	if want := []int{4 * sealedSegment, 4 * sealedSegment, 2 * sealedSegment, 1 + 28}; !slices.Equal(inner.writes, want) {
		t.Errorf("wrote %d, want %d", inner.writes, want)
	}
	if want := []blobstore.Placement{{}}; !slices.Equal(inner.placements, want) {
		t.Errorf("placed at %+v", inner.placements)
	}
}

// TestTailIsNoSegment puts the tail of a State where a last segment belongs.
func TestTailIsNoSegment(t *testing.T) {
	inner := memory.New()
	s := encrypted.New(inner, manager(t))
	w, err := s.Create(t.Context(), "a", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(fill(100)); err != nil {
		t.Fatal(err)
	}
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w, err = s.Resume(t.Context(), "a", state); err != nil {
		t.Fatal(err)
	}
	o, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := inner.Damage("a", func([]byte) []byte { return state[len(state)-128:] }); err != nil {
		t.Fatal(err)
	}
	if _, err := get(s, o, 0, -1); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("opened the tail: %v", err)
	}
}

func TestKeys(t *testing.T) {
	m := manager(t)
	s := encrypted.New(memory.New(), m)
	key, err := m.Create(t.Context(), "123456789012", "eu-west-1", "alias/blobs")
	if err != nil {
		t.Fatal(err)
	}
	plain := fill(segment + 10)
	o := put(t, s, "named", blobstore.Placement{KeyID: key.ID}, plain)
	w, err := s.Create(t.Context(), "unfinished", blobstore.Placement{KeyID: key.ID})
	if err != nil {
		t.Fatal(err)
	}
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantKeyError := func(err, cause error, what string) {
		t.Helper()
		if !errors.Is(err, blobstore.ErrKey) || !errors.Is(err, cause) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := m.SetEnabled(t.Context(), key.ID, false); err != nil {
		t.Fatal(err)
	}
	_, err = get(s, o, 0, -1)
	wantKeyError(err, keys.ErrDisabled, "open")
	_, err = s.Create(t.Context(), "another", blobstore.Placement{KeyID: key.ID})
	wantKeyError(err, keys.ErrDisabled, "create")
	_, err = s.Resume(t.Context(), "unfinished", state)
	wantKeyError(err, keys.ErrDisabled, "resume")
	_, err = s.Create(t.Context(), "another", blobstore.Placement{KeyID: "00000000-0000-4000-8000-000000000000"})
	wantKeyError(err, keys.ErrNotFound, "create under no key")

	if _, err := m.SetEnabled(t.Context(), key.ID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Rotate(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := get(s, o, 0, -1); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("after rotation: %v", err)
	}
	if _, err := s.Resume(t.Context(), "unfinished", state); err != nil {
		t.Errorf("resume after rotation: %v", err)
	}

	altered := o
	altered.Seal = slices.Clone(o.Seal)
	altered.Seal[len(altered.Seal)-1] ^= 1
	_, err = get(s, altered, 0, -1)
	wantKeyError(err, keys.ErrUnwrap, "an altered seal")
	for _, seal := range [][]byte{nil, {}, {1}, {9, 9, 9}} {
		altered.Seal = seal
		if _, err := get(s, altered, 0, -1); !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("seal %x: %v", seal, err)
		}
	}
}

// brokenManager cannot be asked.
type brokenManager struct{ keys.Manager }

var errAway = errors.New("key service away")

func (brokenManager) Wrap(context.Context, string, []byte, []byte) ([]byte, error) {
	return nil, errAway
}

// TestKeyServiceAway: an attempt later may succeed, so it is no ErrKey.
func TestKeyServiceAway(t *testing.T) {
	s := encrypted.New(memory.New(), brokenManager{})
	_, err := s.Create(t.Context(), "a", blobstore.Placement{})
	if !errors.Is(err, errAway) || errors.Is(err, blobstore.ErrKey) {
		t.Errorf("create: %v", err)
	}
}

// fullStore takes so many bytes and no more.
type fullStore struct {
	blobstore.Store
	room int
}

type fullWriter struct {
	blobstore.Writer
	room int
}

func (s fullStore) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	w, err := s.Store.Create(ctx, key, p)
	return &fullWriter{w, s.room}, err
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		return 0, blobstore.ErrFull
	}
	w.room -= len(p)
	return w.Writer.Write(p)
}

func TestFull(t *testing.T) {
	s := encrypted.New(fullStore{memory.New(), 2 * sealedSegment}, manager(t))
	w, err := s.Create(t.Context(), "a", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(fill(segment)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(fill(segment)); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("write: %v", err)
	}
	if _, err := w.Suspend(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("suspend after a failed write: %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("commit after a failed write: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}

	// Not even the last segment has room.
	s = encrypted.New(fullStore{memory.New(), 10}, manager(t))
	if w, err = s.Create(t.Context(), "b", blobstore.Placement{}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("commit: %v", err)
	}
}
