package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/audit/lookup"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const account = name.AccountID("111111111111")

var at = time.Date(2019, 4, 15, 17, 23, 20, 0, time.UTC)

// stored writes entries and reads back their records.
func stored(t *testing.T, db *sqldb.DB, o audit.Options, entries ...audit.Entry) []audit.Stored {
	t.Helper()
	trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), o)
	for _, e := range entries {
		trail.Record(t.Context(), e)
	}
	if err := trail.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := trail.After(t.Context(), account, "", 0, 100, time.Time{})
	if err != nil || len(all) != len(entries) {
		t.Fatal(len(all), err)
	}
	return all
}

func pull() audit.Entry {
	return audit.Entry{
		Time: at, EventSource: "ecr.amazonaws.com", EventName: "BatchGetImage", Region: "us-east-2", Account: account,
		Principal: audit.Identity{Account: account, ARN: "arn:aws:sts::111111111111:assumed-role/Admin/mary", ID: "AROAEXAMPLE:mary", AccessKeyID: "ASIAEXAMPLE", Type: "AssumedRole",
			Session: &audit.Session{Created: at.Add(-time.Hour), MFA: true, IssuerID: "AROAEXAMPLE", IssuerARN: "arn:aws:iam::111111111111:role/Admin", IssuerName: "Admin"}},
		SourceIP: "203.0.113.12", UserAgent: "docker/27", Proxied: true, RequestID: "req-1",
		RequestParameters: json.RawMessage(`{"imageIds":[{"imageTag":"latest"}],"registryId":"111111111111"}`),
		Resources:         []string{"arn:aws:ecr:us-east-2:111111111111:repository/testrepo"}, ReadOnly: true,
		TLS: &audit.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", Host: "registry.example"},
	}
}

// TestRecordOfAPull is the record whole, member by member in order.
func TestRecordOfAPull(t *testing.T) {
	db := sqldbtest.SQLite(t)
	got := stored(t, db, audit.Options{}, pull())[0]
	const identity = `{"type":"AssumedRole","principalId":"AROAEXAMPLE:mary","arn":"arn:aws:sts::111111111111:assumed-role/Admin/mary","accountId":"111111111111","accessKeyId":"ASIAEXAMPLE",BY` +
		`"sessionContext":{"attributes":{"mfaAuthenticated":"true","creationDate":"2019-04-15T16:23:20Z"},` +
		`"sessionIssuer":{"type":"Role","principalId":"AROAEXAMPLE","arn":"arn:aws:iam::111111111111:role/Admin","accountId":"111111111111","userName":"Admin"}}}`
	record := `{"eventVersion":"1.11","userIdentity":` + identity + `,"eventTime":"2019-04-15T17:23:20Z","eventSource":"ecr.amazonaws.com","eventName":"BatchGetImage","awsRegion":"us-east-2",` +
		`"sourceIPAddress":"ADDRESS","userAgent":"AGENT","requestParameters":{"imageIds":[{"imageTag":"latest"}],"registryId":"111111111111"},"responseElements":null,MORE` +
		`"requestID":"req-1","eventID":"` + lookup.IDOf(got.ID) + `","readOnly":true,"resources":[{"ARN":"arn:aws:ecr:us-east-2:111111111111:repository/testrepo","accountId":"111111111111"}],` +
		`"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"111111111111","eventCategory":"Management",` +
		`"tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256","clientProvidedHostHeader":"registry.example"}}`
	want := strings.NewReplacer("BY", `"invokedBy":"ecr.amazonaws.com",`, "ADDRESS", "ecr.amazonaws.com", "AGENT", "ecr.amazonaws.com",
		"MORE", `"additionalEventData":{"clientSourceIPAddress":"203.0.113.12","clientUserAgent":"docker/27"},`).Replace(record)
	if string(got.Record) != want {
		t.Errorf("got  %s\nwant %s", got.Record, want)
	}
	if got.Account != account || got.Region != "us-east-2" || got.Name != "BatchGetImage" || !got.OccurredAt.Equal(at) {
		t.Errorf("it is kept as %+v", got)
	}

	// Where an operator asks for it, and of clients that speak the API, with their own addresses.
	own := pull()
	own.Proxied = false
	for what, kept := range map[string]audit.Stored{
		"setting": stored(t, sqldbtest.SQLite(t), audit.Options{ClientAddresses: true}, pull())[0],
		"API":     stored(t, sqldbtest.SQLite(t), audit.Options{}, own)[0],
	} {
		want := strings.NewReplacer("BY", "", "ADDRESS", "203.0.113.12", "AGENT", "docker/27", "MORE", "", lookup.IDOf(got.ID), lookup.IDOf(kept.ID)).Replace(record)
		if string(kept.Record) != want {
			t.Errorf("%s: got  %s\nwant %s", what, kept.Record, want)
		}
	}
}

