package search

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"
)

// How a term matches a word of the query.
const (
	exact = iota
	beginning
	oneOff // an edit distance of one
	twoOff
)

// worth is what a match is worth by the fields that it is in: any direct match is worth
// more than any typing error.
func worth(kind int) (w [1 << fieldBits]uint16) {
	points := [...]uint16{exact: 12, beginning: 9, oneOff: 3, twoOff: 2}[kind]
	for fields := range w {
		switch {
		case fields&inName != 0:
			w[fields] = points * 10
		case fields&inPublisher != 0:
			w[fields] = points * 7
		case fields&inDescription != 0:
			w[fields] = points * 4
		}
	}
	return w
}

const (
	// wholeName is what it is worth that a name consists of the words of the query.
	wholeName = 200
	// partOfName is shared by the words of a name; those of the query have their shares.
	partOfName = 32
	// few direct matches have typing errors looked for; a page has that many.
	few = 24
	// The lengths of words, in characters, from which they may have one typing error, and
	// two.
	oneFrom, twoFrom = 4, 8
)

// distanceOf is how many typing errors a word may have.
func distanceOf(word string) int {
	n := utf8.RuneCountInString(word)
	switch {
	case n < oneFrom || hasDigit(word):
		return 0
	case n < twoFrom:
		return 1
	}
	return 2
}

// tally is what a search knows of the documents of one segment.
type tally struct {
	s       *segment
	dead    []uint64
	account int64 // its number in the segment, -1 for any, -2 for one that is not there

	best    []uint16 // by document: what the word at hand is worth, and
	total   []uint16 // what all words so far are worth,
	matched []uint8  // how many of them it has, and
	named   []uint8  // how many exactly in its name
}

func (x *Index) tally(s *segment, dead []uint64, account string) *tally {
	t, _ := x.pool.Get().(*tally)
	if t == nil {
		t = &tally{}
	}
	t.s, t.dead, t.account = s, dead, -1
	if account != "" {
		if t.account = int64(slices.Index(s.accounts, account)); t.account < 0 {
			t.account = -2
		}
	}
	n := s.len()
	t.best, t.total = zeroed(t.best, n), zeroed(t.total, n)
	t.matched, t.named = zeroed(t.matched, n), zeroed(t.named, n)
	return t
}

func zeroed[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}

// admits says whether a document is there, and of the account.
func (t *tally) admits(d int) bool {
	return (t.dead == nil || t.dead[d/64]>>(d%64)&1 == 0) && (t.account == -1 || int64(t.s.account[d]) == t.account)
}

// count looks for the words and returns the largest number of them that a document has.
func count(tallies []*tally, looked []string) (most uint8) {
	for i, word := range looked {
		found := 0
		for _, t := range tallies {
			clear(t.best)
			found += t.direct(word, i == len(looked)-1)
		}
		if distance := distanceOf(word); distance > 0 && found < few {
			for _, t := range tallies {
				t.similar(word, distance)
			}
		}
	}
	for _, t := range tallies {
		for _, m := range t.matched {
			most = max(most, m)
		}
	}
	return most
}

// direct notes the documents that have the word, or a word that begins with it, and
// returns how many there are.
func (t *tally) direct(word string, begins bool) (found int) {
	w := []byte(word)
	kind := exact
	for term := t.s.from(w); term < t.s.termCount(); term++ {
		own := t.s.term(term)
		if len(own) > len(w) {
			kind = beginning
		}
		if kind == beginning && !begins || !bytes.HasPrefix(own, w) {
			break
		}
		found += t.note(term, kind)
	}
	return found
}

// similar notes the documents that have a word within the distance.
func (t *tally) similar(word string, distance int) {
	w := []rune(word)
	buffer := make([]rune, 0, maxWord)
	t.s.similar(signature(word), len(w), distance, func(term int) {
		buffer = buffer[:0]
		for _, r := range string(t.s.term(term)) {
			buffer = append(buffer, r)
		}
		if d, ok := within(w, buffer, distance); ok && d > 0 {
			t.note(term, oneOff+d-1)
		}
	})
}

// note notes the documents of a term, and returns how many the word had not met before.
func (t *tally) note(term, kind int) (fresh int) {
	w := worth(kind)
	d := 0
	for list := t.s.list(term); len(list) > 0; {
		p, n := binary.Uvarint(list)
		list = list[n:]
		d += int(p >> fieldBits) //nolint:gosec // a document's number
		fields := p & (1<<fieldBits - 1)
		if t.best[d] == 0 {
			if !t.admits(d) {
				continue
			}
			fresh++
			t.matched[d]++
		}
		if now := w[fields]; now > t.best[d] {
			t.total[d] += now - t.best[d]
			t.best[d] = now
		}
		if kind == exact && fields&inName != 0 {
			t.named[d]++
		}
	}
	return fresh
}

// candidate is a document with what it is sorted by.
func (t *tally) candidate(d int, by Sort, looked []string) candidate {
	c := candidate{id: t.s.ids[d]}
	downloads := t.s.downloads[d].Load()
	switch {
	case by == Updated:
		c.first = t.s.updated[d]
	case by == Name:
		c.name = t.s.name(d)
	case by == Relevance && len(looked) > 0:
		c.first, c.second = int64(t.score(d, len(looked))), downloads
	default:
		c.first, c.second = downloads, t.s.updated[d]
	}
	return c
}

// score is what all words are worth in a document.
func (t *tally) score(d, looked int) int {
	score := int(t.total[d])
	named, all := int(t.named[d]), int(t.s.nameWords[d])
	if named > 0 && all > 0 {
		score += partOfName * named / all
		if named == all && named == looked {
			score += wholeName
		}
	}
	return score
}

func ones(set []uint64) (n int) {
	for _, w := range set {
		n += bits.OnesCount64(w)
	}
	return n
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }
