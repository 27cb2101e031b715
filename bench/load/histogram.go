package load

import (
	"math/bits"
	"time"
)

const (
	// subBits is the logarithm of how many buckets divide each power of two: 128, so that
	// a bucket is at most 1/128 as wide as the durations in it.
	subBits = 7
	// maxBits bounds what can be told apart: 2^42 ns, 73 minutes.
	maxBits = 42
	buckets = (maxBits - subBits + 1) << subBits
)

// Histogram counts durations in buckets that are less than 1 % wide; those above 73 minutes
// count as 73 minutes. Its zero value is empty. It has a fixed size, of 36 KiB.
type Histogram struct {
	counts [buckets]int64
	n      int64
}

// bucket is where a duration is counted: durations below 2^subBits ns have one each, and
// every power of two after that has as many again.
func bucket(d time.Duration) int {
	v := uint64(min(max(d, 0), 1<<maxBits-1))
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// middle is the middle of a bucket.
func middle(bucket int) time.Duration {
	if bucket < 2<<subBits {
		return time.Duration(bucket)
	}
	shift := bucket>>subBits - 1
	low := uint64(bucket-shift<<subBits) << shift
	return time.Duration(low + (1<<shift-1)/2)
}

// Add counts one duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
}

// Merge adds what another one has counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
}

// Quantile is the duration below or at which the part q, above 0 and up to 1, of all lies,
// within 1 %; 0 when nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := max(int64(q*float64(h.n)+0.9999999), 1)
	for i, n := range h.counts {
		if rank -= n; n > 0 && rank <= 0 {
			return middle(i)
		}
	}
	return 0
}
