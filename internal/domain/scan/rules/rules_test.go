package rules_test

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/rules"
)

// TestFilters has the table of the ECR user guide, "Filters to choose which
// repositories are scanned", and what it leaves open.
func TestFilters(t *testing.T) {
	repositories := []name.Repository{"prod", "repo-prod", "prod-repo", "repo-prod-repo", "prodrepo"}
	for filter, matches := range map[string]string{
		"prod":      "yes yes yes yes yes",
		"*prod":     "yes yes no no no",
		"prod*":     "yes no yes no yes",
		"*prod*":    "yes yes yes yes yes",
		"prod*repo": "no no yes no yes",
		"*":         "yes yes yes yes yes",
		"**":        "yes yes yes yes yes",
		"p*d":       "yes no no no no",
		"*-*":       "no yes yes yes no",
		"repo*repo": "no no no yes no",
		"o*o":       "no no no no no",
		"prod-repo": "no no yes yes no",
		"prod-*":    "no no yes no no",
		"dev":       "no no no no no",
	} {
		for i, want := range strings.Fields(matches) {
			if got := (rules.Filter{Value: filter, Type: rules.Wildcard}).Matches(repositories[i]); got != (want == "yes") {
				t.Errorf("%q and %q: %t, want %s", filter, repositories[i], got, want)
			}
		}
	}
}

// TestFiltersAsRegularExpressions holds filters to what they mean, written as
// regular expressions, over names and filters of few different characters.
func TestFiltersAsRegularExpressions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(alphabet string, most int) string {
		b := make([]byte, random.IntN(most+1))
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		return string(b)
	}
	var yes, no int
	for range 20_000 {
		filter, repo := text("ab/**", 7), text("ab/", 9)
		expression := regexp.QuoteMeta(filter)
		if strings.Contains(filter, "*") {
			expression = `\A` + strings.ReplaceAll(expression, `\*`, `.*`) + `\z`
		}
		want := regexp.MustCompile(expression).MatchString(repo)
		if got := (rules.Filter{Value: filter}).Matches(name.Repository(repo)); got != want {
			t.Fatalf("%q and %q: %t, and the expression %s says %t", filter, repo, got, expression, want)
		}
		if want {
			yes++
		} else {
			no++
		}
	}
	if yes < 1000 || no < 1000 {
		t.Errorf("%d match and %d do not: the inputs say too little", yes, no)
	}
}

func filters(values ...string) []rules.Filter {
	all := []rules.Filter{}
	for _, v := range values {
		all = append(all, rules.Filter{Value: v, Type: rules.Wildcard})
	}
	return all
}

func rule(f rules.Frequency, values ...string) rules.Rule {
	return rules.Rule{Frequency: f, Filters: filters(values...)}
}

func TestFor(t *testing.T) {
	for what, c := range map[string]struct {
		scanType rules.ScanType
		rules    []rules.Rule
		flag     bool
		want     rules.Applied
	}{
		"no rules":                          {rules.Basic, nil, false, rules.Applied{Frequency: rules.Manual, Filters: filters()}},
		"the flag":                          {rules.Basic, nil, true, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters()}},
		"a rule":                            {rules.Basic, []rules.Rule{rule(rules.OnPush, "team", "x", "*app")}, false, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters("team", "*app")}},
		"a rule and the flag":               {rules.Basic, []rules.Rule{rule(rules.OnPush, "app")}, true, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters("app")}},
		"the flag besides a rule of others": {rules.Basic, []rules.Rule{rule(rules.OnPush, "other")}, true, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters()}},
		"a rule of others":                  {rules.Basic, []rules.Rule{rule(rules.OnPush, "other")}, false, rules.Applied{Frequency: rules.Manual, Filters: filters()}},
		"a rule without filters":            {rules.Basic, []rules.Rule{rule(rules.OnPush)}, false, rules.Applied{Frequency: rules.Manual, Filters: filters()}},
		"a manual rule":                     {rules.Basic, []rules.Rule{rule(rules.Manual, "*")}, false, rules.Applied{Frequency: rules.Manual, Filters: filters("*")}},
		"a manual rule and the flag":        {rules.Basic, []rules.Rule{rule(rules.Manual, "*")}, true, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters()}},
		"push before manual":                {rules.Basic, []rules.Rule{rule(rules.Manual, "*"), rule(rules.OnPush, "team/*")}, false, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters("team/*")}},

		"enhanced, no rules":       {rules.Enhanced, nil, false, rules.Applied{Frequency: rules.Manual, Filters: filters()}},
		"enhanced, the flag":       {rules.Enhanced, nil, true, rules.Applied{Frequency: rules.Manual, Filters: filters()}},
		"enhanced on push":         {rules.Enhanced, []rules.Rule{rule(rules.OnPush, "*")}, false, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters("*")}},
		"continuous":               {rules.Enhanced, []rules.Rule{rule(rules.Continuous, "team", "x")}, false, rules.Applied{Frequency: rules.Continuous, OnPush: true, Filters: filters("team")}},
		"continuous before push":   {rules.Enhanced, []rules.Rule{rule(rules.OnPush, "*", "app"), rule(rules.Continuous, "team")}, true, rules.Applied{Frequency: rules.Continuous, OnPush: true, Filters: filters("team")}},
		"push besides continuous":  {rules.Enhanced, []rules.Rule{rule(rules.OnPush, "*", "app"), rule(rules.Continuous, "other")}, false, rules.Applied{Frequency: rules.OnPush, OnPush: true, Filters: filters("*", "app")}},
		"neither":                  {rules.Enhanced, []rules.Rule{rule(rules.OnPush, "none"), rule(rules.Continuous, "other")}, true, rules.Applied{Frequency: rules.Manual, Filters: filters()}},
		"continuous without stars": {rules.Enhanced, []rules.Rule{rule(rules.Continuous, "eam/a")}, false, rules.Applied{Frequency: rules.Continuous, OnPush: true, Filters: filters("eam/a")}},
	} {
		got := rules.Configuration{Type: c.scanType, Rules: c.rules}.For("team/app", c.flag)
		if got.Frequency != c.want.Frequency || got.OnPush != c.want.OnPush || got.Filters == nil || !slices.Equal(got.Filters, c.want.Filters) {
			t.Errorf("%s: got %+v, want %+v", what, got, c.want)
		}
	}
	// What was put together does not reach into the configuration.
	c := rules.Configuration{Type: rules.Basic, Rules: []rules.Rule{rule(rules.OnPush, "a", "b", "team")}}
	c.For("team/app", false).Filters[0].Value = "changed"
	if !slices.Equal(c.Rules[0].Filters, filters("a", "b", "team")) {
		t.Errorf("the configuration has become %v", c.Rules[0].Filters)
	}
}

