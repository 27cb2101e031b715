package selection

import (
	"slices"
	"strings"
)

// matcher compares the tags of an image with all entries of all rules at once.
// Each distinct entry has a number and is compared once. The entries are found by
// their heads, the text before the first wildcard, with one look-up for each
// length that a head has: that costs the same for ten entries and for thousands.
type matcher struct {
	numbers map[entry]int32
	heads   map[string][]numbered
	lengths []int    // of heads, ascending
	matched []uint64 // a bit for each entry that a tag of the present image matches
}

type entry struct {
	text    string
	pattern bool // or else a prefix
}

type kind int

const (
	prefix   kind = iota // the head, and anything after it
	exact                // the head itself
	wildcard             // the head, and what the rest of the pattern says
)

type numbered struct {
	number int32
	kind   kind
	parts  []string // of a wildcard: what stands between its stars,
	tail   string   // and after the last
}

// fits says whether what a tag has after the head is as a wildcard asks.
func (n *numbered) fits(rest string) bool {
	rest, ok := strings.CutSuffix(rest, n.tail)
	if !ok {
		return false
	}
	// The first place that fits a part leaves most to those after it.
	for _, part := range n.parts {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return true
}

func newMatcher() *matcher {
	return &matcher{numbers: map[entry]int32{}, heads: map[string][]numbered{}}
}

// add takes the entries of a rule in, and returns their numbers.
func (m *matcher) add(prefixes, patterns []string) []int32 {
	needs := make([]int32, 0, len(prefixes)+len(patterns))
	for _, text := range prefixes {
		needs = append(needs, m.number(entry{text: text}, text, numbered{kind: prefix}))
	}
	for _, text := range patterns {
		head, rest, wild := strings.Cut(text, "*")
		n := numbered{kind: wildcard}
		switch {
		case !wild:
			n.kind = exact
		case strings.Trim(rest, "*") == "":
			n.kind = prefix
		default:
			n.parts = strings.Split(rest, "*")
			n.tail = n.parts[len(n.parts)-1]
			n.parts = n.parts[:len(n.parts)-1]
		}
		needs = append(needs, m.number(entry{text: text, pattern: true}, head, n))
	}
	return needs
}

func (m *matcher) number(e entry, head string, n numbered) int32 {
	number, ok := m.numbers[e]
	if !ok {
		number = int32(len(m.numbers))
		m.numbers[e] = number
		n.number = number
		m.heads[head] = append(m.heads[head], n)
	}
	return number
}

// ready has to be called when all entries are in.
func (m *matcher) ready() {
	for head := range m.heads {
		m.lengths = append(m.lengths, len(head))
	}
	slices.Sort(m.lengths)
	m.lengths = slices.Compact(m.lengths)
	m.matched = make([]uint64, (len(m.numbers)+63)/64)
}

// match looks at the tags of an image; all tells about them until the next call.
func (m *matcher) match(tags []string) {
	clear(m.matched)
	for _, tag := range tags {
		for _, length := range m.lengths {
			if length > len(tag) {
				break
			}
			found := m.heads[tag[:length]]
			for i := range found {
				n := &found[i]
				if n.kind == prefix || (n.kind == exact && length == len(tag)) || (n.kind == wildcard && n.fits(tag[length:])) {
					m.matched[n.number/64] |= 1 << (n.number % 64)
				}
			}
		}
	}
}

// all says whether the image has tags for all the entries.
func (m *matcher) all(needs []int32) bool {
	for _, n := range needs {
		if m.matched[n/64]&(1<<(n%64)) == 0 {
			return false
		}
	}
	return true
}
