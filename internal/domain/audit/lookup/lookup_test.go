package lookup_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

const account = name.AccountID("111111111111")

var begin = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// entries are calls of several kinds; some are at the same moment.
func entries(n int) []audit.Entry { return entriesEvery(n, 300*time.Millisecond) }

// entriesEvery are entries at multiples of a time, in no order.
func entriesEvery(n int, every time.Duration) []audit.Entry {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]audit.Entry, n)
	for i := range all {
		e := audit.Entry{
			Time: begin.Add(time.Duration(r.IntN(n)) * every), EventSource: "ecr.amazonaws.com", Account: account,
			Region:    []name.Region{"us-east-1", "eu-west-1"}[r.IntN(2)],
			EventName: []string{"PutImage", "BatchGetImage", "ListImages"}[r.IntN(3)], RequestParameters: json.RawMessage(`{"a":"b"}`),
		}
		e.ReadOnly = e.EventName != "PutImage"
		if r.IntN(20) == 0 {
			e.Account = "222222222222"
		}
		repo := []string{"app", "team/app"}[r.IntN(2)]
		e.Resources = []string{"arn:aws:ecr:" + string(e.Region) + ":111111111111:repository/" + repo}
		if r.IntN(4) == 0 {
			e.Resources = append(e.Resources, "arn:aws:ecr:"+string(e.Region)+":111111111111:repository/second")
		}
		if r.IntN(5) == 0 {
			e.EventSource, e.EventName, e.ReadOnly, e.Resources = "iam.amazonaws.com", "CreateUser", false, []string{"arn:aws:iam::111111111111:user/path/app"}
		}
		switch r.IntN(4) {
		case 0:
			e.Principal = audit.Identity{Account: account, ARN: "arn:aws:iam::111111111111:root", ID: "111111111111", AccessKeyID: "AKIAROOT", Type: "Root"}
		case 1:
			e.Principal = audit.Identity{Account: account, ARN: "arn:aws:iam::111111111111:user/mary", ID: "AIDA", AccessKeyID: "AKIAMARY", Type: "IAMUser", UserName: "mary"}
		case 2:
			e.Principal = audit.Identity{Account: account, ARN: "arn:aws:sts::111111111111:assumed-role/ci/build-7", ID: "AROA:build-7", AccessKeyID: "ASIA7", Type: "AssumedRole"}
		}
		all[i] = e
	}
	return all
}

// matches is what a query means, said once more.
func matches(e audit.Entry, q lookup.Query) bool {
	if e.Account != q.Account || q.Region != "" && e.Region != q.Region || !q.From.IsZero() && e.Time.Before(q.From) ||
		!q.To.IsZero() && e.Time.Truncate(time.Second).After(q.To) {
		return false
	}
	user := map[string]string{"Root": "root", "IAMUser": "mary", "AssumedRole": "build-7", "": ""}[e.Principal.Type]
	switch q.Attribute {
	case lookup.EventName:
		return e.EventName == q.Value
	case lookup.ReadOnly:
		return fmt.Sprint(e.ReadOnly) == q.Value
	case lookup.Username:
		return user == q.Value
	case lookup.AccessKeyID:
		return e.Principal.AccessKeyID == q.Value
	case lookup.EventSource:
		return e.EventSource == q.Value
	case lookup.ResourceType:
		return q.Value == "AWS::ECR::Repository" && e.EventSource == "ecr.amazonaws.com" || q.Value == "AWS::IAM::User" && e.EventSource == "iam.amazonaws.com"
	case lookup.ResourceName:
		return slices.ContainsFunc(e.Resources, func(r string) bool {
			return r == q.Value || strings.HasSuffix(r, ":repository/"+q.Value) || strings.HasSuffix(r, ":user/path/"+q.Value)
		})
	}
	return true
}

func queries() []lookup.Query {
	var all []lookup.Query
	for _, region := range []name.Region{"", "us-east-1", "ap-south-1"} {
		for _, values := range [][]string{
			{"", ""},
			{lookup.EventName, "PutImage", "CreateUser", "Nothing"},
			{lookup.ReadOnly, "true", "false"},
			{lookup.Username, "root", "mary", "build-7", "nobody"},
			{lookup.AccessKeyID, "AKIAMARY", "ASIA7"},
			{lookup.EventSource, "iam.amazonaws.com", "ecr.amazonaws.com"},
			{lookup.ResourceType, "AWS::ECR::Repository", "AWS::IAM::User", "AWS::S3::Bucket"},
			{lookup.ResourceName, "app", "team/app", "second", "arn:aws:ecr:us-east-1:111111111111:repository/app", "arn:aws:iam::111111111111:user/path/app"},
		} {
			for _, value := range values[1:] {
				q := lookup.Query{Account: account, Region: region, Attribute: values[0], Value: value, Limit: 7}
				all = append(all, q)
				q.From, q.To = begin.Add(20*time.Second), begin.Add(61*time.Second)
				all = append(all, q)
				if q.Region == "" {
					q.From, q.To = begin.Add(23*time.Second), begin.Add(47*time.Second) // in the middle of a segment's
					all = append(all, q)
				}
			}
		}
	}
	return all
}

// everything reads all pages of a query.
func everything(t *testing.T, index *lookup.Index, q lookup.Query) (all []lookup.Event) {
	t.Helper()
	for {
		page, next, err := index.Find(t.Context(), q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		if len(page) > q.Limit || next != "" && len(page) < q.Limit {
			t.Fatalf("%+v: a page of %d, next %q", q, len(page), next)
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		q.Before = next
	}
}

// check compares all queries with the entries themselves.
func check(t *testing.T, index *lookup.Index, all []audit.Entry) {
	t.Helper()
	for _, q := range queries() {
		var want []string
		for _, e := range all {
			if matches(e, q) {
				want = append(want, fmt.Sprint(e.Time.UnixMicro(), " ", e.EventName, " ", e.Resources[0]))
			}
		}
		var got []string
		ids := map[string]bool{}
		found := everything(t, index, q)
		for _, e := range found {
			got = append(got, fmt.Sprint(e.Time.UnixMicro(), " ", e.Name, " ", e.Resources[0].Name))
			ids[e.ID] = true
			if !strings.Contains(e.Record, `"eventID":"`+e.ID+`"`) || !json.Valid([]byte(e.Record)) {
				t.Errorf("%s stands not in %s", e.ID, e.Record)
			}
		}
		if !slices.IsSortedFunc(found, func(a, b lookup.Event) int { return b.Time.Compare(a.Time) }) || len(ids) != len(got) {
			t.Errorf("%+v: not the newest first, or one twice", q)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s %q in %q: %d found, want %d", q.Attribute, q.Value, q.Region, len(got), len(want))
		}
	}
}

func written(t *testing.T, db *sqldb.DB, all []audit.Entry) *audit.Trail {
	t.Helper()
	trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
	for _, e := range all {
		trail.Record(t.Context(), e)
	}
	if err := trail.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return trail
}

func TestFind(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		all := entries(400)
		written(t, db, all)
		index := lookup.New(db)
		check(t, index, all)

		// Every event is found by its id, alone; not in another account, region or time.
		for _, e := range everything(t, index, lookup.Query{Account: account, Limit: 50})[:20] {
			q := lookup.Query{Account: account, Region: e.Region, Attribute: lookup.EventID, Value: strings.ToUpper(e.ID), From: e.Time, To: e.Time, Limit: 50}
			if one := everything(t, index, q); len(one) != 1 || one[0].ID != e.ID || one[0].Record != e.Record {
				t.Errorf("%s is found as %+v", e.ID, one)
			}
			for what, other := range map[string]func(*lookup.Query){
				"account": func(q *lookup.Query) { q.Account = "222222222222" },
				"region":  func(q *lookup.Query) { q.Region = "ap-south-1" },
				"from":    func(q *lookup.Query) { q.From = e.Time.Add(time.Second) },
				"to":      func(q *lookup.Query) { q.To = e.Time.Add(-time.Second) },
				"id":      func(q *lookup.Query) { q.Value = uuid.NewString() },
			} {
				q := lookup.Query{Account: account, Region: e.Region, Attribute: lookup.EventID, Value: e.ID, Limit: 50}
				other(&q)
				if len(everything(t, index, q)) != 0 {
					t.Errorf("%s is found with another %s", e.ID, what)
				}
			}
		}
	})
}

