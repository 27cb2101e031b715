package guides

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/berth-registry/berth/test/contract/harness"
)

// The account and the Region are the ones that the guides print where they print
// no placeholder. The registry policies are printed for another Region.
const (
	account        = "123456789012"
	region         = "us-east-1"
	registryRegion = "us-west-2"
	settings       = "account: \"" + account + "\"\nregions: [" + region + ", " + registryRegion + "]\ntrusted_proxies: [127.0.0.0/8]\n"
)

// world is the server that all tests share. Each test has users, repositories
// and, where it needs them, accounts of its own.
type world struct {
	*harness.Server
	root     *identity
	accounts *atomic.Int64 // how many were made
	seeds    *atomic.Uint64
}

func newWorld(t *testing.T) *world {
	s := harness.Start(t, harness.Options{Config: settings})
	s.Account = account
	w := &world{Server: s, accounts: new(atomic.Int64), seeds: new(atomic.Uint64)}
	w.root = w.identity(account, "arn:aws:iam::"+account+":root", s.Config())
	return w
}

// identity is somebody who calls: a root user, a user, or a session of a role.
type identity struct {
	w            *world
	account, arn string
	config       aws.Config
	ecr          *ecr.Client
	iam          *iam.Client
}

func (w *world) identity(account, arn string, c aws.Config) *identity {
	return &identity{w: w, account: account, arn: arn, config: c, ecr: ecr.NewFromConfig(c), iam: iam.NewFromConfig(c)}
}

// in is the same identity in another Region.
func (i *identity) in(region string) *identity {
	c := i.config.Copy()
	c.Region = region
	return i.w.identity(i.account, i.arn, c)
}

// through is the same identity behind a proxy.
func (i *identity) through(endpoint string) *identity {
	c := i.config.Copy()
	c.BaseEndpoint = &endpoint
	return i.w.identity(i.account, i.arn, c)
}

// newAccount makes an account and returns its root user.
func (w *world) newAccount(t *testing.T) *identity {
	t.Helper()
	number := fmt.Sprintf("%012d", 222200000000+w.accounts.Add(1))
	id, secret := w.CreateAccount(t, number)
	return w.identity(number, "arn:aws:iam::"+number+":root", w.ConfigAs(id, secret, ""))
}

// user makes a user in the account of its root user, with an access key and no
// permissions.
func (i *identity) user(t *testing.T, name string) *identity {
	t.Helper()
	made, err := i.iam.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})
	must(t, "CreateUser", err)
	key, err := i.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	must(t, "CreateAccessKey", err)
	return i.w.identity(i.account, *made.User.Arn, i.w.ConfigAs(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, ""))
}

// name is what comes last in the identity's ARN.
func (i *identity) name() string { return i.arn[strings.LastIndex(i.arn, "/")+1:] }

// inline gives a user a policy of its own.
func (i *identity) inline(t *testing.T, user *identity, policy string) {
	t.Helper()
	_, err := i.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String(user.name()), PolicyName: aws.String("guide"), PolicyDocument: &policy})
	must(t, "PutUserPolicy", err)
}

// manage makes a customer managed policy and returns its ARN.
func (i *identity) manage(t *testing.T, name, policy string) string {
	t.Helper()
	made, err := i.iam.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &policy})
	must(t, "CreatePolicy", err)
	return *made.Policy.Arn
}

// attach gives a user a managed policy.
func (i *identity) attach(t *testing.T, user *identity, arn string) {
	t.Helper()
	_, err := i.iam.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String(user.name()), PolicyArn: &arn})
	must(t, "AttachUserPolicy", err)
}

// mayLogIn is what the guides say that every user of the registry needs beside a
// repository policy.
const mayLogIn = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:GetAuthorizationToken","Resource":"*"}]}`

