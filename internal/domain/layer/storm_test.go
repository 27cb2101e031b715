package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer/collect"
	"github.com/berth-registry/berth/internal/domain/layer/reconcile"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Several nodes push the same few layers into several repositories, mount them,
// delete images, archive and restore them, collect, reconcile objects of any age,
// and take snapshots under holds, all at random and with hardly any grace. Every image
// that was acknowledged has its layers as long as it is there, every snapshot its
// objects, and in the end all is accounted for and goes.
func TestStorm(t *testing.T) {
	onEngines(t, func(t *testing.T, w *world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		w.aged()
		var nodes []*Service
		for _, s := range w.nodes(3) {
			s.grace = 3 * time.Millisecond
			s.reconciler.Safe = time.Microsecond // only the rows keep what is there
			nodes = append(nodes, s)
		}
		var repos []repository.Repository
		for i := range 4 {
			repos = append(repos, w.repo(name.Repository(fmt.Sprintf("r%d", i)), ""))
		}
		var blobs [][]byte
		for i := range 5 {
			blobs = append(blobs, random(1+i*700))
		}
		var images, again, moved, holds atomic.Int64
		ctx := context.Background()
		until := time.Now().Add(1500 * time.Millisecond)
		var actors, keepers sync.WaitGroup
		for i := range 6 {
			actors.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(i)))
				for time.Now().Before(until) && !t.Failed() {
					w.stormy(rng, nodes, repos, blobs, &images, &again, &moved)
				}
			})
		}
		stop := make(chan struct{})
		keep := func(do func(s *Service, rng *rand.Rand)) {
			n := len(nodes)
			keepers.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(100+n)))
				for {
					select {
					case <-stop:
						return
					default:
						do(nodes[rng.IntN(n)], rng)
					}
				}
			})
		}
		for range 2 {
			keep(func(s *Service, _ *rand.Rand) {
				w.clock.Advance(time.Millisecond)
				if _, err := s.Collect(ctx); err != nil {
					t.Errorf("collect: %v", err)
				}
			})
		}
		keep(func(s *Service, _ *rand.Rand) {
			if err := s.Reconciler().Run(ctx, reconcile.Options{Full: true}); err != nil {
				t.Errorf("reconcile: %v", err)
			}
		})
		keep(func(s *Service, rng *rand.Rand) {
			h, err := s.Hold(ctx, "backup", time.Hour)
			w.must2(err)
			snapshot := w.named()
			for range rng.IntN(4) {
				_, err := nodes[rng.IntN(len(nodes))].Collect(ctx)
				w.must2(err)
			}
			w.wants(snapshot)
			if err := h.Release(ctx); err != nil && !errors.Is(err, collect.ErrHoldLost) {
				t.Errorf("release: %v", err)
			}
			holds.Add(1)
		})
		actors.Wait()
		close(stop)
		keepers.Wait()
		t.Logf("%d images, %d pushes to be repeated, %d moves, %d snapshots", images.Load(), again.Load(), moved.Load(), holds.Load())
		if images.Load() == 0 || holds.Load() == 0 {
			t.Error("nothing happened")
		}
		s := nodes[0]
		w.sound(s)
		w.clock.Advance(30 * time.Hour)
		_, err := s.Expire(ctx)
		w.must(err)
		for range 2 { // a place that is asked for in the first is looked at before the second
			_, err = s.Collect(ctx)
			w.must(err)
			_, err = s.places.Run(ctx)
			w.must(err)
		}
		w.sound(s)
		w.stands(0, 0)
		for _, table := range []string{"blob", "layer", "layer_review", "garbage"} {
			if n := w.count(w.durable, `SELECT count(*) FROM `+table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	})
}

// must2 is must for goroutines.
func (w *world) must2(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

// stormy pushes an image of some layers, does something with it, and deletes it.
func (w *world) stormy(rng *rand.Rand, nodes []*Service, repos []repository.Repository, blobs [][]byte, images, again, moved *atomic.Int64) {
	ctx := context.Background()
	node := func() *Service { return nodes[rng.IntN(len(nodes))] }
	r := repos[rng.IntN(len(repos))]
	mine := slices.Clone(blobs)
	rng.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
	mine = mine[:1+rng.IntN(3)]
	var ds []name.Digest
	for _, b := range mine {
		d := name.SHA256(b)
		ds = append(ds, d)
		if rng.IntN(3) == 0 { // perhaps it is in another repository
			_, ok, err := node().Mount(ctx, repos[rng.IntN(len(repos))], r, d)
			w.must2(err)
			if ok {
				continue
			}
		}
		if _, err := push(ctx, node(), r, b); err != nil {
			if errs.CodeOf(err) != errs.UploadNotFound { // found by the reconciliation
				w.t.Errorf("push: %v", err)
			}
			again.Add(1)
			return
		}
	}
	id, err := w.image(node(), r, "type", ds...)
	if errs.CodeOf(err) == errs.LayersNotFound {
		again.Add(1)
		return
	}
	if err != nil {
		w.t.Errorf("image: %v", err)
		return
	}
	images.Add(1)
	readable := func() {
		for _, b := range mine {
			if got, err := read(node(), r, name.SHA256(b)); err != nil || !bytes.Equal(got, b) {
				w.t.Errorf("an acknowledged image's layer: %d bytes of %d, %v", len(got), len(b), err)
			}
		}
	}
	readable()
	if rng.IntN(3) == 0 {
		s := node()
		w.state(s, r, id, archived, ds...)
		// A layer that others move at the same time may be left to the next run of the job.
		_, err := s.places.Run(ctx)
		for try := 0; err != nil && try < 50; try++ {
			_, err = s.places.Run(ctx)
		}
		w.must2(err)
		w.state(s, r, id, activating, ds...)
		w.must2(node().Recall(ctx, r, ds))
		w.state(s, r, id, active, ds...)
		moved.Add(1)
		readable()
	}
	if err := w.dropImage(node(), r, id, ds...); err != nil {
		w.t.Errorf("drop: %v", err)
	}
}
