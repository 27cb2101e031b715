package layer

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A model of the push, mount, delete and collect protocol for one digest in two
// repositories, whose every interleaving is walked. Steps are single statements of
// the transactions, with PostgreSQL's row locks at READ COMMITTED, and single
// operations on a store. What is checked is in (*mstate).broken; the actors, with the
// rules that can be taken away from them to see the check notice, are in
// model_actors_test.go.

const (
	repoA, repoB      = 0, 1 // + repoRow and so on
	repoRow           = 0
	layerRow          = 2
	reviewRow         = 4
	imageRow          = 6
	blobRow           = 8
	holdRow           = 9
	garbageRow        = 10 // + object key
	objectKeys        = 3
	rowsInAll         = garbageRow + objectKeys
	actorsInAll       = 5
	ended        int8 = 127
)

// mstate is a state of the model. A blob's row is its id * 8 + its object key + 1,
// a layer's row the blob's id, a review's row the blob's id * 8 + when it is due
// + 1, a garbage row 1, once claimed 2, and 3 where it is due only after everybody has
// given up who could name the object. Locks on rows that do not exist stand
// for those on their keys.
type mstate struct {
	rows     [rowsInAll]int8
	pending  [actorsInAll][rowsInAll]int8 // what a transaction wrote, -1 for nothing
	alone    [rowsInAll]int8              // actor + 1
	shared   [rowsInAll]uint8             // set of actors
	objects  [objectKeys]int8             // 0 none, 1 unfinished, 2 finished
	uploads  [objectKeys]int8             // 0 none, 1 open, 2 closed
	at       [actorsInAll]int8
	local    [actorsInAll][4]int8
	now      int8
	nextBlob int8
	promised [2]int8          // a layer of the repository was acknowledged, to be kept until then
	image    [2]bool          // an image was
	snapshot int8             // the object key + 1 that a backup copies
	cut      bool             // the power was cut: what lost its upload's row may lie about
	flying   [objectKeys]int8 // the actor + 1 that is about to name the object
}

func blobID(row int8) int8  { return row / 8 }
func blobKey(row int8) int8 { return row%8 - 1 }

// broken says which promise the state breaks.
func (s *mstate) broken() string {
	blob := s.rows[blobRow]
	whole := blob != 0 && s.objects[blobKey(blob)] == 2
	if blob != 0 && !whole {
		return "a blob without its bytes"
	}
	for r := range 2 {
		kept := whole && s.rows[layerRow+r] == blobID(blob)
		switch {
		case s.image[r] && !kept:
			return "an acknowledged image without its layer"
		case s.promised[r] > s.now && !kept:
			return "an acknowledged layer that is gone within its grace period"
		case s.rows[layerRow+r] != 0 && s.rows[imageRow+r] == 0 && s.rows[reviewRow+r] == 0:
			return "a layer that is never reviewed"
		case s.rows[layerRow+r] != 0 && (blob == 0 || s.rows[layerRow+r] != blobID(blob)):
			return "a layer without a blob"
		}
	}
	for k := range objectKeys {
		if s.rows[garbageRow+k] != 0 && blob != 0 && int(blobKey(blob)) == k {
			return "an object that is a blob's and garbage"
		}
	}
	if s.snapshot != 0 && s.objects[s.snapshot-1] != 2 {
		return "an object of a snapshot that is gone while a hold lives"
	}
	return ""
}

// leaks says whether an object is in no row.
func (s *mstate) leaks() bool {
	for k := range objectKeys {
		if blob := s.rows[blobRow]; s.objects[k] != 0 && s.rows[garbageRow+k] == 0 && s.uploads[k] == 0 && (blob == 0 || int(blobKey(blob)) != k) {
			return !s.cut
		}
	}
	return false
}

// step is an actor about to do one thing to a copy of a state.
type step struct {
	*mstate
	me      int
	without []string // rules that are not obeyed
	choice  int
	chosen  bool // the choice was looked at: others are to be tried
	blocked bool
	idle    bool
}

