package selection

import (
	"slices"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/name"
)

// family knows which images of a repository hang on others: referrers on their
// subject, and with multiArch the untagged children of indexes on these.
type family struct {
	images   []Image
	byDigest map[name.Digest]int32 // nil if nothing hangs on anything
	referrer []bool                // nil if there is none
	members  []member              // nil without multiArch, and if there is no index
}

// member is what hangs on indexes. An index that lists the image twice counts
// twice, and an image never counts as an index of itself.
type member struct {
	is bool // an untagged child, and no referrer
	// live and archived are how many indexes list it, in either class, when the
	// actions so far have been carried out.
	live, archived int32
	follows        bool  // an action on it is in the plan
	moved          int32 // the place in the plan of the last action that archives an index of it, counted from 1
}

func newFamily(images []Image, multiArch bool) *family {
	f := &family{images: images}
	hangs := func(i *Image) bool { return i.Subject != "" || (multiArch && len(i.Children) > 0) }
	first := -1
	for i := range images {
		if hangs(&images[i]) {
			first = i
			break
		}
	}
	if first < 0 {
		return f
	}
	f.byDigest = digests(images)
	for i := first; i < len(images); i++ {
		if images[i].Subject == "" {
			continue
		}
		if _, ok := f.byDigest[images[i].Subject]; ok {
			if f.referrer == nil {
				f.referrer = make([]bool, len(images))
			}
			f.referrer[i] = true
		}
	}
	if !multiArch {
		return f
	}
	for i := first; i < len(images); i++ {
		if len(images[i].Children) == 0 {
			continue
		}
		if f.members == nil {
			f.members = make([]member, len(images))
		}
		for _, c := range f.children(i) {
			f.members[c].is = true
			if images[i].Status == Archived {
				f.members[c].archived++
			} else {
				f.members[c].live++
			}
		}
	}
	return f
}

// digests says where each image is.
func digests(images []Image) map[name.Digest]int32 {
	at := make(map[name.Digest]int32, len(images))
	for i := range images {
		at[images[i].Digest] = int32(i)
	}
	return at
}

// outside says whether rules leave the image out.
func (f *family) outside(i int) bool {
	return (f.referrer != nil && f.referrer[i]) || (f.members != nil && f.members[i].is)
}

// children lists the members of an index, in its order and as often as it does.
func (f *family) children(index int) []int32 {
	var list []int32
	for _, d := range f.images[index].Children {
		c, ok := f.byDigest[d]
		if !ok || int(c) == index || len(f.images[c].Tags) > 0 || (f.referrer != nil && f.referrer[c]) {
			continue
		}
		list = append(list, c)
	}
	return list
}

// append adds an action to the plan, and after it what follows from it: the
// children that are free to go when the action has been carried out.
func (f *family) append(plan []Action, a Action) []Action {
	plan = append(plan, a)
	if f.members == nil || len(f.images[a.Image].Children) == 0 || (a.Type != rules.Expire && a.Type != rules.Transition) {
		return plan
	}
	at := int32(len(plan))
	children := f.children(a.Image)
	for _, c := range children {
		m := &f.members[c]
		if f.images[a.Image].Status == Archived {
			m.archived--
		} else {
			m.live--
		}
		if a.Type == rules.Transition {
			m.archived++
			m.moved = at
		}
	}
	for _, c := range children {
		m := &f.members[c]
		follow := a
		switch {
		case m.follows || m.live > 0 || f.images[c].Status == Activating:
			continue
		case m.archived == 0: // all are gone
		case m.moved > 0 && f.images[c].Status == Active:
			follow = plan[m.moved-1]
		default:
			continue
		}
		m.follows = true
		follow.Image = int(c)
		plan = f.append(plan, follow)
	}
	return plan
}

// Blocked says which of the actions will be refused, if they are carried out in
// order, and because of which indexes, by the action's place in the list. An
// image does not expire while an index lists it, and is not archived before each
// index that lists it is. A refused index keeps its children. Removing tags is
// never refused.
func Blocked(images []Image, actions []Action) map[int][]name.Digest {
	listing := indexes(images, actions)
	if len(listing) == 0 {
		return nil
	}
	gone := make([]bool, len(images))
	archived := make([]bool, len(images))
	for i := range images {
		archived[i] = images[i].Status == Archived
	}
	blocked := map[int][]name.Digest{}
	for n, a := range actions {
		if a.Type != rules.Expire && a.Type != rules.Transition {
			continue
		}
		var by []name.Digest
		for _, index := range listing[a.Image] {
			if !gone[index] && (a.Type == rules.Expire || !archived[index]) {
				by = append(by, images[index].Digest)
			}
		}
		switch {
		case by != nil:
			slices.Sort(by)
			blocked[n] = slices.Compact(by)
		case a.Type == rules.Expire:
			gone[a.Image] = true
		default:
			archived[a.Image] = true
		}
	}
	return blocked
}

// indexes lists for the images that are acted on the indexes that list them.
func indexes(images []Image, actions []Action) map[int][]int32 {
	if !slices.ContainsFunc(images, func(i Image) bool { return len(i.Children) > 0 }) {
		return nil
	}
	acted := make(map[name.Digest]int, len(actions))
	for _, a := range actions {
		acted[images[a.Image].Digest] = a.Image
	}
	listing := map[int][]int32{}
	for i := range images {
		for _, d := range images[i].Children {
			if c, ok := acted[d]; ok && c != i {
				listing[c] = append(listing[c], int32(i))
			}
		}
	}
	return listing
}
