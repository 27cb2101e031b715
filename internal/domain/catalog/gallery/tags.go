package gallery

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The queries of Tags: images from the one that was pushed last, by their numbers, and each
// one's tags in byte order. Without a text, the images of a page, of which each has an entry at
// least, save the first that may have had all of them on the page before, are found before
// their tags are looked for.
const (
	tagColumns = `i.id, t.tag, i.digest, i.media_type, i.artifact_type, i.size, i.pushed_at, t.updated_at, COALESCE(p.platforms, '')`
	tagOrder   = ` ORDER BY i.id DESC, t.tag LIMIT $4`
	allTags    = `SELECT ` + tagColumns + ` FROM (SELECT * FROM image WHERE repository_id = $1 AND tags > 0 AND status = 0 AND id <= $2 ORDER BY id DESC LIMIT $4 + 1) i
		JOIN image_tag t ON t.image_id = i.id LEFT JOIN catalog_platform p ON p.repository_id = $1 AND p.digest = i.digest WHERE (i.id < $2 OR t.tag > $3)` + tagOrder
	tagsLike = `SELECT ` + tagColumns + ` FROM image i JOIN image_tag t ON t.image_id = i.id LEFT JOIN catalog_platform p ON p.repository_id = $1 AND p.digest = i.digest
		WHERE i.repository_id = $1 AND i.tags > 0 AND i.status = 0 AND t.repository_id = $1 AND i.id <= $2 AND (i.id < $2 OR t.tag > $3) AND lower(t.tag) LIKE $5 ESCAPE '\'` + tagOrder
)

// Tags lists tags of a repository, of which the ID is looked at, those of the image that was
// pushed last first, and of one image in byte order. next is "" on the last page.
// errs.InvalidParameter.
func (s *Service) Tags(ctx context.Context, r Repository, q TagQuery) (tags []Tag, next string, err error) {
	if q.Limit < 1 || q.Limit > MaxLimit {
		return nil, "", errs.Parameter("limit", "must be from 1 to "+strconv.Itoa(MaxLimit))
	}
	image, tag, err := parseCursor(q.After)
	if err != nil {
		return nil, "", err
	}
	query, args := allTags, []any{r.ID, image, string(tag), q.Limit + 1}
	if q.Text != "" {
		pattern, ok := like(q.Text)
		if !ok {
			return nil, "", nil
		}
		query, args = tagsLike, append(args, pattern)
	}
	type row struct {
		image int64
		Tag
	}
	var rows []row
	err = s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		rows, err = sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (one row, err error) {
			var pushed, created int64
			var platforms string
			err = from.Scan(&one.image, &one.Name, &one.Digest, &one.MediaType, &one.ArtifactType, &one.Size, &pushed, &created, &platforms)
			one.PushedAt, one.CreatedAt = time.UnixMicro(pushed), time.UnixMicro(created)
			if err != nil || platforms == "" {
				return one, err
			}
			one.Platforms, err = catalog.ParseNames(platforms)
			return one, err
		}, query, args...)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	if len(rows) > q.Limit {
		rows = rows[:q.Limit]
		last := rows[q.Limit-1]
		next = strconv.FormatInt(last.image, 36) + ":" + string(last.Name)
	}
	for _, one := range rows {
		tags = append(tags, one.Tag)
	}
	return tags, next, nil
}

// parseCursor reads where a page ended.
func parseCursor(after string) (image int64, tag name.Tag, err error) {
	if after == "" {
		return math.MaxInt64, "", nil
	}
	number, rest, ok := strings.Cut(after, ":")
	image, err = strconv.ParseInt(number, 36, 64)
	if err == nil && ok && image > 0 {
		if tag, err = name.ParseTag(rest); err == nil {
			return image, tag, nil
		}
	}
	return 0, "", errs.Parameter("nextToken", "Invalid token")
}

// like is the pattern of a part of a tag, and false for what no tag has in it.
func like(part string) (pattern string, ok bool) {
	part = strings.ToLower(part)
	if _, err := name.ParseTag("a" + part); err != nil {
		return "", false
	}
	return "%" + strings.ReplaceAll(part, "_", `\_`) + "%", true
}
