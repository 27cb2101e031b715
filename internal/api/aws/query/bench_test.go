package query_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/query"
)

// BenchmarkDecode reads a call with ten tags out of its form.
func BenchmarkDecode(b *testing.B) {
	form := url.Values{"Action": {"CreateRole"}, "Version": {"2010-05-08"}, "Text": {"deploy"}, "Count": {"3600"}, "Leaf.Key": {"a"}}
	for i := range 10 {
		form.Set(fmt.Sprintf("Tags.member.%d.Key", i+1), fmt.Sprint("key-", i))
		form.Set(fmt.Sprintf("Tags.member.%d.Value", i+1), fmt.Sprint("a value of ", i))
	}
	b.ReportAllocs()
	for b.Loop() {
		var in input
		if err := (query.Protocol{}).Decode(aws.Payload{Form: form}, &in); err != nil {
			b.Fatal(err)
		}
		if len(in.Tags) != 10 {
			b.Fatal(len(in.Tags), "tags")
		}
	}
}

// BenchmarkEncode writes a list of a hundred.
func BenchmarkEncode(b *testing.B) {
	out := &input{Flag: p(false)}
	for i := range 100 {
		out.Tags = append(out.Tags, leaf{p(fmt.Sprint("key-", i)), p("arn:aws:iam::123456789012:role/deploy")})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (query.Protocol{Namespace: "https://iam.amazonaws.com/doc/2010-05-08/"}).Encode("ListRoles", "r-1", out); err != nil {
			b.Fatal(err)
		}
	}
}
