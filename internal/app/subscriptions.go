package app

import "github.com/berth-registry/berth/internal/domain/event"

// subscriptions is the table of which fact starts which job. Scanning,
// replication and lifecycle add their rows here when they are built.
func (a *App) subscriptions() []event.Subscriber { return nil }
