package image

import (
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// queries are those that are asked of repositories with any number of images.
func queries() map[string][]any {
	const repo, id, text, limit = int64(1), int64(2), "x", 10
	return map[string][]any{
		imageByDigest:                               {repo, text},
		imageByTag:                                  {repo, text},
		translationByDigest:                         {repo, text},
		translationOfImage:                          {repo, text, id},
		listAny + anyOrder:                          {repo, id, text, limit},
		listTagged + tagOrder:                       {repo, id, text, limit},
		listUntagged + describeOrder:                {repo, id, limit},
		listTags:                                    {repo, text, limit},
		describeAny + describeOrder:                 {repo, id, limit},
		describeTagged + describeOrder:              {repo, id, limit},
		describeUntagged + describeOrder:            {repo, id, limit},
		referrers + referrersOrder:                  {repo, text, id, limit},
		listAny + ActiveOnly.condition() + anyOrder: {repo, id, text, limit},
		describeAny + ActiveOnly.condition() + describeOrder:   {repo, id, limit},
		describeAny + ArchivedOnly.condition() + describeOrder: {repo, id, limit},
		referrers + ActiveOnly.condition() + referrersOrder:    {repo, text, id, limit},
		detailByDigest:                    {repo, text},
		detailByTag:                       {repo, text},
		pullByDigest:                      {repo, text},
		pullByTag:                         {repo, text},
		imageByEither:                     {repo, text, text},
		parentsOfImage:                    {repo, text},
		childrenByDigest + sqldb.In(2, 3): {repo, text, text, text},
	}
}

func explain(t *testing.T, db *sqldb.DB, settings []string, prefix, query string, args []any, column int) string {
	t.Helper()
	ctx := t.Context()
	var lines []string
	err := db.Update(ctx, func(tx *sqldb.Tx) error {
		for _, s := range settings {
			if _, err := tx.Exec(ctx, s); err != nil {
				return err
			}
		}
		var err error
		lines, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (string, error) {
			var before [3]int64
			var line string
			dest := []any{&before[0], &before[1], &before[2], &line}
			err := row.Scan(dest[3-column:]...)
			return line, err
		}, prefix+query, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(lines, "\n")
}

// usesPartialIndex says whether a query for some of the images is answered from
// the index over those.
func usesPartialIndex(query, plan string) bool {
	for condition, index := range map[string]string{"i.tags > 0": "image_tagged", "i.tags = 0": "image_untagged", "i.subject <> ''": "image_subject"} {
		if strings.Contains(query, condition) && !strings.Contains(plan, index) {
			return false
		}
	}
	return true
}

// TestQueriesUseIndexes reads the plans of both engines: no query reads a whole
// table, and none sorts what an index could give in order.
func TestQueriesUseIndexes(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		db := sqldbtest.SQLite(t)
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		for query, args := range queries() {
			plan := explain(t, db, nil, "EXPLAIN QUERY PLAN ", query, args, 3)
			// The images of a page, p, are read one by one, and the tags of each are
			// sorted for themselves.
			rest := strings.NewReplacer("SCAN p\n", "", "USE TEMP B-TREE FOR LAST TERM OF ORDER BY", "").Replace(plan)
			if !usesPartialIndex(query, plan) || strings.Contains(rest, "SCAN") || strings.Contains(rest, "TEMP B-TREE") {
				t.Errorf("%s\n%s", query, plan)
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		db := sqldbtest.Postgres(t)
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		// On tables without rows everything costs the same: take away what no
		// large table should need, and see whether the query can do without.
		settings := []string{"SET LOCAL enable_seqscan = off", "SET LOCAL enable_bitmapscan = off", "SET LOCAL enable_sort = off", "SET LOCAL enable_hashjoin = off", "SET LOCAL enable_mergejoin = off"}
		for query, args := range queries() {
			plan := explain(t, db, settings, "EXPLAIN ", query, args, 0)
			if !usesPartialIndex(query, plan) || strings.Contains(plan, "Seq Scan") || strings.Contains(strings.ReplaceAll(plan, "Incremental Sort", ""), "Sort  (") {
				t.Errorf("%s\n%s", query, plan)
			}
		}
	})
}
