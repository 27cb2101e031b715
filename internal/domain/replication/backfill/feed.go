package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/replication"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// feedBatch is how many images one transaction hands to the queue. It holds the
// repository meanwhile, which pushes wait for.
const feedBatch = 25

// item is one image with one of its tags.
type item struct {
	position     int64
	repositoryID int64
	repository   name.Repository
	digest       name.Digest
	tag          name.Tag
}

// feed hands the next images of one repository to the queue. more is false when
// the queue has enough of them, or all.
func (s *Service) feed(ctx context.Context, b Backfill) (more bool, err error) {
	room := min(maxOutstanding-b.outstanding, b.total-b.fed, feedBatch)
	if room <= 0 || b.failing() {
		return false, nil
	}
	chosen, err := s.selection(ctx, b)
	if err != nil {
		return false, err
	}
	if chosen == nil {
		return false, s.fail(ctx, b, replication.DestinationRemoved)
	}
	var items []item
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		items, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (i item, err error) {
			err = row.Scan(&i.position, &i.repositoryID, &i.repository, &i.digest, &i.tag)
			return i, err
		}, `SELECT position, repository_id, repository_name, digest, tag FROM replication_backfill_item WHERE backfill_id = $1 AND position > $2 ORDER BY position LIMIT $3`, b.number, b.fed, room)
		return err
	})
	if err != nil || len(items) == 0 {
		return false, err
	}
	if other := slices.IndexFunc(items, func(i item) bool { return i.repositoryID != items[0].repositoryID }); other > 0 {
		items = items[:other]
	}
	return true, s.update(ctx, func(tx *sqldb.Tx) error { return s.feedTx(ctx, tx, b, items) })
}

// feedTx hands images of one repository to the queue, which it holds, so that
// what it sees of their tags is still so when they are in the queue: those who
// move a tag hold it too, and have the queue send what they put there afterwards.
func (s *Service) feedTx(ctx context.Context, tx *sqldb.Tx, b Backfill, items []item) error {
	r, err := s.Repositories.Lock(ctx, tx, repository.Repository{ID: items[0].repositoryID, Registry: b.Registry, Name: items[0].repository})
	gone := errs.Is(err, errs.RepositoryNotFound)
	if err != nil && !gone {
		return err
	}
	var sent []item
	codes := b.codes
	failed := int64(0)
	for _, i := range items {
		code, sub := replication.RepositoryNotFound, ""
		if !gone {
			var d image.Detail
			if d, code, err = s.lookTx(ctx, tx, r, i.digest); err != nil {
				return err
			}
			if kind, _ := manifest.KindOf(d.MediaType); kind == manifest.KindIndex {
				sub = "[]"
			}
			if code == "" && !slices.Contains(d.Tags, i.tag) {
				i.tag = "" // it is another image's by now, or nobody's
			}
		}
		state := stateQueued
		if code != "" {
			state = stateFailed
			failed++
			codes = withCode(codes, code)
		} else {
			sent = append(sent, i)
		}
		if _, err := tx.Exec(ctx, `UPDATE replication_backfill_item SET state = $3, code = $4, sub_codes = $5, sent_tag = $6 WHERE backfill_id = $1 AND position = $2`,
			b.number, i.position, state, code, sub, string(i.tag)); err != nil {
			return err
		}
	}
	for _, i := range sent {
		if err := s.Queue.EnqueueTx(ctx, tx, r, b.Destination, i.digest, i.tag, b.ID); err != nil {
			return err
		}
	}
	// The backfill's own row comes last: who ends an image of the queue holds that
	// image's row there, and then asks for this one.
	now, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM replication_backfill WHERE id = $1`+tx.ForUpdate(), b.number))
	if errors.Is(err, sqldb.ErrNoRows) {
		return errMoved
	}
	if err != nil {
		return err
	}
	if now.Status != InProgress || now.failing() || now.fed != b.fed {
		return errMoved
	}
	for _, c := range codes {
		now.codes = withCode(now.codes, c)
	}
	list, err := json.Marshal(now.codes)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE replication_backfill SET fed = $2, outstanding = outstanding + $3, failed = failed + $4, failure_codes = $5 WHERE id = $1`,
		b.number, items[len(items)-1].position, len(sent), failed, string(list)); err != nil {
		return err
	}
	return s.settleTx(ctx, tx, b.number)
}

