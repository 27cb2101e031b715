package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/policy"
)

const (
	home    = "111122223333"
	foreign = "444455556666"
)

// callers are those of testdata/corpus/README.md.
var callers = map[string]policy.Caller{
	"amber": {Type: policy.User, Account: home, ARN: "arn:aws:iam::111122223333:user/dev/amber", UniqueID: "AIDAAMBERAMBERAMBER1"},
	"bay":   {Type: policy.User, Account: home, ARN: "arn:aws:iam::111122223333:user/bay", UniqueID: "AIDABAYBAYBAYBAYBAY1"},
	"build": {
		Type: policy.AssumedRole, Account: home, ARN: "arn:aws:sts::111122223333:assumed-role/builder/ci-7",
		ParentARN: "arn:aws:iam::111122223333:role/ci/builder", UniqueID: "AROABUILDERBUILDER01",
	},
	"fed": {
		Type: policy.FederatedUser, Account: home, ARN: "arn:aws:sts::111122223333:federated-user/helen",
		ParentARN: "arn:aws:iam::111122223333:user/dev/amber", UniqueID: "AIDAAMBERAMBERAMBER1",
	},
	"root":  {Type: policy.Root, Account: home, ARN: "arn:aws:iam::111122223333:root", UniqueID: home},
	"cedar": {Type: policy.User, Account: foreign, ARN: "arn:aws:iam::444455556666:user/cedar", UniqueID: "AIDACEDARCEDARCEDAR1"},
	"deploy": {
		Type: policy.AssumedRole, Account: foreign, ARN: "arn:aws:sts::444455556666:assumed-role/deployer/d1",
		ParentARN: "arn:aws:iam::444455556666:role/deployer", UniqueID: "AROADEPLOYERDEPLOY01",
	},
	"foreign-root": {Type: policy.Root, Account: foreign, ARN: "arn:aws:iam::444455556666:root", UniqueID: foreign},
	"codebuild":    {Type: policy.Service, Service: "codebuild.amazonaws.com"},
	"lambda":       {Type: policy.Service, Service: "lambda.amazonaws.com"},
	"github":       {Type: policy.WebIdentity, Provider: "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"},
	"google":       {Type: policy.WebIdentity, Provider: "accounts.google.com"},
	"nobody":       {Type: policy.Anonymous},
}

var sides = map[policy.Side]string{
	policy.IdentitySide: "identity", policy.ResourceSide: "resource", policy.BoundarySide: "boundary",
	policy.SessionSide: "session", policy.ServiceControlSide: "scp",
}

// oneOrMore is a string or a list of strings.
type oneOrMore []string

func (v *oneOrMore) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*v = []string{s}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(v))
}

type corpusCase struct {
	Rule           string
	Caller         string
	Action         string
	Resource       string
	Owner          string
	Context        map[string]oneOrMore
	Identity       json.RawMessage
	Identities     []json.RawMessage
	Boundary       json.RawMessage
	Session        json.RawMessage
	Sessions       []json.RawMessage
	SCP            [][]json.RawMessage
	ResourcePolicy json.RawMessage
	RegistryPolicy json.RawMessage
	Trust          json.RawMessage
	Root           bool
	Condition      json.RawMessage
	Want           string
	Missing        []string
}

// document completes a policy of the corpus and parses it.
func document(t testing.TB, text json.RawMessage, g policy.Grammar) *policy.Document {
	t.Helper()
	full := string(text)
	if bytes.HasPrefix(text, []byte("[")) {
		var statements []map[string]json.RawMessage
		if err := json.Unmarshal(text, &statements); err != nil {
			t.Fatal(err)
		}
		for _, st := range statements {
			absent := func(key, value string, unless ...string) {
				for _, k := range append(unless, key) {
					if st[k] != nil {
						return
					}
				}
				st[key] = json.RawMessage(value)
			}
			absent("Effect", `"Allow"`)
			if g == policy.Trust {
				absent("Action", `"sts:AssumeRole"`, "NotAction")
			} else {
				absent("Action", `"*"`, "NotAction")
			}
			if g != policy.Trust && g != policy.Repository {
				absent("Resource", `"*"`, "NotResource")
			}
		}
		list, err := json.Marshal(statements)
		if err != nil {
			t.Fatal(err)
		}
		full = `{"Version":"2012-10-17","Statement":` + string(list) + `}`
	}
	d, err := policy.Parse(full, g)
	if err != nil {
		t.Fatalf("%v\n%s", err, full)
	}
	return d
}

