package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// path is the part of JSONPath that EventBridge has: $, .name, [n], .* and [*].
type path []segment

// segment leads from a value to its parts.
type segment struct {
	name  string
	index int // of a list, where name is ""
	all   bool
}

func parsePath(text string) (path, error) {
	if utf8.RuneCountInString(text) > MaxPath {
		return nil, fmt.Errorf("it is longer than %d characters", MaxPath)
	}
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, fmt.Errorf("%q does not begin with $", text)
	}
	var p path
	for rest != "" {
		var s segment
		switch {
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[")
			if end < 0 {
				end = len(rest) - 1
			}
			s.name, rest = rest[1:1+end], rest[1+end:]
			if s.name == "*" {
				s = segment{all: true}
				break
			}
			if s.name == "" || strings.ContainsAny(s.name, " \t\r\n'\"()?@$*,]<>") {
				return nil, fmt.Errorf("%q is no name of a member", s.name)
			}
		case rest[0] == '[':
			inside, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return nil, fmt.Errorf("a [ in %q has no end", text)
			}
			rest = after
			if inside == "*" {
				s.all = true
				break
			}
			n, err := strconv.ParseUint(inside, 10, 31)
			if err != nil {
				return nil, fmt.Errorf("%q is no index of a list", inside)
			}
			s.index = int(n)
		default:
			return nil, fmt.Errorf("%q is neither .name nor [index]", rest)
		}
		p = append(p, s)
	}
	return p, nil
}

// find is what the path leads to in a JSON text, and whether it leads anywhere. A path
// with * leads to the list of all that it meets, if it meets anything.
func (p path) find(text []byte) (json.RawMessage, bool, error) {
	found := []json.RawMessage{bytes.TrimSpace(text)}
	many := false
	for _, s := range p {
		many = many || s.all
		var next []json.RawMessage
		for _, v := range found {
			parts, err := s.parts(v)
			if err != nil {
				return nil, false, err
			}
			next = append(next, parts...)
		}
		found = next
	}
	switch {
	case len(found) == 0:
		return nil, false, nil
	case many:
		all, err := marshal(found)
		return all, true, err
	}
	return found[0], true, nil
}

// parts are those of a value that a segment leads to.
func (s segment) parts(v json.RawMessage) ([]json.RawMessage, error) {
	switch {
	case len(v) == 0:
		return nil, errors.New("the event is no JSON")
	case v[0] == '{' && (s.name != "" || s.all):
		of, err := members(v)
		if err != nil {
			return nil, err
		}
		if !s.all {
			if one, ok := last(of, s.name); ok {
				return []json.RawMessage{one}, nil
			}
			return nil, nil
		}
		all := make([]json.RawMessage, 0, len(of))
		for _, m := range of {
			all = append(all, m.value)
		}
		return all, nil
	case v[0] == '[' && s.name == "":
		all, err := items(v)
		if err != nil || s.all {
			return all, err
		}
		if s.index < len(all) {
			return all[s.index : s.index+1], nil
		}
	}
	return nil, nil
}

// member is a member of an object.
type member struct {
	name  string
	value json.RawMessage
}

// members are those of an object, in their order.
func members(object json.RawMessage) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil { // {
		return nil, err
	}
	var out []member
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("%v is no name of a member", t)
		}
		m := member{name: name}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// last is the value of the last member of a name.
func last(of []member, name string) (json.RawMessage, bool) {
	for _, m := range slices.Backward(of) {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

func items(list json.RawMessage) ([]json.RawMessage, error) {
	var out []json.RawMessage
	err := json.Unmarshal(list, &out)
	return out, err
}