// TestRecordOfAnArchive: its answer stands one level deeper than the API's.
func TestRecordOfAnArchive(t *testing.T) {
	e := pull()
	e.EventName, e.ReadOnly, e.ResponseElements = "UpdateImageStorageClass", false, json.RawMessage(`{"imageStatus":"ARCHIVED"}`)
	failed := e
	failed.ErrorCode, failed.ResponseElements = "ImageNotFoundException", nil
	all := stored(t, sqldbtest.SQLite(t), audit.Options{}, e, failed)
	for i, want := range []string{`"responseElements":{"image":{"imageStatus":"ARCHIVED"}}`, `"responseElements":null`} {
		if !strings.Contains(string(all[i].Record), want) {
			t.Errorf("%s has not %s", all[i].Record, want)
		}
	}
}

func TestServiceEvent(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
		repo := name.Registry{Account: account, Region: "us-west-2"}.RepositoryARN("testrepo")
		for _, e := range []audit.ServiceEvent{
			{Time: at, EventName: "PolicyExecutionEvent", Region: "us-west-2", Account: account, Repository: repo, ReadOnly: true, Details: map[string]any{"repositoryName": "testrepo"}},
			{Time: at, EventName: "VulnerabilityDatabaseEvent", Region: "us-west-2", Account: account},
		} {
			if err := db.Update(t.Context(), func(tx *sqldb.Tx) error { return trail.ServiceEventTx(t.Context(), tx, e) }); err != nil {
				t.Fatal(err)
			}
		}
		all, err := trail.After(t.Context(), account, "us-west-2", 0, 10, time.Time{})
		if err != nil || len(all) != 2 {
			t.Fatal(len(all), err)
		}
		want := `{"eventVersion":"1.11","userIdentity":{"accountId":"111111111111","invokedBy":"AWS Internal"},"eventTime":"2019-04-15T17:23:20Z","eventSource":"ecr.amazonaws.com",` +
			`"eventName":"PolicyExecutionEvent","awsRegion":"us-west-2","sourceIPAddress":"AWS Internal","userAgent":"AWS Internal","requestParameters":null,"responseElements":null,` +
			`"eventID":"` + lookup.IDOf(all[0].ID) + `","readOnly":true,"resources":[{"ARN":"arn:aws:ecr:us-west-2:111111111111:repository/testrepo","accountId":"111111111111","type":"AWS::ECR::Repository"}],` +
			`"eventType":"AwsServiceEvent","managementEvent":true,"recipientAccountId":"111111111111","serviceEventDetails":{"repositoryName":"testrepo"},"eventCategory":"Management"}`
		if string(all[0].Record) != want {
			t.Errorf("got  %s\nwant %s", all[0].Record, want)
		}
		if strings.Contains(string(all[1].Record), "resources") {
			t.Errorf("an event of the whole registry has resources: %s", all[1].Record)
		}
		index := lookup.New(db)
		for q, n := range map[lookup.Query]int{
			{Attribute: lookup.ResourceName, Value: "testrepo"}:             1,
			{Attribute: lookup.ResourceType, Value: "AWS::ECR::Repository"}: 1,
			{Attribute: lookup.EventSource, Value: "ecr.amazonaws.com"}:     2,
			{Attribute: lookup.EventID, Value: lookup.IDOf(all[1].ID)}:      1,
		} {
			q.Account = account
			if found, _, err := index.Find(t.Context(), q); err != nil || len(found) != n {
				t.Errorf("%s %s: %d found, %v", q.Attribute, q.Value, len(found), err)
			}
		}
	})
}

