package search

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// Document is what is searched of one repository.
type Document struct {
	ID      int64
	Account string
	// Name is the repository's name, Publisher its publisher's names with spaces between.
	Name, Publisher, Description string
	Verified                     bool
	// OperatingSystems and Architectures are as publishers write them; only what
	// OperatingSystems and Architectures list is kept, whatever its case.
	OperatingSystems, Architectures []string
	Downloads                       int64
	// Updated is compared with that of other documents only; it may have any unit.
	Updated int64
}

// OperatingSystems lists the operating systems that can be searched for.
func OperatingSystems() []string { return []string{"Linux", "Windows"} }

// Architectures lists the architectures that can be searched for.
func Architectures() []string { return []string{"ARM", "ARM 64", "x86", "x86-64"} }

// The bits of a document's flags.
const (
	verified   = 1 << 0
	systemsAt  = 1 // the first operating system's bit
	systemBits = 2
	archesAt   = systemsAt + systemBits
	archBits   = 4
	allFlags   = 1<<(archesAt+archBits) - 1
)

// flagsOf are the bits of those values that are known.
func flagsOf(values, known []string, at int) (flags uint8) {
	for _, v := range values {
		for i, k := range known {
			if strings.EqualFold(v, k) {
				flags |= 1 << (at + i)
			}
		}
	}
	return flags
}

// The fields of a document as bits, in the order of their weight.
const (
	inName = 1 << iota
	inPublisher
	inDescription
	fieldBits = iota
)

// segment is some documents, in the order of their ids, and their words, in byte order.
// Only downloads change.
type segment struct {
	ids, updated []int64
	downloads    []atomic.Int64
	flags        []uint8
	nameWords    []uint8 // how many different words the name has
	account      []uint32
	accounts     []string
	names        []byte
	nameAt       []uint32 // one more than documents, as all of these

	terms     []byte
	termAt    []uint32
	signs     []uint32 // signature by term
	chars     []uint8  // length in characters by term
	postings  []byte   // by term: uvarints of (document - the one before) << fieldBits | fields
	postingAt []uint32
}

func (s *segment) len() int                  { return len(s.ids) }
func (s *segment) name(d int) []byte         { return s.names[s.nameAt[d]:s.nameAt[d+1]] }
func (s *segment) term(t int) []byte         { return s.terms[s.termAt[t]:s.termAt[t+1]] }
func (s *segment) termCount() int            { return len(s.signs) }
func (s *segment) list(t int) []byte         { return s.postings[s.postingAt[t]:s.postingAt[t+1]] }
func (s *segment) find(id int64) (int, bool) { return slices.BinarySearch(s.ids, id) }

// from is the first term that is not before the word.
func (s *segment) from(word []byte) int {
	return sort.Search(s.termCount(), func(t int) bool { return bytes.Compare(s.term(t), word) >= 0 })
}

// size is how many bytes of memory it takes.
func (s *segment) size() int64 {
	n := 8*(cap(s.ids)+cap(s.updated)+len(s.downloads)) + cap(s.flags) + cap(s.nameWords) + 4*cap(s.account) + cap(s.names) + 4*cap(s.nameAt) +
		cap(s.terms) + 4*cap(s.termAt) + 4*cap(s.signs) + cap(s.chars) + cap(s.postings) + 4*cap(s.postingAt)
	for _, a := range s.accounts {
		n += 16 + len(a)
	}
	return int64(n)
}

// Builder makes the documents of an index, see Index.Replace. It is used once.
type Builder struct {
	s         segment
	downloads []int64
	accounts  map[string]uint32
	index     map[string]uint32 // the words seen, by their first appearance
	words     []string
	// found has an entry for every word of every document: the word's number, the
	// document's, and the fields.
	found []uint64
	own   map[uint32]uint8 // of the document at hand: fields by word
}

// NewBuilder returns a builder.
func NewBuilder() *Builder {
	return &Builder{accounts: map[string]uint32{}, index: map[string]uint32{}, own: map[uint32]uint8{}, s: segment{nameAt: []uint32{0}}}
}

const (
	wordShift    = 32
	maxDocuments = 1<<(wordShift-fieldBits) - 1
)

