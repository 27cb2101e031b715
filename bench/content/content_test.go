package content

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestContents(t *testing.T) {
	for _, size := range []int64{TailSize, BlockSize, BlockSize + TailSize, 2*BlockSize + 1} {
		testContents(t, size)
	}
	rapid.Check(t, func(t *rapid.T) { testContents(t, rapid.Int64Range(TailSize, 200_000).Draw(t, "size")) })
}

func testContents(t rapid.TB, size int64) {
	one, other := New(size), New(size)
	seen := map[string]bool{}
	for _, c := range []*Source{one, other, one} {
		b, err := c.Next()
		if err != nil {
			t.Fatal(err)
		}
		if seen[b.Digest] {
			t.Fatalf("%s came twice", b.Digest)
		}
		seen[b.Digest] = true
		var out bytes.Buffer
		n, err := b.WriteTo(&out)
		if err != nil || n != size || int64(out.Len()) != size {
			t.Fatalf("a content of %d bytes wrote %d, and says %d, %v", size, out.Len(), n, err)
		}
		if got := Digest(out.Bytes()); got != b.Digest || b.Size != size {
			t.Fatalf("a content of %d bytes is %s and says %s and %d bytes", size, got, b.Digest, b.Size)
		}
		if !bytes.Equal(out.Bytes(), b.Bytes()) {
			t.Fatal("bytes and WriteTo differ")
		}
		if got := "sha256:" + b.Hex(); got != b.Digest {
			t.Fatalf("the digits of %s are %s", b.Digest, b.Hex())
		}
	}
}

// failing takes so many bytes and no more.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	if f.left -= n; n < len(p) {
		return n, bytes.ErrTooLarge
	}
	return n, nil
}

func TestContentToWhatFails(t *testing.T) {
	b, err := New(BlockSize + 100).Next()
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []int{0, 10, BlockSize, BlockSize + 36, BlockSize + 99} {
		if n, err := b.WriteTo(&failing{room}); err == nil || n != int64(room) {
			t.Errorf("with room for %d bytes: %d were written, error %v", room, n, err)
		}
	}
}

func TestBlockIsRandom(t *testing.T) {
	b := Block()
	if len(b) != BlockSize || bytes.Count(b, []byte{0}) > BlockSize/200 {
		t.Errorf("the block has %d bytes, %d of them 0", len(b), bytes.Count(b, []byte{0}))
	}
}
