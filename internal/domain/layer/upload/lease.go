package upload

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Timing is how writers of one upload take turns.
type Timing struct {
	// Lease is how long a writer that is not heard of keeps the row. It stops
	// writing by itself when it could not renew for that long.
	Lease time.Duration
	// Beat is the time between two renewals, and so about the longest that a
	// writer on another node goes on after it was asked to stop.
	Beat time.Duration
	// Skew is what clocks of two nodes may differ: a lease is taken over only
	// so much after its end.
	Skew time.Duration
	// Wait bounds how long a request waits for its turn. It is longer than
	// Lease and Skew, so that a client whose server was killed finds its upload
	// free at its first try.
	Wait time.Duration
	// Poll is the time between two looks at a row that another node holds.
	Poll time.Duration
}

// DefaultTiming suits nodes whose clocks agree within seconds.
func DefaultTiming() Timing {
	return Timing{Lease: 15 * time.Second, Beat: 4 * time.Second, Skew: 5 * time.Second, Wait: 25 * time.Second, Poll: 250 * time.Millisecond}
}

// Why a session was told to stop.
var (
	errSuperseded = errors.New("upload: another request for the upload has come")
	errLeaseLost  = errors.New("upload: the lease of the upload could not be renewed")
	errReleased   = errors.New("upload: the request is over")
)

// session is one request's hold on an upload: its place in this process's
// queue and the lease in the row, which a process that is alone does without.
type session struct {
	id         string
	token      string // "" without a lease
	repository repository.Repository
	row        row // as the database has it

	// cancel ends the session's context, which acquire returns; it may be
	// called from anywhere.
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the next request may go on

	leased    bool
	stopBeats func()
	// recalled: the row is to be remembered in the end, unless unsure: it may not
	// be what the database has, or is of no use any more.
	recalled, unsure bool

	mu    sync.Mutex
	until time.Time
}

// lost says whether the session may have lost its lease. Then it must not touch
// the object any more, whose next writer cuts it back. Both the wall clock, which
// the others go by, and the monotonic one, which nobody sets, have to agree: the
// one runs on while a machine sleeps, the other cannot be turned back.
func (ses *session) lost(now time.Time) bool {
	if ses.token == "" {
		return false
	}
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return !now.Before(ses.until) || now.UnixMicro() >= ses.until.UnixMicro()
}

func (ses *session) extend(until time.Time) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	ses.until = until
}

func busy(id string) error {
	return errs.New(errs.UploadBusy, "Another request is still writing to the upload with id '%s'. Wait for it to end, ask for the upload's status and go on from there.", id)
}

// acquire gets hold of an upload that is open. A request that holds it is told
// to stop, in this process at once and on another node with its next beat.
// errs.UploadNotFound, errs.UploadBusy. The context that it returns ends with
// the given one, and when the session is told to stop; the caller releases the
// session.
func (s *Service) acquire(ctx context.Context, r repository.Repository, id string) (context.Context, *session, error) {
	ses := &session{id: id, repository: r, done: make(chan struct{}), stopBeats: func() {}}
	if !s.Alone {
		ses.token = uuid.NewString()
	}
	ctx, ses.cancel = context.WithCancelCause(ctx)
	limit := time.NewTimer(s.Timing.Wait)
	defer limit.Stop()
	if err := s.enter(ctx, ses, limit.C); err != nil {
		ses.cancel(errReleased)
		return nil, nil, err
	}
	ask, err := true, error(nil)
	if s.Alone {
		ask, err = s.recall(ctx, ses)
	} else if err = s.takeLease(ctx, ses, limit.C); err == nil {
		ses.stopBeats = s.startBeats(context.WithoutCancel(ctx), ses) // only release ends them, not the client
	}
	if err == nil && ask {
		err = s.refuseSpent(ctx, ses)
	}
	if err != nil {
		s.release(ctx, ses)
		return nil, nil, err
	}
	return ctx, ses, nil
}

// enter waits until no other request of this process is at the upload, and
// tells the one that is to stop.
func (s *Service) enter(ctx context.Context, ses *session, limit <-chan time.Time) error {
	for {
		old := s.occupy(ses)
		if old == nil {
			return nil
		}
		if old.repository.ID != ses.repository.ID {
			return notFound(ses.repository, ses.id)
		}
		old.cancel(errSuperseded)
		select {
		case <-old.done:
		case <-limit:
			return busy(ses.id)
		case <-ctx.Done():
			return stopped(ses, context.Cause(ctx))
		}
	}
}

// occupy takes the upload's place in this process, or says who has it.
func (s *Service) occupy(ses *session) (old *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old = s.active[ses.id]; old == nil {
		s.active[ses.id] = ses
	}
	return old
}

// takeLease writes the session's token into the row once no other is there
// that may be alive.
func (s *Service) takeLease(ctx context.Context, ses *session, limit <-chan time.Time) error {
	for {
		free, err := s.tryLease(ctx, ses)
		if err != nil || free {
			return err
		}
		select {
		case <-time.After(s.Timing.Poll):
		case <-limit:
			return busy(ses.id)
		case <-ctx.Done():
			return stopped(ses, context.Cause(ctx))
		}
	}
}

