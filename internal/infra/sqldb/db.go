package sqldb

import (
	"context"
	"io/fs"

	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
)

// engine is what SQLite and PostgreSQL do differently.
type engine interface {
	view(ctx context.Context, fn func(tx *Tx) error) error
	lookup(ctx context.Context, fn func(tx *Tx) error) error
	update(ctx context.Context, fn func(tx *Tx) error) error
	migrate(ctx context.Context, m migration.Set) error
	status(ctx context.Context, m migration.Set) (migration.Status, error)
	close() error
}

var (
	_ engine = (*sqliteEngine)(nil)
	_ engine = (*postgresEngine)(nil)
)

// DB is an open database. Its methods may be called by many goroutines.
type DB struct {
	engine   engine
	observer func(context.Context, Transaction) // nil: nobody is told; see Observe
}

// View runs fn in a transaction that only reads and sees one state of the
// database throughout. fn may run again.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.observer != nil {
		return db.observed(ctx, false, db.engine.view, fn)
	}
	return db.engine.view(ctx, fn)
}

// Update runs fn in a transaction that reads and writes, and returns nil once
// its work is committed. An error of fn or of one of its statements, and a
// panic, roll back everything that fn did. fn may run again, so it must not
// change anything but the database and its own results.
//
// On PostgreSQL both wait up to 30 seconds for a server that cannot be reached,
// for instance while it restarts, unless ctx ends before; and Update returns
// ErrUncertain when the answer to its COMMIT was lost.
//
// A caller whose ctx ends before fn has begun gets ctx's error and fn does not
// run; on SQLite a closure that has begun is finished all the same.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.observer != nil {
		return db.observed(ctx, true, db.engine.update, fn)
	}
	return db.engine.update(ctx, fn)
}

// Migrate brings the database to the form that the *.sql files at the top of
// dirs describe. They are run in the order of the numbers in front of their
// names, each in a transaction and each once: table remembers which were run.
// On PostgreSQL a lock keeps the nodes of a deployment from doing so at once.
//
// A database that a newer program has brought further is left as it is, and is
// refused if one of the migrations that this program does not know has the line
// "-- contract: reason": an older program cannot live with that one.
func (db *DB) Migrate(ctx context.Context, table string, dirs ...fs.FS) error {
	m, err := migration.Merge(db.Shared(), table, dirs)
	if err != nil {
		return err
	}
	return db.engine.migrate(ctx, m)
}

// MigrationStatus says what Migrate would do, and does nothing.
func (db *DB) MigrationStatus(ctx context.Context, table string, dirs ...fs.FS) (migration.Status, error) {
	m, err := migration.Merge(db.Shared(), table, dirs)
	if err != nil {
		return migration.Status{}, err
	}
	return db.engine.status(ctx, m)
}

// Recreated says whether a SQLite file that is not durable was found damaged
// when it was opened, thrown away and begun anew.
func (db *DB) Recreated() bool {
	e, ok := db.engine.(*sqliteEngine)
	return ok && e.recreated
}

// Close waits for the transactions under way and closes the database. Updates
// that wait for their turn get ErrClosed.
func (db *DB) Close() error { return db.engine.close() }
