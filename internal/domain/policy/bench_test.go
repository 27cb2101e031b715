package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy"
)

// hundred is a policy of a hundred statements that do not decide, and one that
// allows.
func hundred(tb testing.TB) policy.Named {
	tb.Helper()
	var b strings.Builder
	b.WriteString(`{"Version":"2012-10-17","Statement":[`)
	for i := range 100 {
		// As in a real policy the action fits often, and the resource is another
		// repository.
		fmt.Fprintf(&b, `{"Effect":"Allow","Action":["ecr:Describe*","ecr:*Image"],"Resource":"arn:aws:ecr:*:111122223333:repository/team-%d/*"},`, i)
	}
	b.WriteString(`{"Effect":"Allow","Action":"ecr:Put*","Resource":"arn:aws:ecr:*:111122223333:repository/${aws:username}/*"}]}`)
	return policy.Named{Name: "hundred", Document: parse(tb, b.String(), policy.Identity)}
}

type table map[string][]string

func (t table) Lookup(key string) ([]string, bool) {
	v, ok := t[key]
	return v, ok
}

const mine = "arn:aws:ecr:eu-west-1:111122223333:repository/amber/app"

func benchmark(b *testing.B, s *policy.Sources) {
	r := &policy.Request{
		Action: "ecr:PutImage", Resource: mine,
		Caller: policy.Caller{
			Type: policy.User, Account: "111122223333", ARN: "arn:aws:iam::111122223333:user/amber", UniqueID: "AIDAAMBERAMBERAMBER1",
		},
		Context: table{
			"aws:username": {"amber"}, "aws:sourceip": {"203.0.113.9"}, "aws:currenttime": {"2026-11-28T00:00:00Z"},
			"aws:principaltag/team": {"blue"}, "aws:securetransport": {"true"},
		},
	}
	b.ReportAllocs()
	for b.Loop() {
		if !policy.Decide(s, r).Allowed {
			b.Fatal("refused")
		}
	}
}

func BenchmarkDecide100(b *testing.B) {
	benchmark(b, &policy.Sources{Identity: []policy.Named{hundred(b)}})
}

// Five conditions each. In all but the statement that allows, the one on the
// user's name fails, which is among the cheap ones.
func BenchmarkDecide100Conditions(b *testing.B) {
	const deciding = `"StringEquals":{"aws:username":`
	benchmark(b, &policy.Sources{Identity: []policy.Named{conditioned(b, deciding+`"bay"}`, deciding+`"${aws:username}"}`,
		`"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}`)}})
}

// As before, but what fails is the date, which costs most and comes last: no
// statement ends early.
func BenchmarkDecide100LastConditionFails(b *testing.B) {
	const deciding = `"DateLessThan":{"aws:CurrentTime":`
	benchmark(b, &policy.Sources{Identity: []policy.Named{conditioned(b, deciding+`"2020-01-01T00:00:00Z"}`, deciding+`"2030-01-01T00:00:00Z"}`,
		`"StringEquals":{"aws:username":"${aws:username}"}`)}})
}

// conditioned is a policy of a hundred statements whose condition fails, and one
// whose condition holds.
func conditioned(tb testing.TB, fails, holds, both string) policy.Named {
	tb.Helper()
	statement := func(deciding string) string {
		return `{"Effect":"Allow","Action":"ecr:*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"},` +
			`"StringLike":{"aws:PrincipalTag/team":["red*","blu?"]},"Bool":{"aws:SecureTransport":"true"},` + both + `,` + deciding + `}}`
	}
	text := `{"Version":"2012-10-17","Statement":[` + strings.Repeat(statement(fails)+",", 100) + statement(holds) + `]}`
	return policy.Named{Name: "conditioned", Document: parse(tb, text, policy.Identity)}
}

// The cost of storing or loading a policy.
func BenchmarkParse100(b *testing.B) {
	text := hundred(b).Document.JSON()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse(text, policy.Identity); err != nil {
			b.Fatal(err)
		}
	}
}

// shared is a repository's policy as teams write them: who pulls, who pushes, and what is
// refused to everybody.
const shared = `{"Version":"2012-10-17","Statement":[
	{"Sid":"Pull","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::444455556666:root","arn:aws:iam::777788889999:role/deploy"]},
		"Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer","ecr:BatchCheckLayerAvailability"],"Condition":{"StringLike":{"aws:PrincipalTag/team":["blue","red-*"]}}},
	{"Sid":"Organization","Effect":"Allow","Principal":"*","Action":["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}},
	{"Sid":"Push","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/amber"},"Action":["ecr:PutImage","ecr:*LayerUpload","ecr:UploadLayerPart"],
		"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.0/24"]},"DateLessThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}},
	{"Sid":"Secure","Effect":"Deny","Principal":"*","Action":"ecr:*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`

// A push that the repository's policy alone allows.
func BenchmarkDecideRepository(b *testing.B) {
	benchmark(b, &policy.Sources{Resource: []policy.Named{{Name: "shared", Document: parse(b, shared, policy.Repository)}}, ResourceAccount: "111122223333"})
}

func BenchmarkParseRepository(b *testing.B) {
	b.SetBytes(int64(len(shared)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := policy.Parse(shared, policy.Repository); err != nil {
			b.Fatal(err)
		}
	}
}
