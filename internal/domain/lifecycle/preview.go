package lifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// PreviewStatus says how far a preview is, in ECR's words.
type PreviewStatus string

// The statuses of a preview.
const (
	PreviewInProgress PreviewStatus = "IN_PROGRESS"
	PreviewComplete   PreviewStatus = "COMPLETE"
	// PreviewExpired: its results were too old and are gone.
	PreviewExpired PreviewStatus = "EXPIRED"
	PreviewFailed  PreviewStatus = "FAILED"
)

const (
	// previewLife is how long results are kept. ECR publishes no number.
	previewLife = 24 * time.Hour
	// previewStuck is when a preview in progress does not stand in the way of
	// another one any more.
	previewStuck = time.Hour
	// previewAttempts is how often a preview is tried before it has failed.
	previewAttempts = 5
)

// Preview is a repository's last preview.
type Preview struct {
	// Text is the policy as the caller gave it.
	Text   string
	Status PreviewStatus
	// Expiring and Transitioning count the images that the policy would act on.
	Expiring, Transitioning int64
}

// Previewed is one image that a policy would act on. Whether an index would keep
// it is seen when the policy runs.
type Previewed struct {
	Digest   name.Digest
	Tags     []string
	PushedAt time.Time
	Rule     int64
	Action   rules.ActionType
	// Archived says that the image is in the archive storage class.
	Archived bool
}

// PreviewQuery selects a page of results.
type PreviewQuery struct {
	// Refs names the images; then After and Limit are not looked at.
	Refs      []image.Ref
	TagStatus image.TagStatus
	// After is the position that the page before ended with; 0 begins.
	After int64
	Limit int
}

// previewPayload is the payload of JobPreview.
type previewPayload struct {
	target
	Preview int64 `json:"preview"`
}

// StartPreview begins to find out what a policy would do: the one given, or with
// nil the repository's. The preview before is replaced.
//
// errs.InvalidParameter for a text that is no policy, errs.LifecyclePolicyNotFound
// when there is none, errs.LifecyclePreviewInProgress.
func (s *Service) StartPreview(ctx context.Context, r repository.Repository, text *string) (p Preview, err error) {
	given := ""
	if text != nil {
		given = *text
	}
	limits, err := s.limits(ctx, r.Registry.Account, given)
	if err != nil {
		return Preview{}, err
	}
	err = s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		p = Preview{Status: PreviewInProgress}
		if text == nil {
			stored, err := policyTx(ctx, tx, locked)
			if err != nil {
				return err
			}
			p.Text = stored.document
		} else {
			o, err := s.options(ctx, tx, r.ID)
			if err != nil {
				return err
			}
			if _, err := rules.Parse(*text, o.grammar(), limits); err != nil {
				return err
			}
			p.Text = *text
		}
		now := s.Clock.Now()
		var busy int64
		err = tx.QueryRow(ctx, `SELECT count(*) FROM lifecycle_preview WHERE repository_id = $1 AND status = $2 AND started_at > $3`,
			r.ID, string(PreviewInProgress), now.Add(-previewStuck).UnixMicro()).Scan(&busy)
		if err != nil {
			return err
		}
		if busy > 0 {
			return errs.New(errs.LifecyclePreviewInProgress, "The previous lifecycle policy preview request for the repository with name '%s' in the registry with id '%s' has not completed. Wait and try again.",
				r.Name, r.Registry.Account)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM lifecycle_preview WHERE repository_id = $1`, r.ID); err != nil {
			return err
		}
		id := sqldb.NewID()
		if _, err := tx.Exec(ctx, `INSERT INTO lifecycle_preview (repository_id, preview_id, document, status, started_at) VALUES ($1, $2, $3, $4, $5)`,
			r.ID, id, p.Text, string(PreviewInProgress), now.UnixMicro()); err != nil {
			return err
		}
		return s.Jobs.Enqueue(ctx, tx, jobs.Job{
			Kind: JobPreview, UniqueKey: strconv.FormatInt(id, 10), MaxAttempts: previewAttempts,
			Payload: previewPayload{target: target{Registry: r.Registry, Repository: r.Name, ID: r.ID}, Preview: id},
		})
	})
	return p, err
}

// previewed is how many results one transaction writes; a whole number of batches.
const previewed = 50 * batch

// preview evaluates and writes the results down.
func (s *Service) preview(ctx context.Context, task jobs.Task) error {
	var in previewPayload
	if err := decode(task, &in); err != nil {
		return err
	}
	r, found, err := s.find(ctx, in.target)
	if err != nil || !found {
		return err
	}
	err = s.writePreview(ctx, r, in.Preview)
	if errors.Is(err, errReplaced) {
		return nil
	}
	if err == nil || (task.Attempt < previewAttempts && !errors.Is(err, errUnreadable)) {
		return err
	}
	s.Log.ErrorContext(ctx, "a preview of a lifecycle policy failed", "repository", r.ARN().String(), "error", err)
	return s.onPreview(ctx, r, in.Preview, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE lifecycle_preview SET status = $2 WHERE repository_id = $1`, r.ID, string(PreviewFailed))
		return err
	})
}

