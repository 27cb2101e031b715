package rules_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
)

const three = `{"rules":[
	{"rulePriority":1,"description":"Releases stay for a year","selection":{"tagStatus":"tagged","tagPatternList":["release-*","v*.*.*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":365},"action":{"type":"expire"}},
	{"rulePriority":2,"description":"Ten builds of the main branch","selection":{"tagStatus":"tagged","tagPrefixList":["main-"],"countType":"imageCountMoreThan","countNumber":10},"action":{"type":"expire"}},
	{"rulePriority":3,"description":"What has no tag goes after a week","selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":7},"action":{"type":"expire"}}]}`

func BenchmarkParse3Rules(b *testing.B) {
	b.SetBytes(int64(len(three)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rules.Parse(three, rules.ECR, rules.Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMatches asks each of three rules about an image with three tags.
func BenchmarkMatches(b *testing.B) {
	p, err := rules.Parse(three, rules.ECR, rules.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	tags := []string{"latest", "main-20261128-9f3c1ab", "build-4711"}
	b.ReportAllocs()
	for b.Loop() {
		matched := 0
		for _, r := range p.Rules {
			if r.Matches(tags) {
				matched++
			}
		}
		if matched != 1 {
			b.Fatal(matched, "rules match")
		}
	}
}
