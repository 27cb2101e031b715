package encrypted_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
)

// FuzzOpen opens arbitrary bytes as an object of any size: nothing but what
// was sealed may come out, and nothing may panic.
func FuzzOpen(f *testing.F) {
	const key = "fuzz/object"
	m := fixedManager{dataKey: fill(32)}
	f.Add([]byte(nil), int64(0), int64(0), int64(-1))
	f.Add(make([]byte, 28), int64(0), int64(0), int64(-1))
	f.Add(make([]byte, 100), int64(72), int64(7), int64(20))
	f.Add(make([]byte, 100), int64(1)<<62, int64(1)<<61, int64(5))
	f.Fuzz(func(t *testing.T, stored []byte, size, offset, length int64) {
		inner := memory.New()
		put(t, inner, key, blobstore.Placement{}, stored)
		s := encrypted.New(inner, m)
		r, err := s.Open(t.Context(), blobstore.Object{Key: key, Size: size, Seal: []byte{1, 'w'}}, offset, length)
		if err != nil {
			if !errors.Is(err, blobstore.ErrCorrupt) && !errors.Is(err, blobstore.ErrRange) {
				t.Fatalf("open: %v", err)
			}
			return
		}
		got, err := io.ReadAll(r)
		if len(got) > 0 {
			t.Fatalf("%d bytes came out of what nobody sealed", len(got))
		}
		if err != nil && !errors.Is(err, blobstore.ErrCorrupt) {
			t.Fatalf("read: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDamage alters, cuts and lengthens a sealed object: a read yields the
// right bytes or ErrCorrupt, and the right bytes only if nothing that it read
// was changed.
func FuzzDamage(f *testing.F) {
	f.Add(uint32(0), uint32(0), byte(1), uint32(0), uint32(0), uint32(0))
	f.Add(uint32(segment), uint32(sealedSegment), byte(0), uint32(28), uint32(0), uint32(segment))
	f.Add(uint32(3*segment+5), uint32(70_000), byte(0x80), uint32(0), uint32(segment), uint32(segment))
	f.Add(uint32(5*segment), uint32(0), byte(0), uint32(1), uint32(4*segment), uint32(segment))
	m := manager(f)
	f.Fuzz(func(t *testing.T, size, at uint32, mask byte, cut, offset, length uint32) {
		size %= 6 * segment
		plain := fill(int(size))
		inner := memory.New()
		s := encrypted.New(inner, m)
		o := put(t, s, "a", blobstore.Placement{}, plain)
		changed := false
		if err := inner.Damage("a", func(b []byte) []byte {
			if at := int(at) % len(b); mask != 0 {
				b[at] ^= mask
				changed = true
			}
			cut := int(cut) % (len(b) + 1)
			changed = changed || cut > 0
			return b[:len(b)-cut]
		}); err != nil {
			t.Fatal(err)
		}
		check := func(offset, length int64) error {
			got, err := get(s, o, offset, length)
			want := plain[offset : offset+length]
			switch {
			case err == nil && !bytes.Equal(got, want):
				t.Fatalf("wrong bytes came out")
			case err != nil && !errors.Is(err, blobstore.ErrCorrupt):
				t.Fatalf("%v", err)
			case err != nil && !bytes.HasPrefix(want, got):
				t.Fatalf("wrong bytes came out before %v", err)
			}
			return err
		}
		if err := check(0, int64(size)); (err != nil) != changed {
			t.Fatalf("changed %t, and reading all: %v", changed, err)
		}
		from := int64(offset) % int64(size+1)
		_ = check(from, int64(length)%(int64(size)-from+1)) // may or may not meet the damage
	})
}

// FuzzResume goes on from arbitrary States: nothing panics, and what is
// refused is refused with one of the store's errors.
func FuzzResume(f *testing.F) {
	const key = "fuzz/unfinished"
	m := fixedManager{dataKey: fill(32)}
	f.Add([]byte(nil))
	f.Add([]byte{1, 0, 1, 'w', 9, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{1, 0, 1, 'w', 9, 1, 0, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 28)...))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, state []byte) {
		inner := memory.New()
		if _, err := inner.Create(t.Context(), key, blobstore.Placement{}); err != nil {
			t.Fatal(err)
		}
		w, err := encrypted.New(inner, m).Resume(t.Context(), key, state)
		if err == nil {
			t.Fatalf("resumed at %d from a state that nobody made", w.Offset())
		}
		if !errors.Is(err, blobstore.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
