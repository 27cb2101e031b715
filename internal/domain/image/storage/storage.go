// Package storage moves images between the storage classes: it archives them and
// brings them back (ECR user guide, "archiving an image").
//
// It owns the transitions of an image's status. It does not own the row
// (domain/image), the moving of bytes (domain/layer), nor which images a lifecycle
// policy archives and how referrers follow their subject (domain/lifecycle).
package storage

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Job is the kind of the work that brings an image back.
const Job = "image.restore"

// jobLimit bounds the way back of one image.
const jobLimit = 6 * time.Hour

// Layers is what the storage classes need of domain/layer.
type Layers interface {
	// PlaceTx has the bytes of the layers brought where their images need them,
	// after the transaction.
	PlaceTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, ds []name.Digest) error
	// Recall brings them back and returns when they are there.
	Recall(ctx context.Context, r repository.Repository, ds []name.Digest) error
}

// Config is what a Service stands on.
type Config struct {
	Durable      *sqldb.DB
	Repositories *repository.Service
	Images       *image.Service
	Layers       Layers
	Outbox       *event.Outbox
	Clock        clock.Clock
	Jobs         *jobs.Queue
}

// Service changes the storage class of images. Its methods may be called from
// many goroutines and on many nodes at once.
type Service struct{ Config }

// New returns the service and registers its work on c.Jobs.
func New(c Config) *Service {
	s := &Service{c}
	c.Jobs.Handle(Job, jobs.Handler{Timeout: jobLimit, Workers: 4, Run: func(ctx context.Context, t jobs.Task) error {
		var p payload
		if err := json.Unmarshal(t.Payload, &p); err != nil {
			return err
		}
		return s.activate(ctx, p)
	}})
	return s
}

// payload names the image that comes back.
type payload struct {
	Registry   name.Registry   `json:"registry"`
	Repository name.Repository `json:"repository"`
	Digest     name.Digest     `json:"digest"`
	Referrer   bool            `json:"referrer,omitempty"`
}

// Archive puts an image into the archive storage class: from the commit on it
// cannot be pulled, and its bytes follow. An archived image stays as it is.
//
// It returns errs.ImageNotFound, errs.RepositoryNotFound, errs.InvalidParameter
// for a ref that cannot be, and errs.StorageClassRefused for an image on its way
// back, for one that an active index needs, and for the referrer of an image of
// the repository, which follows its subject by itself.
func (s *Service) Archive(ctx context.Context, r repository.Repository, ref image.Ref) (image.Detail, error) {
	return s.change(ctx, r, ref, func(tx *sqldb.Tx, locked repository.Repository, d image.Detail) error {
		subject, err := s.subjectThere(ctx, tx, locked, d)
		if err != nil {
			return err
		}
		if subject {
			return refused("the image is a referrer of an image in the repository, and is archived and restored with that")
		}
		return s.ArchiveTx(ctx, tx, locked, d, false)
	})
}

// Restore brings an archived image back: it is on its way when Restore returns,
// and active soon after. An index takes the archived images that it names along.
// An image that is active, or on its way, stays as it is. Errors are Archive's.
func (s *Service) Restore(ctx context.Context, r repository.Repository, ref image.Ref) (image.Detail, error) {
	return s.change(ctx, r, ref, func(tx *sqldb.Tx, locked repository.Repository, d image.Detail) error {
		return s.RestoreTx(ctx, tx, locked, d, false)
	})
}

// change runs fn on an image in a transaction that holds the repository's Lock,
// and returns the image as it then is.
func (s *Service) change(ctx context.Context, r repository.Repository, ref image.Ref, fn func(*sqldb.Tx, repository.Repository, image.Detail) error) (d image.Detail, err error) {
	err = s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		if d, err = s.Images.FindTx(ctx, tx, locked, ref); err != nil {
			return err
		}
		if err := fn(tx, locked, d); err != nil {
			return err
		}
		d, err = s.Images.FindTx(ctx, tx, locked, image.Ref{Digest: d.Digest})
		return err
	})
	return d, err
}

func refused(reason string) error {
	return errs.New(errs.StorageClassRefused, "The storage class of the image cannot be changed: %s", reason)
}

// activeParents finds the indexes that need an image and can be pulled.
const activeParents = `SELECT i.digest FROM image_child c JOIN image i ON i.id = c.image_id WHERE c.repository_id = $1 AND c.digest = $2 AND i.status <> 1 ORDER BY c.image_id`

// ArchiveTx is Archive in the transaction of a caller that holds the repository's
// Lock; referrer says that the image follows its subject. An image that an active
// index needs is refused with an errs.StorageClassRefused whose cause is an
// image.Failure of the code Referenced.
func (s *Service) ArchiveTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d image.Detail, referrer bool) error {
	switch d.Status {
	case image.Archived:
		return nil
	case image.Activating:
		return refused("the image is being restored")
	case image.Active:
	}
	parents, err := texts(ctx, tx, activeParents, r.ID, string(d.Digest))
	if err != nil {
		return err
	}
	if len(parents) > 0 {
		reason := "Requested image referenced by manifest list: [" + strings.Join(parents, ", ") + "]"
		return errs.Wrap(image.Failure{Ref: image.Ref{Digest: d.Digest}, Code: image.Referenced, Reason: reason}, errs.StorageClassRefused, "%s", reason)
	}
	if _, err := tx.Exec(ctx, `UPDATE image SET status = 1, archived_at = $2 WHERE id = $1`, d.ID, s.Clock.Now().UnixMicro()); err != nil {
		return err
	}
	layers, err := layersOf(ctx, tx, d.ID)
	if err != nil {
		return err
	}
	if err := s.Layers.PlaceTx(ctx, tx, r, layers); err != nil {
		return err
	}
	return s.record(ctx, tx, r, d, event.StorageClassDetail{Target: event.ArchiveClass, Referrer: referrer})
}

