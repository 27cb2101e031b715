package rules

import (
	"slices"
	"strconv"
	"strings"
)

// checkRule says which parts of a rule do not go together.
func checkRule(r *Rule, g Grammar) error {
	s := &r.Selection
	archived := s.StorageClass == Archive
	switch {
	case s.CountType == NoCount: // the action is Retain, and either class will do
		return nil
	case archived != (s.CountType == SinceImageTransitioned):
		return refuse(textArchive)
	case r.Action.Type == Retain:
		return nil
	case s.CountType == SinceImageTransitioned && r.Action.Type != Expire:
		return refuse(textTransitioned)
	case s.CountType == SinceImageTransitioned && s.CountNumber < MinArchiveDays:
		return refuseMinimum(MinArchiveDays, strconv.FormatInt(s.CountNumber, 10))
	case s.CountType == SinceImagePulled && r.Action.Type != Transition && g != Extended:
		return refuse(textPulled)
	case r.Action.Type == Untag && s.TagStatus == Untagged:
		return refuse(textUntagUntagged)
	}
	return nil
}

// checkTogether says which rules cannot stand in one policy. The rules are in
// ascending priority. What holds per storage class exists because an image
// belongs to the first rule that asks for its tags; rules that retain take no
// image from another rule, and so are free of it.
func checkTogether(rules []Rule) error {
	type class struct {
		storage StorageClass
		kind    string
	}
	anyRule := map[StorageClass]bool{}
	taken := map[class]bool{}
	for i := range rules {
		if i > 0 && rules[i].Priority == rules[i-1].Priority {
			return refuse(textPriorities)
		}
	}
	for i := range rules {
		s := &rules[i].Selection
		if rules[i].Action.Type == Retain {
			continue
		}
		if anyRule[s.StorageClass] {
			return refuse(textAnyLast)
		}
		text := ""
		key := class{storage: s.StorageClass}
		switch {
		case s.TagStatus == Any:
			anyRule[s.StorageClass] = true
			continue
		case s.TagStatus == Untagged:
			key.kind, text = "untagged", textUntagged
		case s.Prefixes != nil:
			key.kind, text = "prefixes "+set(s.Prefixes), textPrefixes
		default:
			key.kind, text = "patterns "+set(s.Patterns), textPatterns
		}
		if taken[key] {
			return refuse(text)
		}
		taken[key] = true
	}
	return nil
}

// set writes a list so that lists with the same entries are written alike.
func set(list []string) string {
	sorted := slices.Compact(slices.Sorted(slices.Values(list)))
	for i, s := range sorted {
		sorted[i] = strconv.Quote(s)
	}
	return strings.Join(sorted, ",")
}
