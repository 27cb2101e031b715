package session_test

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const document = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:*","Resource":"*"}}`

func TestAssumeRole(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		role := w.role(entity.Create{Account: other, Name: "Deploy", Path: "/ci/", MaxSession: 2 * time.Hour})
		given, err := w.AssumeRole(ctx, w.user("ann"), session.Assume{
			RoleARN: role.ARN(), Name: "build-7", Duration: 2 * time.Hour, Bounds: session.Bounds{Policy: document},
			Tags: []session.Tag{{Key: "Team", Value: "a"}, {Key: "env", Value: ""}}, TransitiveKeys: []string{"team", "TEAM"}, SourceIdentity: "ann",
		})
		if err != nil {
			t.Fatal(err)
		}
		p := w.opened(given)
		if !reflect.DeepEqual(p, given.Principal) {
			t.Errorf("%+v, told was %+v", p, given.Principal)
		}
		want := principal.Principal{
			Account: other, ARN: "arn:aws:sts::222222222222:assumed-role/Deploy/build-7", ID: role.ID + ":build-7", Entity: role.ID, AccessKeyID: given.AccessKeyID,
			Session: &principal.Session{
				Kind: principal.RoleSession, RoleARN: "arn:aws:iam::222222222222:role/ci/Deploy", Name: "build-7", Issued: start, Expires: start.Add(2 * time.Hour),
				Limited: true, Policies: []string{document}, Tags: map[string]string{"Team": "a", "env": ""}, TransitiveKeys: []string{"Team"}, SourceIdentity: "ann",
			},
		}
		if !reflect.DeepEqual(p, want) {
			t.Errorf("%+v %+v", p, p.Session)
		}
		if given.PackedPolicySize < 1 || given.PackedPolicySize > 10 || !strings.HasPrefix(given.AccessKeyID, "ASIA") {
			t.Errorf("%+v", given)
		}
		// The session ends with its time, which the caller sees to, and with its role.
		if err := w.entities.Delete(ctx, other, entity.Role, "deploy"); err != nil {
			t.Fatal(err)
		}
		if _, found, err := w.principals.Credentials(ctx, given.AccessKeyID, given.SessionToken); found || err != nil {
			t.Errorf("after the role has gone: %v %v", found, err)
		}
		_, err = w.AssumeRole(ctx, w.user("bay"), session.Assume{RoleARN: role.ARN(), Name: "x1"})
		refused(t, "a role that has gone", err, errs.AccessDenied, "User: arn:aws:iam::111111111111:user/team/bay is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::222222222222:role/ci/Deploy")
	})
}

