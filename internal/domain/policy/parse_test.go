package policy_test

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy"
)

var grammars = map[string]policy.Grammar{
	"": policy.Identity, "identity": policy.Identity, "trust": policy.Trust, "repository": policy.Repository,
	"registry": policy.Registry, "scp": policy.ServiceControl,
}

type parseCase struct {
	Rule    string
	Grammar string
	Policy  json.RawMessage
	Text    string
	Error   string
}

func parseCorpus(t testing.TB) []parseCase {
	t.Helper()
	text, err := os.ReadFile("testdata/parse/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []parseCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	for i, c := range cases {
		if c.Policy != nil {
			cases[i].Text = string(c.Policy)
		}
	}
	return cases
}

func TestParseCorpus(t *testing.T) {
	rules := map[string]bool{}
	cases := parseCorpus(t)
	for _, c := range cases {
		if rules[c.Rule] {
			t.Errorf("the rule %q is taken", c.Rule)
		}
		rules[c.Rule] = true
		t.Run(c.Rule, func(t *testing.T) {
			g, ok := grammars[c.Grammar]
			if !ok {
				t.Fatalf("no grammar %q", c.Grammar)
			}
			d, err := policy.Parse(c.Text, g)
			var refused *policy.SyntaxError
			switch {
			case err == nil && c.Error == "":
				roundTrip(t, d, g)
			case err == nil:
				t.Errorf("accepted, want %q", c.Error)
			case !errors.As(err, &refused) || refused.Message != c.Error || err.Error() != c.Error:
				t.Errorf("%q, want %q", err, c.Error)
			}
		})
	}
	t.Logf("%d cases", len(cases))
}

// fataler is what *testing.T, *testing.F and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// roundTrip writes a document in both forms and parses it again.
func roundTrip(t fataler, d *policy.Document, g policy.Grammar) {
	t.Helper()
	for _, text := range []string{d.JSON(), d.Pretty()} {
		again, err := policy.Parse(text, g)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if !reflect.DeepEqual(again, d) {
			t.Fatalf("parsed again it differs:\n%s\n%s", again.JSON(), d.JSON())
		}
	}
	same := d.MapPrincipals(func(p policy.PrincipalRef) string { return p.Value })
	if !reflect.DeepEqual(same, d) {
		t.Fatalf("MapPrincipals with the same values changed\n%s\n%s", d.JSON(), same.JSON())
	}
}

func parse(t testing.TB, text string, g policy.Grammar) *policy.Document {
	t.Helper()
	d, err := policy.Parse(text, g)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestForms(t *testing.T) {
	d := parse(t, `{ "Version" : "2008-10-17", "Id":"a\u0001\"\u00e9\n", "Statement" : [ {"Sid":"x","Effect":"Allow",
		"Principal":{"AWS":["arn:aws:iam::111122223333:user/a","444455556666"],"Service":"lambda.amazonaws.com"},"Action":["ecr:PutImage","ecr:Get*"],
		"Condition":{"NumericLessThan":{"k:a":[1,2.50]},"Bool":{"k:b":true},"StringLike":{}}}, {"Effect":"Deny","Principal":"*","NotAction":"ecr:Get*"} ]}`, policy.Repository)
	const compact = `{"Version":"2008-10-17","Id":"a\u0001\"é\n","Statement":[{"Sid":"x","Effect":"Allow",` +
		`"Principal":{"AWS":["arn:aws:iam::111122223333:user/a","444455556666"],"Service":"lambda.amazonaws.com"},"Action":["ecr:PutImage","ecr:Get*"],` +
		`"Condition":{"NumericLessThan":{"k:a":[1,2.50]},"Bool":{"k:b":true},"StringLike":{}}},{"Effect":"Deny","Principal":"*","NotAction":"ecr:Get*"}]}`
	const pretty = `{
  "Version" : "2008-10-17",
  "Id" : "a\u0001\"é\n",
  "Statement" : [ {
    "Sid" : "x",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : [ "arn:aws:iam::111122223333:user/a", "444455556666" ],
      "Service" : "lambda.amazonaws.com"
    },
    "Action" : [ "ecr:PutImage", "ecr:Get*" ],
    "Condition" : {
      "NumericLessThan" : {
        "k:a" : [ 1, 2.50 ]
      },
      "Bool" : {
        "k:b" : true
      },
      "StringLike" : { }
    }
  }, {
    "Effect" : "Deny",
    "Principal" : "*",
    "NotAction" : "ecr:Get*"
  } ]
}`
	if got := d.JSON(); got != compact {
		t.Errorf("JSON:\n%s\nwant\n%s", got, compact)
	}
	if got := d.Pretty(); got != pretty {
		t.Errorf("Pretty:\n%s\nwant\n%s", got, pretty)
	}
}

func TestInspection(t *testing.T) {
	d := parse(t, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:user/a","*"],"Federated":"accounts.google.com"},"Action":["ecr:Get*","ecr:PutImage"],
		 "Resource":"arn:aws:ecr:*:*:repository/${aws:username}/${*}${$}","Condition":{"StringEquals":{"aws:PrincipalTag/Team":["${k:x, 'd'}"]},"Null":{"k:Y":"true"}}},
		{"Effect":"Deny","NotPrincipal":{"Service":"lambda.amazonaws.com"},"NotAction":"ecr:Put*","Condition":{"ArnLike":{"k:Y":"arn:aws:s3:::${aws:username}"}}},
		{"Effect":"Deny","Principal":"*","Action":"ecr:Del*"}]}`, policy.Repository)
	if d.Len() != 3 || !d.HasNotAction() {
		t.Errorf("Len %d, HasNotAction %v", d.Len(), d.HasNotAction())
	}
	if got, want := d.Actions(), []string{"ecr:Get*", "ecr:PutImage", "ecr:Put*", "ecr:Del*"}; !reflect.DeepEqual(got, want) {
		t.Errorf("Actions %q, want %q", got, want)
	}
	if got, want := d.ContextKeys(), []string{"aws:PrincipalTag/Team", "aws:username", "k:Y", "k:x"}; !reflect.DeepEqual(got, want) {
		t.Errorf("ContextKeys %q, want %q", got, want)
	}
	want := []policy.PrincipalRef{
		{Type: "AWS", Value: "arn:aws:iam::111122223333:user/a"},
		{Type: "AWS", Value: "*"},
		{Type: "Federated", Value: "accounts.google.com"},
		{Type: "Service", Value: "lambda.amazonaws.com"},
		{Type: "AWS", Value: "*"},
	}
	if got := d.Principals(); !reflect.DeepEqual(got, want) {
		t.Errorf("Principals %q, want %q", got, want)
	}
	none := parse(t, `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, policy.Identity)
	if none.Len() != 1 || none.HasNotAction() || none.Principals() != nil || none.ContextKeys() != nil {
		t.Errorf("%d %v %v %v", none.Len(), none.HasNotAction(), none.Principals(), none.ContextKeys())
	}
}

