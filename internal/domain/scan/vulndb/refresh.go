package vulndb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The jobs, and how often they look whether there is something to do.
const (
	JobRefresh = "scan.database.refresh"
	JobTidy    = "scan.database.tidy"

	period = 10 * time.Minute
	// refreshLimit bounds one refresh: a slow line takes long for an archive.
	refreshLimit = 2 * time.Hour
	// retryAfter is how soon sources are asked again after a failure.
	retryAfter = 10 * time.Minute
	// maxFailure bounds what is kept of an error, in bytes.
	maxFailure = 2000
)

// register has the queue do the periodic work.
func (s *Service) register() {
	q := s.c.Jobs
	if q == nil {
		return
	}
	q.Handle(JobRefresh, jobs.Handler{Timeout: refreshLimit, Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error { return s.RefreshDue(ctx) }})
	q.Handle(JobTidy, jobs.Handler{Workers: 1, Run: func(ctx context.Context, _ jobs.Task) error { return s.Tidy(ctx) }})
	q.Every(JobTidy, period)
	if len(s.c.Sources) > 0 {
		q.Every(JobRefresh, min(period, s.c.Refresh))
	}
}

// first has the first database fetched soon after the start, not a period later.
func (s *Service) first(ctx context.Context) error {
	if s.c.Jobs == nil || len(s.c.Sources) == 0 {
		return nil
	}
	current, _, err := s.look(ctx)
	if err != nil || current != nil {
		return err
	}
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		return s.c.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: JobRefresh, UniqueKey: "every"})
	})
}

// Asked is when the sources were last asked, and what came of it.
type Asked struct {
	// At is zero where they never were.
	At time.Time
	// Source is the one that answered.
	Source string
	// Error is why no source could be used, "" after a success.
	Error string
	// Next is when they are asked again, if a newer database is to be expected then.
	Next time.Time
}

func (s *Service) asked(ctx context.Context, tx *sqldb.Tx) (a Asked, err error) {
	var last, next int64
	err = tx.QueryRow(ctx, `SELECT asked_at, source, failure, ask_at FROM scan_database_state WHERE id = 1`).Scan(&last, &a.Source, &a.Error, &next)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	a.At, a.Next = at(last), at(next)
	return a, err
}

func (s *Service) noteAsked(ctx context.Context, a Asked) error {
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO scan_database_state (id, revision, asked_at, source, failure, ask_at) VALUES (1, 0, $1, $2, $3, $4)
			ON CONFLICT (id) DO UPDATE SET asked_at = excluded.asked_at, source = excluded.source, failure = excluded.failure, ask_at = excluded.ask_at`,
			micro(a.At), a.Source, a.Error, micro(a.Next))
		return err
	})
}

// RefreshDue asks the sources if it is time to: the database in use says that there
// should be a newer one by now, and the last question is long enough ago. A source that fails is no
// error; Status tells of it, and it is asked again.
func (s *Service) RefreshDue(ctx context.Context) error {
	if len(s.c.Sources) == 0 {
		return nil
	}
	var due bool
	err := s.c.DB.View(ctx, func(tx *sqldb.Tx) error {
		current, _, err := s.inUse(ctx, tx)
		if err != nil {
			return err
		}
		asked, err := s.asked(ctx, tx)
		now := s.c.Clock.Now()
		due = !now.Before(asked.Next) && (current == nil || !now.Before(current.db.NextUpdate))
		return err
	})
	if err != nil || !due {
		return err
	}
	if _, _, err := s.Refresh(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		s.c.Log.WarnContext(ctx, "no source gave a vulnerability database", "error", err)
	}
	return nil
}

// Refresh asks the sources for a newer database, whether it is time to or not, and
// says whether there was one; it is current then. One that the operator went back
// from (UseFormer) is not brought again. What came of it is remembered for Status.
func (s *Service) Refresh(ctx context.Context) (db Database, changed bool, err error) {
	if len(s.c.Sources) == 0 {
		return Database{}, false, refuse("no sources of vulnerability databases are configured: configure some, or import a file with berth vulndb import")
	}
	source, db, changed, err := s.ask(ctx)
	if ctx.Err() != nil {
		return Database{}, false, ctx.Err()
	}
	now := s.c.Clock.Now()
	a := Asked{At: now, Source: source, Next: now.Add(s.c.Refresh)}
	if err != nil {
		a.Error = err.Error()
		a.Error = a.Error[:min(len(a.Error), maxFailure)]
		a.Next = now.Add(min(s.c.Refresh, retryAfter))
	}
	return db, changed, errors.Join(err, s.noteAsked(ctx, a))
}

// ask asks one source after the other until one has an answer.
func (s *Service) ask(ctx context.Context) (source string, db Database, changed bool, err error) {
	var failed error
	var behind string
	for _, ref := range s.c.Sources {
		db, changed, err := s.askOne(ctx, ref)
		if err == nil {
			return ref, db, changed, nil
		}
		if ctx.Err() != nil {
			return "", Database{}, false, ctx.Err()
		}
		var refused *Refused
		if errors.As(err, &refused) && refused.Older {
			behind = ref // a mirror that lags; another one may have something newer
			continue
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", ref, err))
	}
	if behind == "" {
		return "", Database{}, false, failed
	}
	current, _, err := s.look(ctx)
	if err != nil || current == nil {
		return behind, Database{}, false, err
	}
	return behind, current.db, false, nil
}

func (s *Service) askOne(ctx context.Context, ref string) (Database, bool, error) {
	current, former, err := s.look(ctx)
	if err != nil {
		return Database{}, false, err
	}
	known := func(manifest name.Digest) bool {
		for _, r := range []*row{current, former} {
			if r != nil && current != nil && r.db.Manifest == manifest {
				return true
			}
		}
		return false
	}
	if s.c.Resolve != nil {
		manifest, err := s.c.Resolve(ctx, ref)
		if err != nil {
			return Database{}, false, err
		}
		if known(manifest) {
			return current.db, false, nil
		}
	}
	var manifest name.Digest
	file, err := s.spool(ctx, func(w io.Writer) (err error) {
		manifest, err = s.c.Fetch(ctx, ref, w)
		return err
	})
	if err != nil {
		return Database{}, false, err
	}
	defer func() { _ = os.Remove(file) }() // Run removes what stays
	if known(manifest) {
		return current.db, false, nil
	}
	db, err := s.Import(ctx, file, ref, ImportOptions{quiet: true, refresh: true})
	return db, err == nil && (current == nil || current.db.Digest != db.Digest), err
}
