package pullthrough

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// limit bounds every wait, for a machine that is busy with other tests.
const limit = 2 * time.Minute

func wait(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}

// The regions that servers have, and their accounts.
const (
	home     = "us-east-1"
	abroad   = "eu-central-1"
	accountA = "000000000000"
	accountB = "111122223333"
)

// settings are a configuration with these upstreams, which are spoken to without
// TLS. extra are further lines below pull_through, each with a newline.
func settings(extra string, hosts ...string) string {
	var b strings.Builder
	b.WriteString("pull_through:\n  allow_private: [127.0.0.1/32]\n")
	b.WriteString(extra)
	b.WriteString("  upstreams:\n")
	for _, h := range hosts {
		fmt.Fprintf(&b, "    %q: {plain_http: true}\n", h)
	}
	return b.String()
}

// world is a server whose rules are made by the test.
type world struct {
	*harness.Server
	root *harness.Registry // the default registry, for its root user
}

func start(t *testing.T, config string) *world {
	t.Helper()
	return worldOf(t, harness.Start(t, harness.Options{Config: config}))
}

func worldOf(t *testing.T, s *harness.Server) *world {
	t.Helper()
	return &world{Server: s, root: s.Registry(t)}
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

// rule makes a rule of the default registry.
func (w *world) rule(t *testing.T, prefix, host string, change ...func(*ecr.CreatePullThroughCacheRuleInput)) {
	t.Helper()
	in := &ecr.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: &prefix, UpstreamRegistryUrl: &host}
	for _, c := range change {
		c(in)
	}
	must(w.ECR().CreatePullThroughCacheRule(t.Context(), in))(t)
}

// valid says what ValidatePullThroughCacheRule answers.
func (w *world) valid(t *testing.T, prefix string) (ok bool, failure string) {
	t.Helper()
	out := must(w.ECR().ValidatePullThroughCacheRule(t.Context(), &ecr.ValidatePullThroughCacheRuleInput{EcrRepositoryPrefix: &prefix}))(t)
	return out.IsValid, aws.ToString(out.Failure)
}

// secrets calls an operation of Secrets Manager; the SDK for it is none of the
// project's dependencies.
func (w *world) secrets(t *testing.T, op string, in map[string]string) (arn string) {
	t.Helper()
	body := must(json.Marshal(in))(t)
	r := must(http.NewRequestWithContext(t.Context(), http.MethodPost, w.Endpoint+"/", bytes.NewReader(body)))(t)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "secretsmanager."+op)
	sum := sha256.Sum256(body)
	key := aws.Credentials{AccessKeyID: w.AccessKeyID, SecretAccessKey: w.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(t.Context(), key, r, hex.EncodeToString(sum[:]), "secretsmanager", w.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	answer := must(w.root.HTTP.Do(r))(t)
	defer func() { _ = answer.Body.Close() }() // it is read below
	text := must(io.ReadAll(answer.Body))(t)
	var out struct{ ARN string }
	if err := json.Unmarshal(text, &out); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s (%v)", op, answer.Status, text, err)
	}
	return out.ARN
}

// credentials is the value of a secret for an upstream.
func credentials(user, password string) string {
	b, _ := json.Marshal(map[string]string{"username": user, "accessToken": password}) // texts always marshal
	return string(b)
}

// with gives a rule the secret.
func with(arn string) func(*ecr.CreatePullThroughCacheRuleInput) {
	return func(in *ecr.CreatePullThroughCacheRuleInput) { in.CredentialArn = &arn }
}

