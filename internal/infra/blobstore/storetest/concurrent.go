package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// testConcurrency has many goroutines at work in the same directories.
func (s *suite) testConcurrency(t *testing.T) {
	store := s.open(t)
	shared := content(1000, 3*Segment+11)
	sharedObject := object(t.Context(), t, store, "shared/object", shared)

	var group sync.WaitGroup
	for worker := range 8 {
		group.Go(func() {
			for round := range 5 {
				if err := cycle(t.Context(), store, worker, round); err != nil {
					t.Errorf("worker %d, round %d: %v", worker, round, err)
					return
				}
				got, err := read(t.Context(), store, sharedObject, int64(worker*1000), -1)
				if err != nil || !bytes.Equal(got, shared[worker*1000:]) {
					t.Errorf("worker %d read the shared object wrong: %v", worker, err)
					return
				}
				for _, err := range store.List(t.Context(), "") {
					if err != nil {
						t.Errorf("list: %v", err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	left := 0
	for info, err := range store.List(t.Context(), "work/") {
		if err != nil {
			t.Fatal(err)
		}
		left++
		_ = info
	}
	if left != 8*5/2 {
		t.Errorf("%d objects are left, want %d", left, 8*5/2)
	}
}

// cycle is one object's life; every second one is deleted at its end.
func cycle(ctx context.Context, store blobstore.Store, worker, round int) error {
	number := worker*5 + round
	want := content(uint64(number), Segment+number*3001)
	key := fmt.Sprintf("work/%d/%d", round, number)
	w, err := store.Create(ctx, key, blobstore.Placement{})
	if err != nil {
		return err
	}
	half := len(want) / 2
	if _, err := w.Write(want[:half]); err != nil {
		return err
	}
	state, err := w.Suspend(ctx)
	if err != nil {
		return err
	}
	runtime.Gosched()
	if w, err = store.Resume(ctx, key, state); err != nil {
		return err
	}
	if _, err := w.Write(want[half:]); err != nil {
		return err
	}
	o, err := w.Commit(ctx)
	if err != nil {
		return err
	}
	got, err := read(ctx, store, o, 0, -1)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s has other bytes than were written", key)
	}
	if number%2 == 1 {
		return store.Delete(ctx, key)
	}
	return nil
}

// testMemory holds streams open in the middle of a large object and looks at
// what they keep.
func (s *suite) testMemory(t *testing.T) {
	const (
		streams = 4
		size    = 16 << 20
		// What a stream may hold, beyond what is stored.
		limit = 1 << 20
	)
	store := s.open(t)
	piece := content(1, 256<<10)
	o := object(t.Context(), t, store, "memory/warm", piece)
	expect(t.Context(), t, store, o, piece)

	before := heap()
	var writers []blobstore.Writer
	for i := range streams {
		w := create(t.Context(), t, store, fmt.Sprintf("memory/%d", i))
		for w.Offset() < size {
			put(t, w, piece, len(piece))
		}
		put(t, w, piece[:Segment/2], Segment)
		writers = append(writers, w)
	}
	allowed := streams * (limit + s.buffered)
	if s.inMemory {
		allowed += streams * (size + limit + Segment)
	}
	if grown := heap() - before; grown > allowed {
		t.Errorf("%d writers hold %d bytes, allowed are %d", streams, grown, allowed)
	}

	var objects []blobstore.Object
	for i, w := range writers {
		objects = append(objects, commit(t.Context(), t, w, fmt.Sprintf("memory/%d", i)))
	}
	before = heap()
	var readers []io.ReadCloser
	for _, o := range objects {
		r, err := store.Open(t.Context(), o, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, r, size/2+1); err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if grown := heap() - before; grown > streams*limit {
		t.Errorf("%d readers hold %d bytes, allowed are %d", streams, grown, streams*limit)
	}
	for _, r := range readers {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// heap is the number of bytes in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // the first one leaves what pools hold
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
