package upload

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Size is the number of bytes of the upload, this request's among them.
func (in *Received) Size() int64 { return in.session.row.received + in.n }

// Limits are the quotas that hold for the upload.
func (in *Received) Limits() quota.Limits { return in.limits }

// SmallPart says whether a part other than the last is under
// Limits.MinPartBytes, this request's being the last if it brought bytes.
func (in *Received) SmallPart() bool {
	u := in.session.row
	if in.n > 0 {
		u.addPart(in.n, false, in.limits.MinPartBytes)
	}
	return u.smallPart
}

// Digest is the sha256 digest of everything that the upload has received.
func (in *Received) Digest() name.Digest { return name.FromHash("sha256", in.hash) }

// Region is where the upload's object stands.
func (in *Received) Region() name.Region { return in.session.row.region }

// Suspect says whether the stored bytes may not be those that came: unsynced
// ones that another process left behind, which a power cut can have replaced by
// others. A finished object must then be read again.
func (in *Received) Suspect() bool {
	return !in.service.DurableSuspend && in.service.isMixed(in.session.row)
}

// NotFound is the failure for an upload that is over.
func (in *Received) NotFound() error { return notFound(in.session.repository, in.session.id) }

// Finish closes the upload, for ever, and then makes the object durable. Only a
// failure to do so opens the row again, at the state that it had before: no
// later one was ever used. A crash in between costs the client this upload.
// errs.StorageFull, errs.KeyFailure; errs.Unavailable when the lease was lost,
// errs.UploadNotFound when the bytes were.
func (in *Received) Finish(ctx context.Context) (blobstore.Object, error) {
	s, ses := in.service, in.session
	err := s.shut(ctx, ses)
	if err != nil {
		return blobstore.Object{}, err
	}
	if err = s.settle(ctx, ses, in.Size()); err == nil {
		err = in.open(ctx)
	}
	if errors.Is(err, blobstore.ErrNotFound) || errors.Is(err, blobstore.ErrCorrupt) {
		return blobstore.Object{}, in.lost(ctx, err)
	}
	var obj blobstore.Object
	if err == nil {
		obj, err = in.writer.Commit(ctx)
	}
	if err == nil {
		return obj, nil
	}
	in.Drop(ctx)
	if err := s.reopen(ctx, ses); err != nil {
		s.Log.ErrorContext(ctx, "an upload that could not be finished stays closed; its client has to begin anew", "upload", ses.id, "error", err)
	}
	return blobstore.Object{}, StoreError(err)
}

// shut closes the row before the object is finished. A process that is alone only
// has to remember that: if it dies, the object is either a blob's, and
// refuseSpent finds that, or finished and nobody's, which no store resumes.
func (s *Service) shut(ctx context.Context, ses *session) error {
	if !s.Alone {
		return s.closeRow(ctx, ses)
	}
	s.memory.end(ses.id)
	ses.unsure = true
	return nil
}

// reopen takes shut back.
func (s *Service) reopen(ctx context.Context, ses *session) error {
	if s.Alone {
		s.memory.gone(ses.id)
		return nil
	}
	_, err := s.guarded(ctx, ses, `UPDATE upload SET closed = FALSE WHERE id = $1 AND writer = $2`)
	return err
}

// Leave keeps everybody away from an upload whose object is finished and may have
// become a blob's, until it expires.
func (in *Received) Leave(ctx context.Context) {
	if !in.service.Alone {
		return // its row is closed
	}
	if err := in.service.closeRow(ctx, in.session); err != nil {
		in.service.Log.WarnContext(ctx, "the row of an upload whose fate is not known was not closed", "upload", in.session.id, "error", err)
	}
}

// Destroy ends the upload and removes its object, for a request that has failed
// for good. What it does not reach is left to expiry.
func (in *Received) Destroy(ctx context.Context) {
	in.close()
	if err := in.service.destroy(ctx, in.session); err != nil {
		in.service.Log.WarnContext(ctx, "a failed upload was not removed and is left to expiry", "upload", in.session.id, "error", err)
	}
}

// Forget removes the row of an upload whose object has become a blob's, at once or
// with others. If that fails, expiry does it.
func (in *Received) Forget(ctx context.Context) {
	if m := in.service.memory; in.service.Alone {
		id := in.session.id
		if m.claim(id) {
			m.gone(id)
		} else {
			m.finish(id)
		}
		m.written(id, nil)
		return
	}
	if err := in.service.forget(ctx, in.session); err != nil {
		in.service.Log.WarnContext(ctx, "the row of a finished upload was not removed and is left to expiry", "upload", in.session.id, "error", err)
	}
}

// StoreError gives those failures of a store or a database that the caller can
// do something about their codes; everything else stays as it is, a fault of
// ours.
func StoreError(err error) error {
	if _, done := errors.AsType[*errs.Error](err); done {
		return err
	}
	switch {
	case errors.Is(err, blobstore.ErrFull), errors.Is(err, sqldb.ErrFull):
		return repository.StorageFull(err)
	case errors.Is(err, blobstore.ErrKey):
		return repository.KeyFailure(err)
	}
	return err
}
