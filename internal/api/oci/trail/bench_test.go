package trail_test

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/oci/front"
	"github.com/berth-registry/berth/internal/api/oci/trail"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
)

// BenchmarkEntry is what a read pays for the entry of its record.
func BenchmarkEntry(b *testing.B) {
	c := trail.Call{
		At: time.Now(), ID: "0f0e0d0c-0000-4000-8000-000000000000", Service: front.Service{EventSource: "ecr.amazonaws.com", Region: "eu-west-1"},
		Registry: name.Registry{Account: "111111111111", Region: "eu-west-1"}, Repository: "team/app", Caller: principal.Root("111111111111"),
		Origin: authz.Origin{SourceIP: netip.MustParseAddr("203.0.113.7")}, UserAgent: "docker/27.5.1 go/go1.24.2 kernel/6.1 os/linux arch/amd64",
	}
	log := slog.New(slog.DiscardHandler)
	for called, params := range map[string]members{
		"blob":     {"registryId": c.Registry.Account, "repositoryName": c.Repository, "layerDigest": "sha256:0000000000000000000000000000000000000000000000000000000000000000"},
		"manifest": {"registryId": c.Registry.Account, "repositoryName": c.Repository, "imageIds": trail.ImageID{Member: "imageTag", Value: "latest"}, "acceptedMediaTypes": []string{"application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"}},
	} {
		b.Run(called, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e := c.Entry("BatchGetImage")
				e.ReadOnly = true
				trail.Fill(log, &e, params, nil)
			}
		})
	}
}
