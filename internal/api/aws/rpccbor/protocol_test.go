package rpccbor_test

import (
	"encoding/hex"
	"errors"
	"math"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/rpccbor"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/aws/sigv4"
)

type color string

type leaf struct {
	Key *string `json:"Key,omitzero"`
}

type input struct {
	Text  *string            `json:"text,omitzero"`
	Color *color             `json:"color,omitzero"`
	Count *int64             `json:"count,omitzero"`
	Ratio *float64           `json:"ratio,omitzero"`
	Flag  *bool              `json:"flag,omitzero"`
	Blob  []byte             `json:"blob,omitzero"`
	At    *shape.Timestamp   `json:"at,omitzero"`
	Texts []string           `json:"texts,omitzero"`
	Leaf  *leaf              `json:"leaf,omitzero"`
	Leafs []leaf             `json:"leafs,omitzero"`
	Rates map[string]float64 `json:"rates,omitzero"`
}

func p[T any](v T) *T { return &v }

func decode(body []byte) (input, error) {
	var in input
	err := rpccbor.Protocol{}.Decode(aws.Payload{Body: body}, &in)
	return in, err
}

func TestDecode(t *testing.T) {
	at := time.Unix(1504295007, 500_000_000).UTC()
	for _, tt := range []struct {
		name string
		body cbor.Value
		want input
	}{
		{"nothing", cbor.Map{}, input{}},
		{"scalars", cbor.Map{"text": cbor.String("a"), "color": cbor.String("RED"), "flag": cbor.Bool(true)}, input{Text: p("a"), Color: p(color("RED")), Flag: p(true)}},
		{"null is absent", cbor.Map{"text": &cbor.Nil{}, "count": &cbor.Undefined{}, "texts": &cbor.Nil{}}, input{}},
		{"unknown members are skipped", cbor.Map{"x": cbor.List{cbor.Map{}}, "text": cbor.String("")}, input{Text: p("")}},
		{"letter by letter", cbor.Map{"Text": cbor.String("a")}, input{}},
		{"no UTF-8", cbor.Map{"text": cbor.String("a\xff")}, input{Text: p("a\uFFFD")}},
		{"integers", cbor.Map{"count": cbor.NegInt(7), "ratio": cbor.Uint(3)}, input{Count: p(int64(-7)), Ratio: p(3.0)}},
		{"a whole float is an integer", cbor.Map{"count": cbor.Float64(60)}, input{Count: p(int64(60))}},
		{"beyond 64 bits", cbor.Map{"count": cbor.Uint(math.MaxUint64)}, input{Count: p(int64(math.MaxInt64))}},
		{"far below zero", cbor.Map{"count": cbor.NegInt(math.MaxUint64)}, input{Count: p(int64(math.MinInt64))}},
		{"floats", cbor.Map{"ratio": cbor.Float32(1.5)}, input{Ratio: p(1.5)}},
		{"a time", cbor.Map{"at": &cbor.Tag{ID: 1, Value: cbor.Float64(1504295007.5)}}, input{At: shape.At(at)}},
		{"a time in whole seconds", cbor.Map{"at": &cbor.Tag{ID: 1, Value: cbor.Uint(1504295007)}}, input{At: shape.At(at.Truncate(time.Second))}},
		{"bytes", cbor.Map{"blob": cbor.Slice{}}, input{Blob: []byte{}}},
		{"lists", cbor.Map{"texts": cbor.List{cbor.String("a"), &cbor.Nil{}, cbor.String("b")}, "leafs": cbor.List{}}, input{Texts: []string{"a", "b"}, Leafs: []leaf{}}},
		{"structures", cbor.Map{"leaf": cbor.Map{"Key": cbor.String("k")}, "leafs": cbor.List{cbor.Map{}}}, input{Leaf: &leaf{Key: p("k")}, Leafs: []leaf{{}}}},
		{"maps", cbor.Map{"rates": cbor.Map{"a": cbor.Float64(0.5), "b": &cbor.Nil{}}}, input{Rates: map[string]float64{"a": 0.5}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := decode(cbor.Encode(tt.body)); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
	if got, err := decode(nil); err != nil || !reflect.DeepEqual(got, input{}) {
		t.Errorf("an empty body: %+v, %v", got, err)
	}
	// A map of unknown length with a text in two parts (RFC 8949, 3.2).
	body, err := hex.DecodeString("bf64746578747f61616162ffff")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decode(body); err != nil || got.Text == nil || *got.Text != "ab" {
		t.Errorf("unknown lengths: %+v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, body := range map[string]cbor.Value{
		"a list": cbor.List{}, "a text": cbor.String("x"),
		"number for a text": cbor.Map{"text": cbor.Uint(1)}, "text for a number": cbor.Map{"ratio": cbor.String("1")},
		"a fraction for an integer": cbor.Map{"count": cbor.Float64(1.5)}, "no number for an integer": cbor.Map{"count": cbor.Float64(math.NaN())},
		"text for a flag": cbor.Map{"flag": cbor.String("true")}, "text for bytes": cbor.Map{"blob": cbor.String("aGk=")},
		"a time without a tag": cbor.Map{"at": cbor.Uint(1)}, "a time with another tag": cbor.Map{"at": &cbor.Tag{ID: 0, Value: cbor.String("2020-01-01T00:00:00Z")}},
		"text in a time": cbor.Map{"at": &cbor.Tag{ID: 1, Value: cbor.String("1")}}, "a time out of range": cbor.Map{"at": &cbor.Tag{ID: 1, Value: cbor.Float64(1e300)}},
		"endless time":   cbor.Map{"at": &cbor.Tag{ID: 1, Value: cbor.Float64(math.Inf(1))}},
		"map for a list": cbor.Map{"texts": cbor.Map{}}, "list for a structure": cbor.Map{"leaf": cbor.List{}}, "list for a map": cbor.Map{"rates": cbor.List{}},
		"wrong inside of a list": cbor.Map{"leafs": cbor.List{cbor.Map{"Key": cbor.Bool(true)}}}, "wrong inside of a map": cbor.Map{"rates": cbor.Map{"a": cbor.String("b")}},
	} {
		t.Run(name, func(t *testing.T) { wantMalformed(t, cbor.Encode(body)) })
	}
	for name, body := range map[string][]byte{"cut off": {0xa1, 0x64, 't'}, "JSON": []byte(`{"text":"a"}`), "too deep": bytesOf(0x81, 1000), "tags without end": bytesOf(0xc1, 1000)} {
		t.Run(name, func(t *testing.T) { wantMalformed(t, body) })
	}
}

func bytesOf(b byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

func wantMalformed(t *testing.T, body []byte) {
	t.Helper()
	got, err := decode(body)
	var fault *aws.Fault
	if !errors.As(err, &fault) || fault.Kind != aws.Malformed {
		t.Errorf("got %+v, %v", got, err)
	}
}

// What is written is read back as it was, all members, and with the protocol's header.
func TestRoundTrip(t *testing.T) {
	want := input{
		Text: p("ä"), Color: p(color("RED")), Count: p(int64(-1 << 63)), Ratio: p(-0.25), Flag: p(false), Blob: []byte{0, 255},
		At: shape.At(time.UnixMilli(1504295007123).UTC()), Texts: []string{}, Leaf: &leaf{}, Leafs: []leaf{{Key: p("k")}}, Rates: map[string]float64{"x": 1e300},
	}
	doc, err := rpccbor.Protocol{}.Encode("Op", "id", &want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(doc.Body)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if doc.ContentType != "application/cbor" || doc.Header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
		t.Errorf("%q, %v", doc.ContentType, doc.Header)
	}
	if _, err := (rpccbor.Protocol{}).Encode("Op", "id", &struct{ C chan int }{make(chan int)}); err == nil {
		t.Error("a channel was written")
	}
}

func TestErrors(t *testing.T) {
	doc := rpccbor.Protocol{}.EncodeError(aws.WireError{Name: "Code", Shape: "Shape", Message: "m", Detail: map[string]any{"n": 3, "c": make(chan int), "none": nil}})
	v, err := cbor.Decode(doc.Body)
	if want := (cbor.Map{"__type": cbor.String("Shape"), "message": cbor.String("m"), "n": cbor.Uint(3), "none": &cbor.Nil{}}); err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("got %v, %v", v, err)
	}
	doc = rpccbor.Protocol{}.EncodeError(aws.WireError{Name: "Code"})
	if v, err := cbor.Decode(doc.Body); err != nil || !reflect.DeepEqual(v, cbor.Map{"__type": cbor.String("Code")}) {
		t.Errorf("got %v, %v", v, err)
	}
	for kind, want := range map[aws.FaultKind]int{aws.UnknownOperation: http.StatusNotFound, aws.Malformed: 400, aws.TooLarge: 413, aws.Aborted: 400, 0: 500} {
		if called, status := (rpccbor.Protocol{}).Fault(kind); status != want || called == "" {
			t.Errorf("%d: %s %d", kind, called, status)
		}
	}
	if called, _ := (rpccbor.Protocol{}).AuthFault(sigv4.InvalidSignature); called != "InvalidSignatureException" {
		t.Error(called)
	}
}

// FuzzDecode: whatever comes is read or refused, and what was read can be written and
// read again.
func FuzzDecode(f *testing.F) {
	f.Add(cbor.Encode(cbor.Map{"text": cbor.String("a"), "at": &cbor.Tag{ID: 1, Value: cbor.Uint(1)}, "leafs": cbor.List{cbor.Map{"Key": cbor.String("k")}}, "rates": cbor.Map{"a": cbor.Float64(1)}}))
	f.Add([]byte{0xbf, 0xff})
	f.Add([]byte{0xa1, 0x61})
	f.Add([]byte{0x9b, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add([]byte{0x7f, 0x7b, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(body)
		if err != nil {
			return
		}
		doc, err := rpccbor.Protocol{}.Encode("Op", "id", &got)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(doc.Body); err != nil {
			t.Fatalf("%x was written as %x, which cannot be read: %v", body, doc.Body, err)
		}
	})
}
