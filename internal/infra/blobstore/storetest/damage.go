package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// refuses reads a damaged object both ways: the bytes before the damage may be
// handed out, and then it must be found.
func (s *suite) refuses(t *testing.T, store blobstore.Store, o blobstore.Object, plain []byte, what string) {
	t.Helper()
	got, err := read(t.Context(), store, o, 0, -1)
	wantError(t, err, blobstore.ErrCorrupt, what)
	if !bytes.HasPrefix(plain, got) {
		t.Errorf("%s: wrong bytes were handed out", what)
	}
	r, err := store.Open(t.Context(), o, 0, -1)
	if err != nil {
		wantError(t, err, blobstore.ErrCorrupt, what)
		return
	}
	begun := blobstore.Begin(r)
	var b bytes.Buffer
	_, err = r.(io.WriterTo).WriteTo(&b)
	if begun != nil && !errors.Is(begun, errors.ErrUnsupported) {
		wantError(t, begun, blobstore.ErrCorrupt, what+", Begin")
		if b.Len() > 0 {
			t.Errorf("%s: bytes were handed out after Begin had failed", what)
		}
	} else if s.sealed && begun == nil && b.Len() == 0 {
		t.Errorf("%s: Begin sees nothing, and then nothing can be read", what)
	}
	wantError(t, err, blobstore.ErrCorrupt, what+", WriteTo")
	if !bytes.HasPrefix(plain, b.Bytes()) {
		t.Errorf("%s: wrong bytes were handed out by WriteTo", what)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func (s *suite) testTruncated(t *testing.T) {
	store := s.open(t)
	for i, size := range boundaries {
		plain := content(uint64(i), size)
		for j, cut := range []int{1, 28, 29, Segment, Segment + 28, 1 << 30} {
			o := object(t.Context(), t, store, fmt.Sprintf("truncated/%d/%d", size, j), plain)
			if o.Within() {
				continue
			}
			empty := false
			s.damage(t, store, o.Key, func(stored []byte) []byte {
				empty = len(stored) == 0
				return stored[:len(stored)-min(cut, len(stored))]
			})
			if empty {
				continue // nothing is kept, so nothing can be missing
			}
			s.refuses(t, store, o, plain, fmt.Sprintf("%d bytes less of an object of %d", cut, size))
		}
	}
}

func (s *suite) testAltered(t *testing.T) {
	store := s.open(t)
	for i, size := range []int{0, 1, Segment, 5*Segment + 100, 8 * Segment} {
		plain := content(uint64(i), size)
		key := fmt.Sprintf("altered/%d", size)
		o := object(t.Context(), t, store, key, plain)
		if o.Within() {
			continue
		}
		var original []byte
		s.damage(t, store, key, func(stored []byte) []byte {
			original = slices.Clone(stored)
			return stored
		})
		places := []int{0, 11, 12, 13, 27, len(original) - 1, len(original) - 16, len(original) - 17, len(original) - 28}
		for at := 0; at < len(original); at += 50_021 {
			places = append(places, at)
		}
		for _, at := range places {
			s.damage(t, store, key, func([]byte) []byte {
				altered := slices.Clone(original)
				altered[at] ^= 1 << (at % 8)
				return altered
			})
			s.refuses(t, store, o, plain, fmt.Sprintf("byte %d of %d altered", at, len(original)))
		}
		s.damage(t, store, key, func([]byte) []byte { return make([]byte, len(original)) })
		s.refuses(t, store, o, plain, "all bytes zero")
		s.damage(t, store, key, func([]byte) []byte { return original })
		expect(t.Context(), t, store, o, plain)
	}
}

func (s *suite) testExchanged(t *testing.T) {
	store := s.open(t)
	plain := content(1, 3*Segment)
	a := object(t.Context(), t, store, "exchanged/a", plain)
	b := object(t.Context(), t, store, "exchanged/b", plain)
	var storedA []byte
	s.damage(t, store, a.Key, func(stored []byte) []byte {
		storedA = slices.Clone(stored)
		return stored
	})
	s.damage(t, store, b.Key, func([]byte) []byte { return storedA })
	s.refuses(t, store, b, plain, "another object's bytes")

	// With the other object's seal as well: the key in it does not open.
	forged := blobstore.Object{Key: b.Key, Size: b.Size, Seal: a.Seal}
	_, err := read(t.Context(), store, forged, 0, -1)
	wantError(t, err, blobstore.ErrKey, "another object's bytes and seal")
	expect(t.Context(), t, store, a, plain)
}
