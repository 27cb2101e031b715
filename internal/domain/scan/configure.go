package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
	"github.com/berth-registry/berth/internal/domain/scan/vulndb"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Configuration is the registry's scanning configuration.
func (s *Service) Configuration(ctx context.Context, reg name.Registry) (c rules.Configuration, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		c, err = rules.Stored(ctx, tx, reg)
		return err
	})
	return c, err
}

// frequencyChanges is how many repositories one event names at most.
const frequencyChanges = 500

// PutConfiguration replaces the registry's scanning configuration. Under enhanced
// scanning, images that it selects and that were pushed lately are scanned then. It
// returns the refusals of rules.Configuration.Validate.
func (s *Service) PutConfiguration(ctx context.Context, reg name.Registry, c rules.Configuration) (rules.Configuration, error) {
	if err := c.Validate(); err != nil {
		return c, err
	}
	if c.Type == rules.Enhanced && s.Role != nil {
		if err := s.Role(ctx, reg.Account); err != nil {
			return c, err
		}
	}
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.Registries.EnsureTx(ctx, tx, reg); err != nil {
			return err
		}
		old, err := rules.Stored(ctx, tx, reg)
		if err != nil {
			return err
		}
		if err := rules.Store(ctx, tx, reg, c, s.Clock.Now()); err != nil || c.Type != rules.Enhanced {
			return err
		}
		type repo struct {
			name   name.Repository
			onPush bool
		}
		all, err := sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (r repo, err error) { return r, from.Scan(&r.name, &r.onPush) },
			`SELECT name, scan_on_push FROM repository WHERE account_id = $1 AND region = $2 AND deleted_at = 0 ORDER BY name`, string(reg.Account), string(reg.Region))
		if err != nil {
			return err
		}
		var changes []event.FrequencyChange
		for _, r := range all {
			now, before := c.For(r.name, r.onPush).Frequency, old.For(r.name, r.onPush).Frequency
			if now != before {
				changes = append(changes, event.FrequencyChange{Repository: r.name, Now: string(now), Before: string(before)})
			}
		}
		for part := range slices.Chunk(changes, frequencyChanges) {
			err := s.Outbox.Record(ctx, tx, event.Event{
				Registry: reg, Kind: event.ScanFrequencyChanged, OccurredAt: s.Clock.Now(), Detail: event.FrequencyDetail{Repositories: part, ScanType: string(c.Type)},
			})
			if err != nil {
				return err
			}
		}
		return s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobRegistry, UniqueKey: reg.String(), Payload: reg})
	})
	return c, err
}

// RepositoryConfigurations says how repositories are scanned, in the order of the names.
func (s *Service) RepositoryConfigurations(ctx context.Context, reg name.Registry, repos []name.Repository) (out []RepositoryConfiguration, err error) {
	c, err := s.Configuration(ctx, reg)
	if err != nil {
		return nil, err
	}
	for _, n := range repos {
		r, err := s.Repositories.Get(ctx, reg, n)
		switch {
		case errs.Is(err, errs.RepositoryNotFound):
			out = append(out, RepositoryConfiguration{Repository: n, Missing: true})
		case err != nil:
			return nil, err
		default:
			out = append(out, RepositoryConfiguration{Repository: n, ARN: r.ARN(), Applied: c.For(n, r.ScanOnPush)})
		}
	}
	return out, nil
}

// SetScanOnPush changes the repository's own flag, which has a say under basic scanning
// only: errs.Validation where the registry has enhanced scanning.
func (s *Service) SetScanOnPush(ctx context.Context, reg name.Registry, repo name.Repository, on bool) (repository.Repository, error) {
	c, err := s.Configuration(ctx, reg)
	if err != nil {
		return repository.Repository{}, err
	}
	if c.Type == rules.Enhanced {
		if _, err := s.Repositories.Get(ctx, reg, repo); err != nil {
			return repository.Repository{}, err
		}
		return repository.Repository{}, errDisabled()
	}
	return s.Repositories.SetScanOnPush(ctx, reg, repo, on)
}

// batch is how many images the jobs that go over many look at in one transaction.
const batch = 100

// evaluate does JobRegistry: it asks for scans of the images that enhanced scanning has
// come to, and that were pushed lately enough.
func (s *Service) evaluate(ctx context.Context, t jobs.Task, reg name.Registry) error {
	type found struct {
		id, repository          int64
		name                    name.Repository
		mediaType, artifactType string
	}
	var after found
	for begun := int64(0); ; {
		done := false
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			c, err := rules.Stored(ctx, tx, reg)
			if err != nil {
				return err
			}
			if done = c.Type != rules.Enhanced; done {
				return nil
			}
			since := s.Clock.Now().Add(-s.Eligible)
			all, err := sqldb.Collect(ctx, tx, func(from sqldb.Scanner) (f found, err error) {
				return f, from.Scan(&f.id, &f.repository, &f.name, &f.mediaType, &f.artifactType)
			}, `SELECT i.id, r.id, r.name, i.media_type, i.artifact_type FROM repository r JOIN image i ON i.repository_id = r.id
				WHERE r.account_id = $1 AND r.region = $2 AND r.deleted_at = 0 AND (r.id, i.id) > ($3, $4) AND i.pushed_at >= $5 AND i.status = $6
					AND NOT EXISTS (SELECT 1 FROM scan_image s WHERE s.image_id = i.id AND s.scan_type = $7)
				ORDER BY r.id, i.id LIMIT $8`,
				string(reg.Account), string(reg.Region), after.repository, after.id, micro(since), int64(image.Active), string(rules.Enhanced), int64(batch))
			if err != nil {
				return err
			}
			if done = len(all) < batch; len(all) > 0 {
				after = all[len(all)-1]
			}
			for _, f := range all {
				if !scannable(f.mediaType, f.artifactType) || c.For(f.name, false).Frequency == rules.Manual {
					continue
				}
				if err := s.begin(ctx, tx, f.id, rules.Enhanced); err != nil {
					return err
				}
				begun++
			}
			return nil
		})
		if err != nil || done {
			return err
		}
		if err := t.Progress(ctx, begun, 0, "asking for scans"); err != nil {
			return err
		}
	}
}

