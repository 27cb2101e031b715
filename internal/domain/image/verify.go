package image

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// verifyPage is how many manifests Verify holds in memory at once.
const verifyPage = 32

// stored is one manifest as Verify reads it.
type stored struct {
	row
	body   []byte
	layers int64 // blobs that the image names and the repository has not
	images int64 // children that the image names and the repository has not
}

const (
	verifyCount        = `SELECT count(*) FROM image`
	verifyRepositories = `SELECT account_id, region, name FROM repository WHERE (account_id, region, name) > ($1, $2, $3) ORDER BY account_id, region, name LIMIT 1`
	verifyImages       = `SELECT ` + rowColumns + `, m.body,
		(SELECT count(*) FROM image_layer l WHERE l.image_id = i.id AND NOT EXISTS (SELECT 1 FROM layer h WHERE h.repository_id = i.repository_id AND h.digest = l.digest)),
		(SELECT count(*) FROM image_child c WHERE c.image_id = i.id AND NOT EXISTS (SELECT 1 FROM image h WHERE h.repository_id = i.repository_id AND h.digest = c.digest))
		FROM image i JOIN manifest m ON m.image_id = i.id WHERE i.repository_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3`
)

// Verify opens every manifest and compares it with its digest, and looks for
// every layer and child that it names. It may run beside a serving registry.
// The error is that of the walk itself; what is wrong goes to report.
func (s *Service) Verify(ctx context.Context, progress func(done, total int64), report func(text string)) (done int64, err error) {
	var total int64
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error { return tx.QueryRow(ctx, verifyCount).Scan(&total) })
	if err != nil {
		return 0, err
	}
	var account, region, repo string
	for {
		found := false
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			rows, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
				return struct{}{}, row.Scan(&account, &region, &repo)
			}, verifyRepositories, account, region, repo)
			found = len(rows) > 0
			return err
		})
		if err != nil || !found {
			return done, err
		}
		r, err := s.Repositories.Get(ctx, name.Registry{Account: name.AccountID(account), Region: name.Region(region)}, name.Repository(repo))
		if errs.Is(err, errs.RepositoryNotFound) {
			continue // deleted meanwhile
		}
		if err != nil {
			return done, err
		}
		if err := s.verifyRepository(ctx, r, &done, func() { progress(done, total) }, report); err != nil {
			return done, err
		}
	}
}

func (s *Service) verifyRepository(ctx context.Context, r repository.Repository, done *int64, progress func(), report func(string)) error {
	var after int64
	for {
		var page []stored
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, func(scanner sqldb.Scanner) (stored, error) {
				var one stored
				var err error
				one.row, err = scanRow(scanTail{scanner, []any{&one.body, &one.layers, &one.images}})
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
func (s *Service) verifyOne(ctx context.Context, r repository.Repository, one stored) (wrong []string) {
	if one.layers > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of its layers are missing", one.layers))
	}
	if one.images > 0 {
		wrong = append(wrong, fmt.Sprintf("%d of its images are missing", one.images))
	}
	body, err := s.Repositories.Unseal(ctx, r, sealContext(one.digest), one.body)
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

// scanTail scans some columns more than its user knows of.
type scanTail struct {
	sqldb.Scanner
	tail []any
}

// Scan reads the columns into dest and the last ones apart.
func (s scanTail) Scan(dest ...any) error { return s.Scanner.Scan(append(dest, s.tail...)...) }
