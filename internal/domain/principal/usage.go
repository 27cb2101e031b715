package principal

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// usageInterval is how often uses of access keys are written; a crash loses
// what is younger.
const usageInterval = 10 * time.Second

// usage collects when access keys were last used, so that no call waits for it.
type usage struct {
	mu   sync.Mutex
	last map[string]keyUse
}

type keyUse struct {
	at              time.Time
	region, service string
}

// Used notes the use of a permanent access key. It writes nothing at once.
func (s *Service) Used(accessKeyID, region, service string) {
	if accessKeyID == "" || len(accessKeyID) > 4 && accessKeyID[:4] == PrefixTemporaryKey {
		return
	}
	s.usage.mu.Lock()
	defer s.usage.mu.Unlock()
	if s.usage.last == nil {
		s.usage.last = map[string]keyUse{}
	}
	s.usage.last[accessKeyID] = keyUse{at: s.clk.Now(), region: region, service: service}
}

// FlushUsage writes the uses that were noted.
func (s *Service) FlushUsage(ctx context.Context) error {
	s.usage.mu.Lock()
	last := s.usage.last
	s.usage.last = nil
	s.usage.mu.Unlock()
	if len(last) == 0 {
		return nil
	}
	return s.db.Update(ctx, func(tx *sqldb.Tx) error {
		for id, u := range last {
			_, err := tx.Exec(ctx, `INSERT INTO access_key_use (key_id, used_at, region, service)
				SELECT id, $2, $3, $4 FROM access_key WHERE id = $1
				ON CONFLICT (key_id) DO UPDATE SET used_at = excluded.used_at, region = excluded.region, service = excluded.service`,
				id, u.at.UnixMicro(), u.region, u.service)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Run writes uses of access keys until ctx ends, then what is left.
func (s *Service) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(usageInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.FlushUsage(ctx); err != nil && ctx.Err() == nil {
				log.Error("the last uses of access keys cannot be written", "error", err)
			}
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			return s.FlushUsage(last)
		}
	}
}
