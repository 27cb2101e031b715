package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	w := walker{dec: json.NewDecoder(bytes.NewReader(body))}
	w.dec.UseNumber()
	first, err := w.dec.Token()
	if err != nil || first != json.Delim('{') {
		return syntaxError()
	}
	if err := w.object(1); err != nil {
		return err
	}
	if _, err := w.dec.Token(); !errors.Is(err, io.EOF) {
		return syntaxError()
	}
	return nil
}

// walker goes once through a document that is known to be valid JSON.
type walker struct {
	dec     *json.Decoder
	members int
}

func (w *walker) value(depth int) error {
	t, err := w.dec.Token()
	if err != nil {
		return syntaxError()
	}
	switch t {
	case json.Delim('{'):
		return w.object(depth + 1)
	case json.Delim('['):
		return w.list(depth + 1)
	}
	return nil
}

func (w *walker) object(depth int) error {
	if depth > maxDepth {
		return invalid("the manifest is nested more than %d levels deep", maxDepth)
	}
	seen := map[string]struct{}{}
	for w.dec.More() {
		t, err := w.dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return syntaxError()
		}
		if _, twice := seen[key]; twice {
			return invalid("the member %s stands twice in one object", quote(key))
		}
		seen[key] = struct{}{}
		if w.members++; w.members > maxMembers {
			return invalid("the manifest has more than %d members", maxMembers)
		}
		if err := w.value(depth); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *walker) list(depth int) error {
	if depth > maxDepth {
		return invalid("the manifest is nested more than %d levels deep", maxDepth)
	}
	for w.dec.More() {
		if w.members++; w.members > maxMembers {
			return invalid("the manifest has more than %d members", maxMembers)
		}
		if err := w.value(depth); err != nil {
			return err
		}
	}
	return w.end()
}

func (w *walker) end() error {
	if _, err := w.dec.Token(); err != nil {
		return syntaxError()
	}
	return nil
}

// object is one JSON object. Its members are looked up by their exact names:
// encoding/json's own decoding into structs ignores case, and other clients'
// does not.
type object struct {
	at      string // where it stands, for messages
	members map[string]json.RawMessage
}

// readObject reads an object that belongs at the place. A member that differs
// from a known name in case only is refused, for the reason above.
func readObject(at string, raw []byte, known ...string) (object, error) {
	o := object{at: at}
	if err := json.Unmarshal(raw, &o.members); err != nil || o.members == nil {
		return object{}, invalid("%s is not a JSON object", at)
	}
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
	var s string
	if json.Unmarshal(o.members[name], &s) != nil {
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
	var l []json.RawMessage
	if json.Unmarshal(o.members[name], &l) != nil {
		return nil, invalid("%s.%s is not a list", o.at, name)
	}
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
		var s *string
		if json.Unmarshal(raw, &s) != nil || s == nil {
			return nil, invalid("%s.%s is not a list of strings", o.at, name)
		}
		l = append(l, *s)
	}
	return l, nil
}

// textMap reads an object of strings; nil when it is absent.
func (o object) textMap(name string) (map[string]string, error) {
	if !o.has(name) {
		return nil, nil
	}
	var m map[string]*string
	if json.Unmarshal(o.members[name], &m) != nil {
		return nil, invalid("%s.%s is not an object of strings", o.at, name)
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		if v == nil {
			return nil, invalid("%s.%s is not an object of strings", o.at, name)
		}
		out[k] = *v
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
