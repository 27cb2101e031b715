package vulndb

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Status is how the vulnerability database stands.
type Status struct {
	// Current and Former are nil where there is none.
	Current, Former *Database
	// Age is that of the current one, by when it was made; Stale says that it is more
	// than Config.MaxAge.
	Age   time.Duration
	Stale bool
	// Unpacked says whether this node has the current one, NodeError why not, if that
	// is a failure.
	Unpacked  bool
	NodeError string
	// Sources are asked every Refresh, Asked is what came of it last.
	Sources []string
	Refresh time.Duration
	Asked   Asked
	// Advice is what to do, "" for nothing.
	Advice string
}

// Stale says whether a database is older than Config.MaxAge.
func (s *Service) Stale(db Database) bool {
	return s.c.MaxAge > 0 && s.c.Clock.Now().Sub(db.UpdatedAt) > s.c.MaxAge
}

// Status reads it.
func (s *Service) Status(ctx context.Context) (Status, error) {
	st := Status{Sources: s.c.Sources, Refresh: s.c.Refresh}
	var current, former *row
	err := s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		if current, former, err = s.inUse(ctx, tx); err != nil {
			return err
		}
		st.Asked, err = s.asked(ctx, tx)
		return err
	})
	if err != nil {
		return st, err
	}
	if former != nil {
		st.Former = &former.db
	}
	if current == nil {
		st.Advice = "no vulnerability database: run berth vulndb fetch -o FILE on a machine with internet and berth vulndb import FILE here"
		if len(s.c.Sources) > 0 && st.Asked.Error == "" {
			st.Advice = "no vulnerability database yet: it is fetched soon from the sources; or import one with berth vulndb import FILE"
		}
		return st, nil
	}
	st.Current, st.Age, st.Stale, st.Unpacked = &current.db, s.c.Clock.Now().Sub(current.db.UpdatedAt), s.Stale(current.db), s.unpacked(current.db.Digest)
	s.mu.Lock()
	if s.failed != nil && s.failed.digest == current.db.Digest && !st.Unpacked {
		st.NodeError = s.failed.err.Error()
	}
	s.mu.Unlock()
	switch {
	case st.NodeError != "":
		st.Advice = "this node cannot unpack the database, see the error; it tries again every minute"
	case st.Stale && len(s.c.Sources) == 0:
		st.Advice = "the database is old: run berth vulndb fetch -o FILE on a machine with internet and berth vulndb import FILE here"
	case st.Stale:
		st.Advice = "the database is old: look at the last refresh, or import a newer one with berth vulndb import FILE"
	}
	return st, nil
}

// rows reads all rows.
func (s *Service) rows(ctx context.Context) (all []row, err error) {
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(ctx, tx, s.scan, `SELECT `+columns+` FROM scan_database ORDER BY id`)
		return err
	})
	return all, err
}
