package cached

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	// fanOut directories hold the chunks' files.
	fanOut = 256
	block  = 4 << 10
)

// place names a chunk.
type place struct {
	key   string
	index int64
}

// chunk is one that is on disk.
type chunk struct {
	place
	file string
	size int // without its checksum
	cost int64
}

// fetch is a chunk that somebody gets from the inner store now.
type fetch struct {
	place
	done chan struct{}
	// stale: the object was deleted meanwhile; guarded by chunks.mu.
	stale bool
}

// chunks is what stands on disk.
type chunks struct {
	dir string
	max int64
	log *slog.Logger
	// buffers keeps *[ChunkSize]byte between readers.
	buffers sync.Pool

	mu      sync.Mutex
	used    int64
	order   *list.List                         // of *chunk, the last used first
	objects map[string]map[int64]*list.Element // by key and index
	fetches map[place]*fetch
	next    uint64    // number of the next file
	pause   time.Time // nothing is cached before
	hits    int64
	misses  int64
}

func newChunks(dir string, limit int64, log *slog.Logger) *chunks {
	return &chunks{dir: dir, max: limit, log: log, order: list.New(), objects: map[string]map[int64]*list.Element{}, fetches: map[place]*fetch{}}
}

// makeDirs makes the directories that files go into.
func makeDirs(dir string) error {
	for i := range fanOut {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (c *chunks) stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Hits: c.hits, Misses: c.misses, Bytes: c.used}
}

// read fills p, which has the chunk's size, from the disk. A chunk that is damaged
// is dropped.
func (c *chunks) read(at place, p []byte) bool {
	c.mu.Lock()
	element := c.objects[at.key][at.index]
	if element == nil {
		c.mu.Unlock()
		return false
	}
	c.order.MoveToFront(element)
	file := element.Value.(*chunk).file
	c.mu.Unlock()

	err := readFile(file, at, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.hits++
		return true
	}
	if c.objects[at.key][at.index] == element { // else it was displaced, which is no fault
		c.log.Warn("a chunk of the blob cache cannot be used and is fetched anew", "file", file, "error", err)
		c.drop(element)
	}
	return false
}

// begin says that a chunk is going to be fetched. When somebody does so already,
// it returns their fetch, and first is false.
func (c *chunks) begin(at place) (f *fetch, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.fetches[at]; f != nil {
		return f, false
	}
	f = &fetch{place: at, done: make(chan struct{})}
	c.fetches[at] = f
	return f, true
}

// finish ends a fetch. p is what came, nil when it failed.
func (c *chunks) finish(f *fetch, p []byte) {
	if p != nil {
		c.store(f, p)
	}
	c.mu.Lock()
	c.misses++
	delete(c.fetches, f.place)
	c.mu.Unlock()
	close(f.done)
}

// store puts a chunk on disk. It cannot fail: at worst the chunk is not cached.
func (c *chunks) store(f *fetch, p []byte) {
	file, cost, ok := c.reserve(f, len(p))
	if !ok {
		return
	}
	err := writeFile(file, f.place, p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && !f.stale && c.objects[f.key][f.index] == nil {
		if c.objects[f.key] == nil {
			c.objects[f.key] = map[int64]*list.Element{}
		}
		c.objects[f.key][f.index] = c.order.PushFront(&chunk{place: f.place, file: file, size: len(p), cost: cost})
		return
	}
	if err != nil {
		c.pause = time.Now().Add(retryDisk)
		c.log.Warn("the blob cache cannot write; nothing is cached for a while", "for", retryDisk, "error", err)
	}
	c.remove(file, cost)
}

// reserve finds room for n bytes and names a file for them.
func (c *chunks) reserve(f *fetch, n int) (file string, cost int64, ok bool) {
	cost = (int64(n) + sha256.Size + block - 1) / block * block
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stale || cost > c.max || time.Now().Before(c.pause) {
		return "", 0, false
	}
	for c.used+cost > c.max {
		last := c.order.Back()
		if last == nil {
			return "", 0, false // all is being written
		}
		c.drop(last)
	}
	c.used += cost
	c.next++
	return filepath.Join(c.dir, fmt.Sprintf("%02x", c.next%fanOut), strconv.FormatUint(c.next, 16)), cost, true
}

// drop displaces a chunk. c.mu is held.
func (c *chunks) drop(element *list.Element) {
	k := c.order.Remove(element).(*chunk)
	indexes := c.objects[k.key]
	delete(indexes, k.index)
	if len(indexes) == 0 {
		delete(c.objects, k.key)
	}
	c.remove(k.file, k.cost)
}

// remove removes a file. What cannot be removed goes on to count. c.mu is held, so
// that its room is not taken before it is free.
func (c *chunks) remove(file string, cost int64) {
	if err := os.Remove(file); err != nil && !errors.Is(err, iofs.ErrNotExist) {
		c.log.Warn("a file of the blob cache cannot be removed", "file", file, "error", err)
		return
	}
	c.used -= cost
}

// forget drops what there is of an object, and what is on its way.
func (c *chunks) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, element := range c.objects[key] {
		c.drop(element)
	}
	for _, f := range c.fetches {
		if f.key == key {
			f.stale = true
		}
	}
}

// sumOf is the checksum of a chunk in its place.
func sumOf(at place, p []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(at.index)))
	h.Write([]byte(at.key))
	h.Write([]byte{0})
	h.Write(p)
	h.Sum(sum[:0])
	return sum
}

// A file is a chunk's checksum and the chunk.
func writeFile(file string, at place, p []byte) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	sum := sumOf(at, p)
	_, err = f.Write(sum[:])
	if err == nil {
		_, err = f.Write(p)
	}
	return errors.Join(err, f.Close())
}

var errDamaged = errors.New("its bytes do not match their checksum")

func readFile(file string, at place, p []byte) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	var sum [sha256.Size]byte
	_, err = io.ReadFull(f, sum[:])
	if err == nil {
		_, err = io.ReadFull(f, p)
	}
	_ = f.Close() // it was only read
	if err == nil && sumOf(at, p) != sum {
		err = errDamaged
	}
	return err
}
