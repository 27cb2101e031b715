package sqldb_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func TestAfterCommit(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		ran := 0
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() {
				ran++
				wantNames(t, db, "visible") // to everybody by now
			})
			if err := insert(ctx, tx, 1, "visible"); err != nil {
				return err
			}
			if ran != 0 {
				t.Error("ran before the commit")
			}
			return nil
		})
		if err != nil || ran != 1 {
			t.Errorf("ran %d times, %v", ran, err)
		}
		for name, fn := range map[string]func(tx *sqldb.Tx) error{
			"an error":            func(*sqldb.Tx) error { return errors.New("boom") },
			"a failed statement":  func(tx *sqldb.Tx) error { _ = insert(ctx, tx, 1, "x"); return nil },
			"a passed over query": func(tx *sqldb.Tx) error { _, _ = tx.Query(ctx, `SELEC`); return nil },
		} {
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				tx.AfterCommit(func() { t.Errorf("ran in spite of %s", name) })
				return fn(tx)
			})
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		// A hook may use the database, also for writing.
		err = db.Update(ctx, func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() {
				if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 3, "from the hook") }); err != nil {
					t.Error(err)
				}
			})
			return insert(ctx, tx, 2, "second")
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "from the hook", "second", "visible")
	})
}

func TestConcurrentUpdates(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		const goroutines, each = 16, 25
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 0, "0") }); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		var committed atomic.Int64
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					fail := (g+i)%5 == 0
					err := db.Update(ctx, func(tx *sqldb.Tx) error {
						// Reads, then writes what follows from it.
						var name string
						if err := tx.QueryRow(ctx, `SELECT name FROM item WHERE id = 0`+tx.ForUpdate()).Scan(&name); err != nil {
							return err
						}
						var n int64
						if _, err := fmt.Sscan(name, &n); err != nil {
							return err
						}
						if _, err := tx.Exec(ctx, `UPDATE item SET name = $1 WHERE id = 0`, fmt.Sprint(n+1)); err != nil {
							return err
						}
						if fail {
							return boom
						}
						return insert(ctx, tx, int64(1+g*each+i), fmt.Sprintf("g%d i%d", g, i))
					})
					switch {
					case fail && !errors.Is(err, boom):
						t.Errorf("got %v, want the closure's own error", err)
					case !fail && err != nil:
						t.Error(err)
					case !fail:
						committed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		all := names(t, db)
		if len(all) != int(committed.Load())+1 || all[0] != fmt.Sprint(committed.Load()) {
			t.Errorf("%d committed, but the table has %d rows and the counter is %s", committed.Load(), len(all), all[0])
		}
	})
}

func TestViewSeesOneState(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "before") }); err != nil {
			t.Fatal(err)
		}
		read, written := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(written)
			<-read
			if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "meanwhile") }); err != nil {
				t.Error(err)
			}
		})
		err := db.View(ctx, func(tx *sqldb.Tx) error {
			for i := range 2 {
				var n int
				if err := tx.QueryRow(ctx, `SELECT count(*) FROM item`).Scan(&n); err != nil {
					return err
				}
				if n != 1 {
					t.Errorf("reading %d found %d rows, want 1", i, n)
				}
				if i == 0 {
					close(read)
					<-written
				}
			}
			return nil
		})
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "before", "meanwhile")
	})
}

func TestViewDoesNotWrite(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.View(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "x") }); err == nil {
			t.Error("a View wrote")
		}
		wantNames(t, db)
	})
}

func TestManyViewsAtOnce(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for g := range 40 { // more than there are connections
			wg.Go(func() {
				for i := range 10 {
					if g%4 == 0 {
						if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, int64(g*100+i), fmt.Sprint(g, i)) }); err != nil {
							t.Error(err)
						}
						continue
					}
					err := db.View(ctx, func(tx *sqldb.Tx) error {
						var a, b int
						if err := tx.QueryRow(ctx, `SELECT count(*) FROM item`).Scan(&a); err != nil {
							return err
						}
						if err := tx.QueryRow(ctx, `SELECT count(*) FROM item`).Scan(&b); err != nil {
							return err
						}
						if a != b {
							t.Errorf("one View saw %d and %d rows", a, b)
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if n := len(names(t, db)); n != 100 {
			t.Errorf("%d rows, want 100", n)
		}
	})
}

func TestEndedContext(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"Update": db.Update, "View": db.View} {
			err := run(ended, func(*sqldb.Tx) error {
				t.Errorf("%s ran its closure although the context had ended", name)
				return nil
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want context.Canceled", name, err)
			}
		}
	})
}