func (s *step) lacks(rule string) bool { return slices.Contains(s.without, rule) }
func (s *step) pc() int8               { return s.at[s.me] }
func (s *step) next(pc int8)           { s.at[s.me] = pc }
func (s *step) end() {
	s.at[s.me], s.local[s.me] = ended, [4]int8{}
	s.land()
}

// land says that the actor names no object any more.
func (s *step) land() {
	for k := range s.flying {
		if int(s.flying[k]) == s.me+1 {
			s.flying[k] = 0
		}
	}
}
func (s *step) loc(i int) int8       { return s.local[s.me][i] }
func (s *step) setLoc(i int, v int8) { s.local[s.me][i] = v }

// wait has the actor do nothing until there is something to do.
func (s *step) wait() { s.blocked, s.idle = true, true }

// read is a plain SELECT: what is committed, and what this transaction wrote.
func (s *step) read(row int) int8 {
	if v := s.pending[s.me][row]; v >= 0 {
		return v
	}
	return s.rows[row]
}

func (s *step) free(row int) bool {
	return (s.alone[row] == 0 || int(s.alone[row]) == s.me+1) && s.shared[row]&^(1<<s.me) == 0
}

// forShare is SELECT FOR SHARE: 0 if there is no such row.
func (s *step) forShare(row int) int8 {
	if s.read(row) == 0 {
		return 0
	}
	if s.alone[row] != 0 && int(s.alone[row]) != s.me+1 {
		s.blocked = true
		return 0
	}
	s.shared[row] |= 1 << s.me
	return s.read(row)
}

// forUpdate is SELECT FOR UPDATE; skip says not to wait, and then the row is 0 if
// another transaction has it.
func (s *step) forUpdate(row int, skip bool) int8 {
	if s.read(row) == 0 {
		return 0
	}
	if !s.free(row) {
		s.blocked = !skip
		return 0
	}
	s.alone[row] = int8(s.me + 1)
	return s.read(row)
}

// write is an UPDATE or DELETE of a row that the condition holds for, and says
// whether there was one.
func (s *step) write(row int, value int8, where func(v int8) bool) bool {
	v := s.forUpdate(row, false)
	if s.blocked || v == 0 || !where(v) {
		return false
	}
	s.pending[s.me][row] = value
	return true
}

func always(int8) bool { return true }

// insert is INSERT ON CONFLICT DO NOTHING; it waits for others' changes of the row.
func (s *step) insert(row int, value int8) bool {
	for other := range actorsInAll {
		if other != s.me && s.pending[other][row] >= 0 {
			s.blocked = true
			return false
		}
	}
	if s.read(row) != 0 {
		return false
	}
	s.alone[row] = int8(s.me + 1)
	s.pending[s.me][row] = value
	return true
}

// upsert is INSERT ON CONFLICT DO UPDATE.
func (s *step) upsert(row int, value int8) {
	if !s.insert(row, value) && !s.blocked {
		s.write(row, value, always)
	}
}

func (s *step) commit() {
	for row, v := range s.pending[s.me] {
		if v >= 0 {
			s.rows[row] = v
		}
	}
	s.rollback()
}

func (s *step) rollback() {
	for row := range rowsInAll {
		s.pending[s.me][row] = -1
		s.shared[row] &^= 1 << s.me
		if int(s.alone[row]) == s.me+1 {
			s.alone[row] = 0
		}
	}
}

// actor does the next thing of a process.
type actor func(s *step)

// scenario is a beginning and who acts.
type scenario struct {
	name   string
	begin  func(s *mstate)
	actors []actor
	// mortal actors can be killed anywhere.
	mortal []int
}

func (c scenario) first() mstate {
	s := mstate{nextBlob: 1}
	s.rows[repoRow+repoA], s.rows[repoRow+repoB] = 1, 1
	for a := range actorsInAll {
		for row := range rowsInAll {
			s.pending[a][row] = -1
		}
		if a >= len(c.actors) {
			s.at[a] = ended
		}
	}
	c.begin(&s)
	return s
}

