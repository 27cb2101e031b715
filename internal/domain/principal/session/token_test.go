package session_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/session"
)

func TestSessionToken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ann, root := w.user("ann"), principal.Root(account)
		w.codes[[2]string{ann.Entity, "device-1"}] = "123456"
		w.codes[[2]string{string(account), "device-2"}] = "654321"
		for _, c := range []struct {
			what         string
			caller       principal.Principal
			d, want      time.Duration
			serial, code string
			mfa          time.Time
		}{
			{"a user", ann, 0, 12 * time.Hour, "", "", time.Time{}},
			{"a user with MFA", ann, 15 * time.Minute, 15 * time.Minute, "device-1", "123456", start},
			{"a user for long", ann, 36 * time.Hour, 36 * time.Hour, "", "", time.Time{}},
			{"root", root, 0, time.Hour, "", "", time.Time{}},
			{"root with MFA", root, 36 * time.Hour, time.Hour, "device-2", "654321", start},
		} {
			given, err := w.SessionToken(ctx, c.caller, c.d, c.serial, c.code)
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			want := c.caller
			want.AccessKeyID = given.AccessKeyID
			want.Session = &principal.Session{Kind: principal.TokenSession, Issued: start, Expires: start.Add(c.want), MFA: c.mfa}
			if p := w.opened(given); !reflect.DeepEqual(p, want) || p.IsRoot() != c.caller.IsRoot() {
				t.Errorf("%s: %+v %+v", c.what, p, p.Session)
			}
		}
		sessions := func(kind principal.SessionKind) principal.Principal {
			p := ann
			p.Session = &principal.Session{Kind: kind}
			return p
		}
		for _, c := range []struct {
			what         string
			caller       principal.Principal
			d            time.Duration
			serial, code string
			code2        errs.Code
			message      string
		}{
			{"a code again", ann, 0, "device-1", "123456", errs.AccessDenied, "MultiFactorAuthentication failed"},
			{"another's device", ann, 0, "device-2", "654321", errs.AccessDenied, ""},
			{"a code without a device", ann, 0, "", "123456", errs.AccessDenied, ""},
			{"a device without a code", ann, 0, "device-1", "", errs.AccessDenied, ""},
			{"too short", ann, 899 * time.Second, "", "", errs.Validation, ""},
			{"too long", ann, 36*time.Hour + time.Second, "", "", errs.Validation, ""},
			{"a role", sessions(principal.RoleSession), 0, "", "", errs.AccessDenied, "Cannot call GetSessionToken with session credentials"},
			{"a session", sessions(principal.TokenSession), 0, "", "", errs.AccessDenied, "Cannot call GetSessionToken with session credentials"},
			{"a federated user", sessions(principal.FederatedSession), 0, "", "", errs.AccessDenied, "Cannot call GetSessionToken with session credentials"},
		} {
			_, err := w.SessionToken(ctx, c.caller, c.d, c.serial, c.code)
			refused(t, c.what, err, c.code2, c.message)
		}
	})
}

func TestCheckMFA(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ann := w.user("ann")
		w.codes[[2]string{ann.Entity, "device-1"}] = "123456"
		if mfa, err := w.CheckMFA(ctx, ann, "", ""); mfa || err != nil {
			t.Errorf("nothing given: %v %v", mfa, err)
		}
		role := ann // a role has no devices, whatever its id
		role.Session = &principal.Session{Kind: principal.RoleSession}
		if _, err := w.CheckMFA(ctx, role, "device-1", "123456"); !errs.Is(err, errs.AccessDenied) {
			t.Errorf("a role: %v", err)
		}
		ann.Session = &principal.Session{Kind: principal.TokenSession}
		if mfa, err := w.CheckMFA(ctx, ann, "device-1", "123456"); !mfa || err != nil {
			t.Errorf("a session: %v %v", mfa, err)
		}
	})
}

