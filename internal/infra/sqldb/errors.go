package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
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

	errRowsOpen = errors.New("sqldb: the rows of an earlier query are still open; read them to the end or close them first")
	errEnded    = errors.New("sqldb: the transaction has ended; it must not be used outside its closure")
)

// SQLSTATE codes of PostgreSQL that mean something here.
const (
	pgUniqueViolation      = "23505"
	pgDiskFull             = "53100"
	pgSerializationFailure = "40001"
	pgDeadlock             = "40P01"
	pgPlanChanged          = "0A000" // "cached plan must not change result type", after a migration
	pgCannotConnectNow     = "57P03"
	pgAdminShutdown        = "57P01"
	pgCrashShutdown        = "57P02"
)

// IsUnique says whether err comes from a violated primary key or unique index.
func IsUnique(err error) bool {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgUniqueViolation
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
		if pg.Code == pgDiskFull {
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

// retryable says whether PostgreSQL rolled the transaction back for a reason
// that a second try may not meet.
func retryable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case pgSerializationFailure, pgDeadlock:
		return true
	case pgPlanChanged:
		return pg.Message == "cached plan must not change result type"
	}
	return false
}

// connectionLost says whether a connection turned out to be dead. It may only
// lead to another try as long as no COMMIT was sent.
func connectionLost(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code == pgAdminShutdown || pg.Code == pgCrashShutdown || pg.Code == pgCannotConnectNow
	}
	for _, sign := range []error{driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}
