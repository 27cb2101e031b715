package layer

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// batchSize is how many digests go into one query.
const batchSize = 500

// inBatches calls fn with the digests as query arguments, some at a time and
// sorted, so that two transactions lock rows in the same order.
func inBatches(ds []name.Digest, fn func(batch []any) error) error {
	sorted := slices.Compact(slices.Sorted(slices.Values(ds)))
	for batch := range slices.Chunk(sorted, batchSize) {
		args := make([]any, len(batch))
		for i, d := range batch {
			args[i] = string(d)
		}
		if err := fn(args); err != nil {
			return err
		}
	}
	return nil
}

// notFound is the failure for a layer that the repository does not hold.
func notFound(r repository.Repository, d name.Digest) error {
	return errs.New(errs.LayersNotFound, "The layer with digest '%s' does not exist within the repository with name '%s' in the registry with id '%s'",
		d, r.Name, r.Registry.Account)
}

// Inaccessible is the failure of reading a layer that is archived.
func Inaccessible(r repository.Repository, d name.Digest) error {
	return errs.New(errs.LayerInaccessible, "The layer with digest '%s' in the repository with name '%s' in the registry with id '%s' is archived. Restore an image that names it first.",
		d, r.Name, r.Registry.Account)
}

// held is a layer with its blob.
type held struct {
	Layer
	blob blob
	// review is when it is looked at again, in microseconds; 0 for never.
	review int64
}

func (h held) object() blobstore.Object {
	return blobstore.Object{Key: h.blob.objectKey, Size: h.blob.size, Seal: h.blob.seal}
}

// heldQuery finds layers of a repository; ids ascend in time, so the newest
// image is the one with the greatest. A condition on l.digest follows.
const heldQuery = `SELECT l.digest, b.id, b.size, b.object_key, b.seal, b.archived,
	b.archived AND NOT EXISTS (SELECT 1 FROM image_layer ia JOIN image i ON i.id = ia.image_id
		WHERE ia.repository_id = l.repository_id AND ia.digest = l.digest AND i.status = 0),
	(SELECT il.media_type FROM image_layer il WHERE il.repository_id = l.repository_id AND il.digest = l.digest
		ORDER BY il.image_id DESC LIMIT 1),
	COALESCE((SELECT v.due_at FROM layer_review v WHERE v.repository_id = l.repository_id AND v.digest = l.digest), 0)
	FROM layer l JOIN blob b ON b.id = l.blob_id WHERE l.repository_id = $1 AND l.digest`

func scanHeld(row sqldb.Scanner) (held, error) {
	var h held
	var d string
	var mediaType *string // nil where no image names the layer
	err := row.Scan(&d, &h.blob.id, &h.blob.size, &h.blob.objectKey, &h.blob.seal, &h.blob.archived, &h.Archived, &mediaType, &h.review)
	h.Digest, h.Size = name.Digest(d), h.blob.size
	if mediaType != nil {
		h.Referenced, h.MediaType = true, *mediaType
	}
	return h, err
}

// find returns those of the digests that the repository holds.
func find(ctx context.Context, tx *sqldb.Tx, repositoryID int64, ds []name.Digest) (map[name.Digest]held, error) {
	found := map[name.Digest]held{}
	err := inBatches(ds, func(batch []any) error {
		page, err := sqldb.Collect(ctx, tx, scanHeld, heldQuery+` IN `+sqldb.In(2, len(batch)), append([]any{repositoryID}, batch...)...)
		for _, h := range page {
			found[h.Digest] = h
		}
		return err
	})
	return found, err
}