// TestAfter: in the order of ids, within a region, an account and a time of writing, page by page.
func TestAfter(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
		before := time.Now()
		for i := range 30 {
			e := pull()
			e.Time = at.Add(-time.Duration(i) * time.Hour) // the older ones are written later
			e.Region = []name.Region{"us-east-2", "eu-west-1"}[i%2]
			if i%3 == 0 {
				e.Account = "222222222222"
			}
			trail.Record(ctx, e)
		}
		if err := trail.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		var all []audit.Stored
		for last := int64(0); ; last = all[len(all)-1].ID {
			page, err := trail.After(ctx, account, "", last, 7, time.Now().Add(time.Hour))
			if err != nil || len(page) > 7 {
				t.Fatal(len(page), err)
			}
			if all = append(all, page...); len(page) < 7 {
				break
			}
		}
		if len(all) != 20 {
			t.Errorf("%d records", len(all))
		}
		for i, s := range all {
			if i > 0 && (s.ID <= all[i-1].ID || !s.OccurredAt.Before(all[i-1].OccurredAt)) {
				t.Errorf("%d stands behind %d", s.ID, all[i-1].ID)
			}
		}
		if one, err := trail.After(ctx, account, "eu-west-1", 0, 100, time.Time{}); err != nil || len(one) != 10 || one[0].Region != "eu-west-1" {
			t.Errorf("%d records of a region, %v", len(one), err)
		}
		if none, err := trail.After(ctx, account, "", 0, 100, before.Add(-time.Second)); err != nil || len(none) != 0 {
			t.Errorf("%d records from before they were written, %v", len(none), err)
		}
	})
}

