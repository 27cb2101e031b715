package encrypted

import (
	"errors"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// reader opens the segments of a span, a run of them for each read of the inner
// store. It borrows memory when bytes are first asked for.
type reader struct {
	buffers *buffers
	key     string
	inner   io.ReadCloser
	sealer  *sealer

	index, end, final int64 // the next segment to open, the end, the object's last
	sealedLeft        int64 // bytes that the inner reader still has
	skip              int   // bytes of the next segment in front of the part
	left              int64 // plaintext of the part that is not opened yet

	run    run    // nothing before bytes are asked for
	sealed []byte // in run: not opened yet
	plain  []byte // in run: opened and not handed out yet

	err error // the failure that ended reading
	// damaged is called when bytes do not authenticate.
	damaged func()
}

var (
	_ io.WriterTo        = (*reader)(nil)
	_ blobstore.Beginner = (*reader)(nil)
)

func newReader(b *buffers, key string, inner io.ReadCloser, s *sealer, part span, damaged func()) *reader {
	return &reader{
		buffers: b, key: key, inner: inner, sealer: s,
		index: part.first, end: part.end, final: part.final,
		sealedLeft: part.sealedLength, skip: part.skip, left: part.length,
		damaged: damaged,
	}
}

// Begin implements blobstore.Beginner: it opens the first run.
func (r *reader) Begin() error {
	if len(r.plain) > 0 {
		return nil
	}
	err := r.more()
	switch {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	}
	r.openRun()
	if len(r.plain) > 0 {
		return nil // what is damaged lies behind the first bytes
	}
	return r.err
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, r.err
	}
	for len(r.plain) == 0 {
		if err := r.more(); err != nil {
			return 0, err
		}
		if len(p) >= segmentSize && r.skip == 0 && r.left >= segmentSize {
			// A whole segment fits: no need to copy it.
			plain, err := r.open(p[:0])
			return len(plain), err
		}
		r.openRun()
	}
	n := copy(p, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

func (r *reader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.plain) > 0 {
			n, err := w.Write(r.plain)
			r.plain = r.plain[n:]
			total += int64(n)
			if err != nil {
				return total, err
			}
			continue
		}
		switch err := r.more(); err {
		case nil:
		case io.EOF:
			return total, nil
		default:
			return total, err
		}
		r.openRun()
	}
}

// more sees to it that there is a sealed segment to open; io.EOF when there
// are no more. All that was opened has to be handed out.
func (r *reader) more() error {
	switch {
	case r.err != nil:
		return r.err
	case len(r.sealed) > 0:
		return nil
	case r.index == r.end:
		return io.EOF
	}
	// Another one each time: memory for long runs may have become free, or scarce.
	r.giveBack()
	r.run = r.buffers.borrow(r.sealedLeft)
	sealed := r.run.room(r.sealedLeft)
	if _, err := io.ReadFull(r.inner, sealed); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = fmt.Errorf("%w: read %q: segment %d is cut off", blobstore.ErrCorrupt, r.key, r.index)
		}
		r.err = err
		return err
	}
	r.sealedLeft -= int64(len(sealed))
	r.sealed = sealed
	return nil
}

// openRun opens what is sealed in the run, to be handed out. A segment that does
// not open ends it: those before it are good.
func (r *reader) openRun() {
	opened := r.run.bytes[:0]
	skip := r.skip
	for len(r.sealed) > 0 && r.err == nil {
		at := len(opened)
		plain, err := r.open(r.run.place(at))
		if err != nil {
			break
		}
		if at == 0 {
			opened = opened[:skip]
		}
		opened = opened[:len(opened)+len(plain)]
	}
	if len(opened) > 0 {
		r.plain = opened[skip:]
	}
}

// open opens the next segment into dst, which has room for a full one, and
// returns what of it lies in the part. An empty last segment is opened
// together with the one before it, so that whoever has all bytes knows that
// they are all.
func (r *reader) open(dst []byte) ([]byte, error) {
	plain, err := r.openNext(dst)
	if err == nil && len(r.sealed) == overhead && r.index == r.final {
		_, err = r.openNext(nil)
	}
	if err != nil {
		r.err = err
		return nil, err
	}
	plain = plain[r.skip:]
	r.skip = 0
	if int64(len(plain)) > r.left {
		plain = plain[:r.left]
	}
	r.left -= int64(len(plain))
	return plain, nil
}

func (r *reader) openNext(dst []byte) ([]byte, error) {
	size, k := min(sealedSegment, len(r.sealed)), kindInner
	if r.index == r.final {
		k = kindLast
	}
	plain, err := r.sealer.open(dst, r.sealed[:size], k, r.index)
	if err != nil {
		r.damaged()
		return nil, err
	}
	r.sealed = r.sealed[size:]
	r.index++
	return plain, nil
}

// Close gives the reader's memory back; nothing can be read after it.
func (r *reader) Close() error {
	r.giveBack()
	r.err = errClosed
	return r.inner.Close()
}

// giveBack ends the use of the run.
func (r *reader) giveBack() {
	r.buffers.giveBack(r.run)
	r.run, r.sealed, r.plain = run{}, nil, nil
}

var errClosed = errors.New("blobstore: the reader is closed")
