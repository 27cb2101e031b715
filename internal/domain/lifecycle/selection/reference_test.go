package selection_test

import (
	"cmp"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
)

// reference evaluates a policy as the rules are told, one rule after the other
// over sets of images, and looks everything up anew each time.
type reference struct {
	images []selection.Image
	multi  bool
	plan   []selection.Action
}

const day = 24 * time.Hour

func (r *reference) at(d name.Digest) int {
	return slices.IndexFunc(r.images, func(i selection.Image) bool { return i.Digest == d })
}

// indexes lists the indexes that list the image.
func (r *reference) indexes(image int) []int {
	var list []int
	for i := range r.images {
		if i != image && slices.Contains(r.images[i].Children, r.images[image].Digest) {
			list = append(list, i)
		}
	}
	return list
}

func (r *reference) referrer(image int) bool {
	return r.images[image].Subject != "" && r.at(r.images[image].Subject) >= 0
}

func (r *reference) member(image int) bool {
	return r.multi && len(r.images[image].Tags) == 0 && !r.referrer(image) && len(r.indexes(image)) > 0
}

func (r *reference) t(image int) time.Time {
	i := r.images[image]
	if i.LastActivatedAt.IsZero() {
		return i.PushedAt
	}
	return i.LastActivatedAt
}

func (r *reference) p(image int) time.Time {
	i := r.images[image]
	switch {
	case i.LastPulledAt.IsZero() && i.LastActivatedAt.IsZero():
		return i.PushedAt
	case i.LastActivatedAt.After(i.LastPulledAt):
		return i.LastActivatedAt
	}
	return i.LastPulledAt
}

func (r *reference) older(a, b int) int {
	return cmp.Or(r.t(a).Compare(r.t(b)), cmp.Compare(r.images[a].Order, r.images[b].Order), cmp.Compare(r.images[a].Digest, r.images[b].Digest))
}

// hit and mark are the sets of a rule.
func (r *reference) hit(rule rules.Rule) []int {
	var hit []int
	for i := range r.images {
		pool := map[selection.Status]rules.StorageClass{selection.Active: rules.Standard, selection.Archived: rules.Archive}[r.images[i].Status]
		if pool == rule.Selection.StorageClass && !r.referrer(i) && !r.member(i) && rule.Matches(r.images[i].Tags) {
			hit = append(hit, i)
		}
	}
	return hit
}

func (r *reference) mark(rule rules.Rule, hit []int, now time.Time) []int {
	n := int(rule.Selection.CountNumber)
	var mark []int
	older := func(than time.Time) bool { return now.Sub(than) > time.Duration(n)*day }
	if rule.Selection.CountType == rules.ImageCountMoreThan {
		newest := slices.SortedFunc(slices.Values(hit), func(a, b int) int { return r.older(b, a) })
		return newest[min(n, len(newest)):]
	}
	for _, i := range hit {
		switch rule.Selection.CountType {
		case rules.SinceImagePushed:
			if older(r.t(i)) {
				mark = append(mark, i)
			}
		case rules.SinceImagePulled:
			if older(r.p(i)) {
				mark = append(mark, i)
			}
		case rules.SinceImageTransitioned:
			if !r.images[i].LastArchivedAt.IsZero() && older(r.images[i].LastArchivedAt) {
				mark = append(mark, i)
			}
		case rules.NoCount, rules.ImageCountMoreThan:
		}
	}
	return mark
}

func referenceEvaluate(p *rules.Policy, images []selection.Image, now time.Time, o selection.Options) []selection.Action {
	r := &reference{images: images, multi: o.MultiArch}
	retained := map[int]bool{}
	for _, rule := range p.Rules {
		if rule.Action.Type == rules.Retain {
			hit := r.hit(rule)
			mark := r.mark(rule, hit, now)
			for _, i := range hit {
				if !slices.Contains(mark, i) {
					retained[i] = true
				}
			}
		}
	}
	claimed := map[int]bool{}
	var plan []selection.Action
	for _, rule := range p.Rules {
		if rule.Action.Type == rules.Retain {
			continue
		}
		hit := r.hit(rule)
		for _, i := range r.mark(rule, hit, now) {
			if claimed[i] || retained[i] {
				continue
			}
			a := selection.Action{Image: i, Rule: rule.Priority, Type: rule.Action.Type, Target: rule.Action.Target}
			if a.Type == rules.Untag {
				for _, tag := range images[i].Tags {
					alone := rule
					alone.Selection.Prefixes, alone.Selection.Patterns = nil, nil
					named := rule.Selection.TagStatus == rules.Any
					for _, prefix := range rule.Selection.Prefixes {
						alone.Selection.Prefixes = []string{prefix}
						named = named || alone.Matches([]string{tag})
					}
					for _, pattern := range rule.Selection.Patterns {
						alone.Selection.Patterns = []string{pattern}
						named = named || alone.Matches([]string{tag})
					}
					if named {
						a.Tags = append(a.Tags, tag)
					}
				}
				if a.Tags == nil {
					continue
				}
			}
			plan = append(plan, a)
		}
		for _, i := range hit {
			claimed[i] = true
		}
	}
	slices.SortFunc(plan, func(a, b selection.Action) int { return r.older(a.Image, b.Image) })
	for _, a := range plan {
		r.execute(a)
	}
	return r.plan
}

func (r *reference) planned(image int) int {
	return slices.IndexFunc(r.plan, func(a selection.Action) bool { return a.Image == image })
}

// execute adds an action and, with the multi-arch option, the children that it
// leaves without an index, or with archived ones only.
func (r *reference) execute(a selection.Action) {
	r.plan = append(r.plan, a)
	if a.Type != rules.Expire && a.Type != rules.Transition {
		return
	}
	for _, d := range r.images[a.Image].Children {
		c := r.at(d)
		if c < 0 || c == a.Image || !r.member(c) || r.planned(c) >= 0 || r.images[c].Status == selection.Activating {
			continue
		}
		live, archived, last := false, false, -1
		for _, index := range r.indexes(c) {
			n := r.planned(index)
			switch {
			case n >= 0 && r.plan[n].Type == rules.Expire:
			case n >= 0 && r.plan[n].Type == rules.Transition:
				archived, last = true, max(last, n)
			case r.images[index].Status == selection.Archived:
				archived = true
			default:
				live = true
			}
		}
		follow := a
		switch {
		case live:
			continue
		case archived && (last < 0 || r.images[c].Status == selection.Archived):
			continue
		case archived:
			follow = r.plan[last]
		}
		follow.Image = c
		r.execute(follow)
	}
}

func referenceBlocked(images []selection.Image, actions []selection.Action) map[int][]name.Digest {
	r := &reference{images: images}
	done := map[int]rules.ActionType{}
	blocked := map[int][]name.Digest{}
	for n, a := range actions {
		if a.Type != rules.Expire && a.Type != rules.Transition {
			continue
		}
		for _, index := range r.indexes(a.Image) {
			gone := done[index] == rules.Expire
			archived := images[index].Status == selection.Archived || done[index] == rules.Transition
			if !gone && (a.Type == rules.Expire || !archived) {
				blocked[n] = append(blocked[n], images[index].Digest)
			}
		}
		slices.Sort(blocked[n])
		if blocked[n] == nil {
			done[a.Image] = a.Type
			delete(blocked, n)
		}
	}
	return blocked
}