func TestAssumeRoleRefuses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.role(entity.Create{Name: "Deploy", Path: "/ci/", MaxSession: 2 * time.Hour})
		linked, err := w.entities.EnsureServiceRole(ctx, account, "replication.ecr.amazonaws.com")
		if err != nil {
			t.Fatal(err)
		}
		const arn = "arn:aws:iam::111111111111:role/ci/Deploy"
		ann := w.user("ann")
		asSession := func(kind principal.SessionKind) principal.Principal {
			p := ann
			p.Session = &principal.Session{Kind: kind}
			return p
		}
		chained := asSession(principal.RoleSession)
		rootSession := principal.Root(account)
		rootSession.Session = &principal.Session{Kind: principal.TokenSession}
		for _, c := range []struct {
			what    string
			caller  principal.Principal
			in      session.Assume
			code    errs.Code
			message string
		}{
			{"root", principal.Root(account), session.Assume{RoleARN: arn}, errs.AccessDenied, "Roles may not be assumed by root accounts."},
			{"a session of root", rootSession, session.Assume{RoleARN: arn}, errs.AccessDenied, "Roles may not be assumed by root accounts."},
			{"a federated user", asSession(principal.FederatedSession), session.Assume{RoleARN: arn}, errs.AccessDenied, "Cannot call AssumeRole with session credentials"},
			{"no ARN", ann, session.Assume{RoleARN: "Deploy"}, errs.Validation, "Deploy is invalid"},
			{"a user", ann, session.Assume{RoleARN: "arn:aws:iam::111111111111:user/Deploy"}, errs.Validation, "Request ARN is invalid"},
			{"no account", ann, session.Assume{RoleARN: "arn:aws:iam::11:role/Deploy"}, errs.Validation, "Request ARN is invalid"},
			{"no name", ann, session.Assume{RoleARN: "arn:aws:iam::111111111111:role/"}, errs.Validation, "Request ARN is invalid"},
			{"a path and no name", ann, session.Assume{RoleARN: "arn:aws:iam::111111111111:role/ci/"}, errs.Validation, "Request ARN is invalid"},
			{"another service", ann, session.Assume{RoleARN: "arn:aws:sts::111111111111:role/Deploy"}, errs.Validation, "Request ARN is invalid"},
			{"a region", ann, session.Assume{RoleARN: "arn:aws:iam:us-east-1:111111111111:role/Deploy"}, errs.Validation, "Request ARN is invalid"},
			{"another partition", ann, session.Assume{RoleARN: "arn:aws-cn:iam::111111111111:role/ci/Deploy"}, errs.AccessDenied, ""},
			{"without the path", ann, session.Assume{RoleARN: "arn:aws:iam::111111111111:role/Deploy"}, errs.AccessDenied, ""},
			{"in other case", ann, session.Assume{RoleARN: "arn:aws:iam::111111111111:role/ci/deploy"}, errs.AccessDenied, ""},
			{"an account that is not there", ann, session.Assume{RoleARN: "arn:aws:iam::333333333333:role/ci/Deploy"}, errs.AccessDenied, ""},
			{"a service-linked role", ann, session.Assume{RoleARN: linked.ARN()}, errs.AccessDenied, ""},
			{"too long", ann, session.Assume{RoleARN: arn, Duration: 2*time.Hour + time.Second}, errs.Validation, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
			{"too short", ann, session.Assume{RoleARN: arn, Duration: 899 * time.Second}, errs.Validation, ""},
			{"too long in a chain", chained, session.Assume{RoleARN: arn, Duration: time.Hour + time.Second}, errs.Validation, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"},
			{"a policy that is none", ann, session.Assume{RoleARN: arn, Bounds: session.Bounds{Policy: "{}"}}, errs.PolicyMalformed, "Syntax errors in policy."},
			{"a policy with a principal", ann, session.Assume{RoleARN: arn, Bounds: session.Bounds{Policy: trustAccount}}, errs.PolicyMalformed, ""},
			{"a managed policy that is not there", ann, session.Assume{RoleARN: arn, Bounds: session.Bounds{PolicyARNs: []string{"arn:aws:iam::111111111111:policy/none"}}}, errs.InvalidParameter, "Policy arn:aws:iam::111111111111:policy/none does not exist or is not attachable."},
			{"a managed policy without a name", ann, session.Assume{RoleARN: arn, Bounds: session.Bounds{PolicyARNs: []string{""}}}, errs.Validation, ""},
		} {
			c.in.Name = "s1"
			_, err := w.AssumeRole(ctx, c.caller, c.in)
			refused(t, c.what, err, c.code, c.message)
		}
	})
}

