package rules

import (
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Limits of a configuration (ECR API reference, ReplicationConfiguration and
// ReplicationRule).
const (
	MaxRules        = 10
	MaxDestinations = 25 // distinct ones over all rules
	MaxFilters      = 100
)

// Configuration is what a registry copies, and where to.
type Configuration struct {
	Rules []Rule
}

// Rule says which repositories go to which registries.
type Rule struct {
	Destinations []name.Registry
	// Filters are beginnings of repositories' names (PREFIX_MATCH), of which one
	// has to fit; none is all repositories.
	Filters []string
}

// Destinations are the distinct destinations of all rules, in their order.
func (c Configuration) Destinations() []name.Registry { return c.For("") }

// For lists the distinct destinations of a repository, in the order of the rules;
// of every repository for "".
func (c Configuration) For(repo name.Repository) []name.Registry {
	var all []name.Registry
	for _, r := range c.Rules {
		if repo != "" && !r.covers(repo) {
			continue
		}
		for _, d := range r.Destinations {
			if !slices.Contains(all, d) {
				all = append(all, d)
			}
		}
	}
	return all
}

func (r Rule) covers(repo name.Repository) bool {
	return len(r.Filters) == 0 || slices.ContainsFunc(r.Filters, func(f string) bool { return strings.HasPrefix(string(repo), f) })
}

// Options are Berth's own settings for a destination of a registry, beyond ECR's.
// The zero value is ECR's behavior.
type Options struct {
	// Tags are patterns in which * stands for any characters. Only images that are
	// pushed with a tag that one of them fits are copied, and with them the children
	// of an index and what refers to an image that was copied. None is all.
	Tags []string `json:"tags,omitempty"`
	// Repositories are whole names: only these are copied, as far as the rules cover
	// them. None is all.
	Repositories []string `json:"repositories,omitempty"`
	// Exclude are beginnings of names, or patterns where there is a * in them, of
	// repositories that are not copied.
	Exclude []string `json:"exclude,omitempty"`
	// Deletes copies the deletion of images, Untags that of tags.
	Deletes bool `json:"deletes,omitempty"`
	Untags  bool `json:"untags,omitempty"`
}

// IsZero says whether nothing is set.
func (o Options) IsZero() bool {
	return len(o.Tags)+len(o.Repositories)+len(o.Exclude) == 0 && !o.Deletes && !o.Untags
}

// Covers says whether the options let a repository through.
func (o Options) Covers(repo name.Repository) bool {
	if len(o.Repositories) > 0 && !slices.Contains(o.Repositories, string(repo)) {
		return false
	}
	return !slices.ContainsFunc(o.Exclude, func(e string) bool {
		if strings.Contains(e, "*") {
			return glob(e, string(repo))
		}
		return strings.HasPrefix(string(repo), e)
	})
}

// Lets says whether the options let an image through that is pushed with the tag,
// "" for none.
func (o Options) Lets(tag name.Tag) bool {
	return len(o.Tags) == 0 || tag != "" && slices.ContainsFunc(o.Tags, func(p string) bool { return glob(p, string(tag)) })
}

// glob matches the whole of s, in time proportional to both lengths' product.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
