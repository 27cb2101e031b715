package sqldb_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// long bounds what is waited for on a machine that is busy.
const long = 30 * time.Second

// overLine is a handle whose line to the server a test can cut.
func overLine(t *testing.T) (*sqldb.DB, *sqldbtest.Line) {
	t.Helper()
	url := sqldbtest.PostgresURL(t)
	line := sqldbtest.NewLine(t, url)
	db := sqldbtest.OpenPostgres(t, line.URL)
	migrate(t, db, itemTable)
	return db, line
}

// TestAnswerToCommitIsLost: whether the transaction is there cannot be known, so
// it is neither run again nor reported as undone.
func TestAnswerToCommitIsLost(t *testing.T) {
	for name, there := range map[string]bool{"it is there": true, "it is not": false} {
		t.Run(name, func(t *testing.T) {
			db, line := overLine(t)
			ctx := t.Context()
			if there {
				line.CutAfterCommit("INSERT INTO item")
			} else {
				line.CutBeforeCommit("INSERT INTO item")
			}
			runs := 0
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				runs++
				tx.AfterCommit(func() { t.Error("a hook ran although nobody knows of a commit") })
				return insert(ctx, tx, 1, "one")
			})
			if !errors.Is(err, sqldb.ErrUncertain) || runs != 1 || line.Cuts() != 1 {
				t.Errorf("%v after %d runs and %d cuts, want ErrUncertain after one", err, runs, line.Cuts())
			}
			if there {
				wantNames(t, db, "one")
			} else {
				wantNames(t, db)
			}
		})
	}
}

// TestAnswerToViewIsLost: all was read by then.
func TestAnswerToViewIsLost(t *testing.T) {
	db, line := overLine(t)
	line.CutBeforeCommit("SELECT name FROM item")
	wantNames(t, db)
	if line.Cuts() != 1 {
		t.Errorf("%d cuts, want 1", line.Cuts())
	}
}

// TestServerIsAwayForAWhile: transactions wait for it.
func TestServerIsAwayForAWhile(t *testing.T) {
	db, line := overLine(t)
	ctx := t.Context()
	line.Down()
	var wg sync.WaitGroup
	for id := range int64(8) {
		wg.Go(func() {
			if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, id, strings.Repeat("x", int(id))) }); err != nil {
				t.Error(err)
			}
			wantNamesAtLeast(t, db, 1)
		})
	}
	time.Sleep(200 * time.Millisecond) // so that all have met it
	line.Up()
	wg.Wait()
	wantNamesAtLeast(t, db, 8)
}

func wantNamesAtLeast(t *testing.T, db *sqldb.DB, n int) {
	t.Helper()
	if got := names(t, db); len(got) < n {
		t.Errorf("the table holds %q, want %d at least", got, n)
	}
}

// TestWaitingForTheServerEnds with the caller's context, and when the handle is
// closed.
func TestWaitingForTheServerEnds(t *testing.T) {
	db, line := overLine(t)
	line.Down()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := db.View(ctx, func(*sqldb.Tx) error { return nil }); err == nil || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %v, want a failure at the end of the context", err, time.Since(begun))
	}
	failed := make(chan error)
	go func() { failed <- db.View(t.Context(), func(*sqldb.Tx) error { return nil }) }()
	select {
	case err := <-failed:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; err == nil {
		t.Error("a View on a handle that was closed while there was no server: no error")
	}
}

// TestLostInTheMiddle runs a transaction again that lost its connection before
// its COMMIT.
func TestLostInTheMiddle(t *testing.T) {
	db, line := overLine(t)
	ctx, runs := t.Context(), 0
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		runs++
		if err := insert(ctx, tx, 1, "one"); err != nil {
			return err
		}
		if runs == 1 {
			line.Down()
			line.Up()
		}
		return insert(ctx, tx, 2, "two")
	})
	if err != nil || runs != 2 {
		t.Errorf("%d runs, %v", runs, err)
	}
	wantNames(t, db, "one", "two")
}