// counted is how many rows a table has, or those of it that a condition holds for.
func counted(t *testing.T, db *sqldb.DB, table string) (n int) {
	t.Helper()
	if err := db.View(t.Context(), func(tx *sqldb.Tx) error {
		return tx.QueryRow(t.Context(), `SELECT count(*) FROM `+table).Scan(&n)
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestFindInSegments: records in segments, which overlap in time, are found as those in rows, and among
// them, page by page in one order.
func TestFindInSegments(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		all := entriesEvery(1200, 50*time.Millisecond)
		// Two nodes write them, in batches of which some are too small for a segment.
		r := rand.New(rand.NewPCG(7, 8))
		for rest := all; len(rest) > 0; {
			n := min(len(rest), []int{3, 40, 300}[r.IntN(3)])
			written(t, db, rest[:n])
			rest = rest[n:]
		}
		if rows, segments := counted(t, db, "audit"), counted(t, db, "audit_segment"); rows < 50 || segments < 10 {
			t.Fatalf("%d rows and %d segments", rows, segments)
		}
		index := lookup.New(db)
		check(t, index, all)
		var last lookup.Event
		for i, e := range everything(t, index, lookup.Query{Account: account, Limit: 50}) {
			if q := (lookup.Query{Account: account, Attribute: lookup.EventID, Value: e.ID, Limit: 1}); i%50 == 0 {
				if one := everything(t, index, q); len(one) != 1 || one[0].Record != e.Record {
					t.Errorf("%s is found as %+v", e.ID, one)
				}
				if q.Region = "ap-south-1"; len(everything(t, index, q)) != 0 {
					t.Errorf("%s is found in another region", e.ID)
				}
				if q.Region, q.Account = "", "222222222222"; len(everything(t, index, q)) != 0 {
					t.Errorf("%s is found in another account", e.ID)
				}
			}
			if i > 0 && e.Time.Equal(last.Time) && e.ID >= last.ID {
				t.Errorf("%s stands behind %s, both at %s", e.ID, last.ID, e.Time)
			}
			last = e
		}
	})
}

// TestFindAtOneMoment: records of one moment are in the order of their ids, the larger first, wherever they
// are kept, and however many segments have them.
func TestFindAtOneMoment(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		all := entriesEvery(2000, 0)
		for i := range all {
			all[i].Account, all[i].Region = account, "us-east-1"
		}
		for i, rest := 0, all; len(rest) > 0; i++ {
			n := min(len(rest), []int{20, 40, 5}[i%3])
			written(t, db, rest[:n])
			rest = rest[n:]
		}
		if rows, segments := counted(t, db, "audit"), counted(t, db, "audit_segment"); rows < 100 || segments < 50 {
			t.Fatalf("%d rows and %d segments", rows, segments)
		}
		index := lookup.New(db)
		for _, q := range []lookup.Query{{}, {Attribute: lookup.EventName, Value: "PutImage"}, {Attribute: lookup.Username, Value: "mary"}, {Attribute: lookup.ReadOnly, Value: "true"}} {
			q.Account, q.Limit = account, 50
			want := 0
			for _, e := range all {
				if matches(e, q) {
					want++
				}
			}
			found := everything(t, index, q)
			if len(found) != want || !slices.IsSortedFunc(found, func(a, b lookup.Event) int { return strings.Compare(b.ID, a.ID) }) {
				t.Errorf("%s %s: %d found, want %d, or not in order", q.Attribute, q.Value, len(found), want)
			}
		}
	})
}

