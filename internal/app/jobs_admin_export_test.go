package app

import (
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Queue gives tests the queue and the database that it is in.
func (a *App) Queue() (*jobs.Queue, *sqldb.DB) { return a.queue, a.durable }
