package direct

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// one is a database of one row of one column, behind database/sql.
type one struct{ value driver.Value }

func (o one) Connect(context.Context) (driver.Conn, error) { return o, nil }
func (o one) Driver() driver.Driver                        { return nil }
func (o one) Prepare(string) (driver.Stmt, error)          { return o, nil }
func (o one) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (o one) Close() error                                 { return nil }
func (o one) NumInput() int                                { return 0 }
func (o one) Exec([]driver.Value) (driver.Result, error)   { return nil, driver.ErrSkip }
func (o one) Query([]driver.Value) (driver.Rows, error)    { return &oneRow{value: o.value}, nil }
func (r *oneRow) Columns() []string                        { return []string{"it"} }
func (r *oneRow) Close() error                             { return nil }
func (r *oneRow) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read, dest[0] = true, r.value
	return nil
}

type oneRow struct {
	value driver.Value
	read  bool
}

type (
	word    string
	number8 int8
	flag    bool
	octets  []byte
	ratio   float32
)

// upper is a Scanner, as a program may have of its own.
type upper struct{ got any }

func (u *upper) Scan(src any) error {
	if src == nil {
		return io.ErrUnexpectedEOF
	}
	u.got = src
	return nil
}

// destinations make a variable of each type with something in it, and point to it.
var destinations = []func() any{
	func() any { v := int64(7); return &v },
	func() any { v := 7; return &v },
	func() any { v := int32(7); return &v },
	func() any { v := int16(7); return &v },
	func() any { v := number8(7); return &v },
	func() any { v := uint64(7); return &v },
	func() any { v := uint8(7); return &v },
	func() any { v := true; return &v },
	func() any { v := flag(true); return &v },
	func() any { v := "old"; return &v },
	func() any { v := word("old"); return &v },
	func() any { v := []byte("old"); return &v },
	func() any { v := octets("old"); return &v },
	func() any { v := 7.5; return &v },
	func() any { v := ratio(7.5); return &v },
	func() any { v := time.Unix(7, 0); return &v },
	func() any { v := any("old"); return &v },
	func() any { v := new(string); return &v },
	func() any { v := new(word); return &v },
	func() any { v := new(int64); return &v },
	func() any { v := new(number8); return &v },
	func() any { v := new(bool); return &v },
	func() any { v := new([]byte); return &v },
	func() any { v := new(*int); return &v },
	func() any { return &sql.NullString{String: "old", Valid: true} },
	func() any { return &sql.NullInt64{Int64: 7, Valid: true} },
	func() any { return &sql.NullBool{Bool: true, Valid: true} },
	func() any { return &sql.Null[word]{V: "old", Valid: true} },
	func() any { return &upper{} },
	func() any { return (*int64)(nil) },
	func() any { return (*word)(nil) },
	func() any { return 7 },
	func() any { return &struct{ A int }{7} },
	func() any { v := []string{"old"}; return &v },
	func() any { v := map[string]int{"old": 1}; return &v },
}

// compare has a value read by database/sql and by this package, and wants the same
// variable and the same error.
func compare(t interface {
	Helper()
	Errorf(string, ...any)
	Fatal(...any)
}, value driver.Value) {
	t.Helper()
	db := sql.OpenDB(one{value})
	defer func() { _ = db.Close() }() // it is nothing
	for _, make := range destinations {
		want, got := make(), make()
		wantErr := db.QueryRow("").Scan(want)
		var r Rows
		r.open(&Conn{}, &oneRow{value: value})
		if !r.Next() {
			t.Fatal("no row")
		}
		gotErr := r.Scan(got)
		if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
			t.Errorf("%T %v into %T: error %v, want %v", value, value, got, gotErr, wantErr)
		} else if wantErr == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%T %v into %T: %#v, want %#v", value, value, got, got, want)
		}
	}
}

func TestAssignIsThatOfDatabaseSQL(t *testing.T) {
	for _, v := range []driver.Value{
		nil, int64(0), int64(1), int64(-1), int64(2), int64(127), int64(128), int64(255), int64(256), int64(math.MaxInt32), int64(math.MaxInt32 + 1),
		int64(math.MaxInt64), int64(math.MinInt64), 0.0, 1.0, 1.5, -2.25, 1e300, math.Inf(1), "", "text", "1", "0", "-7", "300", "true", "f", "TRUE", "1.5", "1e3",
		" 1", "0x10", "99999999999999999999", []byte(nil), []byte{}, []byte("1"), []byte("bytes\x00\xff"), []byte("true"), true, false,
		time.Unix(1732147200, 123456000).UTC(),
	} {
		compare(t, v)
	}
	rapid.Check(t, func(t *rapid.T) {
		compare(t, rapid.OneOf(
			rapid.Map(rapid.Int64(), func(v int64) driver.Value { return v }),
			rapid.Map(rapid.Int64Range(-300, 300), func(v int64) driver.Value { return v }),
			rapid.Map(rapid.Float64(), func(v float64) driver.Value { return v }),
			rapid.Map(rapid.String(), func(v string) driver.Value { return v }),
			rapid.Map(rapid.StringMatching(`[-+]?[0-9]{0,20}(\.[0-9]+)?`), func(v string) driver.Value { return v }),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) driver.Value { return v }),
		).Draw(t, "value"))
	})
}

// TestBytesAreCopies: who keeps what was read does not see what becomes of it.
func TestBytesAreCopies(t *testing.T) {
	src := []byte("abc")
	var plain []byte
	var named octets
	var pointer *[]byte
	var boxed any
	for _, dest := range []any{&plain, &named, &pointer, &boxed} {
		if err := assign(dest, src); err != nil {
			t.Fatal(err)
		}
	}
	src[0] = 'x'
	if string(plain) != "abc" || string(named) != "abc" || string(*pointer) != "abc" || string(boxed.([]byte)) != "abc" {
		t.Errorf("read %q %q %q %q", plain, named, *pointer, boxed)
	}
}

// TestNilPointersAreRefused, where database/sql panics for some pairs.
func TestNilPointersAreRefused(t *testing.T) {
	for _, dest := range []any{(*int64)(nil), (*int)(nil), (*bool)(nil), (*string)(nil), (*[]byte)(nil), (*any)(nil), (**string)(nil), (*word)(nil)} {
		for _, src := range []driver.Value{nil, int64(1), 1.5, "1", []byte("1")} {
			if err := assign(dest, src); err == nil {
				t.Errorf("%T was put to where a nil %T points", src, dest)
			}
		}
	}
}

func TestScanRefuses(t *testing.T) {
	var r Rows
	r.open(&Conn{}, &oneRow{value: int64(1)})
	var a, b int
	if err := r.Scan(&a); err == nil {
		t.Error("Scan before Next")
	}
	if !r.Next() {
		t.Fatal(r.Err())
	}
	for _, dest := range [][]any{{}, {&a, &b}} {
		if err := r.Scan(dest...); err == nil {
			t.Errorf("Scan of one column into %d variables", len(dest))
		}
	}
	if r.Next() || r.Err() != nil {
		t.Errorf("a second row, %v", r.Err())
	}
	if err := r.Scan(&a); err == nil {
		t.Error("Scan after the last row")
	}
}
