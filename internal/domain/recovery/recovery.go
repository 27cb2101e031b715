// Package recovery owns what was deleted and can still be restored: the images
// that a repository with a recovery window has lost, and the end of the window,
// for images and for repositories.
//
// Bin keeps an image in the transaction that deletes it, so that a crash leaves
// either the image or what it can be restored from. Rows of deleted_image_layer
// keep the bytes of its layers; domain/layer reads them beside those of
// image_layer. Taking a tag off an image that stays loses nothing but the tag,
// and the tag is not kept.
//
// It does not own the window (a setting of domain/repository), nor the hiding of
// deleted repositories, which keep everything inside where it is
// (repository.Service.Delete and Undelete). Images that are in the bin are no
// images: nothing lists, pulls, counts or expires them but this package.
//
// # What is decided here
//
//   - An image stands in the bin once, as it was when it was deleted last.
//   - A restored image has its manifest, its tags, and the times of its push and
//     of its last pull. It is active, also where it was archived.
//   - A tag that is on another image meanwhile stays there unless the caller wants
//     it moved, and an immutable one stays in any case.
package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The periodic work.
const (
	JobExpire = "recovery.expire"

	expirePeriod = 10 * time.Minute
	// jobLimit bounds one run; what is left waits for the next.
	jobLimit = 30 * time.Minute
	// pageSize is how many rows are looked at in one query.
	pageSize = 200
)

// Config is what a Service stands on.
type Config struct {
	Durable      *sqldb.DB
	Repositories *repository.Service
	Images       *image.Service
	Layers       *layer.Service
	Clock        clock.Clock
	Log          *slog.Logger
	// Jobs gets the periodic work; nil leaves Expire to the caller.
	Jobs *jobs.Queue
}

// Service lists, restores and purges what was deleted.
type Service struct{ Config }

// New returns the service and registers its periodic work on c.Jobs.
func New(c Config) *Service {
	s := &Service{Config: c}
	if c.Jobs != nil {
		c.Jobs.Handle(JobExpire, jobs.Handler{Timeout: jobLimit, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error {
			_, err := s.Expire(ctx)
			return err
		}})
		c.Jobs.Every(JobExpire, expirePeriod)
	}
	return s
}

// Image is a deleted image that can be restored.
type Image struct {
	ID           int64
	RepositoryID int64
	Digest       name.Digest
	MediaType    string
	// Tags are those that it had, in byte order.
	Tags     []name.Tag
	PushedAt time.Time
	// DeletedAt is when it was deleted, and ExpiresAt until when it is kept.
	DeletedAt, ExpiresAt time.Time

	body     []byte // sealed
	pulledAt int64
}

// imageColumns are what scanImage reads, of a table that the query calls d.
const imageColumns = `d.id, d.repository_id, d.digest, d.media_type, d.tags, d.pushed_at, d.pulled_at, d.deleted_at, d.expires_at`

func scanImage(row sqldb.Scanner) (Image, error) {
	i, tail, err := scanning(row)
	if err != nil {
		return Image{}, err
	}
	return i, json.Unmarshal([]byte(tail), &i.Tags)
}

// scanning reads imageColumns and more, and returns the text of the tags.
func scanning(row sqldb.Scanner, more ...any) (i Image, tags string, err error) {
	var digest string
	var pushed, deleted, expires int64
	err = row.Scan(append([]any{&i.ID, &i.RepositoryID, &digest, &i.MediaType, &tags, &pushed, &i.pulledAt, &deleted, &expires}, more...)...)
	i.Digest, i.PushedAt = name.Digest(digest), time.UnixMicro(pushed)
	i.DeletedAt, i.ExpiresAt = time.UnixMicro(deleted), time.UnixMicro(expires)
	return i, tags, err
}

// Kept lists up to limit deleted images of the repository in the order of their
// numbers, after the given one.
func (s *Service) Kept(ctx context.Context, r repository.Repository, after int64, limit int) ([]Image, error) {
	var all []Image
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(ctx, tx, scanImage, `SELECT `+imageColumns+` FROM deleted_image d WHERE d.repository_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3`, r.ID, after, limit)
		return err
	})
	return all, err
}

// KeptIn is Kept for all repositories of a registry that are not deleted
// themselves, with the names of theirs in the same order.
func (s *Service) KeptIn(ctx context.Context, reg name.Registry, after int64, limit int) (all []Image, repos []name.Repository, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		repos = nil
		var err error
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Image, error) {
			var repo string
			i, tags, err := scanning(row, &repo)
			if err != nil {
				return Image{}, err
			}
			repos = append(repos, name.Repository(repo))
			return i, json.Unmarshal([]byte(tags), &i.Tags)
		}, `SELECT `+imageColumns+`, r.name FROM deleted_image d JOIN repository r ON r.id = d.repository_id
			WHERE r.account_id = $1 AND r.region = $2 AND r.deleted_at = 0 AND d.id > $3 ORDER BY d.id LIMIT $4`,
			string(reg.Account), string(reg.Region), after, limit)
		return err
	})
	return all, repos, err
}

// Bin keeps deleted images of repositories with a recovery window.
type Bin struct{ Clock clock.Clock }

var _ image.Bin = Bin{}

