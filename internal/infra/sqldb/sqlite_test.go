package sqldb_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func openSQLite(t testing.TB, o sqldb.SQLiteOptions) *sqldb.DB {
	t.Helper()
	db, err := sqldb.OpenSQLite(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// batch holds the writer up with a first closure until all the others wait
// behind it, so that they end in one commit, and returns what each Update
// returned. That the first Update does not return while the others run is what
// shows that it is one commit.
func batch(t *testing.T, db *sqldb.DB, closures ...func(tx *sqldb.Tx) error) []error {
	t.Helper()
	db.SetBatch(len(closures), time.Hour)
	errs := make([]error, len(closures))
	queued := queueUp(t, db, len(closures), func(i int, first <-chan struct{}, tx *sqldb.Tx) error {
		select {
		case <-first:
			t.Errorf("closure %d ran after the first Update had returned: they were not in one commit", i)
		case <-time.After(10 * time.Millisecond):
		}
		return closures[i](tx)
	})
	for i, err := range queued {
		errs[i] = <-err
	}
	return errs
}

// queueUp has n Updates wait for the writer in their order before the first of
// them goes on. fn is given the number of the Update and a channel that is
// closed when the first Update has returned.
func queueUp(t *testing.T, db *sqldb.DB, n int, fn func(i int, first <-chan struct{}, tx *sqldb.Tx) error) []chan error {
	t.Helper()
	begun, release, first := make(chan struct{}), make(chan struct{}), make(chan struct{})
	all := make([]chan error, n)
	for i := range all {
		all[i] = make(chan error, 1)
		go func() {
			defer func() {
				if p := recover(); p != nil {
					all[i] <- fmt.Errorf("panic: %v", p)
				}
			}()
			var once sync.Once // a closure may run again
			err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
				if i == 0 {
					once.Do(func() { close(begun) })
					<-release
				}
				return fn(i, first, tx)
			})
			if i == 0 {
				close(first)
			}
			all[i] <- err
		}()
		if i == 0 {
			<-begun
		} else {
			time.Sleep(5 * time.Millisecond)
		}
	}
	close(release)
	return all
}

func TestGroupCommitIsolatesClosures(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	boom := errors.New("boom")
	hooks := make(chan string, 10)
	add := func(id int64, name string, after error) func(tx *sqldb.Tx) error {
		return func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() { hooks <- name })
			if err := insert(ctx, tx, id, name); err != nil {
				return err
			}
			return after
		}
	}
	errs := batch(t, db,
		add(1, "first", nil),
		add(2, "fails", boom),
		add(3, "third", nil),
		add(3, "violates", nil), // the key of the one before
		func(tx *sqldb.Tx) error { // sees what went before it in the batch, without what failed
			var n int
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM item`).Scan(&n); err != nil {
				return err
			}
			if n != 2 {
				t.Errorf("a later closure of the batch sees %d rows, want 2", n)
			}
			return nil
		},
		add(6, "last", nil),
	)
	for i, want := range []error{nil, boom, nil, nil, nil, nil} {
		if i == 3 {
			if !sqldb.IsUnique(errs[i]) {
				t.Errorf("closure 3 returned %v, want a unique violation", errs[i])
			}
			continue
		}
		if !errors.Is(errs[i], want) {
			t.Errorf("closure %d returned %v, want %v", i, errs[i], want)
		}
	}
	wantNames(t, db, "first", "last", "third")
	close(hooks)
	var ran []string
	for name := range hooks {
		ran = append(ran, name)
	}
	if len(ran) != 3 {
		t.Errorf("the hooks of %q ran, want those of first, third and last", ran)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	for name, bound := range map[string]func(db *sqldb.DB){
		"in number": func(db *sqldb.DB) { db.SetBatch(2, time.Hour) },
		"in time":   func(db *sqldb.DB) { db.SetBatch(100, 12*time.Millisecond) },
	} {
		db := sqldbtest.SQLite(t)
		bound(db)
		for i, err := range queueUp(t, db, 4, func(i int, first <-chan struct{}, _ *sqldb.Tx) error {
			time.Sleep(10 * time.Millisecond)
			if i == 3 {
				select {
				case <-first:
				case <-time.After(20 * time.Second):
					t.Errorf("%s: the first of four Updates had to wait for the last", name)
				}
			}
			return nil
		}) {
			if err := <-err; err != nil {
				t.Errorf("%s: closure %d: %v", name, i, err)
			}
		}
	}
}

func TestPanicInABatch(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	errs := batch(t, db,
		func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "a") },
		func(tx *sqldb.Tx) error {
			if err := insert(ctx, tx, 2, "b"); err != nil {
				return err
			}
			panic("boom")
		},
		func(tx *sqldb.Tx) error { return insert(ctx, tx, 3, "c") },
	)
	if errs[0] != nil || errs[2] != nil || errs[1] == nil || errs[1].Error() != "panic: boom" {
		t.Errorf("got %v", errs)
	}
	wantNames(t, db, "a", "c")
}

// TestCommitFails has a deferred foreign key, which only the COMMIT looks at.
func TestCommitFails(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable+`CREATE TABLE part (item_id BIGINT NOT NULL REFERENCES item (id) DEFERRABLE INITIALLY DEFERRED);`)
	ctx := t.Context()
	errs := batch(t, db,
		func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "innocent") },
		func(tx *sqldb.Tx) error {
			tx.AfterCommit(func() { t.Error("a hook ran although the commit failed") })
			_, err := tx.Exec(ctx, `INSERT INTO part VALUES (7)`)
			return err
		},
	)
	for i, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "commit failed") {
			t.Errorf("closure %d returned %v, want the failure of the commit", i, err)
		}
	}
	wantNames(t, db)
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "after") }); err != nil {
		t.Fatal(err)
	}
	wantNames(t, db, "after")
}

func TestFull(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable+`CREATE TABLE big (body BYTEA NOT NULL);`)
	ctx := t.Context()
	limit := func(tx *sqldb.Tx, pages int64) error {
		var got int64
		return tx.QueryRow(ctx, fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&got)
	}
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { return limit(tx, 100) }); err != nil {
		t.Fatal(err)
	}
	errs := batch(t, db,
		func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "small") },
		func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO big VALUES ($1)`, make([]byte, 1<<20))
			return err
		},
		func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "also small") },
	)
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("the small transactions returned %v and %v", errs[0], errs[2])
	}
	if !errors.Is(errs[1], sqldb.ErrFull) {
		t.Errorf("the large transaction returned %v, want ErrFull", errs[1])
	}
	wantNames(t, db, "also small", "small")
}

