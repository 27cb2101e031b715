package kept_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/berth-registry/berth/internal/domain/repository/kept"
)

func want(t *testing.T, c *kept.Cache[string], repository int64, key, value string) {
	t.Helper()
	if got, ok, _ := c.Get(repository, key); got != value || ok != (value != "") {
		t.Errorf("%d %s is %q, %t; want %q", repository, key, got, ok, value)
	}
}

func put(c *kept.Cache[string], repository int64, key, value string) {
	_, _, at := c.Get(repository, key)
	c.Put(repository, key, at, value, len(value))
}

func TestChanged(t *testing.T) {
	c := kept.New[string](10_000)
	put(c, 1, "a", "one")
	put(c, 2, "a", "two")
	want(t, c, 1, "a", "one")
	want(t, c, 2, "a", "two")
	want(t, c, 1, "b", "")
	c.Changed(1)
	want(t, c, 1, "a", "")
	want(t, c, 2, "a", "two")
	put(c, 2, "a", "three")
	want(t, c, 2, "a", "three")

	// What was read before a change is not kept after it.
	_, _, at := c.Get(1, "a")
	c.Changed(1)
	c.Put(1, "a", at, "old", 3)
	want(t, c, 1, "a", "")

	put(c, 1, "a", "one")
	put(c, 2, "a", "two")
	_, _, at = c.Get(3, "a")
	c.Clear()
	c.Put(3, "a", at, "old", 3)
	for r := range 4 {
		want(t, c, int64(r), "a", "")
	}

	var none *kept.Cache[string]
	put(none, 1, "a", "one")
	none.Changed(1)
	none.Clear()
	want(t, none, 1, "a", "")
}

// The bound holds whatever comes, and is given back by changes.
func TestBound(t *testing.T) {
	const most = 100_000
	c := kept.New[string](most)
	put(c, 1, "large", string(make([]byte, most/8)))
	want(t, c, 1, "large", "") // it would drive out too much
	count := func() (n int) {
		for i := range 2000 {
			if _, ok, _ := c.Get(int64(i%7), fmt.Sprint("key", i)); ok {
				n++
			}
		}
		return n
	}
	for i := range 2000 {
		put(c, int64(i%7), fmt.Sprint("key", i), string(make([]byte, 1000)))
	}
	if n := count(); n < 70 || n > most/1200 {
		t.Errorf("%d entries of 1,200 bytes and more are in %d", n, most)
	}
	for i := range 7 {
		c.Changed(int64(i))
	}
	if n := count(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	for i := range 70 {
		put(c, 3, fmt.Sprint("key", i), string(make([]byte, 1000)))
	}
	for i := range 70 {
		if _, ok, _ := c.Get(3, fmt.Sprint("key", i)); !ok {
			t.Fatalf("%d is not kept: what was dropped still counts", i)
		}
	}
}

// Nobody reads less than what was acknowledged before.
func TestNothingOld(t *testing.T) {
	c := kept.New[int64](10_000)
	var stored, acknowledged [3]atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 5000 {
				r := rand.IntN(len(stored))
				was := acknowledged[r].Load()
				v, ok, at := c.Get(int64(r), "k")
				if !ok {
					v = stored[r].Load()
					c.Put(int64(r), "k", at, v, 8)
				}
				if v < was {
					t.Errorf("%d was read after %d", v, was)
					return
				}
			}
		})
	}
	for r := range stored {
		all.Go(func() {
			for range 2000 {
				v := stored[r].Add(1)
				c.Changed(int64(r))
				acknowledged[r].Store(v)
			}
		})
	}
	all.Wait()
}
