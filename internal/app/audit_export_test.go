package app

import "github.com/berth-registry/berth/internal/domain/audit"

// Trail gives tests the audit trail.
func (a *App) Trail() *audit.Trail { return a.trail }