// TestDamagedSegment: an error says what cannot be read, in the account that it belongs to.
func TestDamagedSegment(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		all := entriesEvery(400, time.Millisecond)
		for i := range all {
			all[i].Account = []name.AccountID{account, "222222222222"}[i%2]
		}
		written(t, db, all)
		if err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `UPDATE audit_segment SET content = $1 WHERE account_id = $2`, []byte("spoilt"), string(account))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		index := lookup.New(db)
		if _, _, err := index.Find(t.Context(), lookup.Query{Account: account}); err == nil || !strings.Contains(err.Error(), "audit_segment") {
			t.Errorf("spoilt segments are found with %v", err)
		}
		if n := len(everything(t, index, lookup.Query{Account: "222222222222", Limit: 50})); n != 200 {
			t.Errorf("%d records of the other account", n)
		}
	})
}

// TestBackfill: records that were written before there was an index are found once it is filled, in
// the way that the others are, also when it was interrupted.
func TestBackfill(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		all := entries(1300)
		for few := range slices.Chunk(all[:1200], 100) { // so few that none shares a row
			written(t, db, few)
		}
		var service string
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			for _, table := range []string{"audit_lookup", "audit_term", "audit_kind"} {
				if _, err := tx.Exec(ctx, `DELETE FROM `+table); err != nil {
					return err
				}
			}
			// As records were once: calls without an id, service events with a random one.
			rows, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (r struct {
				id     int64
				record string
			}, err error) {
				return r, row.Scan(&r.id, &r.record)
			}, `SELECT id, record FROM audit ORDER BY id`)
			if err != nil {
				return err
			}
			for i, r := range rows {
				old := strings.Replace(r.record, `"eventID":"`+lookup.IDOf(r.id)+`",`, "", 1)
				if old == r.record {
					t.Errorf("no id in %s", old)
				}
				if i == 0 {
					service = uuid.NewString()
					old = strings.TrimSuffix(old, "}") + `,"eventID":"` + service + `"}`
				}
				if _, err := tx.Exec(ctx, `UPDATE audit SET record = $1 WHERE id = $2`, old, r.id); err != nil {
					return err
				}
			}
			// One that somebody has spoilt keeps nobody else from being found.
			_, err = tx.Exec(ctx, `INSERT INTO audit (id, account_id, region, occurred_at, name, record) VALUES (5, '333333333333', 'us-east-1', 5, 'X', 'spoilt')`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
		index := lookup.New(db)
		if found := everything(t, index, lookup.Query{Account: account, Limit: 50}); len(found) != 0 {
			t.Fatalf("%d are found already", len(found))
		}
		for _, e := range all[1200:] { // written while the old ones are not there yet
			trail.Record(ctx, e)
		}
		stopped, stop := context.WithCancel(ctx)
		stop()
		if _, err := trail.Backfill(stopped); err == nil {
			t.Error("a backfill that was stopped says that it is done")
		}
		if n, err := trail.Backfill(ctx); err != nil || n != 1201 {
			t.Fatalf("%d records, %v", n, err)
		}
		written := trail.Flush(ctx)
		if n, err := trail.Backfill(ctx); err != nil || n != 0 || written != nil {
			t.Errorf("once more %d records, %v, %v", n, err, written)
		}
		check(t, index, all)
		if one := everything(t, index, lookup.Query{Account: account, Attribute: lookup.EventID, Value: service, Limit: 1}); len(one) != 1 || one[0].ID != service {
			// The first record may be another account's.
			if one = everything(t, index, lookup.Query{Account: "222222222222", Attribute: lookup.EventID, Value: service, Limit: 1}); len(one) != 1 {
				t.Errorf("the old id finds %v", one)
			}
		}
		if spoilt := everything(t, index, lookup.Query{Account: "333333333333", Limit: 1}); len(spoilt) != 1 || spoilt[0].Record != "spoilt" {
			t.Errorf("the spoilt record is %v", spoilt)
		}
	})
}

