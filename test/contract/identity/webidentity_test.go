package identity

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/internal/infra/oidcverify/oidcverifytest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// audience is whom a job's token is for, subject what says the job's repository
// and branch; both as GitHub Actions writes them.
const (
	audience = "sts.amazonaws.com"
	subject  = "repo:example/app:ref:refs/heads/main"
)

// pipeline is a CI system whose jobs may push into one repository.
type pipeline struct {
	w      *world
	issuer *oidcverifytest.Issuer
	// provider and role are their ARNs, repo is where the role may push to.
	provider, role, repo string
}

// newPipeline registers an issuer that runs in this test, and a role for the
// jobs of example/app, as docs/users.md does it for GitHub.
func newPipeline(t *testing.T, w *world, issuer *oidcverifytest.Issuer) pipeline {
	t.Helper()
	p := pipeline{w: w, issuer: issuer, repo: w.a.repo(t)}
	p.provider = *must(w.a.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: &p.issuer.URL, ClientIDList: []string{audience, "another-client"},
	}))(t).OpenIDConnectProviderArn
	p.role = w.a.role(t, p.trust(), can(pushing, p.repo)...)
	return p
}

// trust is the trust of a role in the jobs of example/app.
func (p pipeline) trust() statement {
	host := strings.TrimPrefix(p.issuer.URL, "http://")
	return grant("sts:AssumeRoleWithWebIdentity", map[string]any{"Federated": p.provider}).
		when("StringEquals", host+":aud", audience).when("StringLike", host+":sub", "repo:example/app:*")
}

// claims are a job's, with changes: name, value, ...
func claims(change ...any) map[string]any {
	now := time.Now()
	c := map[string]any{
		"sub": subject, "aud": audience, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"repository": "example/app", "ref": "refs/heads/main", "actor": "somebody", "jti": unique("job"),
	}
	for i := 0; i < len(change); i += 2 {
		c[change[i].(string)] = change[i+1]
	}
	return c
}

// credentials are what the SDK gets for a token in a file, as its default
// configuration does when AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE are set.
func (p pipeline) credentials(ctx context.Context, role, tokenFile string) (aws.Credentials, error) {
	config := p.w.Config()
	config.Credentials = aws.AnonymousCredentials{}
	return stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(config), role, stscreds.IdentityTokenFile(tokenFile)).Retrieve(ctx)
}

func credentialsOf(c *types.Credentials) aws.Credentials {
	return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken, CanExpire: true, Expires: *c.Expiration}
}

// assume writes the token into a file and assumes the role with it.
func (p pipeline) assume(t *testing.T, role, token string) (*caller, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := p.credentials(t.Context(), role, file)
	return p.w.caller(accountA, "", key), err
}

