package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// The regions that the server serves, and the two accounts.
const (
	home     = "us-east-1"
	abroad   = "eu-central-1"
	accountA = "000000000000"
	accountB = "111122223333"
)

// world is a server with two accounts.
type world struct {
	*harness.Server
	// a and b are the root users of the accounts.
	a, b *caller
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: harness.Start(t, harness.Options{Config: "regions: [" + home + ", " + abroad + "]\n"})}
	w.a = w.caller(accountA, rootARN(accountA), aws.Credentials{AccessKeyID: w.AccessKeyID, SecretAccessKey: w.SecretAccessKey})
	id, secret := w.CreateAccount(t, accountB)
	w.b = w.caller(accountB, rootARN(accountB), aws.Credentials{AccessKeyID: id, SecretAccessKey: secret})
	return w
}

// caller is somebody with credentials, and an SDK client for each API.
type caller struct {
	w            *world
	account, arn string
	name         string // a user's
	credentials  aws.Credentials
	ecr          *ecr.Client
	iam          *iam.Client
	sts          *sts.Client
}

func (w *world) caller(account, arn string, key aws.Credentials) *caller {
	config := w.ConfigAs(key.AccessKeyID, key.SecretAccessKey, key.SessionToken)
	return &caller{
		w: w, account: account, arn: arn, credentials: key,
		ecr: ecr.NewFromConfig(config), iam: iam.NewFromConfig(config), sts: sts.NewFromConfig(config),
	}
}

func rootARN(account string) string { return "arn:aws:iam::" + account + ":root" }

// unique makes a name that nobody else has.
func unique(prefix string) string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return prefix + "-" + hex.EncodeToString(b)
}

// must ends the test where its preparation failed.
func must[T any](out T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// user makes a user with the statements as its policy, and an access key.
func (c *caller) user(t testing.TB, statements ...statement) *caller {
	t.Helper()
	return c.userIn(t, &iam.CreateUserInput{UserName: aws.String(unique("user"))}, statements...)
}

func (c *caller) userIn(t testing.TB, in *iam.CreateUserInput, statements ...statement) *caller {
	t.Helper()
	made := must(c.iam.CreateUser(t.Context(), in))(t)
	if len(statements) > 0 {
		c.put(t, *in.UserName, statements...)
	}
	key := must(c.iam.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: in.UserName}))(t).AccessKey
	u := c.w.caller(c.account, *made.User.Arn, aws.Credentials{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})
	u.name = *in.UserName
	return u
}

// put gives a user its inline policy, in place of an earlier one.
func (c *caller) put(t testing.TB, user string, statements ...statement) {
	t.Helper()
	must(c.iam.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName: &user, PolicyName: aws.String("own"), PolicyDocument: aws.String(document(statements...)),
	}))(t)
}

// role makes a role with the trust statement and the statements as its policy,
// and returns its ARN.
func (c *caller) role(t testing.TB, trust statement, statements ...statement) string {
	t.Helper()
	name := unique("role")
	made := must(c.iam.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(document(trust))}))(t)
	if len(statements) > 0 {
		must(c.iam.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: aws.String(document(statements...))}))(t)
	}
	return *made.Role.Arn
}

// policy makes a managed policy and returns its ARN.
func (c *caller) policy(t testing.TB, statements ...statement) string {
	t.Helper()
	return *must(c.iam.CreatePolicy(t.Context(), &iam.CreatePolicyInput{
		PolicyName: aws.String(unique("policy")), PolicyDocument: aws.String(document(statements...)),
	}))(t).Policy.Arn
}

// lastOf is the name at the end of an ARN.
func lastOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// assume assumes the role; change may be nil.
func (c *caller) assume(ctx context.Context, role string, change func(*sts.AssumeRoleInput)) (*caller, error) {
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("session")}
	if change != nil {
		change(in)
	}
	out, err := c.sts.AssumeRole(ctx, in)
	if err != nil {
		return nil, err
	}
	return c.w.session(strings.Split(role, ":")[4], *out.AssumedRoleUser.Arn, out.Credentials), nil
}

// session is a caller with temporary credentials.
func (w *world) session(account, arn string, c *ststypes.Credentials) *caller {
	return w.caller(account, arn, aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
}

// repo makes a repository in the caller's registry.
func (c *caller) repo(t testing.TB) string {
	t.Helper()
	name := unique("repo")
	must(c.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}))(t)
	return name
}

// setPolicy sets a repository's policy.
func (c *caller) setPolicy(t testing.TB, repo string, statements ...statement) {
	t.Helper()
	must(c.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &repo, PolicyText: aws.String(document(statements...))}))(t)
}

