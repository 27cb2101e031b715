package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/catalogue"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { sqldbtest.Main(m) }

// Tables whose names stand the other way round than what they refer to.
const tables = `-- +goose Up
CREATE TABLE zone (
    id   BIGINT  NOT NULL PRIMARY KEY,
    name btext   NOT NULL,
    open BOOLEAN NOT NULL,
    body BYTEA   NOT NULL,
    more btext,
    many BIGINT
);
CREATE TABLE "order" (
    zone_id BIGINT NOT NULL REFERENCES zone (id) ON DELETE CASCADE,
    "key"   btext  NOT NULL,
    PRIMARY KEY (zone_id, "key")
);
CREATE TABLE area (
    zone_id BIGINT NOT NULL,
    "key"   btext  NOT NULL,
    FOREIGN KEY (zone_id, "key") REFERENCES "order" (zone_id, "key")
);
CREATE TABLE keyring (id BIGINT NOT NULL PRIMARY KEY);
INSERT INTO keyring (id) VALUES (1);
CREATE TABLE quota_revision (id BIGINT NOT NULL PRIMARY KEY, revision BIGINT NOT NULL);
INSERT INTO quota_revision (id, revision) VALUES (1, 0);
CREATE TABLE job (
    id          BIGINT  NOT NULL PRIMARY KEY,
    state       BIGINT  NOT NULL,
    again       BOOLEAN NOT NULL,
    attempt     BIGINT  NOT NULL,
    owner       btext   NOT NULL,
    lease_until BIGINT  NOT NULL
);
CREATE /*UNLOGGED*/ TABLE upload (id BIGINT NOT NULL PRIMARY KEY);
`

// bodies is more than fits into one INSERT.
const bodies = 700

func migrated(t *testing.T, db *sqldb.DB, dirs ...fs.FS) *sqldb.DB {
	t.Helper()
	if len(dirs) == 0 {
		dirs = []fs.FS{fstest.MapFS{"0003_tables.sql": {Data: []byte(tables)}}}
	}
	if err := db.Migrate(t.Context(), backends.VersionTable, dirs...); err != nil {
		t.Fatal(err)
	}
	return db
}

func filled(t *testing.T, db *sqldb.DB) *sqldb.DB {
	t.Helper()
	migrated(t, db)
	ctx := t.Context()
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := tx.Exec(ctx, query, args...); err != nil {
				t.Fatal(err)
			}
		}
		const zone = `INSERT INTO zone (id, name, open, body, more, many) VALUES ($1, $2, $3, $4, $5, $6)`
		exec(zone, int64(math.MinInt64), "", false, []byte{}, nil, nil)
		exec(zone, int64(math.MaxInt64), "héllo \"world\"\n\t\\ \u2028 <&> \U0001f6a2 \uFFFD", true, []byte{0, 1, 255, '"', '\n'}, "", int64(0))
		exec(zone, int64(1)<<53+1, "null", true, []byte("null"), "[1]", int64(-1))
		for i := range int64(bodies) {
			exec(zone, i, fmt.Sprint("zone ", i), i%2 == 0, bytes.Repeat([]byte{byte(i)}, 1000), fmt.Sprint(i), i)
			exec(`INSERT INTO "order" (zone_id, "key") VALUES ($1, $2)`, i, fmt.Sprint(i))
		}
		exec(`INSERT INTO area (zone_id, "key") VALUES ($1, $2)`, int64(5), "5")
		exec(`UPDATE quota_revision SET revision = 17`)
		exec(`INSERT INTO job (id, state, again, attempt, owner, lease_until) VALUES (1, 0, FALSE, 0, '', 0), (2, 1, TRUE, 3, 'somebody', 99), (3, 2, FALSE, 4, '', 0)`)
		exec(`INSERT INTO upload (id) VALUES (1)`)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func dumped(t *testing.T, db *sqldb.DB) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := Write(t.Context(), db, Header{Program: "test", Account: "000000000000"}, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func loaded(ctx context.Context, db *sqldb.DB, text []byte) error {
	return Load(ctx, db, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }, func(int64) {})
}

