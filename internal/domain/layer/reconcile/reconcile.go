// Package reconcile compares what stands in the stores with the rows, in both
// directions, little by little: a round over everything takes days.
//
// It owns the tables layer_reconcile (how far the round is) and layer_missing (blobs
// without their objects), and adds rows of garbage for objects that no row names.
// It deletes nothing: layer/collect does, and respects holds. It reads no bytes;
// layer/check does, for fsck.
//
// # Pages
//
// A page is what begins with a registry and two hexadecimal digits, as the keys
// of objects do (upload.NewObjectKey): its blobs, and its objects in the store and
// in the archive. A row for each region says which page was done last, and a run
// goes on from there, on whichever node; one that finds that another has been
// faster stops. Objects whose keys are not of that form are not Berth's and are
// left alone.
//
// # Objects that no row names
//
// An object's key is written into a row before the object is made: into upload, or
// for a copy into garbage. From there it goes to blob or to garbage, and the
// earlier row goes after the later one has come. So the rows are asked for in that
// order, after the object was seen. The row of an upload can also be lost in a power
// cut. What is then in no row becomes garbage by the protocol of all garbage: the
// row is inserted first, then blobs are looked for in the same transaction, and it
// is taken back if one names the object. Whoever would still make a blob of it finds
// the garbage and is refused, for that row is not due before all who could have
// given up (strayDue). The age that an object must have beside that spares pushes this
// refusal.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/layer/upload"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Config is what a Service stands on.
type Config struct {
	// DB is the durable database, Volatile the one of upload sessions.
	DB, Volatile upload.Database
	// Place gives the store of a region, or its archive; an error where it is not
	// served here.
	Place func(r name.Region, archived bool) (blobstore.Store, error)
	Clock clock.Clock
	Log   *slog.Logger
	// Safe is the age under which objects are left alone, by the time that the
	// store says they were modified. It is longer than an upload and a layer without an
	// image live together.
	Safe time.Duration
	// Round is the time that one comparison of everything takes.
	Round time.Duration
}

// Service reconciles. Its methods may be called on many nodes at once.
type Service struct{ Config }

// New returns the service.
func New(c Config) *Service { return &Service{c} }

const (
	// budget bounds one run that does not have to come to the end.
	budget = 10 * time.Minute
	// perRegistry is how many pages a registry has.
	perRegistry = 256
)

// Options are how a run goes.
type Options struct {
	// Full begins a new round in every region and goes to its end, whatever the
	// round under way has done. Otherwise a run does what is due of the round.
	Full bool
	// Report, if not nil, is called after every page.
	Report func(Round)
}

// Round is how far a region's comparison is, and what it found.
type Round struct {
	Region name.Region `json:"region"`
	// Pages of AllPages are done.
	Pages    int64     `json:"pages"`
	AllPages int64     `json:"allPages"`
	Started  time.Time `json:"started"`
	Seen     time.Time `json:"seen"` // when its last page was done
	// Ended is zero until the round is over; the next one waits for its time then.
	Ended time.Time `json:"ended,omitzero"`
	// Objects and Blobs were compared.
	Objects int64 `json:"objects"`
	Blobs   int64 `json:"blobs"`
	// Strays are objects that no row named and that are garbage now, StrayBytes
	// what they take as stored.
	Strays     int64 `json:"strays"`
	StrayBytes int64 `json:"strayBytes"`

	number   int64
	position string
}

// Missing is a blob whose object is not where it should be.
type Missing struct {
	Account   name.AccountID `json:"account"`
	Region    name.Region    `json:"region"`
	Digest    name.Digest    `json:"digest"`
	ObjectKey string         `json:"object"`
	Archived  bool           `json:"archived"`
	Found     time.Time      `json:"found"` // first
	Seen      time.Time      `json:"seen"`  // last, that it was not there
}

// errOvertaken: another run has done the page.
var errOvertaken = errors.New("reconcile: another run has gone on with the round")

