package policy_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/policy"
)

// TestMain makes the properties run longer than rapid's default, because a scene
// has many sides; -rapid.checks still has its way.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "600"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// What random policies and requests are made of: few enough values that they meet
// often.
var (
	someActions   = []any{"*", "ecr:*", "ecr:Put*", "ECR:putimage", "ecr:Get?mage", "*:*Image", "sts:AssumeRole", "s3:*"}
	someResources = []any{
		"*", "arn:aws:ecr:*", "arn:aws:ecr:eu-west-1:111122223333:repository/team/app", "arn:aws:ecr:*:*:repository/*a*p",
		"arn:aws:ecr:*:*:repository/${aws:username}/*", "arn:aws:ecr:*:${k:account, '111122223333'}:repository/team/?pp",
		"arn:aws:ecr:*:*:repository/team${*}", "arn:aws:s3:::bucket", "arn:aws:ecr:eu-west-1:*:team/app",
	}
	somePrincipals = []string{
		"*", "111122223333", "arn:aws:iam::111122223333:root", "444455556666", "arn:aws:iam::111122223333:user/dev/amber", "AIDAAMBERAMBERAMBER1",
		"arn:aws:iam::111122223333:role/ci/builder", "arn:aws:sts::111122223333:assumed-role/builder/ci-7", "AROABUILDERBUILDER01",
		"arn:aws:sts::111122223333:federated-user/helen", "arn:aws:iam::444455556666:user/cedar", "arn:aws:iam::444455556666:role/deployer",
	}
	someConditions = []struct {
		operator string
		values   []any
	}{
		{"StringEquals", []any{"a", "b", "${k:x}", "${k:y, 'a'}", "*"}},
		{"StringNotEquals", []any{"a", "${k:x}"}},
		{"StringEqualsIgnoreCase", []any{"A", "${k:x}"}},
		{"StringLike", []any{"*", "?", "a*", "${k:x}*", "${*}", "*b*b?"}},
		{"StringNotLike", []any{"a*", "?b"}},
		{"NumericEquals", []any{1, "2.0", -3}},
		{"NumericLessThan", []any{2, "1e1"}},
		{"NumericGreaterThanEquals", []any{2}},
		{"NumericNotEquals", []any{1, 2}},
		{"DateLessThan", []any{"2026-11-28T00:00:00Z", "2026", 1795824000}},
		{"DateGreaterThanEquals", []any{"2026-11-28"}},
		{"DateNotEquals", []any{"2026-11-28T02:00:00+02:00"}},
		{"Bool", []any{"true", false}},
		{"IpAddress", []any{"10.0.0.0/8", "::/0", "10.0.0.1"}},
		{"NotIpAddress", []any{"10.0.0.0/8"}},
		{"ArnLike", []any{"arn:aws:s3:::*", "*", "arn:*:s3:?::a", "arn:aws:${k:x}:*"}},
		{"ArnNotLike", []any{"arn:aws:s3:::a"}},
		{"BinaryEquals", []any{"QQ=="}},
	}
	someKeys   = []string{"k:x", "k:y", "K:Z"}
	someValues = []string{"a", "A", "b", "ab", "abb", "*", "1", "2", "2026-11-28T00:00:00Z", "true", "false", "10.0.0.1", "::1", "arn:aws:s3:::a", "QQ==", ""}
)

func few[T any](t *rapid.T, from []T, most int, label string) []T {
	return rapid.SliceOfN(rapid.SampledFrom(from), 1, most).Draw(t, label)
}

// loose is a list, or its only value by itself.
func loose(t *rapid.T, list []any) any {
	if len(list) == 1 && rapid.Bool().Draw(t, "single") {
		return list[0]
	}
	return list
}

func drawStatement(t *rapid.T, g policy.Grammar) map[string]any {
	st := map[string]any{"Effect": rapid.SampledFrom([]string{"Allow", "Allow", "Allow", "Deny"}).Draw(t, "effect")}
	negated := func(label string) string {
		if rapid.IntRange(0, 4).Draw(t, label) == 0 {
			return "Not" + label
		}
		return label
	}
	if g == policy.Trust {
		st["Action"] = loose(t, few(t, []any{"sts:AssumeRole", "sts:*", "sts:TagSession"}, 2, "actions"))
	} else {
		st[negated("Action")] = loose(t, few(t, someActions, 2, "actions"))
	}
	if g != policy.Trust && (g != policy.Repository || rapid.Bool().Draw(t, "resource")) {
		st[negated("Resource")] = loose(t, few(t, someResources, 2, "resources"))
	}
	if g == policy.Trust || g == policy.Repository || g == policy.Registry {
		element := "Principal"
		if st["Effect"] == "Deny" {
			element = negated("Principal")
		}
		if rapid.IntRange(0, 5).Draw(t, "everyone") == 0 {
			st[element] = "*"
		} else {
			p := map[string]any{}
			for range rapid.IntRange(1, 2).Draw(t, "kinds") {
				switch rapid.IntRange(0, 5).Draw(t, "kind") {
				case 0:
					p["Service"] = "lambda.amazonaws.com"
				case 1:
					p["Federated"] = []string{"accounts.google.com"}
				default:
					p["AWS"] = few(t, somePrincipals, 3, "principals")
				}
			}
			st[element] = p
		}
	}
	if n := rapid.IntRange(-1, 2).Draw(t, "conditions"); n > 0 {
		condition := map[string]any{}
		for range n {
			c := rapid.SampledFrom(someConditions).Draw(t, "condition")
			operator := rapid.SampledFrom([]string{"", "", "ForAllValues:", "ForAnyValue:"}).Draw(t, "set") + c.operator +
				rapid.SampledFrom([]string{"", "", "IfExists"}).Draw(t, "suffix")
			condition[operator] = map[string]any{rapid.SampledFrom(someKeys).Draw(t, "key"): loose(t, few(t, c.values, 2, "values"))}
		}
		if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			condition["Null"] = map[string]any{rapid.SampledFrom(someKeys).Draw(t, "key"): rapid.Bool().Draw(t, "missing")}
		}
		st["Condition"] = condition
	}
	return st
}

