package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/pressly/goose/v3"

	"github.com/berth-registry/berth/internal/infra/sqldb/direct"
	"github.com/berth-registry/berth/internal/infra/sqldb/filelock"
	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
)

// SQLiteOptions say how a SQLite file is opened.
type SQLiteOptions struct {
	// Path of the file, made if it is not there. Beside it stand Path-wal,
	// Path-shm and, with Exclusive, Path.lock.
	Path string
	// Durable syncs every commit to the disk before it is acknowledged.
	// Without it commits survive a kill of the process, not a power cut: if
	// that has damaged the file, it is thrown away when it is opened and begun
	// anew, see DB.Recreated.
	Durable bool
	// Readers is how many Views run at the same time; 0 means four, or as many as
	// goroutines may run if those are more. Each takes a megabyte and more.
	Readers int
	// Exclusive refuses to open while another process has opened it so.
	Exclusive bool
}

// sqliteEngine is one writer that commits in groups, and several readers.
type sqliteEngine struct {
	options SQLiteOptions
	lock    *filelock.Lock
	writer  *writer
	readers *readers

	recreated bool
	closing   sync.Once
	closeErr  error
}

// OpenSQLite opens the SQLite file at o.Path.
func OpenSQLite(ctx context.Context, o SQLiteOptions) (_ *DB, err error) {
	if o.Path == "" {
		return nil, errors.New("sqldb: a SQLite database needs a path")
	}
	if o.Path, err = filepath.Abs(o.Path); err != nil {
		return nil, fmt.Errorf("sqldb: %w", err)
	}
	if o.Readers <= 0 {
		o.Readers = max(4, runtime.GOMAXPROCS(0))
	}
	e := &sqliteEngine{options: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if o.Exclusive {
		if e.lock, err = filelock.Take(o.Path + ".lock"); err != nil {
			return nil, err
		}
	}
	if err := e.open(ctx); err != nil {
		return nil, fmt.Errorf("the database file %s cannot be opened: %w", o.Path, err)
	}
	return &DB{engine: e}, nil
}

func (e *sqliteEngine) open(ctx context.Context) error {
	if err := create(e.options.Path); err != nil {
		return err
	}
	conn, err := e.connect(ctx)
	if errors.Is(err, ErrCorrupt) && !e.options.Durable {
		if err := remove(e.options.Path); err != nil {
			return err
		}
		e.recreated = true
		if err := create(e.options.Path); err != nil {
			return err
		}
		conn, err = e.connect(ctx)
	}
	if err != nil {
		return err
	}
	e.writer = startWriter(conn)
	e.readers = newReaders(direct.Reading(e.options.Path), e.options.Readers)
	return nil
}

// connect makes the writer's connection. A file that is not synced is looked
// over first; one that is has been written in the right order.
func (e *sqliteEngine) connect(ctx context.Context) (*direct.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := direct.Open(direct.Writing(e.options.Path, e.options.Durable))
	if err != nil || e.options.Durable {
		return c, translate(err)
	}
	tx := &Tx{s: reading{c}}
	var verdict string
	err = tx.end(tx.QueryRow(ctx, "PRAGMA quick_check(1)").Scan(&verdict))
	c.Rest()
	if err == nil && verdict != "ok" {
		err = fmt.Errorf("%w (%s)", ErrCorrupt, verdict)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// create makes an empty database file that only its owner can read; SQLite
// gives the files beside it the same permissions.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// remove removes a database with the files beside it, which are of no use
// without it.
func remove(path string) error {
	var all []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func (e *sqliteEngine) view(ctx context.Context, fn func(tx *Tx) error) error {
	return e.readers.view(ctx, lookAll, fn)
}

func (e *sqliteEngine) lookup(ctx context.Context, fn func(tx *Tx) error) error {
	return e.readers.view(ctx, lookOnce, fn)
}

func (e *sqliteEngine) update(ctx context.Context, fn func(tx *Tx) error) error {
	return e.writer.update(ctx, fn)
}

// migrate uses a connection of its own, since goose wants a pool. Foreign keys
// are off while tables are rebuilt, and looked at afterwards; the database's
// user_version says meanwhile that this is still to do.
func (e *sqliteEngine) migrate(ctx context.Context, m migration.Set) (err error) {
	db := direct.Pool(direct.Migrating(e.options.Path, e.options.Durable))
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := m.Prepare(ctx, goose.DialectSQLite3, db)
	if err != nil || p == nil {
		return translate(err)
	}
	pending, err := p.HasPending(ctx)
	if err != nil {
		return fmt.Errorf("sqldb: migrations: %w", translate(err))
	}
	if pending {
		if _, err := db.ExecContext(ctx, "PRAGMA user_version = 1"); err != nil {
			return fmt.Errorf("sqldb: migrations: %w", translate(err))
		}
		if err := migration.Up(ctx, p); err != nil {
			return translate(err)
		}
	}
	return checkForeignKeys(ctx, db)
}

func (e *sqliteEngine) status(ctx context.Context, m migration.Set) (_ migration.Status, err error) {
	db := direct.Pool(direct.Reading(e.options.Path))
	defer func() { err = errors.Join(err, db.Close()) }()
	return m.Status(ctx, db, `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1`)
}

func checkForeignKeys(ctx context.Context, db *sql.DB) error {
	var toDo int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&toDo); err != nil || toDo == 0 {
		return translate(err)
	}
	var broken string
	switch err := db.QueryRowContext(ctx, `SELECT "table" FROM pragma_foreign_key_check LIMIT 1`).Scan(&broken); {
	case err == nil:
		return fmt.Errorf("the migrations left rows in the table %s that refer to rows that are not there: restore the backup taken before the upgrade", broken)
	case !errors.Is(err, sql.ErrNoRows):
		return fmt.Errorf("sqldb: looking at the foreign keys: %w", translate(err))
	}
	_, err := db.ExecContext(ctx, "PRAGMA user_version = 0")
	return translate(err)
}

func (e *sqliteEngine) close() error {
	e.closing.Do(func() {
		var all []error
		if e.writer != nil {
			all = append(all, e.writer.close())
		}
		if e.readers != nil {
			all = append(all, e.readers.close())
		}
		if e.lock != nil {
			all = append(all, e.lock.Release())
		}
		e.closeErr = errors.Join(all...)
	})
	return e.closeErr
}
