package image

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// pulls remembers the pulls that are not in the database yet: a pull must not
// wait for a write, nor cause one. A crash loses at most the pulls of one
// FlushPulls, which delays LastPulledAt and nothing else.
type pulls struct {
	mu sync.Mutex
	at map[int64]int64 // by image: microseconds of the last pull
}

// maxPendingPulls bounds the memory; beyond it, pulls of further images go
// unrecorded until the next flush.
const maxPendingPulls = 100_000

func (p *pulls) note(id, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at == nil {
		p.at = map[int64]int64{}
	}
	if old, ok := p.at[id]; (ok && old < at) || (!ok && len(p.at) < maxPendingPulls) {
		p.at[id] = at
	}
}

// take empties the memory.
func (p *pulls) take() map[int64]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.at
	p.at = nil
	return taken
}

// lastFlush bounds the write at the end of Run.
const lastFlush = 10 * time.Second

// Run writes the noted pulls and translations every FlushPulls until ctx ends, and then once
// more. A write that fails is logged and tried again with the next one.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.FlushPulls)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if err := s.Flush(ctx); err != nil && ctx.Err() == nil {
				s.Log.LogAttrs(ctx, slog.LevelWarn, "pull times could not be written; they will be tried again", slog.Any("error", err))
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			return s.Flush(last)
		}
	}
}

// pullsPerCommit is how many pull times are written in one transaction, which
// holds up other changes of these images.
const pullsPerCommit = 100

// Flush writes the pulls and the translations that were noted so far. What could
// not be written is kept for the next time.
func (s *Service) Flush(ctx context.Context) error {
	return errors.Join(s.flushPulls(ctx), s.translations.flush(ctx, s.Durable))
}

func (s *Service) flushPulls(ctx context.Context) error {
	taken := s.pulls.take()
	ids := make([]int64, 0, len(taken))
	for id := range taken {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for from := 0; from < len(ids); from += pullsPerCommit {
		batch := ids[from:min(from+pullsPerCommit, len(ids))]
		err := s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
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
				s.pulls.note(id, taken[id])
			}
			return err
		}
	}
	return nil
}
