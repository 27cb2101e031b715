// Package sqldbtest gives tests real databases: a SQLite file of their own, and
// a database of their own on a real PostgreSQL server that is started once per
// test process and goes away with it.
//
// It is test support. It owns the server's life and its settings, which differ
// from production on purpose: nothing is synced, and text does not sort bytewise
// unless a column says so.
package sqldbtest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Each runs the test fn on SQLite and on PostgreSQL, each time on a database
// without rows, as the subtests "sqlite" and "postgres". A machine without
// PostgreSQL fails the test. The database is empty, or has the form that Main
// was given.
func Each(t *testing.T, fn func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// SQLite opens a new SQLite file that is not synced, and closes it at the end
// of the test.
func SQLite(t testing.TB) *sqldb.DB {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	form, err := sqliteForm()
	if err == nil && form != nil {
		err = os.WriteFile(path, form, 0o600)
	}
	if err != nil {
		t.Fatalf("preparing SQLite: %v", err)
	}
	db, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: path})
	if err != nil {
		t.Fatalf("opening SQLite: %v", err)
	}
	closeAtEnd(t, db)
	return db
}

// Postgres opens a new database on the PostgreSQL server of this process, and
// closes and drops it at the end of the test.
func Postgres(t testing.TB) *sqldb.DB {
	t.Helper()
	return OpenPostgres(t, PostgresURL(t))
}

// OpenPostgres opens a handle on a database that PostgresURL made, and closes it
// at the end of the test. Several handles on one database are several nodes.
func OpenPostgres(t testing.TB, url string) *sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: url})
	if err != nil {
		t.Fatalf("opening PostgreSQL: %v", err)
	}
	closeAtEnd(t, db)
	return db
}

// PostgresURL makes a new database on the PostgreSQL server of this process and
// returns how to reach it. At the end of the test it is dropped, or emptied for
// another test.
func PostgresURL(t testing.TB) string {
	t.Helper()
	s, err := theServer()
	if err != nil {
		t.Fatalf("PostgreSQL is needed for this test: %v", err)
	}
	name, err := s.take(t.Context())
	if err != nil {
		t.Fatalf("creating a PostgreSQL database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.giveBack(name); err != nil {
			t.Errorf("giving the PostgreSQL database back: %v", err)
		}
	})
	return s.url(name)
}

// Form makes the tables of an empty database.
type Form func(ctx context.Context, db *sqldb.DB) error

// Migrated is the form that the migrations in dirs describe, see
// sqldb.DB.Migrate.
func Migrated(table string, dirs ...fs.FS) Form {
	return func(ctx context.Context, db *sqldb.DB) error {
		joined, err := joined(dirs)
		if err != nil {
			return err
		}
		return db.Migrate(ctx, table, joined...)
	}
}

// Main runs the tests and then stops the PostgreSQL server, if one was started,
// and waits until its files are gone. A package may use it as its TestMain;
// without it the server stops by itself shortly after the process.
//
// With forms, all databases of the process come with those tables and with the
// rows that the migrations wrote, and with no others. Making tables takes far
// longer than most tests do: it is done once for SQLite, and a database on
// PostgreSQL is emptied and used again. A test may still call Migrate; there
// is nothing left for it to do.
func Main(m *testing.M, forms ...Form) {
	prepare(forms)
	code := m.Run()
	if err := stopServer(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func closeAtEnd(t testing.TB, db *sqldb.DB) {
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("closing the database: %v", err)
		}
	})
}
