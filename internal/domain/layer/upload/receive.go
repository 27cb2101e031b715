package upload

import (
	"context"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// keepLimit bounds the keeping of what a request brought, which goes on
	// after its client has gone.
	keepLimit = time.Minute
	// dropLimit bounds the removal of what a failed request brought, for which its
	// client waits: a store that has just failed may well fail at that too.
	dropLimit = 5 * time.Second
)

// errTooLong: the body brings more than it may.
var errTooLong = errors.New("upload: the body is too long")

// readError is the failure of the body, as apart from one of the store.
type readError struct{ cause error }

func (e *readError) Error() string { return "reading the body: " + e.cause.Error() }
func (e *readError) Unwrap() error { return e.cause }

// Received is what one request brought through the gate, bytes that are hashed
// and written but not yet kept, together with the request's hold on its upload.
type Received struct {
	service *Service
	session *session
	limits  quota.Limits
	store   blobstore.Store
	writer  blobstore.Writer // nil before the first byte
	hash    hash.Hash        // the sha256 of the whole upload, from its first byte on
	n       int64            // bytes of this request
}

// Receive is the gate: every byte of every layer comes through here. It gets
// hold of the upload (a request that has it is stopped first), checks the
// chunk's place, and takes the body, if it is not nil, in pieces of bounded
// size: limit, hash, store. The caller goes on with what it returns, and
// releases it.
//
// When the body breaks off, the bytes that came are kept (a Part excepted) and
// errs.UploadInterrupted is returned. After every other failure the upload is
// as it was before.
func (s *Service) Receive(ctx context.Context, r repository.Repository, id string, c Chunk, body io.Reader) (*Received, error) {
	limits, err := s.Quotas.RepositoryLimits(ctx, r.Registry.Account, r.Name)
	if err != nil {
		return nil, err
	}
	ctx, ses, err := s.acquire(ctx, r, id)
	if err != nil {
		return nil, err
	}
	in := &Received{service: s, session: ses, limits: limits.In(r.Registry), hash: sha256.New()}
	if err := in.receive(ctx, c, body); err != nil {
		in.Release(ctx)
		return nil, err
	}
	return in, nil
}

// Release gives the upload free for the next request. What was neither kept nor
// finished is dropped.
func (in *Received) Release(ctx context.Context) {
	in.close()
	in.service.release(ctx, in.session)
}

func (in *Received) close() {
	if in.writer != nil {
		_ = in.writer.Close() // after Suspend and Commit it does nothing; before, the bytes are given up
		in.writer = nil
	}
}

func (in *Received) receive(ctx context.Context, c Chunk, body io.Reader) (err error) {
	s, ses := in.service, in.session
	if err := in.checkChunk(c); err != nil {
		return err
	}
	if in.store, err = s.Store(ses.row.region); err != nil {
		return err
	}
	if len(ses.row.hashes) > 0 {
		if err := in.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(ses.row.hashes); err != nil {
			return fmt.Errorf("the hash state of upload %s: %w", ses.id, err)
		}
	}
	if body != nil {
		limit := in.limits.MaxLayerBytes - ses.row.received
		if c.First >= 0 {
			limit = min(limit, c.Last-c.First+1)
		}
		err = in.drain(ctx, body, limit)
	}
	switch {
	case errors.Is(err, errTooLong) && c.First < 0:
		err = in.tooLarge()
	case errors.Is(err, errTooLong):
		err = badRange(ses, c, "more bytes were sent")
	case err == nil && c.First >= 0 && in.n != c.Last-c.First+1:
		err = badRange(ses, c, fmt.Sprintf("%d bytes were sent", in.n))
	}
	if err == nil {
		return nil
	}
	return in.failed(ctx, c, err)
}

// put stores one piece, which the hash has had.
func (in *Received) put(ctx context.Context, p []byte) error {
	if in.session.lost(in.service.Clock.Now()) {
		return errLeaseLost
	}
	if err := in.service.settle(ctx, in.session, in.Size()+int64(len(p))); err != nil {
		return err
	}
	if err := in.open(ctx); err != nil {
		return err
	}
	if _, err := in.writer.Write(p); err != nil {
		return err
	}
	in.n += int64(len(p))
	return nil
}

// open opens the upload's object where its row stands, at the first byte. The
// writer lives on when the request is cancelled: what came before is still to
// be kept.
func (in *Received) open(ctx context.Context) error {
	if in.writer != nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	ses, u := in.session, in.session.row
	var err error
	if len(u.state) > 0 {
		in.writer, err = in.store.Resume(ctx, u.objectKey, u.state)
		if err == nil && in.writer.Offset() != u.received {
			return fmt.Errorf("%w: upload %s resumes at %d of %d bytes", blobstore.ErrCorrupt, u.id, in.writer.Offset(), u.received)
		}
		return err
	}
	if u.opened > 1 {
		// An earlier writer may have begun the object and died.
		if err := in.store.Delete(ctx, u.objectKey); err != nil {
			return err
		}
	}
	in.writer, err = in.store.Create(ctx, u.objectKey, blobstore.Placement{KeyID: ses.repository.Encryption.KeyID})
	return err
}

// failed turns the end of a request that went wrong into its failure, and keeps
// what is to be kept.
func (in *Received) failed(ctx context.Context, c Chunk, err error) error {
	ses := in.session
	var broken *readError
	cause := context.Cause(ctx)
	cut := errors.As(err, &broken) || cause != nil && errors.Is(err, cause)
	switch {
	case errors.Is(err, errLeaseLost):
		return stopped(ses, errLeaseLost)
	case errors.Is(err, blobstore.ErrNotFound), errors.Is(err, blobstore.ErrCorrupt):
		return in.lost(ctx, err)
	case cut && in.n > 0 && !c.Part:
		if kept := in.keep(ctx, true); kept != nil {
			return kept
		}
	default:
		in.Drop(ctx)
	}
	switch {
	case !cut:
		return StoreError(err)
	case broken == nil:
		return stopped(ses, cause)
	}
	return errs.Wrap(broken.cause, errs.UploadInterrupted,
		"The request for the upload with id '%s' broke off. %d bytes of the upload are kept; go on from there.", ses.id, ses.row.received)
}

