package session

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// Tag is a session tag.
type Tag struct{ Key, Value string }

// Limits of session tags, in characters (STS API reference, Tag).
const (
	maxTags     = 50
	maxTagKey   = 128
	maxTagValue = 256
)

var (
	tagKeyForm   = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)
	tagValueForm = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// tagsOf checks tags. Keys differ in more than case.
func tagsOf(tags []Tag) (map[string]string, error) {
	if len(tags) > maxTags {
		return nil, errs.New(errs.InvalidParameter, "A session must not have more than %d tags.", maxTags)
	}
	all, folded := map[string]string{}, map[string]bool{}
	for _, t := range tags {
		lower := strings.ToLower(t.Key)
		switch {
		case utf8.RuneCountInString(t.Key) > maxTagKey || !tagKeyForm.MatchString(t.Key):
			return nil, errs.New(errs.InvalidParameter, "The tag key '%s' must have 1 to %d letters, digits, spaces and characters out of _.:/=+-@.", t.Key, maxTagKey)
		case utf8.RuneCountInString(t.Value) > maxTagValue || !tagValueForm.MatchString(t.Value):
			return nil, errs.New(errs.InvalidParameter, "The value of the tag '%s' must have at most %d letters, digits, spaces and characters out of _.:/=+-@.", t.Key, maxTagValue)
		case strings.HasPrefix(lower, "aws:"):
			return nil, errs.New(errs.InvalidParameter, "'aws:' prefixed tag key names are not allowed for external use.")
		case folded[lower]:
			return nil, errs.New(errs.InvalidParameter, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		all[t.Key], folded[lower] = t.Value, true
	}
	return all, nil
}

// chain is what a new session has besides its policies: tags of its own and
// those that the session before it hands on.
type chain struct {
	passed    map[string]string // what the caller gave
	tags      map[string]string // and what came along
	keys      []string          // of passed, those that are handed on further
	allKeys   []string          // and those that came along
	inherited int
}

// chainOf checks tags and joins them with those of the caller's session.
// before is nil where there is none.
func chainOf(tags []Tag, transitive []string, before *principal.Session) (chain, error) {
	passed, err := tagsOf(tags)
	if err != nil {
		return chain{}, err
	}
	c := chain{passed: passed, tags: maps.Clone(passed)}
	find := func(key string) (string, bool) { // the key as the caller spelled it among the tags
		for k := range passed {
			if strings.EqualFold(k, key) {
				return k, true
			}
		}
		return "", false
	}
	if before != nil && before.Kind == principal.RoleSession {
		for _, key := range before.TransitiveKeys {
			if _, again := find(key); again {
				return chain{}, errs.New(errs.InvalidParameter, "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.")
			}
			c.tags[key] = before.Tags[key]
			c.allKeys = append(c.allKeys, key)
			c.inherited++
		}
	}
	for _, key := range transitive {
		own, ok := find(key)
		if !ok {
			return chain{}, errs.New(errs.InvalidParameter, "The specified transitive tag key must be included in the requested tags.")
		}
		if !slices.Contains(c.keys, own) {
			c.keys = append(c.keys, own)
		}
	}
	if len(c.tags) > maxTags {
		return chain{}, errs.New(errs.InvalidParameter, "A session must not have more than %d tags; %d come from the calling session.", maxTags, c.inherited)
	}
	c.allKeys = append(c.allKeys, c.keys...)
	slices.Sort(c.allKeys)
	return c, nil
}

// into writes the tags into a session.
func (c chain) into(to *principal.Session) {
	if len(c.tags) > 0 {
		to.Tags = c.tags
	}
	to.TransitiveKeys = c.allKeys
}

// context are the condition keys of the tags that a request passes.
func (c chain) context(into map[string][]string) {
	for key, value := range c.passed {
		into["aws:requesttag/"+strings.ToLower(key)] = []string{value}
	}
	if len(c.passed) > 0 {
		into["aws:tagkeys"] = sortedKeys(c.passed)
	}
	if len(c.keys) > 0 {
		into["sts:transitivetagkeys"] = slices.Clone(c.keys)
	}
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
