// Package trails has CloudTrail's trails: who has the audit records of an account
// written to files, the files with the records, and every hour a signed digest of the
// files, so that whoever holds them can tell later that nothing was changed or removed.
//
// It does not record calls (domain/audit does), search them (audit/lookup), keep the
// files (infra/trailstore) or check them (trails/verify).
package trails

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/trailstore"
)

// maxTrails is how many trails a region has, those of other regions that apply to it
// counted (user guide, "Quotas in AWS CloudTrail").
const maxTrails = 5

// global is where the calls of services without regions are recorded, and those of
// public registries: a trail for all regions has it, whether it is served or not.
const global = name.Region("us-east-1")

// Source is where the records are read from; *audit.Trail is one.
type Source interface {
	// After returns up to limit records of the account and region with ids above afterID,
	// ascending, that were written before until, which is zero for no bound.
	After(ctx context.Context, account name.AccountID, region name.Region, afterID int64, limit int, until time.Time) ([]audit.Stored, error)
}

// Config is what a Service stands on.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	Log   *slog.Logger
	// Keys seal the private key that signs digests.
	Keys    keys.Manager
	Records Source
	// Regions are those that are served: a trail for all regions has them, and us-east-1.
	Regions []name.Region
	// Buckets are where trails may write to, by name: the setting audit.buckets.
	Buckets map[string]trailstore.Store
	// Margin is how old records are when they are written, so that transactions which
	// commit late are not missed; 0: DefaultMargin. Less than a millisecond is none.
	Margin time.Duration
	// Jobs gets the periodic work; nil leaves Deliver to the caller.
	Jobs *jobs.Queue
	// Every is how often files are written; 0: DefaultEvery.
	Every time.Duration
	// FileRecords and FileBytes bound a log file: its records, and its length before
	// compression, which one record alone may exceed. 0: 10,000 and 16 MiB.
	FileRecords, FileBytes int
}

// The periodic work, and the values that zeros in Config stand for.
const (
	JobDeliver = "audit.files"
	// jobDelivered is what JobDeliver was called by programs that know no segments of records; one may
	// have left a job behind.
	jobDelivered = "audit.trails"

	// DefaultEvery is as often as CloudTrail delivers, "about every 5 minutes on average".
	DefaultEvery   = 5 * time.Minute
	deliverTimeout = 10 * time.Minute
	// DefaultMargin is longer than the transactions of sqldb take: a statement has 30
	// seconds, a server that is away another 30, a commit 30.
	DefaultMargin = 3 * time.Minute

	defaultRecords = 10_000
	defaultBytes   = 16 << 20
)

// Service keeps trails and writes their files. Its methods may be called on several
// nodes at once.
type Service struct{ Config }

// New returns the service and registers its periodic work on c.Jobs.
func New(c Config) *Service {
	if c.Margin == 0 {
		c.Margin = DefaultMargin
	}
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.FileRecords == 0 {
		c.FileRecords = defaultRecords
	}
	if c.FileBytes == 0 {
		c.FileBytes = defaultBytes
	}
	s := &Service{Config: c}
	if c.Jobs != nil {
		for _, kind := range []string{JobDeliver, jobDelivered} {
			c.Jobs.Handle(kind, jobs.Handler{Workers: 1, Timeout: deliverTimeout, Run: func(ctx context.Context, _ jobs.Task) error { return s.Deliver(ctx) }})
		}
		c.Jobs.Every(JobDeliver, c.Every)
	}
	return s
}

func (s *Service) now() time.Time { return s.Clock.Now().UTC().Truncate(time.Microsecond) }

// Trail is one trail.
type Trail struct {
	ID         int64
	Account    name.AccountID
	HomeRegion name.Region
	Name       string
	Bucket     string
	Prefix     string // without a slash at its end; "" for none
	// MultiRegion: the records of all regions are written, not those of the home region
	// alone.
	MultiRegion bool
	// GlobalEvents: so are the calls of services without regions, such as IAM.
	GlobalEvents bool
	// Validation: digests are written.
	Validation bool
	Logging    bool
	Tags       map[string]string
	CreatedAt  time.Time
	// StartedAt and StoppedAt are when logging was last switched; zero: never.
	StartedAt, StoppedAt time.Time
	// AttemptedAt is when files were last to be written, DeliveredAt when the latest one
	// was, and DeliveryError what went wrong then, "" for nothing; the last two say the
	// same of digests.
	AttemptedAt, DeliveredAt time.Time
	DeliveryError            string
	DigestedAt               time.Time
	DigestError              string

	validatedFrom time.Time
}

// ARN is the trail's.
func (t Trail) ARN() name.ARN {
	return name.ARN{Partition: t.HomeRegion.Partition(), Service: "cloudtrail", Region: t.HomeRegion, Account: t.Account, Resource: "trail/" + t.Name}
}

// UnmadeARN is the ARN that a trail would have which a caller calls by a name or ARN,
// for asking whether he may.
func UnmadeARN(of name.Registry, nameOrARN string) name.ARN {
	if arn, err := name.ParseARN(nameOrARN); err == nil && arn.Service == "cloudtrail" {
		return arn
	}
	return Trail{Account: of.Account, HomeRegion: of.Region, Name: nameOrARN}.ARN()
}

