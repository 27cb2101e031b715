package gallery

import (
	"context"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	repositoryID = `SELECT id FROM repository WHERE account_id = $1 AND region = $2 AND name = $3`
	pushEntry    = `INSERT INTO catalog_entry (repository_id, changed_at, pushed_at, downloads) VALUES ($1, $2, $2, 0)
		ON CONFLICT (repository_id) DO UPDATE SET changed_at = excluded.changed_at, pushed_at = excluded.pushed_at`
	changeEntry   = `UPDATE catalog_entry SET changed_at = $2 WHERE repository_id = $1`
	platformsOf   = `SELECT count(*) FROM catalog_platform WHERE repository_id = $1 AND digest = $2`
	dropPlatforms = `DELETE FROM catalog_platform WHERE repository_id = $1 AND digest = $2
		AND NOT EXISTS (SELECT 1 FROM image i WHERE i.repository_id = $1 AND i.digest = $2)`
)

// Subscribe notes pushes to public repositories, and what was deleted from them, and has a
// job find out what a pushed image runs on. It is an event.Subscriber.
func (s *Service) Subscribe(ctx context.Context, tx *sqldb.Tx, e event.Event) error {
	if !e.Registry.IsPublic() {
		return nil
	}
	switch e.Kind {
	case event.ImagePushed, event.ImageDeleted:
	case event.StorageClassChanged, event.PolicyExecuted, event.PolicyPreviewed, event.ImageReplicated, event.ImagePulledThrough,
		event.ImageScanned, event.ImageScanInitial, event.FindingChanged, event.ScanFrequencyChanged, event.ImagePulled:
		return nil
	default:
		return nil
	}
	d, ok := e.Detail.(event.ImageDetail)
	if !ok {
		return fmt.Errorf("the event %s has the detail %T", e.Kind, e.Detail)
	}
	id, err := sqldb.One[int64](tx.QueryRow(ctx, repositoryID, string(e.Registry.Account), string(name.Public), string(d.Repository)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil // it is deleted in this transaction, and its entry with it
	}
	if err != nil {
		return err
	}
	tx.AfterCommit(func() { s.dirty.Store(true) })
	now := s.Clock.Now().UnixMicro()
	if e.Kind == event.ImageDeleted {
		if _, err := tx.Exec(ctx, changeEntry, id, now); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, dropPlatforms, id, string(d.Digest))
		return err
	}
	if _, err := tx.Exec(ctx, pushEntry, id, now); err != nil {
		return err
	}
	known, err := sqldb.One[int64](tx.QueryRow(ctx, platformsOf, id, string(d.Digest)))
	if err != nil || known > 0 { // only the tag is new
		return err
	}
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{
		Kind: JobPlatforms, UniqueKey: fmt.Sprintf("%d %s", id, d.Digest), Payload: order{Repository: id, Digest: d.Digest}, MaxAttempts: tries,
	})
}

// Touch has a repository read anew that came back after its deletion, or that has an
// image back. It does nothing about one that is not public.
func (s *Service) Touch(ctx context.Context, repositoryID int64) {
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, changeEntry, repositoryID, s.Clock.Now().UnixMicro())
		if n > 0 {
			tx.AfterCommit(func() { s.dirty.Store(true) })
		}
		return err
	})
	if err != nil { // the next rebuild finds it
		s.Log.WarnContext(ctx, "a repository that came back is not yet in the gallery's index", "repository", repositoryID, "error", err)
	}
}
