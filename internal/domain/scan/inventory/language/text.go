package language

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// maxLine is the longest line in bytes; some licences stand in one.
const maxLine = 1 << 20

// maxNesting is how deep our own walks follow nested objects.
const maxNesting = 64

// text is the content as UTF-8 without a byte order mark: tools of Windows write one, and some
// write UTF-16.
func text(size int64, r io.Reader) (io.Reader, error) {
	if size > maxText {
		return nil, fmt.Errorf("it has %d bytes, and more than %d are not read of a text", size, maxText)
	}
	b := bufio.NewReader(r)
	mark, err := b.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(mark, []byte{0xef, 0xbb, 0xbf}):
		_, err := b.Discard(3)
		return b, err
	case bytes.HasPrefix(mark, []byte{0xff, 0xfe}):
		order = binary.LittleEndian
	case bytes.HasPrefix(mark, []byte{0xfe, 0xff}):
		order = binary.BigEndian
	default:
		return b, nil
	}
	all, err := io.ReadAll(b)
	if err != nil {
		return nil, err
	}
	units := make([]uint16, 0, len(all)/2)
	for i := 2; i+1 < len(all); i += 2 {
		units = append(units, order.Uint16(all[i:]))
	}
	return strings.NewReader(string(utf16.Decode(units))), nil
}

// lines calls fn with each line, without its end, until fn says that it has enough or fails.
func lines(ctx context.Context, r io.Reader, fn func(line string) (more bool, err error)) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, maxLine)
	for n := 0; s.Scan(); n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if more, err := fn(strings.TrimSuffix(s.Text(), "\r")); err != nil || !more {
			return err
		}
	}
	return s.Err()
}

// indent counts the leading spaces.
func indent(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// object calls fn for each member of the object that comes next, with the decoder before its
// value; fn must read it, with value, skip, object or array. Anything that is no object is
// passed over: what real files have in such places is null or an empty array. Members
// are never gathered, so that memory does not grow with their number.
func object(ctx context.Context, d *json.Decoder, fn func(name string) error) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return rest(d, t)
	}
	for n := 0; d.More(); n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return errors.New("an object's member has no name")
		}
		if err := fn(name); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// array is object for the elements of an array.
func array(ctx context.Context, d *json.Decoder, fn func() error) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('[') {
		return rest(d, t)
	}
	for n := 0; d.More(); n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := fn(); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// rest passes over what t begins.
func rest(d *json.Decoder, t json.Token) error {
	end, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	for d.More() {
		if end == '{' {
			if _, err := d.Token(); err != nil {
				return err
			}
		}
		if err := skip(d); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// value reads the next value into v. One of another kind than v is no error: the
// members that fit are there.
func value(d *json.Decoder, v any) error {
	var kind *json.UnmarshalTypeError
	if err := d.Decode(v); err != nil && !errors.As(err, &kind) {
		return err
	}
	return nil
}

// skip passes over the next value.
func skip(d *json.Decoder) error { return d.Decode(&ignored{}) }

// ignored is a value that is not kept.
type ignored struct{}

// UnmarshalJSON keeps nothing.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

// names are licences as npm and Composer write them: a word, an object with a type, or
// several of both.
type names []string

// UnmarshalJSON takes what it understands and passes over the rest.
func (n *names) UnmarshalJSON(b []byte) error {
	if len(b) > 4096 {
		return nil
	}
	var several []json.RawMessage
	if json.Unmarshal(b, &several) != nil {
		several = []json.RawMessage{b}
	}
	for _, s := range several {
		var word string
		var one struct {
			Type string `json:"type"`
			Name string `json:"name"`
		}
		if json.Unmarshal(s, &word) == nil {
			*n = append(*n, word)
		} else if json.Unmarshal(s, &one) == nil {
			*n = append(*n, one.Type, one.Name)
		}
	}
	return nil
}
