package policies

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/api/iam/shapes"
)

// span is where a statement stands in the text of its policy.
type span struct{ start, end *shapes.Position }

// spans finds the statements of a policy that policy.Parse took. As AWS counts,
// a statement begins right behind what stands before it (the bracket of the
// list, or the end of the previous statement), one that is no list element behind
// its own brace, and each ends behind its brace (samples in the IAM API
// reference, SimulatePrincipalPolicy).
func spans(text string) []span {
	d := json.NewDecoder(strings.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil
		}
		if key == "Statement" {
			return elements(d, text)
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return nil
		}
	}
	return nil
}

// elements finds the statements of the value that the decoder is before.
func elements(d *json.Decoder, text string) (all []span) {
	open, err := d.Token()
	if err != nil {
		return nil
	}
	at := &place{text: text, line: 1, column: 1}
	start := at.position(d.InputOffset())
	if open == json.Delim('{') {
		if end, ok := closing(d); ok {
			all = append(all, span{start, at.position(end)})
		}
		return all
	}
	for d.More() {
		if _, err := d.Token(); err != nil {
			return nil
		}
		end, ok := closing(d)
		if !ok {
			return nil
		}
		all = append(all, span{start, at.position(end)})
		start = all[len(all)-1].end
	}
	return all
}

// closing reads up to the end of the object that the decoder is in.
func closing(d *json.Decoder) (end int64, ok bool) {
	for depth := 1; depth > 0; {
		token, err := d.Token()
		if err != nil {
			return 0, false
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return d.InputOffset(), true
}

// place is a place in a text that moves forward, so that a long policy is gone
// through once. Lines and characters count from 1.
type place struct {
	text         string
	passed       int64
	line, column int64
}

// position moves on to an offset in the whole text that is not before the last
// one. What has been passed is cut off the text.
func (p *place) position(offset int64) *shapes.Position {
	passed := p.text[:offset-p.passed]
	p.text, p.passed = p.text[len(passed):], offset
	if lines := int64(strings.Count(passed, "\n")); lines > 0 {
		p.line += lines
		p.column = 1
		passed = passed[strings.LastIndexByte(passed, '\n')+1:]
	}
	p.column += int64(utf8.RuneCountInString(passed))
	return &shapes.Position{Line: new(p.line), Column: new(p.column)}
}
