package sqldb

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/berth-registry/berth/internal/infra/sqldb/pgfault"
)

var (
	// ErrNoRows is what Row.Scan returns when the query had no row.
	ErrNoRows = sql.ErrNoRows

	// ErrFull means that the database has no room left to write.
	ErrFull = errors.New("the disk of the database is full: free or add space, then try again")

	// ErrClosed means that the handle has been closed.
	ErrClosed = errors.New("the database handle is closed")

	// ErrCorrupt means that the SQLite file is damaged.
	ErrCorrupt = errors.New("the database file is damaged: restore it from a backup")

	// ErrUncertain means that the connection to PostgreSQL was lost, or gave no
	// answer in time, after COMMIT was sent: the work of the Update may be there
	// or not. It is not tried again. Whoever gets it passes the failure on and
	// undoes nothing: what the transaction may have named must stay.
	ErrUncertain = errors.New("the database did not say whether the change was made; look before making it again")

	errRowsOpen = errors.New("sqldb: the rows of an earlier query are still open; read them to the end or close them first")
	errEnded    = errors.New("sqldb: the transaction has ended; it must not be used outside its closure")
)

// IsUnique says whether err comes from a violated primary key or unique index.
func IsUnique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgfault.UniqueViolation
	}
	switch sqliteCode(err) {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return true
	}
	return false
}

// sqliteCode is the extended result code of an error of SQLite, 0 for others.
func sqliteCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// translate gives an engine's error the meaning that callers can test for. It
// keeps the engine's own text.
func translate(err error) error {
	if err == nil {
		return nil
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		if pg.Code == pgfault.DiskFull {
			return fmt.Errorf("%w (%w)", ErrFull, err)
		}
		return err
	}
	switch code := sqliteCode(err); code & 0xff {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w (%w)", ErrFull, err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w (%w)", ErrCorrupt, err)
	}
	return err
}
