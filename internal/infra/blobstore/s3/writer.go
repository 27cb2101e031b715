package s3

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3/upload"
)

const (
	// abandonLimit bounds the clearing up after a Writer that was given up.
	abandonLimit = 10 * time.Second
)

// writer collects one part at a time. A full buffer is sent when the next byte
// comes, so that what is left at Commit is never nothing, and an object of one
// buffer needs no multipart upload.
type writer struct {
	store *Store
	key   string
	// calls is the context of requests that Write makes, which has none of its
	// own: that of Create or Resume.
	calls  func() context.Context
	state  upload.State // without TailSize and TailSum: the tail is in buffer
	buffer *upload.Buffer
	offset int64
	// from is the State that the writer was resumed with, nil for a new object.
	from  blobstore.State
	dirty bool // written to
	begun bool // the multipart upload is this writer's, and no State names it
	ended bool
	err   error // the Write that failed
}

var _ blobstore.Writer = (*writer)(nil)

// Create implements blobstore.Store. It sends nothing: what is written stands in
// memory until a part is full, or until Suspend or Commit, and is not listed
// before. Write sends its requests under ctx, which therefore must live as long
// as the Writer.
func (s *Store) Create(ctx context.Context, key string, _ blobstore.Placement) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The first Suspend takes slot 0.
	return s.newWriter(ctx, key, upload.State{Slot: upload.Slots - 1}), nil
}

func (s *Store) newWriter(ctx context.Context, key string, st upload.State) *writer {
	return &writer{store: s, key: key, calls: func() context.Context { return ctx }, state: st, buffer: upload.NewBuffer(&s.chunks)}
}

// Resume implements blobstore.Store. As with Create, ctx must live as long as the
// Writer.
func (s *Store) Resume(ctx context.Context, key string, from blobstore.State) (blobstore.Writer, error) {
	if err := blobstore.CheckKey(key); err != nil {
		return nil, err
	}
	st, err := upload.ParseState(key, from)
	if err != nil {
		return nil, fmt.Errorf("resume %q: %w", key, err)
	}
	if err := s.unfinished(ctx, key, st); err != nil {
		return nil, storeError("resume", key, err)
	}
	w := s.newWriter(ctx, key, st)
	w.from, w.offset = from, upload.PartsEnd(st.Parts)+st.TailSize
	if err := w.loadTail(ctx); err != nil {
		w.release()
		return nil, storeError("resume", key, err)
	}
	return w, nil
}

// unfinished makes sure that what the State counts is there and that the object
// is not finished.
func (s *Store) unfinished(ctx context.Context, key string, st upload.State) error {
	if st.ID == "" {
		_, err := s.head(ctx, s.object(key))
		if err == nil {
			return fmt.Errorf("%w: the object is finished", blobstore.ErrNotFound)
		}
		if isMissing(err) {
			return nil
		}
		return err
	}
	// A finished upload is no longer there. Of the parts, the last one is
	// enough for now; Commit looks at all.
	out, err := s.client.ListParts(ctx, &s3.ListPartsInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.object(key)), UploadId: &st.ID,
		PartNumberMarker: aws.String(fmt.Sprint(st.Parts - 1)), MaxParts: aws.Int32(1),
	})
	if err != nil {
		return err
	}
	if len(out.Parts) == 0 || int(aws.ToInt32(out.Parts[0].PartNumber)) != st.Parts {
		return fmt.Errorf("%w: part %d of its multipart upload is gone", blobstore.ErrNotFound, st.Parts)
	}
	if size := aws.ToInt64(out.Parts[0].Size); size != upload.PartSize(st.Parts) {
		return fmt.Errorf("%w: part %d of its multipart upload has %d bytes, not %d", blobstore.ErrCorrupt, st.Parts, size, upload.PartSize(st.Parts))
	}
	return nil
}

// loadTail brings the tail back into the buffer.
func (w *writer) loadTail(ctx context.Context) error {
	s, st := w.store, w.state
	r, err := s.open(ctx, s.tail(w.key, st.Slot), st.TailSize, 0, st.TailSize)
	if err != nil {
		return err
	}
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(w.buffer, hash), r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if [sha256.Size]byte(hash.Sum(nil)) != st.TailSum {
		return fmt.Errorf("%w: the tail is not the one that the state names", blobstore.ErrCorrupt)
	}
	return nil
}

func (w *writer) Offset() int64 { return w.offset }

// usable says why the writer can do no more.
func (w *writer) usable() error {
	if w.err != nil {
		return w.err
	}
	if w.ended {
		return fmt.Errorf("%w: %q", blobstore.ErrEnded, w.key)
	}
	return nil
}

func (w *writer) Write(p []byte) (int, error) {
	if err := w.usable(); err != nil {
		return 0, err
	}
	size := len(p)
	for len(p) > 0 {
		if w.state.Parts == upload.MaxParts {
			w.err = fmt.Errorf("blobstore: write %q: an object in S3 has at most %d bytes here", w.key, upload.MaxSize())
			return size - len(p), w.err
		}
		room := upload.PartSize(w.state.Parts+1) - w.buffer.Size()
		if room == 0 {
			if err := w.sendPart(w.calls()); err != nil {
				w.err = storeError("write", w.key, err)
				return size - len(p), w.err
			}
			continue
		}
		n := min(int64(len(p)), room)
		w.buffer.Append(p[:n])
		w.offset += n
		w.dirty = true
		p = p[n:]
	}
	return size, nil
}

