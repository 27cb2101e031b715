package app

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/infra/jobs"
)

// Periodic work that belongs to the program as a whole.
const (
	jobAuditExpire    = "audit.expire"
	auditExpirePeriod = time.Hour
	// Records from before records could be found are made findable, once.
	jobAuditBackfill    = "audit.backfill"
	auditBackfillPeriod = time.Hour
)

// maintain registers the periodic jobs that no feature registers itself.
func (a *App) maintain() {
	a.queue.Handle(jobAuditExpire, jobs.Handler{Timeout: 10 * time.Minute, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error {
		before := a.clk.Now().Add(-time.Duration(a.cfg.AuditRetention))
		removed, err := a.trail.Expire(ctx, before)
		if removed > 0 {
			a.log.Info("old audit records removed", "records", removed)
		}
		return errors.Join(err, a.telling.ExpireTrails(ctx, before))
	}})
	a.queue.Every(jobAuditExpire, auditExpirePeriod)
	a.queue.Handle(jobAuditBackfill, jobs.Handler{Timeout: time.Hour, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error {
		found, err := a.trail.Backfill(ctx)
		if found > 0 {
			a.log.Info("audit records from before the upgrade can be found", "records", found)
		}
		return err
	}})
	a.queue.Every(jobAuditBackfill, auditBackfillPeriod)
}