// abroad is the caller's ECR client for the other region.
func (c *caller) abroad() *ecr.Client {
	return ecr.NewFromConfig(c.w.ConfigAs(c.credentials.AccessKeyID, c.credentials.SecretAccessKey, c.credentials.SessionToken), func(o *ecr.Options) { o.Region = abroad })
}

// login fetches an authorization token and returns the Authorization header.
func (c *caller) login(t testing.TB) string {
	t.Helper()
	return "Basic " + *must(c.ecr.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{}))(t).AuthorizationData[0].AuthorizationToken
}

// password is what a client logs in with as the user AWS.
func (c *caller) password(t testing.TB) string {
	t.Helper()
	plain := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(c.login(t), "Basic ")))(t)
	return strings.TrimPrefix(string(plain), "AWS:")
}

// registry is the registry of the caller's account, for the caller.
func (c *caller) registry(t testing.TB) *harness.Registry {
	t.Helper()
	return c.w.registryOf(c.account, c.login(t))
}

// registryOf is an account's registry, by its canonical host.
func (w *world) registryOf(account, authorization string) *harness.Registry {
	return w.RegistryAt(registryHost(account, home), authorization)
}

func registryHost(account, region string) string {
	return account + ".dkr.ecr." + region + ".localhost"
}

func repoARN(account, repo string) string {
	return "arn:aws:ecr:" + home + ":" + account + ":repository/" + repo
}

// statement is a statement of a policy.
type statement map[string]any

// allow makes a statement of an identity policy; actions are separated by
// blanks.
func allow(actions, resource string) statement {
	return statement{"Effect": "Allow", "Action": strings.Fields(actions), "Resource": resource}
}

// deny is allow with the other effect.
func deny(actions, resource string) statement {
	return statement{"Effect": "Deny", "Action": strings.Fields(actions), "Resource": resource}
}

// grant makes a statement of a repository policy or a trust policy.
func grant(actions string, to any) statement {
	return statement{"Effect": "Allow", "Action": strings.Fields(actions), "Principal": to}
}

// trust lets AWS principals assume a role.
func trust(arns ...string) statement { return grant("sts:AssumeRole", principals(arns...)) }

func principals(arns ...string) map[string]any { return map[string]any{"AWS": arns} }

// when adds a condition.
func (s statement) when(operator, key string, values ...string) statement {
	conditions, _ := s["Condition"].(map[string]any)
	if conditions == nil {
		conditions = map[string]any{}
	}
	conditions[operator] = map[string]any{key: values}
	with := statement{"Condition": conditions}
	for k, v := range s {
		if k != "Condition" {
			with[k] = v
		}
	}
	return with
}

func document(statements ...statement) string {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		panic(err) // maps of strings always marshal
	}
	return string(text)
}

// Sets of actions.
const (
	signIn  = "ecr:GetAuthorizationToken"
	pulling = "ecr:BatchGetImage ecr:GetDownloadUrlForLayer ecr:BatchCheckLayerAvailability"
	pushing = pulling + " ecr:InitiateLayerUpload ecr:UploadLayerPart ecr:CompleteLayerUpload ecr:PutImage"
)

// can are the statements of somebody who may log in and do the actions on one
// repository of account A.
func can(actions, repo string) []statement {
	return []statement{allow(signIn, "*"), allow(actions, repoARN(accountA, repo))}
}

// image is an image as it is pushed.
type image struct {
	layer, config, manifest []byte
}

// newImage makes an image that nobody else has.
func newImage(t testing.TB) image {
	t.Helper()
	layer := make([]byte, 500)
	_, _ = rand.Read(layer) // never fails
	i := image{layer: layer, config: []byte(`{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["` + harness.Digest(layer) + `"]}}`)}
	i.manifest = harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(i.config), Size: int64(len(i.config))},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
	}.Bytes(t)
	return i
}

func (i image) layerDigest() string { return harness.Digest(i.layer) }

// push pushes the image under the tag v1.
func push(ctx context.Context, r *harness.Registry, repo string, i image) error {
	for _, blob := range [][]byte{i.layer, i.config} {
		if _, err := r.PutBlob(ctx, repo, blob); err != nil {
			return err
		}
	}
	return r.PutManifest(ctx, repo, "v1", harness.OCIImage, i.manifest)
}

// pull pulls v1 whole.
func pull(ctx context.Context, r *harness.Registry, repo string) error {
	_, err := r.Pull(ctx, repo, "v1")
	return err
}

// filled makes a repository of account A with an image in it.
func (c *caller) filled(t testing.TB) (repo string, i image) {
	t.Helper()
	repo, i = c.repo(t), newImage(t)
	if err := push(t.Context(), c.registry(t), repo, i); err != nil {
		t.Fatal(err)
	}
	return repo, i
}