func engines() map[string]func(*testing.T) *sqldb.DB {
	return map[string]func(*testing.T) *sqldb.DB{
		"sqlite":   func(t *testing.T) *sqldb.DB { return sqldbtest.SQLite(t) },
		"postgres": func(t *testing.T) *sqldb.DB { return sqldbtest.Postgres(t) },
	}
}

// TestRoundTrip: what goes from any engine to any other is the same there.
func TestRoundTrip(t *testing.T) {
	for from, source := range engines() {
		t.Run("from "+from, func(t *testing.T) {
			text := dumped(t, filled(t, source(t)))
			if from == "sqlite" { // where the table of uploads stands in a file of its own
				text = bytes.Replace(text, []byte(`{"table":"upload","columns":[{"name":"id","kind":"int"}]}`+"\n[1]\n"), nil, 1)
				text = bytes.Replace(text, []byte(`,"upload":1`), nil, 1)
			}
			for _, absent := range []string{"keyring", "upload", "somebody", "goose"} {
				if bytes.Contains(text, []byte(absent)) {
					t.Errorf("%q is in the dump", absent)
				}
			}
			for to, target := range engines() {
				t.Run("to "+to, func(t *testing.T) {
					db := migrated(t, target(t))
					if to == "sqlite" {
						if err := db.Update(t.Context(), func(tx *sqldb.Tx) error { _, err := tx.Exec(t.Context(), `DROP TABLE upload`); return err }); err != nil {
							t.Fatal(err)
						}
					}
					if table, err := Occupied(t.Context(), db); err != nil || table != "" {
						t.Fatalf("an empty database has rows in %q, %v", table, err)
					}
					if err := loaded(t.Context(), db, text); err != nil {
						t.Fatal(err)
					}
					if got := dumped(t, db); !bytes.Equal(got, text) {
						t.Errorf("it comes back as\n%.3000s\nand was\n%.3000s", got, text)
					}
					if table, err := Occupied(t.Context(), db); err != nil || table == "" {
						t.Errorf("a full database has no rows, %v", err)
					}
					var jobs string
					err := db.View(t.Context(), func(tx *sqldb.Tx) error {
						all, err := sqldb.Collect(t.Context(), tx, func(row sqldb.Scanner) (string, error) {
							var id, state, attempt, lease int64
							var again bool
							err := row.Scan(&id, &state, &again, &attempt, &lease)
							return fmt.Sprint(id, state, again, attempt, lease), err
						}, `SELECT id, state, again, attempt, lease_until FROM job ORDER BY id`)
						jobs = strings.Join(all, "; ")
						return err
					})
					if want := "1 0 false 0 0; 2 0 false 2 0; 3 2 false 4 0"; err != nil || jobs != want {
						t.Errorf("jobs: %s, want %s, %v", jobs, want, err)
					}
				})
			}
		})
	}
}

// TestLoadIsAllOrNothing: a dump that is cut or damaged anywhere leaves the
// database as it was.
func TestLoadIsAllOrNothing(t *testing.T) {
	for name, engine := range engines() {
		t.Run(name, func(t *testing.T) {
			text := dumped(t, filled(t, engine(t)))
			db := migrated(t, engine(t))
			before := dumped(t, db)
			lines := bytes.SplitAfter(text, []byte("\n"))
			for what, bad := range map[string][]byte{
				"without its end":    bytes.Join(lines[:len(lines)-2], nil),
				"cut in a row":       text[:len(text)/2],
				"without a row":      bytes.Join(slices.Delete(slices.Clone(lines), 10, 11), nil),
				"with a row twice":   bytes.Join(slices.Insert(slices.Clone(lines), 10, lines[10]), nil),
				"with a long row":    bytes.Replace(text, []byte("[5,\"5\"]"), []byte("[5,\"5\",1]"), 1),
				"with another type":  bytes.Replace(text, []byte("[5,\"5\"]"), []byte("[\"5\",\"5\"]"), 1),
				"of another format":  bytes.Replace(text, []byte(`"berthDump":1`), []byte(`"berthDump":2`), 1),
				"with a lost parent": bytes.Replace(text, []byte("[5,\"5\"]"), []byte("[5,\"6\"]"), 1),
				"that failed":        append(bytes.Join(lines[:20], nil), []byte(`{"error":"the disk"}`+"\n")...),
				"of another form":    bytes.ReplaceAll(text, []byte(`"name":"many"`), []byte(`"name":"much"`)),
				"that is no dump":    []byte("hello\n"),
				"that is empty":      nil,
			} {
				if bytes.Equal(bad, text) {
					t.Fatalf("%s: nothing is different", what)
				}
				if err := loaded(t.Context(), db, bad); err == nil {
					t.Errorf("a dump %s was loaded", what)
				}
				if !bytes.Equal(dumped(t, db), before) {
					t.Fatalf("a dump %s left something behind", what)
				}
			}
			if err := loaded(t.Context(), db, text); err != nil {
				t.Errorf("the good dump: %v", err)
			}
		})
	}
}