// TestAfterSegments: records that are kept together, and those beside them that are not, are one row of ids, of
// which a page may begin and end anywhere.
func TestAfterSegments(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
		var want []string
		for i := range 1300 {
			e := pull()
			e.RequestID = fmt.Sprintf("request-%d", i)
			e.Time = at.Add(time.Duration(i) * time.Millisecond)
			e.EventName = []string{"BatchGetImage", "PutImage"}[i%2]
			if e.Region = "eu-west-1"; i%5 == 0 {
				e.Region = "us-east-2"
			}
			switch {
			case i%9 == 0:
				e.Account = "222222222222"
			case i%100 == 1:
				e.Time = e.Time.Add(-time.Hour) // alone there
			}
			if e.Account == account {
				want = append(want, e.RequestID)
			}
			if trail.Record(ctx, e); i%211 == 0 {
				if err := trail.Flush(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := trail.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		var rows, segments int
		if err := db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM audit_segment)`).Scan(&rows, &segments)
		}); err != nil || rows == 0 || segments < 10 {
			t.Fatalf("%d rows, %d segments, %v", rows, segments, err)
		}
		for _, limit := range []int{1, 7, 500, 5000} {
			for _, region := range []name.Region{"", "us-east-2", "ap-south-1"} {
				if limit == 1 && region == "" {
					continue // long, and no other than the next
				}
				var all []audit.Stored
				for last := int64(0); ; last = all[len(all)-1].ID {
					page, err := trail.After(ctx, account, region, last, limit, time.Time{})
					if err != nil || len(page) > limit {
						t.Fatal(len(page), err)
					}
					if all = append(all, page...); len(page) < limit {
						break
					}
				}
				var got []string
				for i, s := range all {
					var r struct {
						RequestID, EventID, EventName, EventTime, AwsRegion, RecipientAccountID string
					}
					if err := json.Unmarshal(s.Record, &r); err != nil {
						t.Fatal(err)
					}
					if r.EventID != lookup.IDOf(s.ID) || r.EventName != s.Name || r.EventTime != s.OccurredAt.Format("2006-01-02T15:04:05Z") || r.AwsRegion != string(s.Region) || s.Account != account {
						t.Errorf("%+v is kept as %s", s, s.Record)
					}
					if i > 0 && s.ID <= all[i-1].ID {
						t.Errorf("%d stands behind %d", s.ID, all[i-1].ID)
					}
					if region == "" || s.Region == region {
						got = append(got, r.RequestID)
					}
				}
				if len(got) != len(all) || region == "ap-south-1" && len(got) > 0 {
					t.Errorf("%d of %d records are of %s", len(got), len(all), region)
				}
				if region == "" {
					slices.Sort(got)
					if slices.Sort(want); !slices.Equal(got, want) {
						t.Errorf("pages of %d: %d records, want %d", limit, len(got), len(want))
					}
				}
			}
		}
	})
}

// TestOverflow: a full buffer drops entries and says so, or has calls wait.
func TestOverflow(t *testing.T) {
	ctx := t.Context()
	big := pull()
	big.RequestParameters = json.RawMessage(`{"imageManifest":"` + strings.Repeat("x", 1<<20) + `"}`)
	for what, tt := range map[string]struct {
		entry    audit.Entry
		fit, all int64
	}{"bytes": {big, 64, 70}, "entries": {pull(), 20_000, 20_007}} {
		var log bytes.Buffer
		trail := audit.NewTrail(sqldbtest.SQLite(t), slog.New(slog.NewTextHandler(&log, nil)), audit.Options{Overflow: audit.Drop})
		for range tt.all {
			trail.Record(ctx, tt.entry)
		}
		if n := trail.Dropped(); n != tt.all-tt.fit {
			t.Errorf("%s: %d dropped", what, n)
		}
		if strings.Count(log.String(), "audit records are dropped") != 1 {
			t.Errorf("%s: the log says %s", what, log.String())
		}
	}

	// The calls wait, and each is kept.
	trail := audit.NewTrail(sqldbtest.SQLite(t), slog.New(slog.DiscardHandler), audit.Options{})
	const calls = 20_700
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range calls {
			trail.Record(ctx, pull())
		}
	}()
	for open := true; open; {
		select {
		case <-ended:
			open = false
		default:
		}
		if err := trail.Flush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := trail.After(ctx, account, "", 0, 2*calls, time.Time{}); err != nil || len(all) != calls || trail.Dropped() != 0 {
		t.Errorf("%d kept of %d, %d dropped, %v", len(all), calls, trail.Dropped(), err)
	}
}

// TestFullBatches: what has come since a batch was full waits for the next one, or for Flush.
func TestFullBatches(t *testing.T) {
	ctx := t.Context()
	trail := audit.NewTrail(sqldbtest.SQLite(t), slog.New(slog.DiscardHandler), audit.Options{})
	written := func(flush func(context.Context) error, want int) {
		t.Helper()
		if err := flush(ctx); err != nil {
			t.Fatal(err)
		}
		if all, err := trail.After(ctx, account, "", 0, 10*audit.BatchSize, time.Time{}); err != nil || len(all) != want {
			t.Errorf("%d records are written, want %d: %v", len(all), want, err)
		}
	}
	written(trail.FlushFull, 0)
	for range audit.BatchSize - 1 {
		trail.Record(ctx, pull())
	}
	written(trail.FlushFull, 0)
	for range audit.BatchSize + 1 {
		trail.Record(ctx, pull())
	}
	written(trail.FlushFull, 2*audit.BatchSize)
	for range 7 {
		trail.Record(ctx, pull())
	}
	written(trail.FlushFull, 2*audit.BatchSize)
	written(trail.Flush, 2*audit.BatchSize+7)

	// Where there is no room for more, nobody waits for a batch to be full.
	big := pull()
	big.RequestParameters = json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`)
	for range 64 {
		trail.Record(ctx, big)
	}
	written(trail.FlushFull, 2*audit.BatchSize+71)
}

// BenchmarkRecord is what a call pays for its record, while another goroutine writes them.
func BenchmarkRecord(b *testing.B) {
	trail := audit.NewTrail(sqldbtest.SQLite(b), slog.New(slog.DiscardHandler), audit.Options{Overflow: audit.Drop})
	stopped := make(chan error)
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
				if err := trail.Flush(b.Context()); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	e := pull()
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		trail.Record(b.Context(), e)
	}
	b.StopTimer()
	b.ReportMetric(float64(trail.Dropped())/float64(b.N), "dropped/op")
	close(stop)
	if err := <-stopped; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite is what a record costs, from its entry to the database with what it is found by, in
// wall time and in CPU time of the process: of calls that are alike but for their ids and times, of
// calls of a hundred callers and repositories, and of calls that come alone.
func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct {
		name           string
		callers, flush int
	}{{"alike", 1, 500}, {"mixed", 100, 500}, {"few", 1, 15}, {"alone", 1, 1}} {
		b.Run(c.name, func(b *testing.B) {
			trail := audit.NewTrail(sqldbtest.SQLite(b), slog.New(slog.DiscardHandler), audit.Options{})
			entries := make([]audit.Entry, 4*c.flush)
			r := rand.New(rand.NewPCG(5, 6))
			for i := range entries {
				e := pull()
				e.RequestID = fmt.Sprintf("%08x-0000-4000-8000-%012x", r.Uint32(), r.Uint64N(1<<48))
				e.Principal.ARN += strconv.Itoa(r.IntN(c.callers))
				e.Principal.AccessKeyID += strconv.Itoa(r.IntN(c.callers))
				e.Resources = []string{e.Resources[0] + strconv.Itoa(r.IntN(c.callers))}
				entries[i] = e
			}
			b.ReportAllocs()
			before := processorTime(b)
			for i := 0; b.Loop(); i++ {
				e := entries[i%len(entries)]
				e.Time = at.Add(time.Duration(i) * 200 * time.Microsecond)
				trail.Record(b.Context(), e)
				if i%c.flush == c.flush-1 {
					if err := trail.Flush(b.Context()); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// processorTime is what the process has used.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
