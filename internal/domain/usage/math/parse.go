package math

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds how deep an expression may nest.
const maxDepth = 200

// Error is what is wrong with an expression, in a text for whoever wrote it.
type Error struct{ Text string }

// Error implements error.
func (e *Error) Error() string { return e.Text }

func wrong(format string, args ...any) error { return &Error{Text: fmt.Sprintf(format, args...)} }

// Expression is a parsed expression.
type Expression struct {
	root    node
	ids     []string
	metrics bool
}

// IDs are the ids that the expression names, in the order of the alphabet, each once.
func (e Expression) IDs() []string { return e.ids }

// Metrics says whether the expression asks for all metrics of the request.
func (e Expression) Metrics() bool { return e.metrics }

// node is one of number, text, identifier, list, call, negation and operation.
type node any

type (
	number     float64
	text       string
	identifier string
	list       []node
	call       struct {
		function string
		args     []node
	}
	negation  struct{ of node }
	operation struct {
		operator    byte
		left, right node
	}
)

// Parse reads an expression. The error is an *Error.
func Parse(source string) (Expression, error) {
	p := &parser{source: source}
	if err := p.next(); err != nil {
		return Expression{}, err
	}
	root, err := p.sum(0)
	if err != nil {
		return Expression{}, err
	}
	if p.kind != end {
		return Expression{}, p.unexpected()
	}
	slices.Sort(p.ids)
	return Expression{root: root, ids: slices.Compact(p.ids), metrics: p.metrics}, nil
}

type tokenKind int

const (
	end tokenKind = iota
	numeral
	word
	quoted
	sign
)

type parser struct {
	source  string
	at      int // behind the token
	start   int // of the token
	kind    tokenKind
	token   string
	value   float64
	ids     []string
	metrics bool
}

func (p *parser) unexpected() error {
	if p.kind == end {
		return wrong("the expression ends too early")
	}
	return wrong("'%s' is not expected at character %d", p.token, p.start+1)
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

// next reads the next token.
func (p *parser) next() error {
	for p.at < len(p.source) && strings.IndexByte(" \t\r\n", p.source[p.at]) >= 0 {
		p.at++
	}
	p.start = p.at
	if p.at == len(p.source) {
		p.kind, p.token = end, ""
		return nil
	}
	c := p.source[p.at]
	switch {
	case digit(c) || c == '.':
		return p.numeral()
	case letter(c):
		for p.at < len(p.source) && (letter(p.source[p.at]) || digit(p.source[p.at])) {
			p.at++
		}
		p.kind, p.token = word, p.source[p.start:p.at]
	case c == '"' || c == '\'':
		length := strings.IndexByte(p.source[p.at+1:], c)
		if length < 0 {
			return wrong("the quotation mark at character %d is not closed", p.start+1)
		}
		p.kind, p.token = quoted, p.source[p.at+1:p.at+1+length]
		p.at += length + 2
	case strings.IndexByte("+-*/^(),[]", c) >= 0:
		p.kind, p.token = sign, string(c)
		p.at++
	case strings.IndexByte("<>=!&|", c) >= 0:
		return wrong("comparisons and logical operators are not supported here (character %d)", p.start+1)
	default:
		return wrong("%q is not expected at character %d", p.source[p.at:p.at+1], p.start+1)
	}
	return nil
}

func (p *parser) numeral() error {
	digits := func() {
		for p.at < len(p.source) && digit(p.source[p.at]) {
			p.at++
		}
	}
	digits()
	if p.at < len(p.source) && p.source[p.at] == '.' {
		p.at++
		digits()
	}
	if p.at < len(p.source) && (p.source[p.at] == 'e' || p.source[p.at] == 'E') {
		p.at++
		if p.at < len(p.source) && (p.source[p.at] == '+' || p.source[p.at] == '-') {
			p.at++
		}
		digits()
	}
	p.kind, p.token = numeral, p.source[p.start:p.at]
	var err error
	if p.value, err = strconv.ParseFloat(p.token, 64); err != nil {
		return wrong("'%s' is no number", p.token)
	}
	return nil
}

func (p *parser) is(signs string) bool { return p.kind == sign && strings.Contains(signs, p.token) }

// take consumes a sign, which has to be there.
func (p *parser) take(s string) error {
	if !p.is(s) {
		return p.unexpected()
	}
	return p.next()
}

// chain reads operands that are joined by operators of one rank, from left to right.
func (p *parser) chain(operators string, operand func(depth int) (node, error), depth int) (node, error) {
	left, err := operand(depth)
	for err == nil && p.is(operators) {
		joined := operation{operator: p.token[0], left: left}
		if err = p.next(); err == nil {
			joined.right, err = operand(depth)
			left = joined
		}
	}
	return left, err
}

func (p *parser) sum(depth int) (node, error) {
	if depth > maxDepth {
		return nil, wrong("the expression nests too deeply")
	}
	return p.chain("+-", p.product, depth)
}

func (p *parser) product(depth int) (node, error) { return p.chain("*/", p.signed, depth) }

func (p *parser) signed(depth int) (node, error) {
	if depth > maxDepth {
		return nil, wrong("the expression nests too deeply")
	}
	if !p.is("+-") {
		return p.power(depth)
	}
	minus := p.token == "-"
	if err := p.next(); err != nil {
		return nil, err
	}
	of, err := p.signed(depth + 1)
	if minus {
		of = negation{of: of}
	}
	return of, err
}

// power binds more tightly than a sign in front of it, and from the right.
func (p *parser) power(depth int) (node, error) {
	base, err := p.operand(depth)
	if err != nil || !p.is("^") {
		return base, err
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	exponent, err := p.signed(depth + 1)
	return operation{operator: '^', left: base, right: exponent}, err
}

func (p *parser) operand(depth int) (node, error) {
	token, value := p.token, p.value
	switch {
	case p.kind == numeral:
		return number(value), p.next()
	case p.kind == quoted:
		return text(token), p.next()
	case p.kind == word:
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.is("(") {
			p.metrics = p.metrics || token == "METRICS"
			args, err := p.sequence(")", depth)
			return call{function: token, args: args}, err
		}
		if token[0] >= 'a' && token[0] <= 'z' { // else a word such as REPEAT
			p.ids = append(p.ids, token)
		}
		return identifier(token), nil
	case p.is("["):
		items, err := p.sequence("]", depth)
		return list(items), err
	case p.is("("):
		if err := p.next(); err != nil {
			return nil, err
		}
		inner, err := p.sum(depth + 1)
		if err != nil {
			return nil, err
		}
		return inner, p.take(")")
	}
	return nil, p.unexpected()
}

// sequence reads what stands between the bracket that is the token and its end.
func (p *parser) sequence(closing string, depth int) ([]node, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	var out []node
	for !p.is(closing) {
		if len(out) > 0 {
			if err := p.take(","); err != nil {
				return nil, err
			}
		}
		item, err := p.sum(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, item)
	}
	return out, p.next()
}
