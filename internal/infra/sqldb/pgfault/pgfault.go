// Package pgfault says what an error of PostgreSQL, of a pooler before it or of
// the way there means for the transaction that met it: whether another try may
// go through, and whether a commit may have happened. It decides and does
// nothing; sqldb tries again.
package pgfault

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLSTATE codes of PostgreSQL that mean something here.
const (
	UniqueViolation = "23505"
	DiskFull        = "53100"

	serializationFailure = "40001"
	deadlock             = "40P01"
	planChanged          = "0A000" // "cached plan must not change result type", after a migration
	tooManyConnections   = "53300"
	idleInTransaction    = "25P03"
	adminShutdown        = "57P01"
	crashShutdown        = "57P02"
	cannotConnectNow     = "57P03"
	connectionException  = "08" // the class; poolers report so what they met
)

// Verdict says what another try of a transaction may bring, of which nothing was
// done.
type Verdict int

// The verdicts.
const (
	// Final: the same.
	Final Verdict = iota
	// Conflict: success, now that others are done.
	Conflict
	// Lost: success, once there is a server again.
	Lost
)

// Judge gives the verdict on an error; nil is Final.
func Judge(err error) Verdict {
	switch {
	case retryable(err):
		return Conflict
	case connectionLost(err):
		return Lost
	}
	return Final
}

// retryable says whether PostgreSQL rolled the transaction back for a reason
// that a second try may not meet.
func retryable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	switch pg.Code {
	case serializationFailure, deadlock:
		return true
	case planChanged:
		return pg.Message == "cached plan must not change result type"
	}
	return false
}

// connectionLost says whether a connection turned out to be dead or could not
// be made, which waiting may mend. It may only lead to another try as long as no
// COMMIT was sent.
func connectionLost(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case adminShutdown, crashShutdown, cannotConnectNow, idleInTransaction, tooManyConnections:
			return true
		}
		return strings.HasPrefix(pg.Code, connectionException) && fatal(pg)
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true // refused, not found, not answered: no server said no
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	for _, sign := range []error{driver.ErrBadConn, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, sign) {
			return true
		}
	}
	return pgconn.SafeToRetry(err)
}

// Uncertain says whether the failure of a COMMIT leaves open what became of it:
// all save a refusal by a server that goes on. That the driver calls a failure
// safe to retry is no answer: it says so of some that it met after sending.
func Uncertain(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return !ok || fatal(pg)
}

// fatal says whether the connection ended with the error. Poolers do not send
// the word that is not translated.
func fatal(pg *pgconn.PgError) bool {
	severity := pg.SeverityUnlocalized
	if severity == "" {
		severity = pg.Severity
	}
	return severity == "FATAL" || severity == "PANIC"
}
