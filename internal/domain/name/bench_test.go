package name_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
)

const hex = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func benchmarkParse[N ~string](b *testing.B, parse func(string) (N, error), text string) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseRepository(b *testing.B) {
	benchmarkParse(b, name.ParseRepository, "platform/payments/checkout-service")
}

func BenchmarkParseTag(b *testing.B) { benchmarkParse(b, name.ParseTag, "release-2026.11.28-9f3c1ab") }

func BenchmarkParseDigest(b *testing.B) { benchmarkParse(b, name.ParseDigest, "sha256:"+hex) }

// BenchmarkARN is the repository of an ARN, as requests name it.
func BenchmarkARN(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		arn, err := name.ParseARN("arn:aws:ecr:eu-west-1:123456789012:repository/platform/payments/checkout-service")
		if err != nil {
			b.Fatal(err)
		}
		if _, _, ok := arn.RepositoryOf(); !ok {
			b.Fatal("no repository")
		}
	}
}

// BenchmarkHosts is the look at a request's host, once for a registry's and once for an
// API's.
func BenchmarkHosts(b *testing.B) {
	hosts := name.Hosts{Domain: "registry.example", PublicDomain: "public.registry.example"}
	b.ReportAllocs()
	for b.Loop() {
		if hosts.Parse("123456789012.dkr.ecr.eu-west-1.registry.example:443").Kind != name.HostRegistry ||
			hosts.Parse("api.ecr.eu-west-1.registry.example").Kind != name.HostECR {
			b.Fatal("another kind")
		}
	}
}
