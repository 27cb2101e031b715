package lifecycle

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The queries of an inventory. They are asked in one transaction, so that an image
// and its tags are of one moment; a tag that moves is on one image only.
const (
	inventoryImages   = `SELECT id, digest, pushed_at, archived_at, activated_at, status, subject FROM image WHERE repository_id = $1 ORDER BY id`
	inventoryTags     = `SELECT t.image_id, t.tag FROM image i JOIN image_tag t ON t.image_id = i.id WHERE i.repository_id = $1 AND i.tags > 0 ORDER BY t.image_id, t.tag`
	inventoryChildren = `SELECT c.image_id, c.digest FROM image_child c WHERE c.repository_id = $1`
	inventoryPulls    = `SELECT p.image_id, p.pulled_at FROM image i JOIN image_pull p ON p.image_id = i.id WHERE i.repository_id = $1`
)

// inventory reads all images of a repository as a policy sees them, in the order
// in which they were pushed.
func inventory(ctx context.Context, tx *sqldb.Tx, repositoryID int64) ([]selection.Image, error) {
	images, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (selection.Image, error) {
		var i selection.Image
		var digest, subject string
		var pushed, archived, activated int64
		err := row.Scan(&i.Order, &digest, &pushed, &archived, &activated, &i.Status, &subject)
		i.Digest, i.Subject = name.Digest(digest), name.Digest(subject)
		i.PushedAt, i.LastArchivedAt, i.LastActivatedAt = time.UnixMicro(pushed), at(archived), at(activated)
		return i, err
	}, inventoryImages, repositoryID)
	if err != nil || len(images) == 0 {
		return images, err
	}
	// Tags come in the order of the images.
	n := 0
	if err := each(ctx, tx, inventoryTags, repositoryID, func(id int64, tag string) {
		for n < len(images) && images[n].Order < id {
			n++
		}
		if n < len(images) && images[n].Order == id {
			images[n].Tags = append(images[n].Tags, tag)
		}
	}); err != nil {
		return nil, err
	}
	byID := make(map[int64]int, len(images))
	for k := range images {
		byID[images[k].Order] = k
	}
	if err := each(ctx, tx, inventoryChildren, repositoryID, func(id int64, digest string) {
		if k, ok := byID[id]; ok {
			images[k].Children = append(images[k].Children, name.Digest(digest))
		}
	}); err != nil {
		return nil, err
	}
	return images, each(ctx, tx, inventoryPulls, repositoryID, func(id, pulled int64) {
		if k, ok := byID[id]; ok {
			images[k].LastPulledAt = at(pulled)
		}
	})
}

// each calls fn with the two columns of every row of a query.
func each[A, B any](ctx context.Context, tx *sqldb.Tx, query string, repositoryID int64, fn func(A, B)) (err error) {
	rows, err := tx.Query(ctx, query, repositoryID)
	if err != nil {
		return err
	}
	for rows.Next() {
		var a A
		var b B
		if err := rows.Scan(&a, &b); err != nil {
			_ = rows.Close() // the scan's error is the one to report
			return err
		}
		fn(a, b)
	}
	if err := rows.Err(); err != nil {
		_ = rows.Close() // likewise
		return err
	}
	return rows.Close()
}

// at is a time in microseconds, the zero time for 0.
func at(t int64) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(t)
}