// webIdentity: a job of a CI system pushes with nothing but the token that its
// system signs, and who is not that job does not.
func webIdentity(t *testing.T, w *world) {
	p := newPipeline(t, w, oidcverifytest.New(t, "/ci"))
	job, err := p.assume(t, p.role, p.issuer.Sign(claims()))
	if err != nil {
		t.Fatal(err)
	}
	who := must(job.sts.GetCallerIdentity(t.Context(), nil))(t)
	if want := "arn:aws:sts::" + accountA + ":assumed-role/" + lastOf(p.role) + "/"; !strings.HasPrefix(*who.Arn, want) {
		t.Errorf("the job is %s, want %s…", *who.Arn, want)
	}
	i := newImage(t)
	r := job.registry(t)
	if err := push(t.Context(), r, p.repo, i); err != nil {
		t.Fatalf("the job cannot push: %v", err)
	}
	if got := w.a.registry(t).Verify(t, p.repo, "v1").Digest; got != harness.Digest(i.manifest) {
		t.Errorf("the job has pushed %s, the registry has %s", harness.Digest(i.manifest), got)
	}
	if got, want := answerOf(push(t.Context(), r, w.a.repo(t), i)), lacking("403 DENIED", "ecr:InitiateLayerUpload"); got != want {
		t.Errorf("into another repository: %s, want %s", got, want)
	}
	_, err = job.ecr.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &p.repo, Force: true})
	if got, want := answerOf(err), lacking("AccessDeniedException", "ecr:DeleteRepository"); got != want {
		t.Errorf("DeleteRepository: %s, want %s", got, want)
	}

	const notAuthorized = "AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
	stranger := oidcverifytest.New(t, "/ci")
	imposter := oidcverifytest.NewKey(t, "ec", jose.ES256) // the id of the issuer's own key
	signed := func(c map[string]any) string { return p.issuer.Sign(c) }
	for _, c := range []struct{ what, role, token, want string }{
		{"for another audience", p.role, signed(claims("aud", "https://github.com/example")), "InvalidIdentityToken: Incorrect token audience"},
		{"for an audience that the provider has and the role does not trust", p.role, signed(claims("aud", "another-client")), notAuthorized},
		{"of another repository", p.role, signed(claims("sub", "repo:example/other:ref:refs/heads/main")), notAuthorized},
		{"of a repository whose name begins alike", p.role, signed(claims("sub", "repo:example/app-evil:ref:refs/heads/main")), notAuthorized},
		{"of another owner", p.role, signed(claims("sub", "repo:evil/example/app:ref:refs/heads/main")), notAuthorized},
		{"that has expired", p.role, signed(claims("exp", time.Now().Add(-10*time.Minute).Unix(), "iat", time.Now().Add(-20*time.Minute).Unix(), "nbf", time.Now().Add(-20*time.Minute).Unix())), "ExpiredTokenException"},
		{"that is not valid yet", p.role, signed(claims("nbf", time.Now().Add(time.Hour).Unix())), "InvalidIdentityToken"},
		{"of another issuer", p.role, stranger.Sign(claims()), "InvalidIdentityToken"},
		{"of another issuer that names this one", p.role, stranger.Sign(claims("iss", p.issuer.URL)), "InvalidIdentityToken"},
		{"signed by somebody with the issuer's key id", p.role, p.forged(t, imposter), "InvalidIdentityToken"},
		{"with its claims changed", p.role, tampered(signed(claims("sub", "repo:example/other:x")), signed(claims())), "InvalidIdentityToken"},
		{"without a signature", p.role, unsignedToken(signed(claims())), "InvalidIdentityToken"},
		{"that is none", p.role, "token", "InvalidIdentityToken"},
		{"for a role that trusts users", w.a.role(t, trust(rootARN(accountA))), signed(claims()), notAuthorized},
		{"for a role that does not exist", "arn:aws:iam::" + accountA + ":role/" + unique("role"), signed(claims()), notAuthorized},
		{"for a role of an account without the provider", w.b.role(t, trust(rootARN(accountB))), signed(claims()), "InvalidIdentityToken"},
	} {
		_, err := p.assume(t, c.role, c.token)
		if got := answerOf(err); got != c.want && answerOf(codeOf(err)) != c.want {
			t.Errorf("a token %s: %s, want %s", c.what, got, c.want)
		}
	}

	// An issuer that somebody registers in an account of theirs opens no role here.
	must(w.b.iam.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: &stranger.URL, ClientIDList: []string{audience}}))(t)
	if _, err := p.assume(t, p.role, stranger.Sign(claims())); answerOf(codeOf(err)) != "InvalidIdentityToken" {
		t.Errorf("an issuer of another account: %v", err)
	}

	// What a token says stands in a policy's resource as it is, without wildcards.
	own := p.trust()
	delete(own["Condition"].(map[string]any), "StringLike")
	named := w.a.role(t, own, allow(signIn, "*"), allow(pulling, repoARN(accountA, "${"+strings.TrimPrefix(p.issuer.URL, "http://")+":sub}")))
	for sub, want := range map[string]string{p.repo: "GRANTED", "*": lacking("403 DENIED", "ecr:BatchGetImage"), strings.Replace(p.repo, "-", "?", 1): lacking("403 DENIED", "ecr:BatchGetImage")} {
		job := must(p.assume(t, named, p.issuer.Sign(claims("sub", sub))))(t)
		if got := answerOf(pull(t.Context(), job.registry(t), p.repo)); got != want {
			t.Errorf("the subject %s in a resource: %s, want %s", sub, got, want)
		}
	}

	// What is taken away is taken away from jobs that run.
	must(w.a.iam.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String(lastOf(p.role)), PolicyName: aws.String("own")}))(t)
	if got, want := answerOf(pull(t.Context(), r, p.repo)), lacking("403 DENIED", "ecr:BatchGetImage"); got != want {
		t.Errorf("after the role's policy was deleted: %s, want %s", got, want)
	}
	must(w.a.iam.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &p.provider}))(t)
	if _, err := p.assume(t, p.role, p.issuer.Sign(claims())); answerOf(codeOf(err)) != "InvalidIdentityToken" {
		t.Errorf("after the provider was deleted: %v", err)
	}
}

