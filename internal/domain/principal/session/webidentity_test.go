package session_test

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
	"github.com/berth-registry/berth/internal/domain/principal/session"
	"github.com/berth-registry/berth/internal/infra/oidcverify/oidcverifytest"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// provide makes the issuer a provider of the account, which accepts
// sts.amazonaws.com and app.
func (w *world) provide() provider.Provider {
	w.t.Helper()
	p, err := w.providers.Create(w.t.Context(), account, provider.Create{URL: w.issuer.URL, ClientIDs: []string{"app", "sts.amazonaws.com"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// trusting is a trust policy for the provider. The conditions' HOST is replaced.
func trusting(p provider.Provider, conditions string, actions ...string) string {
	if actions == nil {
		actions = []string{"sts:AssumeRoleWithWebIdentity"}
	}
	if conditions == "" {
		conditions = "{}"
	}
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Federated":%q},"Action":["%s"],"Condition":%s}}`,
		p.ARN, strings.Join(actions, `","`), strings.ReplaceAll(conditions, "HOST", p.Host))
}

// token is a good token, with changes; a nil value removes a claim.
func (w *world) token(changes map[string]any) string {
	now := w.clk.Now()
	all := map[string]any{
		"sub": "repo:acme/app:ref:refs/heads/main", "aud": "sts.amazonaws.com", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"repository": "acme/app", "run_attempt": "1",
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return w.issuer.Sign(all)
}

func TestWebIdentity(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.provide()
		role := w.role(entity.Create{Name: "Deploy", Path: "/ci/", MaxSession: 2 * time.Hour, Tags: []entity.Tag{{Key: "Team", Value: "x"}},
			Trust: trusting(p, `{"StringEquals":{"HOST:aud":"sts.amazonaws.com","HOST:repository":"acme/app","aws:FederatedProvider":"`+p.ARN+`",
				"sts:RoleSessionName":"run-1","aws:RequestTag/Project":"p","aws:ResourceTag/team":"x","iam:ResourceTag/team":"x","aws:ResourceAccount":"111111111111","sts:SourceIdentity":"octocat"},
				"StringLike":{"HOST:sub":"repo:acme/app:*"},"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},"ForAllValues:StringEquals":{"sts:TransitiveTagKeys":["Project"],"aws:TagKeys":["Project"]}}`,
				"sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity")})
		in := session.WebIdentity{
			RoleARN: role.ARN(), Name: "run-1", Duration: 2 * time.Hour, Bounds: session.Bounds{Policy: document},
			Context: map[string][]string{"aws:sourceip": {"192.0.2.7"}},
			Token: w.token(map[string]any{
				"amr": []string{"x", "y"}, "https://aws.amazon.com/source_identity": "octocat",
				"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"Project": []string{"p"}}, "transitive_tag_keys": []string{"Project"}},
			}),
		}
		given, err := w.AssumeRoleWithWebIdentity(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		host := strings.ToLower(p.Host)
		want := principal.Principal{
			Account: account, ARN: "arn:aws:sts::111111111111:assumed-role/Deploy/run-1", ID: role.ID + ":run-1", Entity: role.ID, AccessKeyID: given.AccessKeyID,
			Session: &principal.Session{
				Kind: principal.RoleSession, RoleARN: role.ARN(), Name: "run-1", Issued: start, Expires: start.Add(2 * time.Hour),
				Limited: true, Policies: []string{document}, Tags: map[string]string{"Project": "p"}, TransitiveKeys: []string{"Project"}, SourceIdentity: "octocat",
				Provider: p.ARN, Claims: map[string][]string{
					host + ":sub": {"repo:acme/app:ref:refs/heads/main"}, host + ":aud": {"sts.amazonaws.com"}, host + ":amr": {"x", "y"},
				},
			},
		}
		if got := w.opened(given.Given); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %+v", got, got.Session)
		}
		if given.Provider != p.ARN || given.Subject != "repo:acme/app:ref:refs/heads/main" || given.Audience != "sts.amazonaws.com" || given.SourceIdentity != "octocat" || given.PackedPolicySize == 0 {
			t.Errorf("%+v", given)
		}
		in.Context = map[string][]string{"aws:sourceip": {"198.51.100.1"}}
		_, err = w.AssumeRoleWithWebIdentity(ctx, in)
		refused(t, "from elsewhere", err, errs.AccessDenied, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	})
}

// What a trust policy sees of a token.
func TestWebIdentityConditions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.provide()
		role := w.role(entity.Create{Name: "r"})
		tagged := map[string]any{"https://aws.amazon.com/tags": map[string]any{"principal_tags": map[string]any{"a": "1"}}}
		for _, c := range []struct {
			what       string
			conditions string
			actions    []string
			claims     map[string]any
			ok         bool
		}{
			{"no condition", "", nil, nil, true},
			{"the subject", `{"StringEquals":{"HOST:sub":"repo:acme/app:ref:refs/heads/main"}}`, nil, nil, true},
			{"another subject", `{"StringEquals":{"HOST:sub":"repo:acme/app:ref:refs/heads/dev"}}`, nil, nil, false},
			{"a claim", `{"StringEquals":{"HOST:Repository":"acme/app"}}`, nil, nil, true},
			{"a claim that is not there", `{"StringEquals":{"HOST:environment":"prod"}}`, nil, nil, false},
			{"a claim of another provider", `{"StringEquals":{"example.com:repository":"acme/app"}}`, nil, nil, false},
			{"a number and a truth value", `{"NumericLessThan":{"HOST:n":"8"},"Bool":{"HOST:b":"true"}}`, nil, map[string]any{"n": 7, "b": true}, true},
			{"a list", `{"ForAnyValue:StringEquals":{"HOST:groups":"b"}}`, nil, map[string]any{"groups": []string{"a", "b"}}, true},
			{"a subject in other case does not count", `{"StringEquals":{"HOST:sub":"admin"}}`, nil, map[string]any{"SUB": "admin"}, false},
			{"nor an audience", `{"StringEquals":{"HOST:aud":"admin"}}`, nil, map[string]any{"Aud": "admin"}, false},
			{"nor methods", `{"StringEquals":{"HOST:amr":"mfa"}}`, nil, map[string]any{"AMR": "mfa"}, false},
			{"nor an original audience", `{"StringEquals":{"HOST:oaud":"x"}}`, nil, map[string]any{"oaud": "x"}, false},
			{"nor an authorized party", `{"StringEquals":{"HOST:azp":"x"}}`, nil, map[string]any{"AZP": "x"}, false},
			{"a claim in lower case goes before others", `{"StringEquals":{"HOST:repository":"acme/app"}}`, nil, map[string]any{"Repository": "evil/app"}, true},
			{"and cannot be changed by them", `{"StringEquals":{"HOST:repository":"evil/app"}}`, nil, map[string]any{"Repository": "evil/app"}, false},
			{"one in other case alone", `{"StringEquals":{"HOST:project":"x"}}`, nil, map[string]any{"Project": "x"}, true},
			{"two in other cases", `{"StringEquals":{"HOST:project":"x"}}`, nil, map[string]any{"Project": "x", "PROJECT": "y"}, false},
			{"the authorized party is the audience", `{"StringEquals":{"HOST:aud":"app","HOST:oaud":"sts.amazonaws.com","HOST:azp":"app"}}`, nil, map[string]any{"azp": "app"}, true},
			{"the audience behind an authorized party", `{"StringEquals":{"HOST:aud":"sts.amazonaws.com"}}`, nil, map[string]any{"azp": "app"}, false},
			{"AWS's keys are not to be claimed", `{"StringEquals":{"aws:sourceip":"x"}}`, nil, map[string]any{"sourceip": "x", "aws:sourceip": "x"}, false},
			{"tags without the permission", "", nil, tagged, false},
			{"tags with it", "", []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession"}, tagged, true},
			{"tags with it alone", "", []string{"sts:TagSession"}, tagged, false},
			{"tags in the flat form", `{"StringEquals":{"aws:RequestTag/Project":"p","sts:TransitiveTagKeys":"Project"}}`, []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession"},
				map[string]any{"https://aws.amazon.com/tags/principal_tags/Project": "p", "https://aws.amazon.com/tags/transitive_tag_keys": []string{"Project"}}, true},
			{"a source identity without the permission", "", nil, map[string]any{"https://aws.amazon.com/source_identity": "ann"}, false},
			{"a source identity with it", "", []string{"sts:AssumeRoleWithWebIdentity", "sts:SetSourceIdentity"}, map[string]any{"https://aws.amazon.com/source_identity": "ann"}, true},
			{"another action", "", []string{"sts:AssumeRole"}, nil, false},
		} {
			if err := w.entities.SetTrust(ctx, account, "r", trusting(p, c.conditions, c.actions...)); err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			_, err := w.AssumeRoleWithWebIdentity(ctx, session.WebIdentity{RoleARN: role.ARN(), Name: "s1", Token: w.token(c.claims)})
			if c.ok && err != nil {
				t.Errorf("%s: %v", c.what, err)
			} else if !c.ok {
				refused(t, c.what, err, errs.AccessDenied, "Not authorized to perform sts:AssumeRoleWithWebIdentity")
			}
		}
	})
}

func TestWebIdentityRefuses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		p := w.provide()
		role := w.role(entity.Create{Name: "Deploy", Path: "/ci/", Trust: trusting(p, "", "sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity")})
		linked, err := w.entities.EnsureServiceRole(ctx, account, "replication.ecr.amazonaws.com")
		if err != nil {
			t.Fatal(err)
		}
		// Its own trust policy would refuse already; here one would not.
		if err := w.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE iam_entity SET trust = $1 WHERE id = $2`, trusting(p, ""), linked.ID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		stranger := oidcverifytest.New(t, "")
		const tags, source = "https://aws.amazon.com/tags", "https://aws.amazon.com/source_identity"
		principalTags := func(tags map[string]any) map[string]any { return map[string]any{"principal_tags": tags} }
		good := func(changes map[string]any) session.WebIdentity {
			return session.WebIdentity{RoleARN: role.ARN(), Token: w.token(changes)}
		}
		const noJWT = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
		const denied = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
		for _, c := range []struct {
			what    string
			in      session.WebIdentity
			code    errs.Code
			message string
		}{
			{"no ARN", session.WebIdentity{RoleARN: "x", Token: w.token(nil)}, errs.Validation, "x is invalid"},
			{"no token", session.WebIdentity{RoleARN: role.ARN(), Token: "x"}, errs.IdentityTokenInvalid, noJWT},
			{"another issuer", session.WebIdentity{RoleARN: role.ARN(), Token: stranger.Sign(map[string]any{"sub": "s", "aud": "app", "exp": start.Add(time.Hour).Unix()})},
				errs.IdentityTokenInvalid, "No OpenIDConnect provider found in your account for " + stranger.URL},
			{"an account without the provider", session.WebIdentity{RoleARN: "arn:aws:iam::222222222222:role/r", Token: w.token(nil)},
				errs.IdentityTokenInvalid, "No OpenIDConnect provider found in your account for " + w.issuer.URL},
			{"an account that is not there", session.WebIdentity{RoleARN: "arn:aws:iam::333333333333:role/r", Token: w.token(nil)},
				errs.IdentityTokenInvalid, "No OpenIDConnect provider found in your account for " + w.issuer.URL},
			{"another audience", good(map[string]any{"aud": "x"}), errs.IdentityTokenInvalid, "Incorrect token audience"},
			{"no subject", good(map[string]any{"sub": nil}), errs.IdentityTokenInvalid, noJWT},
			{"a subject too long", good(map[string]any{"sub": strings.Repeat("x", 256)}), errs.IdentityTokenInvalid, "The subject of the token is longer than 255 bytes."},
			{"not yet", good(map[string]any{"nbf": start.Add(time.Hour).Unix()}), errs.IdentityTokenInvalid, "The token is not valid yet."},
			{"expired", good(map[string]any{"exp": start.Add(-time.Hour).Unix()}), errs.IdentityTokenExpired,
				fmt.Sprintf("Token expired: current date/time %d must be before the expiration date/time %d", start.Unix(), start.Add(-time.Hour).Unix())},
			{"a role that is not there", session.WebIdentity{RoleARN: "arn:aws:iam::111111111111:role/none", Token: w.token(nil)}, errs.AccessDenied, denied},
			{"a role without its path", session.WebIdentity{RoleARN: "arn:aws:iam::111111111111:role/Deploy", Token: w.token(nil)}, errs.AccessDenied, denied},
			{"a service-linked role", session.WebIdentity{RoleARN: linked.ARN(), Token: w.token(nil)}, errs.AccessDenied, denied},
			{"too long", session.WebIdentity{RoleARN: role.ARN(), Token: w.token(nil), Duration: 2 * time.Hour}, errs.Validation, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
			{"a policy that is none", session.WebIdentity{RoleARN: role.ARN(), Token: w.token(nil), Bounds: session.Bounds{Policy: "{}"}}, errs.PolicyMalformed, ""},
			{"a managed policy that is not there", session.WebIdentity{RoleARN: role.ARN(), Token: w.token(nil), Bounds: session.Bounds{PolicyARNs: []string{"arn:aws:iam::111111111111:policy/none"}}}, errs.InvalidParameter, ""},
			{"tags that are none", good(map[string]any{tags: "x"}), errs.IdentityTokenInvalid, "The claim https://aws.amazon.com/tags of the token is malformed."},
			{"a tag with two values", good(map[string]any{tags: principalTags(map[string]any{"a": []string{"1", "2"}})}), errs.IdentityTokenInvalid, "The session tag a of the token must have one value."},
			{"a tag without a value", good(map[string]any{tags: principalTags(map[string]any{"a": []string{}})}), errs.IdentityTokenInvalid, ""},
			{"a tag of AWS's", good(map[string]any{tags: principalTags(map[string]any{"aws:a": "1"})}), errs.InvalidParameter, ""},
			{"a tag twice", good(map[string]any{tags: principalTags(map[string]any{"a": "1", "A": "1"})}), errs.InvalidParameter, ""},
			{"a transitive key without a tag", good(map[string]any{tags: map[string]any{"transitive_tag_keys": []string{"a"}}}), errs.InvalidParameter, ""},
			{"a source identity that is none", good(map[string]any{source: "a b"}), errs.IdentityTokenInvalid, ""},
			{"two source identities", good(map[string]any{source: []string{"ab", "cd"}}), errs.IdentityTokenInvalid, ""},
		} {
			c.in.Name = "s1"
			_, err := w.AssumeRoleWithWebIdentity(ctx, c.in)
			refused(t, c.what, err, c.code, c.message)
		}
	})
}

// The provider's troubles are told from the token's.
func TestWebIdentityProviderTroubles(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		role := w.role(entity.Create{Name: "r", Trust: trusting(w.provide(), "")})
		assume := func() error {
			_, err := w.AssumeRoleWithWebIdentity(ctx, session.WebIdentity{RoleARN: role.ARN(), Name: "s1", Token: w.token(nil)})
			return err
		}
		const noKey = "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements"
		w.issuer.Handle(oidcverifytest.DiscoveryPath, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusBadGateway) })
		refused(t, "down", assume(), errs.ProviderUnreachable, "The identity provider could not be reached to verify the token. Try again; if it goes on, have its address checked from where the registry runs.")
		w.issuer.Handle(oidcverifytest.DiscoveryPath, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusNotFound) })
		w.clk.Advance(10 * time.Second)
		refused(t, "broken", assume(), errs.IdentityTokenInvalid, noKey)
		w.issuer.Handle(oidcverifytest.DiscoveryPath, nil)
		w.clk.Advance(10 * time.Second)
		if err := assume(); err != nil {
			t.Errorf("well: %v", err)
		}
		// Somebody else's key under the id of the issuer's.
		w.issuer.SetKeys(oidcverifytest.NewKey(t, "ec", jose.ES256))
		refused(t, "another's key", assume(), errs.IdentityTokenInvalid, "The signature of the token is not one of the identity provider's keys.")
		// The account no longer trusts the issuer.
		arn, err := provider.ARN(account, w.issuer.URL)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.providers.Delete(ctx, account, arn); err != nil {
			t.Fatal(err)
		}
		refused(t, "removed", assume(), errs.IdentityTokenInvalid, "No OpenIDConnect provider found in your account for "+w.issuer.URL)
	})
}
