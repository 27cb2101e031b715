package sts_test

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	client "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/berth-registry/berth/internal/api/aws/awstest"
	"github.com/berth-registry/berth/internal/api/sts"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
)

// The table can be described without anything behind it.
func TestServiceWithoutConfig(t *testing.T) {
	s := sts.New(sts.Config{}).Service()
	var built []string
	for _, op := range append(s.Operations, s.Open...) {
		built = append(built, op.Name)
	}
	want := []string{"GetCallerIdentity", "GetAccessKeyInfo", "DecodeAuthorizationMessage", "AssumeRole", "GetSessionToken", "GetFederationToken", "AssumeRoleWithWebIdentity"}
	if !reflect.DeepEqual(built, want) {
		t.Error(built)
	}
	for code := errs.Internal; code <= errs.Unavailable; code++ {
		if named, status := s.Errors(code); named == "" || status < 400 {
			t.Errorf("code %d: %q %d", code, named, status)
		}
	}
}

const denyAll = `{"Effect":"Deny","Action":"*","Resource":"*"}`

func TestCallers(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	root, ann := w.root(), w.user("ann", denyAll)
	if got := w.whoIs(root.Client); got != "111111111111 arn:aws:iam::111111111111:root 111111111111" {
		t.Error(got)
	}
	// No policy can keep anybody from asking who it is.
	if got := w.whoIs(ann.Client); got != "111111111111 arn:aws:iam::111111111111:user/ann "+ann.entity {
		t.Error(got)
	}

	info := func(id string) (string, error) {
		out, err := root.GetAccessKeyInfo(ctx, &client.GetAccessKeyInfoInput{AccessKeyId: &id})
		if err != nil {
			return "", err
		}
		return *out.Account, nil
	}
	gone, _ := principal.NewAccessKeyPair(principal.PrefixTemporaryKey, other)
	if err := w.principals.PutRootKey(ctx, other, "AKIAIOSFODNN7EXAMPLE", "secret"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{ann.id: "111111111111", gone: "222222222222", "AKIAIOSFODNN7EXAMPLE": "222222222222"} {
		if got, err := info(id); got != want || err != nil {
			t.Errorf("%s: %s %v", id, got, err)
		}
	}
	stranger, _ := principal.NewAccessKeyPair(principal.PrefixAccessKey, "333333333333")
	for _, id := range []string{stranger, "AKIA2222222222222222222", "AKIA0000000000000000"} {
		_, err := info(id)
		failed(t, "a strange key", err, "ValidationError", 400, "The access key id "+id+" is not one of this deployment's.")
	}
	_, err := ann.GetAccessKeyInfo(ctx, &client.GetAccessKeyInfoInput{AccessKeyId: &gone})
	failed(t, "who may not", err, "AccessDenied", 403, "")
}

func TestDecodeAuthorizationMessage(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann := w.user("ann", "")
	_, err := ann.DecodeAuthorizationMessage(ctx, &client.DecodeAuthorizationMessageInput{EncodedMessage: new("x")})
	failed(t, "without the permission", err, "AccessDenied", 403, "")
	if got := w.asking(); !reflect.DeepEqual(got, []string{"sts:DecodeAuthorizationMessage *"}) {
		t.Error(got)
	}
	root := w.root()
	_, err = root.DecodeAuthorizationMessage(ctx, &client.DecodeAuthorizationMessageInput{EncodedMessage: new("x")})
	failed(t, "none of ours", err, "InvalidAuthorizationMessageException", 400, "")
	refusal := w.access.Authorize(ctx, w.asked[0])
	encoded, ok := refusal.(*errs.Error).Detail["encodedAuthorizationMessage"].(string)
	if !ok {
		t.Fatalf("%+v", refusal)
	}
	out, err := root.DecodeAuthorizationMessage(ctx, &client.DecodeAuthorizationMessageInput{EncodedMessage: &encoded})
	if err != nil || !strings.Contains(*out.DecodedMessage, `"action":"sts:DecodeAuthorizationMessage"`) {
		t.Errorf("%v %v", out, err)
	}
}

func trustAccount(condition string) string {
	return `{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]` + condition + `}`
}

const mayAssume = `{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],"Resource":"*"}`

func TestAssumeRole(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	role := w.role(other, "Deploy", trustAccount(`,"Condition":{"StringEquals":{"sts:ExternalId":"ext-1","aws:RequestTag/Team":"a"}}`))
	arn := role.ARN()
	ann := w.user("ann", mayAssume)
	in := &client.AssumeRoleInput{
		RoleArn: &arn, RoleSessionName: new("build-7"), ExternalId: new("ext-1"), DurationSeconds: new(int32(900)),
		Policy: new(document(`{"Effect":"Allow","Action":"ecr:*","Resource":"*"}`)),
		Tags:   []types.Tag{{Key: new("team"), Value: new("a")}}, TransitiveTagKeys: []string{"team"}, SourceIdentity: new("Ann"),
	}
	before := time.Now()
	out, err := ann.AssumeRole(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.asking(), []string{"sts:AssumeRole " + arn, "sts:TagSession " + arn, "sts:SetSourceIdentity " + arn}; !reflect.DeepEqual(got, want) {
		t.Error(got)
	}
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::222222222222:assumed-role/Deploy/build-7" || *out.AssumedRoleUser.AssumedRoleId != role.ID+":build-7" ||
		*out.SourceIdentity != "Ann" || *out.PackedPolicySize < 1 || out.Credentials.Expiration.Sub(before).Round(time.Minute) != 15*time.Minute {
		t.Errorf("%+v %+v", out, out.Credentials)
	}
	assumed := w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if got := w.whoIs(assumed); got != "222222222222 arn:aws:sts::222222222222:assumed-role/Deploy/build-7 "+role.ID+":build-7" {
		t.Error(got)
	}
	// The record names the role's account and holds no secret.
	last := w.entries[len(w.entries)-2]
	if last.EventName != "AssumeRole" || !last.ReadOnly || last.Account != other || !reflect.DeepEqual(last.Resources, []string{arn}) {
		t.Errorf("%+v", last)
	}
	for _, e := range w.entries {
		if text := string(e.ResponseElements) + string(e.RequestParameters); strings.Contains(text, *out.Credentials.SecretAccessKey) || strings.Contains(text, *out.Credentials.SessionToken) {
			t.Errorf("a secret stands in the trail: %s", text)
		}
	}

	change := func(f func(*client.AssumeRoleInput)) *client.AssumeRoleInput {
		again := *in
		f(&again)
		return &again
	}
	for _, c := range []struct {
		what    string
		by      caller
		in      *client.AssumeRoleInput
		code    string
		status  int
		message string
	}{
		{"another external id", ann, change(func(in *client.AssumeRoleInput) { in.ExternalId = new("ext-2") }), "AccessDenied", 403, ""},
		{"no external id", ann, change(func(in *client.AssumeRoleInput) { in.ExternalId = nil }), "AccessDenied", 403, ""},
		{"no tag", ann, change(func(in *client.AssumeRoleInput) { in.Tags, in.TransitiveTagKeys = nil, nil }), "AccessDenied", 403, ""},
		{"nobody allowed it", w.user("bay", ""), in, "AccessDenied", 403, ""},
		{"root", w.root(), in, "AccessDenied", 403, "Roles may not be assumed by root accounts."},
		{"no such role", ann, change(func(in *client.AssumeRoleInput) { in.RoleArn = new("arn:aws:iam::222222222222:role/none") }), "AccessDenied", 403, ""},
		{"no ARN", ann, change(func(in *client.AssumeRoleInput) { in.RoleArn = new("arn:aws:iam::222222222222:user/ann") }), "ValidationError", 400, "Request ARN is invalid"},
		{"too long", ann, change(func(in *client.AssumeRoleInput) { in.DurationSeconds = new(int32(3601)) }), "ValidationError", 400, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"too short", ann, change(func(in *client.AssumeRoleInput) { in.DurationSeconds = new(int32(899)) }), "ValidationError", 400, ""},
		{"a wrong policy", ann, change(func(in *client.AssumeRoleInput) { in.Policy = new("{}") }), "MalformedPolicyDocument", 400, "Syntax errors in policy."},
		{"a long policy", ann, change(func(in *client.AssumeRoleInput) { in.Policy = new(*in.Policy + strings.Repeat(" ", 2048)) }), "PackedPolicyTooLarge", 400, ""},
		{"a managed policy that is not there", ann, change(func(in *client.AssumeRoleInput) {
			in.PolicyArns = []types.PolicyDescriptorType{{Arn: new("arn:aws:iam::222222222222:policy/x")}}
		}), "InvalidParameterValue", 400, ""},
		{"a tag twice", ann, change(func(in *client.AssumeRoleInput) {
			in.Tags = append(in.Tags, types.Tag{Key: new("TEAM"), Value: new("")})
		}), "InvalidParameterValue", 400, ""},
		{"context providers", ann, change(func(in *client.AssumeRoleInput) {
			in.ProvidedContexts = []types.ProvidedContext{{ProviderArn: new("arn:aws:iam::aws:contextProvider/IdentityCenter"), ContextAssertion: new("xxxx")}}
		}), "ValidationError", 400, ""},
	} {
		_, err := c.by.AssumeRole(ctx, c.in)
		failed(t, c.what, err, c.code, c.status, c.message)
	}

	// A chain: the transitive tag and the source identity come along, and have to
	// be permitted.
	next := w.role(account, "Next", `{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}`)
	if err := w.entities.PutInline(ctx, other, entity.Role, "Deploy", "p", document(mayAssume)); err != nil {
		t.Fatal(err)
	}
	in.Policy = nil
	if out, err = ann.AssumeRole(ctx, in); err != nil {
		t.Fatal(err)
	}
	assumed = w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	nextARN := next.ARN()
	chained, err := assumed.AssumeRole(ctx, &client.AssumeRoleInput{RoleArn: &nextARN, RoleSessionName: new("s2")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := w.asking(), []string{"sts:AssumeRole " + nextARN, "sts:TagSession " + nextARN, "sts:SetSourceIdentity " + nextARN}; !reflect.DeepEqual(got, want) || *chained.SourceIdentity != "Ann" || chained.PackedPolicySize != nil {
		t.Errorf("%q %+v", got, chained)
	}
	_, err = assumed.AssumeRole(ctx, &client.AssumeRoleInput{RoleArn: &nextARN, RoleSessionName: new("s2"), DurationSeconds: new(int32(3601))})
	failed(t, "a long chain", err, "ValidationError", 400, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining")
}

func TestAssumeRoleWithMFA(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	arn := w.role(account, "Admin", trustAccount(`,"Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"},"NumericLessThan":{"aws:MultiFactorAuthAge":"10"}}`)).ARN()
	ann := w.user("ann", mayAssume)
	serial := "arn:aws:iam::111111111111:mfa/ann"
	w.codes[[2]string{ann.entity, serial}] = "123456"
	assume := func(serial, code *string) error {
		_, err := ann.AssumeRole(ctx, &client.AssumeRoleInput{RoleArn: &arn, RoleSessionName: new("s1"), SerialNumber: serial, TokenCode: code})
		return err
	}
	failed(t, "without", assume(nil, nil), "AccessDenied", 403, "")
	failed(t, "no code", assume(&serial, nil), "AccessDenied", 403, "")
	failed(t, "a wrong code", assume(&serial, new("000000")), "AccessDenied", 403, "MultiFactorAuthentication failed with invalid MFA one time pass code.")
	if err := assume(&serial, new("123456")); err != nil {
		t.Error(err)
	}
	failed(t, "the code again", assume(&serial, new("123456")), "AccessDenied", 403, "")
	// A session that was given with a code will do as well.
	w.codes[[2]string{ann.entity, serial}] = "654321"
	out, err := ann.GetSessionToken(ctx, &client.GetSessionTokenInput{SerialNumber: &serial, TokenCode: new("654321")})
	if err != nil {
		t.Fatal(err)
	}
	again := w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if _, err := again.AssumeRole(ctx, &client.AssumeRoleInput{RoleArn: &arn, RoleSessionName: new("s1")}); err != nil {
		t.Error(err)
	}
}

func TestGetSessionToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, root := w.user("ann", `{"Effect":"Allow","Action":"*","Resource":"*"}`), w.root()
	out, err := w.user("bay", denyAll).GetSessionToken(ctx, &client.GetSessionTokenInput{})
	if err != nil || out.Credentials == nil {
		t.Errorf("no policy can refuse a session: %v", err)
	}
	before := time.Now()
	for _, c := range []struct {
		by   caller
		in   client.GetSessionTokenInput
		want time.Duration
		who  string
	}{
		{ann, client.GetSessionTokenInput{}, 12 * time.Hour, "111111111111 arn:aws:iam::111111111111:user/ann " + ann.entity},
		{ann, client.GetSessionTokenInput{DurationSeconds: new(int32(129600))}, 36 * time.Hour, "111111111111 arn:aws:iam::111111111111:user/ann " + ann.entity},
		{root, client.GetSessionTokenInput{DurationSeconds: new(int32(129600))}, time.Hour, "111111111111 arn:aws:iam::111111111111:root 111111111111"},
	} {
		out, err := c.by.GetSessionToken(ctx, &c.in)
		if err != nil {
			t.Fatal(err)
		}
		if life := out.Credentials.Expiration.Sub(before).Round(time.Minute); life != c.want {
			t.Errorf("%s, want %s", life, c.want)
		}
		again := w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
		if got := w.whoIs(again); got != c.who {
			t.Error(got)
		}
		_, err = again.GetSessionToken(ctx, &client.GetSessionTokenInput{})
		failed(t, "a session of a session", err, "AccessDenied", 403, "Cannot call GetSessionToken with session credentials")
		_, err = again.GetFederationToken(ctx, &client.GetFederationTokenInput{Name: new("guest")})
		failed(t, "a federated user of a session", err, "AccessDenied", 403, "Cannot call GetFederationToken with session credentials")
		_, err = again.GetAccessKeyInfo(ctx, &client.GetAccessKeyInfoInput{AccessKeyId: &ann.id})
		failed(t, "STS with a session", err, "AccessDenied", 403, "Cannot call GetAccessKeyInfo with session credentials")
		// Half of the credentials, or those of somebody else, are none.
		for what, broken := range map[string]*client.Client{
			"no token":       w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, ""),
			"a wrong secret": w.client(*out.Credentials.AccessKeyId, "x", *out.Credentials.SessionToken),
			"another key":    w.client(ann.id, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken),
		} {
			if _, err := broken.GetCallerIdentity(ctx, &client.GetCallerIdentityInput{}); err == nil {
				t.Error(what)
			}
		}
	}
	_, err = ann.GetSessionToken(ctx, &client.GetSessionTokenInput{SerialNumber: new("GAHT12345678"), TokenCode: new("000000")})
	failed(t, "a wrong code", err, "AccessDenied", 403, "MultiFactorAuthentication failed with invalid MFA one time pass code.")
	_, err = ann.GetSessionToken(ctx, &client.GetSessionTokenInput{DurationSeconds: new(int32(899))})
	failed(t, "too short", err, "ValidationError", 400, "")
}

func TestGetFederationToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann := w.user("ann", `{"Effect":"Allow","Action":["sts:GetFederationToken","sts:TagSession"],"Resource":"arn:aws:sts::111111111111:federated-user/guest*"}`)
	in := &client.GetFederationTokenInput{Name: new("guest-1"), Policy: new(document(denyAll)), Tags: []types.Tag{{Key: new("a"), Value: new("1")}}}
	out, err := ann.GetFederationToken(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:sts::111111111111:federated-user/guest-1"
	if got := w.asking(); !reflect.DeepEqual(got, []string{"sts:GetFederationToken " + arn, "sts:TagSession " + arn}) {
		t.Error(got)
	}
	if *out.FederatedUser.Arn != arn || *out.FederatedUser.FederatedUserId != "111111111111:guest-1" || *out.PackedPolicySize < 1 {
		t.Errorf("%+v", out)
	}
	guest := w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if got := w.whoIs(guest); got != "111111111111 "+arn+" 111111111111:guest-1" {
		t.Error(got)
	}
	_, err = guest.GetFederationToken(ctx, in)
	failed(t, "by a guest", err, "AccessDenied", 403, "Cannot call GetFederationToken with session credentials")
	_, err = guest.AssumeRole(ctx, &client.AssumeRoleInput{RoleArn: new("arn:aws:iam::111111111111:role/x"), RoleSessionName: new("s1")})
	failed(t, "a role for a guest", err, "AccessDenied", 403, "Cannot call AssumeRole with session credentials")
	in.Name = new("stranger")
	_, err = ann.GetFederationToken(ctx, in)
	failed(t, "another name", err, "AccessDenied", 403, "")
	in.Name, in.Policy = new("guest"), new("{}")
	_, err = ann.GetFederationToken(ctx, in)
	failed(t, "a wrong policy", err, "MalformedPolicyDocument", 400, "")
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	p, err := w.providers.Create(ctx, account, provider.Create{URL: w.issuer.URL, ClientIDs: []string{"sts.amazonaws.com"}})
	w.must(err)
	role := w.role(account, "Deploy", fmt.Sprintf(`{"Effect":"Allow","Principal":{"Federated":%q},"Action":["sts:AssumeRoleWithWebIdentity","sts:SetSourceIdentity"],"Condition":{
		"StringLike":{"%[2]s:sub":"repo:acme/*","aws:UserAgent":"*aws-sdk-go*"},"Bool":{"aws:SecureTransport":"false"},"IpAddress":{"aws:SourceIp":"127.0.0.0/8"},
		"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"},"NumericGreaterThan":{"aws:EpochTime":"1577836800"}}}`, p.ARN, p.Host))
	arn := role.ARN()
	token := func(changes map[string]any) *string {
		claims := map[string]any{"sub": "repo:acme/app", "aud": "sts.amazonaws.com", "exp": time.Now().Add(time.Hour).Unix(), "https://aws.amazon.com/source_identity": "octocat"}
		maps.Copy(claims, changes)
		return new(w.issuer.Sign(claims))
	}
	// Without credentials: the token is all that the caller has.
	stranger := client.New(client.Options{Region: string(region), BaseEndpoint: &w.url, RetryMaxAttempts: 1, HTTPClient: awstest.Client{Client: http.DefaultClient}})
	out, err := stranger.AssumeRoleWithWebIdentity(ctx, &client.AssumeRoleWithWebIdentityInput{
		RoleArn: &arn, RoleSessionName: new("run-1"), WebIdentityToken: token(nil), Policy: new(document(denyAll)), DurationSeconds: new(int32(900)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Provider != p.ARN || *out.Audience != "sts.amazonaws.com" || *out.SubjectFromWebIdentityToken != "repo:acme/app" || *out.SourceIdentity != "octocat" ||
		*out.AssumedRoleUser.AssumedRoleId != role.ID+":run-1" || *out.PackedPolicySize < 1 {
		t.Errorf("%+v", out)
	}
	assumed := w.client(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if got := w.whoIs(assumed); got != "111111111111 arn:aws:sts::111111111111:assumed-role/Deploy/run-1 "+role.ID+":run-1" {
		t.Error(got)
	}
	if who := w.entries[0].Principal; who.Type != "WebIdentityUser" || who.UserName != "repo:acme/app" || who.ID != p.ARN+":sts.amazonaws.com:repo:acme/app" || who.Account != account {
		t.Errorf("the trail has %+v", who)
	}
	for _, e := range w.entries {
		if strings.Contains(string(e.RequestParameters), "eyJ") {
			t.Errorf("the token stands in the trail: %s", e.RequestParameters)
		}
	}
	for _, c := range []struct {
		what    string
		in      client.AssumeRoleWithWebIdentityInput
		code    string
		status  int
		message string
	}{
		{"another subject", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(map[string]any{"sub": "repo:evil/app"})}, "AccessDenied", 403, "Not authorized to perform sts:AssumeRoleWithWebIdentity"},
		{"another audience", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(map[string]any{"aud": "x"})}, "InvalidIdentityToken", 400, "Incorrect token audience"},
		{"expired", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(map[string]any{"exp": 1})}, "ExpiredTokenException", 400, ""},
		{"another issuer", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(map[string]any{"iss": "https://issuer.example.com"})}, "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for https://issuer.example.com"},
		{"no token", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: new("token")}, "InvalidIdentityToken", 400, ""},
		{"too long a token", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: new(strings.Repeat("x", 20001))}, "ValidationError", 400, ""},
		{"OAuth", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(nil), ProviderId: new("www.amazon.com")}, "ValidationError", 400, ""},
		{"too long", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(nil), DurationSeconds: new(int32(3601))}, "ValidationError", 400, "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."},
		{"a wrong policy", client.AssumeRoleWithWebIdentityInput{WebIdentityToken: token(nil), Policy: new("{}")}, "MalformedPolicyDocument", 400, ""},
	} {
		c.in.RoleArn, c.in.RoleSessionName = &arn, new("run-1")
		_, err := stranger.AssumeRoleWithWebIdentity(ctx, &c.in)
		failed(t, c.what, err, c.code, c.status, c.message)
	}
	w.must(w.providers.Delete(ctx, account, p.ARN))
	_, err = w.providers.Create(ctx, account, provider.Create{URL: w.issuer.URL + "/down", ClientIDs: []string{"sts.amazonaws.com"}})
	w.must(err)
	w.issuer.Server.Close()
	_, err = stranger.AssumeRoleWithWebIdentity(ctx, &client.AssumeRoleWithWebIdentityInput{RoleArn: &arn, RoleSessionName: new("run-1"), WebIdentityToken: token(map[string]any{"iss": w.issuer.URL + "/down"})})
	failed(t, "the issuer is down", err, "IDPCommunicationError", 400, "")
}
