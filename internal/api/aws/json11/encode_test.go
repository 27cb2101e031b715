package json11_test

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

// oracle is what encoding/json makes of a value without escapes for HTML.
func oracle(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// same has both write a value, and compares.
func same(t interface {
	Helper()
	Errorf(string, ...any)
}, v any) {
	t.Helper()
	want, wantErr := oracle(v)
	got, err := json11.Protocol{}.Encode("Op", "id", v)
	if (err == nil) != (wantErr == nil) || wantErr == nil && !bytes.Equal(got.Body, want) {
		t.Errorf("got %s, %v\nwant %s, %v", got.Body, err, want, wantErr)
	}
}

// tree contains itself, and lists of lists.
type tree struct {
	Name  *string           `json:"name,omitzero"`
	Below []tree            `json:"below,omitzero"`
	Next  *tree             `json:"next,omitzero"`
	Rows  [][]string        `json:"rows,omitzero"`
	By    map[string][]tree `json:"by,omitzero"`
	Seen  []shape.Timestamp `json:"seen,omitzero"`
}

// other has what the generator does not write.
type other struct {
	Plain   string  `json:"plain"`
	Maybe   string  `json:"maybe,omitempty"`
	Hidden  string  `json:"-"`
	Nothing *string `json:"nothing"`
	NoTag   int
	own     int
	At      shape.Timestamp `json:"at"`
	Any     any             `json:"any"`
	Time    *time.Time      `json:"time,omitzero"`
}

func TestEncodeIsThatOfEncodingJSON(t *testing.T) {
	at := shape.At(time.UnixMicro(1764374400123456))
	for _, v := range []any{
		nil, (*input)(nil), input{}, &input{}, &tree{Name: p("a"), Next: &tree{}, Below: []tree{{}, {Name: p("b")}}, Rows: [][]string{nil, {}, {"x"}}, By: map[string][]tree{"k": nil, "a\n": {{}}}},
		&other{own: 1, Any: map[string]any{"b": 1.5, "a": []int{1}}, Time: &at.Time}, &tree{Seen: []shape.Timestamp{*at}}, &input{At: shape.At(time.Unix(1<<40, 0))}, &input{At: &shape.Timestamp{}},
		&input{At: shape.At(time.UnixMilli(-1))}, &input{At: shape.At(time.UnixMilli(-123456))}, &input{At: shape.At(time.Unix(0, 999_999))}, &input{Ratio: p(math.Inf(1))}, &input{Ratio: p(1e-7)},
		[]leaf{{}}, map[string]string{"a": "b"}, "text", 7,
		&struct {
			A json.RawMessage `json:"a,omitzero"`
			B *json.Number    `json:"b,omitzero"`
			C *time.Time      `json:"c,omitzero"`
			D map[int]string  `json:"d,omitzero"`
			E []color         `json:"e,omitzero"`
			F *[]byte         `json:"f,omitzero"`
			G map[color]int64 `json:"g,omitzero"`
			H []*string       `json:"h,omitzero"`
		}{json.RawMessage(`{ "x" : 1}`), p(json.Number("3")), &at.Time, map[int]string{2: "b", 10: "a"}, []color{"<", ""}, p([]byte(nil)), map[color]int64{"z": 1, "a": 2}, []*string{nil, p("")}},
		&struct {
			A *string `json:"a<b,omitzero"`
		}{p("x")},
		&struct {
			leaf
			A *string `json:"a,omitzero"`
		}{A: p("x")},
	} {
		same(t, v)
	}
}

func TestEncodeRandom(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }), rapid.StringMatching("[ -~\u2027-\u202a\x00-\x1f\x7f]*"))
	maybe := func(t *rapid.T, name string) bool { return rapid.Bool().Draw(t, name) }
	rapid.Check(t, func(t *rapid.T) {
		var in input
		if maybe(t, "text?") {
			in.Text = p(text.Draw(t, "text"))
		}
		if maybe(t, "color?") {
			in.Color = p(color(text.Draw(t, "color")))
		}
		if maybe(t, "count?") {
			in.Count = p(rapid.Int64().Draw(t, "count"))
		}
		if maybe(t, "ratio?") {
			in.Ratio = p(rapid.Float64().Draw(t, "ratio"))
		}
		if maybe(t, "blob?") {
			in.Blob = rapid.SliceOf(rapid.Byte()).Draw(t, "blob")
		}
		if maybe(t, "at?") {
			in.At = shape.At(time.UnixMicro(rapid.Int64Range(-1<<50, 1<<52).Draw(t, "at")))
		}
		if maybe(t, "texts?") {
			in.Texts = rapid.SliceOf(text).Draw(t, "texts")
		}
		for range rapid.IntRange(0, 4).Draw(t, "leafs") {
			in.Leafs = append(in.Leafs, leaf{Key: p(text.Draw(t, "key"))})
		}
		if maybe(t, "names?") {
			in.Names = rapid.MapOf(text, rapid.Int64()).Draw(t, "names")
		}
		same(t, &in)
	})
}
