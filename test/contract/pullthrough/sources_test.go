package pullthrough

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// index pushes an index of two images into a registry.
func index(t *testing.T, r *harness.Registry, repo, tag string, seed uint64) (top harness.Descriptor, children []harness.Descriptor) {
	t.Helper()
	for i, arch := range []string{"amd64", "arm64"} {
		d := r.PushImage(t, repo, "", seed+uint64(i), 40_000)
		d.Platform = &harness.Platform{Architecture: arch, OS: "linux"}
		children = append(children, d)
	}
	raw := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: children}.Bytes(t)
	return r.PushManifest(t, repo, tag, harness.OCIIndex, raw), children
}

// TestDistribution: images of Debian's distribution registry, by tag, by digest, by
// HEAD and by the API; of an index only the children that were asked for; all of it
// once more while the upstream is gone.
func TestDistribution(t *testing.T) {
	t.Parallel()
	d := harness.StartDistribution(t)
	tagged := d.Registry.PushImage(t, "team/app", "v1", 1, 300_000)
	pinned := d.Registry.PushImage(t, "team/app", "other", 2, 50_000)
	byAPI := d.Registry.PushImage(t, "team/api", "v1", 3, 60_000)
	top, children := index(t, d.Registry, "team/multi", "latest", 10)
	plain := d.Registry.PushImage(t, "top", "v1", 4, 2000)

	w := start(t, settings("", d.Host))
	w.rule(t, "debian", d.Host)
	w.rule(t, "mine", d.Host, func(in *ecr.CreatePullThroughCacheRuleInput) { in.UpstreamRepositoryPrefix = aws.String("team") })
	w.rule(t, "ROOT", d.Host)
	if ok, why := w.valid(t, "debian"); !ok {
		t.Errorf("the rule is said to be wrong: %s", why)
	}

	head, err := w.root.Do(t.Context(), harness.Request{Method: http.MethodHead, Path: "/v2/debian/team/app/manifests/v1", Accept: harness.EveryManifest()}, http.StatusOK)
	if err != nil || head.Header.Get("Docker-Content-Digest") != tagged.Digest || head.Header.Get("Content-Type") != harness.OCIImage {
		t.Fatalf("the first request of all, a HEAD: %+v, %v", head, err)
	}
	if got := w.root.Verify(t, "debian/team/app", "v1"); got.Digest != tagged.Digest {
		t.Errorf("by tag: %s", got.Digest)
	}
	if got := w.root.Verify(t, "debian/team/app", pinned.Digest); got.Digest != pinned.Digest {
		t.Errorf("by digest: %s", got.Digest)
	}
	for repo, want := range map[string]string{"mine/app": tagged.Digest, "top": plain.Digest} {
		if got := w.root.Verify(t, repo, "v1"); got.Digest != want {
			t.Errorf("%s: %s", repo, got.Digest)
		}
		w.becomes(t, repo, want+" v1")
	}
	// What was pulled by its digest has no tag, though it has one at the upstream.
	w.becomes(t, "debian/team/app", tagged.Digest+" v1", pinned.Digest+" ")

	t.Log("an index, and one of its children")
	raw, mediaType, err := w.root.Manifest(t.Context(), "debian/team/multi", "latest")
	if err != nil || harness.Digest(raw) != top.Digest || mediaType != harness.OCIIndex {
		t.Fatalf("the index: %s %s, %v", harness.Digest(raw), mediaType, err)
	}
	if got := w.root.Verify(t, "debian/team/multi", children[1].Digest); got.Digest != children[1].Digest {
		t.Errorf("the child: %s", got.Digest)
	}
	w.becomes(t, "debian/team/multi", top.Digest+" latest", children[1].Digest+" ")
	shown := must(w.ECR().DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: aws.String("debian/team/multi")}))(t)
	if len(shown.ImageDetails) != 2 {
		t.Errorf("DescribeImages shows %d images, want the index and the child that was asked for", len(shown.ImageDetails))
	}

	t.Log("by the API")
	got := must(w.ECR().BatchGetImage(t.Context(), &ecr.BatchGetImageInput{
		RepositoryName: aws.String("debian/team/api"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}, {ImageTag: aws.String("missing")}},
	}))(t)
	if len(got.Images) != 1 || harness.Digest([]byte(*got.Images[0].ImageManifest)) != byAPI.Digest || len(got.Failures) != 1 || got.Failures[0].FailureCode != types.ImageFailureCodeImageNotFound {
		t.Fatalf("BatchGetImage: %+v", got)
	}
	upstream := d.Registry.Verify(t, "team/api", "v1")
	for digest := range upstream.Blobs {
		out := must(w.ECR().GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: aws.String("debian/team/api"), LayerDigest: &digest}))(t)
		if strings.Contains(*out.DownloadUrl, d.Host) {
			t.Errorf("the client is sent to the upstream: %s", *out.DownloadUrl)
		}
		answer := must(w.root.HTTP.Get(*out.DownloadUrl))(t)
		content, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // it was read
		if err != nil || harness.Digest(content) != digest {
			t.Errorf("a layer by its download URL: %s, %d bytes, %v", answer.Status, len(content), err)
		}
	}
	w.becomes(t, "debian/team/api", byAPI.Digest+" v1")

	t.Log("defaults of the repositories")
	made := must(w.ECR().DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"debian/team/app"}}))(t).Repositories[0]
	if made.ImageTagMutability != types.ImageTagMutabilityMutable || made.EncryptionConfiguration.EncryptionType != types.EncryptionTypeAes256 {
		t.Errorf("the repository is %s and %s", made.ImageTagMutability, made.EncryptionConfiguration.EncryptionType)
	}
	refusal(t, w.root, "debian/team/app", "missing", http.StatusNotFound, "MANIFEST_UNKNOWN")
	refusal(t, w.root, "debian/nothing", "v1", http.StatusNotFound, "_UNKNOWN")
	if left := w.images(t, "debian/nothing"); left != nil {
		t.Errorf("a repository was made for what the upstream does not have: %q", left)
	}

	t.Log("once more, without the upstream")
	d.Kill()
	for _, again := range []struct{ repo, ref, digest string }{
		{"debian/team/app", "v1", tagged.Digest}, {"debian/team/app", pinned.Digest, pinned.Digest}, {"mine/app", "v1", tagged.Digest}, {"top", "v1", plain.Digest},
		{"debian/team/multi", children[1].Digest, children[1].Digest}, {"debian/team/api", "v1", byAPI.Digest},
	} {
		if got := w.root.Verify(t, again.repo, again.ref); got.Digest != again.digest {
			t.Errorf("%s:%s is %s, want %s", again.repo, again.ref, got.Digest, again.digest)
		}
	}
	if seen := fails(t, w.root, "debian/team/multi", children[0].Digest); !strings.Contains(seen, d.Host) {
		t.Errorf("the failure does not name the upstream: %s", seen)
	}
	if ok, why := w.valid(t, "debian"); ok || why == "" {
		t.Errorf("a rule whose upstream is gone is said to be right (%q)", why)
	}
	w.clean(t)
}

