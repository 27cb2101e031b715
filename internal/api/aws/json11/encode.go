package json11

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// firstSize is what an answer gets at first, in bytes; pages are longer and grow.
const firstSize = 1 << 10

// encode appends v, a generated structure or a pointer to one, to b as marshal would write
// it, byte for byte. A list of a hundred structures costs it a fraction: how a type is
// written is found out once for each answer and not looked up for each value.
func encode(b []byte, v any) ([]byte, error) {
	e := encoder{writers: map[reflect.Type]writer{}}
	r := reflect.ValueOf(v)
	if !r.IsValid() {
		text, err := marshal(v)
		return append(b, text...), err
	}
	return e.of(r.Type())(b, r)
}

// writer appends a value of one type.
type writer func(b []byte, v reflect.Value) ([]byte, error)

// encoder has the writers of the types that one answer is made of.
type encoder struct{ writers map[reflect.Type]writer }

var (
	timestamp     = reflect.TypeFor[shape.Timestamp]()
	marshaler     = reflect.TypeFor[json.Marshaler]()
	zeroer        = reflect.TypeFor[interface{ IsZero() bool }]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

// of returns the writer of a type. What the generator does not write is left to
// encoding/json.
func (e *encoder) of(t reflect.Type) writer {
	if w, ok := e.writers[t]; ok {
		return w
	}
	// A type that contains itself finds what comes of this.
	e.writers[t] = func(b []byte, v reflect.Value) ([]byte, error) { return e.of(t)(b, v) }
	w := e.make(t)
	e.writers[t] = w
	return w
}

func (e *encoder) make(t reflect.Type) writer {
	if t.Kind() == reflect.Pointer {
		return e.pointer(t)
	}
	if t == timestamp {
		return func(b []byte, v reflect.Value) ([]byte, error) { return v.Interface().(shape.Timestamp).AppendJSON(b) }
	}
	if own := reflect.PointerTo(t); own.Implements(marshaler) || own.Implements(textMarshaler) {
		return foreign
	}
	switch t.Kind() {
	case reflect.String:
		return func(b []byte, v reflect.Value) ([]byte, error) { return appendText(b, v.String()), nil }
	case reflect.Int64:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendInt(b, v.Int(), 10), nil }
	case reflect.Bool:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(b, v.Bool()), nil }
	case reflect.Slice:
		return e.slice(t)
	case reflect.Map:
		return e.mapping(t)
	case reflect.Struct:
		return e.structure(t)
	default:
		return foreign
	}
}

// foreign has encoding/json write a value.
func foreign(b []byte, v reflect.Value) ([]byte, error) {
	text, err := marshal(v.Interface())
	return append(b, text...), err
}

func (e *encoder) pointer(t reflect.Type) writer {
	element := e.of(t.Elem())
	if t.Elem() == timestamp { // without a copy
		element = func(b []byte, v reflect.Value) ([]byte, error) {
			return v.Addr().Interface().(*shape.Timestamp).AppendJSON(b)
		}
	}
	return func(b []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return element(b, v.Elem())
	}
}

func (e *encoder) slice(t reflect.Type) writer {
	if t.Elem().Kind() == reflect.Uint8 {
		if t.Elem() != reflect.TypeFor[byte]() {
			return foreign
		}
		return func(b []byte, v reflect.Value) ([]byte, error) {
			if v.IsNil() {
				return append(b, "null"...), nil
			}
			b = base64.StdEncoding.AppendEncode(append(b, '"'), v.Bytes())
			return append(b, '"'), nil
		}
	}
	element := e.of(t.Elem())
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		b = append(b, '[')
		begin := len(b)
		for i := range v.Len() {
			switch i {
			case 0:
			case 1: // the others are as long, more or less
				one := len(b) - begin + 1
				b = append(slices.Grow(b, (v.Len()-1)*(one+one/16)), ',')
			default:
				b = append(b, ',')
			}
			if b, err = element(b, v.Index(i)); err != nil {
				return b, err
			}
		}
		return append(b, ']'), nil
	}
}

func (e *encoder) mapping(t reflect.Type) writer {
	if key := t.Key(); key.Kind() != reflect.String || key.Implements(textMarshaler) {
		return foreign
	}
	element := e.of(t.Elem())
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
		b = append(b, '{')
		for i, key := range keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, key.String()), ':')
			if b, err = element(b, v.MapIndex(key)); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
}

// structure writes the members that are there. All of a generated one have a name
// and omitzero, and can be nil.
func (e *encoder) structure(t reflect.Type) writer {
	type member struct {
		name  string // with its quotes and the colon
		write writer
		stamp bool // a timestamp, which is absent where it is the zero time, too
	}
	members := make([]member, t.NumField())
	for i := range members {
		f := t.Field(i)
		memberName, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch f.Type.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
		default:
			return foreign
		}
		stamp := f.Type == reflect.PointerTo(timestamp)
		if !f.IsExported() || f.Anonymous || memberName == "" || memberName == "-" || options != "omitzero" || strings.Trim(memberName, letters) != "" || f.Type.Implements(zeroer) && !stamp {
			return foreign
		}
		members[i] = member{`"` + memberName + `":`, e.of(f.Type), stamp}
	}
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		b = append(b, '{')
		first := true
		for i := range members {
			value := v.Field(i)
			if value.IsNil() || members[i].stamp && value.Interface().(*shape.Timestamp).IsZero() {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			if b, err = members[i].write(append(b, members[i].name...), value); err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
}

// letters are what the names of members are made of.
const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

// appendText writes a text as encoding/json does without escapes for HTML: bytes that
// are no UTF-8 become U+FFFD, and the line ends of JavaScript are escaped.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, `\b`...)
			case '\f':
				b = append(b, `\f`...)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), `\u202`...)
			b = append(b, hex[r&0xf])
		default:
			i += n
			continue
		}
		i += n
		start = i
	}
	return append(append(b, s[start:]...), '"')
}