// TestContextEndsDuringAView cuts a query short that would take very long.
func TestContextEndsDuringAView(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		begun := time.Now()
		err := db.View(ctx, func(tx *sqldb.Tx) error {
			var n int64
			return tx.QueryRow(ctx, `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000000) SELECT count(*) FROM c`).Scan(&n)
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the context", err)
		}
		if d := time.Since(begun); d > 20*time.Second {
			t.Errorf("the query was cut short only after %v", d)
		}
		for range 20 { // the connections are all usable
			wantNames(t, db)
		}
	})
}

// TestContextEndsWhileReadingRows leaves the handle usable.
func TestContextEndsWhileReadingRows(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		var want []string
		err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
			for i := range int64(500) {
				want = append(want, fmt.Sprintf("%03d", i))
				if err := insert(t.Context(), tx, i, want[i]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			err := db.View(ctx, func(tx *sqldb.Tx) error {
				rows, err := tx.Query(ctx, `SELECT name FROM item ORDER BY name`)
				if err != nil {
					return err
				}
				if !rows.Next() {
					return fmt.Errorf("no row: %w", rows.Err())
				}
				cancel()
				time.Sleep(time.Millisecond)
				for rows.Next() {
					continue
				}
				return rows.Err()
			})
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled or nothing", err)
			}
		}
		if got := names(t, db); !slices.Equal(got, want) {
			t.Errorf("afterwards %d rows are read, want %d", len(got), len(want))
		}
	})
}

func TestClose(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		begun, finish := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				close(begun)
				<-finish
				return insert(ctx, tx, 1, "under way")
			})
			if err != nil {
				t.Errorf("the transaction that was under way: %v", err)
			}
		})
		<-begun
		closed := make(chan error)
		go func() { closed <- db.Close() }()
		select {
		case err := <-closed:
			t.Errorf("Close returned (%v) before the transaction under way had ended", err)
		case <-time.After(50 * time.Millisecond):
		}
		close(finish)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		wg.Wait()
		for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"Update": db.Update, "View": db.View} {
			if err := run(ctx, func(*sqldb.Tx) error { return nil }); !errors.Is(err, sqldb.ErrClosed) {
				t.Errorf("%s after Close: %v, want ErrClosed", name, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
}

func TestNewID(t *testing.T) {
	const goroutines, each = 8, 20000
	made := make([][]int64, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				made[g] = append(made[g], sqldb.NewID())
			}
		})
	}
	wg.Wait()
	unique(t, made)
}

// unique holds ids to what they promise: those that one goroutine has made ascend.
func unique(t *testing.T, made [][]int64) {
	t.Helper()
	seen := map[int64]bool{}
	for _, ids := range made {
		if !slices.IsSorted(ids) {
			t.Error("ids do not ascend")
		}
		for _, id := range ids {
			if id <= 0 || seen[id] {
				t.Fatalf("id %d is not positive or not unique", id)
			}
			seen[id] = true
		}
	}
}

// TestNewIDs: rows of ids have nothing in common with each other, nor with single ids.
func TestNewIDs(t *testing.T) {
	const goroutines, each, n = 4, 2000, 64
	made := make([][]int64, goroutines)
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for range each {
				made[g] = append(made[g], sqldb.NewID())
				first := sqldb.NewIDs(n)
				if first%n != 0 {
					t.Errorf("a row begins with %d", first)
				}
				for i := range int64(n) {
					made[g] = append(made[g], first+i)
				}
			}
		})
	}
	wg.Wait()
	unique(t, made)
}