// RestoreTx is Restore in the transaction of a caller that holds the repository's
// Lock; referrer says that the image follows its subject.
func (s *Service) RestoreTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d image.Detail, referrer bool) error {
	if d.Status != image.Archived {
		return nil
	}
	if _, err := tx.Exec(ctx, `UPDATE image SET status = 2 WHERE id = $1`, d.ID); err != nil {
		return err
	}
	children, err := childrenOf(ctx, tx, d.ID)
	if err != nil {
		return err
	}
	for _, c := range children {
		child, err := s.Images.FindTx(ctx, tx, r, image.Ref{Digest: c})
		if errs.Is(err, errs.ImageNotFound) {
			continue
		}
		if err == nil {
			err = s.RestoreTx(ctx, tx, r, child, referrer)
		}
		if err != nil {
			return err
		}
	}
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{
		Kind: Job, UniqueKey: strconv.FormatInt(d.ID, 10),
		Payload: payload{Registry: r.Registry, Repository: r.Name, Digest: d.Digest, Referrer: referrer},
	})
}

// activate brings back the bytes of an image and then the image.
func (s *Service) activate(ctx context.Context, p payload) error {
	r, err := s.Repositories.Get(ctx, p.Registry, p.Repository)
	if errs.Is(err, errs.RepositoryNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var d image.Detail
	var layers, children []name.Digest
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		if d, err = s.Images.FindTx(ctx, tx, r, image.Ref{Digest: p.Digest}); err != nil {
			return err
		}
		if layers, err = layersOf(ctx, tx, d.ID); err != nil {
			return err
		}
		children, err = childrenOf(ctx, tx, d.ID)
		return err
	})
	if errs.Is(err, errs.ImageNotFound) {
		return nil // deleted meanwhile
	}
	if err != nil || d.Status != image.Activating {
		return err
	}
	for _, c := range children { // an index is there when what it names is
		child := p
		child.Digest = c
		if err := s.activate(ctx, child); err != nil {
			return err
		}
	}
	if err := s.Layers.Recall(ctx, r, layers); err != nil {
		return err
	}
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err == nil {
			d, err = s.Images.FindTx(ctx, tx, locked, image.Ref{Digest: p.Digest})
		}
		if errs.Is(err, errs.ImageNotFound) || errs.Is(err, errs.RepositoryNotFound) {
			return nil
		}
		if err != nil || d.Status != image.Activating {
			return err
		}
		now := s.Clock.Now()
		if _, err := tx.Exec(ctx, `UPDATE image SET status = 0, activated_at = $2 WHERE id = $1`, d.ID, now.UnixMicro()); err != nil {
			return err
		}
		return s.record(ctx, tx, locked, d, event.StorageClassDetail{Target: event.StandardClass, ActivatedAt: now.UTC(), Referrer: p.Referrer})
	})
}

func (s *Service) record(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d image.Detail, e event.StorageClassDetail) error {
	e.ImageDetail = event.ImageDetail{Repository: r.Name, Digest: d.Digest, MediaType: d.MediaType, ArtifactType: d.ArtifactType}
	return s.Outbox.Record(ctx, tx, event.Event{Registry: r.Registry, Kind: event.StorageClassChanged, OccurredAt: s.Clock.Now(), Detail: e})
}

// subjectThere says whether the image is a referrer of one in the repository.
func (s *Service) subjectThere(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d image.Detail) (bool, error) {
	if d.Subject == "" {
		return false, nil
	}
	var one int64
	err := tx.QueryRow(ctx, `SELECT 1 FROM image WHERE repository_id = $1 AND digest = $2`, r.ID, string(d.Subject)).Scan(&one)
	if errors.Is(err, sqldb.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

func layersOf(ctx context.Context, tx *sqldb.Tx, imageID int64) ([]name.Digest, error) {
	return digests(ctx, tx, `SELECT digest FROM image_layer WHERE image_id = $1 ORDER BY digest`, imageID)
}

func childrenOf(ctx context.Context, tx *sqldb.Tx, imageID int64) ([]name.Digest, error) {
	return digests(ctx, tx, `SELECT digest FROM image_child WHERE image_id = $1 ORDER BY digest`, imageID)
}

func digests(ctx context.Context, tx *sqldb.Tx, query string, args ...any) ([]name.Digest, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[name.Digest], query, args...)
}

func texts(ctx context.Context, tx *sqldb.Tx, query string, args ...any) ([]string, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[string], query, args...)
}
