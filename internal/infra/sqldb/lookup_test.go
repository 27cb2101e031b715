package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// count is a statement that a Lookup may run.
func count(ctx context.Context, tx *sqldb.Tx) (n int, err error) {
	return n, tx.QueryRow(ctx, `SELECT count(*) FROM item`).Scan(&n)
}

func TestLookup(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "one") }); err != nil {
			t.Fatal(err)
		}
		var name string
		hooks := 0
		err := db.Lookup(ctx, func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() { hooks++ })
			return tx.QueryRow(ctx, "\n\tselect name FROM item WHERE id = $1", 1).Scan(&name)
		})
		if err != nil || name != "one" || hooks != 1 {
			t.Errorf("read %q with %d hooks, %v", name, hooks, err)
		}
		err = db.Lookup(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT name FROM item WHERE id = $1`, 2).Scan(&name)
		})
		if !errors.Is(err, sqldb.ErrNoRows) {
			t.Errorf("without a row: %v", err)
		}
		if err := db.Lookup(ctx, func(*sqldb.Tx) error { return nil }); err != nil {
			t.Errorf("without a statement: %v", err)
		}
		boom := errors.New("boom")
		if err := db.Lookup(ctx, func(*sqldb.Tx) error { return boom }); !errors.Is(err, boom) {
			t.Errorf("got %v, want the closure's error", err)
		}
	})
}

// TestLookupIsOneSelect, whether or not the closure looks at what it is told.
func TestLookupIsOneSelect(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		for name, fn := range map[string]func(tx *sqldb.Tx) error{
			"a second statement": func(tx *sqldb.Tx) error {
				if _, err := count(ctx, tx); err != nil {
					t.Error(err)
				}
				_, err := count(ctx, tx)
				return err
			},
			"a second statement that is passed over": func(tx *sqldb.Tx) error {
				_, _ = count(ctx, tx)
				_, _ = count(ctx, tx)
				return nil
			},
			"Exec": func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "x") },
			"a write in disguise": func(tx *sqldb.Tx) error {
				return tx.QueryRow(ctx, `WITH n AS (SELECT 1) INSERT INTO item (id, name) VALUES (1, 'x') RETURNING id`).Scan(new(int))
			},
			"nothing":            func(tx *sqldb.Tx) error { _, err := tx.Query(ctx, ``); return err },
			"a failed statement": func(tx *sqldb.Tx) error { _, _ = tx.Query(ctx, `SELECT nothing FROM item`); return nil },
			"a wrong argument": func(tx *sqldb.Tx) error {
				_, err := tx.Query(ctx, `SELECT name FROM item WHERE id = $1`, struct{}{})
				return err
			},
			"too many arguments":   func(tx *sqldb.Tx) error { _, err := tx.Query(ctx, `SELECT name FROM item`, 1); return err },
			"a statement too late": func(tx *sqldb.Tx) error { _, err := tx.Query(ctx, `SELECT 1 /* and */; SELECT 2`); return err },
		} {
			err := db.Lookup(ctx, func(tx *sqldb.Tx) error {
				tx.AfterCommit(func() { t.Errorf("a hook ran in spite of %s", name) })
				return fn(tx)
			})
			if err == nil {
				t.Errorf("a Lookup took %s", name)
			}
			for range 3 { // the connections are all usable
				wantNames(t, db)
			}
		}
	})
}

// TestLookupSeesOneState however long it takes to read the rows.
func TestLookupSeesOneState(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var want []string
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for i := range int64(500) {
				want = append(want, fmt.Sprintf("%04d", 2*i))
				if err := insert(ctx, tx, 2*i, want[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = db.Lookup(ctx, func(tx *sqldb.Tx) error {
			rows, err := tx.Query(ctx, `SELECT name FROM item ORDER BY name`)
			if err != nil {
				return err
			}
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					return err
				}
				if got = append(got, name); len(got) > 1 {
					continue
				}
				if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 501, "0501") }); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d rows, %v, want the %d of the beginning", len(got), err, len(want))
		}
		if n := len(names(t, db)); n != len(want)+1 {
			t.Errorf("afterwards %d rows", n)
		}
	})
}

func TestLookupAndItsContext(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		err := db.Lookup(ended, func(*sqldb.Tx) error {
			t.Error("the closure ran although its context had ended")
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the end of the context", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err = db.Lookup(ctx, func(tx *sqldb.Tx) error {
			var n int64
			return tx.QueryRow(ctx, `SELECT count(*) FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000000) SELECT n FROM c) AS long`).Scan(&n)
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		for range 20 {
			wantNames(t, db)
		}
	})
}

// TestContextEndsAfterItsTransaction, which is nobody's business any more.
func TestContextEndsAfterItsTransaction(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable)
	for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"View": db.View, "Lookup": db.Lookup} {
		before := goleak.IgnoreCurrent()
		ctx, cancel := context.WithCancel(t.Context())
		if err := run(ctx, func(tx *sqldb.Tx) error { _, err := count(ctx, tx); return err }); err != nil {
			t.Error(err)
		}
		cancel()
		if err := goleak.Find(before); err != nil {
			t.Errorf("after a %s: %v", name, err)
		}
	}
}

// TestLookupThatDoesNotReturn gives its connection back.
func TestLookupThatDoesNotReturn(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		for range 40 { // more often than there are connections
			func() {
				defer func() {
					if p := recover(); p != "boom" {
						t.Errorf("recovered %v, want boom", p)
					}
				}()
				_ = db.Lookup(ctx, func(tx *sqldb.Tx) error {
					if _, err := tx.Query(ctx, `SELECT name FROM item`); err != nil { // left open
						t.Error(err)
					}
					panic("boom")
				})
			}()
			var wg sync.WaitGroup
			wg.Go(func() { _ = db.Lookup(ctx, func(*sqldb.Tx) error { runtime.Goexit(); return nil }) })
			wg.Wait()
		}
		wantNames(t, db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := db.Lookup(ctx, func(*sqldb.Tx) error { return nil }); !errors.Is(err, sqldb.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	})
}

func TestLookupIsObserved(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var told []sqldb.Transaction
		db.Observe(func(_ context.Context, o sqldb.Transaction) { told = append(told, o) })
		if err := db.Lookup(ctx, func(tx *sqldb.Tx) error { _, err := count(ctx, tx); return err }); err != nil {
			t.Error(err)
		}
		_ = db.Lookup(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "x") }) // it is refused
		if len(told) != 2 || told[0].Update || told[0].Runs != 1 || told[0].Result != sqldb.Committed || told[1].Result != sqldb.Failed {
			t.Errorf("told %+v", told)
		}
	})
}

// TestLookupBeginsNothing on a server that it reaches directly.
func TestLookupBeginsNothing(t *testing.T) {
	db := sqldbtest.Postgres(t)
	ctx := t.Context()
	for level, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"repeatable read": db.View, "read committed": db.Lookup} {
		var got string
		err := run(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT current_setting('transaction_isolation')`).Scan(&got)
		})
		if err != nil || got != level {
			t.Errorf("the isolation is %q, %v, want %q", got, err, level)
		}
	}
}

