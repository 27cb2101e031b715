package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

func (s *suite) testRanges(t *testing.T) {
	written := s.open(t)
	objects := make([]blobstore.Object, len(boundaries))
	plain := make([][]byte, len(boundaries))
	for i, size := range boundaries {
		plain[i] = content(uint64(i), size)
		objects[i] = object(t.Context(), t, written, fmt.Sprintf("ranges/%d", size), plain[i])
	}
	store := s.reopen(t, written)

	ctx := t.Context()
	check := func(i int, offset, length int64) {
		t.Helper()
		want := plain[i][offset:]
		if length >= 0 {
			want = want[:length]
		}
		got, err := read(ctx, store, objects[i], offset, length)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes from %d of %d: got %d bytes, %v", length, offset, len(plain[i]), len(got), err)
		}
		// And with room for all of it.
		r, err := store.Open(ctx, objects[i], offset, length)
		if err != nil {
			t.Fatal(err)
		}
		got = make([]byte, len(want)+Segment)
		n, err := io.ReadFull(r, got)
		if n != len(want) || err != io.ErrUnexpectedEOF && (n > 0 || err != io.EOF) || !bytes.Equal(got[:n], want) {
			t.Fatalf("%d bytes from %d of %d with a large buffer: got %d bytes, %v", length, offset, len(plain[i]), n, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, size := range boundaries {
		for _, from := range boundaries[:i+1] {
			check(i, int64(from), -1)
			for _, to := range boundaries[:i+1] {
				if from <= to && to <= size {
					check(i, int64(from), int64(to-from))
				}
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		i := rapid.IntRange(0, len(boundaries)-1).Draw(rt, "object")
		size := int64(boundaries[i])
		offset := rapid.Int64Range(0, size).Draw(rt, "offset")
		length := rapid.Int64Range(-1, size-offset).Draw(rt, "length")
		want := plain[i][offset:]
		if length >= 0 {
			want = want[:length]
		}
		r, err := store.Open(t.Context(), objects[i], offset, length)
		if err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "begin") {
			begin(rt, r)
		}
		// Some of it in pieces, the rest by WriteTo.
		first := make([]byte, rapid.IntRange(0, len(want)).Draw(rt, "first"))
		for rest := first; len(rest) > 0; {
			n, err := r.Read(rest[:min(len(rest), rapid.IntRange(1, 3*Segment).Draw(rt, "piece"))])
			if err != nil {
				rt.Fatal(err)
			}
			rest = rest[n:]
		}
		if rapid.Bool().Draw(rt, "begin in the middle") {
			begin(rt, r)
		}
		var b bytes.Buffer
		if _, err := r.(io.WriterTo).WriteTo(&b); err != nil {
			rt.Fatal(err)
		}
		if n, err := r.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			rt.Fatalf("read behind the end: %d, %v", n, err)
		}
		if err := r.Close(); err != nil {
			rt.Fatal(err)
		}
		if !bytes.Equal(append(first, b.Bytes()...), want) {
			rt.Fatal("other bytes than were written")
		}
	})

	r, err := store.Open(t.Context(), objects[4], 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(iotest.TestReader(onlyReader{r}, plain[4]), r.Close()); err != nil {
		t.Error(err)
	}
}

// begin asks a reader of an undamaged object.
func begin(t rapid.TB, r io.Reader) {
	t.Helper()
	if err := blobstore.Begin(r); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("begin: %v", err)
	}
}

// onlyReader hides everything but Read, so that iotest looks at nothing else.
type onlyReader struct{ io.Reader }

func (s *suite) testRangesOutside(t *testing.T) {
	store := s.open(t)
	for _, size := range []int64{0, 10, Segment} {
		o := object(t.Context(), t, store, fmt.Sprintf("outside/%d", size), content(1, int(size)))
		for _, span := range [][2]int64{
			{-1, 1}, {-1, -1}, {size + 1, -1}, {size + 1, 0}, {0, size + 1}, {size, 1}, {0, -2},
			{math.MaxInt64, -1}, {math.MinInt64, 1}, {0, math.MaxInt64}, {size, math.MaxInt64}, {0, math.MinInt64},
		} {
			_, err := read(t.Context(), store, o, span[0], span[1])
			wantError(t, err, blobstore.ErrRange, fmt.Sprintf("%d bytes from %d of %d", span[1], span[0], size))
		}
	}
}
