package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Bounds on any JSON document that is looked at, far above what a manifest
// needs: they keep the work of reading one proportional to its size.
const (
	maxDepth   = 32
	maxMembers = 100_000
)

// invalid is the refusal of a manifest, in ECR's form.
func invalid(format string, args ...any) *errs.Error {
	return errs.New(errs.ManifestInvalid, "Invalid parameter at 'ImageManifest' failed to satisfy constraint: '%s'", fmt.Sprintf(format, args...))
}

// syntaxError is the refusal of bytes that are no JSON object.
func syntaxError() *errs.Error { return invalid("Invalid JSON syntax") }

// checkDocument checks that body is one JSON object in which no object names a
// member twice. Parsers disagree about which of two equal members counts, so
// such a manifest would mean one thing to Berth and another to its clients.
func checkDocument(body []byte) error {
	if !utf8.Valid(body) || !json.Valid(body) {
		return syntaxError()
	}
	w := walker{scanner: scanner{b: body}}
	if w.next() != '{' {
		return syntaxError()
	}
	return w.value(0)
}

// walker goes once through a document that is known to be valid JSON.
type walker struct {
	scanner
	members int
}

func (w *walker) value(depth int) error {
	switch w.next() {
	case '{':
		return w.object(depth + 1)
	case '[':
		return w.list(depth + 1)
	}
	w.skip()
	return nil
}

func (w *walker) object(depth int) error {
	if depth > maxDepth {
		return invalid("the manifest is nested more than %d levels deep", maxDepth)
	}
	var seen keys
	return w.each('}', func() error {
		key := w.key()
		if seen.has(key) {
			return invalid("the member %s stands twice in one object", quote(key))
		}
		if err := w.count(); err != nil {
			return err
		}
		return w.value(depth)
	})
}

func (w *walker) list(depth int) error {
	if depth > maxDepth {
		return invalid("the manifest is nested more than %d levels deep", maxDepth)
	}
	return w.each(']', func() error {
		if err := w.count(); err != nil {
			return err
		}
		return w.value(depth)
	})
}

func (w *walker) count() error {
	if w.members++; w.members > maxMembers {
		return invalid("the manifest has more than %d members", maxMembers)
	}
	return nil
}

// keys are the names of an object's members so far. Most objects have few.
type keys struct {
	few  [8]string
	n    int
	rest map[string]struct{}
}

// has says whether a name was there before, and puts it there.
func (k *keys) has(key string) bool {
	if slices.Contains(k.few[:k.n], key) {
		return true
	}
	if k.n < len(k.few) {
		k.few[k.n] = key
		k.n++
		return false
	}
	if _, ok := k.rest[key]; ok {
		return true
	}
	if k.rest == nil {
		k.rest = map[string]struct{}{}
	}
	k.rest[key] = struct{}{}
	return false
}

// object is one JSON object. Its members are looked up by their exact names:
// encoding/json's own decoding into structs ignores case, and other clients'
// does not.
type object struct {
	at      string // where it stands, for messages
	members map[string]json.RawMessage
}

// readObject reads an object that belongs at the place, in a document that
// checkDocument has passed. A member that differs from a known name in case only
// is refused, for the reason above.
func readObject(at string, raw []byte, known ...string) (object, error) {
	w := scanner{b: raw}
	if w.next() != '{' {
		return object{}, invalid("%s is not a JSON object", at)
	}
	o := object{at: at, members: map[string]json.RawMessage{}}
	_ = w.each('}', func() error { // the function has no error
		key := w.key()
		o.members[key] = w.skip()
		return nil
	})
	for key := range o.members {
		for _, k := range known {
			if key != k && strings.EqualFold(key, k) {
				return object{}, invalid("%s has a member %s; it is written %s", at, quote(key), quote(k))
			}
		}
	}
	return o, nil
}

// has says whether the member is there and not null.
func (o object) has(name string) bool {
	raw, ok := o.members[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// text reads a string; "" when it is absent.
func (o object) text(name string) (string, error) {
	if !o.has(name) {
		return "", nil
	}
	s, ok := unquote(o.members[name])
	if !ok {
		return "", invalid("%s.%s is not a string", o.at, name)
	}
	return s, nil
}

// integer reads a whole number without sign or exponent; false when absent.
func (o object) integer(name string) (int64, bool, error) {
	if !o.has(name) {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(string(o.members[name]), 10, 64)
	if err != nil || n < 0 {
		return 0, false, invalid("%s.%s is not a whole number of 0 or more", o.at, name)
	}
	return n, true, nil
}

// list reads an array; nil when it is absent.
func (o object) list(name string) ([]json.RawMessage, error) {
	if !o.has(name) {
		return nil, nil
	}
	l := []json.RawMessage{}
	w := scanner{b: o.members[name]}
	if w.next() != '[' {
		return nil, invalid("%s.%s is not a list", o.at, name)
	}
	_ = w.each(']', func() error { // the function has no error
		l = append(l, w.skip())
		return nil
	})
	return l, nil
}

// texts reads an array of strings; nil when it is absent.
func (o object) texts(name string) ([]string, error) {
	raws, err := o.list(name)
	if err != nil {
		return nil, err
	}
	var l []string
	for _, raw := range raws {
		s, ok := unquote(raw)
		if !ok {
			return nil, invalid("%s.%s is not a list of strings", o.at, name)
		}
		l = append(l, s)
	}
	return l, nil
}

// textMap reads an object of strings; nil when it is absent.
func (o object) textMap(name string) (map[string]string, error) {
	if !o.has(name) {
		return nil, nil
	}
	w := scanner{b: o.members[name]}
	if w.next() != '{' {
		return nil, invalid("%s.%s is not an object of strings", o.at, name)
	}
	out := map[string]string{}
	err := w.each('}', func() error {
		key := w.key()
		text, ok := unquote(w.skip())
		if !ok {
			return invalid("%s.%s is not an object of strings", o.at, name)
		}
		out[key] = text
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// quote shows text from a manifest in a message: quoted, escaped, not long.
func quote(s string) string {
	const longest = 100
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") + "..."
	}
	return strconv.QuoteToASCII(s)
}