// TestBrokenBatch has a closure end the transaction around it, as SQLite does
// by itself on some errors: the others of the batch must not be lost.
func TestBrokenBatch(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable)
	ctx := t.Context()
	errs := batch(t, db,
		func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "before") },
		func(tx *sqldb.Tx) error {
			if _, err := tx.Exec(ctx, `ROLLBACK`); err != nil {
				t.Error(err)
			}
			return errors.New("boom")
		},
	)
	if errs[0] != nil || errs[1] == nil || errs[1].Error() != "boom" {
		t.Errorf("got %v", errs)
	}
	if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "after") }); err != nil {
		t.Fatal(err)
	}
	wantNames(t, db, "after", "before")
}

func TestWaitingUpdateGivesUp(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable)
	begun, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
			close(begun)
			<-release
			return insert(t.Context(), tx, 1, "first")
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := db.Update(ctx, func(*sqldb.Tx) error {
		t.Error("a closure ran whose caller had gone away")
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
	close(release)
	wg.Wait()
	wantNames(t, db, "first")
}

// TestRunningUpdateIsFinished: interrupting a write would undo the work of
// others in the same commit.
func TestRunningUpdateIsFinished(t *testing.T) {
	db := sqldbtest.SQLite(t)
	migrate(t, db, itemTable)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		if err := insert(ctx, tx, 1, "before"); err != nil {
			return err
		}
		cancel()
		return insert(ctx, tx, 2, "after")
	})
	if err != nil {
		t.Errorf("got %v, want the transaction finished", err)
	}
	wantNames(t, db, "after", "before")
}

func TestCloseRefusesThoseWhoWait(t *testing.T) {
	db := openSQLite(t, sqldb.SQLiteOptions{Path: filepath.Join(t.TempDir(), "test.db")})
	ctx := t.Context()
	begun, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := db.Update(ctx, func(*sqldb.Tx) error { close(begun); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-begun
	closed := make(chan error)
	go func() { closed <- db.Close() }()
	for range 50 {
		wg.Go(func() {
			err := db.Update(ctx, func(*sqldb.Tx) error { return nil })
			if err != nil && !errors.Is(err, sqldb.ErrClosed) {
				t.Errorf("got %v, want ErrClosed or nothing", err)
			}
		})
	}
	close(release)
	wg.Wait()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestPragmas(t *testing.T) {
	for _, durable := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "with space?&%.db")
		db := openSQLite(t, sqldb.SQLiteOptions{Path: path, Durable: durable})
		want := map[string]string{"journal_mode": "wal", "synchronous": "0", "foreign_keys": "1", "busy_timeout": "10000"}
		if durable {
			want["synchronous"] = "2"
		}
		for name, value := range want {
			var got string
			err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
				return tx.QueryRow(t.Context(), "PRAGMA "+name).Scan(&got)
			})
			if err != nil || got != value {
				t.Errorf("durable %v: %s is %s, want %s (%v)", durable, name, got, value, err)
			}
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file's permissions: %v, %v", info.Mode(), err)
		}
	}
}

func TestExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	first, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: path, Durable: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	out, err := child(t, path, "exclusive").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is another berth serving this data directory?") {
		t.Errorf("another process opened the same file: %v\n%s", err, out)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, path, "exclusive").CombinedOutput(); err != nil {
		t.Errorf("after Close: %v\n%s", err, out)
	}
}