// Create is a trail to be made.
type Create struct {
	Home                                  name.Registry
	Name, Bucket, Prefix                  string
	MultiRegion, GlobalEvents, Validation bool
	Tags                                  map[string]string
}

// bucket finds where a trail is to write. errs.TrailBucketMissing.
func (s *Service) bucket(bucket string) error {
	if _, ok := s.Buckets[bucket]; ok {
		return nil
	}
	known := slices.Sorted(maps.Keys(s.Buckets))
	if len(known) == 0 {
		return errs.New(errs.TrailBucketMissing, "S3 bucket %s does not exist! Trails write to the buckets and directories of the server's setting audit.buckets, which has none.", bucket)
	}
	return errs.New(errs.TrailBucketMissing, "S3 bucket %s does not exist! Trails write to the buckets and directories of the server's setting audit.buckets: %q.", bucket, known)
}

// Create makes a trail, which does not log yet. errs.TrailNameInvalid,
// errs.TrailBucketMissing, errs.InvalidParameter, errs.ParameterConflict,
// errs.TrailExists, errs.LimitExceeded.
func (s *Service) Create(ctx context.Context, c Create) (Trail, error) {
	if err := checkName(c.Name); err != nil {
		return Trail{}, err
	}
	prefix, err := checkPrefix(c.Prefix)
	if err != nil {
		return Trail{}, err
	}
	if err := s.bucket(c.Bucket); err != nil {
		return Trail{}, err
	}
	t := Trail{
		ID: sqldb.NewID(), Account: c.Home.Account, HomeRegion: c.Home.Region, Name: c.Name, Bucket: c.Bucket, Prefix: prefix,
		MultiRegion: c.MultiRegion, GlobalEvents: c.GlobalEvents, Validation: c.Validation, Tags: c.Tags, CreatedAt: s.now(),
	}
	if err := t.check(); err != nil {
		return Trail{}, err
	}
	if t.Validation {
		t.validatedFrom = t.CreatedAt.Truncate(time.Second)
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		// Whoever makes a trail of the account waits here, so that they are counted.
		if _, err := tx.Exec(ctx, `UPDATE account SET id = id WHERE id = $1`, string(t.Account)); err != nil {
			return err
		}
		all, err := list(ctx, tx, t.Account)
		if err != nil {
			return err
		}
		here := 0
		for _, other := range all {
			if other.HomeRegion != t.HomeRegion && !other.MultiRegion {
				continue
			}
			if other.Name == t.Name {
				return errs.New(errs.TrailExists, "Trail %s already exists for customer: %s", t.Name, t.Account)
			}
			here++
		}
		if here >= maxTrails {
			return errs.New(errs.LimitExceeded, "User: %s already has %d trails in %s.", t.Account, here, t.HomeRegion)
		}
		return t.insert(ctx, tx)
	})
	return t, err
}

// check holds together what excludes each other. errs.ParameterConflict.
func (t Trail) check() error {
	if t.MultiRegion && !t.GlobalEvents {
		return errs.New(errs.ParameterConflict, "Multi-Region trail must include global service events.")
	}
	return nil
}

// Find returns a trail by its name, in its home region or, if it is for all regions, in
// any one, or by its ARN. errs.TrailNameInvalid, errs.TrailNotFound.
func (s *Service) Find(ctx context.Context, in name.Registry, nameOrARN string) (t Trail, err error) {
	called, err := parse(in.Account, nameOrARN)
	if err != nil {
		return Trail{}, err
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		t, err = find(ctx, tx, in, called)
		return err
	})
	return t, err
}

func find(ctx context.Context, tx *sqldb.Tx, in name.Registry, called named) (Trail, error) {
	all, err := list(ctx, tx, in.Account)
	if err != nil {
		return Trail{}, err
	}
	var shadow *Trail
	for _, t := range all {
		switch {
		case t.Name != called.name:
		case called.home == t.HomeRegion, called.home == "" && t.HomeRegion == in.Region:
			return t, nil
		case called.home == "" && t.MultiRegion:
			shadow = &t
		}
	}
	if shadow != nil {
		return *shadow, nil
	}
	return Trail{}, unknown(in.Account, called.name)
}

// List returns all trails of an account, in the order of their home regions and names.
func (s *Service) List(ctx context.Context, account name.AccountID) (all []Trail, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = list(ctx, tx, account)
		return err
	})
	return all, err
}

