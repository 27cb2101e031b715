package upload

import (
	"fmt"
	"io"
	"sync"
)

const (
	mib = 1 << 20
	// MaxParts is the number of parts that S3 allows in a multipart upload.
	MaxParts = 10_000
	// FirstPart is the least size that S3 takes for any part but the last.
	FirstPart = 5 * mib
	// Parts grow by partStep behind every partRun of them.
	partRun  = 2_500
	partStep = mib
	// ChunkSize is the unit that part buffers are made of. It divides every part
	// size.
	ChunkSize = 256 << 10
)

// PartSize is the size of part n, counted from 1: 5 MiB for the first 2,500, then
// 6, 7 and 8 MiB for 2,500 each. So 10,000 parts hold 65,000 MiB, which is more
// than ECR's largest layer of 52,000 MiB takes when it is sealed, and a Writer
// holds 5 MiB for all layers up to 12,500 MiB and never more than 8.
func PartSize(n int) int64 { return FirstPart + int64((n-1)/partRun)*partStep }

// PartsEnd is the number of bytes in parts 1 to n when all are full.
func PartsEnd(n int) int64 {
	var end int64
	for first := 0; first < n; first += partRun {
		end += int64(min(n-first, partRun)) * PartSize(first+1)
	}
	return end
}

// MaxSize is the size of the largest object, in bytes.
func MaxSize() int64 { return PartsEnd(MaxParts) }

// Buffer collects the bytes of one part in chunks that it borrows, so that a
// small object takes little.
type Buffer struct {
	pool   *sync.Pool
	chunks []*[ChunkSize]byte
	size   int64
}

// NewBuffer returns an empty buffer that borrows *[ChunkSize]byte from pool.
func NewBuffer(pool *sync.Pool) *Buffer { return &Buffer{pool: pool} }

// Size is the number of bytes in the buffer.
func (b *Buffer) Size() int64 { return b.size }

// Write implements io.Writer; it never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.Append(p)
	return len(p), nil
}

// Append appends p.
func (b *Buffer) Append(p []byte) {
	for len(p) > 0 {
		at := int(b.size % ChunkSize)
		if at == 0 {
			b.chunks = append(b.chunks, b.pool.Get().(*[ChunkSize]byte))
		}
		n := copy(b.chunks[len(b.chunks)-1][at:], p)
		b.size += int64(n)
		p = p[n:]
	}
}

// Reset empties the buffer and gives its chunks back.
func (b *Buffer) Reset() {
	for _, chunk := range b.chunks {
		b.pool.Put(chunk)
	}
	clear(b.chunks)
	b.chunks, b.size = b.chunks[:0], 0
}

// Reader returns a reader of what the buffer holds. It has to be closed before the
// buffer changes.
func (b *Buffer) Reader() *Reader { return &Reader{buffer: b} }

// Reader is the body of a request. An HTTP transport may still read from a
// body when its request has failed; Close makes sure that it gets nothing that
// stands in the buffer later.
type Reader struct {
	mu     sync.Mutex
	buffer *Buffer // nil once closed
	at     int64
}

var _ io.ReadSeeker = (*Reader)(nil)

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buffer == nil {
		return 0, io.ErrClosedPipe
	}
	if r.at >= r.buffer.size {
		return 0, io.EOF
	}
	chunk := r.buffer.chunks[r.at/ChunkSize][r.at%ChunkSize:]
	n := copy(p, chunk[:min(int64(len(chunk)), r.buffer.size-r.at)])
	r.at += int64(n)
	return n, nil
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buffer == nil {
		return 0, io.ErrClosedPipe
	}
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.buffer.size
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek to %d", offset)
	}
	r.at = offset
	return offset, nil
}

// Close ends the reader.
func (r *Reader) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buffer = nil
}
