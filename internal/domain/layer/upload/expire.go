package upload

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// pageSize is how many rows are looked at in one query.
const pageSize = 200

// Expire removes uploads that nobody has written to for Config.Life, with
// their objects, and says how many. One upload's failure does not stop the
// others; all failures come back joined.
func (s *Service) Expire(ctx context.Context) (int64, error) {
	var expired int64
	failed := s.forgetAll(ctx)
	now := s.Clock.Now()
	last := row{expiresAt: -1}
	for more := true; more && ctx.Err() == nil; {
		var page []row
		err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM upload
				WHERE expires_at <= $1 AND (expires_at, id) > ($2, $3) ORDER BY expires_at, id LIMIT $4`,
				now.UnixMicro(), last.expiresAt, last.id, pageSize)
			return err
		})
		if err != nil {
			return expired, errors.Join(failed, err)
		}
		for _, u := range page {
			last = u
			if _, err := s.Store(u.region); err != nil {
				continue // left to a node that serves the region
			}
			ok, err := s.expire(ctx, u, now)
			failed = errors.Join(failed, err)
			if ok && err == nil {
				expired++
			}
		}
		more = len(page) == pageSize
	}
	if expired > 0 {
		s.Log.InfoContext(ctx, "abandoned uploads were removed", "uploads", expired)
	}
	return expired, errors.Join(failed, ctx.Err())
}

// expire removes one upload, closed or not: a closed one is the rest of a
// Complete that did not come to its end, or of one that did and was not tidied
// up, whose object Discard leaves to its blob.
func (s *Service) expire(ctx context.Context, u row, now time.Time) (bool, error) {
	if s.Alone {
		// Whoever writes to the upload at the moment is only known here.
		ses := &session{id: u.id, repository: repository.Repository{ID: u.repositoryID}, done: make(chan struct{}), cancel: func(error) {}}
		if s.occupy(ses) != nil {
			return false, nil
		}
		defer s.leave(ses)
		s.memory.take(u.id)
	}
	token := uuid.NewString()
	var n int64
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		var err error
		n, err = tx.Exec(ctx, `UPDATE upload SET closed = TRUE, writer = $2, writer_until = $3
			WHERE id = $1 AND expires_at <= $4 AND (writer = '' OR writer_until < $5)`,
			u.id, token, now.Add(s.Timing.Lease).UnixMicro(), now.UnixMicro(), now.Add(-s.Timing.Skew).UnixMicro())
		return err
	})
	if err != nil || n == 0 {
		return false, err
	}
	if err := s.Objects.Discard(ctx, u.region, u.objectKey); err != nil {
		return false, err
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM upload WHERE id = $1 AND writer = $2`, u.id, token)
		return err
	})
	if err == nil {
		s.memory.gone(u.id)
	}
	return err == nil, err
}

// forgetAll deletes the rows of all finished uploads that wait for it.
func (s *Service) forgetAll(ctx context.Context) error {
	ids := s.memory.all()
	if len(ids) == 0 {
		return nil
	}
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		for _, id := range ids {
			if _, err := tx.Exec(ctx, `DELETE FROM upload WHERE id = $1`, id); err != nil {
				return err
			}
		}
		return nil
	})
	s.memory.deleted(ids, err)
	return err
}
