// Package tally counts what scans a node has done, for its metrics.
package tally

import (
	"maps"
	"sync"

	"github.com/berth-registry/berth/internal/domain/scan/rules"
)

// Ended names scans by their type and by how they ended: "complete", "unsupported" (an
// image whose software cannot be told), "content" (its bytes are not what they should
// be), "scanner" (the process that read it ended), "database" (there is none) or "internal".
type Ended struct {
	Type rules.ScanType
	How  string
}

// Stats are what a node has done since it started.
type Stats struct {
	Ended map[Ended]int64
	// Matched counts inventories that were matched anew with another database.
	Matched int64
	// Layers counts those that were read, Bytes their compressed sizes.
	Layers, Bytes int64
}

// Counts are Stats as they grow. The zero value is ready.
type Counts struct {
	mu    sync.Mutex
	stats Stats
}

// End counts a scan that has ended.
func (c *Counts) End(kind rules.ScanType, how string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stats.Ended == nil {
		c.stats.Ended = map[Ended]int64{}
	}
	c.stats.Ended[Ended{kind, how}]++
}

// Match counts an inventory that is matched anew.
func (c *Counts) Match() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Matched++
}

// Layer counts a layer that was read.
func (c *Counts) Layer(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Layers++
	c.stats.Bytes += bytes
}

// Stats is what has come together.
func (c *Counts) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.stats
	out.Ended = maps.Clone(out.Ended)
	return out
}