// sendPart uploads what the buffer holds as the next part.
func (w *writer) sendPart(ctx context.Context) error {
	s := w.store
	if w.state.ID == "" {
		if err := w.begin(ctx); err != nil {
			return err
		}
	}
	body := w.buffer.Reader()
	defer body.Close()
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &s.cfg.Bucket, Key: aws.String(s.object(w.key)), UploadId: &w.state.ID,
		PartNumber: aws.Int32(int32(w.state.Parts + 1)), Body: body, ContentLength: aws.Int64(w.buffer.Size()),
	})
	if err != nil {
		return err
	}
	body.Close()
	w.state.Parts++
	w.state.ETags.Add(plainETag(out.ETag))
	w.buffer.Reset()
	return nil
}

// begin starts the multipart upload.
func (w *writer) begin(ctx context.Context) error {
	s := w.store
	_, _ = rand.Read(w.state.Mark[:]) // cannot fail
	in := &s3.CreateMultipartUploadInput{Bucket: &s.cfg.Bucket, Key: aws.String(s.object(w.key)), Metadata: w.state.Mark.Metadata()}
	in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = s.encryption()
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return err
	}
	id := aws.ToString(out.UploadId)
	if id == "" || len(id) > upload.MaxID {
		return fmt.Errorf("the id of the multipart upload has %d bytes", len(id))
	}
	w.state.ID, w.begun = id, true
	return nil
}

// put stores what the buffer holds as an object.
func (w *writer) put(ctx context.Context, stored string, m upload.Mark) error {
	s := w.store
	body := w.buffer.Reader()
	defer body.Close()
	in := &s3.PutObjectInput{
		Bucket: &s.cfg.Bucket, Key: &stored, Metadata: m.Metadata(),
		Body: body, ContentLength: aws.Int64(w.buffer.Size()),
	}
	in.ServerSideEncryption, in.SSEKMSKeyId, in.BucketKeyEnabled = s.encryption()
	_, err := s.client.PutObject(ctx, in)
	return err
}

func (w *writer) Suspend(ctx context.Context) (blobstore.State, error) {
	if err := w.usable(); err != nil {
		return nil, err
	}
	if w.from != nil && !w.dirty {
		w.release()
		return w.from, nil // which is as good as it was
	}
	st := w.state
	st.Slot = (st.Slot + 1) % upload.Slots
	st.TailSize = w.buffer.Size()
	hash := sha256.New()
	body := w.buffer.Reader()
	_, err := io.Copy(hash, body)
	body.Close()
	if err == nil {
		hash.Sum(st.TailSum[:0])
		err = w.put(ctx, w.store.tail(w.key, st.Slot), upload.NewMark())
	}
	if err != nil {
		w.abandon()
		return nil, storeError("suspend", w.key, err)
	}
	w.release()
	return st.Encode(w.key), nil
}

func (w *writer) Commit(ctx context.Context) (blobstore.Object, error) {
	if err := w.usable(); err != nil {
		return blobstore.Object{}, err
	}
	if err := w.finish(ctx); err != nil {
		w.abandon()
		return blobstore.Object{}, storeError("commit", w.key, err)
	}
	w.clearUp(ctx)
	w.release()
	return blobstore.Object{Key: w.key, Size: w.offset}, nil
}

// finish makes the object readable.
func (w *writer) finish(ctx context.Context) error {
	if w.state.ID == "" {
		m := upload.NewMark()
		return w.store.confirm(ctx, w.key, w.offset, m, 0, w.put(ctx, w.store.object(w.key), m))
	}
	last := w.buffer.Size()
	if last > 0 {
		if err := w.sendPart(ctx); err != nil {
			return err
		}
	}
	parts, err := w.listParts(ctx, last)
	if err != nil {
		return err
	}
	return w.store.confirm(ctx, w.key, w.offset, w.state.Mark, w.state.Parts, w.completeUpload(ctx, parts))
}

// clearUp removes what led to the finished object. Nothing that fails here takes
// the object back.
func (w *writer) clearUp(ctx context.Context) {
	s := w.store
	w.begun = false
	if w.from != nil {
		failed, err := s.deleteStored(ctx, []string{s.tail(w.key, 0), s.tail(w.key, 1)})
		for _, reason := range failed {
			err = errors.Join(err, reason)
		}
		if err != nil {
			s.log.WarnContext(ctx, "the tail of a finished upload stays in the bucket until its object is deleted", "key", w.key, "error", err)
		}
	}
	if w.state.ID != "" {
		// An answer that got lost may have left a second upload.
		if err := s.abortUploads(ctx, w.key); err != nil {
			s.log.WarnContext(ctx, "an unfinished multipart upload may stay beside a finished object until that is deleted", "key", w.key, "error", err)
		}
	}
}

// Close implements blobstore.Writer. It aborts the multipart upload if no State
// names it.
func (w *writer) Close() error {
	if !w.ended {
		w.abandon()
	}
	return nil
}

// abandon ends the writer without a State.
func (w *writer) abandon() {
	begun := w.begun
	w.release()
	if !begun {
		return
	}
	s := w.store
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.calls()), abandonLimit)
	defer cancel()
	if err := s.abort(ctx, s.object(w.key), w.state.ID); err != nil {
		s.log.WarnContext(ctx, "a multipart upload that was given up stays until its key is deleted", "key", w.key, "error", err)
	}
}

// release ends the writer and gives its memory back.
func (w *writer) release() {
	w.ended, w.begun = true, false
	w.buffer.Reset()
}

// plainETag is an ETag without quotes, which some services leave out in one place
// and not in another.
func plainETag(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }
