package sqldb

import (
	"context"
	"io/fs"

	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
)

// Snapshot runs fn at most once, in a transaction that only reads and sees one
// state of the database for as long as fn takes: no bound is set on it, and fn may
// do I/O between its queries, which View does not allow. It is for reading
// everything, as a backup does. On PostgreSQL the state is that of the beginning,
// on SQLite that of fn's first query.
//
// A database pays for one that takes long: SQLite's log of changes (Path-wal) only
// grows meanwhile, and PostgreSQL keeps the old forms of rows that change.
func (db *DB) Snapshot(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, ok := db.engine.(*postgresEngine)
	if !ok {
		return db.engine.view(ctx, fn) // which runs it once, and without a bound
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.closed {
		return ErrClosed
	}
	tx, _, err := e.once(ctx, viewing, func(tx *Tx) error {
		if err := tx.unbounded(ctx); err != nil {
			return err
		}
		return fn(tx)
	})
	if err != nil {
		return err
	}
	tx.runAfterCommit()
	return nil
}

// Load is Update for a database that nobody else uses, such as one that is being
// restored: fn may do I/O of its own, take as long as it wants and change as much.
// It is one transaction all the same, and fn may run again.
func (db *DB) Load(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.engine.update(ctx, func(tx *Tx) error {
		if err := tx.unbounded(ctx); err != nil {
			return err
		}
		return fn(tx)
	})
}

// MigrateTo is Migrate up to the number version and no further, for rows that were
// written in that form. migration.ErrUnknown when there is no such migration.
func (db *DB) MigrateTo(ctx context.Context, version int64, table string, dirs ...fs.FS) error {
	m, err := migration.Merge(db.Shared(), table, dirs)
	if err != nil {
		return err
	}
	if m, err = m.UpTo(version); err != nil {
		return err
	}
	return db.engine.migrate(ctx, m)
}

// unbounded lifts the server's bounds on statements and on pauses between them,
// until the transaction ends.
func (tx *Tx) unbounded(ctx context.Context) error {
	if !tx.postgres {
		return nil
	}
	for _, set := range []string{`SET LOCAL statement_timeout = 0`, `SET LOCAL idle_in_transaction_session_timeout = 0`} {
		if _, err := tx.Exec(ctx, set); err != nil {
			return err
		}
	}
	return nil
}
