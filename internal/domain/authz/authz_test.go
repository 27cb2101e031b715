package authz_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

const (
	pull    = "ecr:BatchGetImage"
	noOwn   = "because no identity-based policy allows the ecr:BatchGetImage action"
	noTheir = "because no resource-based policy allows the ecr:BatchGetImage action"
	mayPull = `{"Effect":"Allow","Action":"ecr:BatchGetImage","Resource":"*"}`
)

func TestSameAccount(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		root, bare, puller := principal.Root(ours), w.user(ours, "bare", ""), w.user(ours, "puller", mayPull)
		w.allowed(root, pull)
		w.allowed(puller, pull)
		own := authz.Need{Action: "iam:GetPolicy", Resource: name.ARN{Partition: "aws", Service: "iam", Account: "aws", Resource: "policy/AdministratorAccess"}}
		if !w.ask(root, own, nil) || w.ask(puller, own, nil) {
			t.Error("AWS's own policies are not another account's")
		}
		w.refused(puller, "ecr:PutImage", "on resource: arn:aws:ecr:us-east-1:111111111111:repository/app because no identity-based policy allows the ecr:PutImage action")
		w.refused(bare, pull, noOwn)
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"` + bare.ARN + `"},"Action":"ecr:BatchGetImage"}`)
		w.allowed(bare, pull) // a grant by name needs nothing else
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"ecr:BatchGetImage"}`)
		w.refused(bare, pull, noOwn) // the account only delegates
		w.hang(`{"Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}`)
		w.allowed(bare, pull)
		w.hang(`{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`)
		for _, p := range []principal.Principal{root, bare, puller} {
			w.refused(p, pull, "with an explicit deny in a resource-based policy")
		}
		// Root can take its own policy back, and nobody else can.
		for _, action := range []string{"ecr:SetRepositoryPolicy", "ecr:GetRepositoryPolicy", "ecr:DeleteRepositoryPolicy"} {
			w.allowed(root, action)
			w.refused(bare, action, "with an explicit deny in a resource-based policy")
		}
		// A user who is made again under the old name is another one.
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"` + bare.ARN + `"},"Action":"ecr:BatchGetImage"}`)
		w.allowed(bare, pull)
		w.must(w.Entities.Delete(t.Context(), ours, entity.User, "bare"))
		if err := w.Authorize(t.Context(), request(bare, app(pull))); !errs.Is(err, errs.AccessDenied) {
			t.Errorf("a user that has gone: %v", err)
		}
		w.refused(w.user(ours, "bare", ""), pull, noOwn)
	})
}

func TestAcrossAccounts(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		root, bare, puller := principal.Root(theirs), w.user(theirs, "bare", ""), w.user(theirs, "puller", mayPull)
		for _, p := range []principal.Principal{root, puller} {
			w.refused(p, pull, noTheir)
		}
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"ecr:BatchGetImage"}`)
		w.allowed(root, pull)
		w.allowed(puller, pull)
		w.refused(bare, pull, noOwn)
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"` + bare.ARN + `"},"Action":"ecr:BatchGetImage"}`)
		w.refused(bare, pull, noOwn)
		w.refused(puller, pull, noTheir)
		// Root of another account is not root here.
		w.hang(`{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`)
		w.refused(root, "ecr:DeleteRepositoryPolicy", "with an explicit deny in a resource-based policy")
	})
}

func TestRegistryPolicy(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		root, puller := principal.Root(ours), w.user(theirs, "puller", mayPull)
		w.registry(`{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:*","Resource":"arn:aws:ecr:us-east-1:111111111111:repository/a*"}`)
		w.allowed(puller, pull)
		if w.ask(puller, authz.Need{Action: pull, Resource: reg(ours).RepositoryARN("other")}, nil) {
			t.Error("a repository outside of the statement's resource")
		}
		w.must(w.Registries.PutSetting(t.Context(), reg(ours), registry.SettingPolicyScope, registry.ScopeV1))
		w.refused(puller, pull, noTheir) // the first scope knows three actions
		w.must(w.Registries.PutSetting(t.Context(), reg(ours), registry.SettingPolicyScope, registry.ScopeV2))
		w.registry(`{"Effect":"Deny","Principal":"*","Action":"ecr:*","Resource":"*"}`)
		w.refused(root, pull, "with an explicit deny in a resource-based policy")
		for action, want := range map[string]bool{
			"ecr:PutRegistryPolicy": true, "ecr:DeleteRegistryPolicy": true, "ecr:GetRegistryPolicy": true,
			"ecr:DescribeRegistry": false, "ecr:GetAuthorizationToken": true, // which no resource policy decides about
		} {
			if got := w.ask(root, authz.Need{Action: action}, nil); got != want {
				t.Errorf("root's %s: %v", action, got)
			}
		}
		w.registry(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:root"},"Action":"ecr:GetAuthorizationToken","Resource":"*"}`)
		if w.ask(w.user(ours, "bare", ""), authz.Need{Action: "ecr:GetAuthorizationToken"}, nil) {
			t.Error("a registry policy gave a token")
		}
	})
}

