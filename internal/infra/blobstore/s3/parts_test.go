package s3

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

func TestPartSizes(t *testing.T) {
	var sum int64
	last := int64(firstPart)
	for n := 1; n <= maxParts; n++ {
		size := partSize(n)
		if size < firstPart || size < last || size > 8*mib || size%chunkSize != 0 {
			t.Fatalf("part %d has %d bytes", n, size)
		}
		sum += size
		last = size
		if partsEnd(n) != sum {
			t.Fatalf("parts up to %d end at %d, not %d", n, partsEnd(n), sum)
		}
	}
	// ECR's largest layer, and what sealing adds to it.
	const layer = 52_000 * mib
	if sealed := int64(layer) + (layer/65536+1)*28; maxSize() != sum || sum < sealed {
		t.Errorf("an object has at most %d bytes, and the largest layer takes %d", maxSize(), sealed)
	}
	if partsEnd(0) != 0 || partsEnd(2500) != 12_500*mib {
		t.Errorf("%d, %d", partsEnd(0), partsEnd(2500))
	}
}

func TestBuffer(t *testing.T) {
	pool := sync.Pool{New: func() any { return new([chunkSize]byte) }}
	b := &buffer{pool: &pool}
	want := content(1, 2*chunkSize+77)
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 100_001)
		b.write(rest[:n])
		rest = rest[n:]
	}
	if b.size != int64(len(want)) || len(b.chunks) != 3 {
		t.Fatalf("%d bytes in %d chunks", b.size, len(b.chunks))
	}
	r := b.read()
	if err := iotest.TestReader(r, want); err != nil {
		t.Error(err)
	}
	if _, err := r.Seek(chunkSize-1, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	r.close()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a closed reader read %d, %v", n, err)
	}
	b.reset()
	b.write([]byte("next"))
	got, err := io.ReadAll(b.read())
	if err != nil || string(got) != "next" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestState(t *testing.T) {
	full := state{slot: 1, parts: maxParts - 1, tailSize: 8 * mib, upload: strings.Repeat("u", 300), mark: newMark()}
	full.tailSum[3], full.etags[5] = 1, 2
	for _, want := range []state{{}, {tailSize: 5, slot: 1}, full} {
		b := want.encode("key")
		if len(b) > 1<<10 {
			t.Errorf("a state of %d bytes", len(b))
		}
		got, err := parseState("key", b)
		if err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		if _, err := parseState("another", b); !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("another object's state: %v", err)
		}
		for at := range b {
			bad := slices.Clone(b)
			bad[at] ^= 1
			if _, err := parseState("key", bad); !errors.Is(err, blobstore.ErrCorrupt) {
				t.Errorf("altered at %d: %v", at, err)
			}
			if _, err := parseState("key", b[:at]); !errors.Is(err, blobstore.ErrCorrupt) {
				t.Errorf("cut at %d: %v", at, err)
			}
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(state{tailSize: 5}.encode("key")))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The check is made right, so that what stands before it is parsed.
		b = append(b, checkOf("key", b)...)
		s, err := parseState("key", b)
		if err != nil {
			return
		}
		if again, err := parseState("key", s.encode("key")); err != nil || again != s {
			t.Errorf("%+v becomes %+v, %v", s, again, err)
		}
	})
}

func TestChain(t *testing.T) {
	var a, b, c chain
	a.add("1")
	a.add("2")
	b.add("2")
	b.add("1")
	c.add("12")
	if a == b || a == c || bytes.Equal(a[:], make([]byte, len(a))) {
		t.Error("another order or another cut gives the same hash")
	}
}
