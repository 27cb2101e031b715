package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
)

// layered is an image of n layers.
func layered(n int) string {
	layers := make([]string, n)
	for i := range layers {
		layers[i] = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", string(name.SHA256(fmt.Append(nil, i))), 3_000_000+i, "")
	}
	return `{"schemaVersion":2,"mediaType":"` + manifest.OCIImage + `","config":` + descriptor("application/vnd.oci.image.config.v1+json", digestA, 7023, "") +
		`,"layers":[` + strings.Join(layers, ",") + `],"annotations":{"org.opencontainers.image.created":"2026-11-28T00:00:00Z"}}`
}

// platforms is an index of n images, each for a platform of its own.
func platforms(n int) string {
	children := make([]string, n)
	for i := range children {
		children[i] = descriptor(manifest.OCIImage, string(name.SHA256(fmt.Append(nil, i))), 1200+i,
			fmt.Sprintf(`,"platform":{"architecture":"arm","os":"linux","variant":"v%d"},"annotations":{"vnd.docker.reference.type":"attestation-manifest"}`, i))
	}
	return `{"schemaVersion":2,"mediaType":"` + manifest.OCIIndex + `","manifests":[` + strings.Join(children, ",") + `]}`
}

func benchmarkParse(b *testing.B, body, mediaType string) {
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := manifest.Parse([]byte(body), mediaType, manifest.Limits{Bytes: 4 << 20, Layers: 4000}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseImage10Layers(b *testing.B) { benchmarkParse(b, layered(10), manifest.OCIImage) }

func BenchmarkParseIndex8Children(b *testing.B) { benchmarkParse(b, platforms(8), manifest.OCIIndex) }

// BenchmarkCounterpart is the translation of an OCI image for a client that knows docker's
// format alone.
func BenchmarkCounterpart(b *testing.B) {
	m, err := manifest.Parse([]byte(layered(10)), manifest.OCIImage, manifest.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, mediaType, ok := m.Counterpart(); !ok || mediaType != manifest.DockerSchema2 {
			b.Fatal(mediaType, ok)
		}
	}
}

// BenchmarkChoose is the choice for containerd, which sends all that it accepts in one header.
func BenchmarkChoose(b *testing.B) {
	accept := []string{strings.Join([]string{manifest.DockerSchema2, manifest.DockerList, manifest.OCIImage, manifest.OCIIndex, "*/*"}, ", ")}
	forms := []string{manifest.OCIImage, manifest.DockerSchema2}
	b.ReportAllocs()
	for b.Loop() {
		if form, ok := manifest.Choose(forms, accept); !ok || form != manifest.OCIImage {
			b.Fatal(form, ok)
		}
	}
}
