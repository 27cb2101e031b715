package lifecycle

import (
	"context"
	"strconv"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// followers is the payload of JobReferrers.
type followers struct {
	target
	Subject name.Digest `json:"subject"`
}

// enqueueFollowers has the referrers of a subject follow it (ECR user guide: within
// 24 hours; here after the delay).
func (s *Service) enqueueFollowers(ctx context.Context, tx *sqldb.Tx, t target, subject name.Digest) error {
	return s.Jobs.Enqueue(ctx, tx, jobs.Job{
		Kind: JobReferrers, UniqueKey: strconv.FormatInt(t.ID, 10) + "/" + string(subject), RunAt: s.Clock.Now().Add(s.Delay),
		Payload: followers{target: t, Subject: subject},
	})
}

// followersPage is how many referrers one transaction acts on.
const followersPage = 20

// followSubject does to the referrers of an image what was done to it: it looks at
// what the subject is now, so that one that was pushed again keeps its referrers.
func (s *Service) followSubject(ctx context.Context, task jobs.Task) error {
	var f followers
	if err := decode(task, &f); err != nil {
		return err
	}
	r, found, err := s.find(ctx, f.target)
	if err != nil || !found {
		return err
	}
	var after int64
	for {
		more, last := false, after
		err := s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
			more, last = false, after
			locked, err := s.Repositories.Lock(ctx, tx, r)
			if err != nil {
				return err
			}
			subject, err := s.Images.FindTx(ctx, tx, locked, image.Ref{Digest: f.Subject})
			gone := errs.Is(err, errs.ImageNotFound)
			if err != nil && !gone {
				return err
			}
			type referrer struct {
				id     int64
				digest name.Digest
			}
			page, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (f referrer, err error) {
				var digest string
				err = row.Scan(&f.id, &digest)
				f.digest = name.Digest(digest)
				return f, err
			}, `SELECT id, digest FROM image WHERE repository_id = $1 AND subject = $2 AND subject <> '' AND id > $3 ORDER BY id LIMIT $4`, locked.ID, string(f.Subject), after, followersPage)
			if err != nil {
				return err
			}
			for _, one := range page {
				if err := s.follow(ctx, tx, locked, one.digest, gone, subject.Status); err != nil {
					return err
				}
				last = one.id
			}
			more = len(page) == followersPage
			return nil
		})
		if errs.Is(err, errs.RepositoryNotFound) || (err == nil && !more) {
			return nil
		}
		if err != nil {
			return err
		}
		after = last
	}
}

// follow does to one referrer what was done to its subject, which is gone or in
// the status now.
func (s *Service) follow(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest, gone bool, now image.Status) error {
	detail, err := s.Images.FindTx(ctx, tx, r, image.Ref{Digest: d})
	if err != nil {
		return err
	}
	switch {
	case gone:
		// An index that names the referrer keeps it; nobody waits for an answer.
		_, _, err = s.Images.DeleteTx(ctx, tx, r, []image.Ref{{Digest: d}})
	case now == image.Archived:
		if err = s.Storage.ArchiveTx(ctx, tx, r, detail, true); errs.Is(err, errs.StorageClassRefused) {
			err = nil
		}
	case now == image.Active:
		err = s.Storage.RestoreTx(ctx, tx, r, detail, true)
	}
	return err
}
