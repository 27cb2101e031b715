package collect

import (
	"context"
	"errors"
	"sync"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// reviewPage is how many reviews are read in one query.
	reviewPage = 200
	// reviewers is how many reviews run at once on a node: on SQLite they share
	// commits, and on PostgreSQL they do not wait for each other's answers.
	reviewers = 8
)

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

// reviewAll reviews what is due, page by page. One item's failure does not stop
// the others.
func (s *Service) reviewAll(ctx context.Context, r *running) error {
	var failed error
	now := s.Clock.Now().UnixMicro()
	last := review{dueAt: -1}
	for more := true; more && ctx.Err() == nil; {
		var page []review
		err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanReview, `SELECT repository_id, digest, blob_id, due_at FROM layer_review
				WHERE due_at <= $1 AND (due_at, repository_id, digest) > ($2, $3, $4)
				ORDER BY due_at, repository_id, digest LIMIT $5`, now, last.dueAt, last.repositoryID, string(last.digest), reviewPage)
			return err
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		if len(page) == 0 {
			break
		}
		did, err := s.reviewPage(ctx, page)
		failed = errors.Join(failed, err, r.add(ctx, did))
		last, more = page[len(page)-1], len(page) == reviewPage
	}
	return failed
}

// reviewPage reviews a page, those of one blob one after the other.
func (s *Service) reviewPage(ctx context.Context, page []review) (sum Collected, failed error) {
	byBlob := map[int64][]review{}
	for _, v := range page {
		byBlob[v.blobID] = append(byBlob[v.blobID], v)
	}
	work := make(chan []review)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(reviewers, len(byBlob)) {
		wg.Go(func() {
			for some := range work {
				for _, v := range some {
					if ctx.Err() != nil {
						break
					}
					did, err := s.review(ctx, v)
					mu.Lock()
					sum.add(did)
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, some := range byBlob {
		work <- some
	}
	close(work)
	wg.Wait()
	return sum, failed
}

// review decides about one digest of one repository, and about the blob behind
// it. It shares the repository's row, so that no image can come to refer to the
// layer meanwhile nor cease to, while pushes go on; then it holds the blob's row
// alone, so that nobody can come to use it. A blob that somebody is using at
// this moment, or that another node reviews, is left to the next run.
func (s *Service) review(ctx context.Context, v review) (did Collected, err error) {
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		did = Collected{}
		if _, err := exists(ctx, tx, `SELECT 1 FROM repository WHERE id = $1`+tx.ForShare(), v.repositoryID); err != nil {
			return err
		}
		referenced, err := IsReferenced(ctx, tx, v.repositoryID, v.digest)
		if err != nil {
			return err
		}
		if referenced {
			if did.Reviews, err = take(ctx, tx, v); err != nil || did.Reviews == 0 {
				return err
			}
			return s.replace(ctx, tx, v.blobID)
		}
		// The blob's row before the review's and the layer's: see the lock order of
		// domain/layer.
		var size int64
		var region, objectKey string
		var archived bool
		var seal []byte
		err = tx.QueryRow(ctx, `SELECT size, region, object_key, archived, seal FROM blob WHERE id = $1`+tx.SkipLocked(), v.blobID).Scan(&size, &region, &objectKey, &archived, &seal)
		if errors.Is(err, sqldb.ErrNoRows) {
			busy, err := exists(ctx, tx, `SELECT 1 FROM blob WHERE id = $1`, v.blobID)
			if err != nil || busy {
				return err
			}
			did.Reviews, err = take(ctx, tx, v)
			return err
		}
		if err != nil {
			return err
		}
		if did.Reviews, err = take(ctx, tx, v); err != nil || did.Reviews == 0 {
			return err
		}
		if did.Layers, err = tx.Exec(ctx, `DELETE FROM layer WHERE repository_id = $1 AND digest = $2`, v.repositoryID, string(v.digest)); err != nil {
			return err
		}
		if s.Removed != nil {
			tx.AfterCommit(func() { s.Removed(v.repositoryID) })
		}
		held, err := exists(ctx, tx, `SELECT 1 FROM layer WHERE blob_id = $1 LIMIT 1`, v.blobID)
		if err != nil {
			return err
		}
		if held {
			return s.replace(ctx, tx, v.blobID)
		}
		if !(blobstore.Object{Seal: seal}).Within() {
			if _, err := tx.Exec(ctx, `INSERT INTO garbage (region, object_key, due_at, archived, size) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (region, object_key) DO NOTHING`,
				region, objectKey, s.Clock.Now().UnixMicro(), archived, size); err != nil {
				return err
			}
		}
		did.Blobs, did.Bytes = 1, size
		_, err = tx.Exec(ctx, `DELETE FROM blob WHERE id = $1`, v.blobID)
		return err
	})
	if err != nil {
		return Collected{}, err
	}
	return did, nil
}

// take removes the review, unless the digest was pushed again, or reviewed by
// another node, since its row was read.
func take(ctx context.Context, tx *sqldb.Tx, v review) (int64, error) {
	return tx.Exec(ctx, `DELETE FROM layer_review WHERE repository_id = $1 AND digest = $2 AND due_at = $3`, v.repositoryID, string(v.digest), v.dueAt)
}

// IsReferenced looks for images that need the layer: those of the repository, and
// deleted ones that can be restored (domain/recovery).
func IsReferenced(ctx context.Context, tx *sqldb.Tx, repositoryID int64, d name.Digest) (bool, error) {
	return exists(ctx, tx, `SELECT 1 WHERE EXISTS (SELECT 1 FROM image_layer WHERE repository_id = $1 AND digest = $2)
		OR EXISTS (SELECT 1 FROM deleted_image_layer WHERE repository_id = $1 AND digest = $2)`, repositoryID, string(d))
}

// refers finds an image in the given state that refers to a blob.
const refers = `SELECT 1 FROM layer l JOIN image_layer r ON r.repository_id = l.repository_id AND r.digest = l.digest
	JOIN image i ON i.id = r.image_id WHERE l.blob_id = $1 AND `

// replace has the place of a blob looked at that lost one of its images, if those
// that are left are all archived. It looks for one that is not first: that is
// found at once, where an archived one may stand at the end of all the images
// that share a base layer. One that ceases to be active meanwhile has the place
// looked at itself.
func (s *Service) replace(ctx context.Context, tx *sqldb.Tx, blobID int64) error {
	useful, err := exists(ctx, tx, refers+`i.status <> 1 LIMIT 1`, blobID)
	if err != nil || useful {
		return err
	}
	archived, err := exists(ctx, tx, refers+`i.status = 1 LIMIT 1`, blobID)
	if err != nil || !archived {
		return err
	}
	return s.AskTx(ctx, tx, []int64{blobID})
}