// draft is a policy that can be changed before it is parsed.
type draft struct {
	name       string
	g          policy.Grammar
	version    string
	statements []map[string]any
}

func drawDraft(t *rapid.T, name string, g policy.Grammar) *draft {
	d := &draft{name: name, g: g, version: rapid.SampledFrom([]string{"2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"}).Draw(t, "version")}
	for range rapid.IntRange(1, 3).Draw(t, "statements") {
		d.statements = append(d.statements, drawStatement(t, g))
	}
	return d
}

func (d *draft) named(t fataler) policy.Named {
	t.Helper()
	text, err := json.Marshal(map[string]any{"Version": d.version, "Statement": d.statements})
	if err != nil {
		t.Fatalf("%v", err)
	}
	doc, err := policy.Parse(string(text), d.g)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return policy.Named{Name: d.name, Document: doc}
}

// scene is a set of drafts with a request.
type scene struct {
	identity, session, resource []*draft
	boundary                    []*draft // none or one
	scp                         [][]*draft
	sources                     policy.Sources // without policies
	request                     policy.Request
}

func drawScene(t *rapid.T) *scene {
	s := &scene{}
	list := func(label string, least, most int, g ...policy.Grammar) []*draft {
		var all []*draft
		for i := range rapid.IntRange(least, most).Draw(t, label) {
			all = append(all, drawDraft(t, fmt.Sprintf("%s%d", label, i), rapid.SampledFrom(g).Draw(t, "grammar")))
		}
		return all
	}
	s.identity = list("identity", 0, 2, policy.Identity)
	s.boundary = list("boundary", 0, 1, policy.Identity)
	if s.sources.Sessioned = rapid.IntRange(0, 2).Draw(t, "sessioned") == 0; s.sources.Sessioned {
		s.session = list("session", 0, 2, policy.Identity)
	}
	for i := range max(0, rapid.IntRange(-4, 2).Draw(t, "levels")) {
		s.scp = append(s.scp, list(fmt.Sprintf("scp%d.", i), 0, 2, policy.ServiceControl))
	}
	s.request = policy.Request{
		Action:   rapid.SampledFrom([]string{"ecr:PutImage", "ecr:GetImage", "s3:GetObject"}).Draw(t, "action"),
		Resource: rapid.SampledFrom([]string{"arn:aws:ecr:eu-west-1:111122223333:repository/team/app", "arn:aws:ecr:us-east-1:111122223333:repository/a/p", "arn:aws:s3:::bucket", "*"}).Draw(t, "of"),
	}
	if s.sources.ResourceRequired = rapid.IntRange(0, 3).Draw(t, "trust") == 0; s.sources.ResourceRequired {
		s.request.Action, s.request.Resource = "sts:AssumeRole", "arn:aws:iam::111122223333:role/target"
		s.resource = list("trust", 1, 1, policy.Trust)
	} else {
		s.resource = list("resource", 0, 2, policy.Repository, policy.Registry)
	}
	s.request.Caller = callers[rapid.SampledFrom(slices.Sorted(maps.Keys(callers))).Draw(t, "caller")]
	s.sources.Root = s.request.Caller.Type == policy.Root
	s.sources.ResourceAccount = rapid.SampledFrom([]string{"", home}).Draw(t, "owner")
	ctx := table{}
	for _, key := range []string{"k:x", "k:y", "k:z", "aws:username", "k:account"} {
		if n := rapid.IntRange(-1, 2).Draw(t, key); n >= 0 {
			ctx[key] = rapid.SliceOfN(rapid.SampledFrom(someValues), n, n).Draw(t, "values of "+key)
		}
	}
	s.request.Context = ctx
	return s
}