// walk visits all states, breadth first. It returns how many there are, and the
// first that breaks a promise, with the way there.
func (c scenario) walk(without ...string) (states int, problem, way string) {
	type from struct {
		before int32
		by     int8
		pc     int8
	}
	first := c.first()
	seen := map[mstate]struct{}{first: {}}
	queue := []mstate{first}
	origin := []from{{before: -1}}
	fail := func(i int, text string) (int, string, string) {
		var steps []string
		for ; i > 0; i = int(origin[i].before) {
			steps = append(steps, fmt.Sprintf("%d:%d", origin[i].by, origin[i].pc))
		}
		slices.Reverse(steps)
		return len(queue), text, strings.Join(steps, " ")
	}
	for i := 0; i < len(queue); i++ {
		now := queue[i]
		moved, stuck := false, false
		visit := func(s mstate, by int) (string, bool) {
			moved = true
			if _, ok := seen[s]; ok {
				return "", false
			}
			seen[s] = struct{}{}
			queue = append(queue, s)
			origin = append(origin, from{before: int32(i), by: int8(by), pc: now.at[by]})
			text := s.broken()
			return text, text != ""
		}
		for a, act := range c.actors {
			if now.at[a] == ended {
				continue
			}
			for choice := 0; choice < objectKeys; choice++ {
				after := now
				s := &step{mstate: &after, me: a, without: without, choice: choice}
				act(s)
				if s.blocked {
					stuck = stuck || !s.idle
				} else if text, bad := visit(after, a); bad {
					return fail(len(queue)-1, text)
				}
				if !s.chosen {
					break
				}
			}
		}
		for _, a := range c.mortal {
			if now.at[a] != ended && now.at[a] != 0 {
				after := now
				s := &step{mstate: &after, me: a}
				s.rollback()
				s.end()
				if text, bad := visit(after, a); bad {
					return fail(len(queue)-1, text)
				}
			}
		}
		if moved {
			continue
		}
		if stuck {
			return fail(i, "a deadlock")
		}
		if now.leaks() {
			return fail(i, "an object that no row names in the end")
		}
	}
	return len(queue), "", ""
}

// stored is a beginning with a blob under object key 0 that repositories hold,
// with a review that is due, or with an image.
func stored(withImage bool, repos ...int) func(s *mstate) {
	return func(s *mstate) {
		s.rows[blobRow], s.objects[0], s.nextBlob = 1*8+0+1, 2, 2
		for _, r := range repos {
			s.rows[layerRow+r] = 1
			if withImage {
				s.rows[imageRow+r], s.image[r] = 1, true
			} else {
				s.rows[reviewRow+r] = 1*8 + 0 + 1
			}
		}
	}
}

func scenarios() []scenario {
	nothing := func(*mstate) {}
	return []scenario{
		{name: "push beside a review", begin: stored(false, repoA), actors: []actor{pusher(repoA, 1), collector(repoA), burier, clockwork}, mortal: []int{1, 2}},
		{name: "push into another repository", begin: stored(false, repoA), actors: []actor{pusher(repoB, 1), collector(repoA), burier}},
		{name: "two nodes review", begin: stored(false, repoA, repoB), actors: []actor{collector(repoA), collector(repoB), collector(repoA), pusher(repoB, 1)}},
		{name: "two pushes", begin: nothing, actors: []actor{pusher(repoA, 0), pusher(repoB, 1), burier}},
		{name: "mount beside a deletion", begin: stored(true, repoA), actors: []actor{mounter(repoA, repoB), deleter(repoA), collector(repoA), clockwork, burier}, mortal: []int{2}},
		{name: "deletion beside a push", begin: stored(true, repoA), actors: []actor{pusher(repoA, 1), deleter(repoA), collector(repoA), clockwork}},
		{name: "backup beside a collection", begin: stored(false, repoA), actors: []actor{backup, collector(repoA), burier, burier}, mortal: []int{2}},
		{name: "move beside all", begin: stored(false, repoA), actors: []actor{mover(1), collector(repoA), burier, backup}, mortal: []int{0}},
		{name: "move beside a push", begin: stored(true, repoA), actors: []actor{mover(1), burier, pusher(repoB, 2), deleter(repoA)}},
		{name: "two moves", begin: stored(true, repoA), actors: []actor{mover(1), mover(2), burier, collector(repoA)}, mortal: []int{0}},
		{name: "reconciliation beside a push", begin: nothing, actors: []actor{pusher(repoA, 0), reconciler, powerCut, burier}, mortal: []int{0}},
		{name: "reconciliation beside a move", begin: stored(true, repoA), actors: []actor{mover(1), reconciler, burier, backup}},
		{name: "reconciliation beside a review", begin: stored(false, repoA), actors: []actor{collector(repoA), reconciler, burier, pusher(repoA, 1)}},
	}
}

