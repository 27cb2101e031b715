package layer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Complete ends the upload and makes it a layer of the repository, under the
// first of the given digests that is the digest of its bytes: a sha256 one
// before a sha512 one, which costs a second reading of the bytes. body, if not
// nil, brings the last bytes, as in Append. When Complete returns, the layer
// survives a power cut.
//
// errs.LayerDigestMismatch ends the upload, as does errs.LayerExists (see
// CompleteOptions); errs.RepositoryNotFound when the repository went away
// meanwhile. After errs.UploadEmpty, errs.LimitExceeded for a storage quota, errs.LayerPartTooSmall, errs.StorageFull,
// errs.KeyFailure and the failures of Append the upload stands where its Status
// says. errs.UploadNotFound also for an upload that is complete already.
// MediaType and Referenced of the answer are not filled in.
func (s *Service) Complete(ctx context.Context, r repository.Repository, id string, digests []name.Digest, c Chunk, body io.Reader, o CompleteOptions) (Layer, error) {
	in, err := s.uploads.Receive(ctx, r, id, c, body)
	if err != nil {
		return Layer{}, err
	}
	defer in.Release(ctx)
	if err := s.refuse(ctx, r, id, in, o); err != nil {
		in.Drop(ctx)
		return Layer{}, err
	}

	// From here on the client's going away changes nothing: what is begun is
	// brought to its end, so that its next try finds the layer.
	limit := min(finishLimit, s.uploadLife/2)
	giveUp := s.clock.Now().Add(limit).UnixMicro()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	want := choose(digests, in.Digest())
	if len(want) == 0 {
		in.Destroy(ctx)
		return Layer{}, mismatch()
	}
	obj, err := in.Finish(ctx)
	if err != nil {
		return Layer{}, err
	}
	if obj.Size != in.Size() {
		return Layer{}, fmt.Errorf("object %s has %d bytes, its upload %d", obj.Key, obj.Size, in.Size())
	}
	d, err := s.prove(ctx, in, obj, want)
	if err != nil {
		return Layer{}, s.abandon(ctx, in, err)
	}
	l, added, spare, err := s.record(ctx, r, d, obj, o, giveUp)
	if err != nil {
		return Layer{}, s.abandon(ctx, in, err)
	}
	s.usage.add(r, l.Size, added, spare == "")
	// What fails from here on is done by the periodic work.
	if spare != "" {
		if err := s.collector.Bury(ctx, in.Region(), spare, false); err != nil {
			s.log.WarnContext(ctx, "an object that is not needed was not removed and is left to the collector", "object", spare, "error", err)
		}
	}
	in.Forget(ctx)
	return l, nil
}

// refuse applies the ECR API's own rules, and the storage quotas.
func (s *Service) refuse(ctx context.Context, r repository.Repository, id string, in *upload.Received, o CompleteOptions) error {
	switch {
	case o.RefuseEmpty && in.Size() == 0:
		return errs.New(errs.UploadEmpty, "The upload with id '%s' in the repository with name '%s' in registry with id '%s' cannot be completed because it does not have any parts",
			id, r.Name, r.Registry.Account)
	case o.RefuseSmallParts && in.SmallPart():
		return errs.New(errs.LayerPartTooSmall, "All layer parts except the last part should be at least %dMB", in.Limits().MinPartBytes>>20)
	}
	return s.fits(ctx, r, in.Limits(), in.Digest(), in.Size())
}

func mismatch() error {
	return errs.New(errs.LayerDigestMismatch, "None of the provided layer digests match the calculated layer digest")
}

// choose picks the digests that the layer may be stored under: the computed
// sha256 if it is among the given ones, else every sha512, still to be proved.
func choose(given []name.Digest, computed name.Digest) []name.Digest {
	if slices.Contains(given, computed) {
		return []name.Digest{computed}
	}
	return slices.DeleteFunc(slices.Clone(given), func(d name.Digest) bool { return d.Algorithm() != "sha512" })
}

