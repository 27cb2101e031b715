package rules

import "strings"

// Matches says whether an image with the tags has what the rule asks for. Each
// entry of the rule's list has to match a tag; any tag will do, also one for
// several entries.
func (r Rule) Matches(tags []string) bool {
	switch r.Selection.TagStatus {
	case Any:
		return true
	case Untagged:
		return len(tags) == 0
	case Tagged:
		for _, prefix := range r.Selection.Prefixes {
			if !matchesAny(tags, func(tag string) bool { return strings.HasPrefix(tag, prefix) }) {
				return false
			}
		}
		for _, pattern := range r.Selection.Patterns {
			if !matchesAny(tags, func(tag string) bool { return MatchPattern(pattern, tag) }) {
				return false
			}
		}
		return len(tags) > 0
	}
	return false
}

func matchesAny(tags []string, matches func(string) bool) bool {
	for _, tag := range tags {
		if matches(tag) {
			return true
		}
	}
	return false
}

// Named lists those of the tags that the rule's list names: that one of its
// entries at least matches, and all of them if the rule is for any image. They
// are what a rule with the action Untag removes.
func (r Rule) Named(tags []string) []string {
	var named []string
	for _, tag := range tags {
		if r.names(tag) {
			named = append(named, tag)
		}
	}
	return named
}

func (r Rule) names(tag string) bool {
	for _, prefix := range r.Selection.Prefixes {
		if strings.HasPrefix(tag, prefix) {
			return true
		}
	}
	for _, pattern := range r.Selection.Patterns {
		if MatchPattern(pattern, tag) {
			return true
		}
	}
	return r.Selection.TagStatus == Any
}

// MatchPattern says whether the whole of tag has the form of pattern, in which *
// stands for any text, also none, and everything else for itself.
func MatchPattern(pattern, tag string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == tag
	}
	if !strings.HasPrefix(tag, head) {
		return false
	}
	tag = tag[len(head):]
	// The first place that fits a middle part leaves most to those after it, so
	// there is no need to go back.
	for {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(tag, part)
		}
		at := strings.Index(tag, part)
		if at < 0 {
			return false
		}
		tag, rest = tag[at+len(part):], after
	}
}