func TestValidate(t *testing.T) {
	many := make([]string, 101)
	for i := range many {
		many[i] = "a*"
	}
	const pattern = "Member must satisfy regular expression pattern: " + rules.FilterPattern
	const filter = "rules.1.member.repositoryFilters.1.member.filter"
	for what, c := range map[string]struct {
		scanType              rules.ScanType
		rules                 []rules.Rule
		parameter, constraint string // "" for a valid one
	}{
		"basic":                {rules.Basic, nil, "", ""},
		"basic on push":        {rules.Basic, []rules.Rule{rule(rules.OnPush, many[:100]...)}, "", ""},
		"basic, both":          {rules.Basic, []rules.Rule{rule(rules.Manual, "a"), rule(rules.OnPush)}, "", ""},
		"enhanced":             {rules.Enhanced, nil, "", ""},
		"enhanced, both":       {rules.Enhanced, []rules.Rule{rule(rules.OnPush, "*"), rule(rules.Continuous, "a/b_c.d-e*f", strings.Repeat("a", 255))}, "", ""},
		"no type":              {"", nil, "scanType", "Member must satisfy enum value set: [BASIC, ENHANCED]"},
		"another type":         {"basic", nil, "scanType", "Member must satisfy enum value set: [BASIC, ENHANCED]"},
		"three rules":          {rules.Enhanced, []rules.Rule{rule(rules.OnPush), rule(rules.Continuous), rule(rules.Manual)}, "rules", "Member must have length less than or equal to 2"},
		"no frequency":         {rules.Basic, []rules.Rule{rule("")}, "rules.1.member.scanFrequency", "Member must satisfy enum value set: [SCAN_ON_PUSH, CONTINUOUS_SCAN, MANUAL]"},
		"basic, continuous":    {rules.Basic, []rules.Rule{rule(rules.Continuous, "*")}, "rules", "The scan frequency CONTINUOUS_SCAN is not supported for the scan type BASIC. Use SCAN_ON_PUSH or MANUAL"},
		"enhanced, manual":     {rules.Enhanced, []rules.Rule{rule(rules.OnPush, "*"), rule(rules.Manual, "*")}, "rules", "The scan frequency MANUAL is not supported for the scan type ENHANCED. Use CONTINUOUS_SCAN or SCAN_ON_PUSH"},
		"one frequency twice":  {rules.Basic, []rules.Rule{rule(rules.OnPush, "a"), rule(rules.OnPush, "b")}, "rules", "There is more than one rule with the scan frequency SCAN_ON_PUSH. Put the filters into one rule"},
		"101 filters":          {rules.Basic, []rules.Rule{rule(rules.OnPush, many...)}, "rules.1.member.repositoryFilters", "Member must have length less than or equal to 100"},
		"an empty filter":      {rules.Basic, []rules.Rule{rule(rules.OnPush, "")}, filter, "Member must have length greater than or equal to 1"},
		"a filter of 256":      {rules.Basic, []rules.Rule{rule(rules.OnPush, strings.Repeat("a", 256))}, filter, "Member must have length less than or equal to 255"},
		"upper case":           {rules.Basic, []rules.Rule{rule(rules.OnPush, "Prod")}, filter, pattern},
		"a separator in front": {rules.Basic, []rules.Rule{rule(rules.OnPush, "/prod")}, filter, pattern},
		"a separator behind":   {rules.Basic, []rules.Rule{rule(rules.OnPush, "prod/")}, filter, pattern},
		"two separators":       {rules.Basic, []rules.Rule{rule(rules.OnPush, "a--b")}, filter, pattern},
		"another type of filter": {rules.Basic, []rules.Rule{rule(rules.OnPush, "a"), {Frequency: rules.Manual, Filters: []rules.Filter{{Value: "a", Type: rules.Wildcard}, {Value: "b", Type: "PREFIX_MATCH"}}}},
			"rules.2.member.repositoryFilters.2.member.filterType", "Member must satisfy enum value set: [WILDCARD]"},
	} {
		err := rules.Configuration{Type: c.scanType, Rules: c.rules}.Validate()
		if c.parameter == "" {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		if want := "Invalid parameter at '" + c.parameter + "' failed to satisfy constraint: '" + c.constraint + "'"; !errs.Is(err, errs.InvalidParameter) || err.Error() != want {
			t.Errorf("%s: got %v, want %s", what, err, want)
		}
	}
}

func TestDefault(t *testing.T) {
	if c := rules.Default(); c.Type != rules.Basic || c.Rules == nil || len(c.Rules) > 0 || c.Validate() != nil {
		t.Errorf("got %+v, %v", c, c.Validate())
	}
}
