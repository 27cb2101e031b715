package ecr

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// BenchmarkEncodeDescribeImages is the writing of a page of 100 images.
func BenchmarkEncodeDescribeImages(b *testing.B) {
	r := repository.Repository{Registry: name.Registry{Account: "123456789012", Region: "eu-west-1"}, Name: "team/app"}
	details := make([]image.Detail, 100)
	for i := range details {
		details[i] = image.Detail{
			Digest: name.SHA256([]byte(fmt.Sprint(i))), Tags: []name.Tag{name.Tag(fmt.Sprint("v", i))}, MediaType: "application/vnd.docker.distribution.manifest.v2+json",
			ArtifactType: "application/vnd.docker.container.image.v1+json", Size: 12345678, PushedAt: time.UnixMicro(1764374400123456), LastPulledAt: time.UnixMicro(1764374400123456),
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		out := &DescribeImagesOutput{ImageDetails: make([]ImageDetail, 0, len(details))}
		for i := range details {
			out.ImageDetails = append(out.ImageDetails, detailShape(&r, &details[i]))
		}
		if _, err := (json11.Protocol{}).Encode("DescribeImages", "", out); err != nil {
			b.Fatal(err)
		}
	}
}
