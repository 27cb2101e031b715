package jobs

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Overdue returns, by kind, how long the job has been due that is due for the
// longest and waits all the same. A kind without a due job is not in it. A queue
// that moves takes every job within its polling interval, as long as workers are
// free.
func (q *Queue) Overdue(ctx context.Context) (map[string]time.Duration, error) {
	var all map[string]time.Duration
	err := q.db.View(ctx, func(tx *sqldb.Tx) error {
		all = map[string]time.Duration{}
		now := q.clk.Now()
		_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var kind string
			var runAt int64
			err := row.Scan(&kind, &runAt)
			all[kind] = now.Sub(time.UnixMicro(runAt))
			return struct{}{}, err
		}, `SELECT kind, MIN(run_at) FROM job WHERE state = 0 AND run_at <= $1 GROUP BY kind`, now.UnixMicro())
		return err
	})
	return all, err
}
