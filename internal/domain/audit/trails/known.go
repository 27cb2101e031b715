package trails

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// What the database knows of files, for trails/verify.

// Files calls fn for the log files of a bucket that were written and whose records
// occurred, at least in part, between from and to; zero times are no bounds, account ""
// is all.
func (s *Service) Files(ctx context.Context, bucket string, account name.AccountID, from, to time.Time, fn func(File) error) error {
	for after := int64(0); ; {
		var some []File
		err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			some, err = sqldb.Collect(ctx, tx, scanFile, `SELECT `+fileColumns+` FROM trail_file f JOIN trail t ON t.id = f.trail_id
				WHERE f.id > $1 AND f.bucket = $2 AND f.hash <> '' AND ($3 = '' OR t.account_id = $3) AND f.newest_at >= $4 AND ($5 = 0 OR f.oldest_at <= $5) ORDER BY f.id LIMIT $6`,
				after, bucket, string(account), micros(from), micros(to), page)
			return err
		})
		if err != nil {
			return err
		}
		for _, f := range some {
			if err := fn(f); err != nil {
				return err
			}
			after = f.ID
		}
		if len(some) < page {
			return nil
		}
	}
}

// Digests does the same for digests whose ends are between from and to.
func (s *Service) Digests(ctx context.Context, bucket string, account name.AccountID, from, to time.Time, fn func(Digest) error) error {
	for after := int64(0); ; {
		var some []Digest
		err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			some, err = sqldb.Collect(ctx, tx, scanDigest, `SELECT `+digestColumns+` FROM trail_digest d JOIN trail t ON t.id = d.trail_id
				WHERE d.id > $1 AND d.bucket = $2 AND d.signature <> '' AND ($3 = '' OR t.account_id = $3) AND d.end_at >= $4 AND ($5 = 0 OR d.end_at <= $5) ORDER BY d.id LIMIT $6`,
				after, bucket, string(account), micros(from), micros(to), page)
			return err
		})
		if err != nil {
			return err
		}
		for _, d := range some {
			if err := fn(d); err != nil {
				return err
			}
			after = d.ID
		}
		if len(some) < page {
			return nil
		}
	}
}

// RecordsOf returns the records of a log file that the database still has, as they would
// be written now.
func (s *Service) RecordsOf(ctx context.Context, f File) ([]audit.Stored, error) {
	var t Trail
	err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		t, err = scanTrail(tx.QueryRow(ctx, `SELECT `+trailColumns+` FROM trail WHERE id = $1`, f.TrailID))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// All records are returned, also those that the trail does not want: it may have
	// wanted them then.
	var all []audit.Stored
	for after := f.after; ; {
		rows, err := s.Records.After(ctx, t.Account, f.Region, after, page, time.Time{})
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if row.ID > f.last {
				return all, nil
			}
			all, after = append(all, row), row.ID
		}
		if len(rows) < page {
			return all, nil
		}
	}
}

// Oldest is when the oldest record of the database occurred: older ones have expired.
// It is the zero time where there is none.
func (s *Service) Oldest(ctx context.Context) (oldest time.Time, err error) {
	var at int64
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT CAST(coalesce(min(at), 0) AS BIGINT)
			FROM (SELECT min(occurred_at) AS at FROM audit UNION ALL SELECT min(oldest_at) AS at FROM audit_segment) AS oldest`).Scan(&at)
	})
	return timeOf(at), err
}

// expireBatch bounds the rows that one transaction of Expire removes.
const expireBatch = 2_000

// Expire forgets log files and digests from before a time, which the database needs for
// nothing then but for comparing; the files themselves stay. Of each trail's region the
// latest digest is kept, which the next one names.
func (s *Service) Expire(ctx context.Context, before time.Time) (removed int64, err error) {
	for _, statement := range []string{
		`DELETE FROM trail_file WHERE id IN (SELECT id FROM trail_file WHERE hash <> '' AND delivered_at < $1
			AND (digest_id <> 0 OR trail_id IN (SELECT id FROM trail WHERE validated_from = 0)) LIMIT $2)`,
		`DELETE FROM trail_digest WHERE id IN (SELECT id FROM trail_digest d WHERE d.signature <> '' AND d.end_at < $1
			AND EXISTS (SELECT 1 FROM trail_digest n WHERE n.trail_id = d.trail_id AND n.region = d.region AND n.end_at > d.end_at AND n.signature <> '') LIMIT $2)`,
	} {
		for {
			var n int64
			err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
				n, err = tx.Exec(ctx, statement, micros(before), expireBatch)
				return err
			})
			if err != nil {
				return removed, err
			}
			if removed += n; n < expireBatch {
				break
			}
		}
	}
	return removed, nil
}
