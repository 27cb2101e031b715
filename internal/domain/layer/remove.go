package layer

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Delete takes the layer away from the repository. Its bytes go after the grace
// period, if nobody holds them by then. errs.LayersNotFound;
// errs.LayerReferenced while an image of the repository needs it, or a deleted one
// that can be restored.
func (s *Service) Delete(ctx context.Context, r repository.Repository, d name.Digest) error {
	return s.durable.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.repositories.Lock(ctx, tx, r); err != nil {
			return err
		}
		held, err := exists(ctx, tx, `SELECT 1 FROM layer WHERE repository_id = $1 AND digest = $2`, r.ID, string(d))
		if err != nil {
			return err
		}
		if !held {
			return notFound(r, d)
		}
		referenced, err := collect.IsReferenced(ctx, tx, r.ID, d)
		if err != nil {
			return err
		}
		if referenced {
			return errs.New(errs.LayerReferenced, "The layer with digest '%s' in the repository with name '%s' in registry with id '%s' is needed by an image, or by a deleted one that can be restored. Delete the image first.", d, r.Name, r.Registry.Account)
		}
		if err := s.ReleaseTx(ctx, tx, r, []name.Digest{d}); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM layer WHERE repository_id = $1 AND digest = $2`, r.ID, string(d))
		return err
	})
}

// onReview is what happens to a digest that is queued for review already: its
// grace period begins anew.
const onReview = ` ON CONFLICT (repository_id, digest) DO UPDATE SET due_at = excluded.due_at, blob_id = excluded.blob_id`

// ReleaseTx queues the digests for a review after the grace period: images of
// the repository that named them are gone. Digests that the repository does not
// hold, or that another image still names, may be among them. The caller holds
// the repository's Lock.
func (s *Service) ReleaseTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) error {
	due := s.clock.Now().Add(s.grace).UnixMicro()
	return inBatches(ds, func(batch []any) error {
		_, err := tx.Exec(ctx, `INSERT INTO layer_review (repository_id, digest, blob_id, due_at)
			SELECT repository_id, digest, blob_id, CAST($1 AS BIGINT) FROM layer WHERE repository_id = $2 AND digest IN `+sqldb.In(3, len(batch))+
			` ORDER BY digest`+onReview, append([]any{due, r.ID}, batch...)...)
		return err
	})
}

// HurryTx is ReleaseTx without a grace period, for bytes that an operator wants
// gone. A digest that is queued already keeps its time: it may be of a push under
// way. A push that only asked for the layer has to bring it again.
func (s *Service) HurryTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) error {
	due := s.clock.Now().UnixMicro()
	return inBatches(ds, func(batch []any) error {
		_, err := tx.Exec(ctx, `INSERT INTO layer_review (repository_id, digest, blob_id, due_at)
			SELECT repository_id, digest, blob_id, CAST($1 AS BIGINT) FROM layer WHERE repository_id = $2 AND digest IN `+sqldb.In(3, len(batch))+
			` ORDER BY digest ON CONFLICT (repository_id, digest) DO NOTHING`, append([]any{due, r.ID}, batch...)...)
		return err
	})
}

// ReleaseRepositoryTx queues everything that the repository holds, before its
// rows go. The caller holds the repository's Lock.
func (s *Service) ReleaseRepositoryTx(ctx context.Context, tx *sqldb.Tx, repositoryID int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO layer_review (repository_id, digest, blob_id, due_at)
		SELECT repository_id, digest, blob_id, CAST($1 AS BIGINT) FROM layer WHERE repository_id = $2 ORDER BY digest`+onReview,
		s.clock.Now().Add(s.grace).UnixMicro(), repositoryID)
	return err
}

// objects is what upload sessions know of the durable database.
type objects struct{ s *Service }

var _ upload.Objects = objects{}

// Spent implements upload.Objects.
func (o objects) Spent(ctx context.Context, region name.Region, objectKey string) (bool, error) {
	var spent bool
	err := o.s.durable.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		spent, err = exists(ctx, tx, `SELECT 1 FROM blob WHERE object_key = $1
			UNION ALL SELECT 1 FROM garbage WHERE region = $2 AND object_key = $1`, objectKey, string(region))
		return err
	})
	return spent, err
}

// Discard implements upload.Objects. While a hold lives, the object waits in the
// garbage.
func (o objects) Discard(ctx context.Context, region name.Region, objectKey string) error {
	s := o.s
	var named bool
	err := s.durable.Update(ctx, func(tx *sqldb.Tx) error {
		added, err := collect.Discard(ctx, tx, region, objectKey, 0, s.clock.Now().UnixMicro())
		if err != nil {
			return err
		}
		if named, err = exists(ctx, tx, `SELECT 1 FROM blob WHERE object_key = $1`, objectKey); err != nil || !named || !added {
			return err
		}
		return collect.Pardon(ctx, tx, region, objectKey)
	})
	if err != nil || named {
		return err
	}
	return s.collector.Bury(ctx, region, objectKey, false)
}
