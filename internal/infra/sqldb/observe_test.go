package sqldb_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// TestObserve: what becomes of transactions, as the observer is told.
func TestObserve(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var mu sync.Mutex
		var told []sqldb.Transaction
		db.Observe(func(_ context.Context, o sqldb.Transaction) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, o)
		})
		expect := func(what string, update bool, runs int, result sqldb.Result) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if len(told) != 1 || told[0].Update != update || told[0].Runs != runs || told[0].Result != result || told[0].Begun.IsZero() || told[0].Took <= 0 {
				t.Errorf("%s: told %+v", what, told)
			}
			told = nil
		}
		put := func(id int64, name string) func(*sqldb.Tx) error {
			return func(tx *sqldb.Tx) error { return insert(ctx, tx, id, name) }
		}
		if err := db.Update(ctx, put(1, "a")); err != nil {
			t.Fatal(err)
		}
		expect("a commit", true, 1, sqldb.Committed)
		if err := db.View(ctx, func(*sqldb.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		expect("a view", false, 1, sqldb.Committed)
		refusal := errors.New("no")
		if err := db.Update(ctx, func(*sqldb.Tx) error { return refusal }); !errors.Is(err, refusal) {
			t.Error(err)
		}
		expect("a refusal", true, 1, sqldb.RolledBack)
		if err := db.Update(ctx, put(1, "b")); !sqldb.IsUnique(err) {
			t.Error(err)
		}
		expect("a failed statement", true, 1, sqldb.Failed)
		canceled, cancel := context.WithCancel(ctx)
		if err := db.Update(canceled, func(*sqldb.Tx) error { cancel(); return canceled.Err() }); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		expect("a caller that went away", true, 1, sqldb.Canceled)
	})
}

// TestStats: connections are seen as in use while they are.
func TestStats(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		const views = 2
		release, begun := make(chan struct{}), make(chan struct{}, views)
		var all sync.WaitGroup
		for range views {
			all.Go(func() {
				err := db.View(t.Context(), func(*sqldb.Tx) error {
					begun <- struct{}{}
					<-release
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		for range views {
			<-begun
		}
		if s := db.Stats(); s.InUse != views || s.Open < views || s.Max < views {
			t.Errorf("with two connections in use: %+v", s)
		}
		close(release)
		all.Wait()
		if s := db.Stats(); s.InUse != 0 || s.Idle < views {
			t.Errorf("at rest: %+v", s)
		}
	})
}

// TestWaits counts one wait, of a View that gets its connection in the end.
func TestWaits(t *testing.T) {
	db, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: t.TempDir() + "/db", Readers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // the test is over
	begun, release := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		if err := db.View(t.Context(), func(*sqldb.Tx) error { close(begun); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-begun
	waiting := make(chan error, 1)
	go func() { waiting <- db.View(t.Context(), func(*sqldb.Tx) error { return nil }) }()
	for deadline := time.Now().Add(time.Minute); db.Stats().Waits == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the only connection")
		}
	}
	close(release)
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	all.Wait()
	if s := db.Stats(); s.Waits != 1 || s.Waited <= 0 || s.Max != 1 {
		t.Errorf("after one wait: %+v", s)
	}
	if err := db.Update(t.Context(), func(*sqldb.Tx) error { return nil }); err != nil {
		t.Error(err)
	}
	if s := db.Stats(); s.Groups != 1 || s.Grouped != 1 || s.Queued != 0 {
		t.Errorf("the writer: %+v", s)
	}
}
