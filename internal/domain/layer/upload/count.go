package upload

import (
	"context"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Open says how many uploads have been started and neither finished nor given up,
// those that nobody has written to for Config.Life included.
func (s *Service) Open(ctx context.Context) (n int64, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM upload WHERE NOT closed`).Scan(&n)
	})
	return max(0, n+int64(s.memory.unwritten()-s.memory.waiting())), err
}
