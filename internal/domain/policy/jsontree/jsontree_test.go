package jsontree

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzAgainstStandard compares with encoding/json, which takes more: duplicate
// keys and surrogates that are no pair.
func FuzzAgainstStandard(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-2.5e+3,true,false,null,"x\u00e9\ud83d\ude00\n\/"],"b":{}}`, `[]`, `""`, `01`, `1.`, `-`, `1e`, `{"a":1,"a":2}`, `"\ud800"`, `"\ud800\ud800"`, `"\u00:0"`,
		`"\x"`, "\"\t\"", `{"a"}`, `{"a":}`, `{,}`, `[1,]`, `nul`, `true1`, `1 2`, "\ufeff1", `{"":""}`, "", " 1 ", "\x001", `"\u00`, `"\ud83d\u"`, "[1\x00]", `"\u00G0"`, `"\u00@0"`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Parse(text)
		if err != nil {
			if errors.Is(err, ErrSyntax) && json.Valid([]byte(text)) && utf8.ValidString(text) && !strings.Contains(strings.ToLower(text), `\ud`) {
				t.Fatalf("%q is refused", text)
			}
			return
		}
		for _, form := range []string{n.Compact(), n.Pretty()} {
			again, err := Parse(form)
			if err != nil || !reflect.DeepEqual(again, n) {
				t.Fatalf("%q became %q: %v", text, form, err)
			}
			var a, b any
			if err := decode(text, &a); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if err := decode(form, &b); err != nil || !reflect.DeepEqual(a, b) {
				t.Fatalf("%q became %q: %v", text, form, err)
			}
		}
	})
}

func decode(text string, v any) error {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	return d.Decode(v)
}

func TestLimits(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	flat := func(n int) string { return "[" + strings.Repeat("1,", n-2) + "1]" }
	for _, c := range []struct {
		text string
		want error
	}{
		{nested(MaxDepth + 1), nil},
		{nested(MaxDepth + 2), ErrLimit},
		{flat(MaxNodes), nil},
		{flat(MaxNodes + 1), ErrLimit},
		{`"` + strings.Repeat("x", MaxBytes-2) + `"`, nil},
		{`"` + strings.Repeat("x", MaxBytes-1) + `"`, ErrLimit},
		{`{"a":1,"b":{"a":1,"\u0061":2}}`, ErrDuplicate},
		{"\"\xff\"", ErrSyntax},
	} {
		if _, err := Parse(c.text); !errors.Is(err, c.want) {
			t.Errorf("%.40q: %v, want %v", c.text, err, c.want)
		}
	}
}
