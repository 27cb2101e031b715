package image

import (
	"context"
	"errors"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Delete removes tags and images, one after the other in one transaction: a
// tag alone, or a tag with the digest it is on, removes the tag, and the image
// with its last tag; a digest alone removes the image with all its tags. Tags
// that are immutable can be removed, and pushed again.
//
// removed has an entry for each tag that went, and one without a tag for an
// untagged image. An image that an index of the repository needs stays, and is
// a Failure like every other ref that could not be followed. Errors are those
// of the whole call: errs.RepositoryNotFound, or a fault of ours.
func (s *Service) Delete(ctx context.Context, r repository.Repository, refs []Ref) (removed []Ref, failures []Failure, err error) {
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		removed, failures, err = s.DeleteTx(ctx, tx, locked, refs)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return removed, failures, nil
}

// DeleteTx is Delete in the transaction of a caller that holds the repository's
// Lock.
func (s *Service) DeleteTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, refs []Ref) (removed []Ref, failures []Failure, err error) {
	for _, ref := range refs {
		gone, err := s.deleteOne(ctx, tx, r, ref)
		var f Failure
		switch {
		case err == nil:
			removed = append(removed, gone...)
		case errors.As(err, &f):
			failures = append(failures, f)
		default:
			return nil, nil, err
		}
	}
	return removed, failures, nil
}

// UntagTx takes tags from an image, which stays even without any. Tags that are
// not on it are passed over. The caller holds the repository's Lock.
func (s *Service) UntagTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest, tags []name.Tag) error {
	i, err := find(ctx, tx, r, Ref{Digest: d})
	if err != nil {
		return err
	}
	for _, t := range tags {
		n, err := tx.Exec(ctx, `DELETE FROM image_tag WHERE repository_id = $1 AND tag = $2 AND image_id = $3`, r.ID, string(t), i.id)
		if err == nil && n > 0 {
			err = addTags(ctx, tx, i.id, -n)
		}
		if err == nil && n > 0 {
			err = s.record(ctx, tx, r, event.ImageDeleted, i, t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) deleteOne(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref) ([]Ref, error) {
	i, err := find(ctx, tx, r, ref)
	if err != nil {
		return nil, err
	}
	if ref.Tag != "" && i.tags > 1 {
		if _, err := tx.Exec(ctx, `DELETE FROM image_tag WHERE repository_id = $1 AND tag = $2`, r.ID, string(ref.Tag)); err != nil {
			return nil, err
		}
		if err := addTags(ctx, tx, i.id, -1); err != nil {
			return nil, err
		}
		return []Ref{{Digest: i.digest, Tag: ref.Tag}}, s.record(ctx, tx, r, event.ImageDeleted, i, ref.Tag)
	}
	return s.deleteImage(ctx, tx, r, ref, i)
}

// parentsOfImage finds the indexes that name a digest.
const parentsOfImage = `SELECT i.digest FROM image_child c JOIN image i ON i.id = c.image_id WHERE c.repository_id = $1 AND c.digest = $2 ORDER BY c.image_id`

// deleteImage removes an image with its tags, unless an index needs it.
func (s *Service) deleteImage(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ref Ref, i row) ([]Ref, error) {
	parents, err := texts(ctx, tx, parentsOfImage, r.ID, string(i.digest))
	if err != nil {
		return nil, err
	}
	if len(parents) > 0 {
		reason := "Requested image referenced by manifest list: [" + strings.Join(parents, ", ") + "]"
		return nil, errs.Wrap(Failure{Ref: ref, Code: Referenced, Reason: reason}, errs.ImageReferenced, "%s", reason)
	}
	tags, err := texts(ctx, tx, `SELECT tag FROM image_tag WHERE image_id = $1 ORDER BY tag`, i.id)
	if err != nil {
		return nil, err
	}
	layers, err := texts(ctx, tx, `SELECT digest FROM image_layer WHERE image_id = $1 ORDER BY digest`, i.id)
	if err != nil {
		return nil, err
	}
	if s.Bin != nil {
		if err := s.Bin.KeepTx(ctx, tx, r, i.id); err != nil {
			return nil, err
		}
	}
	// All that hangs on the row goes with it; an index frees its children so.
	if _, err := tx.Exec(ctx, `DELETE FROM image WHERE id = $1`, i.id); err != nil {
		return nil, err
	}
	if err := s.Repositories.AddImages(ctx, tx, r.ID, -1); err != nil {
		return nil, err
	}
	if len(layers) > 0 {
		digests := make([]name.Digest, len(layers))
		for n, l := range layers {
			digests[n] = name.Digest(l)
		}
		if err := s.Layers.ReleaseTx(ctx, tx, r, digests); err != nil {
			return nil, err
		}
	}
	if len(tags) == 0 {
		tags = []string{""}
	}
	removed := make([]Ref, len(tags))
	for n, t := range tags {
		removed[n] = Ref{Digest: i.digest, Tag: name.Tag(t)}
		if err := s.record(ctx, tx, r, event.ImageDeleted, i, name.Tag(t)); err != nil {
			return nil, err
		}
	}
	return removed, nil
}

// texts reads a query of one column.
func texts(ctx context.Context, tx *sqldb.Tx, query string, args ...any) ([]string, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[string], query, args...)
}
