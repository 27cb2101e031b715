// Package migration puts the migrations of several directories into one order,
// runs those that a database has not seen, and decides whether a program may run
// on a database that a newer one has brought further.
//
// It owns the two tables that remember this. It owns no migration: they belong
// to internal/domain/schema and infra/jobs; and it takes no lock: sqldb does.
package migration

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"

	"github.com/pressly/goose/v3"
)

// Set is migrations to run, of which the table knows those that were run. Beside
// it stands a table with the lowest number that a program must know to run on
// the database still.
type Set struct {
	table string
	files flatFS
	last  int64 // the highest number
}

// Status is how far a database's form is from a program's.
type Status struct {
	Version int64    `json:"version"` // the highest number that was run; 0: none was
	Program int64    `json:"program"` // the highest number that the program knows
	Floor   int64    `json:"floor"`   // a program that knows less must not run on the database
	Pending []string `json:"pending"` // the files that the program would run, in their order
}

// contract is the line of a migration that older programs cannot live with.
var contract = regexp.MustCompile(`(?m)^-- contract: \S`)

// Merge puts the *.sql files at the top of several directories into
// one, and writes the engine's own words into them. One that says contract gets
// the statements that raise the floor to its own number.
func Merge(postgres bool, table string, dirs []fs.FS) (Set, error) {
	m := Set{table: table, files: flatFS{}}
	for _, dir := range dirs {
		names, err := fs.Glob(dir, "*.sql")
		if err != nil {
			return m, fmt.Errorf("sqldb: reading migrations: %w", err)
		}
		for _, name := range names {
			if _, twice := m.files[name]; twice {
				return m, fmt.Errorf("sqldb: two migrations are called %s", name)
			}
			number, err := goose.NumericComponent(name)
			if err != nil {
				return m, fmt.Errorf("sqldb: the migration %s has no number in front: %w", name, err)
			}
			text, err := fs.ReadFile(dir, name)
			if err != nil {
				return m, fmt.Errorf("sqldb: reading the migration %s: %w", name, err)
			}
			if postgres {
				text = bytes.ReplaceAll(text, []byte("/*UNLOGGED*/"), []byte("UNLOGGED"))
			}
			if contract.Match(text) {
				text = fmt.Appendf(bytes.Clone(text), "\nDELETE FROM %s;\nINSERT INTO %s (floor) VALUES (%d);\n", m.floorTable(), m.floorTable(), number)
			}
			m.files[name], m.last = text, max(m.last, number)
		}
	}
	if len(m.files) == 0 {
		return m, errors.New("sqldb: there are no migrations to run")
	}
	return m, nil
}

func (m Set) floorTable() string { return m.table + "_floor" }

// Prepare returns what runs the migrations. It is nil for a database that a newer
// program has brought further, in ways that this one can live with.
func (m Set) Prepare(ctx context.Context, dialect goose.Dialect, db *sql.DB) (*goose.Provider, error) {
	p, err := goose.NewProvider(dialect, db, m.files,
		goose.WithTableName(m.table), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("sqldb: migrations: %w", err)
	}
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqldb: reading the version of the database: %w", err)
	}
	if _, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+m.floorTable()+" (floor BIGINT NOT NULL)"); err != nil {
		return nil, fmt.Errorf("sqldb: migrations: %w", err)
	}
	if at <= m.last {
		return p, nil
	}
	floor, err := m.floor(ctx, db)
	if err != nil {
		return nil, err
	}
	if floor > m.last {
		return nil, fmt.Errorf("the database was written by a newer version of the program (its form is %d in %s and needs a program that knows %d, this one knows %d): start that version, or restore an older backup", at, m.table, floor, m.last)
	}
	return nil, nil
}

func (m Set) floor(ctx context.Context, db *sql.DB) (floor int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT coalesce(max(floor), 0) FROM "+m.floorTable()).Scan(&floor)
	if err != nil {
		return 0, fmt.Errorf("sqldb: reading the version of the database: %w", err)
	}
	return floor, nil
}

// Status changes nothing. The query exists counts the tables of a name.
func (m Set) Status(ctx context.Context, db *sql.DB, exists string) (Status, error) {
	s := Status{Program: m.last}
	ran := map[int64]bool{}
	for table, read := range map[string]func() error{
		m.table: func() error {
			rows, err := db.QueryContext(ctx, "SELECT version_id FROM "+m.table+" WHERE is_applied")
			if err != nil {
				return err
			}
			for rows.Next() {
				var number int64
				if err := rows.Scan(&number); err != nil {
					return errors.Join(err, rows.Close())
				}
				ran[number], s.Version = true, max(s.Version, number)
			}
			return errors.Join(rows.Err(), rows.Close())
		},
		m.floorTable(): func() (err error) { s.Floor, err = m.floor(ctx, db); return err },
	} {
		var n int
		err := db.QueryRowContext(ctx, exists, table).Scan(&n)
		if err == nil && n > 0 {
			err = read()
		}
		if err != nil {
			return Status{}, fmt.Errorf("sqldb: reading the version of the database: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if number, err := goose.NumericComponent(name); err == nil && !ran[number] && number > s.Version {
			s.Pending = append(s.Pending, name)
		}
	}
	return s, nil
}

// Up runs the migrations that were not run yet.
func Up(ctx context.Context, p *goose.Provider) error {
	_, err := p.Up(ctx)
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		return fmt.Errorf("sqldb: the migration %s: %w", partial.Failed.Source.Path, partial.Err)
	}
	if err != nil {
		return fmt.Errorf("sqldb: migrations: %w", err)
	}
	return nil
}
