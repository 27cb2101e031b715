package vulndb

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The states of a row.
const (
	stateIncoming = "incoming"
	stateCurrent  = "current"
	stateFormer   = "former"
	stateGoing    = "going"
)

// row is a row of scan_database.
type row struct {
	id     int64
	state  string
	db     Database
	object blobstore.Object
}

const columns = `id, state, digest, manifest, schema_version, updated_at, next_update, downloaded_at, imported_at, size, source, object_key, object_size, seal`

func (s *Service) scan(from sqldb.Scanner) (r row, err error) {
	var schema, updated, next, downloaded, imported int64
	err = from.Scan(&r.id, &r.state, &r.db.Digest, &r.db.Manifest, &schema, &updated, &next, &downloaded, &imported, &r.db.Size, &r.db.Source,
		&r.object.Key, &r.object.Size, &r.object.Seal)
	r.db.Schema, r.db.Dir = int(schema), s.dir(r.db.Digest)
	r.db.UpdatedAt, r.db.NextUpdate, r.db.DownloadedAt, r.db.ImportedAt = at(updated), at(next), at(downloaded), at(imported)
	if len(r.object.Seal) == 0 {
		r.object.Seal = nil // as the store gave it
	}
	return r, err
}

// dir is the directory of a database on this node.
func (s *Service) dir(d name.Digest) string { return filepath.Join(s.c.Dir, d.Hex()) }

// at is the time of a column, zero for 0.
func at(micro int64) time.Time {
	if micro == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micro).UTC()
}

// micro is the column of a time, 0 for zero and for what no column can hold.
func micro(t time.Time) int64 {
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return 0
	}
	return t.UnixMicro()
}

// inUse reads the current row and the former one, nil where there is none.
func (s *Service) inUse(ctx context.Context, tx *sqldb.Tx) (current, former *row, err error) {
	all, err := sqldb.Collect(ctx, tx, s.scan, `SELECT `+columns+` FROM scan_database WHERE state IN ($1, $2)`, stateCurrent, stateFormer)
	for i := range all {
		if all[i].state == stateCurrent {
			current = &all[i]
		} else {
			former = &all[i]
		}
	}
	return current, former, err
}

// look is inUse in a transaction of its own.
func (s *Service) look(ctx context.Context) (current, former *row, err error) {
	err = s.c.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		current, former, err = s.inUse(ctx, tx)
		return err
	})
	return current, former, err
}

// hold makes the transaction the only one that changes what is current.
func hold(ctx context.Context, tx *sqldb.Tx) error {
	_, err := tx.Exec(ctx, `INSERT INTO scan_database_state (id, revision, asked_at, source, failure, ask_at) VALUES (1, 1, 0, '', '', 0)
		ON CONFLICT (id) DO UPDATE SET revision = scan_database_state.revision + 1`)
	return err
}

func setState(ctx context.Context, tx *sqldb.Tx, r *row, state string) error {
	if r == nil {
		return nil
	}
	_, err := tx.Exec(ctx, `UPDATE scan_database SET state = $1 WHERE id = $2`, state, r.id)
	return err
}

// begin writes the row of a database whose object is about to be made.
func (s *Service) begin(ctx context.Context, r row) error {
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO scan_database (`+columns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13)`,
			r.id, stateIncoming, r.db.Digest, r.db.Manifest, r.db.Schema, micro(r.db.UpdatedAt), micro(r.db.NextUpdate), micro(r.db.DownloadedAt),
			micro(r.db.ImportedAt), r.db.Size, r.db.Source, r.object.Key, []byte{})
		return err
	})
}

// errSwept: the row of an import is not there any more.
var errSwept = errors.New("the import took so long that what it had stored was taken for left over; try again")

