package json11

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep lists and objects may stand inside of each other.
// The service models need less than ten.
const maxDepth = 200

// parser walks over a JSON text. Its errors are those of malformed.
type parser struct {
	b []byte
	i int
}

// peek skips white space and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	for ; p.i < len(p.b); p.i++ {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
		default:
			return p.b[p.i]
		}
	}
	return 0
}

// take consumes the byte c, which has to be the next one.
func (p *parser) take(c byte) error {
	if p.peek() != c || p.i >= len(p.b) {
		return malformed()
	}
	p.i++
	return nil
}

func (p *parser) literal(word string) error {
	if !strings.HasPrefix(string(p.b[p.i:min(p.i+len(word), len(p.b))]), word) {
		return malformed()
	}
	p.i += len(word)
	return nil
}

// sequence reads what stands between two brackets and is separated by commas.
func (p *parser) sequence(open, end byte, each func() error) error {
	if err := p.take(open); err != nil {
		return err
	}
	if p.peek() == end {
		return p.take(end)
	}
	for {
		if err := each(); err != nil {
			return err
		}
		if p.peek() == end {
			return p.take(end)
		}
		if err := p.take(','); err != nil {
			return err
		}
	}
}

// members reads an object. each has to consume the value of its member.
func (p *parser) members(each func(key string) error) error {
	return p.sequence('{', '}', func() error {
		if p.peek() != '"' {
			return malformed()
		}
		raw, escaped, err := p.rawString()
		if err != nil {
			return err
		}
		if err := p.take(':'); err != nil {
			return err
		}
		return each(unescape(raw, escaped))
	})
}

// elements reads a list. each has to consume one value.
func (p *parser) elements(each func() error) error { return p.sequence('[', ']', each) }

// skip consumes a value of any kind.
func (p *parser) skip(depth int) error {
	if depth > maxDepth {
		return malformed()
	}
	switch p.peek() {
	case '{':
		return p.members(func(string) error { return p.skip(depth + 1) })
	case '[':
		return p.elements(func() error { return p.skip(depth + 1) })
	case '"':
		_, _, err := p.rawString()
		return err
	case 't':
		return p.literal("true")
	case 'f':
		return p.literal("false")
	case 'n':
		return p.literal("null")
	}
	_, err := p.number()
	return err
}

// number consumes a number and returns its text.
func (p *parser) number() (string, error) {
	start := p.i
	digits := func() bool {
		from := p.i
		for p.i < len(p.b) && p.b[p.i] >= '0' && p.b[p.i] <= '9' {
			p.i++
		}
		return p.i > from
	}
	has := func(set string) bool {
		if p.i < len(p.b) && strings.IndexByte(set, p.b[p.i]) >= 0 {
			p.i++
			return true
		}
		return false
	}
	has("-")
	if !has("0") && !digits() {
		return "", malformed()
	}
	if has(".") && !digits() {
		return "", malformed()
	}
	if has("eE") {
		has("+-")
		if !digits() {
			return "", malformed()
		}
	}
	return string(p.b[start:p.i]), nil
}

// rawString consumes a string and returns the bytes between its quotes, and
// whether escapes stand in them. The escapes are checked here, so that unescape
// cannot fail.
func (p *parser) rawString() (raw []byte, escaped bool, err error) {
	p.i++ // the opening quote
	start := p.i
	for p.i < len(p.b) {
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			return p.b[start : p.i-1], escaped, nil
		case c == '\\':
			escaped = true
			n := escapeLength(p.b[p.i:])
			if n == 0 {
				return nil, false, malformed()
			}
			p.i += n
		case c < ' ':
			return nil, false, malformed()
		default:
			p.i++
		}
	}
	return nil, false, malformed()
}

// escapeLength is the length of the escape that b begins with, 0 for none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	if strings.IndexByte(`"\/bfnrt`, b[1]) >= 0 {
		return 2
	}
	if _, ok := hexUnit(b); ok {
		return 6
	}
	return 0
}

// hexUnit reads the \uXXXX that b begins with.
func hexUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(n), err == nil
}

// unescape returns the text of a raw string. Bytes that are no UTF-8 and halves
// of surrogate pairs become U+FFFD.
func unescape(raw []byte, escaped bool) string {
	if !escaped {
		return strings.ToValidUTF8(string(raw), "\uFFFD")
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		unit, isHex := hexUnit(raw[i:])
		if !isHex {
			out = append(out, plainEscape(raw[i+1]))
			i += 2
			continue
		}
		i += 6
		if utf16.IsSurrogate(unit) {
			low, ok := hexUnit(raw[i:])
			if unit = utf16.DecodeRune(unit, low); ok && unit != utf8.RuneError {
				i += 6
			}
		}
		out = utf8.AppendRune(out, unit)
	}
	return strings.ToValidUTF8(string(out), "\uFFFD")
}

func plainEscape(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}
