package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
	"github.com/berth-registry/berth/internal/infra/sqldb/pgfault"
)

// PostgresOptions say how a PostgreSQL database is reached.
type PostgresOptions struct {
	// URL is postgres://user:password@host:port/database?parameters, or the
	// same in keyword=value form.
	URL string
	// MaxConns bounds the connections of this node, beside which there is one
	// for Listen and, during Migrate, two more; 0 means 16, 1 means 2.
	MaxConns int
	// StatementTimeout bounds a statement of View and Update, unless the closure
	// calls Tx.NoTimeout; 0 means 30 seconds. Migrations are not bounded. The
	// URL's own statement_timeout, lock_timeout and
	// idle_in_transaction_session_timeout go first where it has them.
	StatementTimeout time.Duration
	// Pooled says that URL leads to a pooler which hands connections out by the
	// transaction, such as pgbouncer with pool_mode = transaction: nothing is
	// kept in a session then, neither settings nor prepared statements.
	Pooled bool
	// DirectURL leads to the same database past the pooler, for migrations and
	// Listen. Pooled needs it; without Pooled, "" means URL.
	DirectURL string
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

	// outage bounds how long a View or Update waits for a server that cannot be
	// reached, such as one that restarts. A caller whose context ends waits no
	// longer than that.
	outage = 30 * time.Second

	// connectTimeout bounds one try to connect where the URL does not.
	connectTimeout = 5 * time.Second

	// endTimeout bounds a COMMIT or ROLLBACK on a connection that does not
	// answer. The caller's own end does not cut a commit short.
	endTimeout = 30 * time.Second

	presetMaxConns         = 16
	presetStatementTimeout = 30 * time.Second

	// lockTimeout bounds the wait for a row that another transaction holds,
	// below the statement's own bound so that the error names the cause. idleTimeout
	// frees what a node holds that has gone away in the middle of a transaction;
	// closures do no I/O, so nobody else is idle so long.
	lockTimeout = 20 * time.Second
	idleTimeout = time.Minute

	// migrationLock is the advisory lock that Migrate holds: any number, the
	// same in all versions of the program.
	migrationLock = 0x62657274682d6462
)

type postgresEngine struct {
	pool   *sql.DB
	direct *pgx.ConnConfig // past a pooler, without bounds
	begin  string          // what follows BEGIN and its modes

	mu     sync.RWMutex // held for reading by transactions, so that close waits for them
	closed bool

	ending    sync.Mutex
	stop      chan struct{} // closed under ending when close begins
	listeners sync.WaitGroup
}

// OpenPostgres opens the PostgreSQL database at o.URL.
func OpenPostgres(ctx context.Context, o PostgresOptions) (_ *DB, err error) {
	config, direct, err := o.configs()
	if err != nil {
		return nil, err
	}
	e := &postgresEngine{direct: direct, stop: make(chan struct{})}
	timeouts := o.timeouts(config)
	if o.Pooled {
		// Each statement is parsed, bound and run in one go, under no name.
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
		for _, name := range slices.Sorted(maps.Keys(timeouts)) {
			e.begin += "; SET LOCAL " + name + " = " + timeouts[name]
		}
	} else {
		maps.Copy(config.RuntimeParams, timeouts)
	}
	e.pool = stdlib.OpenDB(*config)
	e.pool.SetMaxOpenConns(o.MaxConns)
	e.pool.SetMaxIdleConns(o.MaxConns)
	e.pool.SetConnMaxIdleTime(5 * time.Minute)
	e.pool.SetConnMaxLifetime(time.Hour) // so that nodes follow when a name moves to another server
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	server, err := check(ctx, e.pool)
	if err != nil {
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && !o.Pooled && strings.Contains(pg.Message, "startup parameter") {
			return nil, fmt.Errorf("the PostgreSQL database is behind a pooler: say so (pooled), and give the server's own address beside it (direct URL): %w", err)
		}
		return nil, fmt.Errorf("the PostgreSQL database cannot be used: %w", err)
	}
	if o.Pooled {
		pool := stdlib.OpenDB(*direct)
		same, err := check(ctx, pool)
		if err := errors.Join(err, pool.Close()); err != nil {
			return nil, fmt.Errorf("the PostgreSQL database cannot be used at its direct URL: %w", err)
		}
		if same != server {
			return nil, errors.New("the direct URL of the PostgreSQL database leads to another database than the pooler: give the address of the database that the pooler hands out")
		}
	}
	return &DB{engine: e}, nil
}

