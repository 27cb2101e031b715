package once

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Leases gives out the rights to work, of which one node has each at a time.
type Leases struct {
	DB    *sqldb.DB // the volatile one
	Clock clock.Clock
	Log   *slog.Logger
	// Life is how long a node that is not heard of keeps a lease.
	Life time.Duration
}

const (
	// leaseSkew is what the clocks of two nodes may differ: a lease is taken over
	// only so much after its end.
	leaseSkew = 5 * time.Second
	// forgotten is after how long the row of a fetch is removed that nobody goes on
	// with; layer uploads live no longer.
	forgotten = 48 * time.Hour
	// endLimit bounds the statements that say that something is over, whose
	// context may have ended.
	endLimit = 10 * time.Second
)

// ErrLost is the cause with which a lease's context ends when another node has taken
// the work over.
var ErrLost = errors.New("pull-through: another node has taken the fetch over")

// Lease is this node's right to do something.
type Lease struct {
	leases Leases
	id     string
	owner  int64
	// Upload is the layer upload that bytes go into, "" for none. Where End finds one,
	// the lease's row stays for who goes on.
	Upload string
	stop   func()
}

// Take gets a lease if nobody has it, and is nil otherwise. The context that it returns
// ends when the lease is lost, with ErrLost, and by the lease's End.
func (s Leases) Take(ctx context.Context, id string) (context.Context, *Lease, error) {
	l := &Lease{leases: s, id: id, owner: sqldb.NewID()}
	taken := false
	err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		taken = false
		now := s.Clock.Now()
		until := now.Add(s.Life).UnixMicro()
		n, err := tx.Exec(ctx, `INSERT INTO pullthrough_fetch (id, owner, leased_until, upload) VALUES ($1, $2, $3, '') ON CONFLICT (id) DO NOTHING`, id, l.owner, until)
		if err != nil || n == 1 {
			l.Upload, taken = "", n == 1
			return err
		}
		// Owner 0: nobody holds it.
		err = tx.QueryRow(ctx, `UPDATE pullthrough_fetch SET owner = $2, leased_until = $3 WHERE id = $1 AND (owner = 0 OR leased_until < $4) RETURNING upload`,
			id, l.owner, until, now.Add(-leaseSkew).UnixMicro()).Scan(&l.Upload)
		if errors.Is(err, sqldb.ErrNoRows) {
			return nil
		}
		taken = err == nil
		return err
	})
	if err != nil || !taken {
		return ctx, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	beat := make(chan struct{})
	go func() {
		defer close(beat)
		l.renew(ctx, cancel)
	}()
	l.stop = func() {
		cancel(context.Canceled)
		<-beat
	}
	return ctx, l, nil
}

// renew holds the lease until ctx ends, and ends it when it is lost.
func (l *Lease) renew(ctx context.Context, lost context.CancelCauseFunc) {
	tick := time.NewTicker(l.leases.Life / 3)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		held := true
		err := l.leases.DB.Update(ctx, func(tx *sqldb.Tx) error {
			n, err := tx.Exec(ctx, `UPDATE pullthrough_fetch SET leased_until = $3 WHERE id = $1 AND owner = $2`, l.id, l.owner, l.leases.Clock.Now().Add(l.leases.Life).UnixMicro())
			held = n == 1
			return err
		})
		switch {
		case err == nil && !held, err != nil && time.Since(last) > l.leases.Life:
			lost(ErrLost)
			return
		case err == nil:
			last = time.Now()
		}
	}
}

// Note remembers the layer upload for who goes on after this node.
func (l *Lease) Note(ctx context.Context, upload string) error {
	l.Upload = upload
	return l.leases.DB.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE pullthrough_fetch SET upload = $3 WHERE id = $1 AND owner = $2`, l.id, l.owner, upload)
		if err == nil && n == 0 {
			err = ErrLost
		}
		return err
	})
}

// End gives the lease up. Its row stays where there is an upload to go on with.
func (l *Lease) End(ctx context.Context) {
	l.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	query := `DELETE FROM pullthrough_fetch WHERE id = $1 AND owner = $2`
	if l.Upload != "" {
		query = `UPDATE pullthrough_fetch SET owner = 0 WHERE id = $1 AND owner = $2`
	}
	err := l.leases.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, query, l.id, l.owner)
		return err
	})
	if err != nil {
		l.leases.Log.WarnContext(ctx, "the end of a fetch could not be written; other nodes wait until its lease has run out", "fetch", l.id, "error", err)
	}
}

// Sweep removes the rows of work that nobody has gone on with.
func (s Leases) Sweep(ctx context.Context) error {
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM pullthrough_fetch WHERE leased_until < $1`, s.Clock.Now().Add(-forgotten).UnixMicro())
		return err
	})
}

// Turn takes a lease, or waits, looking every poll, until done says that another node
// has done the work: then the lease is nil.
func (s Leases) Turn(ctx context.Context, id string, poll time.Duration, done func() (bool, error)) (context.Context, *Lease, error) {
	for {
		leased, l, err := s.Take(ctx, id)
		if err != nil {
			return nil, nil, err
		}
		ready, err := done()
		if err != nil || ready {
			if l != nil {
				l.End(ctx)
			}
			return nil, nil, err
		}
		if l != nil {
			return leased, l, nil
		}
		if err := Sleep(ctx, poll); err != nil {
			return nil, nil, err
		}
	}
}

// Free gives all leases free.
func (s Leases) Free(ctx context.Context) error {
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE pullthrough_fetch SET owner = 0`)
		return err
	})
}
