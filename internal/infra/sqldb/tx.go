package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/infra/sqldb/direct"
	"github.com/berth-registry/berth/internal/infra/sqldb/value"
)

// session runs statements on the one connection of a transaction.
type session interface {
	exec(ctx context.Context, query string, args []any) (rowsAffected int64, err error)
	query(ctx context.Context, query string, args []any) (rows, error)
}

// rows are the rows of a query as an engine reads them. How they are scanned
// stands in scan.
type rows interface {
	Next() bool
	Err() error
	Close() error
}

var (
	_ rows = (*direct.Rows)(nil)
	_ rows = (*sql.Rows)(nil)
)

// Tx is a transaction under way. It is used by one goroutine, within the
// closure that it was given to.
type Tx struct {
	s        session
	postgres bool
	look     look
	open     *Rows
	failed   error
	ended    bool
	after    []func()
}

// Scanner is a row that can be read: Row and Rows.
type Scanner interface {
	Scan(dest ...any) error
}

var (
	_ Scanner = (*Rows)(nil)
	_ Scanner = Row{}
)

// Exec runs a statement and returns how many rows it inserted, changed or
// deleted.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) (rowsAffected int64, err error) {
	if err := tx.ready(query, args); err != nil {
		return 0, err
	}
	n, err := tx.s.exec(ctx, query, args)
	if err != nil {
		return 0, tx.fail(err)
	}
	return n, nil
}

// Query runs a statement that returns rows. They must be read to the end or
// closed before the next statement.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*Rows, error) {
	if err := tx.ready(query, args); err != nil {
		return nil, err
	}
	rows, err := tx.s.query(ctx, query, args)
	if err != nil {
		return nil, tx.fail(err)
	}
	tx.open = &Rows{tx: tx, rows: rows}
	return tx.open, nil
}

// QueryRow runs a statement of which the first row matters. Errors come from
// the Scan of the Row, which must be called.
func (tx *Tx) QueryRow(ctx context.Context, query string, args ...any) Row {
	rows, err := tx.Query(ctx, query, args...)
	return Row{rows: rows, err: err}
}

// Collect runs a query and reads all its rows with scan. Without rows it
// returns nil.
func Collect[T any](ctx context.Context, tx *Tx, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	return Append(ctx, tx, nil, scan, query, args...)
}

// Append is Collect behind the end of all, for those who know how many will come.
func Append[T any](ctx context.Context, tx *Tx, all []T, scan func(Scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		all = append(all, one)
	}
	if err := rows.Close(); err != nil {
		return nil, err
	}
	return all, nil
}

// One scans a row of one column, for Collect. T is an integer, bool, string or
// []byte, or a named type of those kinds.
func One[T any](row Scanner) (v T, err error) { return v, row.Scan(&v) }

// ForUpdate is the end of a SELECT that locks the rows it finds against all
// other writers until the transaction ends. It is empty on SQLite, where there
// is one writer at a time.
func (tx *Tx) ForUpdate() string { return tx.onPostgres(" FOR UPDATE") }

// ForShare is the end of a SELECT whose rows must stay as they are until the
// transaction ends, while others may hold them the same way.
func (tx *Tx) ForShare() string { return tx.onPostgres(" FOR SHARE") }

// SkipLocked is the end of a SELECT that locks the rows it finds and passes
// over those that another transaction holds.
func (tx *Tx) SkipLocked() string { return tx.onPostgres(" FOR UPDATE SKIP LOCKED") }

// Serial says that this transaction changes things alone: no other one that writes
// has begun before it and goes on.
func (tx *Tx) Serial() bool { return tx.onPostgres("-") == "" }

func (tx *Tx) onPostgres(s string) string {
	if tx.postgres {
		return s
	}
	return ""
}

// AfterCommit has fn run once, after the commit that made the closure's work
// durable, in the goroutine that called Update or View and before that call
// returns. It does not run when the transaction is rolled back; of a closure
// that runs again only the last run counts.
func (tx *Tx) AfterCommit(fn func()) { tx.after = append(tx.after, fn) }

func (tx *Tx) ready(query string, args []any) error {
	switch {
	case tx.ended:
		return errEnded
	case tx.failed != nil:
		return tx.failed
	case tx.open != nil:
		return tx.fail(errRowsOpen)
	}
	if err := tx.look.take(query); err != nil {
		return tx.fail(err)
	}
	if err := value.Normalize(args); err != nil {
		return tx.fail(err)
	}
	return nil
}

// fail makes the transaction unusable, as PostgreSQL does by itself.
func (tx *Tx) fail(err error) error {
	err = translate(err)
	if tx.failed == nil {
		tx.failed = err
	}
	return err
}

// end closes what the closure left open and says what became of it: its own
// error, or that of a statement whose failure it passed over.
func (tx *Tx) end(err error) error {
	if tx.open != nil {
		if closeErr := tx.open.Close(); err == nil {
			err = closeErr
		}
	}
	tx.ended = true
	if err == nil {
		err = tx.failed
	}
	return err
}

func (tx *Tx) runAfterCommit() {
	for _, fn := range tx.after {
		fn()
	}
}

// Rows are the rows of a query, read one after the other.
type Rows struct {
	tx     *Tx
	rows   rows
	closed bool
	err    error
}

// Next goes to the next row. At the end, and after an error, it closes the rows
// and returns false.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	if r.rows.Next() {
		return true
	}
	_ = r.Close() // kept for Err
	return false
}

// Scan reads the columns of the row into dest. A []byte is a copy and never
// nil.
func (r *Rows) Scan(dest ...any) error {
	if r.closed {
		if r.err != nil {
			return r.err
		}
		return errors.New("sqldb: Scan without a row")
	}
	if err := scan(r.rows, dest); err != nil {
		return err
	}
	for _, d := range dest {
		// One engine reads an empty value as nil, the other does not.
		if b, ok := d.(*[]byte); ok && *b == nil {
			*b = []byte{}
		}
	}
	return nil
}

// scan calls no method of an interface, for which dest would have to be allocated
// for each row.
func scan(r rows, dest []any) error {
	switch r := r.(type) {
	case *direct.Rows:
		return r.Scan(dest...)
	case *sql.Rows:
		return r.Scan(dest...)
	}
	return fmt.Errorf("sqldb: rows of the type %T cannot be scanned", r)
}

// Err is the error that ended the rows early, if any.
func (r *Rows) Err() error { return r.err }

// Close ends the reading. It may be called again; it returns the same error as
// Err.
func (r *Rows) Close() error {
	if r.closed {
		return r.err
	}
	r.closed = true
	r.tx.open = nil
	err := r.rows.Err()
	if closeErr := r.rows.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		r.err = r.tx.fail(err)
	}
	return r.err
}

// Row is the first row of a query.
type Row struct {
	rows *Rows
	err  error
}

// Scan reads the columns into dest and closes the query. It returns ErrNoRows
// when there is no row.
func (r Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	err := r.rows.Scan(dest...)
	if closeErr := r.rows.Close(); err == nil {
		err = closeErr
	}
	return err
}
