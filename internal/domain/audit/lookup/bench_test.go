package lookup_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

var records = flag.Int("lookup.records", 20_000, "how many audit records BenchmarkLookup looks among; 10000000 takes some 10 GB and minutes on each database")

var form = flag.String("lookup.form", "segments", "how the records of BenchmarkLookup are kept: segments, as those of a busy server, 5000 in a second; or rows, over 90 days")

var database = flag.String("lookup.database", "", "a SQLite file that BenchmarkLookup fills if it has no records yet, and leaves; without it the file is a new one that goes away")

// forms are how many different calls the records repeat, in several regions.
const forms = 5_003

// step is the time between two records.
func step() time.Duration {
	if *form == "rows" {
		return 90 * 24 * time.Hour / time.Duration(*records)
	}
	return 200 * time.Microsecond
}

// calls make the rows and texts of records: one in ten of them writes, some users are busier
// than others, and one repository has only those below 0.
func calls() func(i int) (lookup.Row, string) {
	r := rand.New(rand.NewPCG(3, 4))
	return func(i int) (lookup.Row, string) {
		row := lookup.Row{Account: account, Region: []name.Region{"us-east-1", "us-east-1", "us-east-1", "eu-west-1", "ap-south-1"}[r.IntN(5)]}
		f := lookup.Facts{Name: []string{"BatchGetImage", "GetDownloadUrlForLayer", "ListImages", "DescribeImages"}[r.IntN(4)], Source: "ecr.amazonaws.com", ReadOnly: true}
		if r.IntN(10) == 0 {
			f.Name, f.ReadOnly = []string{"PutImage", "BatchDeleteImage", "CreateRepository"}[r.IntN(3)], false
		}
		user := int(float64(300) * r.Float64() * r.Float64())
		repo := fmt.Sprintf("team-%d/app-%d", r.IntN(30), r.IntN(20))
		if i < 0 {
			repo = "rare"
		}
		arn := fmt.Sprintf("arn:aws:ecr:%s:%s:repository/%s", row.Region, account, repo)
		key := fmt.Sprintf("ASIA%016d", user)
		f.Username, f.AccessKeyID, f.Resources = fmt.Sprintf("build-%d", user), key, []lookup.Resource{lookup.ResourceOf(arn)}
		row.Facts = f
		record := fmt.Sprintf(`{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:%[1]s","arn":"arn:aws:sts::%[2]s:assumed-role/ci/%[1]s","accountId":"%[2]s","accessKeyId":"%[3]s"},`+
			`"eventTime":"2026-03-01T00:00:00Z","eventSource":"ecr.amazonaws.com","eventName":"%[4]s","awsRegion":"%[5]s","sourceIPAddress":"ecr.amazonaws.com","userAgent":"ecr.amazonaws.com",`+
			`"requestParameters":{"registryId":"%[2]s","repositoryName":"%[6]s"},"responseElements":null,"requestID":"00000000-0000-0000-0000-000000000000","readOnly":%[7]t,`+
			`"resources":[{"ARN":"%[8]s","accountId":"%[2]s"}],"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"%[2]s","eventCategory":"Management"}`,
			f.Username, account, key, f.Name, row.Region, repo, f.ReadOnly, arn)
		return row, record
	}
}

// fillSegments writes batches of 500 records as domain/audit does.
func fillSegments(b *testing.B, db *sqldb.DB, n int) {
	const batch = 500
	call, index := calls(), lookup.New(db)
	type one struct {
		row  lookup.Row
		text string
	}
	var packer lookup.Packer
	for done := 0; done < n; done += batch {
		groups := map[name.Region][]one{}
		for i := done; i < min(done+batch, n); i++ {
			kind := i
			if i < 10 {
				kind = -1 - i
			}
			row, text := call(kind)
			row.OccurredAt = begin.Add(time.Duration(i) * step()).UnixMicro()
			groups[row.Region] = append(groups[row.Region], one{row, text})
		}
		var all []lookup.Segment
		for region, records := range groups {
			packer.Begin(account, region)
			for _, r := range records {
				packer.Add(r.row.OccurredAt, packer.Describe(r.row.Facts), []byte(r.text), strings.Index(r.text, `,"readOnly"`))
			}
			all = append(all, packer.End())
		}
		if err := db.Update(b.Context(), func(tx *sqldb.Tx) error { return index.AddSegmentsTx(b.Context(), tx, all...) }); err != nil {
			b.Fatal(err)
		}
	}
}