// Run goes on with the rounds of all regions that are served here. One region's
// failure does not stop the others; all failures come back joined.
func (s *Service) Run(ctx context.Context, o Options) error {
	byRegion, err := s.registries(ctx)
	if err != nil {
		return err
	}
	var failed error
	started := time.Now() // the budget is the machine's time
	for _, region := range sortedKeys(byRegion) {
		if _, err := s.Place(region, false); err != nil {
			continue // left to a node that serves the region
		}
		err := s.region(ctx, region, byRegion[region], o, started)
		if errors.Is(err, errOvertaken) {
			s.Log.InfoContext(ctx, "the comparison of a region's stores goes on elsewhere", "region", region)
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("comparing the stores of %s: %w", region, err)
		}
		failed = errors.Join(failed, err)
	}
	return errors.Join(failed, ctx.Err())
}

func sortedKeys(m map[name.Region][]string) []name.Region {
	var all []name.Region
	for r := range m {
		all = append(all, r)
	}
	slices.Sort(all)
	return all
}

// registries lists the accounts that have one, in order, by region.
func (s *Service) registries(ctx context.Context) (map[name.Region][]string, error) {
	var all map[name.Region][]string
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all = map[name.Region][]string{}
		_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
			var account, region string
			err := row.Scan(&account, &region)
			all[name.Region(region)] = append(all[name.Region(region)], account)
			return struct{}{}, err
		}, `SELECT account_id, region FROM registry ORDER BY region, account_id`)
		return err
	})
	return all, err
}

// region goes on with one region's round.
func (s *Service) region(ctx context.Context, region name.Region, accounts []string, o Options, started time.Time) error {
	r, err := s.load(ctx, region, int64(len(accounts))*perRegistry)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	switch {
	case o.Full, r.number == 0, !r.Ended.IsZero() && now.Sub(r.Started) >= s.Round:
		if r, err = s.begin(ctx, r); err != nil {
			return err
		}
	case !r.Ended.IsZero():
		return nil // its time has not come
	}
	for ctx.Err() == nil {
		if !o.Full && (!s.isDue(r) || time.Since(started) > budget) {
			return nil
		}
		page, ok := next(accounts, r.position)
		if !ok {
			return s.end(ctx, r)
		}
		did, err := s.page(ctx, region, page)
		if err != nil {
			return err
		}
		if r, err = s.advance(ctx, r, page, did); err != nil {
			return err
		}
		if o.Report != nil {
			o.Report(r)
		}
	}
	return ctx.Err()
}

// isDue says whether the round is behind its time. Its first page always is.
func (s *Service) isDue(r Round) bool {
	return float64(r.Pages)*float64(s.Round) <= float64(s.Clock.Now().Sub(r.Started))*float64(max(r.AllPages, 1))
}

// next is the page after position, "account/xx"; false at the end. An account
// that has come since the round began is met if its turn is still to come.
func next(accounts []string, position string) (string, bool) {
	for _, account := range accounts {
		first := account + "/00"
		if position < first {
			return first, true
		}
		if position >= account+"/ff" {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(position[len(account)+1:], "%02x", &n); err != nil {
			return first, true
		}
		return fmt.Sprintf("%s/%02x", account, n+1), true
	}
	return "", false
}

func (s *Service) load(ctx context.Context, region name.Region, pages int64) (r Round, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err := rounds(ctx, tx, ` WHERE region = $1`, string(region))
		r = Round{Region: region}
		if len(all) == 1 {
			r = all[0]
		}
		return err
	})
	r.AllPages = pages
	return r, err
}

func rounds(ctx context.Context, tx *sqldb.Tx, where string, args ...any) ([]Round, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (r Round, err error) {
		var region string
		var started, seen, ended int64
		err = row.Scan(&region, &r.number, &r.position, &r.Pages, &started, &seen, &ended, &r.Objects, &r.Blobs, &r.Strays, &r.StrayBytes)
		r.Region, r.Started, r.Seen, r.Ended = name.Region(region), at(started), at(seen), at(ended)
		return r, err
	}, `SELECT region, round, position, pages, started_at, seen_at, ended_at, objects, blobs, strays, stray_bytes FROM layer_reconcile`+where+` ORDER BY region`, args...)
}