// TestTokens: a registry that gives tokens for credentials, which are in a secret;
// and a repository made by a creation template.
func TestTokens(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	const password = "a5e7c0-of-the-puller"
	up.RequireToken("puller", password)
	first := up.PushImage("library/app", "v1", harness.Random(20, 200_000))
	second := up.PushImage("library/app", "v2", harness.Random(21, 1000))
	w := start(t, settings("", up.Host()))
	arn := w.secrets(t, "CreateSecret", map[string]string{"Name": "ecr-pullthroughcache/up", "SecretString": credentials("puller", "wrong")})
	w.rule(t, "hub", up.Host(), with(arn))
	must(w.ECR().CreateRepositoryCreationTemplate(t.Context(), &ecr.CreateRepositoryCreationTemplateInput{
		Prefix: aws.String("hub/library"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForPullThroughCache},
		ImageTagMutability: types.ImageTagMutabilityImmutable, RepositoryPolicy: aws.String(document(grant("ecr:DescribeImages", "*"))),
	}))(t)

	if ok, why := w.valid(t, "hub"); ok || why == "" {
		t.Errorf("a rule with a wrong password is said to be right (%q)", why)
	}
	if seen := fails(t, w.root, "hub/library/app", "v1"); !strings.Contains(seen, "credentials") {
		t.Errorf("the failure does not speak of the credentials: %s", seen)
	}
	if got := w.images(t, "hub/library/app"); got != nil {
		t.Errorf("a repository was made without an image to be had: %q", got)
	}
	w.secrets(t, "PutSecretValue", map[string]string{"SecretId": arn, "SecretString": credentials("puller", password)})
	if ok, why := w.valid(t, "hub"); !ok {
		t.Errorf("the rule is said to be wrong: %s", why)
	}
	pull(t, w.root, "hub/library/app", "v1", first)
	w.becomes(t, "hub/library/app", first.Digest()+" v1")
	made := must(w.ECR().DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"hub/library/app"}}))(t).Repositories[0]
	if made.ImageTagMutability != types.ImageTagMutabilityImmutable {
		t.Errorf("the template has not made the repository: its tags are %s", made.ImageTagMutability)
	}
	must(w.ECR().GetRepositoryPolicy(t.Context(), &ecr.GetRepositoryPolicyInput{RepositoryName: aws.String("hub/library/app")}))(t)

	up.RevokeTokens()
	pull(t, w.root, "hub/library/app", "v2", second)
	if n := up.Count(upstreamtest.Token); n < 2 {
		t.Errorf("%d tokens were fetched; the second pull had one that was revoked", n)
	}
	if strings.Contains(w.Log(), password) {
		t.Error("the password is in the log")
	}
	w.secrets(t, "DeleteSecret", map[string]string{"SecretId": arn})
	pull(t, w.root, "hub/library/app", "v1", first) // what is cached is served on
	fails(t, w.root, "hub/library/app", "v3")
	w.clean(t)
}

