package json11_test

import (
	"fmt"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
)

// BenchmarkDecode reads a call with ten tags and a few members besides.
func BenchmarkDecode(b *testing.B) {
	in := input{Text: p("platform/payments/checkout"), Count: p(int64(100)), Flag: p(true), Texts: []string{"latest", "v1.4.0", "main"}}
	for i := range 10 {
		in.Leafs = append(in.Leafs, leaf{p(fmt.Sprint("key-", i)), p(fmt.Sprint("a value of ", i))})
	}
	doc, err := json11.Protocol{}.Encode("Op", "", &in)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc.Body)))
	b.ReportAllocs()
	for b.Loop() {
		var out input
		if err := (json11.Protocol{}).Decode(aws.Payload{Body: doc.Body}, &out); err != nil {
			b.Fatal(err)
		}
	}
}