func TestTrust(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		may := `{"Effect":"Allow","Action":"sts:*","Resource":"*"}`
		bare, able, far := w.user(ours, "bare", ""), w.user(ours, "able", may), w.user(theirs, "far", may)
		role := func(trust string) authz.Need {
			w.t.Helper()
			roleName := "r" + time.Now().Format("150405.000000000")
			e, err := w.Entities.Create(t.Context(), entity.Create{Account: ours, Kind: entity.Role, Name: roleName, Path: "/x/", Trust: document(trust)})
			w.must(err)
			return authz.Need{Action: "sts:AssumeRole", Resource: name.ARN{Partition: "aws", Service: "iam", Account: ours, Resource: "role/x/" + e.Name}, Context: map[string][]string{"sts:externalid": {"42"}}}
		}
		account := role(`{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}`)
		named := role(`{"Effect":"Allow","Principal":{"AWS":["` + bare.ARN + `","222222222222"]},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"42"}}}`)
		service := role(`{"Effect":"Allow","Principal":{"Service":"ecr.amazonaws.com"},"Action":"sts:AssumeRole"}`)
		missing := account
		missing.Resource.Resource = "role/nobody"
		wrongPath := account
		wrongPath.Resource.Resource = strings.Replace(account.Resource.Resource, "/x/", "/y/", 1)
		wrongID := named
		wrongID.Context = map[string][]string{"sts:externalid": {"43"}}
		for what, c := range map[string]struct {
			p    principal.Principal
			need authz.Need
			want bool
		}{
			"account, no policy": {bare, account, false}, "account, policy": {able, account, true}, "account, another": {far, account, false},
			"named, no policy": {bare, named, true}, "not named, policy": {able, named, false}, "named across": {far, named, true},
			"wrong external id": {bare, wrongID, false}, "a service's": {able, service, false}, "missing": {able, missing, false}, "wrong path": {able, wrongPath, false},
			"root": {principal.Root(ours), service, false},
		} {
			if got := w.ask(c.p, c.need, nil); got != c.want {
				t.Errorf("%s: %v", what, got)
			}
		}
		if !w.ask(bare, authz.Need{Action: "sts:GetCallerIdentity"}, nil) {
			t.Error("GetCallerIdentity needs no permission")
		}
	})
}

