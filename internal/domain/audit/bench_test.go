package audit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/audit"
)

// BenchmarkPack is what a batch of calls that are alike costs before it goes to the database.
func BenchmarkPack(b *testing.B) {
	batch := make([]audit.Entry, 1000)
	for i := range batch {
		batch[i] = audit.Entry{
			Time: time.Date(2026, 11, 29, 8, 0, 0, i*1000, time.UTC), EventSource: "ecr.amazonaws.com", EventName: "BatchCheckLayerAvailability", Region: "eu-west-1", Account: "111111111111",
			Principal: audit.Identity{Account: "111111111111", ARN: "arn:aws:iam::111111111111:root", ID: "111111111111", AccessKeyID: "AKIA0000000000000001", Type: "Root"},
			SourceIP:  "203.0.113.7", UserAgent: "docker/27.5.1 go/go1.24.2 kernel/6.1 os/linux arch/amd64", Proxied: true, RequestID: fmt.Sprintf("0f0e0d0c-0000-4000-8000-%012d", i),
			RequestParameters: []byte(`{"layerDigests":["sha256:0000000000000000000000000000000000000000000000000000000000000000"],"registryId":"111111111111","repositoryName":"team/app"}`), Marshaled: true,
			Resources: []string{"arn:aws:ecr:eu-west-1:111111111111:repository/team/app"}, ReadOnly: true,
		}
	}
	pack := audit.NewPacker(audit.Options{})
	b.ReportAllocs()
	for b.Loop() {
		if err := pack(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch)), "ns/record")
}
