package pattern

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// Event is an event that patterns can be held against. It is read only.
type Event struct {
	// fields are all values that are neither objects nor arrays, by their path.
	fields map[string][]field
}

// field is a value of the event, with the elements of arrays that it stands in, from the
// outermost on.
type field struct {
	value
	in []element
}

// element is one element of one array of the event; arrays are numbered.
type element struct{ array, index int }

// value is a string, number, true, false or null.
type value struct {
	kind   kind
	text   string
	number number
	addr   netip.Addr // of a string that is an IP address
}

func newValue(n node) value {
	v := value{kind: n.kind, text: n.text}
	switch n.kind {
	case kindNumber:
		v.number = parseNumber(n.text)
	case kindString:
		v.addr = parseAddr(n.text)
	case kindObject, kindArray, kindLiteral:
	}
	return v
}

// required are the members without which EventBridge takes nothing for an event
// (TestEventPattern of its API reference).
func required() []string {
	return []string{"id", "account", "source", "time", "region", "detail-type"}
}

// ParseEvent reads an event in EventBridge's envelope. What is no JSON object, or lacks
// one of the members id, account, source, time, region and detail-type, is an
// errs.Validation.
func ParseEvent(json []byte) (Event, error) {
	root, err := parseJSON(string(json))
	if err != nil {
		return Event{}, errs.Wrap(err, errs.Validation, "Parameter Event is not valid. Reason: %s.", err)
	}
	if root.kind != kindObject {
		return Event{}, errs.New(errs.Validation, "Parameter Event is not valid. Reason: it is not a JSON object.")
	}
	for _, name := range required() {
		if !slices.ContainsFunc(root.members, func(m member) bool { return m.name == name }) {
			return Event{}, errs.New(errs.Validation, "Parameter Event is not valid. Reason: it has no %s.", name)
		}
	}
	return newEvent(root), nil
}

func newEvent(root node) Event {
	w := walker{fields: map[string][]field{}}
	w.object(root, "", nil)
	return Event{w.fields}
}

// walker collects the fields of an event.
type walker struct {
	fields map[string][]field
	arrays int
}

func (w *walker) object(n node, prefix string, in []element) {
	for _, m := range n.members {
		w.value(m.value, prefix+m.name, in)
	}
}

func (w *walker) value(n node, path string, in []element) {
	switch n.kind {
	case kindObject:
		w.object(n, path+".", in)
	case kindArray:
		array := w.arrays
		w.arrays++
		for i, item := range n.items {
			switch item.kind {
			case kindObject, kindArray:
				w.value(item, path, append(slices.Clone(in), element{array, i}))
			case kindString, kindNumber, kindLiteral:
				// Plain values belong to the array as a whole: two of them may
				// satisfy one pattern.
				w.add(item, path, in)
			}
		}
	case kindString, kindNumber, kindLiteral:
		w.add(n, path, in)
	}
}

func (w *walker) add(n node, path string, in []element) {
	w.fields[path] = append(w.fields[path], field{newValue(n), in})
}

// parseAddr is the address that a text is, the zero one if it is none. Zones are none.
func parseAddr(text string) netip.Addr {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(text) > longest || strings.IndexByte(text, '%') >= 0 || !strings.ContainsAny(text, ".:") {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}
