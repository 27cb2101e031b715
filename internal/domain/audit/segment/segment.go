// Package segment is the form in which many audit records are kept as one: those of one
// account, one region and a few seconds, compressed together, since they are alike. It is pure:
// domain/audit/lookup has the table.
//
// A segment has a head and the texts of its records, each compressed with S2 (an extension of
// Snappy). The head, in varints and little-endian numbers of 64 bits, is
//
//	version of the form, 1
//	number of keys, the keys (64 bits each)
//	number of sets; of each the length of a name, the name, the number of keys, their places among the keys
//	number of records; of each the time after that of the record before it, its set, the length of its text,
//	and where its event id belongs in it
//
// A set is what records are found by that are alike: few sets serve a whole segment. Event ids
// are made from the records' ids and stand in no text.
package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
)

const (
	// Block is how many ids belong to a segment: its own and those behind it. It has at most as
	// many records.
	Block = 1 << 10
	// Span is the stretch of time, in microseconds, of which a segment has records: ten seconds,
	// from a multiple of it on.
	Span = 10_000_000
	// Bytes is how long the texts of a segment are together; one that holds a single record may
	// be longer.
	Bytes = 1 << 20
	// longest bounds what is unpacked. It is far above what a record can be.
	longest = 256 << 20

	version = 1
)

// Start is where the stretch of time begins that has the time at, in microseconds.
func Start(at int64) int64 {
	if rest := at % Span; rest < 0 {
		return at - rest - Span
	}
	return at - at%Span
}

// Builder makes segments, one after the other. Its zero value is ready. It is not for use by
// several goroutines.
type Builder struct {
	keys    []int64
	places  map[int64]int
	sets    []byte
	n       int // sets
	records []byte
	texts   []byte
	packed  []byte
	head    []byte

	count                int
	last, oldest, newest int64
}

// Built is a segment.
type Built struct {
	// Records is how many it has; the first and the last of them, by time, are from Oldest and
	// Newest, in microseconds.
	Records        int
	Oldest, Newest int64
	// Keys are those of all its sets, each once.
	Keys    []int64
	Content []byte
}

// Set adds what some records are found by, name being the operation, and returns its number for
// Add. A key is in it once.
func (b *Builder) Set(name string, keys []int64) int {
	b.sets = append(binary.AppendUvarint(b.sets, uint64(len(name))), name...)
	b.sets = binary.AppendUvarint(b.sets, uint64(len(keys)))
	if b.places == nil {
		b.places = map[int64]int{}
	}
	for _, k := range keys {
		place, there := b.places[k]
		if !there {
			place = len(b.keys)
			b.keys, b.places[k] = append(b.keys, k), place
		}
		b.sets = binary.AppendUvarint(b.sets, uint64(place))
	}
	b.n++
	return b.n - 1
}

// Add adds a record: its time in microseconds, its set, and its text, in which the event id
// belongs at split.
func (b *Builder) Add(at int64, set int, text []byte, split int) {
	if b.count == 0 {
		b.oldest, b.newest = at, at
	}
	b.oldest, b.newest = min(b.oldest, at), max(b.newest, at)
	b.records = binary.AppendVarint(b.records, at-b.last)
	b.records = binary.AppendUvarint(b.records, uint64(set))
	b.records = binary.AppendUvarint(b.records, uint64(len(text)))
	b.records = binary.AppendUvarint(b.records, uint64(split))
	b.texts = append(b.texts, text...)
	b.last = at
	b.count++
}

// Fits says whether a text of n bytes can still be added.
func (b *Builder) Fits(n int) bool { return b.count == 0 || b.count < Block && len(b.texts)+n <= Bytes }

// Finish returns the segment, and is ready for the next one.
func (b *Builder) Finish() Built {
	b.head = binary.AppendUvarint(b.head[:0], version)
	b.head = binary.AppendUvarint(b.head, uint64(len(b.keys)))
	for _, k := range b.keys {
		b.head = binary.LittleEndian.AppendUint64(b.head, uint64(k))
	}
	b.head = append(binary.AppendUvarint(b.head, uint64(b.n)), b.sets...)
	b.head = append(binary.AppendUvarint(b.head, uint64(b.count)), b.records...)
	need := max(s2.MaxEncodedLen(len(b.head)), s2.MaxEncodedLen(len(b.texts)))
	b.packed = slices.Grow(b.packed[:0], need)[:need]
	head := s2.Encode(b.packed, b.head)
	content := append(binary.AppendUvarint(nil, uint64(len(head))), head...)
	content = append(content, s2.Encode(b.packed, b.texts)...)
	done := Built{Records: b.count, Oldest: b.oldest, Newest: b.newest, Keys: slices.Clone(b.keys), Content: content}
	kept := *b
	*b = Builder{keys: kept.keys[:0], places: kept.places, sets: kept.sets[:0], records: kept.records[:0], texts: kept.texts[:0], packed: kept.packed, head: kept.head}
	clear(b.places)
	if cap(b.texts) > 2*Bytes { // of a single record that was long
		b.texts, b.packed = nil, nil
	}
	return done
}