// images are the digests and tags that ListImages shows of a repository, sorted;
// nothing where there is no such repository.
func (w *world) images(t *testing.T, repo string) []string {
	t.Helper()
	out, err := w.ECR().ListImages(t.Context(), &ecr.ListImagesInput{RepositoryName: &repo})
	if _, missing := errors.AsType[*types.RepositoryNotFoundException](err); missing {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range out.ImageIds {
		all = append(all, aws.ToString(i.ImageDigest)+" "+aws.ToString(i.ImageTag))
	}
	slices.Sort(all)
	return all
}

// becomes waits until a repository lists these images, each "digest tag".
func (w *world) becomes(t *testing.T, repo string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var last []string
	arrived := false
	defer func() {
		if !arrived {
			t.Logf("%s lists %q, want %q", repo, last, want)
		}
	}()
	wait(t, "the images of "+repo, func() bool {
		last = w.images(t, repo)
		arrived = slices.Equal(last, want)
		return arrived
	})
}

// pull pulls an image of one or more layers whole, compares every byte with what
// the upstream has, and returns it.
func pull(t *testing.T, r *harness.Registry, repo, ref string, want upstreamtest.Image) harness.Whole {
	t.Helper()
	got := r.Verify(t, repo, ref)
	if got.Digest != want.Digest() || !bytes.Equal(got.Raw, want.Body) || len(got.Blobs) == 0 {
		t.Fatalf("%s:%s is %s with %d blobs, the upstream has %s", repo, ref, got.Digest, len(got.Blobs), want.Digest())
	}
	return got
}

// fails pulls an image, which has to fail and must not give a wrong or short
// thing as if it were whole. It returns what the client saw.
func fails(t *testing.T, r *harness.Registry, repo, ref string) string {
	t.Helper()
	w, err := r.Pull(t.Context(), repo, ref)
	if err == nil {
		t.Errorf("%s:%s was pulled: %s", repo, ref, w.Raw)
		return ""
	}
	for _, wrong := range []string{"came back as", "came with the digest", "its descriptor says", "other bytes", "HEAD of"} {
		if strings.Contains(err.Error(), wrong) {
			t.Errorf("%s:%s: a client was given wrong things as if they were right: %v", repo, ref, err)
		}
	}
	return err.Error()
}

// refusal fetches a manifest, which has to be refused with a status and a text.
func refusal(t *testing.T, r *harness.Registry, repo, ref string, status int, text string) {
	t.Helper()
	a, err := r.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/" + repo + "/manifests/" + ref, Accept: harness.EveryManifest()})
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != status || !strings.Contains(string(a.Body), text) {
		t.Errorf("%s:%s: %d %s, want %d with %q", repo, ref, a.Status, a.Body, status, text)
	}
}

// clean fails unless all that is stored is whole, and nothing lies where layers
// stand that are on their way.
func (w *world) clean(t *testing.T) {
	t.Helper()
	w.MustFsck(t)
	if left := must(os.ReadDir(filepath.Join(w.Data, "spool")))(t); len(left) > 0 {
		t.Errorf("%d files are left of layers on their way, such as %s", len(left), left[0].Name())
	}
}

// metric reads a counter; 0 where it is not there.
func metric(t *testing.T, admin, series string) float64 {
	t.Helper()
	answer := must(http.Get("http://" + admin + "/metrics"))(t)
	defer func() { _ = answer.Body.Close() }() // it is read below
	text := must(io.ReadAll(answer.Body))(t)
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindSubmatch(text)
	if m == nil {
		return 0
	}
	return must(strconv.ParseFloat(string(m[1]), 64))(t)
}

// user makes a user with a policy of these statements, and returns the API's
// configuration for it.
func (w *world) user(t *testing.T, statements ...statement) (config aws.Config, name string) {
	t.Helper()
	users := iam.NewFromConfig(w.Config())
	name = "user-" + strings.ToLower(rand.Text()[:8])
	must(users.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}))(t)
	if len(statements) > 0 {
		must(users.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("own"), PolicyDocument: aws.String(document(statements...))}))(t)
	}
	key := must(users.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name}))(t).AccessKey
	return w.ConfigAs(*key.AccessKeyId, *key.SecretAccessKey, ""), name
}

// registry is the registry of an account and region for who has the credentials.
func (w *world) registry(t *testing.T, config aws.Config, account, region string) *harness.Registry {
	t.Helper()
	config.Region = region
	out := must(ecr.NewFromConfig(config).GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{}))(t)
	return w.RegistryAt(account+".dkr.ecr."+region+".localhost", "Basic "+*out.AuthorizationData[0].AuthorizationToken)
}

// statement is a statement of a policy.
type statement map[string]any

// allow makes a statement of an identity policy; actions are separated by blanks.
func allow(actions, resource string) statement {
	return statement{"Effect": "Allow", "Action": strings.Fields(actions), "Resource": resource}
}

// grant makes a statement of a resource's policy.
func grant(actions string, to any) statement {
	return statement{"Effect": "Allow", "Action": strings.Fields(actions), "Principal": to}
}

func document(statements ...statement) string {
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		panic(err) // maps of strings always marshal
	}
	return string(text)
}

const (
	signIn  = "ecr:GetAuthorizationToken"
	pulling = "ecr:BatchGetImage ecr:GetDownloadUrlForLayer"
	// importing is what a pull of what is not here takes besides.
	importing = "ecr:BatchImportUpstreamImage"
)

// read reads a layer to its end, or until it breaks off, in pieces that seen is told
// of.
func read(ctx context.Context, r *harness.Registry, repo, digest string, seen func(n int)) (content []byte, status int, err error) {
	answer, err := r.Open(ctx, harness.Request{Method: http.MethodGet, Path: "/v2/" + repo + "/blobs/" + digest})
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = answer.Body.Close() }() // it is read to its end or has failed
	piece := make([]byte, 64<<10)
	for {
		n, err := answer.Body.Read(piece)
		content = append(content, piece[:n]...)
		if seen != nil {
			seen(len(content))
		}
		if err == io.EOF {
			return content, answer.StatusCode, nil
		}
		if err != nil {
			return content, answer.StatusCode, err
		}
	}
}
