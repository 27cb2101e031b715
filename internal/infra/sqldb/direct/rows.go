package direct

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Rows are the rows of a query, read one after the other, as those of
// database/sql are.
type Rows struct {
	c       *Conn
	rows    driver.Rows
	columns []string
	values  []driver.Value // of the row, once there is one
	closed  bool
	row     bool
	err     error
}

var errClosed = errors.New("sql: Rows are closed")

func (r *Rows) open(c *Conn, rows driver.Rows) {
	columns := rows.Columns()
	values := slices.Grow(r.values[:0], len(columns))[:len(columns)]
	*r = Rows{c: c, rows: rows, columns: columns, values: values}
}

// Next goes to the next row. At the end, after an error and when the context of
// the query has ended, it closes the rows and returns false.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	select {
	case <-r.c.done:
		r.err = r.c.ended()
	default:
		err := r.rows.Next(r.values)
		if err == nil {
			r.row = true
			return true
		}
		if err != io.EOF {
			r.err = r.c.cause(err)
		}
	}
	_ = r.Close() // the error that ended them is the one to report
	return false
}

// Scan reads the columns of the row to where dest points, by the rules of
// database/sql. A []byte is a copy, and nil for what is empty or NULL.
func (r *Rows) Scan(dest ...any) error {
	switch {
	case r.err != nil:
		return r.err
	case r.closed:
		return errClosed
	case !r.row:
		return errors.New("sql: Scan called without calling Next")
	case len(dest) != len(r.columns):
		return fmt.Errorf("sql: expected %d destination arguments in Scan, not %d", len(r.columns), len(dest))
	}
	for i, v := range r.values {
		if err := assign(dest[i], v); err != nil {
			return fmt.Errorf("sql: Scan error on column index %d, name %q: %w", i, r.columns[i], err)
		}
	}
	return nil
}

// Err is the error that ended the rows early, if any.
func (r *Rows) Err() error { return r.err }

// Close ends the reading. It may be called again.
func (r *Rows) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	clear(r.values) // they may be large
	return r.rows.Close()
}
