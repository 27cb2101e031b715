package gallery

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// queries are all that this package asks, with arguments.
func queries() map[string][]any {
	const id, text = int64(1), "x"
	return map[string][]any{
		repositoriesByID + sqldb.In(1, 3):    {id, id, id},
		repositoryByName:                     {text, text, text},
		entriesChanged:                       {id, id, 10},
		documentsAfter:                       {id, 10},
		documentsByID + sqldb.In(1, 3):       {id, id, id},
		registriesByAccount + sqldb.In(1, 2): {text, text},
		aliasesByAccount + sqldb.In(1, 2):    {text, text},
		repositoryID:                         {text, text, text},
		platformsOf:                          {id, text},
		dropPlatforms:                        {id, text},
		changeEntry:                          {id, id},
		allTags:                              {id, id, text, 10},
		tagsLike:                             {id, id, text, 10, text},
	}
}

// No query reads a whole table, and none sorts what an index gives in order.
func TestQueriesUseIndexes(t *testing.T) {
	explain := func(db *sqldb.DB, prefix, query string, args []any, columns int, settings ...string) string {
		t.Helper()
		var lines []string
		err := db.Update(t.Context(), func(tx *sqldb.Tx) (err error) {
			for _, s := range settings {
				if _, err := tx.Exec(t.Context(), s); err != nil {
					return err
				}
			}
			lines, err = sqldb.Collect(t.Context(), tx, func(row sqldb.Scanner) (line string, err error) {
				var before [3]int64
				dest := []any{&before[0], &before[1], &before[2], &line}
				err = row.Scan(dest[4-columns:]...)
				return line, err
			}, prefix+query, args...)
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return strings.Join(lines, "\n")
	}
	t.Run("sqlite", func(t *testing.T) {
		db := sqldbtest.SQLite(t)
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		for query, args := range queries() {
			plan := explain(db, "EXPLAIN QUERY PLAN ", query, args, 4)
			// The images of a page are read one by one, and the tags of each are sorted for themselves.
			rest := strings.NewReplacer("SCAN i\n", "", "USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "").Replace(plan)
			if strings.Contains(rest, "SCAN") || strings.Contains(rest, "TEMP B-TREE") || strings.Contains(query, "tags > 0") && !strings.Contains(plan, "image_tagged") {
				t.Errorf("%s\n%s", query, plan)
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		db := sqldbtest.Postgres(t)
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		// On tables without rows everything costs the same: take away what no large table should need.
		settings := []string{"SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off", "SET LOCAL enable_sort = off", "SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off"}
		for query, args := range queries() {
			plan := explain(db, "EXPLAIN ", query, args, 1, settings...)
			if strings.Contains(plan, "Seq Scan") || strings.Contains(strings.ReplaceAll(plan, "Incremental Sort", ""), "Sort  (") {
				t.Errorf("%s\n%s", query, plan)
			}
		}
	})
}
