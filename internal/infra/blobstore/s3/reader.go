package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
)

const (
	// maxBreaks is how often a body may break off and be asked for again. One
	// that broke off more often has a cause that repeating does not cure.
	maxBreaks = 8
	// firstPause is the wait before the second break is mended; it doubles.
	firstPause = 50 * time.Millisecond
)

// Open implements blobstore.Store. An answer that breaks off is gone on with by
// another request, as long as the object is the same by its ETag. ctx holds for
// the reader as well.
func (s *Store) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	if err := blobstore.CheckKey(o.Key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	length, err := o.Span(offset, length)
	if err != nil {
		return nil, err
	}
	r, err := s.open(ctx, s.object(o.Key), o.Size, offset, length)
	if err != nil {
		return nil, storeError("open", o.Key, err)
	}
	return r, nil
}

// open reads length bytes from offset of the object that the bucket has under a
// name and that has size bytes.
func (s *Store) open(ctx context.Context, stored string, size, offset, length int64) (*reader, error) {
	r := &reader{store: s, stored: stored, at: offset, end: offset + length, over: ctx.Err}
	if length == 0 {
		// S3 has no range without bytes.
		out, err := s.head(ctx, stored)
		if err != nil {
			return nil, err
		}
		if found := aws.ToInt64(out.ContentLength); found != size {
			return nil, wrongSize(found, size)
		}
		r.drained = true
		return r, nil
	}
	r.get = func(at int64, etag *string) (err error) {
		r.body, r.etag, err = s.get(ctx, stored, size, at, r.end, etag)
		return err
	}
	r.pause = func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}
	return r, r.get(offset, nil)
}

// get asks for the bytes from at to end of an object with size bytes, all of it
// without a range so that a checksum of the whole can be verified.
func (s *Store) get(ctx context.Context, stored string, size, at, end int64, etag *string) (io.ReadCloser, *string, error) {
	in := &s3.GetObjectInput{Bucket: &s.cfg.Bucket, Key: &stored, IfMatch: etag}
	whole := at == 0 && end == size
	if !whole {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", at, end-1))
	}
	out, err := s.client.GetObject(ctx, in)
	switch {
	case codeOf(err) == "InvalidRange":
		return nil, nil, fmt.Errorf("%w: it ends before byte %d of %d: %w", blobstore.ErrCorrupt, at, size, err)
	case statusOf(err) == http.StatusPreconditionFailed:
		return nil, nil, fmt.Errorf("%w: it was exchanged while it was read: %w", blobstore.ErrCorrupt, err)
	case err != nil:
		return nil, nil, err
	}
	if err := checkAnswer(out, whole, size, at, end); err != nil {
		return nil, nil, errors.Join(err, out.Body.Close())
	}
	return out.Body, out.ETag, nil
}

// checkAnswer compares what S3 is about to send with what was asked for.
func checkAnswer(out *s3.GetObjectOutput, whole bool, size, at, end int64) error {
	length := aws.ToInt64(out.ContentLength)
	if whole {
		if length != size {
			return wrongSize(length, size)
		}
		return nil
	}
	var first, last, total int64
	if _, err := fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &first, &last, &total); err != nil {
		return fmt.Errorf("bytes %d-%d were asked for, and the answer's range is %q", at, end-1, aws.ToString(out.ContentRange))
	}
	if total != size {
		return wrongSize(total, size)
	}
	if first != at || last != end-1 || length != end-at {
		return fmt.Errorf("bytes %d-%d were asked for, and %d-%d come in %d bytes", at, end-1, first, last, length)
	}
	return nil
}

func wrongSize(found, want int64) error {
	return fmt.Errorf("%w: it has %d bytes, not %d", blobstore.ErrCorrupt, found, want)
}

// reader reads the bytes from at to end.
type reader struct {
	store   *Store
	stored  string
	at, end int64
	// get asks for what is left and puts the answer into body and etag.
	get    func(at int64, etag *string) error
	pause  func(time.Duration) error
	over   func() error  // that the reading's context has ended
	body   io.ReadCloser // nil when there is none
	etag   *string
	broken error // how body ended too early
	breaks int
	// drained: the body was seen to end where it should.
	drained bool
	err     error // final
}

var _ io.WriterTo = (*reader)(nil)

func (r *reader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	for r.at < r.end {
		if len(p) == 0 {
			return 0, nil
		}
		if r.err = r.over(); r.err != nil {
			return 0, r.err
		}
		if r.broken != nil {
			if r.err = r.mend(); r.err != nil {
				return 0, r.err
			}
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.at)])
		r.at += int64(n)
		if r.at < r.end {
			r.broken = err
		} else if err != nil {
			r.err = r.ended(err)
		}
		if n > 0 || (err == nil && n == 0) {
			return n, nil
		}
	}
	if !r.drained && r.err == nil {
		// The SDK compares the checksum when it meets the end.
		var b [1]byte
		if n, err := r.body.Read(b[:]); n > 0 || err != nil {
			r.err = r.ended(err)
		}
	}
	if r.err == nil && r.drained {
		return 0, io.EOF
	}
	return 0, r.err
}

// ended judges what the body answered behind its last byte.
func (r *reader) ended(err error) error {
	r.drained = true
	if isMismatch(err) {
		return fmt.Errorf("%w: read %q: %w", blobstore.ErrCorrupt, r.stored, err)
	}
	return nil // all bytes are there; nothing else matters
}

// isMismatch says that the SDK found a checksum wrong. Its error has no type that
// can be named.
func isMismatch(err error) bool {
	return err != nil && strings.Contains(err.Error(), "checksum did not match")
}

// mend asks for the rest after the body broke off.
func (r *reader) mend() error {
	for r.broken != nil {
		cause := r.broken
		if isMismatch(cause) {
			return fmt.Errorf("%w: read %q: %w", blobstore.ErrCorrupt, r.stored, cause)
		}
		if r.body != nil {
			_ = r.body.Close() // it has failed already
			r.body = nil
		}
		if r.breaks == maxBreaks {
			return fmt.Errorf("blobstore: read %q at %d of %d: the answer broke off %d times: %w", r.stored, r.at, r.end, r.breaks+1, cause)
		}
		if r.breaks > 0 {
			if err := r.pause(min(firstPause<<(r.breaks-1), r.store.cfg.pause)); err != nil {
				return err
			}
		}
		r.breaks++
		if err := r.get(r.at, r.etag); err != nil {
			return storeError("read", r.stored, err)
		}
		r.broken = nil
	}
	return nil
}

func (r *reader) WriteTo(w io.Writer) (int64, error) {
	chunk := r.store.chunks.Get().(*[upload.ChunkSize]byte)
	defer r.store.chunks.Put(chunk)
	var total int64
	for {
		n, err := r.Read(chunk[:])
		if n > 0 {
			written, err := w.Write(chunk[:n])
			total += int64(written)
			if err == nil && written < n {
				err = io.ErrShortWrite
			}
			if err != nil {
				return total, err
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func (r *reader) Close() error {
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	if r.err == nil {
		r.err = fmt.Errorf("%w: the reader of %q was closed", blobstore.ErrEnded, r.stored)
	}
	// A body that was left in the middle may say so; there is nothing to lose.
	_ = body.Close()
	return nil
}