// change has fn alter a trail, in its home region. errs.TrailNameInvalid,
// errs.TrailNotFound, errs.TrailHomeRegion, and those of fn.
func (s *Service) change(ctx context.Context, in name.Registry, nameOrARN string, fn func(tx *sqldb.Tx, t *Trail) error) (t Trail, err error) {
	called, err := parse(in.Account, nameOrARN)
	if err != nil {
		return Trail{}, err
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if t, err = find(ctx, tx, in, called); err != nil {
			return err
		}
		if t.HomeRegion != in.Region {
			return errs.New(errs.TrailHomeRegion, "The trail %s is changed in its home region %s only.", t.Name, t.HomeRegion)
		}
		// Read again, locked: switching logging twice at once opens one span.
		if err := t.reload(ctx, tx); errors.Is(err, sqldb.ErrNoRows) {
			return unknown(in.Account, called.name)
		} else if err != nil {
			return err
		}
		if err := fn(tx, &t); err != nil {
			return err
		}
		return t.save(ctx, tx)
	})
	return t, err
}

// Change is what Update alters; what is nil stays.
type Change struct {
	Bucket, Prefix                        *string
	MultiRegion, GlobalEvents, Validation *bool
}

// Update alters a trail. Errors as Create's and Find's, and errs.TrailHomeRegion.
func (s *Service) Update(ctx context.Context, in name.Registry, nameOrARN string, c Change) (Trail, error) {
	return s.change(ctx, in, nameOrARN, func(tx *sqldb.Tx, t *Trail) error {
		if c.Bucket != nil {
			if err := s.bucket(*c.Bucket); err != nil {
				return err
			}
			t.Bucket = *c.Bucket
		}
		if c.Prefix != nil {
			prefix, err := checkPrefix(*c.Prefix)
			if err != nil {
				return err
			}
			t.Prefix = prefix
		}
		set(&t.MultiRegion, c.MultiRegion)
		set(&t.GlobalEvents, c.GlobalEvents)
		before := t.Validation
		set(&t.Validation, c.Validation)
		switch {
		case !t.Validation:
			t.validatedFrom = time.Time{}
		case !before:
			t.validatedFrom = s.now().Truncate(time.Second)
		}
		if err := t.check(); err != nil || !t.Logging {
			return err
		}
		return s.openSpans(ctx, tx, *t)
	})
}

func set(to, from *bool) {
	if from != nil {
		*to = *from
	}
}

// Start has a trail log from now on; it may log already. Errors as Update's.
func (s *Service) Start(ctx context.Context, in name.Registry, nameOrARN string) error {
	_, err := s.change(ctx, in, nameOrARN, func(tx *sqldb.Tx, t *Trail) error {
		if t.Logging {
			return nil
		}
		t.Logging, t.StartedAt = true, s.now()
		return s.openSpans(ctx, tx, *t)
	})
	return err
}

// Stop ends the logging. What was recorded before is still written. Errors as Update's.
func (s *Service) Stop(ctx context.Context, in name.Registry, nameOrARN string) error {
	_, err := s.change(ctx, in, nameOrARN, func(tx *sqldb.Tx, t *Trail) error {
		if !t.Logging {
			return nil
		}
		t.Logging, t.StoppedAt = false, s.now()
		_, err := tx.Exec(ctx, `UPDATE trail_span SET until_id = $1 WHERE trail_id = $2 AND until_id = 0`, sqldb.NewID(), t.ID)
		return err
	})
	return err
}

// Delete removes a trail. Its files stay; what is not written yet never is. Errors as
// Update's.
func (s *Service) Delete(ctx context.Context, in name.Registry, nameOrARN string) error {
	_, err := s.change(ctx, in, nameOrARN, func(tx *sqldb.Tx, t *Trail) error {
		_, err := tx.Exec(ctx, `DELETE FROM trail WHERE id = $1`, t.ID)
		return err
	})
	return err
}

// regions are those whose records a trail has.
func (s *Service) regions(t Trail) []name.Region {
	if !t.MultiRegion {
		return []name.Region{t.HomeRegion}
	}
	all := append([]name.Region{global, t.HomeRegion}, s.Regions...)
	slices.Sort(all)
	return slices.Compact(all)
}

// openSpans makes the open spans of a trail that logs those of its regions.
func (s *Service) openSpans(ctx context.Context, tx *sqldb.Tx, t Trail) error {
	open, err := sqldb.Collect(ctx, tx, sqldb.One[name.Region], `SELECT region FROM trail_span WHERE trail_id = $1 AND until_id = 0`, t.ID)
	if err != nil {
		return err
	}
	want := s.regions(t)
	for _, region := range want {
		if slices.Contains(open, region) {
			continue
		}
		id := sqldb.NewID()
		if _, err := tx.Exec(ctx, `INSERT INTO trail_span (id, trail_id, region, position, until_id) VALUES ($1, $2, $3, $4, 0)`, id, t.ID, string(region), id); err != nil {
			return err
		}
	}
	for _, region := range open {
		if slices.Contains(want, region) {
			continue
		}
		if _, err := tx.Exec(ctx, `UPDATE trail_span SET until_id = $1 WHERE trail_id = $2 AND region = $3 AND until_id = 0`, sqldb.NewID(), t.ID, string(region)); err != nil {
			return err
		}
	}
	return nil
}

// tagsJSON is how tags are stored.
func tagsJSON(tags map[string]string) (string, error) {
	if len(tags) == 0 {
		return "{}", nil
	}
	b, err := json.Marshal(tags)
	return string(b), err
}