// Drop gives up what this request brought. If it was the upload's first, its
// room is freed at once: no state leads to it, so the next request begins anew.
func (in *Received) Drop(ctx context.Context) {
	begun := in.writer != nil
	in.close()
	if !begun || len(in.session.row.state) > 0 || in.session.lost(in.service.Clock.Now()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropLimit)
	defer cancel()
	if err := in.store.Delete(ctx, in.session.row.objectKey); err != nil {
		in.service.Log.WarnContext(ctx, "the rest of a failed request stays until the upload goes on or expires", "upload", in.session.id, "error", err)
	}
}

// lost ends an upload whose bytes are gone or damaged.
func (in *Received) lost(ctx context.Context, cause error) error {
	in.service.Log.ErrorContext(ctx, "the bytes of an unfinished upload are lost; its client has to begin anew", "upload", in.session.id, "error", cause)
	in.Destroy(context.WithoutCancel(ctx))
	return in.NotFound()
}

// keep suspends the object and writes the new state into the row, which is
// what makes the bytes count. A row that is no longer the session's stays.
func (in *Received) keep(ctx context.Context, cut bool) error {
	s, ses := in.service, in.session
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepLimit)
	defer cancel()
	sum, err := in.hash.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	state, err := in.writer.Suspend(ctx)
	if err != nil {
		in.Drop(ctx)
		return StoreError(err)
	}
	u := ses.row
	u.mixed = s.isMixed(u)
	u.process = s.process
	u.addPart(in.n, cut, in.limits.MinPartBytes)
	u.state, u.hashes = state, sum
	u.expiresAt = s.Clock.Now().Add(s.Life).UnixMicro()
	ok, err := s.write(ctx, ses, u)
	ses.unsure = !ok
	if err != nil {
		return err
	}
	if !ok {
		return stopped(ses, errLeaseLost)
	}
	ses.row, ses.leased = u, false
	return nil
}

// write makes u the upload's row, which nobody holds then. It says whether the
// session still had the row.
func (s *Service) write(ctx context.Context, ses *session, u row) (ok bool, err error) {
	claimed := s.memory.claim(ses.id)
	finished := s.memory.due()
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if claimed {
			ok = true
			if err := insert(ctx, tx, u); err != nil {
				return err
			}
		} else {
			n, err := tx.Exec(ctx, `UPDATE upload SET received = $3, parts = $4, last_part = $5, part_cut = $6, small_part = $7,
				state = $8, hashes = $9, process = $10, mixed = $11, expires_at = $12, writer = '', writer_until = 0
				WHERE id = $1 AND writer = $2 AND NOT closed`,
				ses.id, ses.token, u.received, u.parts, u.lastPart, u.partCut, u.smallPart, u.state, u.hashes, u.process, u.mixed, u.expiresAt)
			if ok = n == 1; err != nil {
				return err
			}
		}
		return deleteTogether(ctx, tx, finished)
	})
	s.memory.deleted(finished, err)
	s.memory.written(ses.id, err)
	return ok && err == nil, StoreError(err)
}

// isMixed says whether bytes of the upload came in through another process.
func (s *Service) isMixed(u row) bool {
	return u.mixed || len(u.state) > 0 && u.process != s.process
}

// checkChunk compares the chunk with what the upload has.
func (in *Received) checkChunk(c Chunk) error {
	ses, limits := in.session, in.limits
	u := ses.row
	if c.Part && u.parts >= limits.MaxLayerParts && !u.partCut {
		return errs.New(errs.LimitExceeded, "The upload with id '%s' already has the maximum allowed number of layer parts which is '%d'", u.id, limits.MaxLayerParts)
	}
	if c.First < 0 {
		return nil
	}
	size := c.Last - c.First + 1
	switch {
	case c.First != u.received:
		return badRange(ses, c, fmt.Sprintf("the next byte is %d", u.received))
	case size < 1:
		return badRange(ses, c, "the last byte comes before the first")
	case c.Part && size > limits.MaxPartBytes:
		return badRange(ses, c, fmt.Sprintf("a layer part has at most %d bytes", limits.MaxPartBytes))
	case size > limits.MaxLayerBytes-u.received:
		return in.tooLarge()
	}
	return nil
}

// badRange is the failure of a chunk that does not fit.
func badRange(ses *session, c Chunk, reason string) error {
	r := ses.repository
	if !c.Part {
		return errs.New(errs.RangeInvalid, "The bytes %d-%d do not fit the upload with id '%s': %s. Ask for the upload's status and go on from there.",
			c.First, c.Last, ses.id, reason)
	}
	return errs.New(errs.LayerPartInvalid,
		"Invalid layer part with first byte '%d' and last byte '%d' for the upload with id '%s' in the repository with name '%s' in registry with id '%s': %s",
		c.First, c.Last, ses.id, r.Name, r.Registry.Account, reason).
		With("registryId", string(r.Registry.Account)).
		With("repositoryName", string(r.Name)).
		With("uploadId", ses.id).
		With("lastValidByteReceived", max(ses.row.received-1, 0))
}

func (in *Received) tooLarge() error {
	return errs.New(errs.LayerTooLarge, "The layer of the upload with id '%s' is larger than the maximum allowed size which is '%d' bytes", in.session.id, in.limits.MaxLayerBytes)
}
