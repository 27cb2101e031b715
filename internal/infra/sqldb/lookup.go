package sqldb

import (
	"context"
	"errors"
	"strings"
)

// Lookup is View for a single SELECT, which sees one state of the database by
// itself, and costs a fraction of a View: nothing is begun and ended around it.
// A second statement in fn is refused, and so is one that does not begin with
// the word SELECT. fn may run again.
func (db *DB) Lookup(ctx context.Context, fn func(tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.observer != nil {
		return db.observed(ctx, false, db.engine.lookup, fn)
	}
	return db.engine.lookup(ctx, fn)
}

// look is how many statements a transaction may run.
type look int

const (
	lookAll  look = iota // as many as it wants
	lookOnce             // one SELECT
	lookOver             // no more
)

var (
	errLookedUp = errors.New("sqldb: a Lookup runs one statement; use View for more")
	errNoSelect = errors.New("sqldb: a Lookup runs a SELECT; use View or Update for other statements")
)

// take counts a statement.
func (l *look) take(query string) error {
	switch {
	case *l == lookAll:
		return nil
	case *l == lookOver:
		return errLookedUp
	case !selects(query):
		return errNoSelect
	}
	*l = lookOver
	return nil
}

// selects says whether a text is a SELECT. PostgreSQL would run any other in a
// transaction of its own, which may write.
func selects(query string) bool {
	const word = "SELECT"
	query = strings.TrimLeft(query, " \t\n")
	return len(query) > len(word) && strings.EqualFold(query[:len(word)], word)
}
