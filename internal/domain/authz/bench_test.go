package authz_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

// BenchmarkAuthorizePull is what authorizing a manifest's GET costs a node that
// has the caller's and the repository's policies in memory.
func BenchmarkAuthorizePull(b *testing.B) {
	w := newWorld(b, sqldbtest.SQLite(b))
	user := w.user(ours, "puller", mayPull)
	w.must(w.Entities.Attach(b.Context(), ours, entity.User, "puller", "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser"))
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf(`{"Sid":"s%d","Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Condition":{"StringEquals":{"aws:PrincipalTag/team":"t%d"}}}`, i, i))
	}
	w.hang(strings.Join(many, ","))
	w.registry(`{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"198.51.100.0/24"}}}`)
	r := request(user, app(pull))
	ctx := b.Context()
	if err := w.Authorize(ctx, r); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Authorize(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
}
