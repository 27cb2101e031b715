package jobs

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// kindExpire is the queue's own periodic job: it removes dead jobs that
	// nobody has cared for.
	kindExpire   = "jobs.expire"
	expirePeriod = time.Hour

	// expirePage is how many dead jobs are removed in one transaction.
	expirePage = 200
)

// expireDead removes the jobs that have been dead for longer than they are
// kept, and logs each.
func (q *Queue) expireDead(ctx context.Context) error {
	before := q.clk.Now().Add(-q.o.KeepDead)
	for {
		var page []Description
		err := q.db.Update(ctx, func(tx *sqldb.Tx) (err error) {
			page, err = sqldb.Collect(ctx, tx, scanDescription,
				selectJobs+` WHERE state = 2 AND died_at <= $1 ORDER BY died_at, id LIMIT $2`+tx.SkipLocked(), before.UnixMicro(), expirePage)
			if err != nil || len(page) == 0 {
				return err
			}
			args := make([]any, len(page))
			for i, d := range page {
				args[i] = d.ID
			}
			_, err = tx.Exec(ctx, `DELETE FROM job WHERE id IN `+sqldb.In(1, len(args)), args...)
			return err
		})
		if err != nil {
			return err
		}
		for _, d := range page {
			q.log.InfoContext(ctx, "a dead job was removed, which nobody tried again in time",
				"kind", d.Kind, "job", d.ID, "attempt", d.Attempt, "created", d.Created, "died", d.Died, "kept", q.o.KeepDead.String())
		}
		if len(page) < expirePage {
			return nil
		}
	}
}
