package gallery

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// downloads are the pulls that are not in the database yet, by repository. The zero value
// is ready.
type downloads struct {
	mu sync.Mutex
	n  map[int64]int64
}

const (
	// maxPending bounds the memory; beyond it, pulls of further repositories go uncounted
	// until the next flush.
	maxPending = 100_000
	// perCommit is how many repositories are written in one transaction.
	perCommit = 200
)

// Downloaded counts one pull of a repository: a GET of a manifest. It costs nothing worth
// counting, and waits for nothing.
func (s *Service) Downloaded(repositoryID int64) { s.downloads.add(repositoryID, 1) }

func (d *downloads) add(id, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.n == nil {
		d.n = map[int64]int64{}
	}
	if _, ok := d.n[id]; ok || len(d.n) < maxPending {
		d.n[id] += n
	}
}

func (d *downloads) take() map[int64]int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	taken := d.n
	d.n = nil
	return taken
}

// Flush writes the downloads that were counted so far; of repositories without an entry,
// or gone, they are dropped. What could not be written is kept for the next time. Run calls
// it.
func (s *Service) Flush(ctx context.Context) error {
	taken := s.downloads.take()
	ids := slices.Sorted(maps.Keys(taken)) // in one order, so that nodes do not wait for each other
	for from := 0; from < len(ids); from += perCommit {
		batch := ids[from:min(from+perCommit, len(ids))]
		written := make(map[int64]int64, len(batch))
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			clear(written)
			for _, id := range batch {
				n, err := tx.Exec(ctx, `UPDATE catalog_entry SET downloads = downloads + $2 WHERE repository_id = $1`, id, taken[id])
				if err != nil {
					return err
				}
				if n > 0 {
					written[id] = taken[id]
				}
			}
			return nil
		})
		if err != nil {
			for _, id := range ids[from:] {
				s.downloads.add(id, taken[id])
			}
			return err
		}
		s.index.AddDownloads(written)
	}
	return nil
}