// build makes what Decide takes out of a case.
func (c *corpusCase) build(t testing.TB) (*policy.Sources, *policy.Request) {
	t.Helper()
	caller, ok := callers[c.Caller]
	if c.Caller == "" {
		caller, ok = callers["amber"], true
	}
	if !ok {
		t.Fatalf("no caller %q", c.Caller)
	}
	r := &policy.Request{Action: c.Action, Resource: c.Resource, Caller: caller}
	if r.Action == "" {
		r.Action = "ecr:PutImage"
	}
	if r.Resource == "" {
		r.Resource = "arn:aws:ecr:eu-west-1:111122223333:repository/team/app"
	}
	if c.Context != nil {
		ctx := table{}
		for k, v := range c.Context {
			if k != strings.ToLower(k) {
				t.Fatalf("context key %s is not in lower case", k)
			}
			ctx[k] = v
		}
		r.Context = ctx
	}
	s := &policy.Sources{ResourceAccount: c.Owner, Root: c.Root}
	if c.Condition != nil {
		c.Identity = json.RawMessage(`[{"Condition":` + string(c.Condition) + `}]`)
	}
	if c.Identity != nil {
		c.Identities = append([]json.RawMessage{c.Identity}, c.Identities...)
	}
	if c.Session != nil {
		c.Sessions = append([]json.RawMessage{c.Session}, c.Sessions...)
	}
	for i, p := range c.Identities {
		s.Identity = append(s.Identity, policy.Named{Name: fmt.Sprintf("i%d", i), Document: document(t, p, policy.Identity)})
	}
	s.Sessioned = c.Sessions != nil
	for i, p := range c.Sessions {
		s.Session = append(s.Session, policy.Named{Name: fmt.Sprintf("s%d", i), Document: document(t, p, policy.Identity)})
	}
	if c.Boundary != nil {
		s.Boundary = &policy.Named{Name: "b", Document: document(t, c.Boundary, policy.Identity)}
	}
	for i, level := range c.SCP {
		var list []policy.Named
		for j, p := range level {
			list = append(list, policy.Named{Name: fmt.Sprintf("%d.%d", i, j), Document: document(t, p, policy.ServiceControl)})
		}
		s.ServiceControl = append(s.ServiceControl, list)
	}
	for _, p := range []struct {
		name string
		text json.RawMessage
		g    policy.Grammar
	}{{"repository", c.ResourcePolicy, policy.Repository}, {"registry", c.RegistryPolicy, policy.Registry}, {"trust", c.Trust, policy.Trust}} {
		if p.text != nil {
			s.Resource = append(s.Resource, policy.Named{Name: p.name, Document: document(t, p.text, p.g)})
		}
	}
	s.ResourceRequired = c.Trust != nil
	if c.Trust != nil && c.Action == "" {
		r.Action, r.Resource = "sts:AssumeRole", "arn:aws:iam::111122223333:role/target"
	}
	return s, r
}

// outcome writes a decision as the corpus does.
func outcome(d policy.Decision) string {
	verb := "refuse "
	switch {
	case d.Allowed && d.Explicit:
		return fmt.Sprintf("contradiction %+v", d)
	case d.Allowed:
		verb = "allow "
	case d.Explicit:
		verb = "deny "
	}
	text := verb + sides[d.By]
	if d.Statement >= 0 {
		text += fmt.Sprintf(" %s/%d", d.Policy, d.Statement)
	} else if d.Policy != "" || d.Sid != "" || d.Statement != -1 {
		return fmt.Sprintf("contradiction %+v", d)
	}
	return text
}

func corpus(t testing.TB) []corpusCase {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []corpusCase
	rules := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			About string
			Cases []corpusCase
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range file.Cases {
			if c.Rule == "" || rules[c.Rule] {
				t.Errorf("%s: the rule %q is empty or taken", name, c.Rule)
			}
			rules[c.Rule] = true
			all = append(all, c)
		}
	}
	return all
}

func TestCorpus(t *testing.T) {
	all := corpus(t)
	if len(all) < 320 {
		t.Errorf("the corpus has only %d cases", len(all))
	}
	for _, c := range all {
		t.Run(c.Rule, func(t *testing.T) {
			s, r := c.build(t)
			want := c.Want
			switch want {
			case "yes":
				want = "allow identity i0/0"
			case "no":
				want = "refuse identity"
			}
			d, matches := policy.Explain(s, r)
			if got := outcome(d); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if alone := policy.Decide(s, r); alone != d {
				t.Errorf("Decide %+v, Explain %+v", alone, d)
			}
			if d.Statement >= 0 && !slices.Contains(matches, policy.Match{Side: d.By, Policy: d.Policy, Statement: d.Statement, Sid: d.Sid, Allow: d.Allowed}) {
				t.Errorf("the deciding statement is not among the matches %+v", matches)
			}
			if c.Missing != nil && !reflect.DeepEqual(policy.MissingContext(s, r), append([]string(nil), c.Missing...)) {
				t.Errorf("missing %q, want %q", policy.MissingContext(s, r), c.Missing)
			}
			if ref := outcome(referenceDecide(s, r)); ref != want {
				t.Errorf("the reference evaluator says %s, want %s", ref, want)
			}
		})
	}
	t.Logf("%d cases", len(all))
}