// Stat describes a layer of the repository. A layer that no image refers to is
// kept for at least another half of the grace period, since whoever asks may be
// about to push an image that does. errs.LayersNotFound, for an archived layer
// too: who pushes it anew brings its bytes back.
func (s *Service) Stat(ctx context.Context, r repository.Repository, d name.Digest) (Layer, error) {
	h, err := s.lookup(ctx, r, d, false)
	if err != nil {
		return Layer{}, err
	}
	if s.nearReview(h) {
		// Rarely: digests that were pushed or lost their image long ago.
		if _, err := s.postpone(ctx, r, []name.Digest{d}); err != nil {
			return Layer{}, err
		}
		if h, err = s.lookup(ctx, r, d, true); err != nil {
			return Layer{}, err
		}
	}
	if h.Archived {
		return Layer{}, notFound(r, d)
	}
	return h.Layer, nil
}

// keptBytes bounds what is kept of layers that clients ask for, in bytes; one takes some
// heldBytes and its seal.
const keptBytes, heldBytes = 2 << 20, 400

// Check is Stat for many digests: those that the repository does not hold are
// missing from the answer. Archived ones are in it.
func (s *Service) Check(ctx context.Context, r repository.Repository, ds []name.Digest) (map[name.Digest]Layer, error) {
	read := s.durable.Lookup
	if len(ds) > batchSize {
		read = s.durable.View
	}
	var found map[name.Digest]held
	err := read(ctx, func(tx *sqldb.Tx) (err error) {
		found, err = find(ctx, tx, r.ID, ds)
		return err
	})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(slices.Collect(maps.Values(found)), s.nearReview) {
		if found, err = s.postpone(ctx, r, ds); err != nil {
			return nil, err
		}
	}
	layers := make(map[name.Digest]Layer, len(found))
	for d, h := range found {
		layers[d] = h.Layer
	}
	return layers, nil
}

// nearReview says whether no image names the layer and it has no more than half of the
// grace period left.
func (s *Service) nearReview(h held) bool {
	return !h.Referenced && h.review != 0 && h.review <= s.clock.Now().Add(s.grace/2).UnixMicro()
}

// postpone begins the grace period of the digests anew and finds what is still
// held of them.
func (s *Service) postpone(ctx context.Context, r repository.Repository, ds []name.Digest) (map[name.Digest]held, error) {
	var found map[name.Digest]held
	due := s.clock.Now().Add(s.grace).UnixMicro()
	err := s.durable.Update(ctx, func(tx *sqldb.Tx) error {
		if err := share(ctx, tx, r); err != nil {
			return err
		}
		err := inBatches(ds, func(batch []any) error {
			_, err := tx.Exec(ctx, `UPDATE layer_review SET due_at = $1 WHERE repository_id = $2 AND digest IN `+sqldb.In(3, len(batch)),
				append([]any{due, r.ID}, batch...)...)
			return err
		})
		if err != nil {
			return err
		}
		found, err = find(ctx, tx, r.ID, ds)
		return err
	})
	return found, err
}

// RequireTx looks for layers that an image is to refer to: the sizes of those
// that the repository holds, and the others in the order given. The caller
// holds the repository's Lock, so that the answer stays true until it commits.
// Layers whose bytes are in the archive come back from there after the
// transaction, and can be read meanwhile.
func (s *Service) RequireTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) (sizes map[name.Digest]int64, missing []name.Digest, err error) {
	sizes = make(map[name.Digest]int64, len(ds))
	var away []int64
	err = inBatches(ds, func(batch []any) error {
		_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var d string
			var id, size int64
			var archived bool
			err := row.Scan(&d, &id, &size, &archived)
			sizes[name.Digest(d)] = size
			if archived {
				away = append(away, id)
			}
			return struct{}{}, err
		}, `SELECT l.digest, b.id, b.size, b.archived FROM layer l JOIN blob b ON b.id = l.blob_id WHERE l.repository_id = $1 AND l.digest IN `+sqldb.In(2, len(batch))+
			` ORDER BY l.digest`+shareBlobs(tx), append([]any{r.ID}, batch...)...)
		return err
	})
	if err == nil {
		err = s.places.AskTx(ctx, tx, away)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, d := range ds {
		if _, ok := sizes[d]; !ok && !slices.Contains(missing, d) {
			missing = append(missing, d)
		}
	}
	return sizes, missing, nil
}

