package load

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// durations are those that occur, and the odd ones.
func durations() *rapid.Generator[time.Duration] {
	return rapid.OneOf(
		rapid.Map(rapid.Int64Range(0, 1<<maxBits-1), func(n int64) time.Duration { return time.Duration(n) }),
		rapid.Map(rapid.Int64Range(0, int64(time.Second)), func(n int64) time.Duration { return time.Duration(n) }),
		rapid.Map(rapid.Int64Range(0, 5000), func(n int64) time.Duration { return time.Duration(n) }),
		rapid.Map(rapid.IntRange(0, maxBits-1), func(n int) time.Duration { return 1 << n }),
	)
}

// near says whether a figure is within 1 % of the truth.
func near(got, want time.Duration) bool {
	return math.Abs(float64(got-want)) <= 0.01*float64(want)
}

// TestHistogram compares quantiles with those of the sorted durations, also when they were
// counted apart and merged.
func TestHistogram(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(durations(), 1, 300).Draw(t, "durations")
		var whole, a, b Histogram
		for i, d := range all {
			whole.Add(d)
			[]*Histogram{&a, &b}[i%2].Add(d)
		}
		if a.Merge(&b); a != whole {
			t.Fatal("merged parts are not the whole")
		}
		slices.Sort(all)
		for _, q := range []float64{0.001, 0.25, 0.5, 0.99, 1} {
			want := all[max(int(math.Ceil(q*float64(len(all)))), 1)-1]
			if got := whole.Quantile(q); !near(got, want) {
				t.Fatalf("quantile %v of %d durations is %d, want %d", q, len(all), got, want)
			}
		}
	})
}

// TestBuckets walks over the borders of buckets: none is left out, none taken twice.
func TestBuckets(t *testing.T) {
	last := -1
	for b := range buckets {
		m := middle(b)
		if bucket(m) != b {
			t.Fatalf("the middle %d of bucket %d is in bucket %d", m, b, bucket(m))
		}
		if int(m) <= last {
			t.Fatalf("bucket %d is not above the one before", b)
		}
		last = int(m)
	}
	rapid.Check(t, func(t *rapid.T) {
		d := durations().Draw(t, "duration")
		if a, b := bucket(d), bucket(d+1); b != a && b != a+1 {
			t.Fatalf("%d is in bucket %d, the next in %d", d, a, b)
		}
	})
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty one has a median")
	}
	h.Add(-time.Second)
	if h.Quantile(1) != 0 {
		t.Error("a negative duration is not 0")
	}
	h.Add(math.MaxInt64)
	if got := h.Quantile(1); !near(got, 1<<maxBits) {
		t.Errorf("the longest is %v", got)
	}
	if n := testing.AllocsPerRun(10, func() { h.Add(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
