package audit_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func TestTrailWritesEverythingBeforeItEnds(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- trail.Run(ctx) }()
		at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
		var writers sync.WaitGroup
		for range 10 {
			writers.Go(func() {
				for range 150 {
					trail.Record(ctx, audit.Entry{Time: at, EventSource: "ecr.amazonaws.com", EventName: "PutImage", Region: "us-east-1", Account: "111111111111",
						Principal:         audit.Identity{Account: "111111111111", ARN: "arn:aws:iam::111111111111:root", ID: "111111111111", AccessKeyID: "AKIA", Type: "Root"},
						RequestParameters: json.RawMessage(`{"repositoryName":"ab"}`), Resources: []string{"arn:aws:ecr:us-east-1:222222222222:repository/ab"}})
				}
			})
		}
		writers.Wait()
		stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		all, err := trail.After(t.Context(), account, "", 0, 2000, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 1500 {
			t.Fatalf("%d records of 1500", len(all))
		}
		text := all[0].Record
		var record struct {
			EventTime    string
			UserIdentity struct{ Type, ARN string }
			Resources    []struct{ ARN, AccountID string }
		}
		if err := json.Unmarshal(text, &record); err != nil {
			t.Fatal(err)
		}
		if record.EventTime != "2026-01-02T03:04:05Z" || record.UserIdentity.Type != "Root" || record.Resources[0].AccountID != "222222222222" {
			t.Errorf("%s", text)
		}
	})
}

func TestExpireRemovesOldRecordsOnly(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		trail := audit.NewTrail(db, slog.New(slog.DiscardHandler), audit.Options{})
		now := time.Now()
		for i := range 5 {
			trail.Record(ctx, audit.Entry{Time: now.Add(-time.Duration(i) * time.Hour), EventName: "ListImages"})
		}
		if err := trail.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if n, err := trail.Expire(ctx, now.Add(-150*time.Minute)); err != nil || n != 2 {
			t.Errorf("removed %d, %v", n, err)
		}
	})
}
