package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

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

// batch is how many images one transaction acts on, and one record names: ten or
// more images make several records (ECR user guide, "logging lifecycle policy
// actions").
const batch = 9

// reportAgain is how long images that could not be acted on are not recorded
// again; the policy may run after every push.
const reportAgain = evaluateAfter

// plan is what a policy does to a repository as it was at one moment.
type plan struct {
	policy  stored
	rules   *rules.Policy
	images  []selection.Image
	actions []selection.Action
	// pulls says whether the decision rests on pull times.
	pulls bool
}

// evaluate reads a repository and its images in one snapshot. text, if not nil, is
// evaluated in place of the stored policy.
func (s *Service) evaluate(ctx context.Context, r repository.Repository, text *string) (plan, error) {
	var p plan
	var o Options
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) (err error) {
		p = plan{}
		if text == nil {
			if p.policy, err = policyTx(ctx, tx, r); err != nil {
				return err
			}
		} else {
			p.policy.document = *text
		}
		if o, err = s.options(ctx, tx, r.ID); err != nil {
			return err
		}
		p.images, err = inventory(ctx, tx, r.ID)
		return err
	})
	if err != nil {
		return plan{}, err
	}
	if p.rules, err = rules.Parse(p.policy.document, o.grammar(), checked); err != nil {
		return plan{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	for _, rule := range p.rules.Rules {
		p.pulls = p.pulls || rule.Selection.CountType == rules.SinceImagePulled
	}
	p.actions = selection.Evaluate(p.rules, p.images, s.Clock.Now(), o.selection())
	return p, nil
}

// errUnreadable is a stored policy that the repository's grammar no longer takes.
var errUnreadable = errors.New("the repository's lifecycle policy cannot be used; put it again, or turn the setting lifecycle-extended on")

// errReplaced: the policy is another one than was evaluated.
var errReplaced = errors.New("lifecycle: the policy was replaced")

// run is one run of a policy.
func (s *Service) run(ctx context.Context, task jobs.Task) error {
	var t target
	if err := decode(task, &t); err != nil {
		return err
	}
	r, found, err := s.find(ctx, t)
	if err != nil || !found {
		return err
	}
	p, err := s.evaluate(ctx, r, nil)
	switch {
	case errs.Is(err, errs.LifecyclePolicyNotFound):
		return nil // deleted meanwhile
	case errors.Is(err, errUnreadable):
		s.Log.ErrorContext(ctx, "a lifecycle policy did not run", "repository", r.ARN().String(), "error", err)
		return nil
	case err != nil:
		return err
	}
	now := s.Clock.Now()
	report := p.policy.reportedAt == 0 || now.UnixMicro()-p.policy.reportedAt >= reportAgain.Microseconds()
	var done outcome
	for from := 0; from < len(p.actions); from += batch {
		if err := ctx.Err(); err != nil {
			return err
		}
		part, err := s.act(ctx, r, p, p.actions[from:min(from+batch, len(p.actions))], report)
		if errors.Is(err, errReplaced) || errs.Is(err, errs.RepositoryNotFound) {
			return nil // the other policy has its own run
		}
		if err != nil {
			return err
		}
		done.acted += part.acted
		done.refused += part.refused
		if err := task.Progress(ctx, int64(min(from+batch, len(p.actions))), int64(len(p.actions)), "images"); err != nil {
			return err
		}
	}
	if done.acted > 0 {
		s.Log.InfoContext(ctx, "a lifecycle policy has run", "repository", r.ARN().String(), "images", len(p.images), "acted_on", done.acted, "refused", done.refused)
	}
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		set := `evaluated_at = $2`
		if report {
			set += `, reported_at = $2`
		}
		_, err := tx.Exec(ctx, `UPDATE lifecycle_policy SET `+set+` WHERE repository_id = $1 AND policy_id = $3 AND version = $4`,
			r.ID, now.UnixMicro(), p.policy.id, p.policy.version)
		return err
	})
}

// outcome counts images.
type outcome struct{ acted, refused int }

// act carries out a few actions in one transaction, with their events. report says
// whether images that are refused are recorded.
func (s *Service) act(ctx context.Context, r repository.Repository, p plan, actions []selection.Action, report bool) (done outcome, err error) {
	err = s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		done = outcome{}
		locked, err := s.Repositories.Lock(ctx, tx, r)
		if err != nil {
			return err
		}
		now, err := policyTx(ctx, tx, locked)
		if errs.Is(err, errs.LifecyclePolicyNotFound) || (err == nil && (now.id != p.policy.id || now.version != p.policy.version)) {
			return errReplaced
		}
		if err != nil {
			return err
		}
		e := newExecution(r, p)
		for _, a := range actions {
			seen := p.images[a.Image]
			d, err := s.Images.FindTx(ctx, tx, locked, image.Ref{Digest: seen.Digest})
			if errs.Is(err, errs.ImageNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if changed(seen, d, p.pulls) {
				continue
			}
			reason, err := s.actOn(ctx, tx, locked, d, a)
			switch {
			case err != nil:
				return err
			case reason != "":
				done.refused++
				if report {
					e.refused(seen, a, reason)
				}
			default:
				done.acted++
				e.acted(seen, a)
			}
		}
		if e.empty() {
			return nil
		}
		return s.Outbox.Record(ctx, tx, event.Event{Registry: r.Registry, Kind: event.PolicyExecuted, OccurredAt: s.Clock.Now(), Detail: e})
	})
	return done, err
}

// changed says whether an image is another one than was evaluated, as far as a
// policy looks at it.
func changed(seen selection.Image, d image.Detail, pulls bool) bool {
	tags := make([]string, len(d.Tags))
	for n, t := range d.Tags {
		tags[n] = string(t)
	}
	return int(d.Status) != int(seen.Status) || !slices.Equal(tags, seen.Tags) ||
		!d.ArchivedAt.Equal(seen.LastArchivedAt) || !d.ActivatedAt.Equal(seen.LastActivatedAt) ||
		(pulls && !d.LastPulledAt.Equal(seen.LastPulledAt))
}

// actOn does one action. reason is why an index forbids it, "" when it is done.
func (s *Service) actOn(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d image.Detail, a selection.Action) (reason string, err error) {
	switch a.Type {
	case rules.Expire:
		_, failures, err := s.Images.DeleteTx(ctx, tx, r, []image.Ref{{Digest: d.Digest}})
		if err != nil || len(failures) == 0 {
			return "", err
		}
		return failures[0].Reason, nil
	case rules.Transition:
		err := s.Storage.ArchiveTx(ctx, tx, r, d, false)
		if f, ok := errors.AsType[image.Failure](err); ok {
			return f.Reason, nil
		}
		return "", err
	case rules.Untag:
		tags := make([]name.Tag, len(a.Tags))
		for n, t := range a.Tags {
			tags[n] = name.Tag(t)
		}
		return "", s.Images.UntagTx(ctx, tx, r, d.Digest, tags)
	case rules.Retain:
	}
	return "", fmt.Errorf("lifecycle: nothing to do for the action %q", a.Type)
}
