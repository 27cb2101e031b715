package layer

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

// timing is how writers of one upload take turns.
type timing struct {
	// lease is how long a writer that is not heard of keeps the row. It stops
	// writing by itself when it could not renew for that long.
	lease time.Duration
	// beat is the time between two renewals, and so about the longest that a
	// writer on another node goes on after it was asked to stop.
	beat time.Duration
	// skew is what clocks of two nodes may differ: a lease is taken over only
	// so much after its end.
	skew time.Duration
	// wait bounds how long a request waits for its turn. It is longer than
	// lease and skew, so that a client whose server was killed finds its upload
	// free at its first try.
	wait time.Duration
	// poll is the time between two looks at a row that another node holds.
	poll time.Duration
}

func defaultTiming() timing {
	return timing{lease: 15 * time.Second, beat: 4 * time.Second, skew: 5 * time.Second, wait: 25 * time.Second, poll: 250 * time.Millisecond}
}

// Why a session was told to stop.
var (
	errSuperseded = errors.New("layer: another request for the upload has come")
	errLeaseLost  = errors.New("layer: the lease of the upload could not be renewed")
	errReleased   = errors.New("layer: the request is over")
)

// session is one request's hold on an upload: its place in this process's
// queue and the lease in the row.
type session struct {
	token        string
	repositoryID int64
	repository   repository.Repository
	row          upload // as the database has it

	// cancel ends the session's context, which acquire returns; it may be
	// called from anywhere.
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the next request may go on

	leased bool
	beats  sync.WaitGroup

	mu    sync.Mutex
	until time.Time
}

// lost says whether the session may have lost its lease. Then it must not touch
// the object any more, whose next writer cuts it back.
func (ses *session) lost(ctx context.Context, now time.Time) bool {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	return !now.Before(ses.until) || errors.Is(context.Cause(ctx), errLeaseLost)
}

func (ses *session) extend(until time.Time) {
	ses.mu.Lock()
	defer ses.mu.Unlock()
	ses.until = until
}

func uploadBusy(id string) error {
	return errs.New(errs.UploadBusy, "Another request is still writing to the upload with id '%s'. Wait for it to end, ask for the upload's status and go on from there.", id)
}

// acquire gets hold of an upload that is open. A request that holds it is told
// to stop, in this process at once and on another node with its next beat.
// errs.UploadNotFound, errs.UploadBusy. The context that it returns ends with
// the given one, and when the session is told to stop; the caller releases the
// session.
func (s *Service) acquire(ctx context.Context, r repository.Repository, id string) (context.Context, *session, error) {
	ses := &session{token: uuid.NewString(), repositoryID: r.ID, repository: r, done: make(chan struct{})}
	ses.row.id = id
	ctx, ses.cancel = context.WithCancelCause(ctx)
	limit := time.NewTimer(s.timing.wait)
	defer limit.Stop()
	if err := s.enter(ctx, ses, limit.C); err != nil {
		ses.cancel(errReleased)
		return nil, nil, err
	}
	err := s.takeLease(ctx, ses, limit.C)
	if err == nil {
		beats := context.WithoutCancel(ctx) // only release ends them, not the client
		ses.beats.Go(func() { s.beat(beats, ses) })
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
	id := ses.row.id
	for {
		s.mu.Lock()
		old := s.active[id]
		if old == nil {
			s.active[id] = ses
		}
		s.mu.Unlock()
		if old == nil {
			return nil
		}
		if old.repositoryID != ses.repositoryID {
			return uploadNotFound(ses.repository, id)
		}
		old.cancel(errSuperseded)
		select {
		case <-old.done:
		case <-limit:
			return uploadBusy(id)
		case <-ctx.Done():
			return stopped(ses, context.Cause(ctx))
		}
	}
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
		case <-time.After(s.timing.poll):
		case <-limit:
			return uploadBusy(ses.row.id)
		case <-ctx.Done():
			return stopped(ses, context.Cause(ctx))
		}
	}
}

// tryLease takes the row if it is free. If not, it asks the holder to stop.
func (s *Service) tryLease(ctx context.Context, ses *session) (bool, error) {
	id := ses.row.id
	now := s.clock.Now()
	until := now.Add(s.timing.lease)
	var row upload
	var free bool
	err := s.volatile.Update(ctx, func(tx *sqldb.Tx) error {
		free = false
		var err error
		row, err = scanUpload(tx.QueryRow(ctx, `UPDATE upload
			SET writer = $1, writer_until = $2, wanted = $3, opened = opened + 1, expires_at = $4
			WHERE id = $5 AND repository_id = $6 AND NOT closed AND expires_at > $7 AND (writer = '' OR writer_until < $8)
			RETURNING `+uploadColumns,
			ses.token, until.UnixMicro(), false, now.Add(s.uploadLife).UnixMicro(),
			id, ses.repositoryID, now.UnixMicro(), now.Add(-s.timing.skew).UnixMicro()))
		if err == nil {
			free = true
			return nil
		}
		if !errors.Is(err, sqldb.ErrNoRows) {
			return err
		}
		if row, err = findUpload(ctx, tx, ses.repository, id); err != nil {
			return err
		}
		held := row.writer != "" && row.writerUntil >= now.Add(-s.timing.skew).UnixMicro()
		if !held && (row.closed || row.expiresAt <= now.UnixMicro()) {
			return uploadNotFound(ses.repository, id)
		}
		_, err = tx.Exec(ctx, `UPDATE upload SET wanted = $1 WHERE id = $2 AND NOT closed AND NOT wanted`, true, id)
		return err
	})
	if err != nil {
		if context.Cause(ctx) != nil {
			return false, stopped(ses, context.Cause(ctx))
		}
		return false, err
	}
	if free {
		ses.row, ses.leased = row, true
		ses.extend(until)
	}
	return free, nil
}

