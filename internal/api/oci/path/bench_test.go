package path

import "testing"

func BenchmarkSplit(b *testing.B) {
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	b.ReportAllocs()
	for b.Loop() {
		if Split("/v2/platform/payments/checkout/manifests/v1.4.0").Kind != Manifest || Split("/v2/platform/payments/checkout/blobs/"+digest).Kind != Blob {
			b.Fatal("another kind")
		}
	}
}
