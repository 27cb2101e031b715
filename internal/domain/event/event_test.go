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
