package direct

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"
)

var errNilPointer = errors.New("destination pointer is nil")

// assign puts a value of the driver to where dest points, with the conversions,
// refusals and texts of database/sql, which has no function for it. The pairs
// that occur all the time come first.
func assign(dest any, src driver.Value) error {
	switch s := src.(type) {
	case int64:
		switch d := dest.(type) {
		case *int64:
			if d != nil {
				*d = s
				return nil
			}
		case *int:
			if d != nil && int64(int(s)) == s {
				*d = int(s)
				return nil
			}
		case *bool:
			if d != nil && (s == 0 || s == 1) {
				*d = s == 1
				return nil
			}
		}
	case string:
		if d, ok := dest.(*string); ok && d != nil {
			*d = s
			return nil
		}
	case []byte:
		if d, ok := dest.(*[]byte); ok && d != nil {
			*d = bytes.Clone(s)
			return nil
		}
	}
	return convert(dest, src)
}

// convert is assign for all pairs.
func convert(dest any, src driver.Value) error {
	if scanner, ok := dest.(sql.Scanner); ok {
		return scanner.Scan(src)
	}
	p := reflect.ValueOf(dest)
	if p.Kind() != reflect.Pointer {
		return errors.New("destination not a pointer")
	}
	if p.IsNil() {
		return errNilPointer
	}
	switch d := dest.(type) {
	case *any:
		if b, ok := src.([]byte); ok {
			src = bytes.Clone(b)
		}
		*d = src
		return nil
	case *bool:
		v, err := driver.Bool.ConvertValue(src)
		if err == nil {
			*d = v.(bool)
		}
		return err
	case *[]byte:
		if src == nil {
			*d = nil
			return nil
		}
		if s, ok := text(src); ok {
			*d = []byte(s)
			return nil
		}
	case *string:
		if s, ok := text(src); ok {
			*d = s
			return nil
		}
	}
	return reflected(p.Elem(), reflect.ValueOf(src), dest, src)
}

// text is a value as text; ok is false for NULL.
func text(src driver.Value) (s string, ok bool) {
	switch v := src.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	case time.Time:
		return v.Format(time.RFC3339Nano), true
	}
	return "", false
}

// reflected is assign to d, which dest points to, for named types and those that
// come up seldom. v is src.
func reflected(d, v reflect.Value, dest any, src driver.Value) error {
	if v.IsValid() && v.Type().AssignableTo(d.Type()) {
		if b, ok := src.([]byte); ok {
			v = reflect.ValueOf(bytes.Clone(b))
		}
		d.Set(v)
		return nil
	}
	if d.Kind() == v.Kind() && v.Type().ConvertibleTo(d.Type()) {
		d.Set(v.Convert(d.Type()))
		return nil
	}
	switch kind := d.Kind(); {
	case kind == reflect.Pointer:
		if src == nil {
			d.SetZero()
			return nil
		}
		d.Set(reflect.New(d.Type().Elem()))
		return assign(d.Interface(), src)
	case src == nil && (kind == reflect.String || d.CanInt() || d.CanUint() || d.CanFloat()):
		return fmt.Errorf("converting NULL to %s is unsupported", kind)
	case kind == reflect.String:
		switch s := src.(type) {
		case string:
			d.SetString(s)
			return nil
		case []byte:
			d.SetString(string(s))
			return nil
		}
	case d.CanInt() || d.CanUint() || d.CanFloat():
		return number(d, src)
	}
	return fmt.Errorf("unsupported Scan, storing driver.Value type %T into type %T", src, dest)
}

// number reads src as text into d, a number of any kind.
func number(d reflect.Value, src driver.Value) (err error) {
	s, _ := text(src)
	if t, ok := src.(time.Time); ok {
		s = fmt.Sprint(t)
	}
	bits := d.Type().Bits()
	switch {
	case d.CanInt():
		var n int64
		if n, err = strconv.ParseInt(s, 10, bits); err == nil {
			d.SetInt(n)
		}
	case d.CanUint():
		var n uint64
		if n, err = strconv.ParseUint(s, 10, bits); err == nil {
			d.SetUint(n)
		}
	default:
		var f float64
		if f, err = strconv.ParseFloat(s, bits); err == nil {
			d.SetFloat(f)
		}
	}
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*strconv.NumError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("converting driver.Value type %T (%q) to a %s: %w", src, s, d.Kind(), err)
}
