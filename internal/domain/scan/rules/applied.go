package rules

import (
	"slices"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Applied is how a configuration treats one repository.
type Applied struct {
	// Frequency is Manual where nothing applies; under Enhanced that means not at all.
	Frequency Frequency
	// OnPush says that a push starts a scan: so it does for OnPush and for Continuous.
	OnPush bool
	// Filters are those of the rule with this frequency that match, in their order;
	// never nil. There are none where the repository's own flag alone says OnPush.
	Filters []Filter
}

// For says how the configuration treats a repository. scanOnPush is the repository's
// own flag, which counts under Basic only. Of two rules that match, the stronger one
// holds: Continuous before OnPush before Manual.
func (c Configuration) For(repo name.Repository, scanOnPush bool) Applied {
	for _, f := range c.Type.Frequencies() {
		filters := c.matching(f, repo)
		flag := scanOnPush && c.Type == Basic && f == OnPush
		if len(filters) > 0 || flag {
			return Applied{Frequency: f, OnPush: f != Manual, Filters: filters}
		}
	}
	return Applied{Frequency: Manual, Filters: []Filter{}}
}

// matching are the filters of the rules with the frequency that match.
func (c Configuration) matching(f Frequency, repo name.Repository) []Filter {
	found := []Filter{}
	for _, r := range c.Rules {
		if r.Frequency == f {
			found = append(found, slices.DeleteFunc(slices.Clone(r.Filters), func(f Filter) bool { return !f.Matches(repo) })...)
		}
	}
	return found
}
