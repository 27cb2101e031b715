// Package revcache keeps what was read from the database in memory as long as a
// revision number beside it stands still: an entry is used without a question
// for a while, then the revision is read again, and only a new one has the whole
// read again.
//
// It owns bounds, ages and the race between a read and a change; it does not
// know what it keeps, nor where a revision comes from.
package revcache

import (
	"context"
	"sync"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// Source reads one entry.
type Source[V any] struct {
	// Revision reads the present revision, cheaply.
	Revision func(context.Context) (int64, error)
	// Load reads the value and the revision that it has, in one transaction.
	Load func(context.Context) (V, int64, error)
}

// Cache is a bounded map of values. It is safe for concurrent use.
type Cache[K comparable, V any] struct {
	clk  clock.Clock
	life time.Duration
	most int

	mu      sync.RWMutex
	entries map[K]entry[V]
	// changes counts the calls of Forget: what was read before one of them is
	// not kept after it.
	changes uint64
}

type entry[V any] struct {
	value    V
	revision int64
	until    time.Time
}

// New makes a cache of at most most entries, each used for life before its
// revision is looked at again.
func New[K comparable, V any](clk clock.Clock, life time.Duration, most int) *Cache[K, V] {
	return &Cache[K, V]{clk: clk, life: life, most: most, entries: map[K]entry[V]{}}
}

// Get returns the value of the key, at most life older than the database.
func (c *Cache[K, V]) Get(ctx context.Context, key K, from Source[V]) (V, error) {
	now := c.clk.Now()
	c.mu.RLock()
	e, ok := c.entries[key]
	changes := c.changes
	c.mu.RUnlock()
	if ok && now.Before(e.until) {
		return e.value, nil
	}
	if ok {
		revision, err := from.Revision(ctx)
		if err != nil {
			return e.value, err
		}
		if revision == e.revision {
			e.until = now.Add(c.life)
			c.put(key, e, changes)
			return e.value, nil
		}
	}
	value, revision, err := from.Load(ctx)
	if err != nil {
		return value, err
	}
	c.put(key, entry[V]{value: value, revision: revision, until: now.Add(c.life)}, changes)
	return value, nil
}

// put keeps an entry, unless something was forgotten since it was read.
func (c *Cache[K, V]) put(key K, e entry[V], changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes {
		return
	}
	if _, there := c.entries[key]; !there && len(c.entries) >= c.most {
		for k := range c.entries { // any one: the map's order is random
			delete(c.entries, k)
			break
		}
	}
	c.entries[key] = e
}

// Forget drops the entries whose keys match; nil drops all. Whoever has
// committed a change calls it, and from then on Get returns nothing older.
func (c *Cache[K, V]) Forget(match func(K) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for k := range c.entries {
		if match == nil || match(k) {
			delete(c.entries, k)
		}
	}
}