// adopt makes an incoming row the current one. same says that it replaces the
// stored copy of the database that is in use already.
func (s *Service) adopt(ctx context.Context, r row, older bool) (same bool, err error) {
	err = s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := hold(ctx, tx); err != nil {
			return err
		}
		current, former, err := s.inUse(ctx, tx)
		if err != nil {
			return err
		}
		if err := newer(r.db, current, older); err != nil {
			return err
		}
		if same = current != nil && current.db.Digest == r.db.Digest; same {
			if r.db.Manifest == "" {
				r.db.Manifest = current.db.Manifest
			}
			err = setState(ctx, tx, current, stateGoing)
		} else {
			err = errors.Join(setState(ctx, tx, former, stateGoing), setState(ctx, tx, current, stateFormer))
		}
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE scan_database SET state = $1, manifest = $2, object_size = $3, seal = $4 WHERE id = $5 AND state = $6`,
			stateCurrent, r.db.Manifest, r.object.Size, r.object.Seal, r.id, stateIncoming)
		if err != nil {
			return err
		}
		if n == 0 {
			return errSwept
		}
		if same || s.c.Changed == nil {
			return nil
		}
		return s.c.Changed(ctx, tx, r.db)
	})
	return same, err
}

// newer refuses a database that is older than the one in use, unless that is meant.
func newer(db Database, current *row, older bool) error {
	if current == nil || older || !db.UpdatedAt.Before(current.db.UpdatedAt) {
		return nil
	}
	return &Refused{
		Older: true,
		Reason: "the database was made at " + timeText(db.UpdatedAt) + ", before the one in use (" + timeText(current.db.UpdatedAt) +
			"): fetch a newer one, or give --older to go back to it",
	}
}

// giveUp has the object of a row that will not be adopted deleted.
func (s *Service) giveUp(ctx context.Context, id int64) error {
	return s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE scan_database SET state = $1 WHERE id = $2 AND state = $3`, stateGoing, id, stateIncoming)
		return err
	})
}

// UseFormer makes the former database the current one, and the current one the
// former. The automatic refresh does not bring that one back; a newer one replaces both. ErrNone
// where there is no former one.
func (s *Service) UseFormer(ctx context.Context) (Database, error) {
	var db Database
	err := s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		if err := hold(ctx, tx); err != nil {
			return err
		}
		current, former, err := s.inUse(ctx, tx)
		if err != nil {
			return err
		}
		if former == nil {
			return errNoFormer
		}
		db = former.db
		// One after the other: of each state there is at most one row.
		for _, step := range []struct {
			r  *row
			to string
		}{{current, stateIncoming}, {former, stateCurrent}, {current, stateFormer}} {
			if err := setState(ctx, tx, step.r, step.to); err != nil {
				return err
			}
		}
		if s.c.Changed == nil {
			return nil
		}
		return s.c.Changed(ctx, tx, db)
	})
	if err != nil {
		return Database{}, err
	}
	s.c.Log.InfoContext(ctx, "the former vulnerability database is in use again", "digest", db.Digest, "made", db.UpdatedAt)
	return db, nil
}

// errNoFormer is for UseFormer.
var errNoFormer error = &Refused{Reason: "there is no former vulnerability database to go back to: import the one that you want, with --older if it is older", Cause: ErrNone}

// Tidy deletes the objects of databases that are no longer used, and those that an
// import left behind that did not end. Any node may call it at any time.
func (s *Service) Tidy(ctx context.Context) error {
	var going []row
	err := s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE scan_database SET state = $1 WHERE state = $2 AND imported_at < $3`,
			stateGoing, stateIncoming, micro(s.c.Clock.Now().Add(-sweepAfter)))
		if err != nil {
			return err
		}
		going, err = sqldb.Collect(ctx, tx, s.scan, `SELECT `+columns+` FROM scan_database WHERE state = $1 ORDER BY id`, stateGoing)
		return err
	})
	if err != nil {
		return err
	}
	var failed error
	for _, r := range going {
		if err := s.c.Store().Delete(ctx, r.object.Key); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		failed = errors.Join(failed, s.c.DB.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `DELETE FROM scan_database WHERE id = $1 AND state = $2`, r.id, stateGoing)
			return err
		}))
	}
	return failed
}
