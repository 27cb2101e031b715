// Package tagged reads tags: those of images that a request names by their digests,
// before anything else of the request is looked at, for the condition key
// ecr:ImageTag; and all of a repository with what they stand for.
//
// It owns nothing and changes nothing; domain/image does. domain/authz decides
// what the key means.
package tagged

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// perStatement keeps a statement far below the engines' limits on placeholders.
const perStatement = 500

const tagsOfDigests = `SELECT DISTINCT t.tag FROM repository r JOIN image i ON i.repository_id = r.id JOIN image_tag t ON t.image_id = i.id
	WHERE r.account_id = $1 AND r.region = $2 AND r.name = $3 AND r.deleted_at = 0 AND i.digest IN `

// Reader reads tags.
type Reader struct{ Durable *sqldb.DB }

// Of returns the tags of the images with the digests, as clients wrote them, in
// any order. Images and repositories that are not there have none.
func (r Reader) Of(ctx context.Context, reg name.Registry, repo name.Repository, digests []string) ([]string, error) {
	var wanted []any
	for _, d := range digests {
		if name.LooksLikeDigest(d) { // nothing else is stored, and not every database could look for it
			wanted = append(wanted, d)
		}
	}
	if _, err := name.ParseRepository(string(repo)); err != nil || len(wanted) == 0 {
		return nil, nil
	}
	var tags []string
	err := r.Durable.View(ctx, func(tx *sqldb.Tx) error {
		tags = nil
		for from := 0; from < len(wanted); from += perStatement {
			batch := wanted[from:min(from+perStatement, len(wanted))]
			page, err := sqldb.Collect(ctx, tx, sqldb.One[string],
				tagsOfDigests+sqldb.In(4, len(batch)), append([]any{string(reg.Account), string(reg.Region), string(repo)}, batch...)...)
			if err != nil {
				return err
			}
			tags = append(tags, page...)
		}
		return nil
	})
	return tags, err
}

// Tag is a tag with the image that it stands for.
type Tag struct {
	Name name.Tag
	// SetAt is when it was given to the image.
	SetAt  time.Time
	Digest name.Digest
	// ArtifactType is "" for an image that says none.
	MediaType, ArtifactType string
	// Size is in bytes: of the image's blobs, or of the largest child.
	Size     int64
	PushedAt time.Time
}

const listTags = `SELECT t.tag, t.updated_at, i.digest, i.media_type, i.artifact_type, i.size, i.pushed_at
	FROM image_tag t JOIN image i ON i.id = t.image_id WHERE t.repository_id = $1 AND t.tag > $2 ORDER BY t.tag LIMIT $3`

// List returns up to limit tags of a repository, whatever the status of their images, that
// come after the given one in byte order; "" begins.
func (r Reader) List(ctx context.Context, repositoryID int64, after name.Tag, limit int) (tags []Tag, err error) {
	err = r.Durable.Lookup(ctx, func(tx *sqldb.Tx) (err error) {
		tags, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (t Tag, err error) {
			var set, pushed int64
			err = row.Scan(&t.Name, &set, &t.Digest, &t.MediaType, &t.ArtifactType, &t.Size, &pushed)
			t.SetAt, t.PushedAt = time.UnixMicro(set), time.UnixMicro(pushed)
			return t, err
		}, listTags, repositoryID, string(after), limit)
		return err
	})
	return tags, err
}