// refuseSpent refuses an upload whose object is finished or given up: a power
// cut can bring back a row of the volatile database that was deleted or closed
// before. Such a row is removed, its object left alone.
func (s *Service) refuseSpent(ctx context.Context, ses *session) error {
	var spent bool
	err := s.durable.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		spent, err = exists(ctx, tx, `SELECT 1 FROM blob WHERE object_key = $1
			UNION ALL SELECT 1 FROM garbage WHERE region = $2 AND object_key = $1`, ses.row.objectKey, string(ses.row.region))
		return err
	})
	if err != nil {
		if context.Cause(ctx) != nil {
			return stopped(ses, context.Cause(ctx))
		}
		return err
	}
	if !spent {
		return nil
	}
	if err := s.forget(context.WithoutCancel(ctx), ses); err != nil {
		return err
	}
	return uploadNotFound(ses.repository, ses.row.id)
}

// beat renews the lease until the session is released, and tells the session
// to stop when it is lost or another request waits for it.
func (s *Service) beat(ctx context.Context, ses *session) {
	tick := time.NewTicker(s.timing.beat)
	defer tick.Stop()
	for {
		select {
		case <-ses.done:
			return
		case <-tick.C:
		}
		now := s.clock.Now()
		until := now.Add(s.timing.lease)
		var wanted, lost bool
		limited, cancel := context.WithTimeout(ctx, s.timing.lease)
		err := s.volatile.Update(limited, func(tx *sqldb.Tx) error {
			wanted, lost = false, false
			err := tx.QueryRow(limited, `UPDATE upload SET writer_until = $1, expires_at = $2 WHERE id = $3 AND writer = $4 RETURNING wanted`,
				until.UnixMicro(), now.Add(s.uploadLife).UnixMicro(), ses.row.id, ses.token).Scan(&wanted)
			if errors.Is(err, sqldb.ErrNoRows) {
				lost, err = true, nil
			}
			return err
		})
		cancel()
		switch {
		case err != nil:
			s.log.WarnContext(ctx, "the lease of an upload was not renewed", "upload", ses.row.id, "error", err)
		case lost:
			ses.cancel(errLeaseLost)
			return
		default:
			ses.extend(until)
			if wanted {
				ses.cancel(errSuperseded)
			}
		}
	}
}

// release gives the upload free for the next request.
func (s *Service) release(ctx context.Context, ses *session) {
	ctx = context.WithoutCancel(ctx)
	ses.cancel(errReleased)
	if ses.leased {
		ctx, cancel := context.WithTimeout(ctx, s.timing.lease)
		defer cancel()
		err := s.volatile.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE upload SET writer = '', writer_until = 0 WHERE id = $1 AND writer = $2`, ses.row.id, ses.token)
			return err
		})
		if err != nil {
			s.log.WarnContext(ctx, "the lease of an upload was not given back and runs out by itself", "upload", ses.row.id, "error", err)
		}
		ses.leased = false
	}
	s.mu.Lock()
	if s.active[ses.row.id] == ses {
		delete(s.active, ses.row.id)
	}
	s.mu.Unlock()
	close(ses.done)
	ses.beats.Wait()
}

// stopped is the failure of a request that was told to stop.
func stopped(ses *session, cause error) error {
	if errors.Is(cause, errSuperseded) || errors.Is(cause, errLeaseLost) {
		return errs.Wrap(cause, errs.UploadBusy, "Another request has taken over the upload with id '%s'. Ask for the upload's status and go on from there.", ses.row.id)
	}
	return errs.Wrap(cause, errs.UploadInterrupted, "The request for the upload with id '%s' broke off. Ask for the upload's status and go on from there.", ses.row.id)
}

// guarded runs an UPDATE or DELETE of the session's row, which ends with a
// condition on id = $1 AND writer = $2; it says whether the session still had
// the row.
func (s *Service) guarded(ctx context.Context, ses *session, statement string, args ...any) (bool, error) {
	var n int64
	err := s.volatile.Update(ctx, func(tx *sqldb.Tx) error {
		var err error
		n, err = tx.Exec(ctx, statement, append([]any{ses.row.id, ses.token}, args...)...)
		return err
	})
	return n == 1, storeError(err)
}

// forget removes the upload's row.
func (s *Service) forget(ctx context.Context, ses *session) error {
	_, err := s.guarded(ctx, ses, `DELETE FROM upload WHERE id = $1 AND writer = $2`)
	if err == nil {
		ses.leased = false
	}
	return err
}
