// Package jsontree owns strict JSON that keeps its order: it refuses duplicate
// keys, trailing text and texts that cost too much, and writes a tree in the two
// forms in which AWS returns policies.
//
// It does not know what a policy is (domain/policy).
package jsontree

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// Limits of what Parse reads. They are far above what any service of AWS stores,
// and low enough that a hostile text costs a few milliseconds.
const (
	// MaxBytes bounds the text.
	MaxBytes = 256 << 10
	// MaxDepth bounds how deep arrays and objects nest; a policy needs six.
	MaxDepth = 16
	// MaxNodes bounds how many values a text holds.
	MaxNodes = 20_000
)

// Kind says what a Node is.
type Kind int

// The kinds of values.
const (
	Object Kind = iota + 1
	Array
	String
	Number
	Bool
	Null
)

// Node is a value. It is not changed after Parse has returned it; who wants
// another makes a new one.
type Node struct {
	Kind Kind
	// Text is the content of a String, and the source text of a Number, Bool or
	// Null.
	Text string
	// Members belong to an Object, in the order in which they were given.
	Members []Member
	// Items belong to an Array.
	Items []*Node
}

// Member is a key of an object with its value.
type Member struct {
	Key   string
	Value *Node
}

// Failures of Parse.
var (
	// ErrSyntax says that a text is not JSON, as RFC 8259 has it, in UTF-8.
	ErrSyntax = errors.New("the text is not valid JSON")
	// ErrDuplicate says that an object has a key twice.
	ErrDuplicate = errors.New("an object has a key twice")
	// ErrLimit says that a text is longer, deeper or has more values than the
	// limits admit.
	ErrLimit = errors.New("the JSON text is too large")
)

// Parse reads one JSON value. It fails with one of the errors above.
func Parse(text string) (*Node, error) {
	if len(text) > MaxBytes {
		return nil, ErrLimit
	}
	if !utf8.ValidString(text) {
		return nil, ErrSyntax
	}
	r := reader{text: text}
	n, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if r.space(); r.at < len(r.text) {
		return nil, ErrSyntax
	}
	return n, nil
}

type reader struct {
	text  string
	at    int
	nodes int
}

func (r *reader) space() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

// next passes over space and returns the byte there, 0 at the end.
func (r *reader) next() byte {
	r.space()
	if r.at == len(r.text) {
		return 0
	}
	return r.text[r.at]
}

// take passes over c, if it is next.
func (r *reader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.at++
	return true
}

func (r *reader) value(depth int) (*Node, error) {
	if r.nodes++; depth > MaxDepth || r.nodes > MaxNodes {
		return nil, ErrLimit
	}
	switch c := r.next(); {
	case c == '{':
		return r.object(depth)
	case c == '[':
		return r.array(depth)
	case c == '"':
		s, err := r.string()
		return &Node{Kind: String, Text: s}, err
	case c == '-' || (c >= '0' && c <= '9'):
		return r.number()
	}
	for _, word := range []struct {
		text string
		kind Kind
	}{{"true", Bool}, {"false", Bool}, {"null", Null}} {
		if strings.HasPrefix(r.text[r.at:], word.text) {
			r.at += len(word.text)
			return &Node{Kind: word.kind, Text: word.text}, nil
		}
	}
	return nil, ErrSyntax
}

func (r *reader) object(depth int) (*Node, error) {
	n := &Node{Kind: Object}
	r.at++
	if r.take('}') {
		return n, nil
	}
	seen := map[string]bool{}
	for {
		if r.next() != '"' {
			return nil, ErrSyntax
		}
		key, err := r.string()
		if err != nil {
			return nil, err
		}
		if seen[key] {
			return nil, ErrDuplicate
		}
		seen[key] = true
		if !r.take(':') {
			return nil, ErrSyntax
		}
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Members = append(n.Members, Member{Key: key, Value: v})
		if r.take('}') {
			return n, nil
		}
		if !r.take(',') {
			return nil, ErrSyntax
		}
	}
}

func (r *reader) array(depth int) (*Node, error) {
	n := &Node{Kind: Array}
	r.at++
	if r.take(']') {
		return n, nil
	}
	for {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Items = append(n.Items, v)
		if r.take(']') {
			return n, nil
		}
		if !r.take(',') {
			return nil, ErrSyntax
		}
	}
}

// number reads -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?.
func (r *reader) number() (*Node, error) {
	start := r.at
	if r.text[r.at] == '-' {
		r.at++
	}
	whole := r.digits()
	if whole == "" || (len(whole) > 1 && whole[0] == '0') {
		return nil, ErrSyntax
	}
	if r.at < len(r.text) && r.text[r.at] == '.' {
		r.at++
		if r.digits() == "" {
			return nil, ErrSyntax
		}
	}
	if r.at < len(r.text) && r.text[r.at]|0x20 == 'e' {
		r.at++
		if r.at < len(r.text) && (r.text[r.at] == '+' || r.text[r.at] == '-') {
			r.at++
		}
		if r.digits() == "" {
			return nil, ErrSyntax
		}
	}
	return &Node{Kind: Number, Text: r.text[start:r.at]}, nil
}

func (r *reader) digits() string {
	start := r.at
	for r.at < len(r.text) && r.text[r.at] >= '0' && r.text[r.at] <= '9' {
		r.at++
	}
	return r.text[start:r.at]
}

// string reads a string, whose quote is next. Surrogates that are no pair are
// refused: no UTF-8 text can hold them.
func (r *reader) string() (string, error) {
	r.at++
	start := r.at
	var b []byte // of what was escaped, nil as long as nothing was
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == '"':
			s := r.text[start:r.at]
			r.at++
			if b != nil {
				s = string(append(b, s...))
			}
			return s, nil
		case c < 0x20:
			return "", ErrSyntax
		case c == '\\':
			b = append(b, r.text[start:r.at]...)
			c, ok := r.escape()
			if !ok {
				return "", ErrSyntax
			}
			b = utf8.AppendRune(b, c)
			start = r.at
		default:
			r.at++
		}
	}
	return "", ErrSyntax
}

// escape reads what a backslash begins.
func (r *reader) escape() (rune, bool) {
	r.at++
	if r.at == len(r.text) {
		return 0, false
	}
	c := r.text[r.at]
	r.at++
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), true
	}
	if c != 'u' {
		return 0, false
	}
	high, ok := r.hex()
	switch {
	case !ok || (high >= 0xdc00 && high <= 0xdfff):
		return 0, false
	case high < 0xd800 || high > 0xdfff:
		return high, true
	}
	if !strings.HasPrefix(r.text[r.at:], `\u`) {
		return 0, false
	}
	r.at += 2
	low, ok := r.hex()
	if !ok || low < 0xdc00 || low > 0xdfff {
		return 0, false
	}
	return 0x10000 + (high-0xd800)<<10 + low - 0xdc00, true
}

func (r *reader) hex() (rune, bool) {
	if len(r.text)-r.at < 4 {
		return 0, false
	}
	var v rune
	for range 4 {
		i := strings.IndexByte("0123456789abcdef", r.text[r.at]|0x20)
		if i < 0 || (i < 10 && r.text[r.at] > '9') || r.text[r.at] < '0' {
			return 0, false
		}
		v = v<<4 | rune(i)
		r.at++
	}
	return v, true
}