// TestExpired: what has expired leaves nothing behind.
func TestExpired(t *testing.T) { expired(t, entries(300)) }

// TestExpiredSegments: so do segments.
func TestExpiredSegments(t *testing.T) { expired(t, entriesEvery(1200, 60*time.Millisecond)) }

func expired(t *testing.T, all []audit.Entry) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		trail := written(t, db, all)
		border := begin.Add(40 * time.Second)
		kept := slices.DeleteFunc(slices.Clone(all), func(e audit.Entry) bool { return e.Time.Before(border) })
		if n, err := trail.Expire(ctx, border.Add(9*time.Second)); err != nil || int(n) != len(all)-len(kept) {
			t.Fatalf("%d of %d records removed, %v", n, len(all)-len(kept), err)
		}
		check(t, lookup.New(db), kept)
		for _, table := range []string{"audit_lookup", "audit_term"} {
			var n int
			if err := db.View(ctx, func(tx *sqldb.Tx) error {
				return tx.QueryRow(ctx, `SELECT count(*) FROM `+table+` WHERE audit_id NOT IN (SELECT id FROM audit)`).Scan(&n)
			}); err != nil || n != 0 {
				t.Errorf("%d rows of %s stand for nothing, %v", n, table, err)
			}
		}
		if n := counted(t, db, `audit_segment_term WHERE segment_id NOT IN (SELECT id FROM audit_segment)`); n != 0 {
			t.Errorf("%d rows of audit_segment_term stand for nothing", n)
		}
	})
}

func TestRefused(t *testing.T) {
	index := lookup.New(sqldbtest.SQLite(t))
	for _, q := range []lookup.Query{
		{Before: "nonsense"}, {Before: "MTIz"}, {Before: "MS5h"}, {Attribute: "EventVersion"}, {Attribute: lookup.ReadOnly, Value: "yes"},
	} {
		if _, _, err := index.Find(t.Context(), q); !errs.Is(err, errs.InvalidInput) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// TestDescribe: what a record is found by when it is written is what its text says.
func TestDescribe(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		trail := written(t, db, entriesEvery(200, 20*time.Second)) // none shares a segment
		stored, err := trail.After(t.Context(), account, "", 0, 1000, time.Time{})
		if err != nil || len(stored) == 0 {
			t.Fatal(len(stored), err)
		}
		type row struct{ at, kind, name, user, access, resource int64 }
		read := func() map[int64]row {
			all := map[int64]row{}
			if err := db.View(t.Context(), func(tx *sqldb.Tx) error {
				_, err := sqldb.Collect(t.Context(), tx, func(s sqldb.Scanner) (id int64, err error) {
					var r row
					err = s.Scan(&id, &r.at, &r.kind, &r.name, &r.user, &r.access, &r.resource)
					all[id] = r
					return id, err
				}, `SELECT audit_id, occurred_at, kind_key, name_key, user_key, access_key, resource_key FROM audit_lookup`)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return all
		}
		before := read()
		if err := db.Update(t.Context(), func(tx *sqldb.Tx) error {
			_, err := tx.Exec(t.Context(), `DELETE FROM audit_lookup`)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := trail.Backfill(t.Context()); err != nil {
			t.Fatal(err)
		}
		after := read()
		if len(after) != 200 {
			t.Fatalf("%d rows", len(after))
		}
		for id, r := range before {
			if after[id] != r {
				t.Errorf("%d was written as %v and is described as %v", id, r, after[id])
			}
		}
	})
}
