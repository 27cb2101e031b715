package direct

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// endless is a statement that takes very long.
const endless = `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000000000000) SELECT count(*) FROM c`

func open(t *testing.T) *Conn {
	t.Helper()
	c, err := Open(Writing(filepath.Join(t.TempDir(), "test.db"), false))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// read is the first column of all rows as text.
func read(ctx context.Context, c *Conn, text string, args ...any) ([]string, error) {
	rows, err := c.Query(ctx, text, args)
	if err != nil {
		return nil, err
	}
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		all = append(all, s)
	}
	return all, errors.Join(rows.Err(), rows.Close())
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]struct {
		text  string
		order []int
		n     int
	}{
		`SELECT 1`:                           {`SELECT 1`, nil, 0},
		`VALUES ($1, $2)`:                    {`VALUES (?, ?)`, []int{1, 2}, 2},
		`VALUES ($2, $1, $2)`:                {`VALUES (?1, ?, ?1)`, []int{2, 1}, 2},
		`VALUES ($1,$1,$3,$1)`:               {`VALUES (?1,?1,?,?1)`, []int{1, 3}, 3},
		`SELECT '$1', $1`:                    {`SELECT '$1', ?`, []int{1}, 1},
		`SELECT 'it''s $1' || $1`:            {`SELECT 'it''s $1' || ?`, []int{1}, 1},
		`SELECT "$1", $1`:                    {`SELECT "$1", ?`, []int{1}, 1},
		"SELECT $1 -- not $2 '\n, $2":        {"SELECT ? -- not $2 '\n, ?", []int{1, 2}, 2},
		`SELECT /* $1 ? */ $2 / $1 - 1`:      {`SELECT /* $1 ? */ ? / ? - 1`, []int{2, 1}, 2},
		`SELECT '?', $10`:                    {`SELECT '?', ?`, []int{10}, 10},
		`SELECT 1 LIMIT $1`:                  {`SELECT 1 LIMIT +?`, []int{1}, 1},
		`SELECT $0, $, $x, 'open $1`:         {`SELECT $0, $, $x, 'open $1`, nil, 0},
		`SELECT $99999999999999999999999999`: {`SELECT ?`, []int{maxNumber}, maxNumber},
	} {
		st := statement{text: text}
		got, err := st.number()
		if err != nil || got != want.text || !slices.Equal(st.order, want.order) || st.arguments != want.n {
			t.Errorf("%s: %s, arguments %v of %d, %v", text, got, st.order, st.arguments, err)
		}
	}
	if _, err := (&statement{text: `SELECT ? + $1`}).number(); err == nil {
		t.Error("a placeholder without a number was taken")
	}
}

func TestArgumentsReachTheirPlaces(t *testing.T) {
	c := open(t)
	ctx := t.Context()
	for text, want := range map[string][]string{
		`SELECT $3 || $1 || $2 || $1`: {"caba"},
		// The same expression twice is one to SQLite only if its variables are.
		`SELECT $1 || $2 || $3 UNION SELECT $2 || $3 || $1 ORDER BY $1 || $2 || $3`: {"abc", "bca"},
	} {
		got, err := read(ctx, c, text, "a", "b", "c")
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, args := range [][]any{nil, {"a"}, {"a", "b", "c"}} {
		if _, err := read(ctx, c, `SELECT $1 || $2`, args...); err == nil {
			t.Errorf("two placeholders took %d arguments", len(args))
		}
	}
}

// TestStatementsAreKept beyond the bound of how many are.
func TestStatementsAreKept(t *testing.T) {
	c := open(t)
	for range 2 {
		for i := range maxStatements + 10 {
			if got, err := read(t.Context(), c, fmt.Sprintf(`SELECT %d + $1`, i), int64(1)); err != nil || got[0] != fmt.Sprint(i+1) {
				t.Fatalf("statement %d: %q, %v", i, got, err)
			}
		}
	}
	if c.recent.Len() != maxStatements || len(c.byText) != maxStatements {
		t.Errorf("%d statements by text and %d in order are kept, want %d", len(c.byText), c.recent.Len(), maxStatements)
	}
}

// TestRowsAreOverwritten neither in the driver nor here: what was read of a row
// stays.
func TestRowsAreOverwritten(t *testing.T) {
	c := open(t)
	rows, err := c.Query(t.Context(), `SELECT CAST('first' AS BLOB), 'first' UNION ALL SELECT CAST('later' AS BLOB), 'later'`, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b [2][]byte
	var s [2]string
	for i := range b {
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Scan(&b[i], &s[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if string(b[0]) != "first" || s[0] != "first" || string(b[1]) != "later" || s[1] != "later" {
		t.Errorf("read %q and %q", b, s)
	}
}

func TestEndOfTheContext(t *testing.T) {
	c := open(t)
	for name, run := range map[string]func(ctx context.Context) error{
		"Query": func(ctx context.Context) error { _, err := read(ctx, c, endless); return err },
		"Next": func(ctx context.Context) error {
			_, err := read(ctx, c, strings.Replace(endless, "SELECT count(*) FROM c", "SELECT n FROM c WHERE n % 1000000000000 = 1", 1))
			return err
		},
		"Exec": func(ctx context.Context) error {
			_, err := c.Exec(ctx, `CREATE TABLE t AS `+endless, nil)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the end of the context", name, err)
		}
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with a context that has ended: %v", name, err)
		}
		cancel()
		c.Rest()
		// The next ones have nothing to do with it.
		if got, err := read(t.Context(), c, `SELECT 1`); err != nil || !slices.Equal(got, []string{"1"}) {
			t.Errorf("after %s: %q, %v", name, got, err)
		}
	}
}

// TestEndOfTheContextAfterRest does not touch the statements of others.
func TestEndOfTheContextAfterRest(t *testing.T) {
	c := open(t)
	const some = `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT count(*) FROM c`
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := read(ctx, c, `SELECT 1`); err != nil {
			t.Fatal(err)
		}
		go cancel()
		c.Rest()
		if _, err := read(context.Background(), c, some); err != nil {
			t.Fatal(err)
		}
	}
}

// TestContextsInTurn: each statement ends with its own context.
func TestContextsInTurn(t *testing.T) {
	c := open(t)
	long, endLong := context.WithCancel(t.Context())
	defer endLong()
	for range 3 {
		if _, err := read(long, c, `SELECT 1`); err != nil {
			t.Fatal(err)
		}
		short, endShort := context.WithTimeout(long, 20*time.Millisecond)
		if _, err := read(short, c, endless); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the shorter context", err)
		}
		endShort()
	}
	rows, err := c.Query(long, `SELECT 1 UNION ALL SELECT 2`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	endLong()
	if rows.Next() || !errors.Is(rows.Err(), context.Canceled) {
		t.Errorf("a row after the end of the context, %v", rows.Err())
	}
}

// quiet is a context whose end nobody is told: one has to look.
type quiet struct{ context.Context }

func (quiet) AfterFunc(func()) (stop func() bool) { return func() bool { return true } }

// TestRowsLookAtTheContext, so that none is read after its end even where the
// interruption has yet to come.
func TestRowsLookAtTheContext(t *testing.T) {
	c := open(t)
	ctx, end := context.WithCancel(t.Context())
	rows, err := c.Query(quiet{ctx}, `SELECT 1 UNION ALL SELECT 2`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !rows.Next() {
		t.Fatal(rows.Err())
	}
	end()
	if rows.Next() || !errors.Is(rows.Err(), context.Canceled) || rows.Close() != nil {
		t.Errorf("a row after the end of the context, %v", rows.Err())
	}
}
