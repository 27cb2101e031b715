package read

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/berth-registry/berth/internal/domain/name"
)

const (
	// chunkBytes and chunks are what lies between the three that work on a stream:
	// who decompresses, who walks the archive, who hashes.
	chunkBytes = 256 << 10
	chunks     = 8
	// zstdWindow is the largest that the zstd program makes without being told to
	// (--ultra -22); clients that push use 8 MiB and less.
	zstdWindow = 128 << 20
)

// chunk is a piece of the plain archive.
type chunk struct {
	b   []byte // all of it
	n   int    // what is filled
	err error  // what came after it
}

// plain is the plain archive as a reader. Decompressing and hashing take about as long
// as one another and both longer than the walk, so each has a goroutine.
type plain struct {
	free   chan *chunk
	filled chan *chunk
	hash   chan *chunk
	quit   chan struct{} // closed when nobody reads on
	sum    chan name.Digest
	filler chan struct{} // closed when the filler has ended

	cur  *chunk
	at   int
	read int64 // bytes handed out or skipped
	err  error
}

func newPlain(ctx context.Context, r io.Reader, l Limits) *plain {
	p := &plain{
		free: make(chan *chunk, chunks), filled: make(chan *chunk, chunks), hash: make(chan *chunk, chunks),
		quit: make(chan struct{}), sum: make(chan name.Digest, 1), filler: make(chan struct{}),
	}
	for range chunks {
		p.free <- &chunk{b: make([]byte, chunkBytes)}
	}
	go p.fill(ctx, r, l)
	go func() {
		h := sha256.New()
		for c := range p.hash {
			h.Write(c.b[:c.n])
			p.free <- c // has room for all there are
		}
		p.sum <- name.FromHash("sha256", h)
	}()
	return p
}

// fill decompresses r into chunks until it ends, is too long, or nobody reads on. The
// last chunk has an error, io.EOF where all is well.
func (p *plain) fill(ctx context.Context, r io.Reader, l Limits) {
	defer close(p.filler)
	var c *chunk
	defer func() {
		if x := recover(); x != nil { // a fault of a decompressor; the layer is bad and no more
			if c == nil {
				c = <-p.free // none was taken yet
			}
			c.n, c.err = 0, refuse("cannot be decompressed: %s", words(fmt.Sprint(x)))
			p.filled <- c // has room for all there are
		}
	}()
	counted := &counter{r: r}
	plain, closing, err := decompress(counted, l)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	defer closing()
	var total int64
	for {
		select {
		case c = <-p.free:
		case <-p.quit:
			return
		}
		c.n, c.err = 0, err
		for c.err == nil && c.n < len(c.b) {
			var n int
			n, c.err = plain.Read(c.b[c.n:])
			c.n += n
		}
		total += int64(c.n)
		switch {
		case ctx.Err() != nil:
			c.err = ctx.Err()
		case total > l.Bytes:
			c.err = refuse("has more than %d bytes when it is decompressed", l.Bytes)
		case total > l.RatioBytes && total/l.Ratio > counted.n:
			c.err = refuse("makes more than %d bytes of each compressed byte", l.Ratio)
		case c.err != nil && c.err != io.EOF:
			c.err = explain(c.err, counted.err)
		}
		p.filled <- c // has room for all there are
		if c.err != nil {
			return
		}
	}
}

// next gets the next chunk, and hands the one that was read on for hashing.
func (p *plain) next() error {
	if p.err != nil {
		return p.err
	}
	if p.cur != nil {
		p.read += int64(p.cur.n - p.at) // what is passed over
		p.at = p.cur.n
		if p.cur.err != nil {
			p.err = p.cur.err
			p.hash <- p.cur
			p.cur = nil
			return p.err
		}
		p.hash <- p.cur
	}
	p.cur, p.at = <-p.filled, 0
	return nil
}

func (p *plain) Read(b []byte) (int, error) {
	for p.cur == nil || p.at == p.cur.n {
		if err := p.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.cur.b[p.at:p.cur.n])
	p.at += n
	p.read += int64(n)
	return n, nil
}

// Seek goes forward without copying; archive/tar skips content with it.
func (p *plain) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.New("this stream goes forward only")
	}
	for offset > 0 {
		for p.cur == nil || p.at == p.cur.n {
			if err := p.next(); err == io.EOF {
				return 0, io.ErrUnexpectedEOF // archive/tar would take io.EOF for the end of a whole archive
			} else if err != nil {
				return 0, err
			}
		}
		n := min(int64(p.cur.n-p.at), offset)
		p.at += int(n)
		p.read += n
		offset -= n
	}
	return p.read, nil
}

// rest reads to the end and says what the whole hashes to.
func (p *plain) rest() (name.Digest, error) {
	for {
		if err := p.next(); err == io.EOF {
			break
		} else if err != nil {
			return "", err
		}
	}
	close(p.hash)
	sum := <-p.sum
	p.hash = nil
	return sum, nil
}

// stop ends the goroutines. The filler may be in a read of the source, which is waited
// for: the source is the caller's again afterwards.
func (p *plain) stop() {
	close(p.quit)
	<-p.filler
	if p.hash != nil {
		close(p.hash)
		<-p.sum
	}
}

// counter counts what is read of the compressed layer, and keeps the error it ended with.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}

// decompress looks at the first bytes and not at the media type, which is wrong often enough.
func decompress(r io.Reader, l Limits) (io.Reader, func(), error) {
	in := bufio.NewReaderSize(r, 256<<10)
	magic, err := in.Peek(6)
	if err != nil && err != io.EOF {
		return nil, func() {}, err
	}
	starts := func(s string) bool { return bytes.HasPrefix(magic, []byte(s)) }
	switch {
	case starts("\x1f\x8b"):
		z, err := gzip.NewReader(in)
		return z, func() {}, err
	case starts("\x28\xb5\x2f\xfd"), len(magic) >= 4 && magic[0]&0xf0 == 0x50 && starts(string(magic[0])+"\x2a\x4d\x18"):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(uint64(l.Bytes)+1))
		if err != nil {
			return nil, func() {}, err
		}
		return z, z.Close, nil
	case starts("BZh"):
		return nil, func() {}, refuse("is compressed with bzip2; images use gzip or zstd")
	case starts("\xfd7zXZ\x00"):
		return nil, func() {}, refuse("is compressed with xz; images use gzip or zstd")
	}
	return in, func() {}, nil
}

// explain puts what went wrong with the stream into words. What the source failed
// with is no fault of the layer, and is handed on as it is.
func explain(err, source error) error {
	var own *Error
	switch {
	case source != nil:
		return source
	case errors.As(err, &own):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse("is cut off in the middle of its compressed data")
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return refuse("is compressed with zstd in a way that needs more than %d MiB of memory to read", zstdWindow>>20)
	}
	return refuse("cannot be decompressed: %s", words(err.Error()))
}