// TestLookupAfterALostConnection runs again.
func TestLookupAfterALostConnection(t *testing.T) {
	db, line := overLine(t)
	ctx := t.Context()
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "one") }); err != nil {
		t.Fatal(err)
	}
	line.Down()
	time.AfterFunc(100*time.Millisecond, line.Up)
	var n int
	err := db.Lookup(ctx, func(tx *sqldb.Tx) (err error) { n, err = count(ctx, tx); return err })
	if err != nil || n != 1 {
		t.Errorf("found %d rows, %v", n, err)
	}
}

// TestPlaceholdersInAnyOrder, more than once, and within the same expression.
func TestPlaceholdersInAnyOrder(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		for text, want := range map[string][]string{
			`SELECT CAST($3 AS TEXT) || CAST($1 AS TEXT) || CAST($2 AS TEXT) || CAST($1 AS TEXT)`:                                                                     {"caba"},
			`SELECT '$1' || CAST($2 AS TEXT) || CAST($1 AS TEXT) || CAST($3 AS TEXT)`:                                                                                 {"$1bac"},
			`SELECT v || CAST($1 AS TEXT) FROM (SELECT CAST($2 AS TEXT) AS v UNION ALL SELECT $3) AS l GROUP BY v || CAST($1 AS TEXT) ORDER BY v || CAST($1 AS TEXT)`: {"ba", "ca"},
		} {
			for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"Update": db.Update, "View": db.View, "Lookup": db.Lookup} {
				var got []string
				err := run(ctx, func(tx *sqldb.Tx) (err error) {
					got, err = sqldb.Collect(ctx, tx, sqldb.One[string], text, "a", "b", "c")
					return err
				})
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%s: %s: %q, %v, want %q", name, text, got, err, want)
				}
			}
		}
	})
}

// TestFirstClosureOfABatchFails in all the ways there are: those behind it are
// committed as if it had not been there.
func TestFirstClosureOfABatchFails(t *testing.T) {
	boom := errors.New("boom")
	for name, fail := range map[string]func(ctx context.Context, tx *sqldb.Tx) error{
		"an error":              func(context.Context, *sqldb.Tx) error { return boom },
		"a failed statement":    func(ctx context.Context, tx *sqldb.Tx) error { return insert(ctx, tx, 1, "twice") },
		"a passed over failure": func(ctx context.Context, tx *sqldb.Tx) error { _ = insert(ctx, tx, 1, "twice"); return nil },
		"a panic":               func(context.Context, *sqldb.Tx) error { panic("boom") },
		"its own rollback": func(ctx context.Context, tx *sqldb.Tx) error {
			if _, err := tx.Exec(ctx, `ROLLBACK`); err != nil {
				t.Error(err)
			}
			return boom
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := sqldbtest.SQLite(t)
			migrate(t, db, itemTable)
			ctx := t.Context()
			all := queueUp(t, db, 3, func(i int, _ <-chan struct{}, tx *sqldb.Tx) error {
				tx.AfterCommit(func() {
					if i == 0 {
						t.Error("a hook of what failed ran")
					}
				})
				if err := insert(ctx, tx, int64(i+1), fmt.Sprint(i)); err != nil || i > 0 {
					return err
				}
				return fail(ctx, tx)
			})
			if err := <-all[0]; err == nil {
				t.Error("the first closure was committed")
			}
			for _, err := range all[1:] {
				if err := <-err; err != nil {
					t.Error(err)
				}
			}
			wantNames(t, db, "1", "2")
			if s := db.Stats(); s.Grouped != 2 {
				t.Errorf("%d closures were committed, want 2", s.Grouped)
			}
		})
	}
}