// shareBlobs keeps the blobs of a query where they are until the transaction
// ends: whoever moves one holds its row alone.
func shareBlobs(tx *sqldb.Tx) string {
	if share := tx.ForShare(); share != "" {
		return share + " OF b"
	}
	return ""
}

// PlaceTx says that an image that names the layers was archived or came back:
// their bytes are to be where they belong.
func (s *Service) PlaceTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) error {
	blobs, err := blobsOf(ctx, tx, r, ds, "")
	if err != nil {
		return err
	}
	return s.places.AskTx(ctx, tx, blobs)
}

// Recall brings the bytes of layers back from the archive, as far as images need
// them there, and returns when they are in the store.
func (s *Service) Recall(ctx context.Context, r repository.Repository, ds []name.Digest) error {
	var blobs []int64
	err := s.durable.View(ctx, func(tx *sqldb.Tx) (err error) {
		blobs, err = blobsOf(ctx, tx, r, ds, ` AND b.archived`)
		return err
	})
	for _, id := range blobs {
		if err = s.places.Settle(ctx, id); err != nil {
			break
		}
	}
	return err
}

// blobsOf finds the blobs of layers, of those that meet the condition.
func blobsOf(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest, condition string) (blobs []int64, err error) {
	err = inBatches(ds, func(batch []any) error {
		page, err := sqldb.Collect(ctx, tx, sqldb.One[int64],
			`SELECT b.id FROM layer l JOIN blob b ON b.id = l.blob_id WHERE l.repository_id = $1 AND l.digest IN `+sqldb.In(2, len(batch))+condition,
			append([]any{r.ID}, batch...)...)
		blobs = append(blobs, page...)
		return err
	})
	return blobs, err
}

// Open reads length bytes of a layer of the repository from offset; length -1
// reads to the end. errs.LayersNotFound; errs.RangeInvalid for a part that does
// not lie within the layer; errs.KeyFailure when its key cannot be used. Bytes
// that were damaged in the store end the reading with an error that has no code
// of its own, before any wrong byte is returned where the store can tell.
func (s *Service) Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, Layer, error) {
	h, body, err := s.open(ctx, r, d, offset, length, false)
	if errors.Is(err, blobstore.ErrNotFound) {
		// Collected or moved since the row was read, perhaps pushed again, or truly gone?
		h, body, err = s.open(ctx, r, d, offset, length, true)
	}
	damaged := func(err error) {
		s.log.ErrorContext(ctx, "the bytes of a layer are missing or damaged; run fsck",
			"repository", r.ARN().String(), "digest", d, "object", h.blob.objectKey, "error", err)
	}
	switch {
	case errors.Is(err, blobstore.ErrRange):
		return nil, Layer{}, errs.Wrap(err, errs.RangeInvalid, "The layer with digest '%s' has %d bytes: the range asked for does not lie within", d, h.blob.size)
	case errors.Is(err, blobstore.ErrNotFound), errors.Is(err, blobstore.ErrCorrupt):
		damaged(err)
		return nil, Layer{}, err
	case err != nil:
		return nil, Layer{}, upload.StoreError(err) // leaves our own failures as they are
	}
	reader := &layerReader{ReadCloser: body, damaged: damaged}
	if to, ok := body.(io.WriterTo); ok {
		return &layerWriterTo{layerReader: reader, to: to}, h.Layer, nil
	}
	return reader, h.Layer, nil
}

func (s *Service) open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64, fresh bool) (held, io.ReadCloser, error) {
	h, err := s.lookup(ctx, r, d, fresh)
	if err != nil {
		return held{}, nil, err
	}
	if h.Archived {
		return held{}, nil, Inaccessible(r, d)
	}
	store, err := s.place(r.Registry.Region, h.blob.archived)
	if err != nil {
		return held{}, nil, err
	}
	body, err := store.Open(ctx, h.object(), offset, length)
	return h, body, err
}

