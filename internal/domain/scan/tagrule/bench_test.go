package tagrule_test

import (
	"fmt"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/tagrule"
)

// BenchmarkAllows is a push with two tags in a registry of ten rules, the last of which is
// for it.
func BenchmarkAllows(b *testing.B) {
	var rules []tagrule.Rule
	for i := range 9 {
		rules = append(rules, tagrule.Rule{Repository: fmt.Sprintf("team-%d/*", i), Tags: []string{"release-*", "v*"}})
	}
	rules = append(rules, tagrule.Rule{Repository: "platform/*", Tags: []string{"release-*", "v*.*.*"}})
	tags := []name.Tag{"latest", "v1.4.0"}
	b.ReportAllocs()
	for b.Loop() {
		if !tagrule.Allows(rules, "platform/payments/checkout", tags) {
			b.Fatal("not scanned")
		}
	}
}
