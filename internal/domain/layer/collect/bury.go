package collect

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const (
	// burialPage is how many objects are claimed and deleted at once: what one
	// request of S3's DeleteObjects takes.
	burialPage = 1000
	// claimLife is how long a node that claimed objects is trusted to delete them.
	claimLife = 15 * time.Minute
	// forgone is claimed_until of a row whose deletion failed: free for the next
	// claim, and all the same never to be taken back.
	forgone = 1
	// afterwards bounds the writing down of what has been deleted, also when the
	// run has been told to stop.
	afterwards = 30 * time.Second
	// measurers is how many sizes are asked for at once.
	measurers = 16
)

// ErrNamed says that a row of garbage and a row of blob name the same
// object. The rules of domain/layer exclude it; if it happens all the same, the bytes stay.
var ErrNamed = errors.New("layer: an object in the garbage belongs to a blob")

// rubbish is a row of garbage.
type rubbish struct {
	archived  bool
	region    name.Region
	objectKey string
	dueAt     int64
}

func scanRubbish(row sqldb.Scanner) (rubbish, error) {
	var g rubbish
	var region string
	err := row.Scan(&region, &g.objectKey, &g.dueAt, &g.archived)
	g.region = name.Region(region)
	return g, err
}

// place is where objects stand.
type place struct {
	region   name.Region
	archived bool
}

// Bury deletes the object of a committed garbage row, from the store or the
// archive, and then the row. Where another node is at it, or a hold is live, it is
// left to the collector.
func (s *Service) Bury(ctx context.Context, region name.Region, objectKey string, archived bool) error {
	store, err := s.Place(region, archived)
	if err != nil {
		return err
	}
	var mine []rubbish
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		now := s.Clock.Now()
		page, err := sqldb.Collect(ctx, tx, scanRubbish, `SELECT region, object_key, due_at, archived FROM garbage
			WHERE region = $1 AND object_key = $2 AND claimed_until <= $3`+tx.SkipLocked(), string(region), objectKey, now.UnixMicro())
		if err != nil {
			return err
		}
		mine, _, err = claimTx(ctx, tx, page, now)
		if err == nil && len(mine) < len(page) {
			if named, err := exists(ctx, tx, `SELECT 1 FROM blob WHERE object_key = $1`, objectKey); err != nil || named {
				return errors.Join(err, ErrNamed)
			}
		}
		return err
	})
	if err != nil || len(mine) == 0 {
		return err
	}
	if err := store.Delete(ctx, objectKey); err != nil {
		return errors.Join(err, s.giveUp(ctx, region, []any{objectKey}))
	}
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM garbage WHERE region = $1 AND object_key = $2`, string(region), objectKey)
		return err
	})
}

// claimTx writes the claim on rows that the transaction has read and locked, and
// says which it may delete; none while a hold lives, and none that a blob names.
func claimTx(ctx context.Context, tx *sqldb.Tx, page []rubbish, now time.Time) (mine []rubbish, held bool, err error) {
	if len(page) == 0 {
		return nil, false, nil
	}
	// A statement of its own, begun after the rows were read.
	if held, err = isHeld(ctx, tx, now); err != nil || held {
		return nil, held, err
	}
	keys := make([]any, len(page))
	for i, g := range page {
		keys[i] = g.objectKey
	}
	named, err := sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT object_key FROM blob WHERE object_key IN `+sqldb.In(1, len(keys)), keys...)
	if err != nil {
		return nil, false, err
	}
	keep := make(map[string]bool, len(named))
	for _, k := range named {
		keep[k] = true
	}
	byRegion := map[name.Region][]any{}
	for _, g := range page {
		if !keep[g.objectKey] {
			mine = append(mine, g)
			byRegion[g.region] = append(byRegion[g.region], g.objectKey)
		}
	}
	for region, keys := range byRegion {
		if _, err := tx.Exec(ctx, `UPDATE garbage SET claimed_until = $1 WHERE region = $2 AND object_key IN `+sqldb.In(3, len(keys)),
			append([]any{now.Add(claimLife).UnixMicro(), string(region)}, keys...)...); err != nil {
			return nil, false, err
		}
	}
	return mine, false, nil
}

