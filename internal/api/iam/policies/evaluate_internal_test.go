package policies

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed/overview"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
)

// The positions are those of AWS's own samples: the CLI's reference of
// simulate-principal-policy, and the API reference of SimulatePrincipalPolicy.
func TestPositions(t *testing.T) {
	const element = `{"Effect":"Allow","Action":"a:b","Resource":"*"}`
	for _, c := range []struct{ what, text, want string }{
		{"four spaces a level", `{
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "codecommit:ListRepositories"
            ], "Resource": "*"
        }
    ]
}`, "3:19-9:10"},
		{"a statement without a list", "{\n  \"Version\":\"2012-10-17\",\n  \"Statement\":{\n    \"Effect\":\"Allow\",\n    \"Action\":\"s3:PutObject\",\n    \"Resource\":\"*\"\n  }\n}", "3:16-7:4"},
		{"one line", `{"Version":"2012-10-17","Statement":[` + strings.Replace(element, "a:b", "*", 1) + `]}`, "1:38-1:84"},
		{"spaces after colons", `{"Version": "2012-10-17", "Statement": [` + element + `]}`, "1:41-1:89"},
		{"several, nested, last member elsewhere", `{"Statement":[` + element + `, {"Effect":"Deny","Action":["a:b"],"Resource":"*","Condition":{"Bool":{"a:b":"true"}}} ],"Id":"x"}`, "1:15-1:63 1:63-1:150"},
		{"the name within a value", `{"Id":"Statement","Version":"2012-10-17","Statement":[` + strings.Replace(element, "{", `{"Sid":"Statement",`, 1) + `]}`, "1:55-1:121"},
		{"an escaped name, wide characters", `{"\u0053tatement":[{"Effect":"Allow","Action":"a:b","Resource":"arn:aws:s3:::é€"}]}`, "1:20-1:82"},
	} {
		if _, err := policy.Parse(c.text, policy.Identity); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		var got []string
		for _, s := range spans(c.text) {
			got = append(got, fmt.Sprintf("%d:%d-%d:%d", *s.start.Line, *s.start.Column, *s.end.Line, *s.end.Column))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.what, got, c.want)
		}
	}
	for _, text := range []string{"", "{", `{"Statement":`, `{"Statement":[{`, `{"Statement":{`, `{"Statement":[}`, `{"Id":x`, `{}`, `[]`} {
		if got := spans(text); got != nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A question about policies of many statements is answered in pieces.
func TestManyStatements(t *testing.T) {
	const each, documents = 1000, 10
	text := `{"Version":"2012-10-17","Statement":[` + strings.Repeat(`{"Effect":"Allow","Action":"*","Resource":"*"},`, each-1) + `{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	d, err := policy.Parse(text, policy.Identity)
	if err != nil {
		t.Fatal(err)
	}
	s := newSimulation(time.Unix(0, 0))
	s.caller = policy.Caller{Type: policy.User, Account: "111111111111"}
	for range documents {
		s.policies.Identity = append(s.policies.Identity, s.name(written{"p", iamPolicy, spans(text)}, d))
	}
	results, truncated, marker, err := s.run(&question{ActionNames: []string{"a:b", "c:d"}})
	if err != nil || len(results) != 1 || !*truncated || len(results[0].MatchedStatements) != each*documents {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if last := results[0].MatchedStatements[each-1].EndPosition; *last.Column != int64(len(text)-1) {
		t.Errorf("the last one ends at %d of %d", *last.Column, len(text))
	}
	results, truncated, _, err = s.run(&question{ActionNames: []string{"a:b", "c:d"}, Marker: marker})
	if err != nil || len(results) != 1 || *truncated || *results[0].EvalActionName != "c:d" {
		t.Errorf("%d results, %v", len(results), err)
	}
}

func named(t *testing.T, text string) policy.Named {
	t.Helper()
	d, err := policy.Parse(text, policy.ServiceControl)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Named{Name: "p-" + fmt.Sprint(len(text)), Document: d}
}

func TestOrganizations(t *testing.T) {
	const all = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	full := named(t, all)
	noDelete := named(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"ecr:Delete*","Resource":"*"}]}`)
	member := organization.Membership{ID: "o-1", Path: "o-1/r-1/", ServiceControl: [][]policy.Named{{full}, {full, noDelete}}}
	narrow := organization.Membership{ID: "o-1", ServiceControl: [][]policy.Named{{full}, {named(t, strings.Replace(all, `"*"`, `"iam:*"`, 1))}}}
	for _, c := range []struct {
		what          string
		org           organization.Membership
		serviceLinked bool
		action        string
		decision      string
		organizations string
	}{
		{"outside", organization.Membership{}, false, "ecr:DeleteRepository", "allowed", "none"},
		{"allowed", member, false, "ecr:PutImage", "allowed", "true"},
		{"denied", member, false, "ecr:DeleteRepository", "explicitDeny", "false"},
		{"not allowed on a level", narrow, false, "ecr:PutImage", "implicitDeny", "false"},
		{"a service-linked role", member, true, "ecr:DeleteRepository", "allowed", "true"},
		{"the management account", organization.Membership{ID: "o-1", Management: true}, false, "ecr:DeleteRepository", "allowed", "true"},
	} {
		s := newSimulation(time.Unix(0, 0))
		err := s.principal("111111111111", overview.Principal{
			Kind: entity.Role, ID: "AROAXXXXXXXXXXXXXXXXX", Name: "ci", ARN: "arn:aws:iam::111111111111:role/ci",
			Policies: []overview.Source{{ID: "role_ci_own", Text: all}}, Organization: c.org, ServiceLinked: c.serviceLinked,
		})
		if err != nil {
			t.Fatal(err)
		}
		r := s.evaluate(c.action, "*")
		organizations := "none"
		if r.OrganizationsDecisionDetail != nil {
			organizations = fmt.Sprint(*r.OrganizationsDecisionDetail.AllowedByOrganizations)
		}
		if string(*r.EvalDecision) != c.decision || organizations != c.organizations {
			t.Errorf("%s: %s, organizations %s", c.what, *r.EvalDecision, organizations)
		}
		if c.decision != "allowed" && len(r.MatchedStatements) != 0 {
			t.Errorf("%s: a service control policy is shown: %+v", c.what, r.MatchedStatements)
		}
		if c.org.Path != "" && fmt.Sprint(s.context["aws:principalorgid"], s.context["aws:principalorgpaths"]) != "[o-1] [o-1/r-1/]" {
			t.Errorf("%s: %v", c.what, s.context)
		}
	}
}
