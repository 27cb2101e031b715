package dump

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/catalogue"
)

const (
	// A statement inserts up to batchRows rows, batchValues values (SQLite takes
	// 32,766, PostgreSQL 65,535) and about batchBytes bytes.
	batchRows   = 500
	batchValues = 30_000
	batchBytes  = 4 << 20
)

// seeded are the tables that migrations put rows into.
func seeded(table string) bool { return table == "quota_revision" }

// Occupied names a table of the database that has rows which are not a new
// database's, "" if there is none.
func Occupied(ctx context.Context, db *sqldb.DB) (found string, err error) {
	err = db.View(ctx, func(tx *sqldb.Tx) error {
		tables, err := catalogue.Read(ctx, tx)
		if err != nil {
			return err
		}
		found = ""
		for _, t := range tables {
			if seeded(t.Name) || leftOut(t) && t.Name != "garbage" {
				continue
			}
			var any bool
			if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM `+quote(t.Name)+`)`).Scan(&any); err != nil {
				return err
			}
			if any {
				found = t.Name
				return nil
			}
		}
		return nil
	})
	return found, err
}

// Has says whether the database has a table of the name.
func Has(ctx context.Context, db *sqldb.DB, table string) (has bool, err error) {
	err = db.View(ctx, func(tx *sqldb.Tx) error {
		tables, err := catalogue.Read(ctx, tx)
		has = slices.ContainsFunc(tables, func(t catalogue.Table) bool { return t.Name == table })
		return err
	})
	return has, err
}

// Load puts the rows of a dump into the database, all of them or, when it fails,
// none. The database has the dump's form and no rows; done is told how many rows
// are in. open opens the dump, perhaps more than once.
func Load(ctx context.Context, db *sqldb.DB, open func() (io.ReadCloser, error), done func(rows int64)) error {
	return db.Load(ctx, func(tx *sqldb.Tx) error {
		dump, err := open()
		if err != nil {
			return err
		}
		defer func() { _ = dump.Close() }() // it is only read, and was read to its end
		return loadTx(ctx, tx, dump, done)
	})
}

func loadTx(ctx context.Context, tx *sqldb.Tx, dump io.Reader, done func(rows int64)) error {
	tables, err := catalogue.Read(ctx, tx)
	if err != nil {
		return err
	}
	known := map[string]catalogue.Table{}
	for _, t := range tables {
		if !leftOut(t) {
			known[t.Name] = t
		}
		if seeded(t.Name) {
			if _, err := tx.Exec(ctx, `DELETE FROM `+quote(t.Name)); err != nil {
				return err
			}
		}
	}
	var b batch
	var total int64
	flush := func() error {
		n, err := b.insert(ctx, tx)
		if total += n; n > 0 {
			done(total)
		}
		return err
	}
	rows, err := Read(dump, Visitor{
		Table: func(t Table) error {
			if err := flush(); err != nil {
				return err
			}
			there, ok := known[t.Name]
			if !ok {
				return fmt.Errorf("the database has no table %s, which the backup has rows for", t.Name)
			}
			b = newBatch(t)
			return sameColumns(there, t)
		},
		Row: func(_ Table, values []any) error {
			if b.add(values) {
				return nil
			}
			return flush()
		},
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return err
	}
	if len(rows) != len(known) {
		return fmt.Errorf("the backup has %d tables and the database %d: it was made in another form", len(rows), len(known))
	}
	for t, want := range rows {
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM `+quote(t)).Scan(&n); err != nil {
			return err
		}
		if n != want {
			return fmt.Errorf("the table %s has %d rows and should have %d", t, n, want)
		}
	}
	return nil
}

func sameColumns(there catalogue.Table, dumped Table) error {
	missing := map[Column]bool{}
	for _, c := range there.Columns {
		missing[Column(c)] = true
	}
	for _, c := range dumped.Columns {
		if !missing[c] {
			return fmt.Errorf("the table %s of the database has no column %s of the kind %s, which the backup has values for", dumped.Name, c.Name, c.Kind)
		}
		delete(missing, c)
	}
	if len(missing) > 0 {
		return fmt.Errorf("the table %s of the database has %d columns that the backup has no values for", dumped.Name, len(missing))
	}
	return nil
}

// batch is rows for one INSERT.
type batch struct {
	into  string // INSERT INTO t (a, b) VALUES
	width int
	args  []any
	bytes int
}

func newBatch(t Table) batch {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = quote(c.Name)
	}
	return batch{into: `INSERT INTO ` + quote(t.Name) + ` (` + strings.Join(names, ", ") + `) VALUES `, width: len(names)}
}

// add takes a row, and says whether there is room for another one.
func (b *batch) add(values []any) bool {
	b.args = append(b.args, values...)
	for _, v := range values {
		switch v := v.(type) {
		case string:
			b.bytes += len(v)
		case []byte:
			b.bytes += len(v)
		}
	}
	rows := len(b.args)/b.width + 1
	return rows <= batchRows && rows*b.width <= batchValues && b.bytes < batchBytes
}

// insert inserts the rows and empties the batch.
func (b *batch) insert(ctx context.Context, tx *sqldb.Tx) (int64, error) {
	if len(b.args) == 0 {
		return 0, nil
	}
	var query strings.Builder
	query.WriteString(b.into)
	for i := range b.args {
		switch {
		case i == 0:
			query.WriteString("($")
		case i%b.width == 0:
			query.WriteString("),($")
		default:
			query.WriteString(",$")
		}
		query.WriteString(strconv.Itoa(i + 1))
	}
	query.WriteByte(')')
	n, err := tx.Exec(ctx, query.String(), b.args...)
	b.args, b.bytes = b.args[:0], 0
	return n, err
}