// TestKilledWriter kills a process with SIGKILL while it writes: what it had
// acknowledged is there, and nothing else is half there.
func TestKilledWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := openSQLite(t, sqldb.SQLiteOptions{Path: path, Durable: true})
	migrate(t, db, itemTable+`CREATE TABLE part (item_id BIGINT NOT NULL REFERENCES item (id));`)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := child(t, path, "write")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int64]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		id, err := strconv.ParseInt(lines.Text(), 10, 64)
		if err != nil {
			continue // cut off
		}
		acknowledged[id] = true
		if len(acknowledged) == 100 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(acknowledged) < 100 {
		t.Fatalf("the process wrote only %d rows", len(acknowledged))
	}
	db = openSQLite(t, sqldb.SQLiteOptions{Path: path, Durable: true, Exclusive: true})
	var halves int
	err = db.View(t.Context(), func(tx *sqldb.Tx) error {
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM item WHERE id NOT IN (SELECT item_id FROM part)`).Scan(&halves); err != nil {
			return err
		}
		_, err := sqldb.Collect(t.Context(), tx, func(row sqldb.Scanner) (struct{}, error) {
			var id int64
			err := row.Scan(&id)
			delete(acknowledged, id)
			return struct{}{}, err
		}, `SELECT id FROM item`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(acknowledged) != 0 || halves != 0 {
		t.Errorf("%d acknowledged rows are missing, %d transactions are half there", len(acknowledged), halves)
	}
}

// child runs TestChild of this test binary in another process.
func child(t *testing.T, path, what string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), "SQLDB_CHILD="+what, "SQLDB_PATH="+path)
	return cmd
}

// TestChild is the other process of the tests above; by itself it checks that
// it was not started as one by mistake.
func TestChild(t *testing.T) {
	what, path := os.Getenv("SQLDB_CHILD"), os.Getenv("SQLDB_PATH")
	if (what == "") != (path == "") {
		t.Fatal("half of the environment of a child process is set")
	}
	if what == "" {
		return
	}
	db, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: path, Durable: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if what != "write" {
		return
	}
	ctx := t.Context()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				id := sqldb.NewID()
				err := db.Update(ctx, func(tx *sqldb.Tx) error {
					if err := insert(ctx, tx, id, strconv.FormatInt(id, 10)); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, `INSERT INTO part VALUES ($1)`, id)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Println(id)
			}
		})
	}
	wg.Wait()
}

func TestDamagedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := openSQLite(t, sqldb.SQLiteOptions{Path: path})
	migrate(t, db, itemTable)
	if err := db.Update(t.Context(), func(tx *sqldb.Tx) error { return insert(t.Context(), tx, 1, "one") }); err != nil {
		t.Fatal(err)
	}
	if db.Recreated() {
		t.Error("a new file counts as recreated")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openSQLite(t, sqldb.SQLiteOptions{Path: path})
	wantNames(t, db, "one")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	for name, damage := range map[string]func(b []byte){
		"header": func(b []byte) { copy(b, "this is not a database") },
		"pages":  func(b []byte) { copy(b[4096:], bytes.Repeat([]byte{0xAA}, len(b)-4096)) },
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		damage(text)
		broken := filepath.Join(t.TempDir(), "broken.db")
		if err := os.WriteFile(broken, text, 0o600); err != nil {
			t.Fatal(err)
		}
		// A durable one is never thrown away.
		if db, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: broken, Durable: true}); err == nil {
			err = db.View(t.Context(), func(tx *sqldb.Tx) error {
				var n int
				return tx.QueryRow(t.Context(), `SELECT count(*) FROM item`).Scan(&n)
			})
			if !errors.Is(err, sqldb.ErrCorrupt) {
				t.Errorf("%s: reading a damaged durable file: %v, want ErrCorrupt", name, err)
			}
			if err := db.Close(); err != nil {
				t.Logf("closing the damaged file: %v", err)
			}
		} else if !errors.Is(err, sqldb.ErrCorrupt) {
			t.Errorf("%s: opening a damaged durable file: %v, want ErrCorrupt", name, err)
		}
		db := openSQLite(t, sqldb.SQLiteOptions{Path: broken})
		if !db.Recreated() {
			t.Errorf("%s: a damaged file was not begun anew", name)
		}
		migrate(t, db, itemTable)
		wantNames(t, db)
	}
}

func TestCannotOpen(t *testing.T) {
	if _, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{}); err == nil {
		t.Error("opened without a path")
	}
	if _, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: filepath.Join(t.TempDir(), "missing", "test.db"), Exclusive: true}); err == nil {
		t.Error("opened in a directory that is not there")
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	db, err := sqldb.OpenSQLite(t.Context(), sqldb.SQLiteOptions{Path: filepath.Join(t.TempDir(), "test.db"), Durable: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	migrate(t, db, itemTable)
	wantNames(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}