// TestBerth: another Berth as the upstream, with a password of GetAuthorizationToken.
func TestBerth(t *testing.T) {
	t.Parallel()
	other := worldOf(t, harness.Start(t, harness.Options{Shape: harness.Embedded}))
	other.CreateRepository(t, "team/app")
	top, children := index(t, other.root, "team/app", "v1", 30)
	w := start(t, settings("", other.Addr))
	w.rule(t, "anonymous", other.Addr)
	if seen := fails(t, w.root, "anonymous/team/app", "v1"); !strings.Contains(seen, "credentials") {
		t.Errorf("the failure does not speak of credentials: %s", seen)
	}
	arn := w.secrets(t, "CreateSecret", map[string]string{"Name": "ecr-pullthroughcache/berth", "SecretString": credentials("AWS", other.Password(t))})
	w.rule(t, "berth", other.Addr, with(arn))
	if ok, why := w.valid(t, "berth"); !ok {
		t.Errorf("the rule is said to be wrong: %s", why)
	}
	whole := w.root.Verify(t, "berth/team/app", "v1")
	if whole.Digest != top.Digest || len(whole.Children) != 2 {
		t.Fatalf("the image is %s with %d children", whole.Digest, len(whole.Children))
	}
	w.becomes(t, "berth/team/app", top.Digest+" v1", children[0].Digest+" ", children[1].Digest+" ")
	w.clean(t)
}