// lookTx finds an image that is to be sent; the code says why it cannot.
func (s *Service) lookTx(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) (image.Detail, string, error) {
	found, err := s.Images.FindTx(ctx, tx, r, image.Ref{Digest: d})
	if errs.Is(err, errs.ImageNotFound) {
		return image.Detail{}, replication.ImageNotFound, nil
	}
	if err == nil && found.Status != image.Active {
		return found, replication.ImageNotFound, nil
	}
	return found, "", err
}

// The states of an image of a backfill.
const (
	stateWaiting = iota
	stateQueued
	stateComplete
	stateFailed
)

// maxCodes bounds the list of a backfill's failure codes.
const maxCodes = 100

func withCode(codes []string, code string) []string {
	if slices.Contains(codes, code) || len(codes) >= maxCodes {
		return codes
	}
	return append(slices.Clone(codes), code)
}

// Wanted says whether an image of a backfill that is in the queue is to be sent,
// asked before that begins: with NotSent it is taken out of the queue, and DoneTx
// told so.
func (s *Service) Wanted(ctx context.Context, backfill string) (code string, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		code = ""
		var status Status
		err := tx.QueryRow(ctx, `SELECT status FROM replication_backfill WHERE uuid = $1`, backfill).Scan(&status)
		if errors.Is(err, sqldb.ErrNoRows) || err == nil && status == Stopping {
			code = NotSent
			return nil
		}
		return err
	})
	return code, err
}

// DoneTx says what became of an image that Queue.EnqueueTx was given for a
// backfill, in the transaction that ends it there. It is a replication.Config.Done;
// what it does not know, it ignores.
func (s *Service) DoneTx(ctx context.Context, tx *sqldb.Tx, d replication.Done) error {
	b, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM replication_backfill WHERE uuid = $1`+tx.ForUpdate(), d.Backfill))
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	state, codes := stateComplete, b.codes
	switch d.Code {
	case "":
	case NotSent:
		state = stateWaiting
	default:
		state, codes = stateFailed, withCode(codes, d.Code)
	}
	var once []string
	for _, c := range d.Sub {
		once = withCode(once, c)
	}
	sub, err := json.Marshal(append([]string{}, once...))
	if err != nil {
		return err
	}
	// More than one where the image has lost several tags.
	n, err := tx.Exec(ctx, `UPDATE replication_backfill_item SET state = $5, code = $6, sub_codes = CASE WHEN sub_codes = '' THEN '' ELSE $7 END
		WHERE backfill_id = $1 AND repository_name = $2 AND digest = $3 AND sent_tag = $4 AND state = 1`,
		b.number, string(d.Repository), string(d.Digest), string(d.Tag), state, d.Code, string(sub))
	if err != nil || n == 0 {
		return err
	}
	completed, failed := int64(0), int64(0)
	switch state {
	case stateComplete:
		completed = n
	case stateFailed:
		failed = n
	}
	list, err := json.Marshal(append([]string{}, codes...))
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE replication_backfill SET outstanding = outstanding - $2, completed = completed + $3, failed = failed + $4, failure_codes = $5 WHERE id = $1`,
		b.number, n, completed, failed, string(list)); err != nil {
		return err
	}
	if err := s.settleTx(ctx, tx, b.number); err != nil {
		return err
	}
	if left := b.outstanding - n; b.Status == InProgress && b.fed < b.total && left <= refillAt && (b.outstanding > refillAt || left <= 0) {
		return s.enqueue(ctx, tx, b.number)
	}
	return nil
}