// lookup finds a layer, out of memory unless it has to be fresh. What is kept is dropped when an
// image names the layer, or none any more, or its review is brought forward, which all lock
// the repository; when the layer is collected; and when its bytes go into the archive.
func (s *Service) lookup(ctx context.Context, r repository.Repository, d name.Digest, fresh bool) (held, error) {
	h, ok, at := s.kept.Get(r.ID, string(d))
	if ok && !fresh {
		return h, nil
	}
	h, err := s.read(ctx, r, d)
	if err == nil && !h.blob.archived {
		s.kept.Put(r.ID, string(d), at, h, heldBytes+len(h.blob.seal))
	}
	return h, err
}

func (s *Service) read(ctx context.Context, r repository.Repository, d name.Digest) (h held, err error) {
	err = s.durable.Lookup(ctx, func(tx *sqldb.Tx) error {
		h, err = scanHeld(tx.QueryRow(ctx, heldQuery+` = $2`, r.ID, string(d)))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return held{}, notFound(r, d)
	}
	return h, err
}

// layerReader gives a store's failures their codes while the layer is read.
type layerReader struct {
	io.ReadCloser
	damaged func(error)
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	return n, l.failure(err)
}

func (l *layerReader) failure(err error) error {
	if errors.Is(err, blobstore.ErrCorrupt) {
		l.damaged(err)
	}
	return upload.StoreError(err)
}

// Begin is blobstore.Beginner's.
func (l *layerReader) Begin() error { return l.failure(blobstore.Begin(l.ReadCloser)) }

// layerWriterTo keeps a store's fast way to send bytes on.
type layerWriterTo struct {
	*layerReader
	to io.WriterTo
}

func (l *layerWriterTo) WriteTo(w io.Writer) (int64, error) {
	n, err := l.to.WriteTo(w)
	return n, l.failure(err)
}

// Mount makes a layer of one repository a layer of another in the same registry
// and under the same key, without a copy. errs.LimitExceeded when that would go
// over a storage quota of the target. It says false, and does nothing, when
// that cannot be: the layer is not there, no image of the first repository
// refers to it (a blob that was merely uploaded is not
// mountable), or registry or key differ. errs.RepositoryNotFound when the
// target has gone.
func (s *Service) Mount(ctx context.Context, from, to repository.Repository, d name.Digest) (Layer, bool, error) {
	if from.Registry != to.Registry || from.Encryption.KeyID != to.Encryption.KeyID {
		return Layer{}, false, nil
	}
	if err := s.mountFits(ctx, from, to, d); err != nil {
		return Layer{}, false, err
	}
	var l Layer
	var mounted, added bool
	err := s.durable.Update(ctx, func(tx *sqldb.Tx) error {
		mounted = false
		if err := share(ctx, tx, to); err != nil {
			return err
		}
		h, err := scanHeld(tx.QueryRow(ctx, heldQuery+` = $2`, from.ID, string(d)))
		if errors.Is(err, sqldb.ErrNoRows) || err == nil && (!h.Referenced || h.Archived) {
			return nil
		}
		if err != nil {
			return err
		}
		// From here on the blob stays, whatever becomes of the first repository.
		kept, err := exists(ctx, tx, `SELECT 1 FROM blob WHERE id = $1`+tx.ForShare(), h.blob.id)
		if err != nil || !kept {
			return err
		}
		if added, err = s.hold(ctx, tx, to, d, h.blob.id); err != nil {
			return err
		}
		target, err := scanHeld(tx.QueryRow(ctx, heldQuery+` = $2`, to.ID, string(d)))
		l, mounted = target.Layer, err == nil
		return err
	})
	if mounted && err == nil {
		s.usage.add(to, l.Size, added, false)
	}
	return l, mounted && err == nil, err
}