// TestECR: registries of the same deployment as upstreams: in another region, and
// in another account by a role.
func TestECR(t *testing.T) {
	t.Parallel()
	w := start(t, "regions: ["+home+", "+abroad+"]\n")
	ctx := t.Context()

	t.Log("the same account, another region")
	far := w.Config()
	far.Region = abroad
	must(ecr.NewFromConfig(far).CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("app")}))(t)
	pushed := w.registry(t, w.Config(), accountA, abroad).PushImage(t, "app", "v1", 40, 100_000)
	w.rule(t, "far", accountA+".dkr.ecr."+abroad+".localhost")
	if ok, why := w.valid(t, "far"); !ok {
		t.Errorf("the rule is said to be wrong: %s", why)
	}
	if got := w.root.Verify(t, "far/app", "v1"); got.Digest != pushed.Digest {
		t.Errorf("from the other region: %s", got.Digest)
	}
	w.becomes(t, "far/app", pushed.Digest+" v1")
	rules := must(w.ECR().DescribePullThroughCacheRules(ctx, &ecr.DescribePullThroughCacheRulesInput{}))(t).PullThroughCacheRules
	if len(rules) != 1 || rules[0].UpstreamRegistry != types.UpstreamRegistryEcr {
		t.Errorf("the rule is %+v", rules)
	}

	t.Log("another account")
	id, secret := w.CreateAccount(t, accountB)
	theirs := w.ConfigAs(id, secret, "")
	must(ecr.NewFromConfig(theirs).CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("team/app")}))(t)
	pushed = w.registry(t, theirs, accountB, home).PushImage(t, "team/app", "v1", 41, 100_000)
	const actions = "ecr:GetDownloadUrlForLayer ecr:GetAuthorizationToken ecr:BatchImportUpstreamImage ecr:BatchGetImage ecr:GetImageCopyStatus " +
		"ecr:InitiateLayerUpload ecr:UploadLayerPart ecr:CompleteLayerUpload ecr:PutImage"
	roles := iam.NewFromConfig(w.Config())
	role := *must(roles.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("cache"), AssumeRolePolicyDocument: aws.String(document(
		grant("sts:AssumeRole", map[string]string{"Service": "pullthroughcache.ecr.amazonaws.com"})))}))(t).Role.Arn
	must(roles.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("cache"), PolicyName: aws.String("pull"), PolicyDocument: aws.String(document(allow(actions, "*")))}))(t)
	w.rule(t, "near", accountB+".dkr.ecr."+home+".localhost", func(in *ecr.CreatePullThroughCacheRuleInput) {
		in.CustomRoleArn = &role
		in.UpstreamRepositoryPrefix = aws.String("team")
	})
	fails(t, w.root, "near/app", "v1")
	if got := w.images(t, "near/app"); got != nil {
		t.Errorf("a repository was made for what the role may not have: %q", got)
	}
	policy := document(grant("ecr:BatchGetImage ecr:GetDownloadUrlForLayer ecr:BatchImportUpstreamImage ecr:GetImageCopyStatus", map[string]string{"AWS": "arn:aws:iam::" + accountA + ":root"}))
	must(ecr.NewFromConfig(theirs).SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("team/app"), PolicyText: &policy}))(t)
	if got := w.root.Verify(t, "near/app", "v1"); got.Digest != pushed.Digest {
		t.Errorf("from the other account: %s", got.Digest)
	}
	w.becomes(t, "near/app", pushed.Digest+" v1")
	w.clean(t)
}

