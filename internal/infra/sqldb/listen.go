package sqldb

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/berth-registry/berth/internal/infra/sqldb/pgfault"
)

const (
	// aliveEvery is how often a connection that only listens shows whether it
	// is alive, within aliveTimeout.
	aliveEvery   = time.Minute
	aliveTimeout = 10 * time.Second
)

// Shared says whether other processes can use the database at the same time,
// as the nodes of a deployment do: on PostgreSQL, not on SQLite.
func (db *DB) Shared() bool {
	_, ok := db.engine.(*postgresEngine)
	return ok
}

// Notify has Listen on every node call its function, once the transaction is
// committed. payload is under 8000 bytes; the same one is sent once however
// often a transaction does. On SQLite it does nothing.
//
// PostgreSQL commits the transactions that notify one after the other, so what
// is written often should not: notify in a small transaction of its own
// afterwards.
func (tx *Tx) Notify(ctx context.Context, channel, payload string) error {
	if !tx.postgres {
		return nil
	}
	_, err := tx.Exec(ctx, `SELECT pg_notify($1, $2)`, channel, payload)
	return err
}

// NoTimeout lifts the bound on the statements that follow in the transaction,
// for work that is known to take long. On SQLite there is none.
func (tx *Tx) NoTimeout(ctx context.Context) error {
	if !tx.postgres {
		return nil
	}
	_, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`)
	return err
}

// Listen calls fn with the payload of every Notify on the channel, of all nodes,
// this one included, one after the other, until ctx ends or the handle is
// closed, which are no errors. What is sent while the connection is lost does
// not come; so each time that it is made, also the first, fn is called with "".
// Notifications are hints: who needs certainty looks at the tables now and then.
//
// On SQLite, where the one process knows what it does, it returns at once.
func (db *DB) Listen(ctx context.Context, channel string, fn func(payload string)) error {
	e, ok := db.engine.(*postgresEngine)
	if !ok {
		return nil
	}
	return e.listen(ctx, channel, fn)
}

func (e *postgresEngine) listen(ctx context.Context, channel string, fn func(payload string)) error {
	if !e.enter() {
		return ErrClosed
	}
	defer e.listeners.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-e.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	for n := 0; ; n++ {
		err := e.listenOnce(ctx, channel, func(payload string) {
			n = 0 // it was connected
			fn(payload)
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && pgfault.Judge(err) != pgfault.Lost:
			return fmt.Errorf("sqldb: listening on %s: %w", channel, err)
		case e.pause(ctx, n+4) != nil: // no hurry
			return nil
		}
	}
}

// enter counts a listener, unless the handle is being closed.
func (e *postgresEngine) enter() bool {
	e.ending.Lock()
	defer e.ending.Unlock()
	select {
	case <-e.stop:
		return false
	default:
		e.listeners.Add(1)
		return true
	}
}

// leave ends the listeners and whoever waits for a server.
func (e *postgresEngine) leave() {
	e.ending.Lock()
	select {
	case <-e.stop:
	default:
		close(e.stop)
	}
	e.ending.Unlock()
	e.listeners.Wait()
}

// listenOnce listens on one connection until that is lost, which is no error.
func (e *postgresEngine) listenOnce(ctx context.Context, channel string, fn func(payload string)) error {
	conn, err := pgx.ConnectConfig(ctx, e.direct)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), aliveTimeout)
		defer cancel()
		_ = conn.Close(end) // it is given up
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	fn("")
	for {
		wait, cancel := context.WithTimeout(ctx, aliveEvery)
		note, err := conn.WaitForNotification(wait)
		cancel()
		if err == nil {
			fn(note.Payload)
			continue
		}
		if ctx.Err() != nil || conn.IsClosed() {
			return nil
		}
		// It was quiet for a while. The server answers only if both still know
		// of each other.
		alive, cancel := context.WithTimeout(ctx, aliveTimeout)
		err = conn.Ping(alive)
		cancel()
		if err != nil {
			return nil
		}
	}
}