// tryLease takes the row if it is free. If not, it asks the holder to stop.
func (s *Service) tryLease(ctx context.Context, ses *session) (bool, error) {
	now := s.Clock.Now()
	until := now.Add(s.Timing.Lease)
	var u row
	var free bool
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		free = false
		var err error
		u, err = scan(tx.QueryRow(ctx, `UPDATE upload
			SET writer = $1, writer_until = $2, wanted = $3, opened = opened + 1, expires_at = $4
			WHERE id = $5 AND repository_id = $6 AND NOT closed AND expires_at > $7 AND (writer = '' OR writer_until < $8)
			RETURNING `+columns,
			ses.token, until.UnixMicro(), false, now.Add(s.Life).UnixMicro(),
			ses.id, ses.repository.ID, now.UnixMicro(), now.Add(-s.Timing.Skew).UnixMicro()))
		if err == nil {
			free = true
			return nil
		}
		if !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
		if u, err = find(ctx, tx, ses.repository, ses.id); err != nil {
			return err
		}
		held := u.writer != "" && u.writerUntil >= now.Add(-s.Timing.Skew).UnixMicro()
		if !held && (u.closed || u.expiresAt <= now.UnixMicro()) {
			return notFound(ses.repository, ses.id)
		}
		_, err = tx.Exec(ctx, `UPDATE upload SET wanted = $1 WHERE id = $2 AND NOT closed AND NOT wanted`, true, ses.id)
		return err
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return false, stopped(ses, cause)
		}
		return false, StoreError(err)
	}
	if free {
		ses.row, ses.leased = u, true
		ses.extend(until)
	}
	return free, nil
}

// refuseSpent refuses an upload whose object is finished or given up: a power
// cut can bring back a row of the volatile database that was deleted or closed
// before. Such a row is removed, its object left alone.
func (s *Service) refuseSpent(ctx context.Context, ses *session) error {
	spent, err := s.Objects.Spent(ctx, ses.row.region, ses.row.objectKey)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return stopped(ses, cause)
		}
		return err
	}
	if !spent {
		return nil
	}
	if err := s.forget(context.WithoutCancel(ctx), ses); err != nil {
		return err
	}
	return notFound(ses.repository, ses.id)
}

// startBeats has the lease renewed until the session is released; stop waits for a
// renewal that is under way then. A request that is over before the first one is
// due needs no goroutine for it.
func (s *Service) startBeats(ctx context.Context, ses *session) (stop func()) {
	over := make(chan struct{})
	first := time.AfterFunc(s.Timing.Beat, func() {
		defer close(over)
		s.beat(ctx, ses)
	})
	return func() {
		if !first.Stop() {
			<-over
		}
	}
}

// beat renews the lease until the session is released, and tells the session
// to stop when it is lost or another request waits for it.
func (s *Service) beat(ctx context.Context, ses *session) {
	tick := time.NewTicker(s.Timing.Beat)
	defer tick.Stop()
	for {
		now := s.Clock.Now()
		until := now.Add(s.Timing.Lease)
		var wanted, lost bool
		limited, cancel := context.WithTimeout(ctx, s.Timing.Lease)
		err := s.DB.Update(limited, func(tx *sqldb.Tx) error {
			wanted, lost = false, false
			err := tx.QueryRow(limited, `UPDATE upload SET writer_until = $1, expires_at = $2 WHERE id = $3 AND writer = $4 RETURNING wanted`,
				until.UnixMicro(), now.Add(s.Life).UnixMicro(), ses.id, ses.token).Scan(&wanted)
			if errors.Is(err, sqldb.ErrNoRows) {
				lost, err = true, nil
			}
			return err
		})
		cancel()
		switch {
		case err != nil:
			s.Log.WarnContext(ctx, "the lease of an upload was not renewed", "upload", ses.id, "error", err)
		case lost:
			ses.extend(time.Time{})
			ses.cancel(errLeaseLost)
			return
		default:
			ses.extend(until)
			if wanted {
				ses.cancel(errSuperseded)
			}
		}
		select {
		case <-ses.done:
			return
		case <-tick.C:
		}
	}
}

// release gives the upload free for the next request.
func (s *Service) release(ctx context.Context, ses *session) {
	ctx = context.WithoutCancel(ctx)
	ses.cancel(errReleased)
	if ses.leased {
		ctx, cancel := context.WithTimeout(ctx, s.Timing.Lease)
		defer cancel()
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE upload SET writer = '', writer_until = 0 WHERE id = $1 AND writer = $2`, ses.id, ses.token)
			return err
		})
		if err != nil {
			s.Log.WarnContext(ctx, "the lease of an upload was not given back and runs out by itself", "upload", ses.id, "error", err)
		}
		ses.leased = false
	}
	if ses.recalled && !ses.unsure {
		s.memory.keep(ses.row)
	}
	s.leave(ses)
	ses.stopBeats()
}

// leave lets the next request of this process go on.
func (s *Service) leave(ses *session) {
	s.mu.Lock()
	if s.active[ses.id] == ses {
		delete(s.active, ses.id)
	}
	s.mu.Unlock()
	close(ses.done)
}

// stopped is the failure of a request that was told to stop.
func stopped(ses *session, cause error) error {
	if errors.Is(cause, errLeaseLost) {
		// The database was away for longer than a lease, or lost the row: nothing that
		// the client did, and clients that give up at a conflict try this again.
		return errs.Wrap(cause, errs.Unavailable, "The registry has lost its hold on the upload with id '%s'. Ask for the upload's status and go on from there, or begin it anew.", ses.id)
	}
	if errors.Is(cause, errSuperseded) {
		return errs.Wrap(cause, errs.UploadBusy, "Another request has taken over the upload with id '%s'. Ask for the upload's status and go on from there.", ses.id)
	}
	return errs.Wrap(cause, errs.UploadInterrupted, "The request for the upload with id '%s' broke off. Ask for the upload's status and go on from there.", ses.id)
}
