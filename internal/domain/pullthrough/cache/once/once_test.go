package once

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version_volatile", schema.Volatile()...))
}

func TestFly(t *testing.T) {
	var g Group
	var runs atomic.Int64
	hold := make(chan struct{})
	var all sync.WaitGroup
	failure := errors.New("failed")
	for range 20 {
		f, err := g.Fly(t.Context(), "a", func(context.Context) error {
			runs.Add(1)
			<-hold
			return failure
		})
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := f.Wait(t.Context()); !errors.Is(err, failure) {
				t.Errorf("got %v", err)
			}
		})
	}
	gone, cancel := context.WithCancel(t.Context())
	f, err := g.Fly(gone, "b", func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := f.Wait(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("whose caller has gone: %v", err)
	}
	select {
	case <-f.done:
		t.Error("the work ended with its caller")
	default:
	}
	close(hold)
	all.Wait()
	if runs.Load() != 1 {
		t.Errorf("ran %d times", runs.Load())
	}
	g.Stop()
	if err := f.Wait(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("after Stop: %v", err)
	}
	if _, err := g.Fly(t.Context(), "c", func(context.Context) error { return nil }); !errs.Is(err, errs.Unavailable) {
		t.Errorf("begun after Stop: %v", err)
	}
}

func TestLease(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		ctx := t.Context()
		if err := db.Migrate(ctx, "schema_version_volatile", schema.Volatile()...); err != nil {
			t.Fatal(err)
		}
		clk := clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
		s := Leases{DB: db, Clock: clk, Log: slog.New(slog.DiscardHandler), Life: 30 * time.Second}
		take := func() (context.Context, *Lease) {
			t.Helper()
			leased, l, err := s.Take(ctx, "x")
			if err != nil {
				t.Fatal(err)
			}
			return leased, l
		}
		_, first := take()
		if _, l := take(); first == nil || l != nil {
			t.Fatal("not exactly one has it")
		}
		if err := first.Note(ctx, "upload"); err != nil {
			t.Fatal(err)
		}
		clk.Advance(34 * time.Second)
		if _, l := take(); l != nil {
			t.Fatal("taken over before it had run out")
		}
		clk.Advance(2 * time.Second)
		_, second := take()
		if second == nil || second.Upload != "upload" {
			t.Fatalf("not taken over: %+v", second)
		}
		if err := first.Note(ctx, "other"); !errors.Is(err, ErrLost) {
			t.Errorf("the one that lost it: %v", err)
		}
		first.End(ctx)
		second.End(ctx)
		_, third := take()
		if third == nil || third.Upload != "upload" {
			t.Fatalf("after its end: %+v", third)
		}
		third.Upload = ""
		third.End(ctx)
		short := s
		short.Life = 30 * time.Millisecond
		leased, fourth, err := short.Take(ctx, "x")
		if err != nil || fourth == nil || fourth.Upload != "" {
			t.Fatalf("anew: %+v %v", fourth, err)
		}
		err = db.Update(ctx, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE pullthrough_fetch SET owner = 1`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		<-leased.Done()
		if !errors.Is(context.Cause(leased), ErrLost) {
			t.Errorf("ended by %v", context.Cause(leased))
		}
		fourth.End(ctx)
		clk.Advance(49 * time.Hour)
		if err := s.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		var left int
		err = db.View(ctx, func(tx *sqldb.Tx) error {
			return tx.QueryRow(ctx, `SELECT count(*) FROM pullthrough_fetch`).Scan(&left)
		})
		if err != nil || left != 0 {
			t.Errorf("%d rows are left, %v", left, err)
		}
	})
}
