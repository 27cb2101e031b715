package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// hopeless is after how many failures in a row a worker stops.
const hopeless = 20

// Worker is one of the clients of a run. Its fields are its own; no other worker uses them.
type Worker struct {
	N    int        // from 0 to one below the number of clients
	Seq  int        // operations that it has done so far in this run, failed ones included
	Rand *rand.Rand // the same sequence for the same N in every run
	Conn *Conn
}

// Op is one operation of a worker: one or several requests whose time counts as one. bytes
// is the payload that it moved, 0 where a scenario counts operations.
type Op func(ctx context.Context, w *Worker) (bytes int64, err error)

// Sample is what one measurement found. CPU and Peak are figures of the server, which
// whoever measures fills in; latencies are those of operations that succeeded.
type Sample struct {
	Ops        int64 // that succeeded
	Bytes      int64
	Errors     int64
	FirstError error `json:"-"`
	Elapsed    time.Duration
	CPU        time.Duration
	Peak       int64 // bytes
	P50, P99   time.Duration
}

// tally is what one worker counts.
type tally struct {
	histogram  Histogram
	bytes      int64
	errors     int64
	firstError error
}

// Run lets clients work for d and longer until atLeast operations are done by all of them
// together; the last ones of each are finished and count. It fails when ctx ends, and when
// no operation succeeds; otherwise failed operations are counted in the Sample. A client
// whose operations fail 20 times in a row stops.
func Run(ctx context.Context, addr Addr, clients int, d time.Duration, atLeast int64, op Op) (Sample, error) {
	tallies := make([]*tally, clients)
	workers := make([]*Worker, clients)
	for i := range workers {
		tallies[i] = &tally{}
		workers[i] = &Worker{N: i, Rand: rand.New(rand.NewPCG(uint64(i), 1)), Conn: NewConn(addr)}
	}
	closeAll := func() {
		for _, w := range workers {
			w.Conn.Close()
		}
	}
	stop := context.AfterFunc(ctx, closeAll) // a request that waits does not see the context
	defer closeAll()
	defer stop()

	var done atomic.Int64
	var working sync.WaitGroup
	start := time.Now()
	for i, w := range workers {
		working.Go(func() {
			tallies[i].work(ctx, w, op, func() bool { return time.Since(start) < d || done.Load() < atLeast }, &done)
		})
	}
	working.Wait()

	s := Sample{Elapsed: time.Since(start)}
	var all Histogram
	for _, t := range tallies {
		all.Merge(&t.histogram)
		s.Bytes += t.bytes
		s.Errors += t.errors
		if s.FirstError == nil {
			s.FirstError = t.firstError
		}
	}
	s.Ops, s.P50, s.P99 = all.n, all.Quantile(0.50), all.Quantile(0.99)
	if err := ctx.Err(); err != nil {
		return s, err
	}
	if s.Ops == 0 {
		if s.FirstError == nil {
			s.FirstError = errors.New("there was no client or no time")
		}
		return s, fmt.Errorf("no operation succeeded: %w", s.FirstError)
	}
	return s, nil
}

// work does operations while more says so.
func (t *tally) work(ctx context.Context, w *Worker, op Op, more func() bool, done *atomic.Int64) {
	for failures := 0; failures < hopeless && ctx.Err() == nil && more(); w.Seq++ {
		start := time.Now()
		bytes, err := op(ctx, w)
		if err != nil {
			if ctx.Err() == nil { // else the end of the run is the cause
				t.errors++
			}
			if t.firstError == nil {
				t.firstError = err
			}
			failures++
			continue
		}
		t.histogram.Add(time.Since(start))
		t.bytes += bytes
		failures = 0
		done.Add(1)
	}
}
