package pattern

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// The limits of patterns.
const (
	// MaxLength is how long a pattern may be, in bytes (EventPattern of PutRule in the
	// EventBridge API reference).
	MaxLength = 4096
	// MaxAlternatives is how many combinations a pattern's $or may make ("Or matching",
	// EventBridge user guide).
	MaxAlternatives = 1000
	// shownSource is how much of a pattern an error repeats, in characters.
	shownSource = 500
)

// Parse reads a pattern. One that is none is an errs.EventPatternInvalid, whose text says
// what is wrong and where, in AWS's words as far as they are known.
func Parse(text string) (Pattern, error) {
	if len(text) > MaxLength {
		return Pattern{}, errs.New(errs.EventPatternInvalid, "Event pattern is not valid. Reason: It is %d bytes long; at most %d are allowed", len(text), MaxLength)
	}
	p, err := parse(text)
	if err == nil {
		return p, nil
	}
	var s *syntaxError
	if !errors.As(err, &s) || s.at < 0 {
		return Pattern{}, errs.New(errs.EventPatternInvalid, "Event pattern is not valid. Reason: %s", err)
	}
	line, column := position(text, s.at)
	return Pattern{}, errs.New(errs.EventPatternInvalid, "Event pattern is not valid. Reason: %s\n at [Source: (String)%s; line: %d, column: %d]",
		s.reason, source(text), line, column)
}

// position counts lines and characters, both from 1.
func position(text string, at int) (line, column int) {
	before := text[:min(at, len(text))]
	return 1 + strings.Count(before, "\n"), 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
}

// source is the pattern as errors repeat it.
func source(text string) string {
	left := utf8.RuneCountInString(text) - shownSource
	if left <= 0 {
		return `"` + text + `"`
	}
	return fmt.Sprintf(`"%s"[truncated %d chars]`, string([]rune(text)[:shownSource]), left)
}

func parse(text string) (Pattern, error) {
	root, err := parseJSON(text)
	if err != nil {
		return Pattern{}, err
	}
	if root.kind != kindObject {
		return Pattern{}, wrong(root.start, "Filter is not an object")
	}
	c := compiler{alternatives: []map[string]condition{{}}}
	if err := c.object(root, "", false); err != nil {
		return Pattern{}, err
	}
	p := Pattern{alternatives: make([][]condition, 0, len(c.alternatives))}
	for _, a := range c.alternatives {
		conditions := make([]condition, 0, len(a))
		for _, one := range a {
			conditions = append(conditions, one)
		}
		slices.SortFunc(conditions, func(x, y condition) int { return strings.Compare(x.path, y.path) })
		p.alternatives = append(p.alternatives, conditions)
	}
	return p, nil
}

// compiler multiplies $or out: each of its alternatives has one condition for each path.
type compiler struct {
	alternatives []map[string]condition
}

// object adds what an object says of the paths under prefix. Inside $or the names of
// operators are no keys.
func (c *compiler) object(n node, prefix string, inOr bool) error {
	if len(n.members) == 0 {
		return wrong(n.end, "Empty objects are not allowed")
	}
	for _, m := range n.members {
		if m.name == "$or" && isOr(m.value) {
			if err := c.or(m.value, prefix); err != nil {
				return err
			}
			continue
		}
		if inOr && reserved(m.name) {
			return wrong(m.value.start, "%s is Ruler reserved fieldName which cannot be used inside $or.", m.name)
		}
		var err error
		switch m.value.kind {
		case kindObject:
			err = c.object(m.value, prefix+m.name+".", inOr)
		case kindArray:
			err = c.leaf(m.value, prefix+m.name)
		case kindString, kindNumber, kindLiteral:
			err = wrong(m.value.start, "%q must be an object or an array", m.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isOr says whether the value of a key $or makes it the operator: two objects or more,
// none of which has an operator for a key. Otherwise $or is a key as any other.
func isOr(n node) bool {
	if n.kind != kindArray || len(n.items) < 2 {
		return false
	}
	return !slices.ContainsFunc(n.items, func(item node) bool {
		return item.kind != kindObject || slices.ContainsFunc(item.members, func(m member) bool { return reserved(m.name) })
	})
}

// reserved says whether a key is an operator, or kept for one (Constants of event-ruler).
func reserved(key string) bool {
	switch key {
	case "exactly", "equals-ignore-case", "prefix", "suffix", "anything-but", "exists", "wildcard", "numeric", "cidr",
		"=", "<", "<=", ">", ">=", "regex", "not-wildcard", "not-equals-ignore-case",
		"date-after", "date-on-or-after", "date-before", "date-on-or-before", "in-date-range",
		"ip-address-in-range", "ip-address-not-in-range":
		return true
	}
	return false
}

// or multiplies the alternatives by those of the array.
func (c *compiler) or(n node, prefix string) error {
	var all []map[string]condition
	for _, item := range n.items {
		branch := compiler{alternatives: make([]map[string]condition, len(c.alternatives))}
		for i, a := range c.alternatives {
			branch.alternatives[i] = make(map[string]condition, len(a))
			for path, one := range a {
				branch.alternatives[i][path] = one
			}
		}
		if err := branch.object(item, prefix, true); err != nil {
			return err
		}
		if all = append(all, branch.alternatives...); len(all) > MaxAlternatives {
			return wrong(item.end, "$or makes more than %d combinations; use fewer, or several rules", MaxAlternatives)
		}
	}
	c.alternatives = all
	return nil
}

// leaf adds a condition. Of two for one path the later one counts.
func (c *compiler) leaf(n node, path string) error {
	if len(n.items) == 0 {
		return wrong(n.end, "Empty arrays are not allowed")
	}
	one := condition{path: path}
	var wild []string
	for _, item := range n.items {
		switch item.kind {
		case kindObject:
			op, err := operator(item)
			if err != nil {
				return err
			}
			one.absent = one.absent || op.absent
			wild = append(wild, op.wild...)
			if op.match != nil {
				one.matchers = append(one.matchers, op.match)
			}
		case kindString, kindNumber, kindLiteral:
			one.matchers = append(one.matchers, exactly(newValue(item)))
		case kindArray:
			return wrong(item.start, "Match value must be String, number, true, false, or null")
		}
	}
	if tooComplex(wild) {
		return wrong(-1, "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character")
	}
	for _, a := range c.alternatives {
		a[path] = one
	}
	return nil
}