// onPreview runs fn in a transaction in which the preview is still the
// repository's; otherwise it returns errReplaced.
func (s *Service) onPreview(ctx context.Context, r repository.Repository, id int64, fn func(tx *sqldb.Tx) error) error {
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		var one int64
		err := tx.QueryRow(ctx, `SELECT 1 FROM lifecycle_preview WHERE repository_id = $1 AND preview_id = $2 AND status = $3`+tx.ForUpdate(), r.ID, id, string(PreviewInProgress)).Scan(&one)
		if errors.Is(err, sqldb.ErrNoRows) {
			return errReplaced
		}
		if err != nil {
			return err
		}
		return fn(tx)
	})
}

func (s *Service) writePreview(ctx context.Context, r repository.Repository, id int64) error {
	var text string
	err := s.onPreview(ctx, r, id, func(tx *sqldb.Tx) error {
		// What an attempt before has written is of another moment.
		if _, err := tx.Exec(ctx, `DELETE FROM lifecycle_preview_result WHERE repository_id = $1`, r.ID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT document FROM lifecycle_preview WHERE repository_id = $1`, r.ID).Scan(&text)
	})
	if err != nil {
		return err
	}
	p, err := s.evaluate(ctx, r, &text)
	if err != nil {
		return err
	}
	var expiring, transitioning int64
	for from := 0; from < len(p.actions); from += previewed {
		to := min(from+previewed, len(p.actions))
		err := s.onPreview(ctx, r, id, func(tx *sqldb.Tx) error {
			for n := from; n < to; n++ {
				a := p.actions[n]
				i := p.images[a.Image]
				tags, err := json.Marshal(append([]string{}, i.Tags...))
				if err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, `INSERT INTO lifecycle_preview_result (repository_id, position, digest, tags, pushed_at, rule, action, archived) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
					r.ID, n+1, string(i.Digest), string(tags), i.PushedAt.UnixMicro(), a.Rule, string(a.Type), int(i.Status) == int(image.Archived)); err != nil {
					return err
				}
			}
			for n := from; n < to; n += batch {
				if err := s.recordPreview(ctx, tx, r, p, p.actions[n:min(n+batch, to)]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, a := range p.actions[from:to] {
			switch a.Type {
			case rules.Expire:
				expiring++
			case rules.Transition:
				transitioning++
			case rules.Untag, rules.Retain:
			}
		}
	}
	return s.onPreview(ctx, r, id, func(tx *sqldb.Tx) error {
		if len(p.actions) == 0 {
			if err := s.recordPreview(ctx, tx, r, p, nil); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE lifecycle_preview SET status = $2, expiring = $3, transitioning = $4 WHERE repository_id = $1`,
			r.ID, string(PreviewComplete), expiring, transitioning)
		return err
	})
}

// recordPreview records what a policy would do to a few images.
func (s *Service) recordPreview(ctx context.Context, tx *sqldb.Tx, r repository.Repository, p plan, actions []selection.Action) error {
	e := newExecution(r, p)
	for _, a := range actions {
		e.acted(p.images[a.Image], a)
	}
	return s.Outbox.Record(ctx, tx, event.Event{Registry: r.Registry, Kind: event.PolicyPreviewed, OccurredAt: s.Clock.Now(), Detail: e})
}

const previewColumns = `SELECT position, digest, tags, pushed_at, rule, action, archived FROM lifecycle_preview_result WHERE repository_id = $1`

type previewRow struct {
	position int64
	Previewed
}

func scanPreviewed(row sqldb.Scanner) (p previewRow, err error) {
	var digest, tags, action string
	var pushed int64
	if err := row.Scan(&p.position, &digest, &tags, &pushed, &p.Rule, &action, &p.Archived); err != nil {
		return previewRow{}, err
	}
	p.Digest, p.PushedAt, p.Action = name.Digest(digest), time.UnixMicro(pushed), rules.ActionType(action)
	return p, json.Unmarshal([]byte(tags), &p.Tags)
}

// Preview reads the repository's last preview and a page of its results, oldest
// image first; next is 0 on the last page. While the preview is in progress there
// are no results.
//
// errs.LifecyclePreviewNotFound when there never was one.
func (s *Service) Preview(ctx context.Context, r repository.Repository, q PreviewQuery) (p Preview, results []Previewed, next int64, err error) {
	err = s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		p, results, next = Preview{}, nil, 0
		var status string
		err := tx.QueryRow(ctx, `SELECT document, status, expiring, transitioning FROM lifecycle_preview WHERE repository_id = $1`, r.ID).Scan(&p.Text, &status, &p.Expiring, &p.Transitioning)
		if errors.Is(err, sqldb.ErrNoRows) {
			return errs.New(errs.LifecyclePreviewNotFound, "There is no dry run for the repository with name '%s' in the registry with id '%s'", r.Name, r.Registry.Account)
		}
		if err != nil {
			return err
		}
		if p.Status = PreviewStatus(status); p.Status != PreviewComplete {
			return nil
		}
		if len(q.Refs) > 0 {
			results, err = s.named(ctx, tx, r, q)
			return err
		}
		query := previewColumns + ` AND position > $2`
		switch q.TagStatus {
		case image.AnyTags:
		case image.Tagged:
			query += ` AND tags <> '[]'`
		case image.Untagged:
			query += ` AND tags = '[]'`
		}
		rows, err := sqldb.Collect(ctx, tx, scanPreviewed, query+` ORDER BY position LIMIT $3`, r.ID, q.After, q.Limit+1)
		if err != nil {
			return err
		}
		if len(rows) > q.Limit {
			rows = rows[:q.Limit]
			next = rows[q.Limit-1].position
		}
		for _, row := range rows {
			results = append(results, row.Previewed)
		}
		return nil
	})
	return p, results, next, err
}

// named finds the results of the images asked for, by digest, or by a tag that the
// image had when it was looked at. An image without a result is passed over.
func (s *Service) named(ctx context.Context, tx *sqldb.Tx, r repository.Repository, q PreviewQuery) ([]Previewed, error) {
	var out []Previewed
	for _, ref := range q.Refs {
		d := ref.Digest
		if d == "" {
			i, err := s.Images.FindTx(ctx, tx, r, ref)
			if errs.Is(err, errs.ImageNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			d = i.Digest
		}
		rows, err := sqldb.Collect(ctx, tx, scanPreviewed, previewColumns+` AND digest = $2`, r.ID, string(d))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			if tagged := len(row.Tags) > 0; q.TagStatus == image.AnyTags || tagged == (q.TagStatus == image.Tagged) {
				out = append(out, row.Previewed)
			}
		}
	}
	return out, nil
}

// expirePreviews removes the results of previews that are too old.
func (s *Service) expirePreviews(ctx context.Context) error {
	before := s.Clock.Now().Add(-previewLife).UnixMicro()
	for {
		var ids []int64
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
			var err error
			ids, err = sqldb.Collect(ctx, tx, sqldb.One[int64],
				`SELECT repository_id FROM lifecycle_preview WHERE started_at < $1 AND status <> $2 ORDER BY started_at LIMIT 100`, before, string(PreviewExpired))
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			err := s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
				if _, err := tx.Exec(ctx, `UPDATE lifecycle_preview SET status = $3, expiring = 0, transitioning = 0 WHERE repository_id = $1 AND started_at < $2`, id, before, string(PreviewExpired)); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, `DELETE FROM lifecycle_preview_result WHERE repository_id = $1`, id)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
}
