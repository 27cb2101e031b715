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

	mu   sync.Mutex
	made int
	free [][]byte
	// spare is how many pieces were free all the time since it was set anew, at turned.
	spare  int
	turned time.Time
}

// trimAfter is how long pieces have to be free before their memory goes back to the system.
const trimAfter = 10 * time.Second

// New makes an arena of at most most pieces of size bytes each.
func New(size, most int) *Arena { return &Arena{size: size, most: most} }

// Get lends a piece, which begins at a page of memory and holds anything; nil when all are
// lent.
func (a *Arena) Get() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.free) - 1; last >= 0 {
		piece := a.free[last]
		a.free[last] = nil
		a.free = a.free[:last]
		a.spare = min(a.spare, last)
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
	now := time.Now()
	if now.Sub(a.turned) < trimAfter {
		return
	}
	if !a.turned.IsZero() {
		for _, unused := range a.free[:a.spare] { // the last ones are lent first
			trim(unused)
		}
	}
	a.spare, a.turned = len(a.free), now
}
