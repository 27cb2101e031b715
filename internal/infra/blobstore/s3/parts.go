package s3

import (
	"fmt"
	"io"
	"sync"
)

const (
	mib = 1 << 20
	// maxParts is the number of parts that S3 allows in a multipart upload.
	maxParts = 10_000
	// firstPart is the least size that S3 takes for any part but the last.
	firstPart = 5 * mib
	// Parts grow by partStep behind every partRun of them.
	partRun  = 2_500
	partStep = mib
	// chunkSize is the unit that part buffers are made of. It divides every part
	// size.
	chunkSize = 256 << 10
)

// partSize is the size of part n, counted from 1: 5 MiB for the first 2,500, then
// 6, 7 and 8 MiB for 2,500 each. So 10,000 parts hold 65,000 MiB, which is more
// than ECR's largest layer of 52,000 MiB takes when it is sealed, and a Writer
// holds 5 MiB for all layers up to 12,500 MiB and never more than 8.
func partSize(n int) int64 { return firstPart + int64((n-1)/partRun)*partStep }

// partsEnd is the number of bytes in parts 1 to n when all are full.
func partsEnd(n int) int64 {
	var end int64
	for first := 0; first < n; first += partRun {
		end += int64(min(n-first, partRun)) * partSize(first+1)
	}
	return end
}

// maxSize is the size of the largest object, in bytes.
func maxSize() int64 { return partsEnd(maxParts) }

// buffer collects the bytes of one part in chunks that it borrows, so that a
// small object takes little.
type buffer struct {
	pool   *sync.Pool
	chunks []*[chunkSize]byte
	size   int64
}

// write appends p.
func (b *buffer) write(p []byte) {
	for len(p) > 0 {
		at := int(b.size % chunkSize)
		if at == 0 {
			b.chunks = append(b.chunks, b.pool.Get().(*[chunkSize]byte))
		}
		n := copy(b.chunks[len(b.chunks)-1][at:], p)
		b.size += int64(n)
		p = p[n:]
	}
}

// reset empties the buffer and gives its chunks back.
func (b *buffer) reset() {
	for _, chunk := range b.chunks {
		b.pool.Put(chunk)
	}
	clear(b.chunks)
	b.chunks, b.size = b.chunks[:0], 0
}

// read returns a reader of what the buffer holds. It has to be closed before the
// buffer changes.
func (b *buffer) read() *bufferReader { return &bufferReader{buffer: b} }

// bufferReader is the body of a request. An HTTP transport may still read from a
// body when its request has failed; close makes sure that it gets nothing that
// stands in the buffer later.
type bufferReader struct {
	mu     sync.Mutex
	buffer *buffer // nil once closed
	at     int64
}

var _ io.ReadSeeker = (*bufferReader)(nil)

func (r *bufferReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buffer == nil {
		return 0, io.ErrClosedPipe
	}
	if r.at >= r.buffer.size {
		return 0, io.EOF
	}
	chunk := r.buffer.chunks[r.at/chunkSize][r.at%chunkSize:]
	n := copy(p, chunk[:min(int64(len(chunk)), r.buffer.size-r.at)])
	r.at += int64(n)
	return n, nil
}

func (r *bufferReader) Seek(offset int64, whence int) (int64, error) {
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

// close ends the reader.
func (r *bufferReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buffer = nil
}
