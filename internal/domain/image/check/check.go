// Package check is the part of fsck that looks at images: that every manifest can
// be opened, is what its digest says, and finds what it names.
//
// It owns nothing and changes nothing; domain/image does.
package check

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// verifyPage is how many manifests Verify holds in memory at once.
const verifyPage = 32

// stored is one manifest as Verify reads it.
type stored struct {
	id        int64
	digest    name.Digest
	mediaType string

	body   []byte
	layers int64 // blobs that the image names and the repository has not
	images int64 // children that the image names and the repository has not
}

const (
	verifyCount        = `SELECT count(*) FROM image`
	verifyRepositories = `SELECT id FROM repository WHERE id > $1 ORDER BY id LIMIT 1` // deleted ones that can be restored too
	verifyImages       = `SELECT i.id, i.digest, i.media_type, m.body,
		(SELECT count(*) FROM image_layer l WHERE l.image_id = i.id AND NOT EXISTS (SELECT 1 FROM layer h WHERE h.repository_id = i.repository_id AND h.digest = l.digest)),
		(SELECT count(*) FROM image_child c WHERE c.image_id = i.id AND NOT i.sparse AND NOT EXISTS (SELECT 1 FROM image h WHERE h.repository_id = i.repository_id AND h.digest = c.digest))
		FROM image i JOIN manifest m ON m.image_id = i.id WHERE i.repository_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3`
)

// Service checks images.
type Service struct {
	Durable      *sqldb.DB
	Repositories *repository.Service
}

// Verify opens every manifest and compares it with its digest, and looks for
// every layer and child that it names. It may run beside a serving registry.
// The error is that of the walk itself; what is wrong goes to report.
func (s Service) Verify(ctx context.Context, progress func(done, total int64), report func(text string)) (done int64, err error) {
	var total int64
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, verifyCount).Scan(&total) })
	if err != nil {
		return 0, err
	}
	for last := int64(0); ; {
		var next []int64
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) (err error) {
			next, err = sqldb.Collect(ctx, tx, sqldb.One[int64], verifyRepositories, last)
			return err
		})
		if err != nil || len(next) == 0 {
			return done, err
		}
		last = next[0]
		r, err := s.Repositories.Stored(ctx, last)
		if errs.Is(err, errs.RepositoryNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return done, err
		}
		if err := s.verifyRepository(ctx, r, &done, func() { progress(done, total) }, report); err != nil {
			return done, err
		}
	}
}

func (s Service) verifyRepository(ctx context.Context, r repository.Repository, done *int64, progress func(), report func(string)) error {
	var after int64
	for {
		var page []stored
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, func(scanner sqldb.Scanner) (stored, error) {
				var one stored
				var digest string
				err := scanner.Scan(&one.id, &digest, &one.mediaType, &one.body, &one.layers, &one.images)
				one.digest = name.Digest(digest)
				return one, err
			}, verifyImages, r.ID, after, verifyPage)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, one := range page {
			for _, text := range s.verifyOne(ctx, r, one) {
				report(fmt.Sprintf("image %s in repository %s of registry %s: %s", one.digest, r.Name, r.Registry, text))
			}
			*done++
			after = one.id
		}
		progress()
	}
}

// verifyOne says what is wrong with one image.
func (s Service) verifyOne(ctx context.Context, r repository.Repository, one stored) (wrong []string) {
	if one.layers > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of its layers are missing", one.layers))
	}
	if one.images > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of its images are missing", one.images))
	}
	body, err := s.Repositories.Unseal(ctx, r, image.SealContext(one.digest), one.body)
	if err != nil {
		return append(wrong, "its manifest cannot be opened: "+err.Error())
	}
	m, err := manifest.Parse(body, one.mediaType, manifest.Limits{})
	if err != nil {
		return append(wrong, "its manifest cannot be read: "+err.Error())
	}
	if got := one.digest.DigestOf(m.Canonical); got != one.digest {
		wrong = append(wrong, "its manifest has the digest "+string(got))
	}
	return wrong
}