// mayAll gives all of ECR.
const mayAll = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}`

// userWith makes a user with an inline policy.
func (i *identity) userWith(t *testing.T, name, policy string) *identity {
	t.Helper()
	u := i.user(t, name)
	i.inline(t, u, policy)
	return u
}

// session makes a role with an inline policy, that users of the account may
// assume, and a session of it.
func (i *identity) session(t *testing.T, role, session, policy string) *identity {
	t.Helper()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + i.account + `"},"Action":"sts:AssumeRole"}]}`
	made, err := i.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &role, AssumeRolePolicyDocument: &trust})
	must(t, "CreateRole", err)
	_, err = i.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("guide"), PolicyDocument: &policy})
	must(t, "PutRolePolicy", err)
	u := i.userWith(t, role+"-assumes", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"`+*made.Role.Arn+`"}]}`)
	out, err := sts.NewFromConfig(u.config).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: &session})
	must(t, "AssumeRole", err)
	return i.w.identity(i.account, *out.AssumedRoleUser.Arn,
		i.w.ConfigAs(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken))
}

// decide simulates actions on a resource ("" for none) with the policies that the
// user or role has.
func (i *identity) decide(t *testing.T, source *identity, resource string, context map[string]string, actions ...string) map[string]string {
	t.Helper()
	in := &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &source.arn, ActionNames: actions, ContextEntries: entries(context)}
	if resource != "" {
		in.ResourceArns = []string{resource}
	}
	out, err := i.iam.SimulatePrincipalPolicy(t.Context(), in)
	must(t, "SimulatePrincipalPolicy", err)
	return decisions(out.EvaluationResults)
}

// decideOn simulates actions on a repository that has a policy, for a user who
// has another.
func (i *identity) decideOn(t *testing.T, resource, resourcePolicy string, user *identity, userPolicy string, actions ...string) map[string]string {
	t.Helper()
	out, err := i.iam.SimulateCustomPolicy(t.Context(), &iam.SimulateCustomPolicyInput{
		PolicyInputList: []string{userPolicy}, ResourcePolicy: &resourcePolicy, CallerArn: &user.arn,
		ResourceArns: []string{resource}, ActionNames: actions,
	})
	must(t, "SimulateCustomPolicy", err)
	return decisions(out.EvaluationResults)
}

func entries(context map[string]string) (all []iamtypes.ContextEntry) {
	for k, v := range context {
		all = append(all, iamtypes.ContextEntry{ContextKeyName: &k, ContextKeyType: iamtypes.ContextKeyTypeEnumString, ContextKeyValues: []string{v}})
	}
	return all
}

func decisions(results []iamtypes.EvaluationResult) map[string]string {
	all := map[string]string{}
	for _, r := range results {
		all[*r.EvalActionName] = string(r.EvalDecision)
	}
	return all
}

// decided fails unless every action got the decision.
func decided(t *testing.T, got map[string]string, want string, actions ...string) {
	t.Helper()
	for _, a := range actions {
		if got[a] != want {
			t.Errorf("%s is simulated as %q, want %q", a, got[a], want)
		}
	}
}

// explained asks berth explain, for what only the server itself can do.
func (w *world) explained(t *testing.T, who *identity, region, action, resource string) bool {
	t.Helper()
	out, err := w.Command(t.Context(), "explain", "--data", w.Data, "--json",
		"--principal", who.arn, "--action", action, "--resource", resource, "--region", region).Output()
	var e struct{ Allowed bool }
	if broken := json.Unmarshal(out, &e); broken != nil {
		t.Fatalf("berth explain: %v, %v\n%s", err, broken, out)
	}
	return e.Allowed
}

// front is a proxy before the server that speaks for a client at an address ("":
// its own), to the registry of a host name ("": whichever is asked for).
func (w *world) front(t *testing.T, client, host string) (endpoint string) {
	t.Helper()
	proxy := httptest.NewServer(&httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0) /* crane gives up requests */, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: w.Addr})
		r.Out.Host = r.In.Host
		if host != "" {
			r.Out.Host = host
		}
		if client != "" {
			r.Out.Header.Set("X-Forwarded-For", client)
		}
	}})
	t.Cleanup(proxy.Close)
	return strings.Replace(proxy.URL, "127.0.0.1", "localhost", 1)
}

// registryHost is the canonical name of a registry.
func registryHost(account, region string) string {
	return account + ".dkr.ecr." + region + ".localhost"
}

// client is an identity as a registry client, of the registry that answers at an
// endpoint.
type client struct {
	*identity
	host     string
	registry *harness.Registry
	crane    *harness.Box
}

// login gets a token and logs in, crane too, to the default registry.
func (i *identity) login(t *testing.T) *client {
	t.Helper()
	return i.loginAt(t, *i.config.BaseEndpoint)
}

func (i *identity) loginAt(t *testing.T, endpoint string) *client {
	t.Helper()
	out, err := i.ecr.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	must(t, i.arn+": GetAuthorizationToken", err)
	token := *out.AuthorizationData[0].AuthorizationToken
	plain, err := base64.StdEncoding.DecodeString(token)
	must(t, "the token", err)
	_, host, _ := strings.Cut(endpoint, "://")
	c := &client{
		identity: i, host: host, crane: harness.NewBox(t, "crane"),
		registry: harness.NewRegistry(endpoint, "Basic "+token, http.DefaultTransport),
	}
	c.crane.Feed(strings.TrimPrefix(string(plain), "AWS:"), "crane", "auth", "login", host, "--username", "AWS", "--password-stdin")
	return c
}
