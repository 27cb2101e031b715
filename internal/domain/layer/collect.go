package layer

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The periodic work.
const (
	JobCollect = "layer.collect"
	JobExpire  = "layer.expire"

	collectPeriod = 10 * time.Minute
	expirePeriod  = 10 * time.Minute
	// jobLimit bounds one run; what is left waits for the next.
	jobLimit = 30 * time.Minute
	// pageSize is how many rows are looked at in one query.
	pageSize = 200
)

// Collected is what a run of Collect did.
type Collected struct {
	// Reviews were due; Layers of them were taken away from their repositories.
	Reviews, Layers int64
	// Blobs lost their last holder; Bytes is their size before sealing.
	Blobs, Bytes int64
	// Objects were deleted from stores; those of given up uploads among them.
	Objects int64
}

func (s *Service) register(q *jobs.Queue) {
	q.Handle(JobCollect, jobs.Handler{Timeout: jobLimit, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error {
		_, err := s.Collect(ctx)
		return err
	}})
	q.Every(JobCollect, collectPeriod)
	q.Handle(JobExpire, jobs.Handler{Timeout: jobLimit, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error {
		_, err := s.Expire(ctx)
		return err
	}})
	q.Every(JobExpire, expirePeriod)
}

// review is a row of layer_review.
type review struct {
	repositoryID int64
	digest       name.Digest
	blobID       int64
	dueAt        int64
}

func scanReview(row sqldb.Scanner) (review, error) {
	var v review
	var d string
	err := row.Scan(&v.repositoryID, &d, &v.blobID, &v.dueAt)
	v.digest = name.Digest(d)
	return v, err
}

// Collect reviews every digest whose grace period is over and deletes the
// objects that nobody needs any more. It runs beside pushes and pulls, on any
// number of nodes. One item's failure does not stop the others; all failures
// come back joined.
func (s *Service) Collect(ctx context.Context) (Collected, error) {
	var c Collected
	var failed error
	now := s.clock.Now().UnixMicro()
	last := review{dueAt: -1}
	for more := true; more && ctx.Err() == nil; {
		var page []review
		err := s.durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanReview, `SELECT repository_id, digest, blob_id, due_at FROM layer_review
				WHERE due_at <= $1 AND (due_at, repository_id, digest) > ($2, $3, $4)
				ORDER BY due_at, repository_id, digest LIMIT $5`, now, last.dueAt, last.repositoryID, string(last.digest), pageSize)
			return err
		})
		if err != nil {
			return c, errors.Join(failed, err)
		}
		for _, v := range page {
			failed = errors.Join(failed, s.review(ctx, v, &c))
			last = v
		}
		more = len(page) == pageSize
	}
	failed = errors.Join(failed, s.empty(ctx, &c), ctx.Err())
	if c != (Collected{}) {
		s.log.InfoContext(ctx, "layers were collected", "reviews", c.Reviews, "layers", c.Layers, "blobs", c.Blobs, "bytes", c.Bytes, "objects", c.Objects)
	}
	return c, failed
}

// review decides about one digest of one repository, and about the blob behind
// it. It holds the repository's row, so that no image and no upload can come to
// refer to the layer meanwhile, then the blob's, so that no other repository
// can come to hold it.
func (s *Service) review(ctx context.Context, v review, c *Collected) error {
	var did Collected
	err := s.durable.Update(ctx, func(tx *sqldb.Tx) error {
		did = Collected{}
		_, err := s.repositories.Lock(ctx, tx, repository.Repository{ID: v.repositoryID})
		if err != nil && !errs.Is(err, errs.RepositoryNotFound) {
			return err
		}
		// Pushed again, or reviewed by another node, since the row was read?
		n, err := tx.Exec(ctx, `DELETE FROM layer_review WHERE repository_id = $1 AND digest = $2 AND due_at = $3`,
			v.repositoryID, string(v.digest), v.dueAt)
		if err != nil || n == 0 {
			return err
		}
		did.Reviews = 1
		referenced, err := isReferenced(ctx, tx, v.repositoryID, v.digest)
		if err != nil {
			return err
		}
		if referenced {
			return s.replace(ctx, tx, v.blobID)
		}
		// The blob's row before the layer's: see the lock order in doc.go.
		var size int64
		var region, objectKey string
		var archived bool
		err = tx.QueryRow(ctx, `SELECT size, region, object_key, archived FROM blob WHERE id = $1`+tx.ForUpdate(), v.blobID).Scan(&size, &region, &objectKey, &archived)
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if did.Layers, err = tx.Exec(ctx, `DELETE FROM layer WHERE repository_id = $1 AND digest = $2`, v.repositoryID, string(v.digest)); err != nil {
			return err
		}
		held, err := exists(ctx, tx, `SELECT 1 FROM layer WHERE blob_id = $1 LIMIT 1`, v.blobID)
		if err != nil {
			return err
		}
		if held {
			return s.replace(ctx, tx, v.blobID)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, archived) VALUES ($1, $2, $3, $4) ON CONFLICT (region, object_key) DO NOTHING`,
			region, objectKey, s.clock.Now().UnixMicro(), archived); err != nil {
			return err
		}
		did.Blobs, did.Bytes = 1, size
		_, err = tx.Exec(ctx, `DELETE FROM blob WHERE id = $1`, v.blobID)
		return err
	})
	if err == nil {
		c.Reviews += did.Reviews
		c.Layers += did.Layers
		c.Blobs += did.Blobs
		c.Bytes += did.Bytes
	}
	return err
}

// replace has the place of a blob looked at that lost one of its images, if those
// that are left could all be archived.
func (s *Service) replace(ctx context.Context, tx *sqldb.Tx, blobID int64) error {
	archived, err := exists(ctx, tx, `SELECT 1 FROM layer l JOIN image_layer r ON r.repository_id = l.repository_id AND r.digest = l.digest
		JOIN image i ON i.id = r.image_id WHERE l.blob_id = $1 AND i.status = 1 LIMIT 1`, blobID)
	if err != nil || !archived {
		return err
	}
	return s.places.AskTx(ctx, tx, []int64{blobID})
}

// rubbish is a row of garbage.
type rubbish struct {
	archived  bool
	region    name.Region
	objectKey string
	dueAt     int64
}

func scanRubbish(row sqldb.Scanner) (rubbish, error) {
	var g rubbish
	var region string
	err := row.Scan(&region, &g.objectKey, &g.dueAt, &g.archived)
	g.region = name.Region(region)
	return g, err
}

// empty deletes the objects of all garbage rows. A row of a region that is not
// served here waits for a node that does.
func (s *Service) empty(ctx context.Context, c *Collected) error {
	var failed error
	now := s.clock.Now().UnixMicro()
	last := rubbish{dueAt: -1}
	for more := true; more && ctx.Err() == nil; {
		var page []rubbish
		err := s.durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanRubbish, `SELECT region, object_key, due_at, archived FROM garbage
				WHERE due_at <= $1 AND (due_at, region, object_key) > ($2, $3, $4)
				ORDER BY due_at, region, object_key LIMIT $5`, now, last.dueAt, string(last.region), last.objectKey, pageSize)
			return err
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		for _, g := range page {
			last = g
			if _, err := s.place(g.region, g.archived); err != nil {
				continue // not served here
			}
			if err := s.bury(ctx, g.region, g.objectKey, g.archived); err != nil {
				failed = errors.Join(failed, err)
				continue
			}
			c.Objects++
		}
		more = len(page) == pageSize
	}
	return failed
}
