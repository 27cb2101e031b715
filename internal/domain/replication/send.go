package replication

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The kinds of work.
const (
	// JobSend and JobBackfill do a lane.
	JobSend     = "replication.send"
	JobBackfill = "replication.send.backfill"
	// JobRetry has a lane done again after a pause.
	JobRetry = "replication.retry"
	// JobSweep finds lanes that nobody does: those that were put off while their
	// region could not be reached.
	JobSweep = "replication.sweep"

	sweepPeriod = 15 * time.Second
	// sweepPage is how many items one transaction of a sweep looks at.
	sweepPage = 500
	// laneLimit bounds one run of a lane. What is left is found by the next sweep.
	laneLimit = 12 * time.Hour
	// tryLimit bounds the tries of what mostly passes at once and may be for ever.
	tryLimit = 8
)

func (s *Service) register() {
	do := func(ctx context.Context, t jobs.Task) error {
		var l lane
		if err := json.Unmarshal(t.Payload, &l); err != nil {
			return jobs.Permanent(err)
		}
		return s.doLane(ctx, t, l)
	}
	s.Jobs.Handle(JobSend, jobs.Handler{Timeout: laneLimit, Workers: s.Workers, Run: do})
	s.Jobs.Handle(JobBackfill, jobs.Handler{Timeout: laneLimit, Workers: max(s.Workers/2, 1), Run: do})
	s.Jobs.Handle(JobRetry, jobs.Handler{Workers: 2, Run: func(ctx context.Context, t jobs.Task) error {
		var l lane
		if err := json.Unmarshal(t.Payload, &l); err != nil {
			return jobs.Permanent(err)
		}
		return s.Durable.Update(ctx, func(tx *sqldb.Tx) error { return s.enqueueLane(ctx, tx, l) })
	}})
	s.Jobs.Handle(JobSweep, jobs.Handler{Workers: 1, Run: func(ctx context.Context, t jobs.Task) error {
		var only *name.Region
		if err := json.Unmarshal(t.Payload, &only); err != nil {
			return jobs.Permanent(err)
		}
		return s.sweep(ctx, only)
	}})
	s.Jobs.Every(JobSweep, sweepPeriod)
}

// outcome is what has become of an item.
type outcome struct {
	// code says why it has failed for good, sub the same of images that it names.
	code string
	sub  []string
	// dropped says that its destination is not configured any more, or, with a code,
	// that its backfill does not want it.
	dropped bool
	// follow says that what refers to the image is to be looked for.
	follow bool
	// tell says that the failure is to be recorded here: the destination does not
	// know of it.
	tell bool
}

// doLane does a lane's items, one after the other.
func (s *Service) doLane(ctx context.Context, t jobs.Task, l lane) error {
	for {
		i, found, next, err := s.first(ctx, l)
		if err != nil {
			return err
		}
		if !found {
			return s.again(ctx, l, next)
		}
		code, err := s.unwanted(ctx, i)
		if err != nil {
			return err
		}
		if code != "" {
			if err := s.finish(ctx, i, outcome{dropped: true, code: code}); err != nil {
				return err
			}
			continue
		}
		if !s.gates.enter(i.Destination.Region, s.Clock.Now()) {
			if !s.late(i) {
				return nil // a sweep comes for it
			}
			err = s.fail(ctx, i, DestinationUnavailable, nil, nil)
		} else {
			err = s.tryItem(ctx, t, i)
		}
		if err != nil {
			return err
		}
	}
}

// unwanted is the code to end an item with that was not begun, and that its backfill,
// which was stopped, does not want any more; "" for all others.
func (s *Service) unwanted(ctx context.Context, i item) (string, error) {
	if i.backfill == "" || i.attempts > 0 || s.Wanted == nil {
		return "", nil
	}
	return s.Wanted(ctx, i.backfill)
}

// again has a lane done at the time, in microseconds, where that is not 0.
func (s *Service) again(ctx context.Context, l lane, at int64) error {
	if at == 0 {
		return nil
	}
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobRetry, UniqueKey: l.key(), Payload: l, RunAt: time.UnixMicro(at), MaxAttempts: maxAttempts})
	})
}

// late says whether the item has been tried for long enough.
func (s *Service) late(i item) bool {
	return s.Clock.Now().Sub(time.UnixMicro(i.queuedAt)) >= s.GiveUp
}

