// Package content makes what the benchmark pushes: any number of contents, no two of which
// are equal, without the price of hashing each of them.
package content

import (
	"bytes"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

const (
	// TailSize is how many bytes at the end of a content are its own.
	TailSize = 64
	// BlockSize is the length of the random bytes that contents repeat.
	BlockSize = 4 << 20
)

// Block is the random bytes that contents repeat, so that no server can compress them,
// and the same in every process. It is not to be changed.
var Block = sync.OnceValue(func() []byte {
	b := make([]byte, BlockSize)
	_, _ = rand.NewChaCha8([32]byte{'b', 'e', 'r', 't', 'h'}).Read(b) // never fails
	return b
})

// Source makes contents of one size and knows the digest of each at the price of hashing
// its last 64 bytes: only they differ, and the state of SHA-256 before them is kept. It is
// safe for concurrent use.
type Source struct {
	size   int64
	prefix hash.Cloner // has hashed size - TailSize bytes, and is only cloned
	nonce  [16]byte
	count  atomic.Uint64
}

// New hashes size bytes once; size is at least TailSize.
func New(size int64) *Source {
	s := &Source{size: size}
	h := sha256.New()
	_, _ = writeBlocks(h, size-TailSize)         // a hash takes everything
	s.prefix, _ = h.(hash.Cloner)                // which SHA-256 is
	_, _ = io.ReadFull(crand.Reader, s.nonce[:]) // never fails
	return s
}

// Lazy puts New off until it is needed.
func Lazy(size int64) func() *Source {
	return sync.OnceValue(func() *Source { return New(size) })
}

// Blob is a content. As a reader it has to be asked to write itself.
type Blob struct {
	Digest string // sha256:...
	Size   int64  // in bytes
	tail   [TailSize]byte
}

// Next makes a content that has not been before, in this process or another.
func (s *Source) Next() (*Blob, error) {
	b := &Blob{Size: s.size}
	copy(b.tail[:], s.nonce[:])
	binary.BigEndian.PutUint64(b.tail[len(s.nonce):], s.count.Add(1))
	h, err := s.prefix.Clone()
	if err != nil {
		return nil, err
	}
	_, _ = h.Write(b.tail[:]) // a hash takes everything
	b.Digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return b, nil
}

// Hex is the digest without its algorithm.
func (b *Blob) Hex() string { return b.Digest[len("sha256:"):] }

// Bytes is the whole content, for small ones.
func (b *Blob) Bytes() []byte {
	out := bytes.NewBuffer(make([]byte, 0, b.Size))
	_, _ = b.WriteTo(out) // memory takes everything
	return out.Bytes()
}

// WriteTo writes the content.
func (b *Blob) WriteTo(w io.Writer) (int64, error) {
	n, err := writeBlocks(w, b.Size-TailSize)
	if err != nil {
		return n, err
	}
	last, err := w.Write(b.tail[:])
	return n + int64(last), err
}

// Read is there because bodies are readers; it always fails. WriteTo does the work.
func (b *Blob) Read([]byte) (int, error) {
	return 0, errors.New("a content writes itself: use WriteTo")
}

// writeBlocks writes the first n bytes of a repetition of the block.
func writeBlocks(w io.Writer, n int64) (written int64, err error) {
	for written < n && err == nil {
		var m int
		m, err = w.Write(Block()[:min(BlockSize, n-written)])
		written += int64(m)
	}
	return written, err
}

// Digest is the digest of b, sha256:...
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
