// Package selection owns what a lifecycle policy does to the images of a
// repository: which of them each rule selects and marks, what is done to which
// image in which order, and which of that will be refused because an index refers
// to the image. Everything here is a pure function of its arguments.
//
// It does not own the language of policies (domain/lifecycle/rules), where images
// and policies are stored, when policies run, nor the deletion of an image, which
// looks once more whether it is referred to.
package selection

import (
	"cmp"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Status says where an image is in its life between the storage classes.
type Status int

// The statuses.
const (
	// Active images are in the standard class.
	Active Status = iota
	// Archived images are in the archive class.
	Archived
	// Activating images are on their way back from it; no rule looks at them.
	Activating
)

// Image is what a policy can know of an image.
type Image struct {
	// Digest is unique among the images.
	Digest name.Digest
	Tags   []string
	// Times of the image's life, zero for what never happened. An image was
	// always pushed.
	PushedAt, LastPulledAt, LastArchivedAt, LastActivatedAt time.Time
	Status                                                  Status
	// Children are the manifests that an index lists, whether or not the
	// repository has them.
	Children []name.Digest
	// Subject is the manifest that a referrer is about, "" for other images.
	Subject name.Digest
	// Order says which of two images with the same time is the older one: the one
	// with the lower number, and if that is the same as well, with the lower
	// digest.
	Order int64
}

// age is the time from which the image's age counts: that of its last
// restoration, or else of its push.
func (i *Image) age() time.Time {
	if !i.LastActivatedAt.IsZero() {
		return i.LastActivatedAt
	}
	return i.PushedAt
}

// used is the time of the last pull. A restoration counts as a pull, and so does
// the push of an image that was never pulled.
func (i *Image) used() time.Time {
	switch {
	case i.LastPulledAt.IsZero():
		return i.age()
	case i.LastActivatedAt.After(i.LastPulledAt):
		return i.LastActivatedAt
	}
	return i.LastPulledAt
}

// Options change what a policy does.
type Options struct {
	// MultiArch treats an index and its untagged children as one image. The
	// children are left out of selection and counting and share the fate of the
	// index: they expire with the last index that lists them, and are
	// archived with it.
	MultiArch bool
}

// Action is what a rule does to one image.
type Action struct {
	Image  int   // index in the images given
	Rule   int64 // priority of the rule
	Type   rules.ActionType
	Target rules.StorageClass // of a transition
	Tags   []string           // of an untag, the tags to remove
}

// Evaluate lists what a policy, as rules.Parse returns it, does to the images of
// a repository, in the order of execution: oldest first. No image is in the list
// twice. The result does not depend on the order of the images.
//
// All rules look at the images as they are. A rule's selection is the images of
// its storage class that have the tags it asks for; out of these its count marks
// some. An image belongs to the first rule whose selection it is in, and only
// that rule can act on it, if it marks it. For counting it is in the selection of
// later rules all the same, as are images that a rule retains. Rules that retain
// own no image: they protect what they do not mark from all others.
//
// Referrers whose subject is among the images go with their subject and not by
// rules.
func Evaluate(p *rules.Policy, images []Image, now time.Time, o Options) []Action {
	f := newFamily(images, o.MultiArch)
	order := chronological(images, f)
	e := newEvaluation(p, now)

	// The newest image is looked at first, so that a rule that counts has counted
	// all newer ones when it meets an image.
	marked := make([]mark, 0, len(order)/8)
	for _, i := range slices.Backward(order) {
		if r := e.decide(&images[i.image]); r >= 0 {
			marked = append(marked, mark{image: i.image, rule: int32(r)})
		}
	}
	plan := make([]Action, 0, len(marked))
	for _, m := range slices.Backward(marked) {
		r := &p.Rules[m.rule]
		a := Action{Image: int(m.image), Rule: r.Priority, Type: r.Action.Type, Target: r.Action.Target}
		if a.Type == rules.Untag {
			if a.Tags = r.Named(images[a.Image].Tags); len(a.Tags) == 0 {
				continue
			}
		}
		plan = f.append(plan, a)
	}
	return plan
}

type mark struct{ image, rule int32 }

// place is an image's place in time.
type place struct {
	second     int64
	nanosecond int32
	image      int32
}

// chronological lists the images that rules look at, oldest first.
func chronological(images []Image, f *family) []place {
	order := make([]place, 0, len(images))
	for i := range images {
		if images[i].Status == Activating || f.outside(i) {
			continue
		}
		t := images[i].age()
		order = append(order, place{second: t.Unix(), nanosecond: int32(t.Nanosecond()), image: int32(i)})
	}
	slices.SortFunc(order, func(a, b place) int {
		if c := cmp.Or(cmp.Compare(a.second, b.second), cmp.Compare(a.nanosecond, b.nanosecond)); c != 0 {
			return c
		}
		x, y := &images[a.image], &images[b.image]
		return cmp.Or(cmp.Compare(x.Order, y.Order), cmp.Compare(x.Digest, y.Digest))
	})
	return order
}

// evaluation applies the rules to one image after the other, newest first.
type evaluation struct {
	rules []rule
	tags  *matcher
}

// rule is a rule made ready, with what it has counted so far.
type rule struct {
	storage   rules.StorageClass
	tagStatus rules.TagStatus
	needs     []int32 // the entries of its list, as the matcher numbers them
	count     rules.CountType
	number    int64
	before    time.Time // a time before it is more days ago than number
	retain    bool
	seen      int64 // images of the selection
}

func newEvaluation(p *rules.Policy, now time.Time) *evaluation {
	e := &evaluation{rules: make([]rule, len(p.Rules)), tags: newMatcher()}
	for i := range p.Rules {
		r := &p.Rules[i]
		s := &r.Selection
		e.rules[i] = rule{
			storage: s.StorageClass, tagStatus: s.TagStatus, count: s.CountType, number: s.CountNumber,
			before: time.Unix(now.Unix()-s.CountNumber*24*60*60, int64(now.Nanosecond())),
			needs:  e.tags.add(s.Prefixes, s.Patterns), retain: r.Action.Type == rules.Retain,
		}
	}
	e.tags.ready()
	return e
}

// decide lets all rules count the image, and returns the index of the one that
// acts on it, or -1.
func (e *evaluation) decide(image *Image) int {
	storage := rules.Standard
	if image.Status == Archived {
		storage = rules.Archive
	}
	e.tags.match(image.Tags)
	owner, acts, retained := -1, false, false
	for i := range e.rules {
		r := &e.rules[i]
		settled := retained || (owner >= 0 && !r.retain)
		if r.storage != storage || (settled && r.count != rules.ImageCountMoreThan) || !r.selects(image, e.tags) {
			continue
		}
		marks := r.marks(image)
		switch {
		case r.retain:
			retained = retained || !marks
		case owner < 0:
			owner, acts = i, marks
		}
	}
	if retained || !acts {
		return -1
	}
	return owner
}

func (r *rule) selects(image *Image, m *matcher) bool {
	switch r.tagStatus {
	case rules.Any:
		return true
	case rules.Untagged:
		return len(image.Tags) == 0
	case rules.Tagged:
		return len(image.Tags) > 0 && m.all(r.needs)
	}
	return false
}

// marks says whether the rule's count marks an image of its selection, which it
// counts. An image of which it is unknown when it was archived is not marked for
// that.
func (r *rule) marks(image *Image) bool {
	switch r.count {
	case rules.ImageCountMoreThan:
		r.seen++
		return r.seen > r.number
	case rules.SinceImagePushed:
		return image.age().Before(r.before)
	case rules.SinceImagePulled:
		return image.used().Before(r.before)
	case rules.SinceImageTransitioned:
		return !image.LastArchivedAt.IsZero() && image.LastArchivedAt.Before(r.before)
	case rules.NoCount:
	}
	return false
}
