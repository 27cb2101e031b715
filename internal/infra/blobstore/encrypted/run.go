package encrypted

const (
	// longSegments is how many segments a long run has. Shorter ones cost more
	// calls, longer ones leave the processor's cache before they are sent.
	longSegments = 4
	// longRuns is how many long runs may be in use at once, 5 MiB of memory.
	// Beyond it readers open one segment at a time, so that a thousand of them
	// take 64 MiB.
	longRuns = 16
	// longSize is how much memory a long run has.
	longSize = segmentSize + longSegments*sealedSegment + overhead
)

// run is memory for sealed segments and what they hold. In a long one the sealed
// bytes stand behind a gap of a segment's size: each segment is opened into the
// place before it, which is free by then, and the plaintext lies in one piece. In
// a short one the only segment is opened where it stands.
type run struct {
	bytes []byte
	gap   int // 0: a short run
}

// shortSize is how much memory a short run has.
const shortSize = sealedSegment + overhead

// room is where the next sealed bytes go, of so many that are left: whole segments,
// and a last, empty one together with the one before it.
func (r *run) room(left int64) []byte {
	place := r.bytes[r.gap:]
	if left > int64(len(place)) {
		return place[:len(place)-overhead]
	}
	return place[:left]
}

// place is where a segment is opened to, behind so many bytes of others. Its
// capacity ends before what is still sealed, or is all of the segment's own.
func (r *run) place(at int) []byte {
	if r.gap == 0 {
		return r.bytes[:0:sealedSegment]
	}
	return r.bytes[at : at : at+segmentSize]
}

// borrow lends memory for a part with so many sealed bytes.
func (b *buffers) borrow(left int64) run {
	r := run{bytes: b.toRead.Get(left)}
	if len(r.bytes) == longSize {
		r.gap = segmentSize
	}
	return r
}

// giveBack ends the use of what borrow lent, if that is something.
func (b *buffers) giveBack(r run) { b.toRead.Put(r.bytes) }