// configs checks the options, fills in what they leave out, and reads the two
// addresses.
func (o *PostgresOptions) configs() (config, direct *pgx.ConnConfig, err error) {
	switch {
	case o.URL == "":
		return nil, nil, errors.New("the address of the PostgreSQL database is missing: write postgres://user:password@host:port/database")
	case o.MaxConns < 0:
		return nil, nil, errors.New("the number of connections to PostgreSQL must not be negative")
	case o.StatementTimeout < 0 || o.StatementTimeout > 0 && o.StatementTimeout < time.Millisecond:
		return nil, nil, errors.New("the bound of statements on PostgreSQL must be at least a millisecond")
	case o.Pooled && o.DirectURL == "":
		return nil, nil, errors.New("a PostgreSQL database behind a pooler needs the server's own address beside the pooler's (direct URL): migrations and notifications cannot go through a pooler")
	case o.Pooled && o.DirectURL == o.URL:
		return nil, nil, errors.New("the direct URL of the PostgreSQL database is that of its pooler: give the server's own address, or do not say that it is pooled")
	}
	if o.MaxConns == 0 {
		o.MaxConns = presetMaxConns
	}
	o.MaxConns = max(o.MaxConns, 2)
	if o.StatementTimeout == 0 {
		o.StatementTimeout = presetStatementTimeout
	}
	if config, err = parseConfig(o.URL); err != nil {
		return nil, nil, fmt.Errorf("the address of the PostgreSQL database is not valid: %w", err)
	}
	if o.DirectURL == "" {
		o.DirectURL = o.URL
	}
	if direct, err = parseConfig(o.DirectURL); err != nil {
		return nil, nil, fmt.Errorf("the direct URL of the PostgreSQL database is not valid: %w", err)
	}
	return config, direct, nil
}

func parseConfig(url string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	if _, set := config.RuntimeParams["application_name"]; !set {
		config.RuntimeParams["application_name"] = "berth" // poolers know this one
	}
	if config.ConnectTimeout == 0 || config.ConnectTimeout > time.Minute { // pgx's own is two minutes
		config.ConnectTimeout = connectTimeout
	}
	return config, nil
}

