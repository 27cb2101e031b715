package gallery

import "context"

// Refresh is what Run does every two seconds.
func (s *Service) Refresh(ctx context.Context) error { return s.refresh(ctx) }

// Rebuild is what it does now and then.
func (s *Service) Rebuild(ctx context.Context) error { return s.rebuild(ctx, false) }

// SetMany sets how many changes are too many for a refresh that is no rebuild.
func (s *Service) SetMany(n int) { s.many = n }

// Indexed is how many documents the index has.
func (s *Service) Indexed() int { return s.index.Stats().Documents }

// Overlap is how far a refresh goes back, RebuildEvery when everything is read.
const (
	Overlap      = overlap
	RebuildEvery = rebuildEvery
)
