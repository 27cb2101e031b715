package rules_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/lifecycle/rules"
)

const refusal = "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: "

type parseCase struct {
	Rule      string
	Priority  json.RawMessage
	Selection json.RawMessage
	Action    json.RawMessage
	Rules     json.RawMessage
	Text      *string
	Error     string
	Extended  string
}

func (c *parseCase) text() string {
	switch {
	case c.Text != nil:
		return *c.Text
	case c.Rules != nil:
		return `{"rules": ` + string(c.Rules) + `}`
	}
	if c.Priority == nil {
		c.Priority = json.RawMessage(`1`)
	}
	if c.Action == nil {
		c.Action = json.RawMessage(`{"type": "expire"}`)
	}
	return fmt.Sprintf(`{"rules": [{"rulePriority": %s, "selection": %s, "action": %s}]}`, c.Priority, c.Selection, c.Action)
}

func parseCorpus(t testing.TB) []parseCase {
	t.Helper()
	text, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []parseCase
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestParse(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range parseCorpus(t) {
		if seen[c.Rule] {
			t.Errorf("%q is there twice", c.Rule)
		}
		seen[c.Rule] = true
		t.Run(c.Rule, func(t *testing.T) {
			check(t, c.text(), rules.ECR, c.Error)
			switch c.Extended {
			case "":
				check(t, c.text(), rules.Extended, c.Error)
			case "accepted":
				check(t, c.text(), rules.Extended, "")
			default:
				check(t, c.text(), rules.Extended, c.Extended)
			}
		})
	}
	t.Logf("%d cases", len(seen))
}

func check(t *testing.T, text string, g rules.Grammar, want string) {
	t.Helper()
	p, err := rules.Parse(text, g, rules.Limits{})
	if want == "" {
		if err != nil {
			t.Fatalf("grammar %d: %v", g, err)
		}
		roundTrip(t, text, p, g)
		return
	}
	if err == nil || err.Error() != refusal+want || !errs.Is(err, errs.InvalidParameter) || p != nil {
		t.Errorf("grammar %d: %v %v, want %q", g, p, err, want)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// roundTrip parses a policy again in its short form.
func roundTrip(t fataler, text string, p *rules.Policy, g rules.Grammar) {
	t.Helper()
	short, err := rules.Minify(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	again, err := rules.Parse(short, g, rules.Limits{Rules: len(p.Rules)})
	if err != nil || !reflect.DeepEqual(again, p) {
		t.Fatalf("%+v became %+v: %v", p, again, err)
	}
	if twice, err := rules.Minify(short); err != nil || twice != short {
		t.Fatalf("%s became %s: %v", short, twice, err)
	}
}

func TestParseReadsEverything(t *testing.T) {
	const text = `{"rules": [
		{"rulePriority": 7, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 3}, "action": {"type": "untag"}},
		{"rulePriority": 2, "description": "old", "selection": {"tagStatus": "tagged", "tagPatternList": ["*-old", "v*"], "countType": "sinceImagePulled", "countUnit": "days", "countNumber": 90},
			"action": {"type": "transition", "targetStorageClass": "archive"}},
		{"rulePriority": 3, "selection": {"tagStatus": "tagged", "tagPrefixList": ["v"], "storageClass": "archive", "countType": "sinceImageTransitioned", "countUnit": "days", "countNumber": 365}, "action": {"type": "expire"}},
		{"rulePriority": 4, "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1}, "action": {"type": "expire"}},
		{"rulePriority": 9, "selection": {"tagStatus": "untagged", "storageClass": "standard"}, "action": {"type": "retain"}}
	]}`
	got, err := rules.Parse(text, rules.Extended, rules.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want := &rules.Policy{Rules: []rules.Rule{
		{
			Priority: 2, Description: "old", Action: rules.Action{Type: rules.Transition, Target: rules.Archive},
			Selection: rules.Selection{TagStatus: rules.Tagged, Patterns: []string{"*-old", "v*"}, StorageClass: rules.Standard, CountType: rules.SinceImagePulled, CountNumber: 90},
		},
		{
			Priority: 3, Action: rules.Action{Type: rules.Expire},
			Selection: rules.Selection{TagStatus: rules.Tagged, Prefixes: []string{"v"}, StorageClass: rules.Archive, CountType: rules.SinceImageTransitioned, CountNumber: 365},
		},
		{
			Priority: 4, Action: rules.Action{Type: rules.Expire},
			Selection: rules.Selection{TagStatus: rules.Untagged, StorageClass: rules.Standard, CountType: rules.SinceImagePushed, CountNumber: 1},
		},
		{
			Priority: 7, Action: rules.Action{Type: rules.Untag},
			Selection: rules.Selection{TagStatus: rules.Any, StorageClass: rules.Standard, CountType: rules.ImageCountMoreThan, CountNumber: 3},
		},
		{
			Priority: 9, Action: rules.Action{Type: rules.Retain},
			Selection: rules.Selection{TagStatus: rules.Untagged, StorageClass: rules.Standard},
		},
	}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// many is a policy of n rules.
func many(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`{"rulePriority": %d, "selection": {"tagStatus": "tagged", "tagPrefixList": ["p%d"], "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}`, i+1, i)
	}
	return `{"rules": [` + strings.Join(list, ",") + `]}`
}

func TestLimits(t *testing.T) {
	for _, c := range []struct {
		rules, limit int
		want         string
	}{
		{50, 0, ""},
		{51, 0, "array is too long: must have at most 50 elements but instance has 51 elements'"},
		{51, 60, ""},
		{3, 3, ""},
		{4, 3, "array is too long: must have at most 3 elements but instance has 4 elements'"},
	} {
		_, err := rules.Parse(many(c.rules), rules.ECR, rules.Limits{Rules: c.limit})
		if (err == nil) != (c.want == "") || (err != nil && err.Error() != refusal+c.want) {
			t.Errorf("%d rules with the limit %d: %v", c.rules, c.limit, err)
		}
	}
}

func TestMinify(t *testing.T) {
	for _, c := range []struct{ text, want, refused string }{
		{" {\r\n\t\"b\" : [ 1.50 , -0, 2E+3,\"a \\u00e9\\/ b\" ], \"a\" : { } }\n", `{"b":[1.50,-0,2E+3,"a \u00e9\/ b"],"a":{}}`, ""},
		{"\"<&>\u2028 é\"", "\"<&>\u2028 é\"", ""},
		{"{", "", "Could not map policyString into LifecyclePolicy.'"},
		{"\"\xff\"", "", "Could not map policyString into LifecyclePolicy.'"},
		{`{"a":1,"\u0061":2}`, "", "Could not map policyString into LifecyclePolicy. A member must not be given twice.'"},
	} {
		got, err := rules.Minify(c.text)
		if got != c.want || (err == nil) != (c.refused == "") || (err != nil && err.Error() != refusal+c.refused) {
			t.Errorf("%q: %q %v", c.text, got, err)
		}
	}
}

func TestMatches(t *testing.T) {
	tagged := func(prefixes, patterns []string) rules.Selection {
		return rules.Selection{TagStatus: rules.Tagged, Prefixes: prefixes, Patterns: patterns}
	}
	for _, c := range []struct {
		selection rules.Selection
		tags      string
		want      bool
		named     string
	}{
		{rules.Selection{TagStatus: rules.Any}, "", true, ""},
		{rules.Selection{TagStatus: rules.Any}, "a b", true, "a b"},
		{rules.Selection{TagStatus: rules.Untagged}, "", true, ""},
		{rules.Selection{TagStatus: rules.Untagged}, "a", false, ""},
		{rules.Selection{TagStatus: "none"}, "a", false, ""},
		{tagged([]string{"prod"}, nil), "prod1 dev", true, "prod1"},
		{tagged([]string{"prod"}, nil), "aprod", false, ""},
		{tagged([]string{"prod"}, nil), "", false, ""},
		{tagged([]string{"pro*"}, nil), "prod", false, ""},
		{tagged([]string{"alpha", "beta"}, nil), "beta-1 x alpha-2", true, "beta-1 alpha-2"},
		{tagged([]string{"alpha", "beta"}, nil), "alpha-1 alpha-2", false, "alpha-1 alpha-2"},
		{tagged([]string{"al", "alpha"}, nil), "alpha-1", true, "alpha-1"}, // one tag for both
		{tagged(nil, []string{"prod"}), "prod1 prod", true, "prod"},
		{tagged(nil, []string{"prod"}), "prod1", false, ""},
		{tagged(nil, []string{"*"}), "x", true, "x"},
		{tagged(nil, []string{"*"}), "", false, ""},
		{tagged(nil, []string{"*prod*"}), "repo-production pro-d", true, "repo-production"},
		{tagged(nil, []string{"v*.*", "*-rc"}), "v1.2-rc", true, "v1.2-rc"},
	} {
		r := rules.Rule{Selection: c.selection}
		if got := r.Matches(strings.Fields(c.tags)); got != c.want {
			t.Errorf("%+v with %q: %t", c.selection, c.tags, got)
		}
		if got := strings.Join(r.Named(strings.Fields(c.tags)), " "); got != c.named {
			t.Errorf("%+v names %q of %q, want %q", c.selection, got, c.tags, c.named)
		}
	}
}

func TestMatchPatternAgainstPathMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab.*]{0,8}`).Draw(t, "pattern")
		tag := rapid.StringMatching(`[ab.]{0,8}`).Draw(t, "tag")
		want, err := path.Match(pattern, tag)
		if err != nil {
			t.Fatal(err)
		}
		if got := rules.MatchPattern(pattern, tag); got != want {
			t.Fatalf("%q with %q: %t", pattern, tag, got)
		}
	})
}

// drawRule makes a rule, often one that is refused.
func drawRule(t *rapid.T) map[string]any {
	pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label) }
	s := map[string]any{
		"tagStatus": pick("status", "tagged", "tagged", "untagged", "any"),
		"countType": pick("count", "imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"),
	}
	if s["tagStatus"] == "tagged" {
		s[pick("list", "tagPrefixList", "tagPatternList")] = rapid.SliceOfN(rapid.StringMatching(`[ab*]{1,3}`), 1, 2).Draw(t, "entries")
	}
	s["countNumber"] = rapid.SampledFrom([]int{1, 3, 90, 400, 0}).Draw(t, "number")
	if s["countType"] != "imageCountMoreThan" {
		s["countUnit"] = "days"
	}
	if s["countType"] == "sinceImageTransitioned" {
		s["storageClass"] = "archive"
	}
	a := map[string]any{"type": pick("action", "expire", "expire", "expire", "transition", "retain", "untag")}
	if a["type"] == "transition" {
		a["targetStorageClass"] = "archive"
	}
	if rapid.IntRange(0, 9).Draw(t, "spoil") == 0 {
		delete(s, pick("without", "tagStatus", "countType", "countNumber", "countUnit", "storageClass"))
	}
	return map[string]any{"rulePriority": rapid.IntRange(1, 99).Draw(t, "priority"), "selection": s, "action": a}
}

// TestGrammars shows that the extended grammar adds to ECR's and changes nothing.
func TestGrammars(t *testing.T) {
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Custom(drawRule), 1, 4).Draw(t, "rules")
		text, err := json.MarshalIndent(map[string]any{"rules": list}, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		ecr, ecrErr := rules.Parse(string(text), rules.ECR, rules.Limits{})
		extended, extendedErr := rules.Parse(string(text), rules.Extended, rules.Limits{})
		own := strings.Contains(string(text), `"retain"`) || strings.Contains(string(text), `"untag"`)
		switch {
		case ecrErr == nil && (own || !reflect.DeepEqual(ecr, extended)):
			t.Fatalf("%+v %+v %v", ecr, extended, extendedErr)
		case ecrErr != nil && extendedErr == nil && !own && !strings.Contains(string(text), "sinceImagePulled"):
			t.Fatalf("only the extended grammar takes %s: %v", text, ecrErr)
		}
		for g, p := range []*rules.Policy{ecr, extended} {
			if p != nil {
				roundTrip(t, string(text), p, rules.Grammar(g))
				if !slices.IsSortedFunc(p.Rules, func(a, b rules.Rule) int { return int(a.Priority - b.Priority) }) {
					t.Fatalf("%+v", p)
				}
			}
		}
		outcomes[fmt.Sprint(ecrErr == nil, extendedErr == nil)]++
	})
	if len(outcomes) != 3 {
		t.Errorf("the random policies reach only %v", outcomes)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range parseCorpus(f) {
		f.Add(c.text(), c.Extended == "accepted")
	}
	f.Fuzz(func(t *testing.T, text string, extended bool) {
		g := rules.ECR
		if extended {
			g = rules.Extended
		}
		p, err := rules.Parse(text, g, rules.Limits{})
		if err != nil {
			if !errs.Is(err, errs.InvalidParameter) || !strings.HasPrefix(err.Error(), refusal) {
				t.Fatal(err)
			}
			return
		}
		roundTrip(t, text, p, g)
		if other, err := rules.Parse(text, rules.Extended, rules.Limits{}); err != nil || !reflect.DeepEqual(other, p) {
			t.Fatalf("%+v in the extended grammar: %v", other, err)
		}
		for _, r := range p.Rules {
			if named := r.Named([]string{"a", "prod-1"}); len(named) == 0 && r.Selection.TagStatus == rules.Tagged && r.Matches([]string{"a", "prod-1"}) {
				t.Fatalf("%+v matches and names no tag", r)
			}
		}
	})
}