// tryItem tries an item, whose gate it leaves, and writes down what came of it.
func (s *Service) tryItem(ctx context.Context, t jobs.Task, i item) error {
	region := i.Destination.Region
	c := &carriage{Service: s, task: t, item: i}
	o, err := c.carry(ctx)
	if ctx.Err() != nil {
		s.gates.release(region)
		return context.Cause(ctx)
	}
	v := judge(err)
	switch {
	case v.here || o.dropped: // it says nothing about the region
		s.gates.release(region)
	case s.gates.leave(region, !v.unreachable, s.Clock.Now()):
		s.Log.InfoContext(ctx, "a region can be replicated to again", "region", region)
		if err := s.wake(ctx, region); err != nil {
			return err
		}
	}
	log := s.Log.With("repository", i.source.RepositoryARN(i.repository).String(), "digest", i.digest, "tag", i.tag, "destination", i.Destination.String())
	switch {
	case err == nil:
		return s.finish(ctx, i, o)
	case v.lasting || s.late(i) || v.limited && i.attempts+1 >= tryLimit:
		log.WarnContext(ctx, "an image was not replicated", "failure", v.code, "attempts", i.attempts+1, "error", err)
		return s.fail(ctx, i, v.code, c.sub(err), c.dest)
	}
	log.InfoContext(ctx, "an image could not be replicated and is tried again", "attempts", i.attempts+1, "error", err)
	return s.putOff(ctx, i)
}

// putOff has the item wait for its next try.
func (s *Service) putOff(ctx context.Context, i item) error {
	pause := min(firstPause<<min(i.attempts, 16), longestPause)
	at := s.Clock.Now().Add(pause/2 + rand.N(pause/2))
	// Before that it would not be let through, and would wait for a sweep.
	if opens := s.gates.opens(i.Destination.Region); at.Before(opens) {
		at = opens.Add(time.Millisecond)
	}
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE replication_item SET attempts = attempts + 1, next_at = $2 WHERE id = $1`, i.id, at.UnixMicro())
		return err
	})
}

// fail ends an item that was not copied. The destination is told, or where it
// cannot be, the source's own events.
func (s *Service) fail(ctx context.Context, i item, code string, sub []string, to Destination) error {
	o := outcome{code: code, sub: sub, tell: !i.removal}
	if to != nil && !i.removal && code != DestinationUnavailable {
		err := to.Failed(ctx, i.place(), Manifest{Digest: i.digest, Tag: i.tag, Seq: i.seq}, code)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.tell = err != nil
	}
	return s.finish(ctx, i, o)
}

// wake has everything that waits for a region done now.
func (s *Service) wake(ctx context.Context, r name.Region) error {
	return s.Durable.Update(ctx, func(tx *sqldb.Tx) error {
		return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobSweep, UniqueKey: string(r), Payload: r})
	})
}

// sweep enqueues the lanes that wait, all of one region, or the first of each.
// While a region cannot be reached, one is enough to try it.
func (s *Service) sweep(ctx context.Context, only *name.Region) error {
	for to := (name.Registry{}); ; {
		var found bool
		err := s.Durable.View(ctx, func(tx *sqldb.Tx) (err error) {
			to, found, err = nextDestination(ctx, tx, to)
			return err
		})
		if err != nil || !found {
			return err
		}
		now := s.Clock.Now()
		if only != nil && to.Region != *only || s.gates.isShut(to.Region, now) && only == nil && !s.anyLate(ctx, to, now) {
			continue
		}
		if err := s.sweepLanes(ctx, to, only != nil); err != nil {
			return err
		}
	}
}

// anyLate says whether an item for the destination has waited for too long.
func (s *Service) anyLate(ctx context.Context, to name.Registry, now time.Time) bool {
	var late bool
	err := s.Durable.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM replication_item WHERE to_account = $1 AND to_region = $2 AND queued_at <= $3)`,
			string(to.Account), string(to.Region), now.Add(-s.GiveUp).UnixMicro()).Scan(&late)
	})
	return err != nil || late // when in doubt, look
}