// managed stores a managed policy as principal/managed does.
func (w *world) managed(policyName string) string {
	w.t.Helper()
	arn := principal.EntityARN(account, "policy", "/", policyName)
	if err := w.principals.Change(w.t.Context(), account, func(tx *sqldb.Tx) error {
		id := principal.NewID(principal.PrefixPolicy)
		if _, err := tx.Exec(w.t.Context(), `INSERT INTO iam_policy (id, account_id, arn, name, name_key, path, description, default_version, last_version, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, '/', '', 1, 1, 0, 0)`, id, string(account), arn, policyName, strings.ToLower(policyName)); err != nil {
			return err
		}
		_, err := tx.Exec(w.t.Context(), `INSERT INTO iam_policy_version (policy_id, version, document, created_at) VALUES ($1, 1, $2, 0)`, id, document)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return arn
}

func TestManagedSessionPolicies(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		role, elsewhere, ann, arn := w.role(entity.Create{Name: "r"}), w.role(entity.Create{Account: other, Name: "r"}), w.user("ann"), w.managed("Pull")
		in := session.Assume{RoleARN: role.ARN(), Name: "s1", Bounds: session.Bounds{PolicyARNs: []string{arn, arn}}}
		given, err := w.AssumeRole(ctx, ann, in)
		if err != nil {
			t.Fatal(err)
		}
		p := w.opened(given)
		if !p.Session.Limited || !reflect.DeepEqual(p.Session.PolicyARNs, []string{arn}) || p.Session.Policies != nil {
			t.Errorf("%+v", p.Session)
		}
		if found, err := w.principals.SessionPolicies(ctx, p); err != nil || len(found) != 1 || found[0].Name != arn {
			t.Errorf("%v %v", found, err)
		}
		// A managed policy is its account's own.
		in.RoleARN = elsewhere.ARN()
		_, err = w.AssumeRole(ctx, ann, in)
		refused(t, "of another account", err, errs.InvalidParameter, "")
	})
}

// padded is a policy of n characters.
func padded(n int) string { return document + strings.Repeat(" ", n-len(document)) }

func TestBoundsOfSessionPolicies(t *testing.T) {
	ann := principal.Principal{Account: account, ARN: "arn:aws:iam::111111111111:user/ann", Entity: "AIDAX"}
	const arn = "arn:aws:iam::111111111111:policy/P"
	arns := func(n int) []string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprint("arn:aws:iam::111111111111:policy/", i))
		}
		return all
	}
	noisy := func(n int) []session.Tag { // does not compress
		var tags []session.Tag
		seed := uint32(1)
		for i := range n {
			value := make([]byte, 256)
			for j := range value {
				seed = seed*1664525 + 1013904223
				value[j] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_="[seed>>26]
			}
			tags = append(tags, session.Tag{Key: fmt.Sprint("k", i), Value: string(value)})
		}
		return tags
	}
	for _, c := range []struct {
		what string
		in   session.Assume
		code errs.Code // Internal: it is taken
	}{
		{"as long as may be", session.Assume{Bounds: session.Bounds{Policy: padded(2048)}}, errs.Internal},
		{"a character more", session.Assume{Bounds: session.Bounds{Policy: padded(2049)}}, errs.SessionPolicyTooLarge},
		{"as long as may be with an ARN", session.Assume{Bounds: session.Bounds{Policy: padded(2048 - len(arn)), PolicyARNs: []string{arn}}}, errs.Internal},
		{"a character more with an ARN", session.Assume{Bounds: session.Bounds{Policy: padded(2049 - len(arn)), PolicyARNs: []string{arn}}}, errs.SessionPolicyTooLarge},
		{"characters, not bytes", session.Assume{Bounds: session.Bounds{Policy: strings.Replace(padded(2048), `"Effect"`, `"Sid":"","Effect"`, 1)[:2000] + "  "}}, errs.Internal},
		{"ten ARNs", session.Assume{Bounds: session.Bounds{PolicyARNs: arns(10)}}, errs.Internal},
		{"eleven ARNs", session.Assume{Bounds: session.Bounds{PolicyARNs: arns(11)}}, errs.Validation},
		{"tags that fit", session.Assume{Tags: noisy(15)}, errs.Internal},
		{"tags that do not fit", session.Assume{Tags: noisy(25)}, errs.SessionPolicyTooLarge},
	} {
		c.in.RoleARN, c.in.Name = "arn:aws:iam::111111111111:role/r", "s1"
		_, err := session.PlanAssume(ann, c.in)
		if c.code == errs.Internal && err != nil || c.code != errs.Internal && !errs.Is(err, c.code) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	_, err := session.PlanAssume(ann, session.Assume{RoleARN: "arn:aws:iam::111111111111:role/r", Bounds: session.Bounds{Policy: padded(2500)}})
	refused(t, "too large", err, errs.SessionPolicyTooLarge, "Packed policy consumes 123% of allotted space, please use smaller policy.")
}

