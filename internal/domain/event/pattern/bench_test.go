package pattern_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/event/pattern"
)

// A push of an image, and a rule that is for it and has an operator of most kinds.
const (
	pushed = `{"version":"0","id":"13cde686-328b-6117-af20-0e5566167482","detail-type":"ECR Image Action","source":"aws.ecr","account":"123456789012",` +
		`"time":"2026-11-28T01:54:34Z","region":"eu-west-1","resources":[],"detail":{"result":"SUCCESS","repository-name":"platform/payments/checkout",` +
		`"image-digest":"sha256:7f5b2640fe6fb4f46592dfd3410c4a79dac4f89e4782432e0378abcd1234","manifest-media-type":"application/vnd.oci.image.manifest.v1+json",` +
		`"artifact-media-type":"application/vnd.oci.image.config.v1+json","action-type":"PUSH","image-tag":"v1.4.0"}}`
	forPushes = `{"source":["aws.ecr"],"detail-type":["ECR Image Action","ECR Image Scan"],"region":[{"anything-but":["us-east-1"]}],"detail":{"action-type":["PUSH"],` +
		`"result":[{"equals-ignore-case":"success"}],"repository-name":[{"prefix":"team/"},{"wildcard":"platform/*/checkout"}],` +
		`"image-tag":[{"suffix":"-rc"},{"prefix":"v"}],"reason":[{"exists":false}]}}`
)

// BenchmarkParse is the reading of a rule's pattern.
func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pattern.Parse(forPushes); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseEvent is the reading of an event, once for all rules.
func BenchmarkParseEvent(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pattern.ParseEvent([]byte(pushed)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMatch is an event that a rule is for: everything in its pattern is looked at.
func BenchmarkMatch(b *testing.B) {
	p, err := pattern.Parse(forPushes)
	if err != nil {
		b.Fatal(err)
	}
	e, err := pattern.ParseEvent([]byte(pushed))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !p.Match(e) {
			b.Fatal("no match")
		}
	}
}
