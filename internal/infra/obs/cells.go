package obs

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Cells keeps what was made for a key, the handles of a metric for one set of its
// labels as a rule, so that a request looks them up without a lock and without
// an allocation. Nothing is ever removed: the keys have to be of a set that the
// program bounds, and never what a client can choose.
type Cells[K comparable, V any] struct {
	make func(K) V
	mu   sync.Mutex // for writing
	all  atomic.Pointer[map[K]V]
}

// NewCells returns cells that make their values with the function given.
func NewCells[K comparable, V any](value func(K) V) *Cells[K, V] { return &Cells[K, V]{make: value} }

// Of returns the value of the key.
func (c *Cells[K, V]) Of(k K) V {
	if all := c.all.Load(); all != nil {
		if v, ok := (*all)[k]; ok {
			return v
		}
	}
	return c.add(k)
}

func (c *Cells[K, V]) add(k K) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[K]V{}
	if all := c.all.Load(); all != nil {
		if v, ok := (*all)[k]; ok {
			return v
		}
		next = maps.Clone(*all)
	}
	v := c.make(k)
	next[k] = v
	c.all.Store(&next)
	return v
}