func TestTags(t *testing.T) {
	ann := principal.Principal{Account: account, ARN: "arn:aws:iam::111111111111:user/ann", Entity: "AIDAX"}
	many := func(n int) []session.Tag {
		var tags []session.Tag
		for i := range n {
			tags = append(tags, session.Tag{Key: fmt.Sprint("k", i)})
		}
		return tags
	}
	chained := ann
	chained.Session = &principal.Session{Kind: principal.RoleSession, Tags: map[string]string{"Team": "a", "env": "b"}, TransitiveKeys: []string{"Team"}}
	token := ann
	token.Session = &principal.Session{Kind: principal.TokenSession, Tags: map[string]string{"Team": "a"}, TransitiveKeys: []string{"Team"}}
	for _, c := range []struct {
		what       string
		caller     principal.Principal
		tags       []session.Tag
		transitive []string
		message    string // "": it is taken
		tagged     bool
	}{
		{"none", ann, nil, nil, "", false},
		{"one", ann, []session.Tag{{"Team", "a b"}}, nil, "", true},
		{"fifty", ann, many(50), nil, "", true},
		{"fifty-one", ann, many(51), nil, "A session must not have more than 50 tags.", false},
		{"fifty and one that comes along", chained, many(50), nil, "A session must not have more than 50 tags; 1 come from the calling session.", false},
		{"forty-nine and one that comes along", chained, many(49), nil, "", true},
		{"twice", ann, []session.Tag{{"a", ""}, {"a", ""}}, nil, "Duplicate tag keys found. Please note that Tag keys are case insensitive.", false},
		{"twice in other case", ann, []session.Tag{{"a", ""}, {"A", ""}}, nil, "Duplicate tag keys found. Please note that Tag keys are case insensitive.", false},
		{"AWS's", ann, []session.Tag{{"AWS:x", ""}}, nil, "'aws:' prefixed tag key names are not allowed for external use.", false},
		{"an empty key", ann, []session.Tag{{"", ""}}, nil, "The tag key '' must have 1 to 128 letters, digits, spaces and characters out of _.:/=+-@.", false},
		{"a key as long as may be", ann, []session.Tag{{strings.Repeat("ä", 128), strings.Repeat("ä", 256)}}, nil, "", true},
		{"a key too long", ann, []session.Tag{{strings.Repeat("a", 129), ""}}, nil, "The tag key '" + strings.Repeat("a", 129) + "' must have 1 to 128 letters, digits, spaces and characters out of _.:/=+-@.", false},
		{"a value too long", ann, []session.Tag{{"a", strings.Repeat("a", 257)}}, nil, "The value of the tag 'a' must have at most 256 letters, digits, spaces and characters out of _.:/=+-@.", false},
		{"a value with a star", ann, []session.Tag{{"a", "*"}}, nil, "The value of the tag 'a' must have at most 256 letters, digits, spaces and characters out of _.:/=+-@.", false},
		{"transitive without a tag", ann, []session.Tag{{"a", ""}}, []string{"b"}, "The specified transitive tag key must be included in the requested tags.", false},
		{"transitive that came along", chained, nil, []string{"team"}, "The specified transitive tag key must be included in the requested tags.", false},
		{"one that came along again", chained, []session.Tag{{"TEAM", ""}}, nil, "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the calling session.", false},
		{"what does not come along", chained, []session.Tag{{"env", "c"}}, nil, "", true},
		{"only what comes along", chained, nil, nil, "", true},
		{"a session of another kind hands nothing on", token, nil, nil, "", false},
	} {
		plan, err := session.PlanAssume(c.caller, session.Assume{RoleARN: "arn:aws:iam::111111111111:role/r", Name: "s1", Tags: c.tags, TransitiveKeys: c.transitive})
		if c.message != "" {
			refused(t, c.what, err, errs.InvalidParameter, c.message)
		} else if err != nil || plan.Tagged != c.tagged {
			t.Errorf("%s: %v %v", c.what, plan.Tagged, err)
		}
	}
}