// fill writes rows by SQL.
func fill(b *testing.B, db *sqldb.DB, n int) {
	ctx := b.Context()
	step, rowOf, index := step().Microseconds(), calls(), lookup.New(db)
	write := func(tx *sqldb.Tx, i int) error {
		row, record := rowOf(i)
		k := row.Keys()
		if err := index.AddTx(ctx, tx, lookup.Row{ID: int64(-1 - i), Account: row.Account, Region: row.Region, Facts: row.Facts}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO form (i, region, name, record, kind_key, name_key, user_key, access_key, resource_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			i, string(row.Region), row.Facts.Name, record, k[0], k[1], k[2], k[3], k[4])
		return err
	}
	update := func(fn func(tx *sqldb.Tx) error) {
		b.Helper()
		if err := db.Update(ctx, fn); err != nil {
			b.Fatal(err)
		}
	}
	update(func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `CREATE TABLE form (i BIGINT NOT NULL PRIMARY KEY, region btext NOT NULL, name btext NOT NULL, record btext NOT NULL, kind_key BIGINT NOT NULL,
			name_key BIGINT NOT NULL, user_key BIGINT NOT NULL, access_key BIGINT NOT NULL, resource_key BIGINT NOT NULL)`)
		return err
	})
	update(func(tx *sqldb.Tx) error {
		for i := -10; i < forms; i++ {
			if err := write(tx, i); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `DELETE FROM audit_lookup`)
		return err
	})
	const chunk = 50_000
	for done := 0; done < n; done += chunk {
		update(func(tx *sqldb.Tx) error {
			// The ten first are those of the rare form.
			series := `WITH RECURSIVE series(n) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT n + 1 FROM series WHERE n < CAST($2 AS BIGINT))`
			form := `FROM series JOIN form ON form.i = CASE WHEN n < 10 THEN -1 - n ELSE (n * 7919 + n / 5003) % 5003 END`
			for _, insert := range []string{
				`INSERT INTO audit (id, account_id, region, occurred_at, name, record) ` + series + ` SELECT (n + 1) * 4194304, '111111111111', region, $3 + n * $4, name, record ` + form,
				`INSERT INTO audit_lookup (audit_id, occurred_at, kind_key, name_key, user_key, access_key, resource_key) ` + series +
					` SELECT (n + 1) * 4194304, $3 + n * $4, kind_key, name_key, user_key, access_key, resource_key ` + form,
			} {
				if _, err := tx.Exec(ctx, insert, done, min(done+chunk, n)-1, begin.UnixMicro(), step); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

func sqlite(b testing.TB) *sqldb.DB {
	if *database == "" {
		return sqldbtest.SQLite(b)
	}
	db, err := sqldb.OpenSQLite(b.Context(), sqldb.SQLiteOptions{Path: *database})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := db.Migrate(b.Context(), "schema_version", schema.Durable()...); err != nil {
		b.Fatal(err)
	}
	return db
}

// filled is 1 where there are records.
func filled(b *testing.B, db *sqldb.DB) (n int) {
	if err := db.View(b.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(b.Context(), `SELECT count(*) FROM (SELECT id FROM audit UNION ALL SELECT id FROM audit_segment LIMIT 1) AS first`).Scan(&n)
	}); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkLookup is the first page of queries of every kind, and pages far behind it, among many
// records. Run it with -lookup.records=10000000 -benchtime=100x -timeout=2h.
func BenchmarkLookup(b *testing.B) {
	for dialect, open := range map[string]func(testing.TB) *sqldb.DB{"sqlite": sqlite, "postgres": sqldbtest.Postgres} {
		b.Run(dialect, func(b *testing.B) {
			db := open(b)
			first := begin
			if filled(b, db) == 0 {
				started := time.Now()
				if *form == "rows" {
					fill(b, db, *records)
				} else {
					fillSegments(b, db, *records)
				}
				b.Logf("%d records written in %s", *records, time.Since(started).Round(time.Second))
			}
			index := lookup.New(db)
			day := step() * time.Duration(*records) / 90 // or as much of the time that there are records of
			id := 4194304 * int64(*records/2)
			if *form != "rows" {
				if err := db.View(b.Context(), func(tx *sqldb.Tx) error {
					return tx.QueryRow(b.Context(), `SELECT id FROM audit_segment WHERE oldest_at > $1 ORDER BY oldest_at LIMIT 1`, first.Add(45*day).UnixMicro()).Scan(&id)
				}); err != nil {
					b.Fatal(err)
				}
			}
			for _, q := range []lookup.Query{
				{}, {Region: "us-east-1"}, {From: first.Add(day), To: first.Add(2 * day)},
				{Attribute: lookup.EventName, Value: "PutImage"}, {Attribute: lookup.EventName, Value: "PutImage", Region: "us-east-1"},
				{Attribute: lookup.EventName, Value: "Nothing"},
				{Attribute: lookup.ReadOnly, Value: "true"}, {Attribute: lookup.ReadOnly, Value: "false", To: first.Add(day)},
				{Attribute: lookup.Username, Value: "build-7"}, {Attribute: lookup.Username, Value: "build-290", Region: "ap-south-1"},
				{Attribute: lookup.ResourceType, Value: "AWS::ECR::Repository"}, {Attribute: lookup.ResourceType, Value: "AWS::S3::Bucket"},
				{Attribute: lookup.ResourceName, Value: "team-3/app-4"}, {Attribute: lookup.ResourceName, Value: "rare"},
				{Attribute: lookup.ResourceName, Value: "arn:aws:ecr:us-east-1:111111111111:repository/team-3/app-4", To: first.Add(45 * day)},
				{Attribute: lookup.EventSource, Value: "ecr.amazonaws.com"}, {Attribute: lookup.EventSource, Value: "iam.amazonaws.com"},
				{Attribute: lookup.AccessKeyID, Value: "ASIA0000000000000042"},
				{Attribute: lookup.EventID, Value: lookup.IDOf(id)},
			} {
				q.Account = account
				called := strings.Join([]string{"attribute=" + q.Attribute, q.Value, string(q.Region)}, ",")
				if !q.To.IsZero() {
					called += ",old"
				}
				b.Run(called, func(b *testing.B) {
					b.ReportAllocs()
					slowest := time.Duration(0)
					for b.Loop() {
						q := q
						q.Before = ""
						for range 2 { // the page and the one behind it
							before := time.Now()
							_, next, err := index.Find(b.Context(), q)
							if err != nil {
								b.Fatal(err)
							}
							slowest = max(slowest, time.Since(before))
							if q.Before = next; next == "" {
								break
							}
						}
					}
					b.ReportMetric(float64(slowest.Microseconds())/1000, "ms/slowest-page")
				})
			}
		})
	}
}
