// Package kept keeps in memory what was read of repositories, of each until something in
// it changes. It is for a process that no other one shares its database with: the process
// sees every change.
//
// It owns bounds and the race between a read and a change. It does not know what it keeps,
// nor what a change is: Changed is called by whoever locks a repository for one
// (domain/repository).
package kept

import "sync"

// Cache is what is kept under keys of repositories, in bytes up to a bound. It is safe for
// concurrent use. The nil Cache keeps nothing.
type Cache[V any] struct {
	most int

	mu           sync.RWMutex
	repositories map[int64]*contents[V]
	size         int
	// changes counts the calls of Changed: what was read before one of them is not kept
	// after it.
	changes uint64
}

type contents[V any] struct {
	size    int
	entries map[string]entry[V]
}

type entry[V any] struct {
	value V
	size  int
}

// overhead is what an entry takes besides its key and its value, in bytes, roughly.
const overhead = 200

// New makes a cache that holds at most most bytes.
func New[V any](most int) *Cache[V] {
	return &Cache[V]{most: most, repositories: map[int64]*contents[V]{}}
}

// Get is what was kept under a key. at is for Put, where nothing was: the moment before it
// is read.
func (c *Cache[V]) Get(repository int64, key string) (value V, ok bool, at uint64) {
	if c == nil {
		return value, false, 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if r := c.repositories[repository]; r != nil {
		if e, ok := r.entries[key]; ok {
			return e.value, true, c.changes
		}
	}
	return value, false, c.changes
}

// Put keeps what was read since at, unless a repository has changed meanwhile. size is
// that of the value, in bytes.
func (c *Cache[V]) Put(repository int64, key string, at uint64, value V, size int) {
	if c == nil {
		return
	}
	size += len(key) + overhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != at || size > c.most/8 {
		return
	}
	c.forget(repository, key)
	for c.size+size > c.most {
		c.makeRoom()
	}
	r := c.repositories[repository]
	if r == nil {
		r = &contents[V]{entries: map[string]entry[V]{}}
		c.repositories[repository] = r
	}
	r.entries[key] = entry[V]{value, size}
	r.size += size
	c.size += size
}

// Changed drops everything of a repository. Whoever has committed a change calls it before
// the change is acknowledged, and from then on Get returns nothing older.
func (c *Cache[V]) Changed(repository int64) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	if r := c.repositories[repository]; r != nil {
		c.size -= r.size
		delete(c.repositories, repository)
	}
}

// Clear drops everything, as Changed does of every repository.
func (c *Cache[V]) Clear() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.repositories, c.size = map[int64]*contents[V]{}, 0
}

// makeRoom drops an entry, any one: maps are in no order.
func (c *Cache[V]) makeRoom() {
	for repository, r := range c.repositories {
		for key := range r.entries {
			c.forget(repository, key)
			return
		}
	}
}

func (c *Cache[V]) forget(repository int64, key string) {
	r := c.repositories[repository]
	if r == nil {
		return
	}
	e := r.entries[key] // of size 0 where there is none
	r.size -= e.size
	c.size -= e.size
	if delete(r.entries, key); len(r.entries) == 0 {
		delete(c.repositories, repository)
	}
}
