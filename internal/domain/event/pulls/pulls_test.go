package pulls_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/event"
	"github.com/berth-registry/berth/internal/domain/event/pulls"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
)

var reg = name.Registry{Account: "111111111111", Region: "us-east-1"}

type world struct {
	*pulls.Service
	clock *clock.Fake

	mu       sync.Mutex
	recorded []event.Event
	refuse   error
}

func (w *world) record(_ context.Context, events []event.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse != nil {
		return w.refuse
	}
	w.recorded = append(w.recorded, events...)
	return nil
}

func start(t *testing.T, c pulls.Config) *world {
	t.Helper()
	w := &world{clock: clock.NewFake(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	c.Record, c.Clock, c.Log = w.record, w.clock, slog.New(slog.DiscardHandler)
	var err error
	if w.Service, err = pulls.New(c); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) details() (all []event.PullDetail) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.recorded {
		all = append(all, e.Detail.(event.PullDetail))
	}
	return all
}

func TestAggregate(t *testing.T) {
	w := start(t, pulls.Config{Mode: pulls.Aggregate})
	first := w.clock.Now()
	w.Pulled(reg, "app", "sha256:aa", "v1")
	w.clock.Advance(time.Second)
	w.Pulled(reg, "app", "sha256:aa", "v1")
	w.Pulled(reg, "app", "sha256:aa", "")
	w.Pulled(name.PublicRegistry("111111111111"), "app", "sha256:aa", "v1")
	w.refuse = errors.New("the database is away")
	if err := w.Flush(t.Context()); !errors.Is(err, w.refuse) {
		t.Fatal(err)
	}
	w.refuse = nil
	w.clock.Advance(time.Second)
	w.Pulled(reg, "app", "sha256:aa", "v1")
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := w.details()
	want := []event.PullDetail{
		{Repository: "app", Digest: "sha256:aa", Tag: "v1", Count: 3, Since: first},
		{Repository: "app", Digest: "sha256:aa", Count: 1, Since: first.Add(time.Second)},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Fatalf("%+v", got)
	}
	if e := w.recorded[0]; e.Kind != event.ImagePulled || e.Registry != reg || !e.OccurredAt.Equal(w.clock.Now()) {
		t.Errorf("%+v", e)
	}
	if err := w.Flush(t.Context()); err != nil || len(w.details()) != 2 {
		t.Errorf("recorded twice: %v", err)
	}
}

func TestSample(t *testing.T) {
	w := start(t, pulls.Config{Mode: pulls.Sample, OneIn: 10})
	const pulled = 20_000
	for range pulled {
		w.Pulled(reg, "app", "sha256:aa", "v1")
	}
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := w.details()
	// 2,000 samples with a deviation of 42: this is twelve of those.
	if len(got) != 1 || got[0].Count%10 != 0 || got[0].Count < pulled*3/4 || got[0].Count > pulled*5/4 {
		t.Fatalf("%+v", got)
	}
}

func TestBoundAndOff(t *testing.T) {
	w := start(t, pulls.Config{Mode: pulls.Aggregate, Bound: 1})
	w.Pulled(reg, "app", "sha256:aa", "v1")
	w.Pulled(reg, "app", "sha256:bb", "v1")
	w.Pulled(reg, "app", "sha256:aa", "v1")
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.details(); len(got) != 1 || got[0].Count != 2 || w.Overflow() != 1 {
		t.Errorf("%+v, overflow %d", got, w.Overflow())
	}
	off := start(t, pulls.Config{})
	off.Pulled(reg, "app", "sha256:aa", "v1")
	if err := errors.Join(off.Run(t.Context()), off.Flush(t.Context())); err != nil || len(off.details()) != 0 {
		t.Errorf("%v %+v", err, off.details())
	}
}

func TestRunRecordsAtTheEnd(t *testing.T) {
	w := start(t, pulls.Config{Mode: pulls.Aggregate, Interval: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	w.Pulled(reg, "app", "sha256:aa", "v1")
	cancel()
	if err := w.Run(ctx); err != nil || len(w.details()) != 1 {
		t.Errorf("%v %+v", err, w.details())
	}
	soon := start(t, pulls.Config{Mode: pulls.Aggregate, Interval: time.Millisecond})
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	soon.Pulled(reg, "app", "sha256:aa", "v1")
	done := make(chan error)
	go func() { done <- soon.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); len(soon.details()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is recorded")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []pulls.Config{{Mode: "some"}, {Mode: pulls.Sample}, {Mode: pulls.Aggregate, Interval: -1}, {Mode: pulls.Aggregate, Bound: -1}} {
		if _, err := pulls.New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