// timeouts are the server's settings that bound transactions, in milliseconds,
// save those that the address sets.
func (o *PostgresOptions) timeouts(config *pgx.ConnConfig) map[string]string {
	all := map[string]string{}
	for name, d := range map[string]time.Duration{
		"statement_timeout":                   o.StatementTimeout,
		"lock_timeout":                        min(lockTimeout, o.StatementTimeout),
		"idle_in_transaction_session_timeout": idleTimeout,
	} {
		if _, set := config.RuntimeParams[name]; !set {
			all[name] = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
	return all
}

// check refuses servers that would store something else than what they got. It
// returns what tells one database from all others.
func check(ctx context.Context, pool *sql.DB) (database string, err error) {
	var version, encoding string
	err = pool.QueryRowContext(ctx, `SELECT current_setting('server_version_num'), current_setting('server_encoding'), current_database() || ' ' || pg_postmaster_start_time()`).
		Scan(&version, &encoding, &database)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(version)
	if err != nil {
		return "", fmt.Errorf("the server's version %q is not a number: %w", version, err)
	}
	if n/10000 < oldestPostgres {
		return "", fmt.Errorf("the server has version %d; version %d or newer is needed", n/10000, oldestPostgres)
	}
	if encoding != "UTF8" {
		return "", fmt.Errorf("it has the encoding %s; create it with ENCODING 'UTF8'", encoding)
	}
	return database, nil
}

func (e *postgresEngine) view(ctx context.Context, fn func(tx *Tx) error) error {
	return e.run(ctx, viewing, fn)
}

func (e *postgresEngine) lookup(ctx context.Context, fn func(tx *Tx) error) error {
	return e.run(ctx, looking, fn)
}

func (e *postgresEngine) update(ctx context.Context, fn func(tx *Tx) error) error {
	return e.run(ctx, updating, fn)
}

// purpose is what a transaction is for.
type purpose int

const (
	viewing purpose = iota
	updating
	looking
)

func (e *postgresEngine) run(ctx context.Context, p purpose, fn func(tx *Tx) error) error {
	tx, err := e.try(ctx, p, fn)
	if err != nil {
		return err
	}
	tx.runAfterCommit()
	return nil
}

// try runs the transaction until it goes through, fails for good, or was tried
// often or long enough.
func (e *postgresEngine) try(ctx context.Context, p purpose, fn func(tx *Tx) error) (*Tx, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return nil, ErrClosed
	}
	var since time.Time // when the server was lost
	for conflicts, losses := 0, 0; ; {
		tx, v, err := e.once(ctx, p, fn)
		if err == nil || v == pgfault.Final {
			return tx, err
		}
		n := conflicts
		if v == pgfault.Conflict {
			conflicts++
		} else {
			if losses == 0 {
				since = time.Now()
			}
			n = losses
			losses++
		}
		if conflicts > maxRetries || losses > 0 && time.Since(since) > outage || e.pause(ctx, n) != nil {
			return nil, err
		}
	}
}

// pause waits before the next try: a random part of a doubling time, so that
// those who met do not meet again.
func (e *postgresEngine) pause(ctx context.Context, n int) error {
	longest := min(firstPause<<min(n, 16), longestPause)
	t := time.NewTimer(time.Duration(1 + rand.Int64N(int64(longest))))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-e.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once runs the transaction once. A single statement is one by itself, so it
// saves the ways to the server and back for BEGIN and COMMIT, unless its bounds
// have to be sent with a BEGIN.
func (e *postgresEngine) once(ctx context.Context, p purpose, fn func(tx *Tx) error) (_ *Tx, v pgfault.Verdict, err error) {
	conn, err := e.pool.Conn(ctx)
	if err != nil {
		return nil, pgfault.Judge(err), translate(err)
	}
	begun := p != looking || e.begin != ""
	committed := !begun
	defer func() {
		if !committed {
			rollback(ctx, conn) // also when fn panics
		}
		_ = conn.Close() // it goes back to the pool
	}()
	if begun {
		begin := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
		if p == updating {
			begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
		}
		if _, err := conn.ExecContext(ctx, begin+e.begin); err != nil {
			return nil, pgfault.Judge(err), translate(err)
		}
	}
	tx := &Tx{s: connSession{conn}, postgres: true}
	if p == looking {
		tx.look = lookOnce
	}
	defer func() { _ = tx.end(nil) }() // closes the rows before the rollback when fn panics
	if err := tx.end(fn(tx)); err != nil {
		// The closure may have put the cause into words of its own. Nothing was
		// committed, so a lost connection is no obstacle to another try.
		if v := pgfault.Judge(err); v == pgfault.Conflict {
			return nil, v, err
		}
		return nil, pgfault.Judge(tx.failed), err
	}
	if !begun {
		return tx, pgfault.Final, nil
	}
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	_, err = conn.ExecContext(finish, "COMMIT")
	switch {
	case err == nil:
		committed = true
		return tx, pgfault.Final, nil
	case !pgfault.Uncertain(err):
		return nil, pgfault.Judge(err), fmt.Errorf("the commit failed: %w", translate(err))
	case p != updating:
		return tx, pgfault.Final, nil // all was read, of one state
	}
	return nil, pgfault.Final, fmt.Errorf("%w (%w)", ErrUncertain, err)
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
func (e *postgresEngine) migrate(ctx context.Context, m migration.Set) (err error) {
	pool := stdlib.OpenDB(*e.direct)
	pool.SetMaxOpenConns(2)
	defer func() { err = errors.Join(err, pool.Close()) }() // ends the lock with its connection
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("sqldb: migrations: %w", translate(err))
	}
	defer func() {
		// Ending the connection gives the lock up in every case.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}()
	// It asks again and again, since CREATE INDEX CONCURRENTLY in the migration of
	// the node that holds the lock would wait for a statement that waits.
	for {
		var got bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(migrationLock)).Scan(&got); err != nil {
			return fmt.Errorf("sqldb: waiting for the lock on migrations: %w", translate(err))
		}
		if got {
			break
		}
		if err := e.pause(ctx, 16); err != nil {
			return fmt.Errorf("sqldb: waiting for the lock on migrations, which another node holds: %w", err)
		}
	}
	if _, err := conn.ExecContext(ctx, `DO $$ BEGIN
		CREATE DOMAIN btext AS text COLLATE "C";
	EXCEPTION WHEN duplicate_object THEN NULL;
	END $$`); err != nil {
		return fmt.Errorf("sqldb: the type btext cannot be created: %w", translate(err))
	}
	p, err := m.Prepare(ctx, goose.DialectPostgres, pool)
	if err == nil && p != nil {
		err = migration.Up(ctx, p)
	}
	return translate(err)
}

func (e *postgresEngine) status(ctx context.Context, m migration.Set) (_ migration.Status, err error) {
	pool := stdlib.OpenDB(*e.direct)
	defer func() { err = errors.Join(err, pool.Close()) }()
	return m.Status(ctx, pool, `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1`)
}

func (e *postgresEngine) close() error {
	e.leave()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.pool.Close()
}

// connSession runs statements on a connection of the pool; pgx keeps them
// prepared by itself.
type connSession struct{ conn *sql.Conn }

var _ session = connSession{}

func (c connSession) exec(ctx context.Context, query string, args []any) (int64, error) {
	res, err := c.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (c connSession) query(ctx context.Context, query string, args []any) (rows, error) {
	return c.conn.QueryContext(ctx, query, args...)
}
