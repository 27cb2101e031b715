package pattern

import "testing"

// BenchmarkARN compares the ARN of a repository with a pattern that has a variable.
func BenchmarkARN(b *testing.B) {
	a, err := CompileARN("arn:aws:ecr:*:123456789012:repository/${aws:PrincipalTag/team}/*", true)
	if err != nil {
		b.Fatal(err)
	}
	ctx := keys{"aws:principaltag/team": {"payments"}}
	b.ReportAllocs()
	for b.Loop() {
		s := NewSubject("arn:aws:ecr:eu-west-1:123456789012:repository/payments/checkout-service")
		if !a.Match(&s, ctx) {
			b.Fatal("no match")
		}
	}
}

// BenchmarkWildcards is a pattern that has to go back twice.
func BenchmarkWildcards(b *testing.B) {
	p, err := Compile("*-release-?.*-amd64", Wildcards)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !p.Match("checkout-release-x-release-2.14.0-rc-amd64", nil) {
			b.Fatal("no match")
		}
	}
}

func BenchmarkAction(b *testing.B) {
	a := CompileAction("ecr:Describe*")
	b.ReportAllocs()
	for b.Loop() {
		if !a.Match("ecr:DescribeImages") || a.Match("ecr:PutImage") {
			b.Fatal("matched wrongly")
		}
	}
}
