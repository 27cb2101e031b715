package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
)

// The reserved variables.
const (
	ruleARN       = "aws.events.rule-arn"
	ruleName      = "aws.events.rule-name"
	ingestionTime = "aws.events.event.ingestion-time"
	// someEvent is the event without its detail, wholeEvent all of it.
	someEvent  = "aws.events.event"
	wholeEvent = "aws.events.event.json"
)

func reserved(variable string) bool {
	switch variable {
	case ruleARN, ruleName, ingestionTime, someEvent, wholeEvent:
		return true
	}
	return false
}

// piece is text of a template, or a variable.
type piece struct {
	text     string
	variable string
	// quoted says that it stands within a JSON string.
	quoted bool
}

var placeholderRE = regexp.MustCompile(`<([A-Za-z0-9_.-]+)>`)

// split takes a template apart.
func split(template string) []piece {
	var out []piece
	quoted, at := false, 0
	for _, m := range placeholderRE.FindAllStringSubmatchIndex(template, -1) {
		text := template[at:m[0]]
		out = append(out, piece{text: text})
		quoted = quotedAfter(text, quoted)
		out = append(out, piece{variable: template[m[2]:m[3]], quoted: quoted})
		at = m[1]
	}
	return append(out, piece{text: template[at:]})
}

// quotedAfter says whether what follows a text stands within a string, when the text began
// within one or not.
func quotedAfter(text string, quoted bool) bool {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		}
	}
	return quoted
}

// fill puts values in the places of variables.
func fill(pieces []piece, value func(piece) string) string {
	var b strings.Builder
	for _, p := range pieces {
		if p.variable == "" {
			b.WriteString(p.text)
		} else {
			b.WriteString(value(p))
		}
	}
	return b.String()
}

// checkJSON says whether a text is one JSON value, or, where single is not asked for, some.
func checkJSON(text string, single bool) error {
	if single {
		var v json.RawMessage
		return json.Unmarshal([]byte(text), &v)
	}
	d := json.NewDecoder(strings.NewReader(text))
	for n := 0; ; n++ {
		var v json.RawMessage
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF) && n > 0:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("it is empty")
		case err != nil:
			return err
		}
	}
}

// marker is a character that no template has a use for (of Unicode's private ones).
const marker = "\ue000"

// markedKey says whether a key of an object has the marker.
func markedKey(v json.RawMessage) bool {
	switch v[0] {
	case '{':
		all, err := members(v)
		return err == nil && slices.ContainsFunc(all, func(m member) bool { return strings.Contains(m.name, marker) || markedKey(m.value) })
	case '[':
		all, err := items(v)
		return err == nil && slices.ContainsFunc(all, markedKey)
	}
	return false
}

func (t *Transformer) apply(event []byte, r Rule) ([]byte, error) {
	object := isObject(t.Template)
	values := map[string]json.RawMessage{} // a missing one is ""
	pieces := split(t.Template)
	for _, p := range pieces {
		if _, done := values[p.variable]; p.variable == "" || done {
			continue
		}
		v, err := t.value(p.variable, event, r)
		if err != nil {
			return nil, err
		}
		values[p.variable] = v
	}
	var failed error
	text := fill(pieces, func(p piece) string {
		v := values[p.variable]
		if !p.quoted {
			return string(v)
		}
		if object && (v[0] == '{' || v[0] == '[') {
			failed = errs.New(errs.Validation, "InputTemplate has <%s> between quotes, which is an object or a list in this event; write it without quotes.", p.variable)
		}
		return escape(plain(v))
	})
	if failed != nil {
		return nil, failed
	}
	if err := checkJSON(text, object); err != nil {
		return nil, errs.Wrap(err, errs.Validation, "InputTemplate makes no valid JSON of this event: %s.", err)
	}
	if object {
		return compact([]byte(text))
	}
	return []byte(text), nil
}

// value is a variable's value as JSON without white space.
func (t *Transformer) value(variable string, event []byte, r Rule) (json.RawMessage, error) {
	switch variable {
	case ruleARN:
		return marshal(r.ARN)
	case ruleName:
		return marshal(r.Name)
	case ingestionTime:
		return marshal(r.IngestionTime.UTC().Format(time.RFC3339))
	case wholeEvent:
		return compact(event)
	case someEvent:
		return withoutDetail(event)
	}
	p, err := parsePath(t.Paths[variable])
	if err != nil {
		return nil, errs.Wrap(err, errs.Validation, "InputPath %s of the variable %s is invalid.", t.Paths[variable], variable)
	}
	found, ok, err := p.find(event)
	if err != nil {
		return nil, err
	}
	if !ok {
		return json.RawMessage(`""`), nil
	}
	return compact(found)
}

// withoutDetail is an event with the members, their names and their order that EventBridge
// gives <aws.events.event>.
func withoutDetail(event []byte) (json.RawMessage, error) {
	of, err := members(event)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, m := range []struct{ name, from string }{
		{"id", "id"}, {"account", "account"}, {"detailType", "detail-type"}, {"time", "time"},
		{"source", "source"}, {"region", "region"}, {"resources", "resources"}, {"version", "version"},
	} {
		v, ok := last(of, m.from)
		if !ok {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", m.name, v)
	}
	return compact([]byte("{" + b.String() + "}"))
}

// plain is a value as it stands in a text: strings without quotes, also within objects and
// lists.
func plain(v json.RawMessage) string {
	switch v[0] {
	case '"':
		var s string
		if json.Unmarshal(v, &s) == nil {
			return s
		}
	case '[':
		all, err := items(v)
		if err != nil {
			break
		}
		texts := make([]string, 0, len(all))
		for _, one := range all {
			texts = append(texts, plain(one))
		}
		return "[" + strings.Join(texts, ",") + "]"
	case '{':
		all, err := members(v)
		if err != nil {
			break
		}
		texts := make([]string, 0, len(all))
		for _, m := range all {
			texts = append(texts, m.name+":"+plain(m.value))
		}
		return "{" + strings.Join(texts, ",") + "}"
	}
	return string(v)
}

// escape is a text as it stands within a JSON string.
func escape(text string) string {
	b, err := marshal(text)
	if err != nil {
		return "" // strings can be marshalled
	}
	return string(b[1 : len(b)-1])
}

// marshal is json.Marshal that leaves <, > and & alone.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

func compact(text []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Compact(&b, text)
	return b.Bytes(), err
}
