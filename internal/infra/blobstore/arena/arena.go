// Package arena lends large pieces of memory to streams, a bounded number of them. They lie
// outside of the garbage collector's heap: in it each of them would have the heap grow by
// twice its size before it is collected.
package arena

import (
	"math"
	"os"
	"sync"
	"time"
)

// Arena lends pieces of one size. It is safe for concurrent use.
type Arena struct {
	size, most int
	after      time.Duration // trimAfter

	mu   sync.Mutex
	slab []byte // memory that pieces are still to be made of
	made int
	free [][]byte // the last ones are lent first
	// spare of the first ones were free all the time since the last look, and trimmed of
	// them have no memory.
	spare, trimmed int
	looking        bool // a look is due
}

// NoBound is a number of pieces for New.
const NoBound = math.MaxInt

// trimAfter is how long pieces have to be free, at least, before their memory goes back to
// the system; at most it is twice as long.
const trimAfter = 10 * time.Second

// slabSize is how much memory is reserved at once, in bytes. It is taken as pieces of it are
// used.
const slabSize = 4 << 20

// New makes an arena of at most most pieces of size bytes each; NoBound is for those whose
// users are bounded otherwise.
func New(size, most int) *Arena { return &Arena{size: size, most: most, after: trimAfter} }

// Get lends a piece, which begins at a page of memory and holds anything; nil when all are
// lent.
func (a *Arena) Get() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.free) - 1; last >= 0 {
		piece := a.free[last]
		a.free[last] = nil
		a.free = a.free[:last]
		a.spare, a.trimmed = min(a.spare, last), min(a.trimmed, last)
		return piece
	}
	if a.made == a.most {
		return nil
	}
	page := os.Getpagesize()
	each := (a.size + page - 1) / page * page
	if len(a.slab) < each {
		a.slab = allocate(each * min(a.most-a.made, max(slabSize/each, 1)))
	}
	piece := a.slab[:a.size:a.size]
	a.slab = a.slab[each:]
	a.made++
	return piece
}

// Lent is how many pieces are lent.
func (a *Arena) Lent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made - len(a.free)
}

// Put ends the use of a piece, whole as it was lent.
func (a *Arena) Put(piece []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, piece)
	if !a.looking {
		a.looking = true
		time.AfterFunc(a.after, a.look)
	}
}

// look gives back the memory of pieces that nobody has wanted since the look before, and
// looks again as long as there is some.
func (a *Arena) look() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for ; a.trimmed < a.spare; a.trimmed++ {
		trim(a.free[a.trimmed])
	}
	a.spare = len(a.free)
	if a.looking = a.trimmed < a.made; a.looking {
		time.AfterFunc(a.after, a.look)
	}
}
