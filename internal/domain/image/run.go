package image

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

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

// Flush writes the pulls and the translations that were noted so far. What could
// not be written is kept for the next time.
func (s *Service) Flush(ctx context.Context) error {
	return errors.Join(s.pulls.Flush(ctx, s.Durable), s.translations.Flush(ctx, s.Durable))
}
