package sqldb_test

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// files are migrations by name.
func files(texts map[string]string) fs.FS {
	dir := fstest.MapFS{}
	for name, text := range texts {
		dir[name] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return dir
}

func TestMigrateMergesDirectoriesInOneOrder(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		even := files(map[string]string{
			"0002_b_data.sql": `INSERT INTO step (n) VALUES (2);`,
			"0010_b_data.sql": `INSERT INTO step (n) VALUES (10);`,
			"notes.txt":       `not for the database`,
		})
		odd := files(map[string]string{
			"0001_a_table.sql": `CREATE TABLE step (n BIGINT NOT NULL PRIMARY KEY);`,
			"0003_a_data.sql":  `INSERT INTO step (n) VALUES (3); INSERT INTO step (n) SELECT max(n) * 100 FROM step;`,
		})
		steps := func() []int64 {
			t.Helper()
			var all []int64
			err := db.View(ctx, func(tx *sqldb.Tx) (err error) {
				all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (n int64, err error) { return n, row.Scan(&n) }, `SELECT n FROM step ORDER BY n`)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		for range 2 { // the second time there is nothing to do
			if err := db.Migrate(ctx, "schema_version", even, odd); err != nil {
				t.Fatal(err)
			}
			if got := steps(); !slices.Equal(got, []int64{2, 3, 10, 300}) {
				t.Errorf("steps %v", got)
			}
		}
		more := files(map[string]string{"0011_c_data.sql": `INSERT INTO step (n) VALUES (11);`})
		if err := db.Migrate(ctx, "schema_version", even, odd, more); err != nil {
			t.Fatal(err)
		}
		if got := steps(); !slices.Equal(got, []int64{2, 3, 10, 11, 300}) {
			t.Errorf("steps %v", got)
		}
		// Another table counts for itself.
		if err := db.Migrate(ctx, "other_version", files(map[string]string{"0001_x.sql": `CREATE TABLE other (n BIGINT NOT NULL);`})); err != nil {
			t.Error(err)
		}
	})
}

// TestOlderProgram: it may run on a database that newer programs have added to,
// and not on one from which they have taken something away.
func TestOlderProgram(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		texts := map[string]string{"0001_a.sql": itemTable}
		old := files(texts)
		status := func(dir fs.FS, want migration.Status) {
			t.Helper()
			got, err := db.MigrationStatus(ctx, "v", dir)
			if err != nil || got.Version != want.Version || got.Program != want.Program || got.Floor != want.Floor || !slices.Equal(got.Pending, want.Pending) {
				t.Errorf("the status is %+v, %v, want %+v", got, err, want)
			}
		}
		status(old, migration.Status{Program: 1, Pending: []string{"0001_a.sql"}})
		if err := db.Migrate(ctx, "v", old); err != nil {
			t.Fatal(err)
		}
		status(old, migration.Status{Version: 1, Program: 1})
		texts["0002_b.sql"] = `ALTER TABLE item ADD COLUMN size BIGINT NOT NULL DEFAULT 0;`
		if err := db.Migrate(ctx, "v", files(texts)); err != nil {
			t.Fatal(err)
		}
		status(old, migration.Status{Version: 2, Program: 1})
		if err := db.Migrate(ctx, "v", old); err != nil {
			t.Errorf("an older program after what only adds: %v", err)
		}
		if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, 1, "by the older program") }); err != nil {
			t.Error(err)
		}
		middle := files(texts)
		texts["0004_c.sql"] = "-- contract: nobody has read size since 0.9\n" + `ALTER TABLE item DROP COLUMN size;`
		if err := db.Migrate(ctx, "v", files(texts)); err != nil {
			t.Fatal(err)
		}
		for name, dir := range map[string]fs.FS{"the first": old, "the second": middle} {
			if err := db.Migrate(ctx, "v", dir); err == nil || !strings.Contains(err.Error(), "needs a program that knows 4") {
				t.Errorf("%s program after something was taken away: %v, want a refusal", name, err)
			}
		}
		texts["0005_d.sql"] = `CREATE TABLE other (n BIGINT NOT NULL);`
		status(files(texts), migration.Status{Version: 4, Program: 5, Floor: 4, Pending: []string{"0005_d.sql"}})
		delete(texts, "0005_d.sql")
		fourth := files(texts)
		texts["0005_d.sql"] = `CREATE TABLE other (n BIGINT NOT NULL);`
		if err := db.Migrate(ctx, "v", files(texts)); err != nil {
			t.Fatal(err)
		}
		if err := db.Migrate(ctx, "v", fourth); err != nil {
			t.Errorf("the program of the floor: %v", err)
		}
		// One that fails leaves the floor where it was.
		texts["0006_e.sql"] = "-- contract: on purpose\n" + `DROP TABLE nowhere;`
		if err := db.Migrate(ctx, "v", files(texts)); err == nil {
			t.Error("no error")
		}
		if err := db.Migrate(ctx, "v", fourth); err != nil {
			t.Errorf("after a migration that failed: %v", err)
		}
	})
}

