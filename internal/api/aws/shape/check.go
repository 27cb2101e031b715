package shape

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Check collects what is wrong with a request, member by member in the order of
// the service model. The generated Validate methods fill it in and then ask for
// the error in the form of their service: JSON or Query.
//
// A failure names the member by its path, as AWS does: "repositoryName", for a
// structure inside of a list "tags.2.member.key", counted from 1. A wrong scalar
// inside of a list is reported at the list.
//
// The zero value is the check of a whole request.
type Check struct {
	parent *Check
	// member and index say where parent this check is inside of; index is 0
	// for a structure that is no list element.
	member string
	index  int
	// element and own choose the wording; see Element and Own.
	element, own bool
	// frame is the wording for what stands in a map; see Key and Value.
	frame string

	failures []failure // of the root only
}

type failure struct {
	path   string
	value  string // quoted, or null, or empty for a value that must not be shown
	reason string
}

// Pattern is a pattern of a service model: the text that error messages show
// and the expression that a whole value has to match.
type Pattern struct {
	text string
	re   func() *regexp.Regexp
}

// NewPattern makes a pattern, which is compiled when it is first needed: there are hundreds. text is
// what the messages show; expression is the same in Go's syntax, and it is anchored here, because a
// service model means the whole value. The first Matches panics on an expression that does not
// compile: generated code calls it with constants, which the generator has compiled.
func NewPattern(text, expression string) *Pattern {
	return &Pattern{text: text, re: sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\A(?:` + expression + `)\z`)
	})}
}

// Matches says whether all of s is of the pattern.
func (p *Pattern) Matches(s string) bool { return p.re().MatchString(s) }

// String is the pattern as the messages show it.
func (p *Pattern) String() string { return p.text }

// In is the check of a structure that stands at the member.
func (c *Check) In(member string) *Check { return &Check{parent: c, member: member} }

// Item is the check of the structure at position i, from 0, of the list that
// stands at the member.
func (c *Check) Item(member string, i int) *Check {
	return &Check{parent: c, member: member, index: i + 1}
}

// Element is the same check for the scalars of a list: the reason is put in
// AWS's frame "Member must satisfy constraint: [...]".
func (c *Check) Element() *Check { return &Check{parent: c, element: true} }

// Key and Value are the same check for the keys and values of a map, in AWS's frames.
func (c *Check) Key() *Check { return &Check{parent: c, frame: "Map keys"} }

// Value is the other of them.
func (c *Check) Value() *Check { return &Check{parent: c, frame: "Map value"} }

// Keys are the keys of a map in their order, so that failures are in one.
func Keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Own is the same check in the words that ECR keeps for its oldest members,
// repositoryName among them: "must have length ..." without "Member", and
// another form for patterns.
func (c *Check) Own() *Check { return &Check{parent: c, own: true} }

func (c *Check) fail(member, value, reason string) {
	path := member
	for ; c.parent != nil; c = c.parent {
		switch {
		case c.own:
			reason = strings.TrimPrefix(reason, "Member ")
		case c.frame != "":
			reason = c.frame + " must satisfy constraint: [" + reason + "]"
		case c.element:
			reason = "Member must satisfy constraint: [" + reason + "]"
		case c.index > 0:
			path = c.member + "." + strconv.Itoa(c.index) + ".member." + path
		default:
			path = c.member + "." + path
		}
	}
	c.failures = append(c.failures, failure{path: path, value: value, reason: reason})
}

// Missing reports that a required member is absent or null.
func (c *Check) Missing(member string) { c.fail(member, "null", "Member must not be null") }

// Length holds the length of a text, in characters, against its limits. A
// negative limit is none.
func (c *Check) Length(member, value string, least, most int64) {
	c.span(member, quote(value), int64(utf8.RuneCountInString(value)), least, most)
}

// Size holds the number of bytes or of elements against its limits. A negative
// limit is none.
func (c *Check) Size(member string, n int, least, most int64) {
	c.span(member, "", int64(n), least, most)
}

func (c *Check) span(member, value string, n, least, most int64) {
	if least >= 0 && n < least {
		c.fail(member, value, fmt.Sprintf("Member must have length greater than or equal to %d", least))
	}
	if most >= 0 && n > most {
		c.fail(member, value, fmt.Sprintf("Member must have length less than or equal to %d", most))
	}
}

// Least refuses a number below its lower limit.
func (c *Check) Least(member string, value, least int64) {
	if value < least {
		c.fail(member, quote(strconv.FormatInt(value, 10)), fmt.Sprintf("Member must have value greater than or equal to %d", least))
	}
}

// Most refuses a number above its upper limit.
func (c *Check) Most(member string, value, most int64) {
	if value > most {
		c.fail(member, quote(strconv.FormatInt(value, 10)), fmt.Sprintf("Member must have value less than or equal to %d", most))
	}
}

// LeastOf refuses a number with a fraction below its lower limit.
func (c *Check) LeastOf(member string, value, least float64) {
	if !(value >= least) { // so that what is no number is refused
		c.fail(member, quote(decimal(value)), "Member must have value greater than or equal to "+decimal(least))
	}
}

// MostOf refuses a number with a fraction above its upper limit.
func (c *Check) MostOf(member string, value, most float64) {
	if !(value <= most) {
		c.fail(member, quote(decimal(value)), "Member must have value less than or equal to "+decimal(most))
	}
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Pattern refuses a text that does not match the pattern as a whole.
func (c *Check) Pattern(member, value string, p *Pattern) {
	if p.Matches(value) {
		return
	}
	reason := "Member must satisfy regular expression pattern: " + p.text
	if c.own {
		// The pattern keeps quotes of its own inside of the quoted constraint.
		reason = "Member must satisfy regular expression '" + p.text + "'"
	}
	c.fail(member, quote(value), reason)
}

// Enum refuses a text that is not one of the values.
func (c *Check) Enum(member, value string, values ...string) {
	if !slices.Contains(values, value) {
		c.fail(member, quote(value), "Member must satisfy enum value set: ["+strings.Join(values, ", ")+"]")
	}
}

// Hide keeps the values of everything that failed at the member so far out of
// the messages: the model marks it as sensitive.
func (c *Check) Hide(member string) {
	root := c
	for root.parent != nil {
		root = root.parent
	}
	for i, f := range root.failures {
		if f.path == member || strings.HasSuffix(f.path, "."+member) {
			root.failures[i].value = ""
		}
	}
}

func quote(s string) string { return "'" + s + "'" }

// JSON is the outcome in the form of ECR and ECR Public: nil, or an
// errs.InvalidParameter for the first failure.
func (c *Check) JSON() error {
	if len(c.failures) == 0 {
		return nil
	}
	return errs.Parameter(c.failures[0].path, c.failures[0].reason)
}

// Query is the outcome in the form of IAM and STS: nil, or an errs.Validation
// that lists all failures.
func (c *Check) Query() error {
	if len(c.failures) == 0 {
		return nil
	}
	texts := make([]string, len(c.failures))
	for i, f := range c.failures {
		value := "Value"
		if f.value != "" {
			value += " " + f.value
		}
		texts[i] = fmt.Sprintf("%s at '%s' failed to satisfy constraint: %s", value, f.path, f.reason)
	}
	noun := "errors"
	if len(texts) == 1 {
		noun = "error"
	}
	return errs.New(errs.Validation, "%d validation %s detected: %s", len(texts), noun, strings.Join(texts, "; "))
}
