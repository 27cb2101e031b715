package event_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

func TestRecordIsPartOfTheTransaction(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "schema_version", schema.Durable()...); err != nil {
			t.Fatal(err)
		}
		refuse := errors.New("refuse")
		var heard []event.Kind
		outbox := event.NewOutbox(func(_ context.Context, _ *sqldb.Tx, e event.Event) error {
			heard = append(heard, e.Kind)
			if e.Kind == event.ImageDeleted {
				return refuse
			}
			return nil
		})
		for kind, want := range map[event.Kind]error{event.ImagePushed: nil, event.ImageDeleted: refuse} {
			err := db.Update(ctx, func(tx *sqldb.Tx) error {
				return outbox.Record(ctx, tx, event.Event{
					Registry: name.Registry{Account: "111111111111", Region: "us-east-1"}, Kind: kind, OccurredAt: time.UnixMicro(5),
					Detail: event.ImageDetail{Repository: "ab", Digest: "sha256:00", Tag: "v1"},
				})
			})
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if len(heard) != 2 {
			t.Errorf("subscribers heard %v", heard)
		}
		var n int
		var kind, detail string
		if err := db.View(ctx, func(tx *sqldb.Tx) error {
			if err := tx.QueryRow(ctx, `SELECT count(*) FROM event`).Scan(&n); err != nil {
				return err
			}
			return tx.QueryRow(ctx, `SELECT kind, detail FROM event`).Scan(&kind, &detail)
		}); err != nil {
			t.Fatal(err)
		}
		if n != 1 || kind != "ImagePushed" || detail != `{"repository":"ab","digest":"sha256:00","tag":"v1"}` {
			t.Errorf("%d %s %s", n, kind, detail)
		}
	})
}

func TestIDsOfARepositoryAscend(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx, outbox := t.Context(), event.NewOutbox()
		reg := name.Registry{Account: "111111111111", Region: "us-east-1"}
		record := func(e event.Event) (id int64, ordering string, routed bool) {
			t.Helper()
			e.Registry, e.Kind, e.OccurredAt = reg, event.ImagePushed, time.UnixMicro(5)
			if err := db.Update(ctx, func(tx *sqldb.Tx) error { return outbox.Record(ctx, tx, e) }); err != nil {
				t.Fatal(err)
			}
			if err := db.View(ctx, func(tx *sqldb.Tx) error {
				return tx.QueryRow(ctx, `SELECT id, ordering, routed FROM event WHERE ordering = $1 ORDER BY id DESC LIMIT 1`, e.Ordering()).Scan(&id, &ordering, &routed)
			}); err != nil {
				t.Fatal(err)
			}
			return id, ordering, routed
		}
		// What a node has written whose clock is a thousand years ahead.
		ahead := sqldb.NewID() + 1<<60
		if err := db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO event (id, account_id, region, kind, occurred_at, detail, ordering) VALUES ($1, '111111111111', 'us-east-1', 'ImagePushed', 1, '{}', $2)`,
				ahead, reg.RepositoryARN("ab").String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		last := ahead
		for range 20 {
			id, ordering, routed := record(event.Event{Detail: event.ImageDetail{Repository: "ab"}})
			if id <= last || ordering != "arn:aws:ecr:us-east-1:111111111111:repository/ab" || routed {
				t.Fatalf("%d after %d, %s, routed %t", id, last, ordering, routed)
			}
			last = id
		}
		if id, _, _ := record(event.Event{Detail: event.ImageDetail{Repository: "cd"}}); id >= ahead {
			t.Error("another repository is no part of that order")
		}
		if id, _, _ := record(event.Event{Detail: event.FrequencyDetail{}}); id >= ahead {
			t.Error("what is about no repository is no part of that order")
		}
	})
}

func TestOrdering(t *testing.T) {
	reg := name.Registry{Account: "111111111111", Region: "us-east-1"}
	const ab = "arn:aws:ecr:us-east-1:111111111111:repository/ab"
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{event.Event{Detail: event.ImageDetail{Repository: "ab"}}, ab},
		{event.Event{Detail: event.StorageClassDetail{ImageDetail: event.ImageDetail{Repository: "ab"}}}, ab},
		{event.Event{Detail: event.ReplicationDetail{Repository: "ab"}}, ab},
		{event.Event{Detail: event.PullThroughDetail{Repository: "ab"}}, ab},
		{event.Event{Detail: event.ScanDetail{Repository: "ab"}}, ab},
		{event.Event{Detail: event.PullDetail{Repository: "ab"}}, ab},
		{event.Event{Detail: struct{}{}, Repository: "ab"}, ab},
		{event.Event{Detail: event.FrequencyDetail{}}, ""},
	} {
		c.e.Registry = reg
		if got := c.e.Ordering(); got != c.want {
			t.Errorf("%T: %s", c.e.Detail, got)
		}
	}
}
