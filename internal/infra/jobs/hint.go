package jobs

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// channel is where nodes tell each other that jobs were enqueued.
	channel = "berth_jobs"

	// A node tells of new jobs at most once in tellEvery, however many there
	// are, and heeds what others tell after up to heedWithin, so that a burst on
	// one node does not make all others look at the tables at once, again and
	// again.
	tellEvery  = 50 * time.Millisecond
	heedWithin = 50 * time.Millisecond

	// tellTimeout bounds a transaction that only tells: a late hint is none.
	tellTimeout = 10 * time.Second

	// hearAgain is the pause before listening again where that was refused.
	hearAgain = time.Minute
)

// tell has announce tell the other nodes of a job of the kind.
func (q *Queue) tell(kind string) {
	if !q.db.Shared() {
		return
	}
	q.mu.Lock()
	q.fresh[kind] = true
	q.mu.Unlock()
	put(q.news)
}

// announce tells the other nodes what was enqueued here, until ctx ends. It does
// so after the transactions that enqueue and not within them, since PostgreSQL
// commits those that notify one after the other.
func (q *Queue) announce(ctx context.Context) {
	for await(ctx, q.news) {
		q.mu.Lock()
		kinds := make([]string, 0, len(q.fresh))
		for kind := range q.fresh {
			kinds = append(kinds, kind)
		}
		clear(q.fresh)
		q.mu.Unlock()
		slices.Sort(kinds)
		within, cancel := context.WithTimeout(ctx, tellTimeout)
		err := q.db.Update(within, func(tx *sqldb.Tx) error {
			for _, kind := range kinds {
				if err := tx.Notify(within, channel, q.owner+" "+kind); err != nil {
					return err
				}
			}
			return nil
		})
		cancel()
		if err != nil && ctx.Err() == nil {
			q.log.Debug("other nodes were not told of new jobs; they will find them", "error", err)
		}
		if !sleep(ctx, tellEvery) {
			return
		}
	}
}

// hear takes what other nodes tell, until ctx ends.
func (q *Queue) hear(ctx context.Context) {
	for {
		err := q.db.Listen(ctx, channel, func(payload string) {
			owner, kind, _ := strings.Cut(payload, " ")
			// Without a payload: something may have been missed.
			if payload == "" || owner != q.owner && q.kinds[kind] != nil {
				put(q.hinted)
			}
		})
		if err != nil && ctx.Err() == nil {
			q.log.Warn("this node does not hear of jobs that other nodes enqueue; it finds them with a delay", "error", err)
		}
		if !sleep(ctx, hearAgain) {
			return
		}
	}
}

// heed makes Run look at the tables after a hint.
func (q *Queue) heed(ctx context.Context) {
	for await(ctx, q.hinted) && sleep(ctx, time.Duration(rand.Int64N(int64(heedWithin)))) {
		q.wakeUp()
	}
}

// await returns true once it has taken the token, false when ctx ends.
func await(ctx context.Context, token chan struct{}) bool {
	select {
	case <-token:
		return true
	case <-ctx.Done():
		return false
	}
}

// sleep returns false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
