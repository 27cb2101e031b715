package sqldb_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// TestSnapshot sees one state however long it takes, does not write, and runs once.
func TestSnapshot(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "before") }); err != nil {
			t.Fatal(err)
		}
		runs := 0
		err := db.Snapshot(ctx, func(tx *sqldb.Tx) error {
			runs++
			for i := range 2 {
				var n int
				if err := tx.QueryRow(ctx, `SELECT count(*) FROM item`).Scan(&n); err != nil || n != 1 {
					t.Errorf("reading %d found %d rows, %v", i, n, err)
				}
				if i == 0 { // which the closure of a View must not do
					if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "meanwhile") }); err != nil {
						t.Error(err)
					}
				}
			}
			return nil
		})
		if err != nil || runs != 1 {
			t.Errorf("ran %d times, %v", runs, err)
		}
		if err := db.Snapshot(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 3, "x") }); err == nil {
			t.Error("a Snapshot wrote")
		}
		boom := errors.New("boom")
		if err := db.Snapshot(ctx, func(*sqldb.Tx) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("got %v, want the closure's error", err)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"Snapshot": db.Snapshot, "Load": db.Load} {
			err := run(ended, func(*sqldb.Tx) error { t.Errorf("%s ran although its context had ended", name); return nil })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
		wantNames(t, db, "before", "meanwhile")
	})
}

// TestUnbounded: neither of the long transactions is cut by the bounds that View
// and Update have.
func TestUnbounded(t *testing.T) {
	db, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: sqldbtest.PostgresURL(t), StatementTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	slow := func(tx *sqldb.Tx) error {
		var idle, void string
		if err := tx.QueryRow(t.Context(), `SELECT current_setting('idle_in_transaction_session_timeout')`).Scan(&idle); err != nil {
			return err
		}
		if idle != "0" {
			t.Errorf("a pause may last %s", idle)
		}
		return tx.QueryRow(t.Context(), `SELECT CAST(pg_sleep(1.5) AS text)`).Scan(&void)
	}
	if err := errors.Join(db.Snapshot(t.Context(), slow), db.Load(t.Context(), slow)); err != nil {
		t.Error(err)
	}
	err = db.View(t.Context(), func(tx *sqldb.Tx) error {
		var void string
		return tx.QueryRow(t.Context(), `SELECT CAST(pg_sleep(1.5) AS text)`).Scan(&void)
	})
	if err == nil {
		t.Error("a View is not bounded, so this test says nothing")
	}
}

// TestLoad is one transaction, whose error takes everything back.
func TestLoad(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		boom := errors.New("boom")
		err := db.Load(ctx, func(tx *sqldb.Tx) error { return errors.Join(insert(ctx, tx, 1, "x"), boom) })
		if !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		if err := db.Load(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "loaded") }); err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "loaded")
	})
}

// TestMigrateTo stops where it is told to, and goes on from there.
func TestMigrateTo(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		dir := files(map[string]string{
			"0001_a.sql": itemTable, "0003_b.sql": `ALTER TABLE item ADD COLUMN size BIGINT NOT NULL DEFAULT 7;`, "0004_c.sql": `ALTER TABLE item ADD COLUMN color btext NOT NULL DEFAULT 'red';`,
		})
		ctx := t.Context()
		at := func(want int64) {
			t.Helper()
			s, err := db.MigrationStatus(ctx, "v", dir)
			if err != nil || s.Version != want {
				t.Errorf("the form is %d, want %d, %v", s.Version, want, err)
			}
		}
		for _, unknown := range []int64{0, 2, 5} {
			if err := db.MigrateTo(ctx, unknown, "v", dir); !errors.Is(err, migration.ErrUnknown) {
				t.Errorf("to %d: %v", unknown, err)
			}
		}
		at(0)
		for _, next := range []int64{1, 3, 3} {
			if err := db.MigrateTo(ctx, next, "v", dir); err != nil {
				t.Fatal(err)
			}
			at(next)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "in form 3") }); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(ctx, "v", dir); err != nil {
			t.Fatal(err)
		}
		at(4)
		var color string
		err := db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT color FROM item WHERE size = 7`).Scan(&color)
		})
		if err != nil || color != "red" {
			t.Errorf("%q, %v", color, err)
		}
		// What is further stays.
		if err := db.MigrateTo(ctx, 1, "v", dir); err != nil {
			t.Error(err)
		}
		at(4)
	})
}
