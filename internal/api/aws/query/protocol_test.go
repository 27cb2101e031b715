package query_test

import (
	"encoding/xml"
	"errors"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/query"
	"github.com/berth-registry/berth/internal/api/aws/shape"
)

type color string

type leaf struct {
	Key   *string `json:"Key,omitzero"`
	Value *string `json:"Value,omitzero"`
}

// input has a member of every type that the generator writes.
type input struct {
	Text  *string          `json:"Text,omitzero"`
	Color *color           `json:"Color,omitzero"`
	Count *int64           `json:"Count,omitzero"`
	Ratio *float64         `json:"Ratio,omitzero"`
	Flag  *bool            `json:"Flag,omitzero"`
	Blob  []byte           `json:"Blob,omitzero"`
	At    *shape.Timestamp `json:"At,omitzero"`
	Texts []string         `json:"Texts,omitzero"`
	Leaf  *leaf            `json:"Leaf,omitzero"`
	Tags  []leaf           `json:"Tags,omitzero"`
	Names map[string]int64 `json:"Names,omitzero"`
}

func p[T any](v T) *T { return &v }

func decode(t *testing.T, form string) (input, error) {
	t.Helper()
	values, err := url.ParseQuery(form)
	if err != nil {
		t.Fatal(err)
	}
	var in input
	err = query.Protocol{}.Decode(aws.Payload{Form: values}, &in)
	return in, err
}

