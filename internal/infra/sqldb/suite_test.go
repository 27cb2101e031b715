package sqldb_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// migrate makes the tables of a test.
func migrate(t testing.TB, db *sqldb.DB, sql string) {
	t.Helper()
	dir := fstest.MapFS{"0001_test_tables.sql": {Data: []byte("-- +goose Up\n" + sql)}}
	if err := db.Migrate(t.Context(), "test_version", dir); err != nil {
		t.Fatal(err)
	}
}

const itemTable = `CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY, name btext NOT NULL UNIQUE);`

// eachItem runs a test on both engines with the table item.
func eachItem(t *testing.T, fn func(t *testing.T, db *sqldb.DB)) {
	t.Helper()
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db, itemTable)
		fn(t, db)
	})
}

func insert(ctx context.Context, tx *sqldb.Tx, id int64, name string) error {
	_, err := tx.Exec(ctx, `INSERT INTO item (id, name) VALUES ($1, $2)`, id, name)
	return err
}

func names(t testing.TB, db *sqldb.DB) []string {
	t.Helper()
	var all []string
	err := db.View(t.Context(), func(tx *sqldb.Tx) (err error) {
		all, err = sqldb.Collect(t.Context(), tx, func(row sqldb.Scanner) (s string, err error) {
			return s, row.Scan(&s)
		}, `SELECT name FROM item ORDER BY name`)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantNames(t testing.TB, db *sqldb.DB, want ...string) {
	t.Helper()
	if got := names(t, db); !slices.Equal(got, want) {
		t.Errorf("the table holds %q, want %q", got, want)
	}
}

func TestUpdateCommitsOrRollsBack(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "kept") }); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			if err := insert(ctx, tx, 2, "dropped"); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Errorf("Update returned %v, want the closure's error", err)
		}
		wantNames(t, db, "kept")
	})
}

func TestPanicRollsBackAndReachesTheCaller(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"Update": db.Update, "View": db.View} {
			func() {
				defer func() {
					if p := recover(); p != "boom" {
						t.Errorf("%s: recovered %v, want boom", name, p)
					}
				}()
				err := run(ctx, func(tx *sqldb.Tx) error {
					if name == "Update" {
						if err := insert(ctx, tx, 1, "dropped"); err != nil {
							return err
						}
					}
					if _, err := tx.Query(ctx, `SELECT name FROM item`); err != nil { // left open
						return err
					}
					panic("boom")
				})
				t.Errorf("%s returned %v in spite of the panic", name, err)
			}()
		}
		wantNames(t, db)
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "after") }); err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "after")
	})
}

func TestClosureThatEndsItsGoroutine(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var wg sync.WaitGroup
		wg.Go(func() { // as t.FailNow does
			_ = db.Update(ctx, func(tx *sqldb.Tx) error {
				if err := insert(ctx, tx, 1, "dropped"); err != nil {
					t.Error(err)
				}
				runtime.Goexit()
				return nil
			})
		})
		wg.Go(func() {
			_ = db.View(ctx, func(*sqldb.Tx) error {
				runtime.Goexit()
				return nil
			})
		})
		wg.Wait()
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 2, "after") }); err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "after")
	})
}

func TestFailedStatementLosesTheTransaction(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			if err := insert(ctx, tx, 1, "one"); err != nil {
				return err
			}
			if err := insert(ctx, tx, 1, "again"); !sqldb.IsUnique(err) {
				t.Errorf("second insert: %v, want a unique violation", err)
			}
			if err := insert(ctx, tx, 2, "two"); !sqldb.IsUnique(err) {
				t.Errorf("a statement after a failed one: %v, want the first failure", err)
			}
			return nil // passes over the failure
		})
		if !sqldb.IsUnique(err) {
			t.Errorf("Update returned %v, want the failure that was passed over", err)
		}
		wantNames(t, db)
	})
}