// Record is one record of a segment.
type Record struct {
	At   int64 // microseconds
	Name string
	// Found says whether it has one of the keys that Open was given, or there were none.
	Found bool

	from, split, to int
}

// Reader opens segments, one after the other. Its zero value is ready. It is not for use by several
// goroutines.
type Reader struct {
	// Records are those of the segment that is open, in the order in which they were added: the id
	// of each is the segment's and its place here.
	Records []Record

	head, texts []byte
	packed      []byte // the texts; nil once they are unpacked
	size        int
}

var errDamaged = errors.New("it is damaged")

// scanner reads a head. After the first thing that is wrong it reads zeros.
type scanner struct {
	b      []byte
	failed bool
}

func (r *scanner) uvarint() uint64 {
	n, size := binary.Uvarint(r.b)
	if size <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func (r *scanner) varint() int64 {
	n, size := binary.Varint(r.b)
	if size <= 0 {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

// length reads how many of something follow that has at least unit bytes each.
func (r *scanner) length(unit int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/unit) {
		r.failed, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *scanner) bytes(n int) []byte {
	if n > len(r.b) {
		r.failed, r.b = true, nil
		return nil
	}
	all := r.b[:n]
	r.b = r.b[n:]
	return all
}

// below reads a number below n.
func (r *scanner) below(n int) int {
	v := r.uvarint()
	if v >= uint64(max(n, 0)) {
		r.failed = true
		return 0
	}
	return int(v)
}

// unpack is s2.Decode into space, for what others may have written.
func unpack(space, packed []byte) ([]byte, error) {
	n, err := s2.DecodedLen(packed)
	if err != nil {
		return nil, err
	}
	if n > longest {
		return nil, errDamaged
	}
	return s2.Decode(space[:cap(space)], packed)
}

// Open reads the head of a segment and finds the records that have one of the keys, or all if
// there are none.
func (s *Reader) Open(content []byte, keys ...int64) error {
	s.Records, s.size = s.Records[:0], 0
	outer := scanner{b: content}
	packed := outer.bytes(outer.length(1))
	if outer.failed {
		return errDamaged
	}
	s.packed = outer.b
	head, err := unpack(s.head, packed)
	if err != nil {
		return err
	}
	s.head = head
	r := scanner{b: head}
	if v := r.uvarint(); v != version {
		return fmt.Errorf("it has the form %d, which this program does not know: use a newer one", v)
	}
	wanted := make([]bool, r.length(8))
	for i := range wanted {
		k := r.bytes(8)
		wanted[i] = k != nil && slices.Contains(keys, int64(binary.LittleEndian.Uint64(k)))
	}
	type set struct {
		name  string
		found bool
	}
	sets := make([]set, r.length(2))
	for i := range sets {
		one := set{name: string(r.bytes(r.length(1))), found: len(keys) == 0}
		for range r.length(1) {
			if place := r.below(len(wanted)); place < len(wanted) && wanted[place] {
				one.found = true
			}
		}
		sets[i] = one
	}
	var at int64
	for range r.length(4) {
		at += r.varint()
		of := r.below(len(sets))
		n := r.below(longest)
		split := r.below(n + 1)
		if r.failed || s.size+n > longest {
			return errDamaged
		}
		s.Records = append(s.Records, Record{At: at, Name: sets[of].name, Found: sets[of].found, from: s.size, split: s.size + split, to: s.size + n})
		s.size += n
	}
	if r.failed || len(r.b) > 0 {
		return errDamaged
	}
	return nil
}

// Text returns the text of a record of the segment that is open, with what stands before its event
// id and what stands behind it.
func (s *Reader) Text(record int) (front, back string, err error) {
	if s.packed != nil {
		texts, err := unpack(s.texts, s.packed)
		if err == nil && len(texts) != s.size {
			err = errDamaged
		}
		if err != nil {
			return "", "", err
		}
		s.texts, s.packed = texts, nil
	}
	r := s.Records[record]
	return string(s.texts[r.from:r.split]), string(s.texts[r.split:r.to]), nil
}
