// Package pulltimes remembers when images were pulled, in memory, and writes it
// down in batches: a pull must not wait for a write, nor cause one.
//
// It owns the table image_pull. It does not decide which pulls count
// (domain/registry has the exclusions) nor when to write; domain/image does, its
// only user.
package pulltimes

import (
	"context"
	"slices"
	"sync"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Times are the pulls that are not in the database yet. A crash loses those
// since the last Flush, which delays the recorded times and nothing else. The
// zero value is ready.
type Times struct {
	mu sync.Mutex
	at map[int64]int64 // by image: microseconds of the last pull
}

// maxPending bounds the memory; beyond it, pulls of further images go
// unrecorded until the next flush.
const maxPending = 100_000

// Note says that an image was pulled, at a time in microseconds.
func (p *Times) Note(id, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = map[int64]int64{}
	}
	if old, ok := p.at[id]; (ok && old < at) || (!ok && len(p.at) < maxPending) {
		p.at[id] = at
	}
}

// take empties the memory.
func (p *Times) take() map[int64]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.at
	p.at = nil
	return taken
}

// perCommit is how many pull times are written in one transaction, which
// holds up other changes of these images.
const perCommit = 100

// Flush writes the pulls that were noted so far. What could not be written is
// kept for the next time.
func (p *Times) Flush(ctx context.Context, db *sqldb.DB) error {
	taken := p.take()
	ids := make([]int64, 0, len(taken))
	for id := range taken {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for from := 0; from < len(ids); from += perCommit {
		batch := ids[from:min(from+perCommit, len(ids))]
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for _, id := range batch {
				// An image that is gone is passed over, and none goes meanwhile.
				_, err := tx.Exec(ctx, `INSERT INTO image_pull (image_id, pulled_at) SELECT i.id, CAST($2 AS BIGINT) FROM image i WHERE i.id = $1`+tx.ForShare()+
					` ON CONFLICT (image_id) DO UPDATE SET pulled_at = excluded.pulled_at WHERE image_pull.pulled_at < excluded.pulled_at`, id, taken[id])
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			for _, id := range ids[from:] {
				p.Note(id, taken[id])
			}
			return err
		}
	}
	return nil
}