// Every interleaving keeps what was promised, and none ends in a deadlock.
func TestModel(t *testing.T) {
	for _, c := range scenarios() {
		states, problem, way := c.walk()
		t.Logf("%s: %d states", c.name, states)
		if problem != "" {
			t.Errorf("%s: %s, by %s", c.name, problem, way)
		}
		if states < 30 {
			t.Errorf("%s: only %d states", c.name, states)
		}
	}
}

const (
	lookAgain      = "a review looks again whether its row still stands as it was read"
	imagesLocked   = "a review looks for images under the lock"
	repoHeld       = "a review shares the repository's row"
	blobHeld       = "a review holds the blob's row"
	blobFirst      = "a review locks the blob's row before its own"
	garbageFirst   = "an object is deleted after its garbage row is committed"
	pushInGarbage  = "a push puts its object into the garbage first"
	mountShares    = "a mount shares the blob's row"
	pushShares     = "a push shares the blob's row"
	holdsSeen      = "a claim looks for holds"
	holdsSeenAfter = "a claim looks for holds after it has read the garbage"
	claimedStays   = "a claimed row is not taken back"
	flyingWaits    = "garbage that somebody may be about to name is due after he has given up"
	strayRechecked = "the reconciliation looks for a blob after it has inserted the garbage row"
	releaseQueues  = "whoever deletes an image queues a review"
	moveLooks      = "a move looks whether the blob has changed"
)

// Without any of the rules, something promised is broken, and the model notices.
func TestModelNeedsItsRules(t *testing.T) {
	const (
		early    = "an acknowledged layer that is gone within its grace period"
		image    = "an acknowledged image without its layer"
		bytes    = "a blob without its bytes"
		leak     = "an object that no row names in the end"
		both     = "an object that is a blob's and garbage"
		snapshot = "an object of a snapshot that is gone while a hold lives"
	)
	for _, c := range []struct {
		want  string
		rules []string
	}{
		{early, []string{lookAgain}},
		{image, []string{imagesLocked}},
		{image, []string{repoHeld}},
		{early, []string{blobHeld}},
		{"a deadlock", []string{blobFirst}},
		{bytes, []string{garbageFirst}},
		{both, []string{pushInGarbage}},
		{early, []string{mountShares}},
		{early, []string{pushShares}},
		{snapshot, []string{holdsSeen}},
		{snapshot, []string{holdsSeenAfter}},
		{bytes, []string{flyingWaits}},
		{bytes, []string{flyingWaits, claimedStays}},
		{both, []string{strayRechecked}},
		{"a layer that is never reviewed", []string{releaseQueues}},
		{leak, []string{moveLooks}},
	} {
		found := map[string]string{}
		for _, sc := range scenarios() {
			if _, problem, _ := sc.walk(c.rules...); problem != "" {
				found[problem] = sc.name
			}
		}
		t.Logf("without %q: %v", c.rules, found)
		if found[c.want] == "" {
			t.Errorf("without the rules %q: found %v, want %q", c.rules, found, c.want)
		}
	}
	// Copies do not depend on clocks as long as claimed rows stay; without that, they do.
	for _, sc := range scenarios() {
		if sc.name != "move beside all" {
			continue
		}
		begin := sc.begin
		sc.begin = func(s *mstate) { begin(s); s.cut = true } // such a copy may be left over, for the reconciliation to find
		if _, problem, way := sc.walk(flyingWaits); problem != "" {
			t.Errorf("a copy that took too long: %s, by %s", problem, way)
		}
		if _, problem, _ := sc.walk(flyingWaits, claimedStays); problem != bytes {
			t.Errorf("a copy that took too long and takes a claimed row back: %q", problem)
		}
	}
}
