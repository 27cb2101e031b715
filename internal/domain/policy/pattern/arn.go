package pattern

import "strings"

// ARN is a compiled pattern of ARNs, immutable. The pattern is cut at its first
// five colons, those in variables apart, and each segment is compared by itself:
// a star never takes a colon, except in the last segment. "*" alone covers every
// text. A pattern with fewer colons compares its last segment with all the rest,
// so that "arn:aws:ecr:*" covers every ARN of ECR (IAM user guide, "IAM JSON
// policy elements: Resource": a * at the end matches beyond the colons).
type ARN struct {
	all      bool
	segments []Pattern
}

// segments of an ARN: arn, partition, service, region, account, resource.
const segments = 6

// CompileARN reads a pattern of ARNs, with wildcards. It fails with ErrVariable;
// whether the text has the form of an ARN is not looked at.
func CompileARN(s string, variables bool) (ARN, error) {
	syntax := Wildcards
	if variables {
		syntax |= Variables
	}
	parts, err := split(s, syntax)
	if err != nil {
		return ARN{}, err
	}
	a := ARN{all: len(parts) == 1 && parts[0].kind == many}
	var segment []part
	for _, p := range parts {
		for p.kind == text && len(a.segments) < segments-1 {
			before, after, found := strings.Cut(p.text, ":")
			if !found {
				break
			}
			if before != "" {
				segment = append(segment, part{kind: text, text: before})
			}
			a.segments = append(a.segments, newPattern(segment))
			segment = nil
			p.text = after
		}
		if p.kind != text || p.text != "" {
			segment = append(segment, p)
		}
	}
	a.segments = append(a.segments, newPattern(segment))
	return a, nil
}

// VariableKeys calls f with the key of each variable, as written, and whether it
// has a default.
func (a *ARN) VariableKeys(f func(key string, optional bool)) {
	for i := range a.segments {
		a.segments[i].VariableKeys(f)
	}
}

// Whole says whether the pattern has the six segments of an ARN, or ends with a
// star that stands for those it lacks.
func (a *ARN) Whole() bool {
	if len(a.segments) == segments {
		return true
	}
	last := a.segments[len(a.segments)-1].parts
	return len(last) > 0 && last[len(last)-1].kind == many
}

// Subject is a text that patterns of ARNs are compared with, cut once.
type Subject struct {
	text string
	// ends holds where each of the first five segments ends, as far as there are
	// colons.
	ends  [segments - 1]int
	count int
}

// NewSubject cuts a text.
func NewSubject(s string) Subject {
	subject := Subject{text: s}
	start := 0
	for subject.count < len(subject.ends) {
		n := strings.IndexByte(s[start:], ':')
		if n < 0 {
			break
		}
		subject.ends[subject.count] = start + n
		subject.count++
		start += n + 1
	}
	return subject
}

// Match says whether the pattern covers s. As with Pattern.Match, a variable
// without a value makes it match nothing.
func (a *ARN) Match(s *Subject, ctx Context) bool {
	if a.all {
		return true
	}
	last := len(a.segments) - 1
	if last > s.count {
		return false
	}
	start := 0
	if last > 0 {
		start = s.ends[last-1] + 1
	}
	// From the end: the resource is what distinguishes patterns.
	if !a.segments[last].Match(s.text[start:], ctx) {
		return false
	}
	for i := last - 1; i >= 0; i-- {
		start = 0
		if i > 0 {
			start = s.ends[i-1] + 1
		}
		if !a.segments[i].Match(s.text[start:s.ends[i]], ctx) {
			return false
		}
	}
	return true
}
