package image

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Referrer is an image that names another as its subject.
type Referrer struct {
	Digest       name.Digest
	MediaType    string
	ArtifactType string
	// Size is the length of its manifest in bytes.
	Size        int64
	Annotations map[string]string
	Status      Status
}

// ReferrersQuery selects a page of Referrers.
type ReferrersQuery struct {
	// ArtifactTypes keeps referrers of one of these types; none keeps all.
	ArtifactTypes []string
	Status        StatusFilter
	After         Cursor
	// Limit is the number of entries of a page, at least 1.
	Limit int
}

// maxReferrerBytes bounds the annotations of one page: they are the client's
// and may fill a manifest each. A page has at least one entry all the same.
const maxReferrerBytes = 2 << 20

const (
	referrers      = `SELECT i.id, i.digest, i.media_type, i.artifact_type, i.manifest_size, i.annotations, i.status FROM image i WHERE i.repository_id = $1 AND i.subject = $2 AND i.subject <> '' AND i.id > $3`
	referrersOrder = ` ORDER BY i.id LIMIT $4`
)

// Referrers lists the images of the repository whose subject is the digest. The
// subject itself need not be there; no referrers is no failure. A page may be
// shorter than the limit although there is a next one; next is "" on the last
// page.
func (s *Service) Referrers(ctx context.Context, r repository.Repository, subject name.Digest, q ReferrersQuery) (found []Referrer, next Cursor, err error) {
	after, err := q.After.position()
	if err != nil || subject == "" {
		return nil, "", err
	}
	query, args := referrers, []any{r.ID, string(subject), after.image, q.Limit + 1}
	if len(q.ArtifactTypes) > 0 {
		for _, t := range q.ArtifactTypes {
			if storable(t) {
				args = append(args, t)
			}
		}
		if len(args) == 4 {
			return nil, "", nil
		}
		query += ` AND i.artifact_type IN ` + sqldb.In(5, len(args)-4)
	}
	err = s.Durable.Lookup(ctx, func(tx *sqldb.Tx) error {
		found, next = nil, ""
		rows, err := tx.Query(ctx, query+q.Status.condition()+referrersOrder, args...)
		if err != nil {
			return err
		}
		found, next, err = readReferrers(rows, q.Limit)
		return errors.Join(err, rows.Close())
	})
	if err != nil {
		return nil, "", err
	}
	return found, next, nil
}

// storable says whether the database could hold the text; what it cannot hold is
// equal to nothing in it.
func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// readReferrers reads rows up to the limits of a page; rows that are left mean
// that there is a next one.
func readReferrers(rows *sqldb.Rows, limit int) (found []Referrer, next Cursor, err error) {
	var last int64
	size := 0
	for rows.Next() {
		var f Referrer
		var id int64
		var digest, annotations string
		if err := rows.Scan(&id, &digest, &f.MediaType, &f.ArtifactType, &f.Size, &annotations, &f.Status); err != nil {
			return nil, "", err
		}
		size += len(annotations)
		if len(found) == limit || (len(found) > 0 && size > maxReferrerBytes) {
			return found, position{image: last}.cursor(), nil
		}
		f.Digest, last = name.Digest(digest), id
		if annotations != "" {
			if err := json.Unmarshal([]byte(annotations), &f.Annotations); err != nil {
				return nil, "", err
			}
		}
		found = append(found, f)
	}
	return found, "", rows.Err()
}
