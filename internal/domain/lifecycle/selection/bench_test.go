package selection_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
	"github.com/berth-registry/berth/internal/domain/lifecycle/selection"
	"github.com/berth-registry/berth/internal/domain/name"
)

// fifty is a policy of fifty rules of all count types, with lists of up to three
// entries. About one image in four is owned by the last rule.
func fifty(tb testing.TB) *rules.Policy {
	tb.Helper()
	var list []string
	for i := range 48 {
		text := fmt.Sprintf("#%d tagged ", i+1)
		switch i % 4 {
		case 0:
			text += fmt.Sprintf("prefix=team-%d- imageCountMoreThan %d expire", i, 100*i+10)
		case 1:
			text += fmt.Sprintf("pattern=team-%d-*,v*.*.* sinceImagePushed %d expire", i, i+10)
		case 2:
			text += fmt.Sprintf("pattern=*-%d-*rc*,*.*,team* imageCountMoreThan %d expire", i, i)
		default:
			text += fmt.Sprintf("prefix=team-%d-main,v1 sinceImagePulled %d transition", i, i+30)
		}
		list = append(list, text)
	}
	list = append(list, "#49 untagged sinceImagePushed 7 expire", "#50 any imageCountMoreThan 1000 expire")
	return parse(tb, policyText(tb, list))
}

// large is a repository of n images of three tags each, of which one in ten is
// an index with its four untagged children, pushed within a year.
func large(n int) []selection.Image {
	images := make([]selection.Image, n)
	digest := func(i int) name.Digest { return name.SHA256(fmt.Append(nil, i)) }
	for i := range images {
		m := &images[i]
		m.Digest, m.Order = digest(i), int64(i)
		m.PushedAt = now.Add(-365 * day / time.Duration(n) * time.Duration(i*7919%n))
		if i%3 == 0 {
			m.LastPulledAt = m.PushedAt.Add(day)
		}
		switch {
		case i%10 == 9:
			for c := range 4 {
				m.Children = append(m.Children, digest(i-1-c))
			}
		case i%10 >= 5:
			continue
		}
		m.Tags = []string{fmt.Sprintf("team-%d-main-%d", i%64, i), fmt.Sprintf("v%d.%d.%d", i%5, i%100, i), fmt.Sprintf("build-%d-rc%d", i%100, i%7)}
	}
	return images
}

// A repository and a policy of the usual sizes.
func BenchmarkEvaluate1000Images3Rules(b *testing.B) {
	p := parse(b, policyText(b, []string{"#1 tagged pattern=team-*-main-*,v1.*.* sinceImagePushed 90 expire",
		"#2 tagged prefix=v imageCountMoreThan 100 expire", "#3 untagged sinceImagePushed 7 expire"}))
	evaluate(b, p, large(1000), selection.Options{})
}

func benchmark(b *testing.B, o selection.Options) { evaluate(b, fifty(b), large(100_000), o) }

func evaluate(b *testing.B, p *rules.Policy, images []selection.Image, o selection.Options) {
	b.ReportAllocs()
	actions := 0
	for b.Loop() {
		actions = len(selection.Evaluate(p, images, now, o))
	}
	b.ReportMetric(float64(actions), "actions")
}

func BenchmarkEvaluate100000Images50Rules(b *testing.B) { benchmark(b, selection.Options{}) }

func BenchmarkEvaluate100000Images50RulesMultiArch(b *testing.B) {
	benchmark(b, selection.Options{MultiArch: true})
}

func BenchmarkBlocked100000Images(b *testing.B) {
	p, images := fifty(b), large(100_000)
	actions := selection.Evaluate(p, images, now, selection.Options{})
	b.ReportAllocs()
	blocked := 0
	for b.Loop() {
		blocked = len(selection.Blocked(images, actions))
	}
	b.ReportMetric(float64(blocked), "blocked")
}

// TestLargeRepositoriesCostLittle holds the memory that the benchmark measures to
// its bound.
func TestLargeRepositoriesCostLittle(t *testing.T) {
	p, images := fifty(t), large(100_000)
	for _, o := range []selection.Options{{}, {MultiArch: true}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		actions := selection.Evaluate(p, images, now, o)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 100<<20 || len(actions) < 50_000 {
			t.Errorf("%+v: %d bytes for %d actions", o, got, len(actions))
		}
	}
}