func TestOneStatementAtATime(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for i, name := range []string{"a", "b"} {
				if err := insert(ctx, tx, int64(i), name); err != nil {
					return err
				}
			}
			rows, err := tx.Query(ctx, `SELECT name FROM item ORDER BY name`)
			if err != nil {
				return err
			}
			if !rows.Next() {
				return fmt.Errorf("no row: %w", rows.Err())
			}
			return rows.Close()
		})
		if err != nil {
			t.Fatalf("closing rows early: %v", err)
		}
		err = db.Update(ctx, func(tx *sqldb.Tx) error {
			rows, err := tx.Query(ctx, `SELECT name FROM item ORDER BY name`)
			if err != nil {
				return err
			}
			if !rows.Next() {
				return fmt.Errorf("no row: %w", rows.Err())
			}
			return insert(ctx, tx, 3, "c")
		})
		if err == nil || !strings.Contains(err.Error(), "still open") {
			t.Errorf("a statement while rows are open: %v, want a refusal", err)
		}
		wantNames(t, db, "a", "b")
	})
}

func TestTxAfterItsEnd(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		var kept *sqldb.Tx
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { kept = tx; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := insert(ctx, kept, 1, "late"); err == nil {
			t.Error("a transaction that has ended could still be used")
		}
		wantNames(t, db)
	})
}

func TestUnique(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db, itemTable+`
			CREATE TABLE pair (a btext NOT NULL, b btext NOT NULL, PRIMARY KEY (a, b));
			CREATE TABLE part (item_id BIGINT NOT NULL REFERENCES item (id), weight BIGINT NOT NULL CHECK (weight > 0));`)
		ctx := t.Context()
		exec := func(query string, args ...any) error {
			return db.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, query, args...)
				return err
			})
		}
		for _, q := range []string{`INSERT INTO item VALUES (1, 'one')`, `INSERT INTO pair VALUES ('a', 'b')`} {
			if err := exec(q); err != nil {
				t.Fatal(err)
			}
		}
		for q, want := range map[string]bool{
			`INSERT INTO item VALUES (1, 'two')`: true,
			`INSERT INTO item VALUES (2, 'one')`: true,
			`INSERT INTO pair VALUES ('a', 'b')`: true,
			`INSERT INTO part VALUES (7, 1)`:     false,
			`INSERT INTO part VALUES (1, 0)`:     false,
		} {
			err := exec(q)
			if err == nil || sqldb.IsUnique(err) != want {
				t.Errorf("%s: %v: IsUnique is %v, want %v", q, err, sqldb.IsUnique(err), want)
			}
			if err := fmt.Errorf("wrapped: %w", err); sqldb.IsUnique(err) != want {
				t.Errorf("%s, wrapped: IsUnique is %v, want %v", q, sqldb.IsUnique(err), want)
			}
		}
		// A violation of a statement that returns rows comes out of Scan.
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			var id int64
			return tx.QueryRow(ctx, `INSERT INTO part VALUES (7, 1) RETURNING item_id`).Scan(&id)
		})
		if err == nil || sqldb.IsUnique(err) {
			t.Errorf("foreign key violation with RETURNING: %v", err)
		}
		if err := exec(`DELETE FROM item WHERE id = $1`, 1); err != nil {
			t.Errorf("nothing refers to the item, but: %v", err)
		}
	})
}

type (
	word   string
	number int32
	flag   bool
	octets []byte
)

