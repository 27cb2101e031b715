package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// PostgresOptions say how a PostgreSQL database is reached.
type PostgresOptions struct {
	// URL is postgres://user:password@host:port/database?parameters, or the
	// same in keyword=value form.
	URL string
	// MaxConns bounds the connections of this node; 0 means 16, fewer than 2
	// means 2, since migrations need one beside the one that holds the lock.
	MaxConns int
}

const (
	// oldestPostgres is the oldest major version that is tested against.
	oldestPostgres = 13

	// maxRetries bounds how often a transaction is tried again after a
	// deadlock or a serialization failure, which with firstPause doubling up
	// to longestPause takes some four seconds at the most.
	maxRetries   = 20
	firstPause   = 2 * time.Millisecond
	longestPause = 250 * time.Millisecond

	// endTimeout bounds a COMMIT or ROLLBACK on a connection that does not
	// answer. The caller's own end does not cut a commit short.
	endTimeout = 30 * time.Second

	// migrationLock is the advisory lock that Migrate holds: any number, the
	// same in all versions of the program.
	migrationLock = 0x62657274682d6462
)

type postgresEngine struct {
	pool   *sql.DB
	mu     sync.RWMutex // held for reading by transactions, so that close waits for them
	closed bool
}

// OpenPostgres opens the PostgreSQL database at o.URL.
func OpenPostgres(ctx context.Context, o PostgresOptions) (_ *DB, err error) {
	config, err := pgx.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("the address of the PostgreSQL database is not valid: %w", err)
	}
	if _, set := config.RuntimeParams["application_name"]; !set {
		config.RuntimeParams["application_name"] = "berth"
	}
	if o.MaxConns == 0 {
		o.MaxConns = 16
	}
	o.MaxConns = max(o.MaxConns, 2)
	e := &postgresEngine{pool: stdlib.OpenDB(*config)}
	e.pool.SetMaxOpenConns(o.MaxConns)
	e.pool.SetMaxIdleConns(o.MaxConns)
	e.pool.SetConnMaxIdleTime(5 * time.Minute)
	e.pool.SetConnMaxLifetime(time.Hour) // so that nodes follow when a name moves to another server
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := e.check(ctx); err != nil {
		return nil, err
	}
	return &DB{engine: e}, nil
}

// check refuses servers that would store something else than what they got.
func (e *postgresEngine) check(ctx context.Context) error {
	var version, encoding string
	err := e.pool.QueryRowContext(ctx, `SELECT current_setting('server_version_num'), current_setting('server_encoding')`).Scan(&version, &encoding)
	if err != nil {
		return fmt.Errorf("the PostgreSQL database cannot be reached: %w", err)
	}
	n, err := strconv.Atoi(version)
	if err != nil {
		return fmt.Errorf("the PostgreSQL server's version %q is not a number: %w", version, err)
	}
	if n/10000 < oldestPostgres {
		return fmt.Errorf("the PostgreSQL server has version %d; version %d or newer is needed", n/10000, oldestPostgres)
	}
	if encoding != "UTF8" {
		return fmt.Errorf("the PostgreSQL database has the encoding %s; create it with ENCODING 'UTF8'", encoding)
	}
	return nil
}

func (e *postgresEngine) view(ctx context.Context, fn func(tx *Tx) error) error {
	return e.run(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", fn)
}

func (e *postgresEngine) update(ctx context.Context, fn func(tx *Tx) error) error {
	return e.run(ctx, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", fn)
}

func (e *postgresEngine) run(ctx context.Context, begin string, fn func(tx *Tx) error) error {
	tx, err := e.try(ctx, begin, fn)
	if err != nil {
		return err
	}
	tx.runAfterCommit()
	return nil
}

// try runs the transaction until it goes through, fails for good, or was tried
// often enough.
func (e *postgresEngine) try(ctx context.Context, begin string, fn func(tx *Tx) error) (*Tx, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, ErrClosed
	}
	for n := 0; ; n++ {
		tx, again, err := e.once(ctx, begin, fn)
		if err == nil || !again || n >= maxRetries || pause(ctx, n) != nil {
			return tx, err
		}
	}
}

// pause waits before the next try: a random part of a doubling time, so that
// those who met do not meet again.
func pause(ctx context.Context, n int) error {
	longest := min(firstPause<<min(n, 16), longestPause)
	t := time.NewTimer(time.Duration(1 + rand.Int64N(int64(longest))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once runs the transaction once. again says that nothing of it was done and
// that another try may go through.
func (e *postgresEngine) once(ctx context.Context, begin string, fn func(tx *Tx) error) (_ *Tx, again bool, err error) {
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return nil, connectionLost(err), translate(err)
	}
	committed := false
	defer func() {
		if !committed {
			rollback(ctx, conn) // also when fn panics
		}
		_ = conn.Close() // it goes back to the pool
	}()
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return nil, connectionLost(err), translate(err)
	}
	tx := &Tx{s: connSession{conn}, postgres: true}
	defer func() { _ = tx.end(nil) }() // closes the rows before the rollback when fn panics
	if err := tx.end(fn(tx)); err != nil {
		// The closure may have put the cause into words of its own. Nothing was
		// committed, so a lost connection is no obstacle to another try.
		return nil, retryable(err) || retryable(tx.failed) || connectionLost(tx.failed), err
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if _, err := conn.ExecContext(finish, "COMMIT"); err != nil {
		return nil, retryable(err), fmt.Errorf("the commit failed: %w", translate(err))
	}
	committed = true
	return tx, false, nil
}

// rollback ends the transaction, or else the connection.
func rollback(ctx context.Context, conn *sql.Conn) {
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if _, err := conn.ExecContext(finish, "ROLLBACK"); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // drops it from the pool
	}
}

// migrate holds an advisory lock on a connection of its own meanwhile.
func (e *postgresEngine) migrate(ctx context.Context, table string, files fs.FS) error {
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqldb: migrations: %w", translate(err))
	}
	defer func() {
		// Ending the connection gives the lock up in every case.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, int64(migrationLock)); err != nil {
		return fmt.Errorf("sqldb: waiting for the lock on migrations: %w", translate(err))
	}
	if _, err := conn.ExecContext(ctx, `DO $$ BEGIN
		CREATE DOMAIN btext AS text COLLATE "C";
	EXCEPTION WHEN duplicate_object THEN NULL;
	END $$`); err != nil {
		return fmt.Errorf("sqldb: the type btext cannot be created: %w", translate(err))
	}
	p, err := migrations(ctx, goose.DialectPostgres, e.pool, table, files)
	if err != nil {
		return err
	}
	return migrateUp(ctx, p)
}

func (e *postgresEngine) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.pool.Close()
}

// connSession runs statements on a connection of the pool; pgx keeps them
// prepared by itself.
type connSession struct{ conn *sql.Conn }

var _ session = connSession{}

func (c connSession) exec(ctx context.Context, query string, args []any) (sql.Result, error) {
	return c.conn.ExecContext(ctx, query, args...)
}

func (c connSession) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	return c.conn.QueryContext(ctx, query, args...)
}
