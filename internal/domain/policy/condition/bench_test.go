package condition_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy/condition"
)

type keys map[string][]string

func (k keys) Lookup(key string) ([]string, bool) {
	v, ok := k[key]
	return v, ok
}

// holding are conditions that hold for values, one of each kind of operator.
var holding = []struct {
	operator, key string
	values        []string
}{
	{"StringEquals", "aws:PrincipalTag/team", []string{"red", "${aws:ResourceTag/team}"}},
	{"StringLike", "ecr:ImageTag", []string{"release-*", "v?.*.*"}},
	{"ForAllValues:StringEquals", "aws:TagKeys", []string{"team", "stage", "cost"}},
	{"NumericLessThanEquals", "aws:MultiFactorAuthAge", []string{"3600"}},
	{"DateGreaterThan", "aws:CurrentTime", []string{"2026-01-01T00:00:00Z"}},
	{"IpAddress", "aws:SourceIp", []string{"10.0.0.0/8", "203.0.113.0/24"}},
	{"ArnLike", "aws:PrincipalArn", []string{"arn:aws:iam::*:role/build-*"}},
	{"Bool", "aws:SecureTransport", []string{"true"}},
	{"Null", "aws:TokenIssueTime", []string{"true"}},
}

var values = keys{
	"aws:principaltag/team": {"blue"}, "aws:resourcetag/team": {"blue"}, "ecr:imagetag": {"v1.4.0"}, "aws:tagkeys": {"stage", "team"},
	"aws:multifactorauthage": {"300"}, "aws:currenttime": {"2026-11-28T00:00:00Z"}, "aws:sourceip": {"203.0.113.9"},
	"aws:principalarn": {"arn:aws:iam::123456789012:role/build-main"}, "aws:securetransport": {"true"},
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		for _, h := range holding {
			if _, err := condition.Compile(h.operator, h.key, h.values, true); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkHolds(b *testing.B) {
	for _, h := range holding {
		c, err := condition.Compile(h.operator, h.key, h.values, true)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(h.operator, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !c.Holds(values) {
					b.Fatal("does not hold")
				}
			}
		})
	}
}