// meanwhile runs do when the first bytes come.
type meanwhile struct {
	io.Writer
	do func()
}

func (m *meanwhile) Write(p []byte) (int, error) {
	if m.do != nil {
		m.do()
		m.do = nil
	}
	return m.Writer.Write(p)
}

// TestOneState: what is written while the dump is, is not in it, in no table.
func TestOneState(t *testing.T) {
	for name, engine := range engines() {
		t.Run(name, func(t *testing.T) {
			db := filled(t, engine(t))
			want := dumped(t, db)
			var got bytes.Buffer
			err := Write(t.Context(), db, Header{Program: "test", Account: "000000000000"}, &meanwhile{&got, func() {
				err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
					for _, query := range []string{`DELETE FROM area`, `DELETE FROM "order" WHERE zone_id > 100`, `UPDATE zone SET name = 'another'`, `UPDATE job SET state = 0`} {
						if _, err := tx.Exec(t.Context(), query); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Error("the dump mixes two states")
			}
			if bytes.Equal(dumped(t, db), want) {
				t.Error("nothing was changed meanwhile")
			}
		})
	}
}

// TestWriterFails: the error of who takes the dump ends it.
func TestWriterFails(t *testing.T) {
	db := filled(t, sqldbtest.SQLite(t))
	boom := errors.New("boom")
	if err := Write(t.Context(), db, Header{}, failing{boom}); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// TestSchema: the program's own tables are dumped the same by both engines, and
// what is written of some of them in the exceptions is there.
func TestSchema(t *testing.T) {
	texts := map[string][]byte{}
	for name, engine := range engines() {
		db := migrated(t, engine(t), schema.Durable()...)
		texts[name] = dumped(t, db)
		var all []catalogue.Table
		err := db.View(t.Context(), func(tx *sqldb.Tx) (err error) {
			all, err = catalogue.Read(t.Context(), tx)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		has := func(table string, columns ...string) {
			t.Helper()
			i := slices.IndexFunc(all, func(t catalogue.Table) bool { return t.Name == table })
			if i < 0 {
				t.Errorf("%s: there is no table %s", name, table)
				return
			}
			for _, c := range columns {
				if !slices.ContainsFunc(all[i].Columns, func(x catalogue.Column) bool { return x.Name == c }) {
					t.Errorf("%s: the table %s has no column %s", name, table, c)
				}
			}
		}
		for _, table := range []string{"keyring", "layer_hold", "garbage", "layer_reconcile", "quota_demand", "scan_database", "scan_database_state"} {
			has(table)
			if !leftOut(catalogue.Table{Name: table}) {
				t.Errorf("%s is dumped", table)
			}
		}
		has("quota_revision")
		has("job", "state", "again", "attempt", "owner", "lease_until")
		has("blob", "id", "region", "object_key", "size", "seal", "archived")
		has("account", "id")
		for _, t1 := range all {
			if !leftOut(t1) && len(t1.Key) == 0 {
				t.Errorf("%s: the table %s has no primary key, so that its dumps cannot be compared", name, t1.Name)
			}
		}
		if table, err := Occupied(t.Context(), db); err != nil || table != "" {
			t.Errorf("%s: a new database counts as occupied by %q, %v", name, table, err)
		}
	}
	if !bytes.Equal(texts["sqlite"], texts["postgres"]) {
		t.Errorf("the engines differ:\n%s\n%s", texts["sqlite"], texts["postgres"])
	}
}
