package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// raise fails a transaction on PostgreSQL with the SQLSTATE code given.
func raise(ctx context.Context, tx *sqldb.Tx, code string) error {
	_, err := tx.Exec(ctx, fmt.Sprintf(`DO $$ BEGIN RAISE EXCEPTION 'on purpose' USING ERRCODE = '%s'; END $$`, code))
	return err
}

func TestRetries(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	for i, code := range []string{"40001", "40P01"} {
		runs, hooks := 0, 0
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			runs++
			tx.AfterCommit(func() { hooks++ })
			if err := insert(ctx, tx, int64(i), code); err != nil {
				return err
			}
			if runs < 4 {
				_ = raise(ctx, tx, code)
				return errors.New("in words of its own")
			}
			return nil
		})
		if err != nil || runs != 4 || hooks != 1 {
			t.Errorf("%s: %d runs, %d hooks, %v", code, runs, hooks, err)
		}
	}
	wantNames(t, db, "40001", "40P01")

	runs := 0
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { runs++; return raise(ctx, tx, "23514") }); err == nil || runs != 1 {
		t.Errorf("an error that another try does not mend: %d runs, %v", runs, err)
	}
	runs = 0
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { runs++; return raise(ctx, tx, "40001") }); err == nil || runs < 2 || runs > 50 {
		t.Errorf("an error that does not go away: %d runs, %v", runs, err)
	}
	runs = 0
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := db.Update(short, func(tx *sqldb.Tx) error { runs++; return raise(ctx, tx, "40001") }); err == nil || runs > 20 {
		t.Errorf("a caller who goes away meanwhile: %d runs, %v", runs, err)
	}
}

func TestDeadlock(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		return errors.Join(insert(ctx, tx, 1, ""), insert(ctx, tx, 2, "-"))
	})
	if err != nil {
		t.Fatal(err)
	}
	var both, wg sync.WaitGroup
	both.Add(2)
	for g, order := range [][]int64{{1, 2}, {2, 1}} {
		var once sync.Once
		wg.Go(func() {
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				for _, id := range order {
					if _, err := tx.Exec(ctx, `UPDATE item SET name = name || $2 WHERE id = $1`, id, fmt.Sprint(g)); err != nil {
						return err
					}
					once.Do(func() { // each holds one row before it asks for the other
						both.Done()
						both.Wait()
					})
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, name := range names(t, db) {
		if !strings.Contains(name, "0") || !strings.Contains(name, "1") || len(strings.TrimPrefix(name, "-")) != 2 {
			t.Errorf("the row holds %q, want one mark of each transaction", name)
		}
	}
}

func TestPostgresFull(t *testing.T) {
	db := sqldbtest.Postgres(t)
	err := db.Update(t.Context(), func(tx *sqldb.Tx) error { return raise(t.Context(), tx, "53100") })
	if !errors.Is(err, sqldb.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
}

// TestLostConnections has the server end all connections, as its restart does.
func TestLostConnections(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	db, other := sqldbtest.OpenPostgres(t, url), sqldbtest.OpenPostgres(t, url)
	migrate(t, db, itemTable)
	ctx := t.Context()
	cut := func() {
		err := other.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 5 { // several idle connections
		wg.Go(func() { wantNames(t, db) })
	}
	wg.Wait()
	cut()
	wantNames(t, db)

	runs := 0
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		runs++
		if err := insert(ctx, tx, 1, "one"); err != nil {
			return err
		}
		if runs == 1 {
			cut()
		}
		return insert(ctx, tx, 2, "two")
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
	wantNames(t, db, "one", "two")
}

// TestSkipLocked: two transactions take different rows of a queue.
func TestSkipLocked(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		return errors.Join(insert(ctx, tx, 1, "a"), insert(ctx, tx, 2, "b"))
	})
	if err != nil {
		t.Fatal(err)
	}
	take := func(tx *sqldb.Tx) (name string, err error) {
		return name, tx.QueryRow(ctx, `SELECT name FROM item ORDER BY name LIMIT 1`+tx.SkipLocked()).Scan(&name)
	}
	err = db.Update(ctx, func(tx *sqldb.Tx) error {
		first, err := take(tx)
		if err != nil {
			return err
		}
		var second string
		done := make(chan error)
		go func() {
			done <- db.Update(ctx, func(tx *sqldb.Tx) (err error) { second, err = take(tx); return err })
		}()
		if err := <-done; err != nil {
			return err
		}
		if first != "a" || second != "b" {
			t.Errorf("took %q and %q, want a and b", first, second)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForShare: shared holders do not exclude each other, but a writer.
func TestForShare(t *testing.T) {
	db := sqldbtest.Postgres(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "a") }); err != nil {
		t.Fatal(err)
	}
	hold := func(tx *sqldb.Tx, how string) error {
		var name string
		return tx.QueryRow(ctx, `SELECT name FROM item WHERE id = 1`+how).Scan(&name)
	}
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		if err := hold(tx, tx.ForShare()); err != nil {
			return err
		}
		done := make(chan error)
		go func() {
			done <- db.Update(ctx, func(tx *sqldb.Tx) error { return hold(tx, tx.ForShare()) })
		}()
		if err := <-done; err != nil {
			t.Errorf("a second holder: %v", err)
		}
		go func() {
			done <- db.Update(ctx, func(tx *sqldb.Tx) error {
				if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '50ms'`); err != nil {
					return err
				}
				return hold(tx, tx.ForUpdate())
			})
		}()
		if err := <-done; err == nil {
			t.Error("a writer got the row that another transaction shares")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPostgresAddress(t *testing.T) {
	for _, url := range []string{"postgres://%", "postgres://127.0.0.1:1/nothing?connect_timeout=2"} {
		if _, err := sqldb.OpenPostgres(t.Context(), sqldb.PostgresOptions{URL: url}); err == nil || !strings.Contains(err.Error(), "PostgreSQL database") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestPostgresEncoding(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	db := sqldbtest.OpenPostgres(t, url)
	err := db.View(t.Context(), func(tx *sqldb.Tx) error {
		for _, name := range []string{"application_name", "server_encoding"} {
			var value string
			if err := tx.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&value); err != nil {
				return err
			}
			if want := map[string]string{"application_name": "berth", "server_encoding": "UTF8"}[name]; value != want {
				t.Errorf("%s is %s, want %s", name, value, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
