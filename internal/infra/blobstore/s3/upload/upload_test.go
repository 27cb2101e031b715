package upload

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

func TestPartSizes(t *testing.T) {
	var sum int64
	last := int64(FirstPart)
	for n := 1; n <= MaxParts; n++ {
		size := PartSize(n)
		if size < FirstPart || size < last || size > 8*mib || size%ChunkSize != 0 {
			t.Fatalf("part %d has %d bytes", n, size)
		}
		sum += size
		last = size
		if PartsEnd(n) != sum {
			t.Fatalf("parts up to %d end at %d, not %d", n, PartsEnd(n), sum)
		}
	}
	// ECR's largest layer, and what sealing adds to it.
	const layer = 52_000 * mib
	if sealed := int64(layer) + (layer/65536+1)*28; MaxSize() != sum || sum < sealed {
		t.Errorf("an object has at most %d bytes, and the largest layer takes %d", MaxSize(), sealed)
	}
	if PartsEnd(0) != 0 || PartsEnd(2500) != 12_500*mib {
		t.Errorf("%d, %d", PartsEnd(0), PartsEnd(2500))
	}
}

func TestBuffer(t *testing.T) {
	pool := sync.Pool{New: func() any { return new([ChunkSize]byte) }}
	b := NewBuffer(&pool)
	want := content(1, 2*ChunkSize+77)
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 100_001)
		b.Append(rest[:n])
		rest = rest[n:]
	}
	if b.size != int64(len(want)) || len(b.chunks) != 3 {
		t.Fatalf("%d bytes in %d chunks", b.size, len(b.chunks))
	}
	r := b.Reader()
	if err := iotest.TestReader(r, want); err != nil {
		t.Error(err)
	}
	if _, err := r.Seek(ChunkSize-1, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a closed reader read %d, %v", n, err)
	}
	b.Reset()
	b.Append([]byte("next"))
	got, err := io.ReadAll(b.Reader())
	if err != nil || string(got) != "next" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestState(t *testing.T) {
	full := State{Slot: 1, Parts: MaxParts - 1, TailSize: 8 * mib, ID: strings.Repeat("u", 300), Mark: NewMark()}
	full.TailSum[3], full.ETags[5] = 1, 2
	for _, want := range []State{{}, {TailSize: 5, Slot: 1}, full} {
		b := want.Encode("key")
		if len(b) > 1<<10 {
			t.Errorf("a state of %d bytes", len(b))
		}
		got, err := ParseState("key", b)
		if err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if _, err := ParseState("another", b); !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("another object's state: %v", err)
		}
		for at := range b {
			bad := slices.Clone(b)
			bad[at] ^= 1
			if _, err := ParseState("key", bad); !errors.Is(err, blobstore.ErrCorrupt) {
				t.Errorf("altered at %d: %v", at, err)
			}
			if _, err := ParseState("key", b[:at]); !errors.Is(err, blobstore.ErrCorrupt) {
				t.Errorf("cut at %d: %v", at, err)
			}
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(State{TailSize: 5}.Encode("key")))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The check is made right, so that what stands before it is parsed.
		b = append(b, checkOf("key", b)...)
		s, err := ParseState("key", b)
		if err != nil {
			return
		}
		if again, err := ParseState("key", s.Encode("key")); err != nil || again != s {
			t.Errorf("%+v becomes %+v, %v", s, again, err)
		}
	})
}

func TestChain(t *testing.T) {
	var a, b, c Chain
	a.Add("1")
	a.Add("2")
	b.Add("2")
	b.Add("1")
	c.Add("12")
	if a == b || a == c || bytes.Equal(a[:], make([]byte, len(a))) {
		t.Error("another order or another cut gives the same hash")
	}
}

// content is n bytes that no other seed has.
func content(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // cannot fail
	return b
}