func TestTimeouts(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	sleep := func(tx *sqldb.Tx) error {
		_, err := tx.Exec(t.Context(), `SELECT pg_sleep(0.4)`)
		return err
	}
	for name, o := range map[string]sqldb.PostgresOptions{
		"direct": {URL: url, StatementTimeout: 100 * time.Millisecond},
		"pooled": {URL: sqldbtest.PooledURL(t, url), DirectURL: url, Pooled: true, StatementTimeout: 100 * time.Millisecond},
	} {
		db, err := sqldb.OpenPostgres(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), sleep); err == nil || !strings.Contains(err.Error(), "statement timeout") {
			t.Errorf("%s: %v, want the end of the statement", name, err)
		}
		err = db.Update(t.Context(), func(tx *sqldb.Tx) error {
			if err := tx.NoTimeout(t.Context()); err != nil {
				return err
			}
			return sleep(tx)
		})
		if err != nil {
			t.Errorf("%s, without a bound: %v", name, err)
		}
		for setting, want := range map[string]string{"statement_timeout": "100ms", "lock_timeout": "100ms", "idle_in_transaction_session_timeout": "1min"} {
			var got string
			err := db.View(t.Context(), func(tx *sqldb.Tx) error {
				return tx.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got)
			})
			if err != nil || got != want {
				t.Errorf("%s: %s is %s, want %s (%v)", name, setting, got, want, err)
			}
		}
		// Migrations have no bound.
		err = db.Migrate(t.Context(), "v_"+name, files(map[string]string{"0001_a.sql": `SELECT pg_sleep(0.4);`}))
		if err := errors.Join(err, db.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPostgresOptions(t *testing.T) {
	url, other := sqldbtest.PostgresURL(t), sqldbtest.PostgresURL(t)
	pooled := sqldbtest.PooledURL(t, url)
	for want, o := range map[string]sqldb.PostgresOptions{
		"is missing":                  {},
		"not be negative":             {URL: url, MaxConns: -1},
		"at least a millisecond":      {URL: url, StatementTimeout: time.Microsecond},
		"needs the server's own":      {URL: pooled, Pooled: true},
		"is that of its pooler":       {URL: pooled, Pooled: true, DirectURL: pooled},
		"direct URL":                  {URL: pooled, Pooled: true, DirectURL: "postgres://%"},
		"another database":            {URL: pooled, Pooled: true, DirectURL: other},
		"say so (pooled)":             {URL: pooled},
		"its direct URL":              {URL: pooled, Pooled: true, DirectURL: "postgres://127.0.0.1:1/nothing?connect_timeout=2"},
		"database cannot be used: ":   {URL: url + "&dbname=nothing_of_that_name"},
		"of the PostgreSQL database ": {URL: "postgres://%"},
	} {
		db, err := sqldb.OpenPostgres(t.Context(), o)
		if err == nil {
			t.Errorf("no error where one with %q is due", want)
			_ = db.Close() // it should not be open
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestListen(t *testing.T) {
	for name, open := range map[string]func(testing.TB, string) *sqldb.DB{"direct": sqldbtest.OpenPostgres, "pooled": sqldbtest.OpenPooled} {
		t.Run(name, func(t *testing.T) {
			url := sqldbtest.PostgresURL(t)
			sender, listener := open(t, url), open(t, url)
			heard := make(chan string, 100)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- listener.Listen(ctx, "some-channel", func(p string) { heard <- p }) }()
			want := func(payloads ...string) {
				t.Helper()
				for _, p := range payloads {
					select {
					case got := <-heard:
						if got != p {
							t.Errorf("heard %q, want %q", got, p)
						}
					case <-time.After(long):
						t.Fatalf("did not hear %q", p)
					}
				}
			}
			send := func(fail error, payloads ...string) {
				t.Helper()
				err := sender.Update(ctx, func(tx *sqldb.Tx) error {
					for _, p := range payloads {
						if err := tx.Notify(ctx, "some-channel", p); err != nil {
							return err
						}
					}
					return fail
				})
				if !errors.Is(err, fail) {
					t.Fatal(err)
				}
			}
			want("")
			send(nil, "one", "two", "one")
			send(errors.New("boom"), "never")
			send(nil, "three")
			want("one", "two", "three")
			// It comes back after the connection was lost, and says so.
			err := sender.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			want("")
			send(nil, "four")
			want("four")
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Listen ended with %v", err)
			}
			// Closing the handle ends it too.
			go func() { ended <- listener.Listen(t.Context(), "some-channel", func(p string) { heard <- p }) }()
			want("")
			if err := errors.Join(listener.Close(), <-ended); err != nil {
				t.Error(err)
			}
			if err := listener.Listen(t.Context(), "some-channel", nil); !errors.Is(err, sqldb.ErrClosed) {
				t.Errorf("on a closed handle: %v", err)
			}
		})
	}
}

func TestListenOnSQLite(t *testing.T) {
	db := sqldbtest.SQLite(t)
	if err := db.Listen(t.Context(), "c", func(string) { t.Error("called") }); err != nil || db.Shared() {
		t.Errorf("%v, shared %v", err, db.Shared())
	}
	if err := db.Update(t.Context(), func(tx *sqldb.Tx) error { return tx.Notify(t.Context(), "c", "p") }); err != nil {
		t.Error(err)
	}
}