func (s *scene) build(t fataler) *policy.Sources {
	t.Helper()
	src := s.sources
	all := func(drafts []*draft) []policy.Named {
		var list []policy.Named
		for _, d := range drafts {
			list = append(list, d.named(t))
		}
		return list
	}
	src.Identity, src.Session, src.Resource = all(s.identity), all(s.session), all(s.resource)
	for _, b := range all(s.boundary) {
		src.Boundary = &b
	}
	for _, level := range s.scp {
		src.ServiceControl = append(src.ServiceControl, all(level))
	}
	return &src
}

func (s *scene) drafts() []*draft {
	all := slices.Concat(s.identity, s.session, s.resource, s.boundary)
	for _, level := range s.scp {
		all = append(all, level...)
	}
	return all
}

func TestAgreesWithReference(t *testing.T) {
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		src := s.build(t)
		d, want := policy.Decide(src, &s.request), referenceDecide(src, &s.request)
		if d != want {
			t.Fatalf("Decide %+v, reference %+v", d, want)
		}
		outcomes[outcome(policy.Decision{Allowed: d.Allowed, Explicit: d.Explicit, By: d.By, Statement: -1})]++
	})
	if len(outcomes) < 12 {
		t.Errorf("the random scenes reach only %v", outcomes)
	}
}

func TestExplainAgrees(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		src := s.build(t)
		d, matches := policy.Explain(src, &s.request)
		if alone := policy.Decide(src, &s.request); alone != d {
			t.Fatalf("Decide %+v, Explain %+v", alone, d)
		}
		denied := slices.ContainsFunc(matches, func(m policy.Match) bool { return !m.Allow })
		if denied != d.Explicit {
			t.Fatalf("%+v with the matches %+v", d, matches)
		}
		if denied {
			first := matches[slices.IndexFunc(matches, func(m policy.Match) bool { return !m.Allow })]
			if first != (policy.Match{Side: d.By, Policy: d.Policy, Statement: d.Statement, Sid: d.Sid}) {
				t.Fatalf("%+v is not the first Deny %+v", d, first)
			}
		}
		if d.Allowed && d.Statement >= 0 && !slices.Contains(matches, policy.Match{Side: d.By, Policy: d.Policy, Statement: d.Statement, Sid: d.Sid, Allow: true}) {
			t.Fatalf("%+v is not among %+v", d, matches)
		}
		for _, key := range policy.MissingContext(src, &s.request) {
			if values, _ := s.request.Context.Lookup(key); len(values) > 0 {
				t.Fatalf("%s is listed as missing and has the values %q", key, values)
			}
		}
	})
}

func TestDenyNeverAllows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		before := policy.Decide(s.build(t), &s.request)
		all := s.drafts()
		if len(all) == 0 {
			return
		}
		d := rapid.SampledFrom(all).Draw(t, "where")
		st := drawStatement(t, d.g)
		st["Effect"] = "Deny"
		at := rapid.IntRange(0, len(d.statements)).Draw(t, "at")
		d.statements = slices.Insert(d.statements, at, st)
		if after := policy.Decide(s.build(t), &s.request); after.Allowed && !before.Allowed {
			t.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestOrderNeverMatters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawScene(t)
		before := policy.Decide(s.build(t), &s.request)
		for _, d := range s.drafts() {
			d.statements = rapid.Permutation(d.statements).Draw(t, "statements")
		}
		s.identity = rapid.Permutation(s.identity).Draw(t, "identity")
		s.session = rapid.Permutation(s.session).Draw(t, "session")
		s.resource = rapid.Permutation(s.resource).Draw(t, "resource")
		s.scp = rapid.Permutation(s.scp).Draw(t, "levels")
		for i := range s.scp {
			s.scp[i] = rapid.Permutation(s.scp[i]).Draw(t, "level")
		}
		after := policy.Decide(s.build(t), &s.request)
		if after.Allowed != before.Allowed || after.Explicit != before.Explicit || (!after.Allowed && !after.Explicit && after.By != before.By) {
			t.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := rapid.SampledFrom([]policy.Grammar{policy.Identity, policy.Trust, policy.Repository, policy.Registry, policy.ServiceControl}).Draw(t, "grammar")
		roundTrip(t, drawDraft(t, "p", g).named(t).Document, g)
	})
}

func FuzzParse(f *testing.F) {
	for _, c := range parseCorpus(f) {
		f.Add(c.Text, int(grammars[c.Grammar]))
	}
	f.Fuzz(func(t *testing.T, text string, grammar int) {
		g := policy.Grammar(grammar)
		d, err := policy.Parse(text, g)
		if err != nil {
			if _, ok := err.(*policy.SyntaxError); !ok {
				t.Fatalf("%T", err)
			}
			return
		}
		roundTrip(t, d, g)
		p := []policy.Named{{Name: "p", Document: d}}
		r := &policy.Request{Action: "ecr:PutImage", Resource: mine, Caller: callers["amber"], Context: table{"aws:username": {"amber"}}}
		for _, s := range []*policy.Sources{{Identity: p}, {Resource: p}} {
			if got, want := policy.Decide(s, r), referenceDecide(s, r); got != want {
				t.Fatalf("Decide %+v, reference %+v: %s", got, want, text)
			}
		}
	})
}
