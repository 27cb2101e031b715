package rpccbor

import (
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// epoch is CBOR's tag of seconds since 1970 (RFC 8949, 3.4.2).
const epoch = 1

func structInto(members cbor.Map, path string, v reflect.Value) error {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		value, ok := members[name]
		if !ok || absent(value) {
			continue
		}
		if err := valueInto(value, path+name, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// absent says whether a value is null, which stands for a member that is not there.
func absent(v cbor.Value) bool {
	switch v.(type) {
	case *cbor.Nil, *cbor.Undefined:
		return true
	}
	return false
}

func valueInto(value cbor.Value, path string, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		target := reflect.New(v.Type().Elem())
		v.Set(target)
		return valueInto(value, path, target.Elem())
	}
	switch {
	case v.Type() == reflect.TypeFor[shape.Timestamp]():
		return timeInto(value, path, v)
	case v.Type() == reflect.TypeFor[[]byte]():
		blob, ok := value.(cbor.Slice)
		if !ok {
			return wrong(path, "a byte string")
		}
		v.SetBytes(append([]byte{}, blob...))
		return nil
	}
	switch v.Kind() { //nolint:exhaustive // the generated types have no others
	case reflect.Struct:
		members, ok := value.(cbor.Map)
		if !ok {
			return wrong(path, "a map")
		}
		return structInto(members, path+".", v)
	case reflect.Slice:
		return listInto(value, path, v)
	case reflect.Map:
		return mapInto(value, path, v)
	default:
		return scalarInto(value, path, v)
	}
}

// listInto reads a list; null inside of it is dropped, as in JSON.
func listInto(value cbor.Value, path string, v reflect.Value) error {
	items, ok := value.(cbor.List)
	if !ok {
		return wrong(path, "a list")
	}
	out := reflect.MakeSlice(v.Type(), 0, len(items))
	for i, item := range items {
		if absent(item) {
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if err := valueInto(item, path+"."+strconv.Itoa(i+1), element); err != nil {
			return err
		}
		out = reflect.Append(out, element)
	}
	v.Set(out)
	return nil
}

func mapInto(value cbor.Value, path string, v reflect.Value) error {
	items, ok := value.(cbor.Map)
	if !ok {
		return wrong(path, "a map")
	}
	v.Set(reflect.MakeMap(v.Type()))
	for key, item := range items {
		if absent(item) {
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if err := valueInto(item, path+"."+key, element); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(strings.ToValidUTF8(key, "\uFFFD")).Convert(v.Type().Key()), element)
	}
	return nil
}

func scalarInto(value cbor.Value, path string, v reflect.Value) error {
	switch v.Kind() { //nolint:exhaustive // the generated types have no others
	case reflect.String:
		text, ok := value.(cbor.String)
		if !ok {
			return wrong(path, "a text")
		}
		v.SetString(strings.ToValidUTF8(string(text), "\uFFFD"))
	case reflect.Bool:
		is, ok := value.(cbor.Bool)
		if !ok {
			return wrong(path, "true or false")
		}
		v.SetBool(bool(is))
	case reflect.Int64:
		n, err := integer(value)
		if err != nil {
			return wrong(path, "an integer")
		}
		v.SetInt(n)
	case reflect.Float64:
		f, err := number(value)
		if err != nil {
			return wrong(path, "a number")
		}
		v.SetFloat(f)
	default:
		return unwritable(v)
	}
	return nil
}

var errNumber = errors.New("not a number")

// integer reads a whole number. What is beyond 64 bits is the nearest number, for the
// limits of the model to refuse, as in JSON.
func integer(value cbor.Value) (int64, error) {
	switch n := value.(type) {
	case cbor.Uint:
		return int64(min(uint64(n), math.MaxInt64)), nil
	case cbor.NegInt: // holds the amount below zero; 0 is that of 1<<64, wrapped round
		if n == 0 || uint64(n) > math.MaxInt64 {
			return math.MinInt64, nil
		}
		return -int64(n), nil
	}
	f, err := number(value)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
		return 0, errNumber
	}
	return int64(f), nil
}

func number(value cbor.Value) (float64, error) {
	switch n := value.(type) {
	case cbor.Uint:
		return float64(n), nil
	case cbor.NegInt:
		if n == 0 {
			return -(1 << 64), nil
		}
		return -float64(n), nil
	case cbor.Float32:
		return float64(n), nil
	case cbor.Float64:
		return float64(n), nil
	}
	return 0, errNumber
}

// timeInto reads seconds since 1970 behind the tag for them. As in JSON, microseconds
// are kept.
func timeInto(value cbor.Value, path string, v reflect.Value) error {
	tag, ok := value.(*cbor.Tag)
	if !ok || tag.ID != epoch {
		return wrong(path, "a time: seconds since 1970 with the tag 1")
	}
	seconds, err := number(tag.Value)
	if err != nil {
		return wrong(path, "a time: seconds since 1970 with the tag 1")
	}
	var stamp shape.Timestamp
	if err := stamp.UnmarshalJSON(strconv.AppendFloat(nil, seconds, 'f', -1, 64)); err != nil {
		return wrong(path, "a time of the years 1 to 9999")
	}
	v.Set(reflect.ValueOf(stamp))
	return nil
}

// valueOf is the CBOR form of a value of the generated types.
func valueOf(v reflect.Value) (cbor.Value, error) {
	if !v.IsValid() {
		return &cbor.Nil{}, nil
	}
	switch is := v.Interface().(type) {
	case shape.Timestamp:
		return &cbor.Tag{ID: epoch, Value: seconds(is.Time)}, nil
	case []byte:
		return cbor.Slice(is), nil
	}
	switch v.Kind() { //nolint:exhaustive // all others are the default
	case reflect.Pointer, reflect.Interface:
		return valueOf(v.Elem())
	case reflect.String:
		return cbor.String(v.String()), nil
	case reflect.Bool:
		return cbor.Bool(v.Bool()), nil
	case reflect.Int, reflect.Int64:
		if n := v.Int(); n < 0 {
			return cbor.NegInt(uint64(-(n + 1)) + 1), nil
		}
		return cbor.Uint(uint64(v.Int())), nil
	case reflect.Float64:
		return cbor.Float64(v.Float()), nil
	case reflect.Slice:
		out := make(cbor.List, v.Len())
		for i := range out {
			item, err := valueOf(v.Index(i))
			if err != nil {
				return nil, err
			}
			out[i] = item
		}
		return out, nil
	case reflect.Map:
		return mapOf(v)
	case reflect.Struct:
		return structOf(v)
	default:
		return nil, unwritable(v)
	}
}

// seconds is a time to the millisecond, as the other protocols write it. Whole seconds
// are written as a float as well, as AWS's own clients do.
func seconds(t time.Time) cbor.Value { return cbor.Float64(float64(t.UnixMilli()) / 1000) }

func mapOf(v reflect.Value) (cbor.Value, error) {
	out := cbor.Map{}
	for _, key := range v.MapKeys() {
		if key.Kind() != reflect.String {
			return nil, unwritable(v)
		}
		item, err := valueOf(v.MapIndex(key))
		if err != nil {
			return nil, err
		}
		out[key.String()] = item
	}
	return out, nil
}

func structOf(v reflect.Value) (cbor.Value, error) {
	out := cbor.Map{}
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if v.Field(i).IsZero() {
			continue
		}
		item, err := valueOf(v.Field(i))
		if err != nil {
			return nil, err
		}
		out[name] = item
	}
	return out, nil
}