// prove returns the one of the wanted digests that is the object's. The sha256
// was computed while the bytes came; the object is read again for a sha512, and
// where the stored bytes may not be those that came.
func (s *Service) prove(ctx context.Context, in *upload.Received, obj blobstore.Object, want []name.Digest) (name.Digest, error) {
	computed := in.Digest()
	if want[0] == computed && !in.Suspect() {
		return computed, nil
	}
	store, err := s.storeOf(in.Region())
	if err != nil {
		return "", err
	}
	stored, long := sha256.New(), sha512.New()
	var to io.Writer = stored
	if want[0] != computed {
		to = io.MultiWriter(stored, long)
	}
	if err := s.reread(ctx, store, obj, to); err != nil {
		return "", err
	}
	if found := name.FromHash("sha256", stored); found != computed {
		s.log.ErrorContext(ctx, "an upload was not kept as it came; its client has to begin anew", "object", obj.Key, "received", computed, "stored", found)
		return "", in.NotFound()
	}
	if want[0] == computed {
		return computed, nil
	}
	if d := name.FromHash("sha512", long); slices.Contains(want, d) {
		return d, nil
	}
	return "", mismatch()
}

// reread copies a finished object's bytes to w.
func (s *Service) reread(ctx context.Context, store blobstore.Store, obj blobstore.Object, w io.Writer) error {
	body, err := store.Open(ctx, obj, 0, -1)
	if err != nil {
		return upload.StoreError(err)
	}
	buffer := s.buffers.Get().(*[bufferSize]byte)
	_, err = io.CopyBuffer(w, onlyReader{body}, buffer[:])
	s.buffers.Put(buffer)
	return errors.Join(upload.StoreError(err), body.Close())
}

// onlyReader hides everything else that a reader can do.
type onlyReader struct{ io.Reader }

// record is the transaction that acknowledges the push: the blob, and that the
// repository holds it; added says that it did not before. If the registry has a
// blob of the digest already, that one is used and the key of our object returned
// as spare. After giveUp, in microseconds, it is refused.
func (s *Service) record(ctx context.Context, r repository.Repository, d name.Digest, obj blobstore.Object, o CompleteOptions, giveUp int64) (l Layer, added bool, spare string, err error) {
	seal := obj.Seal
	if seal == nil {
		seal = []byte{}
	}
	transaction := func(tx *sqldb.Tx) error {
		spare = ""
		if err := share(ctx, tx, r); err != nil {
			return err
		}
		now := s.clock.Now()
		// A machine that slept may come back after its upload expired, object
		// and garbage row and all.
		if now.UnixMicro() >= giveUp {
			return tookTooLong()
		}
		if free, err := collect.Condemn(ctx, tx, r.Registry.Region, obj, now.UnixMicro()); err != nil || !free {
			return cmp.Or(err, tookTooLong())
		}
		b, err := s.blobFor(ctx, tx, r, blob{id: sqldb.NewID(), size: obj.Size, objectKey: obj.Key, seal: seal}, d, now.UnixMicro())
		if err != nil {
			return err
		}
		if added, err = s.hold(ctx, tx, r, d, b.id); err != nil {
			return err
		}
		if !added && o.RefuseExisting {
			return errs.New(errs.LayerExists, "The layer with digest '%s' already exists in the repository with name '%s' in registry with id '%s'", d, r.Name, r.Registry.Account)
		}
		l = Layer{Digest: d, Size: b.size}
		switch {
		case obj.Within(): // nothing stands anywhere else
			return nil
		case b.objectKey == obj.Key && tx.Serial():
			return nil
		case b.objectKey == obj.Key:
			return collect.Pardon(ctx, tx, r.Registry.Region, obj.Key)
		}
		spare = obj.Key
		if tx.Serial() {
			_, err = collect.Discard(ctx, tx, r.Registry.Region, obj.Key, obj.Size, now.UnixMicro())
		}
		return err
	}
	// Two nodes can make the same id.
	for range idAttempts {
		if err = s.durable.Update(ctx, transaction); !sqldb.IsUnique(err) {
			break
		}
	}
	return l, added, spare, upload.StoreError(err)
}

func tookTooLong() error {
	return errs.New(errs.UploadNotFound, "The upload took too long to be completed and was given up. Upload the layer again.")
}