// forged is a token that says it is the issuer's, signed with another key.
func (p pipeline) forged(t *testing.T, key oidcverifytest.Key) string {
	t.Helper()
	i := oidcverifytest.New(t, "")
	i.SetKeys(key)
	return i.Sign(claims("iss", p.issuer.URL))
}

// tampered has the claims of one token and the signature of another.
func tampered(claims, signature string) string {
	parts := strings.Split(signature, ".")
	parts[1] = strings.Split(claims, ".")[1]
	return strings.Join(parts, ".")
}

// unsignedToken says that it needs no signature ("alg": "none").
func unsignedToken(token string) string {
	const header = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"
	return header + "." + strings.Split(token, ".")[1] + "."
}

// webIdentityByCLI: the AWS CLI exchanges the token by itself. Debian's takes an
// endpoint by its option only, which this exchange does not have; so Berth
// answers for AWS's names here, in a private network.
func webIdentityByCLI(t *testing.T) {
	const (
		api      = "api.ecr." + home + ".amazonaws.com"
		exchange = "sts." + home + ".amazonaws.com"
		registry = accountA + ".dkr.ecr." + home + ".amazonaws.com"
	)
	inside := harness.NewNamespace(t, true)
	inside.Hosts(t, net.IPv4(127, 0, 0, 1), api, exchange, registry)
	certificate := harness.NewCertificate(t, api, exchange, registry)
	w := &world{Server: harness.Start(t, harness.Options{
		Shape:  harness.Embedded, // in a network of its own
		Listen: "127.0.0.1:443", Namespace: inside, TLS: certificate, Args: []string{"--domain", "amazonaws.com"},
	})}
	w.a = w.caller(accountA, rootARN(accountA), aws.Credentials{AccessKeyID: w.AccessKeyID, SecretAccessKey: w.SecretAccessKey})
	var issuer *oidcverifytest.Issuer
	if err := inside.Do(func() error {
		issuer = oidcverifytest.New(t, "/ci") // listens inside
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p := newPipeline(t, w, issuer)
	b := harness.NewBox(t, "aws", "crane")
	b.Namespace = inside
	file := b.Write("token", []byte(issuer.Sign(claims())))
	b.With("AWS_ROLE_ARN="+p.role, "AWS_WEB_IDENTITY_TOKEN_FILE="+file, "AWS_ROLE_SESSION_NAME=job", "AWS_REGION="+home, "AWS_DEFAULT_REGION="+home,
		"AWS_STS_REGIONAL_ENDPOINTS=regional", "AWS_CA_BUNDLE="+certificate.Path, "SSL_CERT_FILE="+certificate.Path)

	want := "arn:aws:sts::" + accountA + ":assumed-role/" + lastOf(p.role) + "/job"
	if who := b.Run("aws", "sts", "get-caller-identity", "--query", "Arn", "--output", "text"); who != want {
		t.Errorf("the CLI is %s, want %s", who, want)
	}
	b.Feed(b.Run("aws", "ecr", "get-login-password"), "crane", "auth", "login", registry, "--username", "AWS", "--password-stdin")
	ref := registry + "/" + p.repo + ":v1"
	b.Run("crane", "append", "--oci-empty-base", "-f", b.Write("root.tar", harness.Tar(t, "file", harness.Random(8, 20_000))), "-t", ref)
	b.Run("crane", "validate", "--remote", ref)

	b.Write("token", []byte(issuer.Sign(claims("sub", "repo:example/other:ref:refs/heads/main"))))
	b.With("AWS_ROLE_SESSION_NAME=other") // the CLI keeps the first session, by its name
	b.Refused("Not authorized to perform sts:AssumeRoleWithWebIdentity", "aws", "ecr", "get-login-password")
}