// Add adds a document. They come in the order of their ids, each id once.
func (b *Builder) Add(d Document) error {
	s := &b.s
	n := s.len()
	if n > 0 && s.ids[n-1] >= d.ID {
		return errors.New("search: documents have to come in the order of their ids")
	}
	if n >= maxDocuments {
		return errors.New("search: too many documents")
	}
	account, ok := b.accounts[d.Account]
	if !ok {
		account = uint32(len(s.accounts)) //nolint:gosec // there are not more accounts than documents
		own := strings.Clone(d.Account)
		b.accounts[own] = account
		s.accounts = append(s.accounts, own)
	}
	flags := flagsOf(d.OperatingSystems, OperatingSystems(), systemsAt) | flagsOf(d.Architectures, Architectures(), archesAt)
	if d.Verified {
		flags |= verified
	}
	clear(b.own)
	b.add(d.Name, inName)
	nameWords := min(len(b.own), 255)
	b.add(d.Publisher, inPublisher)
	b.add(d.Description, inDescription)
	for word, fields := range b.own {
		b.found = append(b.found, uint64(word)<<wordShift|uint64(n)<<fieldBits|uint64(fields)) //nolint:gosec // n is not negative
	}
	s.ids = append(s.ids, d.ID)
	s.updated = append(s.updated, d.Updated)
	b.downloads = append(b.downloads, d.Downloads)
	s.flags = append(s.flags, flags)
	s.nameWords = append(s.nameWords, uint8(nameWords)) //nolint:gosec // bounded above
	s.account = append(s.account, account)
	s.names = append(s.names, d.Name...)
	s.nameAt = append(s.nameAt, uint32(len(s.names))) //nolint:gosec // names are short: maxDocuments of them are not reached before memory ends
	return nil
}

// add notes the words of one field.
func (b *Builder) add(text string, field uint8) {
	words(text, func(word string) bool {
		number, ok := b.index[word]
		if !ok {
			number = uint32(len(b.words)) //nolint:gosec // fewer words than 4e9 fit into memory
			own := strings.Clone(word)
			b.index[own] = number
			b.words = append(b.words, own)
		}
		b.own[number] |= field
		return true
	})
}

// finish makes the segment: a counting sort of what was found by word, which keeps the
// order of the documents.
func (b *Builder) finish() *segment {
	s := b.s
	s.downloads = make([]atomic.Int64, len(b.downloads))
	for i, n := range b.downloads {
		s.downloads[i].Store(n)
	}
	order := make([]uint32, len(b.words))
	for i := range order {
		order[i] = uint32(i) //nolint:gosec // see add
	}
	slices.SortFunc(order, func(x, y uint32) int { return strings.Compare(b.words[x], b.words[y]) })
	starts := make([]uint32, len(b.words)+1) // by the number of the word
	for _, f := range b.found {
		starts[f>>wordShift+1]++
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	sorted := make([]uint32, len(b.found))
	for _, f := range b.found {
		at := &starts[f>>wordShift]
		sorted[*at] = uint32(f) //nolint:gosec // the lower half is meant
		*at++                   // which ends where the next word begins
	}
	s.termAt, s.postingAt = make([]uint32, 1, len(order)+1), make([]uint32, 1, len(order)+1)
	s.signs, s.chars = make([]uint32, 0, len(order)), make([]uint8, 0, len(order))
	for _, number := range order {
		word := b.words[number]
		s.terms = append(s.terms, word...)
		s.termAt = append(s.termAt, uint32(len(s.terms))) //nolint:gosec // see add
		s.signs = append(s.signs, signature(word))
		s.chars = append(s.chars, uint8(utf8.RuneCountInString(word))) //nolint:gosec // at most maxWord
		first, last := uint32(0), uint32(0)
		if number > 0 {
			first = starts[number-1]
		}
		for _, p := range sorted[first:starts[number]] {
			doc, fields := p>>fieldBits, p&(1<<fieldBits-1)
			s.postings = binary.AppendUvarint(s.postings, uint64((doc-last)<<fieldBits|fields))
			last = doc
		}
		s.postingAt = append(s.postingAt, uint32(len(s.postings))) //nolint:gosec // see add
	}
	s.ids, s.updated, s.flags, s.nameWords, s.account = slices.Clip(s.ids), slices.Clip(s.updated), slices.Clip(s.flags), slices.Clip(s.nameWords), slices.Clip(s.account)
	s.names, s.nameAt, s.terms, s.postings = bytes.Clone(s.names), slices.Clone(s.nameAt), bytes.Clone(s.terms), bytes.Clone(s.postings)
	s.ids, s.updated, s.flags = slices.Clone(s.ids), slices.Clone(s.updated), slices.Clone(s.flags)
	s.nameWords, s.account = slices.Clone(s.nameWords), slices.Clone(s.account)
	return &s
}

// similar calls yield with each term whose signature and length let it be within a
// distance of the word.
func (s *segment) similar(sign uint32, chars, distance int, yield func(t int)) {
	for t, other := range s.signs {
		if bits.OnesCount32(other^sign) <= 2*distance {
			if n := int(s.chars[t]) - chars; n <= distance && -n <= distance {
				yield(t)
			}
		}
	}
}
