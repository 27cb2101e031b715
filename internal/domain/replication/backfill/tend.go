package backfill

import (
	"context"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// tendPage is how many backfills are looked at at once.
	tendPage = 100
	// expirePage is how many images of an old backfill one transaction removes.
	expirePage = 1000
)

// Tend has the work on all backfills that have not ended go on, should its job have
// been lost, and removes those that ended longer than Kept ago. It is the periodic
// work of JobTend.
func (s *Service) Tend(ctx context.Context) error {
	for after := int64(0); ; {
		ids, err := s.numbers(ctx, `SELECT id FROM replication_backfill WHERE id > $1 AND ended_at = 0 ORDER BY id LIMIT $2`, after, tendPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.update(ctx, func(tx *sqldb.Tx) error { return s.enqueue(ctx, tx, id) }); err != nil {
				return err
			}
			after = id
		}
		if len(ids) < tendPage {
			break
		}
	}
	for {
		ids, err := s.numbers(ctx, `SELECT id FROM replication_backfill WHERE ended_at <> 0 AND ended_at <= $1 ORDER BY ended_at, id LIMIT $2`, s.keptAfter(), tendPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.remove(ctx, id); err != nil {
				return err
			}
		}
		if len(ids) < tendPage {
			return nil
		}
	}
}

func (s *Service) numbers(ctx context.Context, query string, args ...any) (ids []int64, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		ids, err = sqldb.Collect(ctx, tx, sqldb.One[int64], query, args...)
		return err
	})
	return ids, err
}

// remove deletes a backfill, its images first and page by page.
func (s *Service) remove(ctx context.Context, number int64) error {
	for {
		var n int64
		err := s.update(ctx, func(tx *sqldb.Tx) (err error) {
			n, err = tx.Exec(ctx, `DELETE FROM replication_backfill_item WHERE backfill_id = $1
				AND position IN (SELECT position FROM replication_backfill_item WHERE backfill_id = $1 ORDER BY position LIMIT $2)`, number, expirePage)
			return err
		})
		if err != nil {
			return err
		}
		if n == 0 {
			return s.update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `DELETE FROM replication_backfill WHERE id = $1`, number)
				return err
			})
		}
	}
}
