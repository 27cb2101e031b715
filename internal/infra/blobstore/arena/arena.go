// Package arena lends large pieces of memory to streams, a bounded number of them. They lie
// outside of the garbage collector's heap: in it each of them would have the heap grow by
// twice its size before it is collected.
package arena

import (
	"sync"
	"time"
)

// Arena lends pieces of one size. It is safe for concurrent use.
type Arena struct {
	size, most int
	after      time.Duration // trimAfter

	mu   sync.Mutex
	made int
	free [][]byte // the last ones are lent first
	// spare of the first ones were free all the time since the last look, and trimmed of
	// them have no memory.
	spare, trimmed int
	looking        bool // a look is due
}

// trimAfter is how long pieces have to be free, at least, before their memory goes back to
// the system; at most it is twice as long.
const trimAfter = 10 * time.Second

// New makes an arena of at most most pieces of size bytes each.
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
	a.made++
	return allocate(a.size)
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