func TestMapPrincipals(t *testing.T) {
	const text = `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:user/dev/amber","*"],"Service":"lambda.amazonaws.com"},"Action":"ecr:Put*"},` +
		`{"Effect":"Deny","NotPrincipal":"*","Action":"ecr:Del*"}]}`
	const ids = `{"Statement":[{"Effect":"Allow","Principal":{"AWS":["AIDAAMBERAMBERAMBER1","*"],"Service":"lambda.amazonaws.com"},"Action":"ecr:Put*"},` +
		`{"Effect":"Deny","NotPrincipal":"*","Action":"ecr:Del*"}]}`
	const arn = "arn:aws:iam::111122223333:user/dev/amber"
	swap := func(from, to string) func(policy.PrincipalRef) string {
		return func(p policy.PrincipalRef) string {
			if p.Value == "*" {
				t.Error("asked for *")
			}
			if p == (policy.PrincipalRef{Type: "AWS", Value: from}) {
				return to
			}
			return p.Value
		}
	}
	d := parse(t, text, policy.Repository)
	mapped := d.MapPrincipals(swap(arn, "AIDAAMBERAMBERAMBER1"))
	if mapped.JSON() != ids || d.JSON() != text {
		t.Errorf("mapped %s, the original is now %s", mapped.JSON(), d.JSON())
	}
	if back := mapped.MapPrincipals(swap("AIDAAMBERAMBERAMBER1", arn)); !reflect.DeepEqual(back, d) {
		t.Errorf("mapped back: %s", back.JSON())
	}
	single := parse(t, `{"Statement":{"Effect":"Allow","Principal":{"AWS":"`+arn+`"},"Action":"ecr:*"}}`, policy.Repository)
	decide := func(d *policy.Document) policy.Decision {
		return policy.Decide(&policy.Sources{Resource: []policy.Named{{Name: "p", Document: d}}},
			&policy.Request{Action: "ecr:PutImage", Resource: mine, Caller: callers["amber"]})
	}
	if !decide(single).Allowed || !decide(single.MapPrincipals(swap(arn, "AIDAAMBERAMBERAMBER1"))).Allowed {
		t.Error("the user is not recognised before or after")
	}
	// A deleted user whose name somebody else took is nobody.
	if decide(single.MapPrincipals(swap(arn, "AIDADELETEDDELETED01"))).Allowed {
		t.Error("somebody else is recognised")
	}
	for _, caller := range callers { // their empty fields are no names
		d := single.MapPrincipals(func(policy.PrincipalRef) string { return "" })
		if policy.Decide(&policy.Sources{Resource: []policy.Named{{Name: "p", Document: d}}}, &policy.Request{Action: "ecr:PutImage", Resource: mine, Caller: caller}).Allowed {
			t.Errorf("an empty principal is %+v", caller)
		}
	}
}

func TestHostileText(t *testing.T) {
	statement := `{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`
	for name, text := range map[string]string{
		"deep":  strings.Repeat("[", 100_000),
		"long":  `{"Id":"` + strings.Repeat("x", 300_000) + `","Statement":` + statement + `}`,
		"many":  `{"Statement":[` + strings.Repeat(statement+",", 10_000) + statement + `]}`,
		"depth": `{"Statement":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`,
	} {
		_, err := policy.Parse(text, policy.Identity)
		if err == nil || !strings.HasPrefix(err.Error(), "Syntax errors in policy. The document is too long") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := policy.Parse("{\"Id\":\"\xff\",\"Statement\":"+statement+"}", policy.Identity); err == nil {
		t.Error("text that is not UTF-8 is accepted")
	}
	if _, err := policy.Parse(`{"Statement":[`+strings.Repeat(statement+",", 1000)+statement+`]}`, policy.Identity); err != nil {
		t.Errorf("a thousand statements: %v", err)
	}
}

func TestMatchAction(t *testing.T) {
	for _, c := range []struct {
		pattern, action string
		want            bool
	}{
		{"*", "ecr:PutImage", true},
		{"ecr:*", "ECR:putimage", true},
		{"ECR:PUT*", "ecr:PutImage", true},
		{"ecr:Put?mage", "ecr:PutImage", true},
		{"e*:*", "ecr:PutImage", true},
		{"ecr*", "ecr:PutImage", false},
		{"ecr:Put", "ecr:PutImage", false},
		{"", "ecr:PutImage", false},
		{"ecr:*e*e", "ecr:BatchDeleteImage", true},
	} {
		if got := policy.MatchAction(c.pattern, c.action); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.action, got)
		}
	}
}
