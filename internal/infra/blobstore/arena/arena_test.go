package arena_test

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore/arena"
)

func TestBound(t *testing.T) {
	a := arena.New(10_000, 3)
	var lent [][]byte
	for range 3 {
		piece := a.Get()
		if len(piece) != 10_000 {
			t.Fatalf("%d bytes", len(piece))
		}
		lent = append(lent, piece)
	}
	if a.Get() != nil {
		t.Error("more than there is was lent")
	}
	a.Put(lent[1])
	if again := a.Get(); &again[0] != &lent[1][0] {
		t.Error("a piece was made although one is free")
	}
	if a.Get() != nil {
		t.Error("more than there is was lent")
	}
}

// A piece is one holder's until it comes back.
func TestBesideEachOther(t *testing.T) {
	a := arena.New(64<<10, 4)
	var lent atomic.Int64
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			mine := bytes.Repeat([]byte{byte(g)}, 64<<10)
			for range 300 {
				piece := a.Get()
				if piece == nil {
					continue
				}
				lent.Add(1)
				copy(piece, mine)
				if !bytes.Equal(piece, mine) {
					t.Error("somebody else has written to the piece")
				}
				a.Put(piece)
			}
		})
	}
	all.Wait()
	if lent.Load() == 0 {
		t.Error("nothing was lent")
	}
}
