package query

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"reflect"
	"sort"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// writer writes the XML of answers. encoding/xml would need tags of its own on
// the generated types, and has no form for their maps.
type writer struct{ b bytes.Buffer }

func (w *writer) open(name, namespace string) {
	w.b.WriteString("<" + name)
	if namespace != "" {
		w.b.WriteString(` xmlns="` + namespace + `"`)
	}
	w.b.WriteString(">")
}

func (w *writer) end(name string) { w.b.WriteString("</" + name + ">") }

// text writes an element with text in it. What XML has no form for becomes
// U+FFFD.
func (w *writer) text(name, value string) {
	w.open(name, "")
	_ = xml.EscapeText(&w.b, []byte(value)) // a bytes.Buffer does not fail
	w.end(name)
}

// members writes the present members of a structure.
func (w *writer) members(v reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if field := v.Field(i); !field.IsZero() {
			w.value(name, reflect.Indirect(field))
		}
	}
}

func (w *writer) value(name string, v reflect.Value) {
	switch value := v.Interface().(type) {
	case shape.Timestamp:
		w.text(name, value.ISO())
		return
	case []byte:
		w.text(name, base64.StdEncoding.EncodeToString(value))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		w.open(name, "")
		w.members(v)
		w.end(name)
	case reflect.Slice:
		w.open(name, "")
		for i := range v.Len() {
			w.value("member", v.Index(i))
		}
		w.end(name)
	case reflect.Map:
		w.open(name, "")
		keys := v.MapKeys()
		sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
		for _, key := range keys {
			w.open("entry", "")
			w.text("key", key.String())
			w.value("value", v.MapIndex(key))
			w.end("entry")
		}
		w.end(name)
	default:
		w.text(name, fmt.Sprint(v.Interface()))
	}
}
