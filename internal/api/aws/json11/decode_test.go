package json11_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

type color string

type leaf struct {
	Key   *string `json:"Key,omitzero"`
	Value *string `json:"Value,omitzero"`
}

// input has a member of every type that the generator writes.
type input struct {
	Text  *string          `json:"text,omitzero"`
	Color *color           `json:"color,omitzero"`
	Count *int64           `json:"count,omitzero"`
	Ratio *float64         `json:"ratio,omitzero"`
	Flag  *bool            `json:"flag,omitzero"`
	Blob  []byte           `json:"blob,omitzero"`
	At    *shape.Timestamp `json:"at,omitzero"`
	Texts []string         `json:"texts,omitzero"`
	Leaf  *leaf            `json:"leaf,omitzero"`
	Leafs []leaf           `json:"leafs,omitzero"`
	Names map[string]int64 `json:"names,omitzero"`
	Enums map[color]string `json:"enums,omitzero"`
}

func p[T any](v T) *T { return &v }

func decode(body string) (input, error) {
	var in input
	err := json11.Protocol{}.Decode(aws.Payload{Body: []byte(body)}, &in)
	return in, err
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       input
	}{
		{"nothing", `{}`, input{}},
		{"white space", " \t\r\n{ \"text\" :\n\"a\" , \"count\":1 } \n", input{Text: p("a"), Count: p(int64(1))}},
		{"empty text is present", `{"text":""}`, input{Text: p("")}},
		{"zero is present", `{"count":0,"ratio":0,"flag":false}`, input{Count: p(int64(0)), Ratio: p(0.0), Flag: p(false)}},
		{"null is absent", `{"text":null,"count":null,"texts":null,"leaf":null,"blob":null,"at":null,"names":null}`, input{}},
		{"a later null undoes", `{"text":"a","text":null}`, input{}},
		{"the last one counts", `{"text":"a","text":"b"}`, input{Text: p("b")}},
		{"unknown members are skipped", `{"x":1,"text":"a","y":{"text":["b",{"c":null}]},"z":[true,false,-1.5e-3]}`, input{Text: p("a")}},
		{"names count letter by letter", `{"Text":"a","TEXT":"b"}`, input{}},
		{"enum", `{"color":"RED"}`, input{Color: p(color("RED"))}},
		{"escapes", `{"text":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00"}`, input{Text: p("\"\\/\b\f\n\r\tAé😀")}},
		{"half a surrogate pair", `{"text":"\ud83d!\ude00\ud83d\u0041"}`, input{Text: p("\uFFFD!\uFFFD\uFFFDA")}},
		{"an escaped name", `{"\u0074ext":"a"}`, input{Text: p("a")}},
		{"bytes that are no UTF-8", "{\"text\":\"a\xff\"}", input{Text: p("a\uFFFD")}},
		{"number forms", `{"count":-7,"ratio":-1.25e2}`, input{Count: p(int64(-7)), Ratio: p(-125.0)}},
		{"an integer is cut", `{"count":1.9}`, input{Count: p(int64(1))}},
		{"an integer with an exponent", `{"count":1e3}`, input{Count: p(int64(1000))}},
		{"beyond 64 bits", `{"count":99999999999999999999}`, input{Count: p(int64(math.MaxInt64))}},
		{"far beyond 64 bits", `{"count":-1e400}`, input{Count: p(int64(math.MinInt64))}},
		{"timestamp", `{"at":1.504295007E9}`, input{At: shape.At(time.Unix(1504295007, 0).UTC())}},
		{"blob", `{"blob":"aGFsbG8="}`, input{Blob: []byte("hallo")}},
		{"an empty blob is present", `{"blob":""}`, input{Blob: []byte{}}},
		{"a blob with escaped slashes", `{"blob":"\/\/\/\/"}`, input{Blob: []byte{255, 255, 255}}},
		{"an empty list is present", `{"texts":[],"leafs":[]}`, input{Texts: []string{}, Leafs: []leaf{}}},
		{"null in a list is dropped", `{"texts":["a",null,"b"]}`, input{Texts: []string{"a", "b"}}},
		{"structures", `{"leaf":{"Key":"k","key":"x"},"leafs":[{},{"Value":"v"}]}`,
			input{Leaf: &leaf{Key: p("k")}, Leafs: []leaf{{}, {Value: p("v")}}}},
		{"maps", `{"names":{"a":1,"b":null},"enums":{"RED":"r"}}`,
			input{Names: map[string]int64{"a": 1}, Enums: map[color]string{"RED": "r"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(tt.body)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %s, %v", dump(got), err)
			}
		})
	}
}

