package arena

import (
	"bytes"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestBound(t *testing.T) {
	a := New(10_000, 3)
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
	a := New(64<<10, 4)
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

// What nobody wants any more gives its memory back, and what is wanted keeps what it holds.
func TestTrim(t *testing.T) {
	a := New(64<<10, 3)
	a.after = time.Hour // the looks are the test's
	fill := func(pieces ...[]byte) {
		for _, p := range pieces {
			for i := range p {
				p[i] = 7
			}
		}
	}
	one, two, three := a.Get(), a.Get(), a.Get()
	fill(one, two, three)
	a.Put(one)
	a.Put(two)
	a.look() // both were lent since the look before
	if a.trimmed != 0 || !a.looking {
		t.Errorf("%d are trimmed, looking: %t", a.trimmed, a.looking)
	}
	if again := a.Get(); &again[0] != &two[0] || again[5] != 7 {
		t.Error("not the one that was used last, as it was")
	}
	a.look()
	if a.trimmed != 1 || three[5] != 7 || two[5] != 7 {
		t.Errorf("%d are trimmed", a.trimmed)
	}
	a.Put(two)
	a.Put(three)
	a.look()
	a.look()
	if a.trimmed != 3 || a.looking {
		t.Errorf("%d are trimmed, looking: %t", a.trimmed, a.looking)
	}
	if a.Get() == nil || a.trimmed != 2 || a.Lent() != 1 {
		t.Errorf("%d are trimmed and %d lent", a.trimmed, a.Lent())
	}
}

// A look comes by itself.
func TestLooks(t *testing.T) {
	a := New(64<<10, 1)
	a.after = time.Millisecond
	a.Put(a.Get())
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		trimmed, looking := a.trimmed, a.looking
		a.mu.Unlock()
		if trimmed == 1 && !looking {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are trimmed, looking: %t", trimmed, looking)
		}
	}
}
