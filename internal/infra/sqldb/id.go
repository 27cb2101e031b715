package sqldb

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

const (
	// idRandomBits of an id are random; the 41 bits above count milliseconds
	// since idEpoch and last until the year 2094.
	idRandomBits = 22
	idEpoch      = 1735689600000 // 2025-01-01 UTC in milliseconds
)

// lastID is the only variable of this package that changes: ids must be unique
// and ascending within the process, whoever makes them.
var lastID atomic.Int64

// NewID returns a positive number that is unique and, on one node, larger than
// all before it: milliseconds in the high bits, random in the low ones. Two
// nodes that each make r ids a second meet once in 4e9/r² seconds on average,
// so an id that many requests make on many nodes needs a retry on IsUnique.
func NewID() int64 {
	for {
		last := lastID.Load()
		id := (time.Now().UnixMilli()-idEpoch)<<idRandomBits | rand.Int64N(1<<idRandomBits)
		if id <= last {
			id = last + 1
		}
		if lastID.CompareAndSwap(last, id) {
			return id
		}
	}
}

// NewIDs returns the first of n ids in a row, a multiple of n, which is a power of two up to
// 4096. They are unique and in order as those of NewID are, of which none will be among them on
// this node; on two nodes whole rows of the same n meet, or none of their ids.
func NewIDs(n int64) int64 {
	for {
		last := lastID.Load()
		first := ((time.Now().UnixMilli()-idEpoch)<<idRandomBits | rand.Int64N(1<<idRandomBits)) &^ (n - 1)
		if first <= last {
			first = (last + n) &^ (n - 1)
		}
		if lastID.CompareAndSwap(last, first+n-1) {
			return first
		}
	}
}

// IDBefore returns a bound above all ids that NewID has made on this node longer than age
// ago, in milliseconds: for who leaves out the newest rows, beside which earlier
// transactions may still commit theirs.
func IDBefore(age time.Duration) int64 { return NewID() - age.Milliseconds()<<idRandomBits }
