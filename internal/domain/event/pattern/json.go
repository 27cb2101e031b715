package pattern

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep objects and arrays may stand in each other; AWS's parser has the
// same limit. It bounds the parser's recursion.
const maxDepth = 1000

// kind is a JSON type.
type kind int

const (
	kindObject kind = iota
	kindArray
	kindString
	kindNumber
	kindLiteral // true, false, null
)

// node is a JSON value that remembers the order of its members, duplicate ones too, how
// its numbers were written, and where it stood.
type node struct {
	kind    kind
	text    string // of a string what it says, of a number and a literal how it is written
	members []member
	items   []node
	// start is behind the first character that the value's type can be told by, end
	// behind the value. Both are offsets in bytes.
	start, end int
}

type member struct {
	name  string
	value node
}

// syntaxError is what is wrong with a text, and before which byte it was seen.
type syntaxError struct {
	reason string
	at     int
}

func (e *syntaxError) Error() string { return e.reason }

func wrong(at int, format string, args ...any) *syntaxError {
	return &syntaxError{reason: fmt.Sprintf(format, args...), at: at}
}

// scanner reads a JSON text.
type scanner struct {
	text string
	pos  int
}

// parseJSON reads a text that is one JSON value.
func parseJSON(text string) (node, error) {
	s := scanner{text: text}
	n, err := s.value(0)
	if err != nil {
		return node{}, err
	}
	if s.space(); s.pos < len(text) {
		return node{}, wrong(s.pos, "Unexpected character (%s): nothing may follow the JSON value", s.here())
	}
	return n, nil
}

func (s *scanner) space() {
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.pos]) >= 0 {
		s.pos++
	}
}

// here names the character at the position, for errors.
func (s *scanner) here() string {
	r, _ := utf8.DecodeRuneInString(s.text[s.pos:])
	return fmt.Sprintf("'%c' (code %d)", r, r)
}

// peek is the next character behind white space.
func (s *scanner) peek(within string) (byte, error) {
	s.space()
	if s.pos >= len(s.text) {
		return 0, wrong(s.pos, "Unexpected end-of-input%s", within)
	}
	return s.text[s.pos], nil
}

func (s *scanner) value(depth int) (node, error) {
	c, err := s.peek("")
	if err != nil {
		return node{}, err
	}
	if depth > maxDepth {
		return node{}, wrong(s.pos, "Objects and arrays are more than %d deep", maxDepth)
	}
	switch {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == '"':
		start := s.pos + 1
		text, err := s.str()
		return node{kind: kindString, text: text, start: start, end: s.pos}, err
	case c == '-' || (c >= '0' && c <= '9'):
		return s.number()
	}
	return s.literal()
}

func (s *scanner) object(depth int) (node, error) {
	s.pos++
	n := node{kind: kindObject, start: s.pos}
	const within = " within an Object"
	c, err := s.peek(within)
	if err != nil {
		return node{}, err
	}
	if c == '}' {
		s.pos++
		n.end = s.pos
		return n, nil
	}
	for {
		if c, err = s.peek(within); err != nil {
			return node{}, err
		}
		if c != '"' {
			return node{}, wrong(s.pos, "Unexpected character (%s): was expecting double-quote to start field name", s.here())
		}
		name, err := s.str()
		if err != nil {
			return node{}, err
		}
		if c, err = s.peek(within); err != nil {
			return node{}, err
		}
		if c != ':' {
			return node{}, wrong(s.pos, "Unexpected character (%s): was expecting a colon to separate field name and value", s.here())
		}
		s.pos++
		v, err := s.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name, v})
		if c, err = s.peek(within); err != nil {
			return node{}, err
		}
		if c != ',' && c != '}' {
			return node{}, wrong(s.pos, "Unexpected character (%s): was expecting comma to separate Object entries", s.here())
		}
		s.pos++
		if c == '}' {
			n.end = s.pos
			return n, nil
		}
	}
}

func (s *scanner) array(depth int) (node, error) {
	s.pos++
	n := node{kind: kindArray, start: s.pos}
	const within = " within an Array"
	c, err := s.peek(within)
	if err != nil {
		return node{}, err
	}
	if c == ']' {
		s.pos++
		n.end = s.pos
		return n, nil
	}
	for {
		v, err := s.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, v)
		if c, err = s.peek(within); err != nil {
			return node{}, err
		}
		if c != ',' && c != ']' {
			return node{}, wrong(s.pos, "Unexpected character (%s): was expecting comma to separate Array entries", s.here())
		}
		s.pos++
		if c == ']' {
			n.end = s.pos
			return n, nil
		}
	}
}

// str reads a string, whose opening quote the position is at.
func (s *scanner) str() (string, error) {
	start := s.pos
	escaped := false
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			raw := s.text[start:s.pos]
			if !utf8.ValidString(raw) {
				return "", wrong(s.pos, "Invalid UTF-8 in a string")
			}
			if !escaped {
				return raw[1 : len(raw)-1], nil
			}
			var text string
			if err := json.Unmarshal([]byte(raw), &text); err != nil {
				return "", wrong(s.pos, "Unrecognized character escape in a string")
			}
			return text, nil
		case c == '\\':
			escaped = true
			s.pos++ // what follows does not end the string
		case c < ' ':
			return "", wrong(s.pos, "Illegal unquoted character ((CTRL-CHAR, code %d)): has to be escaped using backslash to be included in string value", c)
		}
	}
	return "", wrong(len(s.text), "Unexpected end-of-input in a string")
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] >= '0' && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) number() (node, error) {
	start := s.pos
	at := func(set string) bool { return s.pos < len(s.text) && strings.IndexByte(set, s.text[s.pos]) >= 0 }
	if at("-") {
		s.pos++
	}
	zero := at("0")
	ok := s.digits()
	if zero && s.pos > start+1 && strings.TrimPrefix(s.text[start:s.pos], "-") != "0" {
		return node{}, wrong(s.pos, "Invalid numeric value: Leading zeroes not allowed")
	}
	if ok && at(".") {
		s.pos++
		ok = s.digits()
	}
	if ok && at("eE") {
		s.pos++
		if at("+-") {
			s.pos++
		}
		ok = s.digits()
	}
	if !ok {
		return node{}, wrong(s.pos, "Invalid numeric value: %q is no number", s.text[start:s.pos])
	}
	return node{kind: kindNumber, text: s.text[start:s.pos], start: s.pos, end: s.pos}, nil
}

func (s *scanner) literal() (node, error) {
	start := s.pos
	for s.pos < len(s.text) && strings.IndexByte(" \t\r\n,:]}[{\"", s.text[s.pos]) < 0 {
		s.pos++
	}
	switch word := s.text[start:s.pos]; word {
	case "true", "false", "null":
		return node{kind: kindLiteral, text: word, start: s.pos, end: s.pos}, nil
	case "":
		return node{}, wrong(s.pos, "Unexpected character (%s): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", s.here())
	default:
		return node{}, wrong(s.pos, "Unrecognized token '%s': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')", word)
	}
}