// TestPermissions: what a pull of something new takes, and what those get who do
// not have it.
func TestPermissions(t *testing.T) {
	t.Parallel()
	up := upstreamtest.New(t)
	one := up.PushImage("app", "v1", harness.Random(50, 1000))
	two := up.PushImage("app", "v2", harness.Random(51, 1000))
	three := up.PushImage("app", "v3", harness.Random(52, 1000))
	for _, repo := range []string{"new", "granted"} {
		up.PushImage(repo, "v1", harness.Random(53, 1000))
	}
	w := start(t, settings("", up.Host()))
	w.rule(t, "hub", up.Host())
	const any = "arn:aws:ecr:" + home + ":" + accountA + ":repository/*"
	as := func(statements ...statement) *harness.Registry {
		config, _ := w.user(t, statements...)
		return w.registry(t, config, accountA, home)
	}
	puller := as(allow(signIn, "*"), allow(pulling, any))
	importer := as(allow(signIn, "*"), allow(pulling+" "+importing, any))
	maker := as(allow(signIn, "*"), allow(pulling+" "+importing+" ecr:CreateRepository", any))
	config, name := w.user(t)
	must(iam.NewFromConfig(w.Config()).AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{
		UserName: &name, PolicyArn: aws.String("arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly"),
	}))(t)
	pullOnly := w.registry(t, config, accountA, home)

	const unknown = "The repository with name 'hub/app' does not exist in the registry with id '" + accountA + "'"
	for _, r := range []*harness.Registry{puller, importer, pullOnly} {
		refusal(t, r, "hub/app", "v1", http.StatusNotFound, "NAME_UNKNOWN")
		refusal(t, r, "hub/app", "v1", http.StatusNotFound, unknown)
	}
	if n := len(up.Requests()); n != 0 {
		t.Errorf("the upstream was asked %d times for who may not", n)
	}
	pull(t, maker, "hub/app", "v1", one)
	w.becomes(t, "hub/app", one.Digest()+" v1")
	up.ResetRequests()
	pull(t, puller, "hub/app", "v1", one)
	for _, ref := range []string{"v2", two.Digest()} {
		refusal(t, puller, "hub/app", ref, http.StatusNotFound, "MANIFEST_UNKNOWN")
		refusal(t, puller, "hub/app", ref, http.StatusNotFound, "Requested image not found")
	}
	if n := len(up.Requests()); n != 0 {
		t.Errorf("the upstream was asked %d times for who may not", n)
	}
	pull(t, importer, "hub/app", "v2", two)
	pull(t, pullOnly, "hub/app", "v3", three)

	t.Log("allowed by the policies of the repository and of the registry")
	granted, name := w.user(t, allow(signIn, "*"), allow(pulling, any))
	who := map[string]string{"AWS": "arn:aws:iam::" + accountA + ":user/" + name}
	four := up.PushImage("app", "v4", harness.Random(54, 1000))
	byPolicy := w.registry(t, granted, accountA, home)
	refusal(t, byPolicy, "hub/app", "v4", http.StatusNotFound, "MANIFEST_UNKNOWN")
	must(w.ECR().SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("hub/app"), PolicyText: aws.String(document(grant(importing, who)))}))(t)
	pull(t, byPolicy, "hub/app", "v4", four)
	refusal(t, byPolicy, "hub/granted", "v1", http.StatusNotFound, "NAME_UNKNOWN")
	all := grant(importing+" ecr:CreateRepository", who)
	all["Resource"] = "arn:aws:ecr:" + home + ":" + accountA + ":repository/hub/*"
	must(w.ECR().PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: aws.String(document(all))}))(t)
	if got, err := byPolicy.Pull(t.Context(), "hub/granted", "v1"); err != nil {
		t.Errorf("the registry's policy allows it: %v %s", err, got.Digest)
	}

	t.Log("the API says the same")
	config, _ = w.user(t, allow(pulling, any))
	_, err := ecr.NewFromConfig(config).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: aws.String("hub/new"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}}})
	if err == nil || !strings.Contains(err.Error(), "RepositoryNotFoundException") {
		t.Errorf("BatchGetImage of a missing repository: %v", err)
	}
	out, err := ecr.NewFromConfig(config).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: aws.String("hub/app"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v9")}}})
	if err != nil || len(out.Failures) != 1 || out.Failures[0].FailureCode != types.ImageFailureCodeImageNotFound {
		t.Errorf("BatchGetImage of a missing image: %+v, %v", out, err)
	}
	w.clean(t)
}