// shards is in how many parts images are matched anew, which nodes share.
const shards = 8

// ChangedTx has what is to be scanned anew scanned with another database. It is called
// in the transaction that makes it the current one.
func (s *Service) ChangedTx(ctx context.Context, tx *sqldb.Tx) error {
	for shard := range int64(shards) {
		if err := s.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobRematch, UniqueKey: shardKey(shard), Payload: shard}); err != nil {
			return err
		}
	}
	return nil
}

// rematch does JobRematch: it scans what waits for a database, and matches the images
// of enhanced, continuous scanning that were matched with another one. One that failed at
// that has another chance with the next database.
func (s *Service) rematch(ctx context.Context, t jobs.Task, shard int64) error {
	if err := s.waiting(ctx, shard); err != nil {
		return err
	}
	db, ok, err := s.Databases.Current(ctx)
	if err != nil || !ok {
		return err
	}
	configs := map[name.Registry]rules.Configuration{}
	var after, done int64
	var failed error
	for {
		var all []int64
		err := s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
			all, err = sqldb.Collect(ctx, tx, sqldb.One[int64], `SELECT image_id FROM scan_image
				WHERE scan_type = $1 AND image_id > $2 AND image_id % $3 = $4 AND status IN ($5, $6) AND completed_at > 0 AND database <> $7 ORDER BY image_id LIMIT $8`,
				string(rules.Enhanced), after, int64(shards), shard, string(Complete), string(Failed), string(db.Digest), int64(batch))
			return err
		})
		if err != nil {
			return err
		}
		for _, id := range all {
			if err := s.again(ctx, id, db, configs); err != nil {
				if ctx.Err() != nil {
					return err
				}
				failed = errors.Join(failed, err)
				s.Log.WarnContext(ctx, "an image could not be matched with the new vulnerability database", "image", id, "err", err)
			}
			after = id
			if done++; t.Progress(ctx, done, 0, "matching with the new database") != nil {
				return ctx.Err()
			}
		}
		if len(all) < batch {
			return failed
		}
	}
}

// waiting asks again for the scans of a part that failed for want of a database.
func (s *Service) waiting(ctx context.Context, shard int64) error {
	for {
		n := 0
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			all, err := sqldb.Collect(ctx, tx, scanRow, `SELECT `+rowColumns+` FROM scan_image WHERE waiting AND image_id % $1 = $2 ORDER BY image_id LIMIT $3`, int64(shards), shard, int64(batch))
			if err != nil {
				return err
			}
			n = len(all)
			for _, r := range all {
				r.waiting = false
				r.status, r.description = startOf(r.kind)
				if err := r.put(ctx, tx); err != nil {
					return err
				}
				if err := s.enqueue(ctx, tx, order{Image: r.image, Type: r.kind, Counted: true}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || n < batch {
			return err
		}
	}
}

// again matches one image anew, if its repository is scanned continuously and it is
// not too old for that.
func (s *Service) again(ctx context.Context, id int64, db vulndb.Database, configs map[name.Registry]rules.Configuration) error {
	sub, ok, err := s.subject(ctx, id)
	if err != nil || !ok {
		return err
	}
	reg := sub.repository.Registry
	c, ok := configs[reg]
	if !ok {
		if c, err = s.Configuration(ctx, reg); err != nil {
			return err
		}
		configs[reg] = c
	}
	if c.Type != rules.Enhanced || c.For(sub.repository.Name, false).Frequency != rules.Continuous {
		return nil
	}
	if old, err := s.expire(ctx, sub); err != nil || old {
		return err
	}
	before, ok, err := s.before(ctx, sub, rules.Enhanced)
	if err != nil || !ok {
		return err
	}
	img, _, err := s.inventory(ctx, sub.repository, sub.digest, nil)
	if err == nil {
		s.counts.Match()
		err = s.matched(ctx, sub, rules.Enhanced, db, img, before.result.Author)
	}
	var u *unfit
	if errors.As(err, &u) {
		return s.fail(ctx, sub, order{Image: id, Type: rules.Enhanced}, *u)
	}
	if errs.Is(err, errs.ImageNotFound) || errs.Is(err, errs.LayerInaccessible) {
		return nil
	}
	return err
}

// expire says whether the image is too old to be scanned anew, and writes that.
func (s *Service) expire(ctx context.Context, sub subject) (old bool, err error) {
	if s.Rescan == 0 {
		return false, nil
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		d, err := s.Images.FindTx(ctx, tx, sub.repository, image.Ref{Digest: sub.digest})
		if errs.Is(err, errs.ImageNotFound) {
			old = true
			return nil
		}
		if err != nil {
			return err
		}
		since := d.PushedAt
		if d.ActivatedAt.After(since) {
			since = d.ActivatedAt
		}
		if old = s.Clock.Now().Sub(since) > s.Rescan; !old {
			return nil
		}
		r, ok, err := s.lockRow(ctx, tx, sub.id, rules.Enhanced)
		if err != nil || !ok {
			return err
		}
		r.status, r.description = EligibilityExpired, fmt.Sprintf("The image was pushed more than %d days ago and is not scanned any more.", s.Rescan/(24*time.Hour))
		return r.put(ctx, tx)
	})
	return old, err
}