// idAttempts bounds the tries to find an id for a blob.
const idAttempts = 3

// blob is what a layer's row leads to.
type blob struct {
	id        int64
	size      int64
	objectKey string
	seal      []byte
	archived  bool
}

// blobFor inserts ours, or finds the blob that the registry has under the
// digest and key, and keeps it from being removed until the transaction ends. A
// blob whose bytes are in the archive takes ours in their place.
func (s *Service) blobFor(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ours blob, d name.Digest, now int64) (blob, error) {
	for {
		n, err := tx.Exec(ctx, `INSERT INTO blob (id, account_id, region, key_id, digest, size, object_key, seal, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (account_id, region, key_id, digest) DO NOTHING`,
			ours.id, string(r.Registry.Account), string(r.Registry.Region), r.Encryption.KeyID, string(d), ours.size, ours.objectKey, ours.seal, now)
		if err != nil || n == 1 {
			return ours, err
		}
		if b, taken, err := takeOver(ctx, tx, r, ours, d, now); err != nil || taken {
			return b, err
		}
		var b blob
		err = tx.QueryRow(ctx, `SELECT id, size, object_key, seal FROM blob
			WHERE account_id = $1 AND region = $2 AND key_id = $3 AND digest = $4`+tx.ForShare(),
			string(r.Registry.Account), string(r.Registry.Region), r.Encryption.KeyID, string(d)).Scan(&b.id, &b.size, &b.objectKey, &b.seal)
		// No row: the one that stood in the way was removed in between.
		if !errors.Is(err, sqldb.ErrNoRows) {
			return b, err
		}
	}
}

// takeOver gives the registry's blob of the digest our object in place of the one
// that it has in the archive, if it has it there.
func takeOver(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ours blob, d name.Digest, now int64) (b blob, taken bool, err error) {
	region := string(r.Registry.Region)
	err = tx.QueryRow(ctx, `SELECT id, size, object_key FROM blob
		WHERE account_id = $1 AND region = $2 AND key_id = $3 AND digest = $4 AND archived`+tx.ForUpdate(),
		string(r.Registry.Account), region, r.Encryption.KeyID, string(d)).Scan(&b.id, &b.size, &b.objectKey)
	if errors.Is(err, sqldb.ErrNoRows) {
		return blob{}, false, nil
	}
	if err != nil {
		return blob{}, false, err
	}
	if _, err = tx.Exec(ctx, `UPDATE blob SET object_key = $2, seal = $3, archived = FALSE WHERE id = $1`, b.id, ours.objectKey, ours.seal); err != nil {
		return blob{}, false, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, archived, size) VALUES ($1, $2, $3, TRUE, $4)`, region, b.objectKey, now, b.size)
	b.objectKey, b.seal = ours.objectKey, ours.seal
	return b, true, err
}

// hold makes the digest a layer of the repository, and has it reviewed after
// the grace period in case no image comes to refer to it. The caller shares the
// repository's row and the blob's. It says whether the layer is new.
func (s *Service) hold(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest, blobID int64) (bool, error) {
	now := s.clock.Now()
	n, err := tx.Exec(ctx, `INSERT INTO layer (repository_id, digest, blob_id, created_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (repository_id, digest) DO NOTHING`, r.ID, string(d), blobID, now.UnixMicro())
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO layer_review (repository_id, digest, blob_id, due_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (repository_id, digest) DO UPDATE SET due_at = excluded.due_at, blob_id = excluded.blob_id`,
		r.ID, string(d), blobID, now.Add(s.grace).UnixMicro())
	return n == 1, err
}

// abandon ends an upload whose object is finished and must not become a layer.
// A failure that says nothing about the object leaves both as they are: the
// transaction may have been committed although its answer was lost. The row
// then expires, and expiry asks first whether a blob names the object.
func (s *Service) abandon(ctx context.Context, in *upload.Received, cause error) error {
	if errs.CodeOf(cause) != errs.Internal {
		in.Destroy(ctx)
	} else {
		in.Leave(ctx)
	}
	return cause
}