func TestMigrateIsAllOrNothing(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		bad := map[string]string{
			"0001_good.sql": `CREATE TABLE one (n BIGINT NOT NULL);`,
			"0002_bad.sql":  `CREATE TABLE two (n BIGINT NOT NULL); INSERT INTO nowhere VALUES (1);`,
		}
		if err := db.Migrate(ctx, "v", files(bad)); err == nil || !strings.Contains(err.Error(), "0002_bad.sql") {
			t.Errorf("a migration that fails: %v, want its name", err)
		}
		bad["0002_bad.sql"] = `CREATE TABLE two (n BIGINT NOT NULL);` // mended: nothing of it was there
		if err := db.Migrate(ctx, "v", files(bad)); err != nil {
			t.Error(err)
		}
	})
}

func TestMigrateRefusals(t *testing.T) {
	db := sqldbtest.SQLite(t)
	one := files(map[string]string{"0001_a.sql": `CREATE TABLE a (n BIGINT);`})
	for name, dirs := range map[string][]fs.FS{
		"nothing to run": {fstest.MapFS{}},
		"one name twice": {one, one},
		"one number":     {one, files(map[string]string{"0001_b.sql": `CREATE TABLE b (n BIGINT);`})},
		"no number":      {files(map[string]string{"a.sql": `CREATE TABLE a (n BIGINT);`})},
	} {
		if err := db.Migrate(t.Context(), "v", dirs...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestMigrateWhileInUse changes tables under the prepared statements of both
// engines.
func TestMigrateWhileInUse(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		texts := map[string]string{"0001_a.sql": itemTable}
		if err := db.Migrate(ctx, "v", files(texts)); err != nil {
			t.Fatal(err)
		}
		use := func(columns int) {
			t.Helper()
			id := sqldb.NewID()
			if err := db.Update(ctx, func(tx *sqldb.Tx) error { return insert(ctx, tx, id, t.Name()+string(rune('a'+columns))) }); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				dest := make([]any, columns)
				for i := range dest {
					dest[i] = new(any)
				}
				err := db.View(ctx, func(tx *sqldb.Tx) error {
					return tx.QueryRow(ctx, `SELECT * FROM item WHERE id = $1`, id).Scan(dest...)
				})
				if err != nil {
					t.Fatalf("with %d columns: %v", columns, err)
				}
			}
		}
		use(2)
		texts["0002_b.sql"] = `ALTER TABLE item ADD COLUMN size BIGINT NOT NULL DEFAULT 0;`
		if err := db.Migrate(ctx, "v", files(texts)); err != nil {
			t.Fatal(err)
		}
		use(3)
	})
}

func TestMigrateFromSeveralNodes(t *testing.T) {
	url := sqldbtest.PostgresURL(t)
	dir := files(map[string]string{"0001_a.sql": itemTable, "0002_b.sql": `INSERT INTO item VALUES (1, 'once');`})
	var wg sync.WaitGroup
	for range 4 {
		db := sqldbtest.OpenPostgres(t, url)
		wg.Go(func() {
			if err := db.Migrate(t.Context(), "v", dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantNames(t, sqldbtest.OpenPostgres(t, url), "once")
}

func TestUnlogged(t *testing.T) {
	sqldbtest.EachWay(t, func(t *testing.T, db *sqldb.DB) {
		migrate(t, db, `CREATE /*UNLOGGED*/ TABLE volatile (n BIGINT NOT NULL);`)
		var what string
		err := db.View(t.Context(), func(tx *sqldb.Tx) error {
			if tx.ForUpdate() == "" {
				return tx.QueryRow(t.Context(), `SELECT type FROM sqlite_schema WHERE name = 'volatile'`).Scan(&what)
			}
			return tx.QueryRow(t.Context(), `SELECT CAST(relpersistence AS text) FROM pg_class WHERE relname = 'volatile'`).Scan(&what)
		})
		if err != nil || what != "table" && what != "u" {
			t.Errorf("the table is %q, %v", what, err)
		}
	})
}

// TestMigrateRebuildsATable drops a table that others refer to, which SQLite
// needs for most changes, and finds rows that are left without their parent.
func TestMigrateRebuildsATable(t *testing.T) {
	db := openSQLite(t, sqldb.SQLiteOptions{Path: filepath.Join(t.TempDir(), "test.db"), Durable: true})
	texts := map[string]string{"0001_a.sql": itemTable + `
		CREATE TABLE part (item_id BIGINT NOT NULL REFERENCES item (id) ON DELETE CASCADE);
		INSERT INTO item VALUES (1, 'one');
		INSERT INTO part VALUES (1);`}
	if err := db.Migrate(t.Context(), "v", files(texts)); err != nil {
		t.Fatal(err)
	}
	texts["0002_b.sql"] = `
		CREATE TABLE new_item (id BIGINT NOT NULL PRIMARY KEY, name btext NOT NULL, size BIGINT NOT NULL);
		INSERT INTO new_item SELECT id, name, 0 FROM item;
		DROP TABLE item;
		ALTER TABLE new_item RENAME TO item;`
	if err := db.Migrate(t.Context(), "v", files(texts)); err != nil {
		t.Fatal(err)
	}
	var parts int
	err := db.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM part JOIN item ON item.id = part.item_id`).Scan(&parts)
	})
	if err != nil || parts != 1 {
		t.Errorf("%d parts are left, %v", parts, err)
	}
	texts["0003_c.sql"] = `DELETE FROM item;`
	for range 2 { // also at the next start
		if err := db.Migrate(t.Context(), "v", files(texts)); err == nil || !strings.Contains(err.Error(), "the table part") {
			t.Errorf("rows without a parent: %v, want the table's name", err)
		}
	}
}
