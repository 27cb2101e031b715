// Package value turns the arguments of statements into the few types that SQLite
// and PostgreSQL store the same way, and refuses what only one of them would
// take. It knows no database.
package value

import (
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"
)

// Normalize turns arguments into int64, float64, bool, string, []byte or nil,
// the same for both engines, and refuses what only one of them would store. It
// works in place.
func Normalize(args []any) error {
	for i, a := range args {
		v, err := normalizeOne(a)
		if err != nil {
			return fmt.Errorf("sqldb: argument $%d: %w", i+1, err)
		}
		args[i] = v
	}
	return nil
}

func normalizeOne(a any) (any, error) {
	switch v := a.(type) {
	case nil, int64, bool, float64:
		return v, nil
	case string:
		return v, checkText(v)
	case []byte:
		if v == nil {
			return []byte{}, nil
		}
		return v, nil
	case driver.Valuer:
		inner, err := driver.DefaultParameterConverter.ConvertValue(v)
		if err != nil {
			return nil, err
		}
		if _, again := inner.(driver.Valuer); again {
			return nil, fmt.Errorf("a %T cannot be stored", a)
		}
		return normalizeOne(inner)
	}
	r := reflect.ValueOf(a)
	switch r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if r.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("%d does not fit into 64 bits with a sign", r.Uint())
		}
		return int64(r.Uint()), nil
	case reflect.Bool:
		return r.Bool(), nil
	case reflect.String:
		return r.String(), checkText(r.String())
	case reflect.Slice:
		if r.Type().Elem().Kind() == reflect.Uint8 {
			return append([]byte{}, r.Bytes()...), nil
		}
	}
	return nil, fmt.Errorf("a %T cannot be stored", a)
}

// checkText refuses text that PostgreSQL cannot hold.
func checkText(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return fmt.Errorf("text with a NUL byte cannot be stored")
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("text that is not valid UTF-8 cannot be stored")
	}
	return nil
}