func TestValuesRoundTrip(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db, `CREATE TABLE v (id BIGINT NOT NULL PRIMARY KEY, i BIGINT NOT NULL, b BOOLEAN NOT NULL, s btext NOT NULL, y BYTEA NOT NULL);`)
		ctx := t.Context()
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		rows := []struct {
			i int64
			b bool
			s string
			y []byte
		}{
			{0, false, "", []byte{}},
			{math.MaxInt64, true, "Grüße, 世界 \U0001F6A2", all},
			{math.MinInt64, false, "123", []byte("text")},
			{-1, true, "2024-01-01 00:00:00", []byte{0}},
			{1732147200123456, true, "1e3", nil},
			{7, true, "  spaces  ", []byte(`{"json": true}`)},
		}
		for id, r := range rows {
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO v (id, i, b, s, y) VALUES ($1, $2, $3, $4, $5)`, id, r.i, r.b, r.s, r.y)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			var i int64
			var b bool
			var s string
			var y []byte
			var named struct {
				i number
				b bool
				s word
				y octets
			}
			err = db.View(ctx, func(tx *sqldb.Tx) error {
				if err := tx.QueryRow(ctx, `SELECT i, b, s, y FROM v WHERE id = $1 AND i = $2 AND b = $3 AND s = $4 AND y = $5`, id, r.i, r.b, word(r.s), octets(r.y)).Scan(&i, &b, &s, &y); err != nil {
					return err
				}
				return tx.QueryRow(ctx, `SELECT id, b, s, y FROM v WHERE id = $1 AND b = $2`, number(id), flag(r.b)).Scan(&named.i, &named.b, &named.s, &named.y)
			})
			if err != nil {
				t.Fatalf("row %d: %v", id, err)
			}
			if i != r.i || b != r.b || s != r.s || !bytes.Equal(y, r.y) || y == nil {
				t.Errorf("row %d: read %d %v %q %v, want %d %v %q %v", id, i, b, s, y, r.i, r.b, r.s, r.y)
			}
			if int(named.i) != id || named.b != r.b || string(named.s) != r.s || !bytes.Equal(named.y, r.y) {
				t.Errorf("row %d: read %v into named types", id, named)
			}
		}
		var exists, compared bool
		var sum int64
		var low, high string
		err := db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM v WHERE b), min(i) < max(i), CAST(sum(id) AS BIGINT), min(s), max(s) FROM v`).Scan(&exists, &compared, &sum, &low, &high)
		})
		if err != nil || !exists || !compared || sum != 15 || low != "" || high != "Grüße, 世界 \U0001F6A2" {
			t.Errorf("expressions: %v %v %d %q %q, %v", exists, compared, sum, low, high, err)
		}
	})
}

func TestRefusedValues(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		for _, bad := range []any{"nul\x00", "not utf-8 \xff", word("\xc0"), uint64(math.MaxUint64), struct{}{}, []string{"a"}, &struct{}{}} {
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO item (id, name) VALUES ($1, $2)`, 1, bad)
				return err
			})
			if err == nil || !strings.Contains(err.Error(), "$2") {
				t.Errorf("%T %q: %v, want a refusal of argument $2", bad, bad, err)
			}
		}
		wantNames(t, db)
	})
}

func TestNoRows(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			var name string
			if err := tx.QueryRow(ctx, `SELECT name FROM item WHERE id = $1`, 1).Scan(&name); !errors.Is(err, sqldb.ErrNoRows) {
				t.Errorf("Scan without a row: %v, want ErrNoRows", err)
			}
			return insert(ctx, tx, 1, "still usable")
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "still usable")
	})
}

func TestRowsAffected(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for _, step := range []struct {
				query string
				want  int64
			}{
				{`INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, 'c')`, 3},
				{`INSERT INTO item VALUES (1, 'z') ON CONFLICT DO NOTHING`, 0},
				{`UPDATE item SET name = name || '!' WHERE id >= 2`, 2},
				{`UPDATE item SET name = name WHERE id = 9`, 0},
				{`DELETE FROM item`, 3},
			} {
				n, err := tx.Exec(ctx, step.query)
				if err != nil {
					return err
				}
				if n != step.want {
					t.Errorf("%s: %d rows, want %d", step.query, n, step.want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestTextComparesBytewise(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		all := []string{"a", "B", "b", "A", "_", "-", "a-b", "ab", "a_b", "a/b", "Z", "z", "ä", "é", "~", "0", "10", "9", "a b", "ａ", "aB", "Ab"}
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for i, name := range all {
				if err := insert(ctx, tx, int64(i), name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(all)
		wantNames(t, db, all...)
		// Paging by key walks the same order.
		after, paged := "", []string{}
		for {
			var page []string
			err := db.View(ctx, func(tx *sqldb.Tx) (err error) {
				page, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (s string, err error) { return s, row.Scan(&s) },
					`SELECT name FROM item WHERE name > $1 ORDER BY name LIMIT 3`, after)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
			after = page[len(page)-1]
		}
		if !slices.Equal(paged, all) {
			t.Errorf("paged %q, want %q", paged, all)
		}
		var like []string
		err = db.View(ctx, func(tx *sqldb.Tx) (err error) {
			like, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (s string, err error) { return s, row.Scan(&s) },
				`SELECT name FROM item WHERE name LIKE $1 ESCAPE '\' ORDER BY name`, `a\_%`)
			return err
		})
		if err != nil || !slices.Equal(like, []string{"a_b"}) {
			t.Errorf("LIKE: %q, %v", like, err)
		}
		err = db.View(ctx, func(tx *sqldb.Tx) (err error) {
			like, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (s string, err error) { return s, row.Scan(&s) },
				`SELECT name FROM item WHERE name LIKE 'a%' AND length(name) = 2 ORDER BY name`)
			return err
		})
		if err != nil || !slices.Equal(like, []string{"aB", "ab"}) {
			t.Errorf("LIKE must distinguish case: %q, %v", like, err)
		}
	})
}

