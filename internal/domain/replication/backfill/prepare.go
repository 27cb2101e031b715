package backfill

import (
	"context"
	"errors"
	"slices"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// pageSize is how many images, each with one of its tags, one transaction
	// writes down.
	pageSize = 500
	// repositoryPage is how many repositories are looked at at once.
	repositoryPage = 100
	// stepsPerRun bounds one run of the job: pages and batches, all of them
	// transactions. The next run goes on.
	stepsPerRun = 200
)

// errMoved says that the backfill is no longer where it was read: another run, on
// another node perhaps, works on it too, or it was stopped.
var errMoved = errors.New("the replication backfill went on elsewhere")

// run does the next steps of a backfill.
func (s *Service) run(ctx context.Context, t jobs.Task, p payload) error {
	for range stepsPerRun {
		b, err := s.byNumber(ctx, p.Backfill)
		if err != nil || b == nil {
			return err
		}
		if err := t.Progress(ctx, b.fed, b.total, string(b.Status)); err != nil {
			return err
		}
		more := false
		switch b.Status {
		case Preparing:
			more, err = s.prepare(ctx, *b)
		case InProgress:
			more, err = s.feed(ctx, *b)
		case Complete, Failed, Stopping, Stopped:
		}
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil || !more {
			return err
		}
	}
	return s.update(ctx, func(tx *sqldb.Tx) error { return s.enqueue(ctx, tx, p.Backfill) })
}

// byNumber reads a backfill; nil when it is not there any more.
func (s *Service) byNumber(ctx context.Context, number int64) (found *Backfill, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		found = nil
		b, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM replication_backfill WHERE id = $1`, number))
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		found = &b
		return err
	})
	return found, err
}

// prepare writes one page of the list down, or sees that it is complete. more is
// false when nothing is left to do for now.
func (s *Service) prepare(ctx context.Context, b Backfill) (more bool, err error) {
	chosen, err := s.selection(ctx, b)
	if err != nil {
		return false, err
	}
	if chosen == nil {
		return false, s.fail(ctx, b, replication.DestinationRemoved)
	}
	r, found, err := s.nextRepository(ctx, b, chosen)
	if err != nil {
		return false, err
	}
	if !found {
		return true, s.step(ctx, b, func(tx *sqldb.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE replication_backfill SET status = $2, prepared = $3 WHERE id = $1`, b.number, string(InProgress), true); err != nil {
				return err
			}
			return s.settleTx(ctx, tx, b.number)
		})
	}
	cursor := b.cursor
	if r.Name != b.repository {
		cursor = ""
	}
	refs, next, err := s.Images.List(ctx, r, image.ListQuery{Status: image.ActiveOnly, After: cursor, Limit: pageSize})
	if err != nil {
		return false, err
	}
	if refs, err = s.chosen(ctx, r, chosen.options, refs); err != nil {
		return false, err
	}
	return true, s.step(ctx, b, func(tx *sqldb.Tx) error {
		position := b.total
		for _, ref := range refs {
			position++
			if _, err := tx.Exec(ctx, `INSERT INTO replication_backfill_item (backfill_id, position, repository_id, repository_name, digest, tag, sent_tag) VALUES ($1, $2, $3, $4, $5, $6, $6)`,
				b.number, position, r.ID, string(r.Name), string(ref.Digest), string(ref.Tag)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE replication_backfill SET repository_name = $2, list_cursor = $3, total = $4 WHERE id = $1`, b.number, string(r.Name), string(next), position)
		return err
	})
}

// nextRepository finds the repository whose images are to be listed next: the one
// that the page before did not come to the end of, or the next that is to be sent.
func (s *Service) nextRepository(ctx context.Context, b Backfill, chosen *selection) (r repository.Repository, found bool, err error) {
	if b.cursor != "" {
		r, err = s.Repositories.Get(ctx, b.Registry, b.repository)
		if !errs.Is(err, errs.RepositoryNotFound) {
			return r, err == nil, err
		}
	}
	for after := b.repository; ; {
		all, err := s.Repositories.List(ctx, b.Registry, after, repositoryPage)
		if err != nil {
			return repository.Repository{}, false, err
		}
		for _, r := range all {
			if chosen.covers(r.Name) {
				return r, true, nil
			}
		}
		if len(all) < repositoryPage {
			return repository.Repository{}, false, nil
		}
		after = all[len(all)-1].Name
	}
}

// step runs fn in a transaction that holds the backfill, if it is still as it was
// read; errMoved if not.
func (s *Service) step(ctx context.Context, b Backfill, fn func(tx *sqldb.Tx) error) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		now, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM replication_backfill WHERE id = $1`+tx.ForUpdate(), b.number))
		if errors.Is(err, sqldb.ErrNoRows) {
			return errMoved
		}
		if err != nil {
			return err
		}
		if now.Status != b.Status || now.FailureCode != b.FailureCode || now.repository != b.repository || now.cursor != b.cursor || now.total != b.total || now.fed != b.fed {
			return errMoved
		}
		return fn(tx)
	})
}

// fail has the backfill fail as a whole, once what is under way has ended.
func (s *Service) fail(ctx context.Context, b Backfill, code string) error {
	s.Log.WarnContext(ctx, "a replication backfill cannot go on", "registry", b.Registry.String(), "destination", b.Destination.String(), "backfill", b.ID, "code", code)
	return s.step(ctx, b, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE replication_backfill SET failure_code = $2 WHERE id = $1`, b.number, code); err != nil {
			return err
		}
		return s.settleTx(ctx, tx, b.number)
	})
}

// selection says what a backfill sends.
type selection struct {
	configuration replication.Configuration
	options       replication.Options
	destination   name.Registry
}

// selection reads it; nil when the destination is not configured any more.
func (s *Service) selection(ctx context.Context, b Backfill) (*selection, error) {
	c, err := s.Queue.Get(ctx, b.Registry)
	if err != nil || !slices.Contains(c.Destinations(), b.Destination) {
		return nil, err
	}
	o, err := s.Queue.Options(ctx, b.Registry)
	if err != nil {
		return nil, err
	}
	return &selection{configuration: c, options: o[b.Destination], destination: b.Destination}, nil
}

func (c selection) covers(repo name.Repository) bool {
	return c.options.Covers(repo) && slices.Contains(c.configuration.For(repo), c.destination)
}

// maxSubjects bounds the way from a referrer to what it refers to in the end: a
// signature of an attestation of an image, and more than anybody has seen.
const maxSubjects = 8

// chosen are the images that the options let through, by their tag or because they
// refer to one that they let through.
func (s *Service) chosen(ctx context.Context, r repository.Repository, o replication.Options, refs []image.Ref) (chosen []image.Ref, err error) {
	if len(o.Tags) == 0 {
		return refs, nil
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		chosen = nil
		for _, ref := range refs {
			lets := o.Lets(ref.Tag)
			for d, hops := ref.Digest, 0; !lets && hops <= maxSubjects; hops++ {
				found, err := s.Images.FindTx(ctx, tx, r, image.Ref{Digest: d})
				if errs.Is(err, errs.ImageNotFound) {
					break
				}
				if err != nil {
					return err
				}
				if hops > 0 {
					lets = slices.ContainsFunc(found.Tags, o.Lets)
				}
				if d = found.Subject; d == "" {
					break
				}
			}
			if lets {
				chosen = append(chosen, ref)
			}
		}
		return nil
	})
	return chosen, err
}
