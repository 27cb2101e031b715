package revcache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
)

// table stands for a row with its revision.
type table struct {
	value     string
	revision  int64
	loads     int
	revisions int
	during    func()
}

func (t *table) source() revcache.Source[string] {
	return revcache.Source[string]{
		Revision: func(context.Context) (int64, error) { t.revisions++; return t.revision, nil },
		Load: func(context.Context) (string, int64, error) {
			t.loads++
			v, r := t.value, t.revision
			if t.during != nil {
				t.during()
			}
			return v, r, nil
		},
	}
}

func get(t *testing.T, c *revcache.Cache[string, string], key string, from *table, want string) {
	t.Helper()
	got, err := c.Get(t.Context(), key, from.source())
	if err != nil || got != want {
		t.Fatalf("Get(%s) = %q, %v; want %q", key, got, err, want)
	}
}

func TestAges(t *testing.T) {
	clk := clock.NewFake(time.Unix(1000, 0))
	c := revcache.New[string, string](clk, time.Second, 10)
	row := &table{value: "one", revision: 1}
	get(t, c, "k", row, "one")
	row.value, row.revision = "two", 2
	get(t, c, "k", row, "one") // within its life nobody asks
	if row.loads != 1 || row.revisions != 0 {
		t.Errorf("%d loads, %d looks at the revision", row.loads, row.revisions)
	}
	clk.Advance(time.Second)
	get(t, c, "k", row, "two")
	clk.Advance(time.Second)
	get(t, c, "k", row, "two")
	if row.loads != 2 || row.revisions != 2 {
		t.Errorf("%d loads, %d looks at the revision", row.loads, row.revisions)
	}
}

func TestForget(t *testing.T) {
	clk := clock.NewFake(time.Unix(1000, 0))
	c := revcache.New[string, string](clk, time.Hour, 10)
	row := &table{value: "one", revision: 1}
	get(t, c, "k", row, "one")
	get(t, c, "other", row, "one")
	row.value = "two"
	c.Forget(func(k string) bool { return k == "k" })
	get(t, c, "k", row, "two")
	get(t, c, "other", row, "one")
	c.Forget(nil)
	get(t, c, "other", row, "two")
}

// What was read before a change must not be kept after it.
func TestForgetDuringLoad(t *testing.T) {
	c := revcache.New[string, string](clock.NewFake(time.Unix(1000, 0)), time.Hour, 10)
	row := &table{value: "one", revision: 1}
	row.during = func() {
		row.value, row.revision, row.during = "two", 2, nil
		c.Forget(nil)
	}
	get(t, c, "k", row, "one") // began before the change
	get(t, c, "k", row, "two")
}

func TestBound(t *testing.T) {
	c := revcache.New[string, string](clock.NewFake(time.Unix(1000, 0)), time.Hour, 2)
	row := &table{value: "v"}
	for _, k := range []string{"a", "b", "c"} {
		get(t, c, k, row, "v")
	}
	row.loads = 0
	for _, k := range []string{"a", "b", "c"} {
		get(t, c, k, row, "v")
	}
	if row.loads == 0 {
		t.Error("three entries were kept in a cache of two")
	}
}

func TestFailure(t *testing.T) {
	c := revcache.New[string, string](clock.NewFake(time.Unix(1000, 0)), time.Hour, 2)
	broken := errors.New("broken")
	_, err := c.Get(t.Context(), "k", revcache.Source[string]{Load: func(context.Context) (string, int64, error) { return "", 0, broken }})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	get(t, c, "k", &table{value: "v"}, "v")
}