// giveUp frees claimed rows, whose objects could not be deleted.
func (s *Service) giveUp(ctx context.Context, region name.Region, keys []any) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE garbage SET claimed_until = $1 WHERE region = $2 AND object_key IN `+sqldb.In(3, len(keys)),
			append([]any{int64(forgone), string(region)}, keys...)...)
		return err
	})
}

// empty deletes the objects of all garbage rows that are due, in batches. A row
// of a region that is not served here waits for a node that does.
func (s *Service) empty(ctx context.Context, r *running) error {
	var failed error
	now := s.Clock.Now()
	last := rubbish{dueAt: -1}
	for more := true; more && ctx.Err() == nil; {
		var page, mine []rubbish
		var held bool
		var named int
		err := s.DB.Update(ctx, func(tx *sqldb.Tx) error {
			var err error
			page, err = sqldb.Collect(ctx, tx, scanRubbish, `SELECT region, object_key, due_at, archived FROM garbage
				WHERE due_at <= $1 AND claimed_until <= $1 AND (due_at, region, object_key) > ($2, $3, $4)
				ORDER BY due_at, region, object_key LIMIT $5`+tx.SkipLocked(), now.UnixMicro(), last.dueAt, string(last.region), last.objectKey, burialPage)
			if err != nil {
				return err
			}
			var served []rubbish
			for _, g := range page {
				if _, err := s.Place(g.region, g.archived); err == nil {
					served = append(served, g)
				}
			}
			mine, held, err = claimTx(ctx, tx, served, s.Clock.Now())
			named = len(served) - len(mine)
			return err
		})
		if err != nil {
			return errors.Join(failed, err)
		}
		if held {
			return errors.Join(failed, r.add(ctx, Collected{Held: true}))
		}
		if named > 0 {
			failed = errors.Join(failed, fmt.Errorf("%w: %d of them", ErrNamed, named))
		}
		failed = errors.Join(failed, s.deleteClaimed(ctx, r, mine))
		if more = len(page) == burialPage; more {
			last = page[len(page)-1]
		}
	}
	return failed
}

// deleteClaimed deletes the objects of claimed rows, and then the rows.
func (s *Service) deleteClaimed(ctx context.Context, r *running, mine []rubbish) error {
	places := map[place][]string{}
	for _, g := range mine {
		p := place{g.region, g.archived}
		places[p] = append(places[p], g.objectKey)
	}
	var all error
	for p, keys := range places {
		store, err := s.Place(p.region, p.archived)
		if err != nil {
			all = errors.Join(all, err) // it was served a moment ago
			continue
		}
		sizes := measure(ctx, store, keys)
		failed, err := blobstore.DeleteAll(ctx, store, keys)
		all = errors.Join(all, err)
		var gone, left []any
		var did Collected
		for i, k := range keys {
			if err != nil || failed[k] != nil {
				all = errors.Join(all, failed[k])
				left = append(left, k)
				continue
			}
			gone = append(gone, k)
			did.Objects++
			did.Freed += sizes[i]
		}
		if len(left) > 0 {
			all = errors.Join(all, s.giveUp(ctx, p.region, left))
		}
		if len(gone) > 0 {
			all = errors.Join(all, s.forget(ctx, r, p.region, gone, did))
		}
	}
	return all
}

// forget removes the rows of deleted objects, and counts them in the same
// transaction. A run that was told to stop does so before it ends.
func (s *Service) forget(ctx context.Context, r *running, region name.Region, keys []any, did Collected) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterwards)
	defer cancel()
	return r.addWith(ctx, did, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM garbage WHERE region = $1 AND object_key IN `+sqldb.In(2, len(keys)), append([]any{string(region)}, keys...)...)
		return err
	})
}

// measure asks the store what the objects take, in bytes as stored. What it cannot
// say counts as nothing.
func measure(ctx context.Context, store blobstore.Store, keys []string) []int64 {
	sizes := make([]int64, len(keys))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(measurers, len(keys)) {
		wg.Go(func() {
			for i := range next {
				if info, err := Stat(ctx, store, keys[i]); err == nil {
					sizes[i] = info.Size
				}
			}
		})
	}
	for i := range keys {
		next <- i
	}
	close(next)
	wg.Wait()
	return sizes
}

// Stat describes an object, finished or not: what a store that can be asked says,
// else what its list does. blobstore.ErrNotFound when it is not there.
func Stat(ctx context.Context, store blobstore.Store, key string) (blobstore.Info, error) {
	if st, ok := store.(interface {
		Stat(ctx context.Context, key string) (blobstore.Info, error)
	}); ok {
		return st.Stat(ctx, key)
	}
	for info, err := range store.List(ctx, key) {
		if err != nil || info.Key == key {
			return info, err
		}
	}
	return blobstore.Info{}, fmt.Errorf("%w: %s", blobstore.ErrNotFound, key)
}
