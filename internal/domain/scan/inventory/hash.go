package inventory

import (
	"encoding/binary"
	"slices"
)

// The parameters of FNV-1a with 64 bits, as its authors publish them.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// Hash is the 64-bit FNV-1a hash of a clean path that is relative to the root
// ("etc/os-release"); with a slash at its end, of a directory. Layer.Hides holds these. A path that
// is made to have another's hash hides that one, which its author could do by plainer means.
func Hash(path string) uint64 {
	h := uint64(fnvOffset)
	for i := range len(path) {
		h = (h ^ uint64(path[i])) * fnvPrime
	}
	return h
}

// Hashes calls each for every directory above path, outermost first, with the hash
// of the directory's path and a slash; it is one pass over the path.
func Hashes(path string, each func(uint64)) {
	h := uint64(fnvOffset)
	for i := range len(path) {
		h = (h ^ uint64(path[i])) * fnvPrime
		if path[i] == '/' {
			each(h)
		}
	}
}

// PackHides makes Layer.Hides of hashes, which it sorts in place.
func PackHides(hashes []uint64) []byte {
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	out := make([]byte, 0, 8*len(hashes))
	for _, h := range hashes {
		out = binary.BigEndian.AppendUint64(out, h)
	}
	return out
}

// hides says whether h is among the sorted hashes. Hashes are spread evenly, so it
// looks where h would be, and widens from there.
func hides(sorted []byte, h uint64) bool {
	n := len(sorted) / 8
	at := func(i int) uint64 { return binary.BigEndian.Uint64(sorted[8*i:]) }
	low, high := 0, n // h is in [low, high) if it is there
	guess := int(float64(h) / (1 << 64) * float64(n))
	if guess >= n {
		guess = n - 1
	}
	if n == 0 {
		return false
	}
	if at(guess) <= h {
		low = guess
		for step := 1; low+step < n; step *= 2 {
			if at(low+step) > h {
				high = low + step
				break
			}
			low += step
		}
	} else {
		high = guess
		for step := 1; high > 0; step *= 2 {
			next := max(high-step, 0)
			if at(next) <= h {
				low = next
				break
			}
			high = next
		}
	}
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch v := at(mid); {
		case v == h:
			return true
		case v < h:
			low = mid + 1
		default:
			high = mid
		}
	}
	return false
}
