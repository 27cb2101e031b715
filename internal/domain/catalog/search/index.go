package search

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Index is an index of documents. The zero value is ready, and empty.
type Index struct {
	now  atomic.Pointer[state] // nil: empty
	pool sync.Pool             // of *tally

	mu     sync.Mutex // held by writers
	recent map[int64]Document
}

// state is what a search looks at; it never changes.
type state struct {
	base, delta *segment
	// dead has a bit for each document of base that is gone or is in delta.
	dead  []uint64
	count int
}

func (st *state) segments() []*segment { return []*segment{st.base, st.delta} }

func (x *Index) state() *state {
	if st := x.now.Load(); st != nil {
		return st
	}
	return &state{base: &segment{}, delta: &segment{}}
}

// Replace has the index consist of the builder's documents, and of what Apply would do to
// those with put and remove.
func (x *Index) Replace(b *Builder, put []Document, remove []int64) error {
	base := b.finish()
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.change(&state{base: base, dead: make([]uint64, (base.len()+63)/64)}, map[int64]Document{}, put, remove)
}

// Apply puts documents into the index, in place of what it has under their ids, and takes
// others out. It takes time in proportion to all that was applied since Replace.
func (x *Index) Apply(put []Document, remove []int64) error {
	if len(put) == 0 && len(remove) == 0 {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.state()
	recent := maps.Clone(x.recent)
	if recent == nil {
		recent = map[int64]Document{}
	}
	return x.change(&state{base: old.base, dead: slices.Clone(old.dead)}, recent, put, remove)
}

// change makes a new state of a base and puts it in place. The caller holds mu.
func (x *Index) change(next *state, recent map[int64]Document, put []Document, remove []int64) error {
	hide := func(id int64) {
		if d, ok := next.base.find(id); ok {
			next.dead[d/64] |= 1 << (d % 64)
		}
	}
	for _, d := range put {
		hide(d.ID)
		recent[d.ID] = d
	}
	for _, id := range remove {
		hide(id)
		delete(recent, id)
	}
	b := NewBuilder()
	for _, id := range slices.Sorted(maps.Keys(recent)) {
		if err := b.Add(recent[id]); err != nil {
			return err
		}
	}
	next.delta = b.finish()
	next.count = next.base.len() + next.delta.len() - ones(next.dead)
	x.recent = recent
	x.now.Store(next)
	return nil
}

// AddDownloads adds to the downloads of documents, by id; others are passed over.
func (x *Index) AddDownloads(more map[int64]int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.state()
	for id, n := range more {
		if d, ok := x.recent[id]; ok {
			d.Downloads += n
			x.recent[id] = d
		}
		for _, s := range st.segments() {
			if d, ok := s.find(id); ok {
				s.downloads[d].Add(n)
			}
		}
	}
}

// Stats says how large an index is.
type Stats struct {
	// Documents can be found; Changed were put or taken out since Replace.
	Documents, Changed int
	// Bytes of memory, without those of the documents that were put since Replace.
	Bytes int64
}

// Stats says how large the index is.
func (x *Index) Stats() Stats {
	st := x.state()
	gone := ones(st.dead)
	return Stats{Documents: st.count, Changed: max(gone, st.delta.len()), Bytes: st.base.size() + st.delta.size() + int64(8*len(st.dead))}
}

// Sort is an order of hits.
type Sort int

// The orders.
const (
	// Relevance is the order of the package comment; that of Popular without words.
	Relevance Sort = iota
	// Popular: the most downloads first, then as Updated.
	Popular
	// Updated: the latest first, then by id.
	Updated
	// Name: in the byte order of their names, then by id.
	Name
)

// Query says what is looked for.
type Query struct {
	// Text is what somebody wrote. Without anything but spaces all documents are hits;
	// with something else, but no word, none.
	Text string
	// Account restricts everything, the counts too, to the documents of one account; ""
	// for all.
	Account string
	// Verified, OperatingSystems and Architectures are filters: a hit has one value at
	// least of each list that is not empty. Values that are not known are of no hit.
	Verified                        bool
	OperatingSystems, Architectures []string
	Sort                            Sort
	// Offset hits are passed over, and up to Limit of the following are listed.
	Offset, Limit int
}

// Result is what was found.
type Result struct {
	IDs []int64
	// Total is how many hits there are.
	Total int
	// Verified, OperatingSystems and Architectures, these in the order of the functions of
	// the same names, are how many hits there would be of each value if it were the only
	// one of its filter and the other filters stayed.
	Verified                        int
	OperatingSystems, Architectures []int
}

// filter is a Query's filters as masks of flags.
type filter struct {
	verified         bool
	systems, arches  uint8 // 0: any, or none if no is set
	noSystem, noArch bool
}

func filterOf(q Query) filter {
	f := filter{
		verified: q.Verified,
		systems:  flagsOf(q.OperatingSystems, OperatingSystems(), systemsAt),
		arches:   flagsOf(q.Architectures, Architectures(), archesAt),
	}
	f.noSystem = len(q.OperatingSystems) > 0 && f.systems == 0
	f.noArch = len(q.Architectures) > 0 && f.arches == 0
	return f
}

// pass says which of the three filters let a document through.
func (f filter) pass(flags uint8) (v, s, a bool) {
	return !f.verified || flags&verified != 0,
		!f.noSystem && (f.systems == 0 || flags&f.systems != 0),
		!f.noArch && (f.arches == 0 || flags&f.arches != 0)
}

// candidate is a hit that may be on the page.
type candidate struct {
	first, second int64 // the larger, the earlier
	name          []byte
	id            int64
}

func compare(a, b candidate) int {
	switch {
	case a.first != b.first:
		return cmp.Compare(b.first, a.first)
	case a.second != b.second:
		return cmp.Compare(b.second, a.second)
	}
	if c := slices.Compare(a.name, b.name); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

// page keeps the first most candidates of many, in no order.
type page struct {
	most  int
	all   []candidate
	bound candidate // once full: the last of those that are kept for now
	full  bool
}

func (p *page) add(c candidate) {
	if p.most == 0 || p.full && compare(c, p.bound) > 0 {
		return
	}
	p.all = append(p.all, c)
	if len(p.all) >= max(2*p.most, 256) {
		p.trim()
	}
}

func (p *page) trim() {
	if len(p.all) >= p.most && p.most > 0 {
		first(p.all, p.most-1)
		p.all, p.bound, p.full = p.all[:p.most], p.all[p.most-1], true
	}
}

// from are the candidates that are kept, in their order, without the first offset ones.
func (p *page) from(offset int) []candidate {
	p.trim()
	if offset >= len(p.all) {
		return nil
	}
	first(p.all, offset)
	slices.SortFunc(p.all[offset:], compare)
	return p.all[offset:]
}

// first moves candidates until the one at k is where sorting would have put it, with none
// before it that comes after it (quickselect).
func first(all []candidate, k int) {
	lo, hi := 0, len(all) // what is at k is among these
	for rounds := 0; hi-lo > 16 && rounds < 64; rounds++ {
		pivot := median(all[lo], all[lo+(hi-lo)/2], all[hi-1])
		i, j := lo, hi-1
		for i <= j {
			for compare(all[i], pivot) < 0 {
				i++
			}
			for compare(all[j], pivot) > 0 {
				j--
			}
			if i <= j {
				all[i], all[j] = all[j], all[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k <= j:
			hi = j + 1
		case k >= i:
			lo = i
		default:
			return
		}
	}
	slices.SortFunc(all[lo:hi], compare)
}

func median(a, b, c candidate) candidate {
	if compare(a, b) > 0 {
		a, b = b, a
	}
	if compare(b, c) <= 0 {
		return b
	}
	if compare(a, c) > 0 {
		return a
	}
	return c
}

// Search finds documents.
func (x *Index) Search(q Query) Result {
	st := x.state()
	r := Result{OperatingSystems: make([]int, systemBits), Architectures: make([]int, archBits)}
	looked := queryWords(q.Text)
	if len(looked) == 0 && !blank(q.Text) {
		return r
	}
	tallies := [2]*tally{x.tally(st.base, st.dead, q.Account), x.tally(st.delta, nil, q.Account)}
	defer func() {
		for _, t := range tallies {
			t.s = nil
			x.pool.Put(t)
		}
	}()
	most := count(tallies[:], looked)
	if len(looked) > 0 && most == 0 {
		return r
	}
	f := filterOf(q)
	p := page{most: min(max(q.Offset, 0)+max(q.Limit, 0), st.count)}
	var kinds [allFlags + 1]int // documents by their flags, whatever the filters say
	var pass [allFlags + 1]bool
	for flags := range pass {
		v, s, a := f.pass(uint8(flags)) //nolint:gosec // up to allFlags
		pass[flags] = v && s && a
	}
	for _, t := range tallies {
		for d, flags := range t.s.flags {
			if len(looked) > 0 && t.matched[d] != most || !t.admits(d) {
				continue
			}
			kinds[flags]++
			if pass[flags] {
				p.add(t.candidate(d, q.Sort, looked))
			}
		}
	}
	for flags, n := range kinds {
		r.count(uint8(flags), n, f) //nolint:gosec // up to allFlags
	}
	for _, c := range p.from(max(q.Offset, 0)) {
		r.IDs = append(r.IDs, c.id)
	}
	return r
}

// count counts n documents of the same flags.
func (r *Result) count(flags uint8, n int, f filter) {
	v, s, a := f.pass(flags)
	if v && s && a {
		r.Total += n
	}
	if s && a && flags&verified != 0 {
		r.Verified += n
	}
	for i := range r.OperatingSystems {
		if v && a && flags>>(systemsAt+i)&1 != 0 {
			r.OperatingSystems[i] += n
		}
	}
	for i := range r.Architectures {
		if v && s && flags>>(archesAt+i)&1 != 0 {
			r.Architectures[i] += n
		}
	}
}