// Every condition key that ECR supports: a statement that allows under exactly
// the right value, asked with it and with another.
func TestConditionKeys(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := newWorld(t, db)
	user := w.user(ours, "keys", "")
	w.must(w.Entities.Tag(t.Context(), ours, entity.User, "keys", []entity.Tag{{Key: "Team", Value: "a"}}))
	role, err := w.Entities.Create(t.Context(), entity.Create{Account: ours, Kind: entity.Role, Name: "keys", Trust: document(`{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}`)})
	w.must(err)
	session := principal.Principal{Account: ours, ARN: "arn:aws:sts::111111111111:assumed-role/keys/s", ID: role.ID + ":s", Entity: role.ID, AccessKeyID: "ASIAKEYS",
		Session: &principal.Session{Kind: principal.RoleSession, RoleARN: role.ARN(), Name: "s", Issued: w.clk.Now().Add(-time.Minute), Expires: w.clk.Now().Add(time.Hour),
			MFA: w.clk.Now().Add(-time.Minute), Tags: map[string]string{"Team": "b"}, SourceIdentity: "me", Provider: "arn:aws:iam::111111111111:oidc-provider/issuer.example",
			Claims: map[string][]string{"issuer.example:sub": {"repo:x"}, "issuer.example:aud": {"berth"}}}}
	endpoint := func(r *authz.Request) {
		r.Origin = authz.Origin{SourceIP: netip.MustParseAddr("10.1.2.3"), VPC: "vpc-1", VPCEndpoint: "vpce-1", Secure: true}
	}
	need := app(pull)
	tagging := need
	tagging.Context = authz.TagContext(map[string]string{"Stage": "dev", "Cost": "1"})
	for _, c := range []struct {
		what, condition string
		p               principal.Principal
		need            authz.Need
		change          func(*authz.Request)
		want            bool
	}{
		{"SourceIp", `{"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}}`, user, need, nil, true},
		{"SourceIp, another", `{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, user, need, nil, false},
		{"SourceIp behind an endpoint", `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, user, need, endpoint, false},
		{"VpcSourceIp", `{"IpAddress":{"aws:VpcSourceIp":"10.0.0.0/8"}}`, user, need, endpoint, true},
		{"SourceVpce", `{"StringEquals":{"aws:SourceVpce":"vpce-1","aws:sourcevpc":"vpc-1"}}`, user, need, endpoint, true},
		{"SourceVpce, none", `{"StringEquals":{"aws:SourceVpce":"vpce-1"}}`, user, need, nil, false},
		{"SecureTransport", `{"Bool":{"aws:SecureTransport":"true"}}`, user, need, endpoint, true},
		{"SecureTransport, not", `{"Bool":{"aws:SecureTransport":"false"}}`, user, need, nil, true},
		{"PrincipalArn", `{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111111111111:user/keys"}}`, user, need, nil, true},
		{"PrincipalArn of a session", `{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/keys"}}`, session, need, nil, true},
		{"PrincipalAccount", `{"StringEquals":{"aws:PrincipalAccount":"111111111111"}}`, user, need, nil, true},
		{"PrincipalType", `{"StringEquals":{"aws:PrincipalType":"AssumedRole"}}`, session, need, nil, true},
		{"PrincipalTag", `{"StringEquals":{"aws:PrincipalTag/team":"a"}}`, user, need, nil, true},
		{"PrincipalTag of a session", `{"StringEquals":{"aws:PrincipalTag/Team":"b"}}`, session, need, nil, true},
		{"PrincipalOrgID, none", `{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`, user, need, nil, false},
		{"RequestTag", `{"StringEquals":{"aws:RequestTag/stage":"dev"}}`, user, tagging, nil, true},
		{"RequestTag, none", `{"StringEquals":{"aws:RequestTag/stage":"dev"}}`, user, need, nil, false},
		{"TagKeys", `{"ForAllValues:StringEquals":{"aws:TagKeys":["Stage","Cost"]}}`, user, tagging, nil, true},
		{"TagKeys, more", `{"ForAllValues:StringEquals":{"aws:TagKeys":["Stage"]}}`, user, tagging, nil, false},
		{"ResourceTag", `{"StringEquals":{"aws:ResourceTag/Stage":"prod","ecr:ResourceTag/stage":"prod"}}`, user, need, nil, true},
		{"ResourceTag, another", `{"StringEquals":{"ecr:ResourceTag/Stage":"dev"}}`, user, need, nil, false},
		{"ResourceTag of another service", `{"StringEquals":{"ecr-public:ResourceTag/Stage":"prod"}}`, user, need, nil, false},
		{"CurrentTime", `{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2026-01-03T00:00:00Z"}}`, user, need, nil, true},
		{"EpochTime", `{"NumericGreaterThan":{"aws:EpochTime":"1767225600"}}`, user, need, nil, true},
		{"UserAgent", `{"StringLike":{"aws:UserAgent":"docker/*"}}`, user, need, nil, true},
		{"username", `{"StringEquals":{"aws:username":"keys"}}`, user, need, nil, true},
		{"username of a session", `{"StringEquals":{"aws:username":"keys"}}`, session, need, nil, false},
		{"userid", `{"StringEquals":{"aws:userid":"` + user.ID + `"}}`, user, need, nil, true},
		{"userid of a session", `{"StringLike":{"aws:userid":"` + role.ID + `:*"}}`, session, need, nil, true},
		{"MFA", `{"Bool":{"aws:MultiFactorAuthPresent":"true"},"NumericLessThan":{"aws:MultiFactorAuthAge":"61"}}`, session, need, nil, true},
		{"MFA, too old", `{"NumericLessThan":{"aws:MultiFactorAuthAge":"60"}}`, session, need, nil, false},
		{"MFA of an access key", `{"Bool":{"aws:MultiFactorAuthPresent":"false"}}`, user, need, nil, false},
		{"MFA IfExists", `{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}`, user, need, nil, true},
		{"TokenIssueTime", `{"DateLessThan":{"aws:TokenIssueTime":"2026-01-02T03:04:05Z"}}`, session, need, nil, true},
		{"SourceIdentity", `{"StringEquals":{"aws:SourceIdentity":"me"}}`, session, need, nil, true},
		{"RequestedRegion", `{"StringEquals":{"aws:RequestedRegion":"us-east-1"}}`, user, need, nil, true},
		{"ResourceAccount", `{"StringEquals":{"aws:ResourceAccount":"${aws:PrincipalAccount}"}}`, user, need, nil, true},
		{"ViaAWSService", `{"Bool":{"aws:ViaAWSService":"false"}}`, user, need, nil, true},
		{"OIDC claims", `{"StringEquals":{"issuer.example:aud":"berth"},"StringLike":{"issuer.example:sub":"repo:*"}}`, session, need, nil, true},
		{"OIDC claims of none", `{"StringEquals":{"issuer.example:aud":"berth"}}`, user, need, nil, false},
		{"FederatedProvider", `{"ArnLike":{"aws:FederatedProvider":"arn:aws:iam::*:oidc-provider/issuer.example"}}`, session, need, nil, true},
	} {
		statement := `{"Effect":"Allow","Action":"ecr:*","Resource":"*","Condition":` + c.condition + `}`
		kind, entityName := entity.User, "keys"
		if c.p.Session != nil {
			kind = entity.Role
		}
		w.must(w.Entities.PutInline(t.Context(), ours, kind, entityName, "p", document(statement)))
		if got := w.ask(c.p, c.need, c.change); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestSessionsAndBoundaries(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		user := w.user(ours, "bound", `{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`)
		w.must(w.Entities.SetBoundary(t.Context(), ours, entity.User, "bound", "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"))
		w.allowed(user, pull)
		w.refused(user, "ecr:PutImage", "because no permissions boundary allows the ecr:PutImage action")
		w.must(w.Entities.SetBoundary(t.Context(), ours, entity.User, "bound", ""))
		guest := user
		guest.ARN, guest.ID, guest.AccessKeyID = "arn:aws:sts::111111111111:federated-user/guest", "111111111111:guest", "ASIAGUEST"
		guest.Session = &principal.Session{Kind: principal.FederatedSession, Name: "guest", Limited: true}
		w.refused(guest, pull, "because no session policy allows the ecr:BatchGetImage action")
		limited := guest
		limited.AccessKeyID = "ASIALIMITED"
		limited.Session = &principal.Session{Kind: principal.FederatedSession, Name: "guest", Limited: true, Policies: []string{document(mayPull)}}
		w.allowed(limited, pull)
		w.refused(limited, "ecr:PutImage", "because no session policy allows the ecr:PutImage action")
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"` + guest.ARN + `"},"Action":"ecr:PutImage"}`)
		w.allowed(guest, "ecr:PutImage") // named itself
	})
}

// The account's password policy can let users change their own passwords.
func TestOwnPassword(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := newWorld(t, db)
	bare, denied := w.user(ours, "bare", ""), w.user(ours, "denied", `{"Effect":"Deny","Action":"iam:*","Resource":"*"}`)
	change := func(userName string) authz.Need {
		return authz.Need{Action: "iam:ChangePassword", Resource: name.ARN{Partition: "aws", Service: "iam", Account: ours, Resource: "user/" + userName}}
	}
	read := authz.Need{Action: "iam:GetAccountPasswordPolicy"}
	for _, may := range []bool{false, true, false} {
		w.must(credential.New(w.Principals).SetPasswordPolicy(t.Context(), ours, password.Policy{Length: 8, UsersMayChange: may}))
		if w.ask(bare, change("bare"), nil) != may || w.ask(bare, read, nil) != may {
			t.Errorf("users may change: %v, and it is not so", may)
		}
		if w.ask(bare, change("denied"), nil) || w.ask(denied, change("denied"), nil) || w.ask(bare, authz.Need{Action: "iam:ListUsers"}, nil) {
			t.Error("more than one's own password")
		}
	}
}

func TestMessages(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := newWorld(t, db)
	user := w.user(ours, "told", `{"Sid":"no","Effect":"Deny","Action":"ecr:*","Resource":"*"}`)
	err := w.Authorize(t.Context(), request(user, app(pull)))
	w.refusal(err, user, pull, "with an explicit deny in an identity-based policy")
	encoded, _ := err.(*errs.Error).Detail[authz.MessageDetail].(string)
	text, err := w.DecodeMessage(ours, encoded)
	w.must(err)
	var m struct {
		Allowed, ExplicitDeny bool
		MatchedStatements     struct {
			Items []struct{ StatementID, Effect, Policy string }
		}
		Context struct {
			Principal        struct{ ID, ARN string }
			Action, Resource string
		}
	}
	w.must(json.Unmarshal([]byte(text), &m))
	if m.Allowed || !m.ExplicitDeny || len(m.MatchedStatements.Items) != 1 || m.MatchedStatements.Items[0].StatementID != "no" ||
		m.MatchedStatements.Items[0].Policy != "inline policy p of user told" || m.Context.Principal.ARN != user.ARN || m.Context.Action != pull ||
		m.Context.Resource != "arn:aws:ecr:us-east-1:111111111111:repository/app" {
		t.Errorf("%s", text)
	}
	if text, err := w.DecodeMessage(theirs, encoded); !errs.Is(err, errs.AuthorizationMessage) {
		t.Errorf("another account reads it: %q %v", text, err)
	}
	// Of a resource policy its owner reads, and not who was refused.
	stranger := w.user(theirs, "stranger", mayPull)
	w.hang(`{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`)
	refusal := w.Authorize(t.Context(), request(stranger, app(pull)))
	foreign, _ := refusal.(*errs.Error).Detail[authz.MessageDetail].(string)
	if _, err := w.DecodeMessage(theirs, foreign); !errs.Is(err, errs.AuthorizationMessage) {
		t.Errorf("who was refused reads it: %v", err)
	}
	if _, err := w.DecodeMessage(ours, foreign); err != nil {
		t.Errorf("the owner does not read it: %v", err)
	}
	for _, bad := range []string{"", "x", "AAAA", encoded[:len(encoded)-2], "B" + encoded[1:], encoded + "=="} {
		if bad == encoded {
			continue
		}
		if text, err := w.DecodeMessage(ours, bad); !errs.Is(err, errs.AuthorizationMessage) {
			t.Errorf("%q: %q %v", bad, text, err)
		}
	}
}

func TestExplain(t *testing.T) {
	db := sqldbtest.SQLite(t)
	w := newWorld(t, db)
	user := w.user(ours, "asker", mayPull+`,{"Sid":"tls","Effect":"Allow","Action":"ecr:PutImage","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"aws:SourceVpce":"vpce-1"}}}`)
	resource := reg(ours).RepositoryARN("app").String()
	explain := func(q authz.Question) authz.Explanation {
		t.Helper()
		q.Region = region
		e, err := w.Explain(t.Context(), q)
		w.must(err)
		return e
	}
	if e := explain(authz.Question{Principal: user.ARN, Action: pull, Resource: resource}); !e.Allowed || e.Policy != "inline policy p of user asker" || e.Statement != 0 || len(e.Matched) != 1 || e.Needed != "" {
		t.Errorf("%+v", e)
	}
	e := explain(authz.Question{Principal: user.ARN, Action: "ecr:PutImage", Resource: resource})
	if e.Allowed || !strings.Contains(e.Reason, "no identity-based policy") || !strings.Contains(e.Needed, user.ARN) || len(e.MissingContext) != 1 || e.MissingContext[0] != "aws:sourcevpce" {
		t.Errorf("%+v", e)
	}
	if e := explain(authz.Question{Principal: user.ARN, Action: "ecr:PutImage", Resource: resource, Context: map[string][]string{"aws:SecureTransport": {"true"}, "AWS:SourceVpce": {"vpce-1"}}}); !e.Allowed || e.Sid != "tls" {
		t.Errorf("%+v", e)
	}
	if e := explain(authz.Question{Principal: "111111111111", Action: "ecr:PutImage", Resource: resource}); !e.Allowed || e.Policy != "" {
		t.Errorf("root: %+v", e)
	}
	for _, bad := range []authz.Question{
		{Principal: "nobody", Action: pull, Resource: "*"}, {Principal: "arn:aws:iam::111111111111:user/nobody", Action: pull, Resource: "*"},
		{Principal: "333333333333", Action: pull, Resource: "*"}, {Principal: user.ARN, Action: pull, Resource: "app"},
	} {
		if e, err := w.Explain(t.Context(), bad); err == nil {
			t.Errorf("%+v: %+v", bad, e)
		}
	}
}

func TestLockedOut(t *testing.T) {
	sqldbtest.Each(t, func(t *testing.T, db *sqldb.DB) {
		w := newWorld(t, db)
		root, byPolicy := principal.Root(ours), w.user(ours, "held", "")
		w.hang(`{"Effect":"Allow","Principal":{"AWS":"` + byPolicy.ARN + `"},"Action":"ecr:*"}`)
		for _, c := range []struct {
			p    principal.Principal
			text string
			want bool
		}{
			{root, `{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`, true},
			{root, `{"Effect":"Deny","Principal":"*","Action":"ecr:BatchGetImage"}`, false},
			{byPolicy, `{"Effect":"Allow","Principal":{"AWS":"` + byPolicy.ARN + `"},"Action":"ecr:BatchGetImage"}`, true},
			{byPolicy, `{"Effect":"Allow","Principal":{"AWS":"` + byPolicy.ARN + `"},"Action":"ecr:Set*"}`, false},
		} {
			d, err := policy.Parse(document(c.text), policy.Repository)
			w.must(err)
			if got, err := w.LockedOut(t.Context(), request(c.p, app("ecr:SetRepositoryPolicy")), reg(ours).RepositoryARN("app"), d); err != nil || got != c.want {
				t.Errorf("%s, %s: %v %v", c.p.ARN, c.text, got, err)
			}
		}
	})
}
