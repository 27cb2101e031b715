package layer

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// adoptable finds the registry's blob of a digest, under the repository's key,
// that an image names and whose bytes are not in the archive.
const adoptable = `SELECT b.id, b.size FROM blob b WHERE b.account_id = $1 AND b.region = $2 AND b.key_id = $3 AND b.digest = $4 AND NOT b.archived
	AND EXISTS (SELECT 1 FROM layer l JOIN image_layer il ON il.repository_id = l.repository_id AND il.digest = l.digest WHERE l.blob_id = b.id)`

// Adopt makes layers of the repository those of the digests that an image of
// another repository of the same registry, with the same key, names, and returns
// them with those that the repository held before. It is Mount for who vouches for
// the content and knows no source: replication, whose sender has the bytes.
// errs.RepositoryNotFound, errs.LimitExceeded for a storage quota.
func (s *Service) Adopt(ctx context.Context, r repository.Repository, ds []name.Digest) (held []name.Digest, err error) {
	there, err := s.Check(ctx, r, ds)
	if err != nil {
		return nil, err
	}
	limits, err := s.quotas.RepositoryLimits(ctx, r.Registry.Account, r.Name)
	if err != nil {
		return nil, err
	}
	for _, d := range ds {
		l, ok := there[d]
		if ok && !l.Archived {
			held = append(held, d)
			continue
		}
		taken, err := s.adopt(ctx, r, limits, d)
		if err != nil {
			return nil, err
		}
		if taken {
			held = append(held, d)
		}
	}
	return held, nil
}

func (s *Service) adopt(ctx context.Context, r repository.Repository, limits quota.Limits, d name.Digest) (taken bool, err error) {
	var b blob
	args := []any{string(r.Registry.Account), string(r.Registry.Region), r.Encryption.KeyID, string(d)}
	err = s.durable.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, adoptable, args...).Scan(&b.id, &b.size) })
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := s.fits(ctx, r, limits, d, b.size); err != nil {
		return false, err
	}
	added := false
	err = s.durable.Update(ctx, func(tx *sqldb.Tx) error {
		taken = false
		if err := share(ctx, tx, r); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, adoptable, args...).Scan(&b.id, &b.size)
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		// From here on the blob stays, whatever becomes of the other repository.
		kept, err := exists(ctx, tx, `SELECT 1 FROM blob WHERE id = $1 AND NOT archived`+tx.ForShare(), b.id)
		if err != nil || !kept {
			return err
		}
		added, err = s.hold(ctx, tx, r, d, b.id)
		taken = err == nil
		return err
	})
	if err != nil {
		return false, upload.StoreError(err)
	}
	if taken {
		s.usage.add(r, b.size, added, false)
	}
	return taken, nil
}
