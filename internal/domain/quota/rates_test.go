package quota

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
)

func limited(clk clock.Clock, rates Rates) *Service {
	return New(Config{Clock: clk, Log: quiet, Limits: Default(), Rates: rates})
}

func request(action string) Request {
	return Request{Account: account, Region: region, Action: action}
}

// admitted counts how many of n requests go through.
func admitted(t *testing.T, s *Service, r Request, n int) (through int) {
	t.Helper()
	for range n {
		switch err := s.Admit(t.Context(), r); {
		case err == nil:
			through++
		case !errs.Is(err, errs.Throttled):
			t.Fatal(err)
		}
	}
	return through
}

func TestAdmit(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	s := limited(clk, Rates{"PutImage": 10, "GetAuthorizationToken": 500, "DescribeImages": 0})
	wants := func(r Request, n, want int) {
		t.Helper()
		if got := admitted(t, s, r, n); got != want {
			t.Errorf("%d of %d were admitted, want %d", got, n, want)
		}
	}
	wants(request("PutImage"), 30, 10) // a full bucket
	other := request("PutImage")
	other.Account = "444455556666"
	wants(other, 30, 10) // each key has its own
	other = request("PutImage")
	other.Region = "eu-west-1"
	wants(other, 30, 10)
	wants(request("GetAuthorizationToken"), 1000, 500)
	wants(request("DescribeImages"), 1000, 1000)
	wants(request("ListImages"), 1000, 1000)
	clk.Advance(99 * time.Millisecond)
	wants(request("PutImage"), 5, 0)
	clk.Advance(time.Millisecond)
	wants(request("PutImage"), 5, 1)
	clk.Advance(time.Hour)
	wants(request("PutImage"), 30, 10)
	clk.Advance(-time.Hour) // a clock that goes back takes nothing away and gives nothing
	wants(request("PutImage"), 30, 0)

	err := s.Admit(t.Context(), request("PutImage"))
	var e *errs.Error
	if !errors.As(err, &e) || e.Message != "Rate exceeded" || e.Detail[RetryAfter] != 1 {
		t.Errorf("refused as %#v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	s := limited(clk, Rates{"PutImage": 1})
	b := s.buckets.of(bucketKey{account, region, "PutImage"})
	for share, want := range map[float64]int{1: 1, 0.4: 3, 0.01: maxRetryAfter} {
		b.tokens, b.begun, b.limit, b.share = 0, true, 1, share
		var e *errs.Error
		if err := s.Admit(t.Context(), request("PutImage")); !errors.As(err, &e) || e.Detail[RetryAfter] != want {
			t.Errorf("with the share %g: %#v, want %d seconds", share, err, want)
		}
	}
}

// TestPatience: requests wait for their tokens in order, and one that would wait
// too long is refused at once.
func TestPatience(t *testing.T) {
	s := limited(clock.System{}, Rates{"PutImage": 20})
	r := request("PutImage")
	r.Patience = 500 * time.Millisecond
	if got := admitted(t, s, request("PutImage"), 20); got != 20 {
		t.Fatalf("%d were admitted at once", got)
	}
	began := time.Now()
	var through, refused atomic.Int64
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			err := s.Admit(t.Context(), r)
			switch took := time.Since(began); {
			case err == nil:
				through.Add(1)
				if took > 2*time.Second {
					t.Errorf("admitted after %s", took)
				}
			case errs.Is(err, errs.Throttled):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Ten tokens come within the half second; one or two more while the requests start.
	if n := through.Load(); n < 9 || n > 14 {
		t.Errorf("%d of 30 were admitted, want about 10", n)
	}
	if n := s.sleepers.Load(); n != 0 {
		t.Errorf("%d are still counted as waiting", n)
	}

	// Who gives up gives the token back.
	s = limited(clock.System{}, Rates{"PutImage": 2})
	admitted(t, s, request("PutImage"), 2)
	r.Patience = 10 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	for range 8 {
		all.Go(func() {
			if err := s.Admit(ctx, r); !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want the context's error", err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	cancel()
	all.Wait()
	time.Sleep(500 * time.Millisecond)
	if got := admitted(t, s, request("PutImage"), 2); got != 1 {
		t.Errorf("%d were admitted after the others gave up, want 1", got)
	}
	b := s.buckets.of(bucketKey{account, region, "PutImage"})
	if b.sleepers != 0 {
		t.Errorf("the bucket still counts %d", b.sleepers)
	}
}

// TestSleepersAreBounded: as many as may wait do, the next is refused at once.
func TestSleepersAreBounded(t *testing.T) {
	s := limited(clock.System{}, Rates{"PutImage": 1_000})
	s.buckets.of(bucketKey{account, region, "PutImage"}).sleepers = maxBucketSleepers
	r := request("PutImage")
	admitted(t, s, r, 1_000)
	r.Patience = time.Minute
	for range 3 {
		if err := s.Admit(t.Context(), r); err != nil && !errs.Is(err, errs.Throttled) {
			t.Fatal(err)
		}
	}
	if n := s.buckets.of(bucketKey{account, region, "PutImage"}).sleepers; n != maxBucketSleepers {
		t.Errorf("%d wait for one bucket", n)
	}
	s = limited(clock.System{}, Rates{"PutImage": 2})
	admitted(t, s, request("PutImage"), 2)
	s.sleepers.Store(maxSleepers)
	if err := s.Admit(t.Context(), r); !errs.Is(err, errs.Throttled) {
		t.Errorf("one more than may wait: %v", err)
	}
	if n := s.sleepers.Load(); n != maxSleepers {
		t.Errorf("%d are counted as waiting", n)
	}
}

func TestIdleBucketsAreForgotten(t *testing.T) {
	clk := clock.NewFake(time.Unix(1_800_000_000, 0))
	s := limited(clk, Rates{"PutImage": 10})
	for i := range 1_000 {
		r := request("PutImage")
		r.Account = name.AccountID(fmt.Sprintf("%012d", i))
		admitted(t, s, r, 1)
		clk.Advance(100 * time.Millisecond)
	}
	s.step(t.Context())
	n := 0
	s.buckets.each(func(bucketKey, *bucket) bool { n++; return false })
	if n == 0 || n > 600 {
		t.Errorf("%d buckets are kept, want those of the last minute", n)
	}
}

func TestECRRates(t *testing.T) {
	if got := len(ECRRates()); got != 8+9 {
		t.Errorf("AWS publishes 8 rates of private and 9 of public registries, here are %d: %v", got, slices.Sorted(maps.Keys(ECRRates())))
	}
	for action := range ECRRates() {
		if _, err := find(ratePrefix + action); (err != nil) != ofAddresses(action) {
			t.Error(err)
		}
	}
}

func BenchmarkAdmit(b *testing.B) {
	for what, r := range map[string]struct {
		rates  Rates
		action string
	}{
		"off":       {nil, "PutImage"},
		"unlimited": {ECRRates(), "DescribeImages"},
		"admitted":  {Rates{"PutImage": maxRate}, "PutImage"},
		"refused":   {Rates{"PutImage": 1}, "PutImage"},
	} {
		b.Run(what, func(b *testing.B) {
			s := limited(clock.System{}, r.rates)
			req := request(r.action)
			b.ReportAllocs()
			for b.Loop() {
				_ = s.Admit(b.Context(), req)
			}
		})
		b.Run(what+"/parallel", func(b *testing.B) {
			s := limited(clock.System{}, r.rates)
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				req := request(r.action)
				for p.Next() {
					_ = s.Admit(context.Background(), req)
				}
			})
		})
	}
}
