package json11_test

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

func TestEncode(t *testing.T) {
	for _, tt := range []struct {
		name string
		out  any
		want string
	}{
		{"nothing", &input{}, `{}`},
		{"zero values are sent", &input{Text: p(""), Count: p(int64(0)), Flag: p(false), Ratio: p(0.0)}, `{"text":"","count":0,"ratio":0,"flag":false}`},
		{"empty lists are sent", &input{Texts: []string{}, Leafs: []leaf{}}, `{"texts":[],"leafs":[]}`},
		{"no escapes for HTML", &input{Text: p("<a&b>")}, `{"text":"<a&b>"}`},
		{"times and blobs", &input{Blob: []byte("hallo"), At: shape.At(time.Unix(1504295007, 123e6))}, `{"blob":"aGFsbG8=","at":1504295007.123}`},
		{"structures", &input{Leaf: &leaf{Key: p("k")}, Leafs: []leaf{{}}, Color: p(color("RED"))}, `{"color":"RED","leaf":{"Key":"k"},"leafs":[{}]}`},
		{"maps", &input{Names: map[string]int64{"b": 2, "a": 1}}, `{"names":{"a":1,"b":2}}`},
		{"no members", &struct{}{}, `{}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := json11.Protocol{}.Encode("Op", "id", tt.out)
			if err != nil || string(doc.Body) != tt.want || doc.ContentType != "application/x-amz-json-1.1" {
				t.Errorf("got %s (%s), %v, want %s", doc.Body, doc.ContentType, err, tt.want)
			}
		})
	}
	if _, err := (json11.Protocol{}).Encode("Op", "id", &input{Ratio: p(math.NaN())}); err == nil {
		t.Error("NaN was written")
	}
}

func TestEncodeError(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  aws.WireError
		want string
	}{
		{"plain", aws.WireError{Name: "RepositoryNotFoundException", Status: 400, Message: "The repository 'a' & <b>"},
			`{"__type":"RepositoryNotFoundException","message":"The repository 'a' & <b>"}`},
		{"without a message", aws.WireError{Name: "UnknownOperationException"}, `{"__type":"UnknownOperationException"}`},
		{"with members", aws.WireError{Name: "InvalidLayerPartException", Message: "m", Detail: map[string]any{"uploadId": "u", "lastValidByteReceived": int64(9)}},
			`{"__type":"InvalidLayerPartException","lastValidByteReceived":9,"message":"m","uploadId":"u"}`},
		{"a member cannot take the name's place", aws.WireError{Name: "X", Message: "m", Detail: map[string]any{"__type": "Y", "message": "n"}},
			`{"__type":"X","message":"m"}`},
		{"a member that JSON cannot carry", aws.WireError{Name: "X", Message: "m", Detail: map[string]any{"c": make(chan int)}},
			`{"__type":"X","message":"m"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc := json11.Protocol{}.EncodeError(tt.err)
			if string(doc.Body) != tt.want || !json.Valid(doc.Body) || doc.ContentType != json11.ContentType {
				t.Errorf("got %s (%s), want %s", doc.Body, doc.ContentType, tt.want)
			}
		})
	}
}

func TestFaultNames(t *testing.T) {
	for kind, want := range map[aws.FaultKind]aws.NamedError{
		aws.UnknownOperation: {Name: "UnknownOperationException", Status: 400},
		aws.Malformed:        {Name: "SerializationException", Status: 400},
		aws.TooLarge:         {Name: "RequestEntityTooLargeException", Status: 413},
		aws.Aborted:          {Name: "RequestAbortedException", Status: 400},
		0:                    {Name: "InternalFailure", Status: 500},
	} {
		if name, status := (json11.Protocol{}).Fault(kind); name != want.Name || status != want.Status {
			t.Errorf("fault %d is %s with %d, want %v", kind, name, status, want)
		}
	}
}