func dump(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// The texts of the mismatches were measured on AWS (JSON 1.1); broken bodies
// have none there.
func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct{ name, body, message string }{
		{"empty", ``, ""},
		{"blanks", `  `, ""},
		{"null", `null`, ""},
		{"a text", `"x"`, ""},
		{"a number", `1`, ""},
		{"a list", `[]`, "Start of list found where not expected"},
		{"cut off", `{`, ""},
		{"cut off in a text", `{"text":"a`, ""},
		{"cut off in an escape", `{"text":"a\`, ""},
		{"cut off after a name", `{"text"`, ""},
		{"cut off in a list", `{"texts":["a"`, ""},
		{"a comma at the end", `{"text":"a",}`, ""},
		{"a comma at the end of a list", `{"texts":["a",]}`, ""},
		{"no comma", `{"text":"a" "count":1}`, ""},
		{"no colon", `{"text" "a"}`, ""},
		{"a name that is no text", `{1:2}`, ""},
		{"something behind", `{} x`, ""},
		{"a second object", `{}{}`, ""},
		{"a zero byte behind", "{}\x00", ""},
		{"a zero byte for a value", "{\"text\":\x00}", ""},
		{"single quotes", `{'text':'a'}`, ""},
		{"an unknown escape", `{"text":"\x"}`, ""},
		{"a short escape", `{"text":"\u12"}`, ""},
		{"a signed escape", `{"text":"\u+123"}`, ""},
		{"a bare line break", "{\"text\":\"a\nb\"}", ""},
		{"a word", `{"flag":yes}`, ""},
		{"half a word", `{"flag":tru}`, ""},
		{"a leading zero", `{"count":01}`, ""},
		{"a leading plus", `{"count":+1}`, ""},
		{"a bare minus", `{"count":-}`, ""},
		{"a bare point", `{"count":1.}`, ""},
		{"a bare exponent", `{"count":1e}`, ""},
		{"not a number", `{"ratio":NaN}`, ""},
		{"broken where it is skipped", `{"x":[1,}`, ""},
		{"deep where it is skipped", `{"x":` + strings.Repeat("[", 100_000), ""},
		{"deep objects where they are skipped", `{"x":` + strings.Repeat(`{"a":`, 100_000), ""},

		{"text for an integer", `{"count":"1"}`, "STRING_VALUE can not be converted to an Integer"},
		{"true for an integer", `{"count":true}`, "TRUE_VALUE can not be converted to an Integer"},
		{"list for an integer", `{"count":[1]}`, "Start of list found where not expected"},
		{"object for an integer", `{"count":{}}`, "Start of structure or map found where not expected."},
		{"number for a text", `{"text":1}`, "NUMBER_VALUE can not be converted to a String"},
		{"false for a text", `{"text":false}`, "FALSE_VALUE can not be converted to a String"},
		{"list for a text", `{"text":["a"]}`, "Start of list found where not expected"},
		{"object for a text", `{"text":{"a":"b"}}`, "Start of structure or map found where not expected."},
		{"number for an enum", `{"color":1}`, "NUMBER_VALUE can not be converted to a String"},
		{"number in a list of texts", `{"texts":["a",2]}`, "NUMBER_VALUE can not be converted to a String"},
		{"text for a list", `{"texts":"a"}`, "Expected list or null"},
		{"number for a list", `{"texts":1}`, "Expected list or null"},
		{"object for a list", `{"texts":{}}`, "Start of structure or map found where not expected."},
		{"text for a structure", `{"leaf":"a"}`, "Expected null"},
		{"true for a structure", `{"leaf":true}`, "Expected null"},
		{"list for a structure", `{"leaf":[]}`, "Start of list found where not expected"},
		{"text in a structure in a list", `{"leafs":[{"Key":3}]}`, "NUMBER_VALUE can not be converted to a String"},
		{"text for a flag", `{"flag":"true"}`, "STRING_VALUE can not be converted to a Boolean"},
		{"number for a flag", `{"flag":1}`, "NUMBER_VALUE can not be converted to a Boolean"},
		{"text for a ratio", `{"ratio":"1"}`, "STRING_VALUE can not be converted to a Double"},
		{"a ratio out of range", `{"ratio":1e400}`, "NUMBER_VALUE can not be converted to a Double"},
		{"text for a time", `{"at":"2020-01-01T00:00:00Z"}`, "STRING_VALUE can not be converted to a Timestamp"},
		{"object for a time", `{"at":{"Time":1}}`, "Start of structure or map found where not expected."},
		{"a time out of range", `{"at":1e300}`, "NUMBER_VALUE can not be converted to a Timestamp"},
		{"number for a blob", `{"blob":1}`, "NUMBER_VALUE can not be converted to a Blob"},
		{"list for a blob", `{"blob":[1,2]}`, "Start of list found where not expected"},
		{"a blob that is no base64", `{"blob":"a*"}`, "The value of a binary member is not base64"},
		{"a blob without its padding", `{"blob":"aGFsbG8"}`, "The value of a binary member is not base64"},
		{"text in a map of integers", `{"names":{"a":"b"}}`, "STRING_VALUE can not be converted to an Integer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(tt.body)
			var fault *aws.Fault
			if !errors.As(err, &fault) || fault.Kind != aws.Malformed || fault.Message != tt.message {
				t.Errorf("got %s, %v, want a malformed request with %q", dump(got), err, tt.message)
			}
		})
	}
}

func TestDecodeLargeBlob(t *testing.T) {
	blob := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	got, err := decode(`{"blob":"` + base64.StdEncoding.EncodeToString(blob) + `","text":"a"}`)
	if err != nil || !bytes.Equal(got.Blob, blob) || got.Text == nil {
		t.Errorf("got %d bytes, %v", len(got.Blob), err)
	}
}

// Whatever encoding/json makes of a body with the same rules, decode has to
// agree with: the same bodies are JSON, and the same values come out.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"text":"a\u00e9\n","count":1,"ratio":1.5,"flag":true,"blob":"aGk=","texts":["x"],"leaf":{"Key":"k"},"leafs":[{}],"names":{"a":1}}`,
		`{"text":1}`, `{"x":[{"y":null}]}`, `[1,2]`, `{"a":"\ud800"}`, `{"count":1e2}`, `{"texts":[null]}`, `{"":{}}`, `{"a":1}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got input
		err := json11.Protocol{}.Decode(aws.Payload{Body: body}, &got)
		if err == nil && !json.Valid(body) {
			t.Fatalf("%q is no JSON and was read", body)
		}
		var fault *aws.Fault
		if err != nil && errors.As(err, &fault) && fault.Message == "" && json.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) &&
			bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) < 100 {
			t.Fatalf("%q is an object and was refused as broken", body)
		}
		if err != nil {
			return
		}
		again, err := json.Marshal(got)
		if err != nil {
			return // a time or a number that JSON cannot carry
		}
		var twice input
		if err := (json11.Protocol{}).Decode(aws.Payload{Body: again}, &twice); err != nil || dump(twice) != dump(got) {
			t.Fatalf("%q: %s became %s, %v", body, dump(got), dump(twice), err)
		}
	})
}
