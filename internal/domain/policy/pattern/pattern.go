package pattern

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// ErrVariable says that a text has a policy variable that is not written as
// ${key}, ${key, 'default'}, ${*}, ${?} or ${$}.
var ErrVariable = errors.New("the policy variable is not well formed")

// Syntax says what has a meaning in a pattern's text.
type Syntax int

// What a text may hold, in any combination.
const (
	// Wildcards: * stands for any text, also none, and ? for one character.
	Wildcards Syntax = 1 << iota
	// Variables: ${key} stands for the value of a condition key, as literal
	// text; ${key, 'default'} for the default if the key has none. ${*}, ${?}
	// and ${$} stand for the character. Policies of version 2012-10-17 have
	// variables, those of 2008-10-17 do not.
	Variables
)

// Pattern is a compiled text, immutable.
type Pattern struct {
	parts    []part
	variable bool // one of the parts is a variable
}

type kind uint8

const (
	text kind = iota
	many      // *
	one       // ?
	variable
)

type part struct {
	kind     kind
	optional bool   // of a variable: it has a default
	text     string // what a text part says, or the default of a variable
	key      string // of a variable, as it is written
	lower    string // key in lower case
}

// Compile reads a text. It fails with ErrVariable.
func Compile(s string, syntax Syntax) (Pattern, error) {
	parts, err := split(s, syntax)
	return newPattern(parts), err
}

func newPattern(parts []part) Pattern {
	p := Pattern{parts: parts}
	for i := range parts {
		p.variable = p.variable || parts[i].kind == variable
	}
	return p
}

// split cuts a text into parts; neighbours that are text become one, and so do
// neighbouring stars.
func split(s string, syntax Syntax) ([]part, error) {
	var parts []part
	add := func(literal string) {
		if n := len(parts); n > 0 && parts[n-1].kind == text {
			parts[n-1].text += literal
		} else if literal != "" {
			parts = append(parts, part{kind: text, text: literal})
		}
	}
	start := 0
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case syntax&Wildcards != 0 && (c == '*' || c == '?'):
			add(s[start:i])
			if n := len(parts); c == '?' {
				parts = append(parts, part{kind: one})
			} else if n == 0 || parts[n-1].kind != many {
				parts = append(parts, part{kind: many})
			}
			i++
			start = i
		case syntax&Variables != 0 && strings.HasPrefix(s[i:], "${"):
			add(s[start:i])
			v, n, err := readVariable(s[i+2:])
			if err != nil {
				return nil, err
			}
			if v.kind == text {
				add(v.text)
			} else {
				parts = append(parts, v)
			}
			i += 2 + n
			start = i
		default:
			i++
		}
	}
	add(s[start:])
	return parts, nil
}

// readVariable reads what follows "${", and says how long it is. The default may
// hold any character but the quote.
func readVariable(s string) (part, int, error) {
	end := strings.IndexByte(s, '}')
	if end < 0 {
		return part{}, 0, ErrVariable
	}
	switch name := s[:end]; name {
	case "*", "?", "$":
		return part{kind: text, text: name}, end + 1, nil
	}
	v := part{kind: variable}
	if comma := strings.IndexByte(s, ','); comma >= 0 && comma < end {
		rest := strings.TrimLeft(s[comma+1:], " ")
		if !strings.HasPrefix(rest, "'") {
			return part{}, 0, ErrVariable
		}
		fallback, after, found := strings.Cut(rest[1:], "'")
		after = strings.TrimLeft(after, " ")
		if !found || !strings.HasPrefix(after, "}") {
			return part{}, 0, ErrVariable
		}
		v.optional, v.text = true, fallback
		v.key = s[:comma]
		end = len(s) - len(after)
	} else {
		v.key = s[:end]
	}
	v.key = strings.TrimSpace(v.key)
	if v.key == "" || strings.ContainsAny(v.key, "${'*?") {
		return part{}, 0, ErrVariable
	}
	v.lower = strings.ToLower(v.key)
	return v, end + 1, nil
}

// VariableKeys calls f with the key of each variable, as written, and whether it
// has a default.
func (p *Pattern) VariableKeys(f func(key string, optional bool)) {
	for i := range p.parts {
		if p.parts[i].kind == variable {
			f(p.parts[i].key, p.parts[i].optional)
		}
	}
}

// Match says whether the pattern covers the whole of s. A variable whose key has
// no value, or several, and that has no default makes it match nothing.
func (p *Pattern) Match(s string, ctx Context) bool {
	if !p.variable {
		return match(p.parts, s)
	}
	var room [16]part
	parts, ok := p.resolve(room[:0], ctx)
	return ok && match(parts, s)
}

// EqualFold is Match without regard to case. It does not know wildcards.
func (p *Pattern) EqualFold(s string, ctx Context) bool {
	var room [16]part
	parts, ok := p.resolve(room[:0], ctx)
	if !ok {
		return false
	}
	if len(parts) == 1 {
		return strings.EqualFold(parts[0].text, s)
	}
	var b strings.Builder
	for i := range parts {
		b.WriteString(parts[i].text)
	}
	return strings.EqualFold(b.String(), s)
}

// resolve appends the parts to a list, with texts in place of variables.
func (p *Pattern) resolve(parts []part, ctx Context) ([]part, bool) {
	for i := range p.parts {
		v := &p.parts[i]
		if v.kind != variable {
			parts = append(parts, *v)
			continue
		}
		values, ok := ctx.Lookup(v.lower)
		switch {
		case ok && len(values) == 1:
			parts = append(parts, part{kind: text, text: values[0]})
		case v.optional && len(values) == 0:
			parts = append(parts, part{kind: text, text: v.text})
		default:
			return nil, false
		}
	}
	return parts, true
}

// match compares from left to right, and on a mismatch lets the last star take
// one more character. No earlier star need be tried again.
func match(parts []part, s string) bool {
	if len(parts) == 1 && parts[0].kind == text {
		return s == parts[0].text
	}
	at, i := 0, 0
	star, mark := -1, 0 // the last star passed, and where what follows it was last tried
	for {
		if i == len(parts) {
			if at == len(s) {
				return true
			}
		} else if p := &parts[i]; p.kind == many {
			if i+1 == len(parts) {
				return true
			}
			star, mark = i, at
			i++
			continue
		} else if p.kind == one {
			if at < len(s) {
				at += size(s[at:])
				i++
				continue
			}
		} else if strings.HasPrefix(s[at:], p.text) {
			at += len(p.text)
			i++
			continue
		}
		if star < 0 || mark == len(s) {
			return false
		}
		mark += size(s[mark:])
		if next := &parts[star+1]; next.kind == text {
			n := strings.Index(s[mark:], next.text)
			if n < 0 {
				return false
			}
			mark += n
		}
		at, i = mark, star+1
	}
}

// size is the length of the first character of s.
func size(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}