// begin starts a round, unless another run has.
func (s *Service) begin(ctx context.Context, old Round) (Round, error) {
	now := s.Clock.Now()
	r := Round{Region: old.Region, AllPages: old.AllPages, Started: now, Seen: now, number: old.number + 1}
	var n int64
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(ctx, `INSERT INTO layer_reconcile (region, round, position, pages, started_at, seen_at, ended_at, objects, blobs, strays, stray_bytes)
			VALUES ($1, $2, '', 0, $3, $3, 0, 0, 0, 0, 0)
			ON CONFLICT (region) DO UPDATE SET round = excluded.round, position = '', pages = 0, started_at = excluded.started_at, seen_at = excluded.seen_at,
				ended_at = 0, objects = 0, blobs = 0, strays = 0, stray_bytes = 0 WHERE layer_reconcile.round = $4`,
			string(r.Region), r.number, now.UnixMicro(), old.number)
		return err
	})
	if err == nil && n == 0 {
		err = errOvertaken
	}
	return r, err
}

// advance writes down that a page is done, unless another run has gone on.
func (s *Service) advance(ctx context.Context, r Round, page string, did Round) (Round, error) {
	before := r.position
	r.position, r.Seen = page, s.Clock.Now()
	r.Pages++
	r.Objects += did.Objects
	r.Blobs += did.Blobs
	r.Strays += did.Strays
	r.StrayBytes += did.StrayBytes
	var n int64
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) (err error) {
		n, err = tx.Exec(ctx, `UPDATE layer_reconcile SET position = $4, pages = $5, seen_at = $6, objects = $7, blobs = $8, strays = $9, stray_bytes = $10
			WHERE region = $1 AND round = $2 AND position = $3`,
			string(r.Region), r.number, before, page, r.Pages, r.Seen.UnixMicro(), r.Objects, r.Blobs, r.Strays, r.StrayBytes)
		return err
	})
	if err == nil && n == 0 {
		err = errOvertaken
	}
	return r, err
}

func (s *Service) end(ctx context.Context, r Round) error {
	var missing int64
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE layer_reconcile SET ended_at = $3 WHERE region = $1 AND round = $2`, string(r.Region), r.number, s.Clock.Now().UnixMicro()); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT count(*) FROM layer_missing WHERE region = $1`, string(r.Region)).Scan(&missing)
	})
	if err == nil {
		s.Log.InfoContext(ctx, "a region's stores were compared with the rows", "region", r.Region, "objects", r.Objects, "blobs", r.Blobs,
			"strays", r.Strays, "stray_bytes", r.StrayBytes, "missing", missing)
	}
	return err
}

// Rounds says how far each region is that was ever looked at.
func (s *Service) Rounds(ctx context.Context) (all []Round, err error) {
	byRegion, err := s.registries(ctx)
	if err != nil {
		return nil, err
	}
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = rounds(ctx, tx, "")
		return err
	})
	for i := range all {
		all[i].AllPages = max(all[i].Pages, int64(len(byRegion[all[i].Region]))*perRegistry)
	}
	return all, err
}

// Findings returns up to limit blobs whose objects are missing, by object key
// after the given one.
func (s *Service) Findings(ctx context.Context, after string, limit int) (all []Missing, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (m Missing, err error) {
			var account, region, digest string
			var found, seen int64
			err = row.Scan(&account, &region, &digest, &m.ObjectKey, &m.Archived, &found, &seen)
			m.Account, m.Region, m.Digest, m.Found, m.Seen = name.AccountID(account), name.Region(region), name.Digest(digest), at(found), at(seen)
			return m, err
		}, `SELECT account_id, region, digest, object_key, archived, found_at, seen_at FROM layer_missing WHERE object_key > $1 ORDER BY object_key LIMIT $2`, after, int64(limit))
		return err
	})
	return all, err
}

// at is the time of a column, the zero one for 0.
func at(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}