// sweepLanes enqueues the lanes of the oldest items for a destination that may be
// tried now, or of all.
func (s *Service) sweepLanes(ctx context.Context, to name.Registry, all bool) error {
	var last item
	for {
		var page []item
		err := s.Durable.Update(ctx, func(tx *sqldb.Tx) (err error) {
			page, err = sqldb.Collect(ctx, tx, scanItem, `SELECT `+itemColumns+` FROM replication_item
				WHERE to_account = $1 AND to_region = $2 AND (queued_at, id) > ($3, $4) ORDER BY queued_at, id LIMIT $5`,
				string(to.Account), string(to.Region), last.queuedAt, last.id, sweepPage)
			if err != nil {
				return err
			}
			seen := map[lane]bool{}
			for _, i := range page {
				if seen[i.lane] || i.nextAt > s.Clock.Now().UnixMicro() {
					continue
				}
				seen[i.lane] = true
				if err := s.enqueueLane(ctx, tx, i.lane); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || !all || len(page) < sweepPage {
			return err
		}
		last = page[len(page)-1]
	}
}

// verdict is what a failure means for its item.
type verdict struct {
	code string
	// lasting: no later try mends it. limited: a few may.
	lasting, limited bool
	// unreachable: nothing else can be brought to the region either. here: it has
	// nothing to do with the destination.
	unreachable, here bool
}

// judge says what a failure means.
func judge(err error) verdict {
	var own *sourceError
	atSource := errors.As(err, &own)
	switch code := errs.CodeOf(err); {
	case err == nil:
		return verdict{}
	case atSource && own.code != "":
		return verdict{code: own.code, lasting: true, here: true}
	case atSource && code == errs.KeyFailure:
		return verdict{code: KmsError, lasting: true, here: true}
	case atSource:
		return verdict{code: InternalFailure, here: true}
	default:
		return judgeDestination(code)
	}
}

// judgeDestination says what a failure at the destination means.
func judgeDestination(code errs.Code) verdict {
	is := func(codes ...errs.Code) bool {
		for _, c := range codes {
			if c == code {
				return true
			}
		}
		return false
	}
	switch {
	case is(errs.Unavailable):
		return verdict{code: DestinationUnavailable, unreachable: true}
	case is(errs.Internal, errs.StorageFull, errs.Throttled, errs.UploadBusy, errs.UploadNotFound, errs.UploadInterrupted, errs.LayerPartInvalid,
		errs.RangeInvalid, errs.LayerDigestMismatch, errs.LayersNotFound, errs.LayerInaccessible):
		return verdict{code: InternalFailure}
	case is(errs.RepositoryNotFound): // deleted since it was prepared
		return verdict{code: RepositoryNotFound, limited: true}
	case is(errs.ReferencedImagesNotFound):
		return verdict{code: ReferencedImagesNotFound, limited: true}
	case is(errs.RepositoryExists, errs.ImageReferenced):
		return verdict{code: InternalFailure, limited: true}
	case is(errs.AccessDenied):
		return verdict{code: AccessDenied, lasting: true}
	case is(errs.LimitExceeded, errs.LayerTooLarge):
		return verdict{code: LimitExceeded, lasting: true}
	case is(errs.KeyFailure):
		return verdict{code: KmsError, lasting: true}
	case is(errs.ManifestInvalid, errs.ManifestTypeMissing, errs.ManifestTooLarge):
		return verdict{code: ManifestInvalid, lasting: true}
	}
	return verdict{code: InternalFailure, lasting: true}
}

// sourceError is a failure on this side. code is not empty for one that lasts.
type sourceError struct {
	code string
	err  error
}

// Error is the text of the failure itself.
func (e *sourceError) Error() string { return e.err.Error() }

// Unwrap gives the failure itself.
func (e *sourceError) Unwrap() error { return e.err }

// here marks a failure on this side.
func here(err error) error {
	switch {
	case err == nil:
		return nil
	case errs.Is(err, errs.RepositoryNotFound):
		return &sourceError{code: RepositoryNotFound, err: err}
	case errs.Is(err, errs.ImageNotFound):
		return &sourceError{code: ImageNotFound, err: err}
	}
	return &sourceError{err: err}
}

// childError is the failure of an image that another one names.
type childError struct {
	digest name.Digest
	err    error
}

// Error names the image.
func (e *childError) Error() string { return "the image " + string(e.digest) + ": " + e.err.Error() }

// Unwrap gives the failure itself.
func (e *childError) Unwrap() error { return e.err }

// sub are the failure codes of images that the item's image names.
func (c *carriage) sub(err error) []string {
	if child, ok := errors.AsType[*childError](err); ok {
		if missing, ok := errors.AsType[*missingChild](err); ok {
			return []string{missing.code}
		}
		return []string{judge(child.err).code}
	}
	return nil
}

// missingChild is an image that an index names and that cannot be had.
type missingChild struct {
	code string
	err  error
}

// Error is the text of the failure itself.
func (e *missingChild) Error() string { return e.err.Error() }

// Unwrap gives the failure itself.
func (e *missingChild) Unwrap() error { return e.err }

// source reads an image of this side.
func (c *carriage) source(ctx context.Context, d name.Digest) (image.Image, error) {
	img, err := c.Images.Peek(ctx, c.repo, image.Ref{Digest: d}, nil)
	return img, here(err)
}