// TestServerDoesNotSortBytewise makes sure that the test above tests something.
func TestServerDoesNotSortBytewise(t *testing.T) {
	db := sqldbtest.Postgres(t)
	var before bool
	err := db.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT CAST('a' AS text) < CAST('B' AS text)`).Scan(&before)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !before {
		t.Error("the test server sorts text bytewise, so it cannot show where a column forgot to say so")
	}
}

func TestInLists(t *testing.T) {
	if got := sqldb.In(3, 3); got != "($3,$4,$5)" {
		t.Errorf("In(3, 3) is %s", got)
	}
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		const n = 300 // more texts than a connection keeps prepared
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for i := range int64(n) {
				if err := insert(ctx, tx, i, fmt.Sprintf("item %d", i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		count := func(tx *sqldb.Tx, ids []any) (n int, err error) {
			return n, tx.QueryRow(ctx, `SELECT count(*) FROM item WHERE id IN `+sqldb.In(1, len(ids)), ids...).Scan(&n)
		}
		var ids []any
		for i := range n {
			ids = append(ids, i)
			for name, run := range map[string]func(context.Context, func(*sqldb.Tx) error) error{"View": db.View, "Update": db.Update} {
				var got int
				if err := run(ctx, func(tx *sqldb.Tx) (err error) { got, err = count(tx, slices.Clone(ids)); return err }); err != nil || got != i+1 {
					t.Fatalf("%s with %d values: %d rows, %v", name, i+1, got, err)
				}
			}
		}
	})
}

func TestBigValues(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db, `CREATE TABLE big (id BIGINT NOT NULL PRIMARY KEY, body BYTEA NOT NULL, words btext NOT NULL);`)
		ctx := t.Context()
		body := bytes.Repeat([]byte("0123456789abcde\x00"), 512<<10) // 8 MiB
		words := strings.Repeat("wörter ", 1<<20)
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO big VALUES (1, $1, $2)`, body, words)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var gotBody []byte
		var gotWords string
		err = db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT body, words FROM big`).Scan(&gotBody, &gotWords)
		})
		if err != nil || !bytes.Equal(gotBody, body) || gotWords != words {
			t.Errorf("read %d bytes and %d bytes of text back, %v", len(gotBody), len(gotWords), err)
		}
	})
}

func TestCollectStopsAtAScanError(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		boom := errors.New("boom")
		err := db.Update(ctx, func(tx *sqldb.Tx) error {
			if err := insert(ctx, tx, 1, "a"); err != nil {
				return err
			}
			_, err := sqldb.Collect(ctx, tx, func(sqldb.Scanner) (int, error) { return 0, boom }, `SELECT name FROM item`)
			if !errors.Is(err, boom) {
				t.Errorf("Collect returned %v, want the scan's error", err)
			}
			return insert(ctx, tx, 2, "b") // nothing is left open
		})
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, db, "a", "b")
	})
}

func TestSyntaxErrors(t *testing.T) {
	eachItem(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		for _, q := range []string{
			`SELEC 1`, `SELECT nothing FROM item`, `SELECT name FROM item WHERE name = "text"`,
			`SELECT name FROM item WHERE id = 1 AND name IN ($2, $1)`, `SELECT count(*) FROM item`, `SELECT name FROM item WHERE name = '$1'`,
			`DELETE FROM item WHERE name = $1; DELETE FROM item`,
		} {
			err := db.View(ctx, func(tx *sqldb.Tx) error {
				var s string
				return tx.QueryRow(ctx, q, "one argument").Scan(&s)
			})
			if err == nil || errors.Is(err, sqldb.ErrNoRows) {
				t.Errorf("%s: %v, want a refusal", q, err)
			}
		}
		wantNames(t, db)
	})
}