// KeepTx implements image.Bin.
func (b Bin) KeepTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, imageID int64) error {
	settings, err := repository.SettingsTx(ctx, tx, r.ID)
	if err != nil || settings.RecoveryWindow == 0 {
		return err
	}
	tags, err := sqldb.Collect(ctx, tx, sqldb.One[string],
		`SELECT tag FROM image_tag WHERE image_id = $1 ORDER BY tag`, imageID)
	if err != nil {
		return err
	}
	if tags == nil {
		tags = []string{}
	}
	text, err := json.Marshal(tags)
	if err != nil {
		return err
	}
	// The image was here before, was pushed again and goes once more.
	if _, err := tx.Exec(ctx, `DELETE FROM deleted_image WHERE repository_id = $1 AND digest = (SELECT digest FROM image WHERE id = $2)`, r.ID, imageID); err != nil {
		return err
	}
	id, now := sqldb.NewID(), b.Clock.Now()
	n, err := tx.Exec(ctx, `INSERT INTO deleted_image (id, repository_id, digest, media_type, tags, body, pushed_at, pulled_at, deleted_at, expires_at)
		SELECT CAST($1 AS BIGINT), i.repository_id, i.digest, i.media_type, CAST($2 AS TEXT), m.body, i.pushed_at,
			COALESCE((SELECT p.pulled_at FROM image_pull p WHERE p.image_id = i.id), 0), CAST($3 AS BIGINT), CAST($4 AS BIGINT)
		FROM image i JOIN manifest m ON m.image_id = i.id WHERE i.id = $5`,
		id, string(text), now.UnixMicro(), now.Add(settings.RecoveryWindow).UnixMicro(), imageID)
	if err == nil && n != 1 {
		err = errors.New("recovery: a deleted image has no manifest to keep")
	}
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO deleted_image_layer (deleted_id, digest, repository_id)
		SELECT CAST($1 AS BIGINT), digest, repository_id FROM image_layer WHERE image_id = $2`, id, imageID)
	return err
}

// Expired is what a run of Expire removed.
type Expired struct{ Images, Repositories int64 }

// Expire removes images and repositories whose window has ended, and releases
// what they held. One item's failure does not stop the others; all failures come
// back joined.
func (s *Service) Expire(ctx context.Context) (Expired, error) {
	var gone Expired
	var failed error
	now := s.Clock.Now()
	var lastDue, lastID int64
	for more := true; more && ctx.Err() == nil; {
		var page []Image
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanImage, `SELECT `+imageColumns+` FROM deleted_image d
				WHERE d.expires_at <= $1 AND (d.expires_at, d.id) > ($2, $3) ORDER BY d.expires_at, d.id LIMIT $4`, now.UnixMicro(), lastDue, lastID, pageSize)
			return err
		})
		if err != nil {
			return gone, errors.Join(failed, err)
		}
		for _, i := range page {
			lastDue, lastID = i.ExpiresAt.UnixMicro(), i.ID
			removed, err := s.remove(ctx, i, s.Layers.ReleaseTx)
			failed = errors.Join(failed, err)
			if removed {
				gone.Images++
			}
		}
		more = len(page) == pageSize
	}
	var last int64
	for more := true; more && ctx.Err() == nil; {
		page, err := s.Repositories.Overdue(ctx, last, pageSize)
		if err != nil {
			return gone, errors.Join(failed, err)
		}
		for _, id := range page {
			last = id
			removed, err := s.Repositories.Remove(ctx, id, now, func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
				return s.Layers.ReleaseRepositoryTx(ctx, tx, r.ID)
			})
			failed = errors.Join(failed, err)
			if removed {
				gone.Repositories++
			}
		}
		more = len(page) == pageSize
	}
	if gone != (Expired{}) {
		s.Log.InfoContext(ctx, "deleted images and repositories were removed for good", "images", gone.Images, "repositories", gone.Repositories)
	}
	return gone, errors.Join(failed, ctx.Err())
}

// remove takes an image out of the bin and releases its layers. It is false for
// one that has gone.
func (s *Service) remove(ctx context.Context, i Image, release func(context.Context, *sqldb.Tx, repository.Repository, []name.Digest) error) (removed bool, err error) {
	err = s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		removed = false
		r, err := s.Repositories.LockStored(ctx, tx, i.RepositoryID)
		if errs.Is(err, errs.RepositoryNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		layers, err := layersTx(ctx, tx, i.ID)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM deleted_image WHERE id = $1`, i.ID)
		if err != nil || n == 0 {
			return err
		}
		removed = true
		return release(ctx, tx, r, layers)
	})
	return removed && err == nil, err
}

func layersTx(ctx context.Context, tx *sqldb.Tx, id int64) ([]name.Digest, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[name.Digest], `SELECT digest FROM deleted_image_layer WHERE deleted_id = $1 ORDER BY digest`, id)
}

// Purge removes deleted images for good before their window ends: the one that
// the ref names, or all of the repository for the zero ref. Their layers go with
// the next collection, unless an image needs them. errs.ImageNotFound; a tag that
// several of them had is errs.InvalidParameter.
func (s *Service) Purge(ctx context.Context, r repository.Repository, ref image.Ref) (purged []Image, err error) {
	found, err := s.find(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	if len(found) > 1 && ref != (image.Ref{}) {
		return nil, errs.New(errs.InvalidParameter, "%d deleted images of the repository with name '%s' had the tag '%s'; name one by its digest", len(found), r.Name, ref.Tag)
	}
	for _, i := range found {
		removed, err := s.remove(ctx, i, s.Layers.HurryTx)
		if err != nil {
			return purged, err
		}
		if removed {
			purged = append(purged, i)
		}
	}
	return purged, nil
}

// PurgeRepository removes a deleted repository for good, with all that it holds,
// before its window ends. It is false for one that has been restored or has gone.
func (s *Service) PurgeRepository(ctx context.Context, r repository.Repository) (removed bool, err error) {
	return s.Repositories.Remove(ctx, r.ID, r.ExpiresAt, func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
		held, err := sqldb.Collect(ctx, tx, sqldb.One[name.Digest], `SELECT digest FROM layer WHERE repository_id = $1 ORDER BY digest`, r.ID)
		if err != nil {
			return err
		}
		return s.Layers.HurryTx(ctx, tx, r, held)
	})
}
