package arena

import "testing"

func TestPair(t *testing.T) {
	p := NewPair(10_000, 2, 4_000)
	one, two := p.Get(1<<40), p.Get(4_001)
	if len(one) != 10_000 || len(two) != 10_000 || p.Lent() != 2 {
		t.Fatalf("%d and %d bytes, %d are lent", len(one), len(two), p.Lent())
	}
	var short [][]byte
	for range 3_000 { // more than one slab holds
		short = append(short, p.Get(10_000))
	}
	for i, piece := range short {
		if len(piece) != 4_000 || cap(piece) != 4_000 {
			t.Fatalf("piece %d has %d bytes of %d", i, len(piece), cap(piece))
		}
		piece[0], piece[len(piece)-1] = byte(i), byte(i>>8)
	}
	for i, piece := range short {
		if piece[0] != byte(i) || piece[len(piece)-1] != byte(i>>8) {
			t.Fatalf("piece %d is another one's, too", i)
		}
		p.Put(piece)
	}
	p.Put(one)
	p.Put(nil)
	if got := p.Get(4_000); len(got) != 4_000 || p.Lent() != 1 {
		t.Errorf("%d bytes where few are enough, %d are lent", len(got), p.Lent())
	}
	if got := p.Get(10_000); &got[0] != &one[0] {
		t.Error("the long piece that came back is not lent again")
	}
}
