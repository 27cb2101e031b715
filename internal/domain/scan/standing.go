package scan

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/gate"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Standing is how the scan of an image stands for the gate.
func (s *Service) Standing(ctx context.Context, r repository.Repository, img image.Image) (out gate.Standing, err error) {
	if !scannable(img.MediaType, img.ArtifactType) {
		return gate.Standing{State: gate.Unscannable}, nil
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		c, err := rules.Stored(ctx, tx, r.Registry)
		if err != nil {
			return err
		}
		was, ok, err := find(ctx, tx, img.ID, c.Type)
		switch {
		case err != nil || !ok:
			return err
		case !was.completed.IsZero():
			out = gate.Standing{State: gate.Scanned, At: was.completed}
		case was.description == unsupported:
			out.State = gate.Unsupported
		}
		return nil
	})
	return out, err
}

// Summary is how the scan of an image stands, of the registry's type, and what the
// last completed one counted. errs.ImageNotFound, errs.ScanNotFound.
func (s *Service) Summary(ctx context.Context, r repository.Repository, ref image.Ref) (Summary, error) {
	l, err := s.look(ctx, r, ref)
	if err != nil {
		return Summary{}, err
	}
	return l.summary(r, ref)
}

// Backlog says how many images wait for a scan or are being scanned, in all
// registries, and since when the one that has waited longest does; zero where none does.
func (s *Service) Backlog(ctx context.Context) (waiting int64, oldest time.Time, err error) {
	var since int64
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*), coalesce(min(requested_at), 0) FROM scan_image WHERE status IN ($1, $2)`, string(InProgress), string(Pending)).Scan(&waiting, &since)
	})
	return waiting, at(since), err
}