func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, form string
		want       input
	}{
		{"nothing", "Action=X&Version=1", input{}},
		{"scalars", "Text=a%26b&Color=RED&Count=-3&Ratio=1.5&Flag=true&Blob=aGk%3D&At=2026-11-21T02:04:05Z", input{
			Text: p("a&b"), Color: p(color("RED")), Count: p(int64(-3)), Ratio: p(1.5), Flag: p(true), Blob: []byte("hi"),
			At: shape.At(time.Date(2026, 11, 21, 2, 4, 5, 0, time.UTC)),
		}},
		{"empty text is present", "Text=", input{Text: p("")}},
		{"names count letter by letter", "text=a", input{}},
		{"list", "Texts.member.2=b&Texts.member.1=a&Texts.member.4=d", input{Texts: []string{"a", "b"}}},
		{"a list of ten", "Texts.member.10=j&Texts.member.1=a&Texts.member.2=b&Texts.member.3=c&Texts.member.4=d&Texts.member.5=e&" +
			"Texts.member.6=f&Texts.member.7=g&Texts.member.8=h&Texts.member.9=i",
			input{Texts: []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}}},
		{"an empty list", "Texts=", input{Texts: []string{}}},
		{"structure", "Leaf.Key=k&Leaf.Other=x", input{Leaf: &leaf{Key: p("k")}}},
		{"list of structures", "Tags.member.1.Key=k&Tags.member.1.Value=&Tags.member.2.Key=l",
			input{Tags: []leaf{{Key: p("k"), Value: p("")}, {Key: p("l")}}}},
		{"map", "Names.entry.1.key=a&Names.entry.1.value=1&Names.entry.2.key=b&Names.entry.2.value=2",
			input{Names: map[string]int64{"a": 1, "b": 2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := decode(t, tt.form)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for form, message := range map[string]string{
		"Count=one":             "The parameter Count has to be an integer.",
		"Count=1.5":             "The parameter Count has to be an integer.",
		"Count=":                "The parameter Count has to be an integer.",
		"Ratio=x":               "The parameter Ratio has to be a number.",
		"Flag=1":                "The parameter Flag has to be true or false.",
		"At=yesterday":          "The parameter At has to be a time such as 2006-01-02T15:04:05Z.",
		"Blob=*":                "The parameter Blob has to be base64.",
		"Text.member.1=a":       "The parameter Text has to be a value.",
		"Tags.member.1.Key.x=a": "The parameter Tags.member.1.Key has to be a value.",
		"Texts.member.1.x=a":    "The parameter Texts.member.1 has to be a value.",
		"Names.entry.1.key=a":   "The parameter Names.entry.1 has to be a key and a value.",
		"Names.entry.1.value=a": "The parameter Names.entry.1 has to be a key and a value.",
		"Names.entry.1.key=a&Names.entry.1.value=b": "The parameter Names.entry.1.value has to be an integer.",
	} {
		got, err := decode(t, form)
		var fault *aws.Fault
		if !errors.As(err, &fault) || fault.Kind != aws.Malformed || fault.Message != message {
			t.Errorf("%s: got %+v, %v, want %q", form, got, err, message)
		}
	}
}

func TestEncode(t *testing.T) {
	proto := query.Protocol{Namespace: "https://sts.amazonaws.com/doc/2011-06-15/"}
	const head = `<GetXResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`
	const tail = `<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></GetXResponse>`
	for _, tt := range []struct {
		name string
		out  any
		want string
	}{
		{"an operation without an answer", &struct{}{}, ``},
		{"nothing", &input{}, `<GetXResult></GetXResult>`},
		{"scalars", &input{Text: p("a<b>&\x00"), Color: p(color("RED")), Count: p(int64(0)), Ratio: p(1.5), Flag: p(false), Blob: []byte("hi"),
			At: shape.At(time.Date(2026, 11, 21, 2, 4, 5, 6, time.UTC))},
			"<GetXResult><Text>a&lt;b&gt;&amp;\uFFFD</Text><Color>RED</Color><Count>0</Count><Ratio>1.5</Ratio><Flag>false</Flag>" +
				"<Blob>aGk=</Blob><At>2026-11-21T02:04:05Z</At></GetXResult>"},
		{"nested", &input{Texts: []string{"a", "b"}, Leaf: &leaf{Key: p("k")}, Tags: []leaf{{Value: p("v")}}, Names: map[string]int64{"b": 2, "a": 1}},
			`<GetXResult><Texts><member>a</member><member>b</member></Texts><Leaf><Key>k</Key></Leaf><Tags><member><Value>v</Value></member></Tags>` +
				`<Names><entry><key>a</key><value>1</value></entry><entry><key>b</key><value>2</value></entry></Names></GetXResult>`},
		{"an empty list", &input{Texts: []string{}}, `<GetXResult><Texts></Texts></GetXResult>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := proto.Encode("GetX", "r-1", tt.out)
			if err != nil || string(doc.Body) != head+tt.want+tail || doc.ContentType != "text/xml" {
				t.Errorf("got  %s (%s), %v\nwant %s", doc.Body, doc.ContentType, err, head+tt.want+tail)
			}
			if err := xml.Unmarshal(doc.Body, new(struct{})); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEncodeError(t *testing.T) {
	proto := query.Protocol{Namespace: "urn:x"}
	for status, kind := range map[int]string{400: "Sender", 403: "Sender", 500: "Receiver", 503: "Receiver"} {
		doc := proto.EncodeError(aws.WireError{Name: "Name", Status: status, Message: "a < b", RequestID: "r-1", Detail: map[string]any{"x": 1}})
		want := `<ErrorResponse xmlns="urn:x"><Error><Type>` + kind + `</Type><Code>Name</Code><Message>a &lt; b</Message></Error><RequestId>r-1</RequestId></ErrorResponse>`
		if string(doc.Body) != want || doc.ContentType != "text/xml" {
			t.Errorf("got  %s (%s)\nwant %s", doc.Body, doc.ContentType, want)
		}
	}
}

func TestFaultNames(t *testing.T) {
	for kind, want := range map[aws.FaultKind]aws.NamedError{
		aws.UnknownOperation: {Name: "InvalidAction", Status: 400},
		aws.Malformed:        {Name: "MalformedInput", Status: 400},
		aws.TooLarge:         {Name: "RequestEntityTooLarge", Status: 413},
		aws.Aborted:          {Name: "RequestAborted", Status: 400},
		0:                    {Name: "InternalFailure", Status: 500},
	} {
		if name, status := (query.Protocol{}).Fault(kind); name != want.Name || status != want.Status {
			t.Errorf("fault %d is %s with %d, want %v", kind, name, status, want)
		}
	}
}
