package json11

import (
	"encoding/base64"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// decode reads a body into v, a structure. It is written for the generated
// types instead of using encoding/json, because AWS differs from that: names
// count letter by letter, null inside of a list is dropped, 1.5 is 1 where an
// integer stands, and each mismatch has its text.
func decode(body []byte, v reflect.Value) error {
	p := &parser{b: body}
	switch p.peek() {
	case '{':
	case '[':
		return misplaced(list)
	default:
		return malformed()
	}
	if _, err := p.value(v, 0); err != nil {
		return err
	}
	if p.peek() != 0 || p.i < len(p.b) {
		return malformed()
	}
	return nil
}

// malformed is the failure of a body that is no JSON; AWS has no text for it.
func malformed() error { return &aws.Fault{Kind: aws.Malformed} }

// kind is the sort of a JSON value, by the name that AWS's messages use.
type kind string

const (
	text      kind = "STRING_VALUE"
	number    kind = "NUMBER_VALUE"
	trueness  kind = "TRUE_VALUE"
	falseness kind = "FALSE_VALUE"
	list      kind = "list"
	structure kind = "structure or map"
)

// misplaced is the failure of a list or object where something else belongs.
func misplaced(k kind) error {
	if k == list {
		return aws.NewFault(aws.Malformed, "Start of list found where not expected")
	}
	return aws.NewFault(aws.Malformed, "Start of structure or map found where not expected.")
}

// mismatch is the failure of a value whose target is of another type.
func mismatch(k kind, v reflect.Value) error {
	if k == list || k == structure {
		return misplaced(k)
	}
	target := ""
	switch v.Kind() {
	case reflect.String:
		target = "a String"
	case reflect.Int64:
		target = "an Integer"
	case reflect.Float64:
		target = "a Double"
	case reflect.Bool:
		target = "a Boolean"
	case reflect.Slice:
		if v.Type() != reflect.TypeFor[[]byte]() {
			return aws.NewFault(aws.Malformed, "Expected list or null")
		}
		target = "a Blob"
	default:
		if v.Type() != reflect.TypeFor[shape.Timestamp]() {
			return aws.NewFault(aws.Malformed, "Expected null")
		}
		target = "a Timestamp"
	}
	return aws.NewFault(aws.Malformed, "%s can not be converted to %s", k, target)
}

// value reads one JSON value into v. It reports false for null, which leaves v
// as it was.
func (p *parser) value(v reflect.Value, depth int) (present bool, err error) {
	if v.Kind() == reflect.Pointer {
		target := reflect.New(v.Type().Elem())
		if present, err = p.value(target.Elem(), depth); present {
			v.Set(target)
		}
		return present, err
	}
	if depth > maxDepth {
		return false, malformed()
	}
	switch p.peek() {
	case '{':
		return true, p.object(v, depth)
	case '[':
		return true, p.array(v, depth)
	case '"':
		return true, p.stringInto(v)
	case 't':
		return true, p.boolInto(v, "true", trueness)
	case 'f':
		return true, p.boolInto(v, "false", falseness)
	case 'n':
		return false, p.literal("null")
	}
	return true, p.numberInto(v)
}

func (p *parser) object(v reflect.Value, depth int) error {
	isMap := v.Kind() == reflect.Map
	if !isMap && (v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[shape.Timestamp]()) {
		return misplaced(structure)
	}
	if isMap {
		v.Set(reflect.MakeMap(v.Type()))
	}
	return p.members(func(key string) error {
		if isMap {
			element := reflect.New(v.Type().Elem()).Elem()
			present, err := p.value(element, depth+1)
			if err == nil && present {
				v.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), element)
			}
			return err
		}
		field, ok := fieldNamed(v, key)
		if !ok {
			return p.skip(depth + 1)
		}
		present, err := p.value(field, depth+1)
		if err == nil && !present {
			field.SetZero()
		}
		return err
	})
}

// fieldNamed finds the field of a structure by the exact name in its tag.
func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	t := v.Type()
	for i := range t.NumField() {
		tagged, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tagged == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func (p *parser) array(v reflect.Value, depth int) error {
	if v.Kind() != reflect.Slice || v.Type() == reflect.TypeFor[[]byte]() {
		return misplaced(list)
	}
	out := reflect.MakeSlice(v.Type(), 0, 0)
	err := p.elements(func() error {
		element := reflect.New(v.Type().Elem()).Elem()
		present, err := p.value(element, depth+1)
		if err == nil && present {
			out = reflect.Append(out, element)
		}
		return err
	})
	if err == nil {
		v.Set(out)
	}
	return err
}

func (p *parser) stringInto(v reflect.Value) error {
	raw, escaped, err := p.rawString()
	if err != nil {
		return err
	}
	switch {
	case v.Kind() == reflect.String:
		v.SetString(unescape(raw, escaped))
		return nil
	case v.Type() == reflect.TypeFor[[]byte]():
		if escaped {
			raw = []byte(unescape(raw, true))
		}
		blob := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
		n, err := base64.StdEncoding.Decode(blob, raw)
		if err != nil {
			return aws.NewFault(aws.Malformed, "The value of a binary member is not base64")
		}
		v.SetBytes(blob[:n])
		return nil
	}
	return mismatch(text, v)
}

func (p *parser) boolInto(v reflect.Value, word string, k kind) error {
	if err := p.literal(word); err != nil {
		return err
	}
	if v.Kind() != reflect.Bool {
		return mismatch(k, v)
	}
	v.SetBool(k == trueness)
	return nil
}

func (p *parser) numberInto(v reflect.Value) error {
	digits, err := p.number()
	if err != nil {
		return err
	}
	switch {
	case v.Kind() == reflect.Int64:
		v.SetInt(integer(digits))
		return nil
	case v.Kind() == reflect.Float64:
		f, err := strconv.ParseFloat(digits, 64)
		if err != nil { // out of range
			return mismatch(number, v)
		}
		v.SetFloat(f)
		return nil
	case v.Type() == reflect.TypeFor[shape.Timestamp]():
		var stamp shape.Timestamp
		if err := stamp.UnmarshalJSON([]byte(digits)); err != nil {
			return aws.NewFault(aws.Malformed, "NUMBER_VALUE can not be converted to a Timestamp")
		}
		v.Set(reflect.ValueOf(stamp))
		return nil
	}
	return mismatch(number, v)
}

// integer reads a JSON number as an integer: a fraction is cut off, and what is
// out of range is the nearest number, for the limits of the model to refuse.
func integer(digits string) int64 {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(digits, 64) // an overflow gives an infinity
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64
	case f <= math.MinInt64:
		return math.MinInt64
	}
	return int64(f)
}
