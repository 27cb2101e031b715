package pattern

import (
	"encoding/binary"
	"slices"
)

// Pattern says which events a rule is for. The zero one matches nothing. It is read only
// and safe for concurrent use.
type Pattern struct {
	// alternatives are the pattern with its $or multiplied out; one has to be satisfied.
	alternatives [][]condition
}

// condition is what one path of the event has to satisfy.
type condition struct {
	path     string
	matchers []matcher
	// absent says that it may also not be there.
	absent bool
}

// Match says whether the event is one of the pattern's.
func (p Pattern) Match(e Event) bool {
	return slices.ContainsFunc(p.alternatives, func(all []condition) bool { return matchAll(all, e) })
}

// search looks for values that satisfy all conditions and stand in the same element of
// every array that two of them share.
type search struct {
	conditions []candidates
	// failed are the states, by their keys, from which there is no way on. There are at
	// most as many as conditions times elements: conditions are in the order of their
	// paths, so the arrays that matter at any of them lie within each other.
	failed map[string]bool
}

// candidates are the values that satisfy a condition.
type candidates struct {
	absent  bool
	all     []field // that stand at the path
	matched []field
	// later are the arrays that this and later conditions' values stand in.
	later map[int]bool
}

// matchAll says whether the event satisfies the conditions, which are in the order of
// their paths.
func matchAll(all []condition, e Event) bool {
	s := search{conditions: make([]candidates, len(all)), failed: map[string]bool{}}
	for i, c := range all {
		found := candidates{absent: c.absent, all: e.fields[c.path]}
		for _, f := range found.all {
			if slices.ContainsFunc(c.matchers, func(m matcher) bool { return m(f.value) }) {
				found.matched = append(found.matched, f)
			}
		}
		if len(found.matched) == 0 && !c.absent {
			return false
		}
		s.conditions[i] = found
	}
	later := map[int]bool{}
	for i := len(all) - 1; i >= 0; i-- {
		next := make(map[int]bool, len(later))
		for a := range later {
			next[a] = true
		}
		for _, f := range s.conditions[i].all {
			for _, at := range f.in {
				next[at.array] = true
			}
		}
		s.conditions[i].later, later = next, next
	}
	return s.from(0, nil)
}

// from says whether conditions i and later can be satisfied with the elements chosen.
func (s *search) from(i int, chosen []element) bool {
	if i == len(s.conditions) {
		return true
	}
	c := s.conditions[i]
	chosen = slices.DeleteFunc(slices.Clone(chosen), func(at element) bool { return !c.later[at.array] })
	key := stateKey(i, chosen)
	if s.failed[key] {
		return false
	}
	for _, f := range c.matched {
		if consistent(f.in, chosen) && s.from(i+1, merge(chosen, f.in)) {
			return true
		}
	}
	// What is not in the chosen elements is absent, even if it is in others.
	if c.absent && !slices.ContainsFunc(c.all, func(f field) bool { return consistent(f.in, chosen) }) && s.from(i+1, chosen) {
		return true
	}
	s.failed[key] = true
	return false
}

// consistent says whether no array has two elements in a and b.
func consistent(a, b []element) bool {
	for _, x := range a {
		for _, y := range b {
			if x.array == y.array && x.index != y.index {
				return false
			}
		}
	}
	return true
}

// merge are the elements of both, in order.
func merge(a, b []element) []element {
	out := append(slices.Clone(a), b...)
	slices.SortFunc(out, func(x, y element) int { return x.array - y.array })
	return slices.Compact(out)
}

func stateKey(i int, chosen []element) string {
	key := binary.AppendUvarint(nil, uint64(i))
	for _, at := range chosen {
		key = binary.AppendUvarint(key, uint64(at.array))
		key = binary.AppendUvarint(key, uint64(at.index))
	}
	return string(key)
}
