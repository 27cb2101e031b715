// Package tagged reads the tags of images that a request names by their digests,
// before anything else of the request is looked at: for the condition key
// ecr:ImageTag.
//
// It owns nothing and changes nothing; domain/image does. domain/authz decides
// what the key means.
package tagged

import (
	"context"

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