func TestContextOfARequest(t *testing.T) {
	ann := principal.Principal{Account: account, ARN: "arn:aws:iam::111111111111:user/ann", Entity: "AIDAX"}
	plan, err := session.PlanAssume(ann, session.Assume{
		RoleARN: "arn:aws:iam::222222222222:role/ci/r", Name: "s1", ExternalID: "ext", SourceIdentity: "Ann",
		Tags: []session.Tag{{"Team", "a"}, {"env", "b"}}, TransitiveKeys: []string{"ENV"},
	})
	want := map[string][]string{
		"sts:rolesessionname": {"s1"}, "sts:externalid": {"ext"}, "sts:sourceidentity": {"Ann"}, "aws:requesttag/team": {"a"}, "aws:requesttag/env": {"b"},
		"aws:tagkeys": {"Team", "env"}, "sts:transitivetagkeys": {"env"},
	}
	if err != nil || !reflect.DeepEqual(plan.Context, want) || plan.Role.String() != "arn:aws:iam::222222222222:role/ci/r" || plan.SourceIdentity != "Ann" {
		t.Errorf("%+v %v", plan, err)
	}
	plan, err = session.PlanAssume(ann, session.Assume{RoleARN: "arn:aws:iam::222222222222:role/r", Name: "s1"})
	if err != nil || !maps.EqualFunc(plan.Context, map[string][]string{"sts:rolesessionname": {"s1"}}, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("%+v %v", plan, err)
	}
}

// A chain of roles hands on transitive tags and the source identity, and says
// that it is one.
func TestChains(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		role := w.role(entity.Create{Name: "r", MaxSession: 12 * time.Hour})
		caller := w.user("ann")
		assume := func(in session.Assume) principal.Principal {
			t.Helper()
			in.RoleARN, in.Name = role.ARN(), "s1"
			given, err := w.AssumeRole(ctx, caller, in)
			if err != nil {
				t.Fatal(err)
			}
			return w.opened(given)
		}
		caller = assume(session.Assume{Tags: []session.Tag{{"A", "1"}, {"B", "2"}}, TransitiveKeys: []string{"a"}, SourceIdentity: "Ann", Duration: 12 * time.Hour})
		if caller.Session.Chained {
			t.Error("the first is no chain")
		}
		caller = assume(session.Assume{Tags: []session.Tag{{"b", "3"}, {"C", "4"}}, TransitiveKeys: []string{"C"}})
		s := caller.Session
		if !s.Chained || s.SourceIdentity != "Ann" || !reflect.DeepEqual(s.Tags, map[string]string{"A": "1", "b": "3", "C": "4"}) || !reflect.DeepEqual(s.TransitiveKeys, []string{"A", "C"}) || s.Expires.Sub(s.Issued) != time.Hour {
			t.Errorf("the second: %+v", s)
		}
		plan, err := session.PlanAssume(caller, session.Assume{RoleARN: role.ARN(), Name: "s1"})
		if err != nil || plan.SourceIdentity != "Ann" || !plan.Tagged || !reflect.DeepEqual(plan.Context["sts:sourceidentity"], []string{"Ann"}) || plan.Context["aws:tagkeys"] != nil {
			t.Errorf("%+v %v", plan, err)
		}
		s = assume(session.Assume{SourceIdentity: "Ann", Duration: time.Hour}).Session
		if !reflect.DeepEqual(s.Tags, map[string]string{"A": "1", "C": "4"}) || !reflect.DeepEqual(s.TransitiveKeys, []string{"A", "C"}) {
			t.Errorf("the third: %+v", s)
		}
		_, err = w.AssumeRole(ctx, caller, session.Assume{RoleARN: role.ARN(), Name: "s1", SourceIdentity: "Bay"})
		refused(t, "another source identity", err, errs.AccessDenied, "The source identity of a session cannot be changed: it is Ann.")
	})
}