func TestFederationToken(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		ann, root := w.user("ann"), principal.Root(account)
		tags := []session.Tag{{"Team", "a"}}
		for _, c := range []struct {
			what   string
			caller principal.Principal
			in     session.Federate
			want   principal.Session
			life   time.Duration
		}{
			{"without policies", ann, session.Federate{}, principal.Session{}, 12 * time.Hour},
			{"with a policy", ann, session.Federate{Bounds: session.Bounds{Policy: document}, Duration: time.Hour}, principal.Session{Policies: []string{document}}, time.Hour},
			{"with tags", ann, session.Federate{Tags: tags, Duration: 36 * time.Hour}, principal.Session{Tags: map[string]string{"Team": "a"}}, 36 * time.Hour},
			{"by root", root, session.Federate{Duration: 36 * time.Hour}, principal.Session{}, time.Hour},
		} {
			c.in.Name = "guest"
			given, err := w.FederationToken(ctx, c.caller, c.in)
			if err != nil {
				t.Errorf("%s: %v", c.what, err)
				continue
			}
			c.want.Kind, c.want.Name, c.want.Limited, c.want.Issued, c.want.Expires = principal.FederatedSession, "guest", true, start, start.Add(c.life)
			want := principal.Principal{
				Account: account, ARN: "arn:aws:sts::111111111111:federated-user/guest", ID: "111111111111:guest", Entity: c.caller.Entity,
				AccessKeyID: given.AccessKeyID, Session: &c.want,
			}
			if p := w.opened(given); !reflect.DeepEqual(p, want) || p.IsRoot() {
				t.Errorf("%s: %+v %+v", c.what, p, p.Session)
			}
		}
		keys, err := session.PlanFederate(ann, session.Federate{Name: "guest", Tags: tags})
		if err != nil || !reflect.DeepEqual(keys, map[string][]string{"aws:requesttag/team": {"a"}, "aws:tagkeys": {"Team"}}) {
			t.Errorf("%v %v", keys, err)
		}
		chained := ann
		chained.Session = &principal.Session{Kind: principal.RoleSession}
		for _, c := range []struct {
			what    string
			caller  principal.Principal
			in      session.Federate
			code    errs.Code
			message string
		}{
			{"a session", chained, session.Federate{}, errs.AccessDenied, "Cannot call GetFederationToken with session credentials"},
			{"too short", ann, session.Federate{Duration: time.Minute}, errs.Validation, ""},
			{"too long", ann, session.Federate{Duration: 37 * time.Hour}, errs.Validation, ""},
			{"a tag twice", ann, session.Federate{Tags: append(tags, session.Tag{Key: "team"})}, errs.InvalidParameter, ""},
			{"a policy that is none", ann, session.Federate{Bounds: session.Bounds{Policy: "{"}}, errs.PolicyMalformed, ""},
			{"a policy that is too long", ann, session.Federate{Bounds: session.Bounds{Policy: padded(2049)}}, errs.SessionPolicyTooLarge, ""},
			{"a managed policy that is not there", ann, session.Federate{Bounds: session.Bounds{PolicyARNs: []string{"arn:aws:iam::111111111111:policy/none"}}}, errs.InvalidParameter, ""},
		} {
			_, err := w.FederationToken(ctx, c.caller, c.in)
			refused(t, c.what, err, c.code, c.message)
		}
	})
	if arn := session.FederatedARN(name.AccountID("111111111111"), "x"); arn.String() != "arn:aws:sts::111111111111:federated-user/x" {
		t.Error(arn)
	}
}

func TestRefused(t *testing.T) {
	user := principal.Principal{Account: account, ARN: "arn:aws:iam::111111111111:user/ann", Entity: "AIDAX"}
	with := func(p principal.Principal, s principal.Session) principal.Principal {
		p.Session = &s
		return p
	}
	root := principal.Root(account)
	callers := map[string]principal.Principal{
		"user": user, "root": root,
		"role":      with(user, principal.Session{Kind: principal.RoleSession}),
		"token":     with(user, principal.Session{Kind: principal.TokenSession}),
		"token+mfa": with(user, principal.Session{Kind: principal.TokenSession, MFA: start}),
		"roottoken": with(root, principal.Session{Kind: principal.TokenSession}),
		"federated": with(user, principal.Session{Kind: principal.FederatedSession, MFA: start}),
	}
	for action, who := range map[string][]string{
		"ecr:PutImage":                   nil,
		"ecr:GetAuthorizationToken":      nil,
		"organizations:ListAccounts":     nil,
		"iam:PassRole":                   nil,
		"sts:GetServiceBearerToken":      nil,
		"sts:GetCallerIdentity":          nil,
		"sts:AssumeRole":                 {"root", "roottoken", "federated"},
		"sts:TagSession":                 {"federated"},
		"sts:SetSourceIdentity":          {"federated"},
		"iam:CreateUser":                 {"token", "roottoken", "federated"},
		"iam:GetUser":                    {"token", "roottoken", "federated"},
		"sts:GetSessionToken":            {"role", "token", "token+mfa", "roottoken", "federated"},
		"sts:GetFederationToken":         {"role", "token", "token+mfa", "roottoken", "federated"},
		"sts:GetAccessKeyInfo":           {"token", "token+mfa", "roottoken", "federated"},
		"sts:DecodeAuthorizationMessage": {"token", "token+mfa", "roottoken", "federated"},
	} {
		want := map[string]bool{}
		for _, w := range who {
			want[w] = true
		}
		for called, p := range callers {
			if reason, no := session.Refused(p, action); no != want[called] || (reason != "") != no {
				t.Errorf("%s by %s: %v %q", action, called, no, reason)
			}
		}
	}
	for _, c := range []struct{ caller, action, want string }{
		{"root", "sts:AssumeRole", "Roles may not be assumed by root accounts."},
		{"role", "sts:GetSessionToken", "Cannot call GetSessionToken with session credentials"},
		{"token", "iam:CreateUser", "Cannot call CreateUser with session credentials that were obtained without multi-factor authentication"},
	} {
		if reason, _ := session.Refused(callers[c.caller], c.action); reason != c.want {
			t.Errorf("%s by %s: %q", c.action, c.caller, reason)
		}
	}
	// A kind that is not known may nothing.
	if _, no := session.Refused(with(user, principal.Session{Kind: "novel"}), "ecr:PutImage"); !no {
		t.Error("a session of no known kind")
	}
}
