package arena

// Pair lends long pieces while it has some, and short ones to all others: as many streams
// as come find memory, and a thousand of them do not take a thousand long pieces. It is
// safe for concurrent use.
type Pair struct{ long, short *Arena }

// NewPair makes a pair of most pieces of long bytes each, and any number of short bytes
// each.
func NewPair(long, most, short int) *Pair {
	return &Pair{long: New(long, most), short: New(short, NoBound)}
}

// Get lends a piece for up to n bytes at a time: a short one if that is enough, or if all
// long ones are lent.
func (p *Pair) Get(n int64) []byte {
	if n > int64(p.short.size) {
		if piece := p.long.Get(); piece != nil {
			return piece
		}
	}
	return p.short.Get()
}

// Put ends the use of a piece, whole as it was lent; nil is none.
func (p *Pair) Put(piece []byte) {
	switch len(piece) {
	case p.long.size:
		p.long.Put(piece)
	case p.short.size:
		p.short.Put(piece)
	}
}

// Lent is how many long pieces are lent.
func (p *Pair) Lent() int { return p.long.Lent() }
