package load

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var nowhere = Addr{Base: "http://127.0.0.1:1"}

// TestRun counts what workers do: numbers, sequences, bytes, and failures apart.
func TestRun(t *testing.T) {
	var mu sync.Mutex
	seen := map[int]int{}
	first := map[int]uint64{}
	bad := errors.New("bad")
	op := func(_ context.Context, w *Worker) (int64, error) {
		mu.Lock()
		defer mu.Unlock()
		if w.Seq != seen[w.N] {
			t.Errorf("worker %d: sequence %d after %d operations", w.N, w.Seq, seen[w.N])
		}
		if seen[w.N]++; w.Seq == 0 {
			first[w.N] = w.Rand.Uint64()
		}
		if w.Seq%10 == 9 {
			return 5, bad
		}
		return 7, nil
	}
	s, err := Run(context.Background(), nowhere, 3, 0, 900, op)
	total := 0
	for _, n := range seen {
		total += n
	}
	if err != nil || s.Ops < 900 || s.Ops > 902 || s.Bytes != 7*s.Ops || s.Errors == 0 || s.FirstError != bad || int64(total) != s.Ops+s.Errors {
		t.Errorf("%+v, %v; %d operations", s, err, total)
	}
	again := first
	seen, first = map[int]int{}, map[int]uint64{}
	if _, err := Run(context.Background(), nowhere, 3, 0, 900, op); err != nil {
		t.Error(err)
	}
	for n, v := range first {
		if w, ok := again[n]; ok && w != v {
			t.Errorf("worker %d draws other numbers in the second run", n)
		}
	}
}

func TestRunHopeless(t *testing.T) {
	var n atomic.Int64
	_, err := Run(context.Background(), nowhere, 2, time.Hour, 1, func(_ context.Context, w *Worker) (int64, error) {
		n.Add(1)
		_, err := w.Conn.Do(&Request{Method: "GET", Path: "/"})
		return 0, err
	})
	var refused *net.OpError
	if !errors.As(err, &refused) || n.Load() != 2*hopeless {
		t.Errorf("%d operations: %v", n.Load(), err)
	}
	if _, err := Run(context.Background(), nowhere, 0, 0, 1, nil); err == nil {
		t.Error("a run without clients succeeds")
	}
}

// TestRunCancelled ends a run while requests wait for an answer.
func TestRunCancelled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts: connections are made, answers are not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	var begun atomic.Int64
	s, err := Run(ctx, Addr{Base: "http://" + l.Addr().String()}, 3, time.Hour, 0, func(_ context.Context, w *Worker) (int64, error) {
		if begun.Add(1) == 3 {
			cancel()
		}
		_, err := w.Conn.Do(&Request{Method: "GET", Path: "/"})
		return 0, err
	})
	if !errors.Is(err, context.Canceled) || s.Errors != 0 || s.Ops != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}
