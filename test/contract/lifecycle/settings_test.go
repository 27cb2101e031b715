package lifecycle

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestPullTimes: pulls are recorded, after a minute or on a clean stop, but for
// those of an excluded user.
func TestPullTimes(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "app")
	ctx, users := t.Context(), iam.NewFromConfig(s.Config())
	user, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("scanner")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := users.PutUserPolicy(ctx, &iam.PutUserPolicyInput{
		UserName: aws.String("scanner"), PolicyName: aws.String("pull"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:*","Resource":"*"}}`),
	}); err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("scanner")})
	if err != nil {
		t.Fatal(err)
	}
	api := s.ECR()
	if _, err := api.RegisterPullTimeUpdateExclusion(ctx, &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: user.User.Arn}); err != nil {
		t.Fatal(err)
	}
	excluded := ecr.NewFromConfig(s.ConfigAs(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, ""))
	token, err := excluded.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := s.RegistryAt("127.0.0.1", "Basic "+*token.AuthorizationData[0].AuthorizationToken), s.Registry(t)
	digests := pushMany(t, ours, "app", 3, func(i int) string { return []string{"scanned", "api", "pulled"}[i] })
	began := time.Now().Add(-time.Second)
	// The excluded user pulls all of them, both ways; others pull two.
	for _, d := range digests {
		if _, _, err := theirs.Manifest(ctx, "app", d); err != nil {
			t.Fatal(err)
		}
		if _, err := excluded.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &d}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("api")}}}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ours.Manifest(ctx, "app", "pulled"); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	out, err := s.ECR().DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("app")})
	if err != nil || len(out.ImageDetails) != 3 {
		t.Fatalf("%+v %v", out, err)
	}
	for _, d := range out.ImageDetails {
		recorded := d.LastRecordedPullTime != nil && d.LastRecordedPullTime.After(began)
		if want := d.ImageTags[0] != "scanned"; recorded != want {
			t.Errorf("%s was last pulled %v", d.ImageTags[0], d.LastRecordedPullTime)
		}
	}
}

// TestQuotas: what an operator sets for an account holds at once, for that account
// only.
func TestQuotas(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "app", "other")
	ctx, api := t.Context(), s.ECR()
	berth := func(args ...string) {
		t.Helper()
		if out, err := s.Command(ctx, append(args, "--data", s.Data)...).CombinedOutput(); err != nil {
			t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	limited := func(what string, err error) {
		t.Helper()
		var limit *types.LimitExceededException
		var status *harness.StatusError
		if !errors.As(err, &limit) && !errors.As(err, &status) || err == nil {
			t.Errorf("%s: %v, want a quota's refusal", what, err)
		}
	}
	r := s.Registry(t)
	r.PushImage(t, "app", "v1", 1, 1000)

	berth("quota", "set", "images-per-repository", "1")
	_, err := r.PutBlob(ctx, "app", harness.Random(2, 100))
	if err != nil {
		t.Fatal(err)
	}
	manifest, mediaType, err := r.Manifest(ctx, "app", "v1")
	if err != nil {
		t.Fatal(err)
	}
	limited("another image", r.PutManifest(ctx, "app", "v2", mediaType, append(manifest, '\n')))
	berth("quota", "unset", "images-per-repository")
	if err := r.PutManifest(ctx, "app", "v2", mediaType, append(manifest, '\n')); err != nil {
		t.Error(err)
	}

	berth("quota", "set", "repositories-per-registry", "2")
	_, err = api.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("third")})
	limited("another repository", err)
	id, secret := s.CreateAccount(t, "222222222222")
	others := ecr.NewFromConfig(s.ConfigAs(id, secret, ""))
	for _, name := range []string{"aa", "bb", "cc"} {
		if _, err := others.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
			t.Errorf("another account: %v", err)
		}
	}

	berth("quota", "set", "lifecycle-rules", "1")
	two := strings.Replace(keepNewest("v", 1), `"action": {"type": "expire"}
    }`, `"action": {"type": "expire"}
    }, {"rulePriority": 2, "selection": {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}`, 1)
	_, err = api.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("app"), LifecyclePolicyText: &two})
	var invalid *types.InvalidParameterException
	if !errors.As(err, &invalid) {
		t.Errorf("two rules: %v", err)
	}

	berth("quota", "set", "repository-storage-bytes", "5000", "--repository", "other")
	if _, err := r.PutBlob(ctx, "other", harness.Random(3, 4000)); err != nil {
		t.Fatal(err)
	}
	_, err = r.PutBlob(ctx, "other", harness.Random(4, 4000))
	limited("bytes over the repository's quota", err)
	if _, err := r.PutBlob(ctx, "app", harness.Random(4, 4000)); err != nil {
		t.Errorf("another repository: %v", err)
	}
	berth("quota", "set", "storage-bytes", "10000")
	_, err = r.PutBlob(ctx, "app", harness.Random(5, 4000))
	limited("bytes over the account's quota", err)

	out, err := s.Command(ctx, "quota", "set", "no-such-quota", "1", "--data", s.Data).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), "quota list") {
		t.Errorf("an unknown quota: %v %s", err, out)
	}
}

// TestTemplateWithPolicy: a repository that a push makes has its template's policy,
// within the quota of its account, and the policy runs.
func TestTemplateWithPolicy(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: soon})
	ctx, api := t.Context(), s.ECR()
	text := keepNewest("v", 2)
	template := &ecr.CreateRepositoryCreationTemplateInput{
		Prefix: aws.String("team"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}, LifecyclePolicy: aws.String(strings.Replace(text, "imageCountMoreThan", "sometimes", 1)),
	}
	var invalid *types.InvalidParameterException
	if _, err := api.CreateRepositoryCreationTemplate(ctx, template); !errors.As(err, &invalid) {
		t.Errorf("a template with a policy that is none: %v", err)
	}
	template.LifecyclePolicy = &text
	made, err := api.CreateRepositoryCreationTemplate(ctx, template)
	if err != nil || aws.ToString(made.RepositoryCreationTemplate.LifecyclePolicy) != text {
		t.Fatalf("%+v %v", made, err)
	}
	pushMany(t, s.Registry(t), "team/app", 5, func(i int) string { return []string{"v0", "v1", "v2", "v3", "v4"}[i] })
	if _, err := api.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: aws.String("team/app")}); err != nil {
		t.Error(err)
	}
	wait(t, "the policy to run", func() bool { return len(listed(t, api, "team/app", nil, 100)) == 2 })
}

// TestMultiArch: with the setting an index and its images go together, in one run.
func TestMultiArch(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: soon})
	s.CreateRepository(t, "app")
	if out, err := s.Command(t.Context(), "repository", "settings", "set", "lifecycle-multi-arch", "true", "--repository", "app", "--data", s.Data).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := s.Registry(t)
	index := func(tag string, seed uint64) {
		t.Helper()
		var children []harness.Descriptor
		for n, architecture := range []string{"amd64", "arm64"} {
			child := r.PushImage(t, "app", "", seed+uint64(n), 500)
			child.Platform = &harness.Platform{Architecture: architecture, OS: "linux"}
			children = append(children, child)
		}
		r.PushManifest(t, "app", tag, harness.OCIIndex, harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: children}.Bytes(t))
	}
	index("v1", 10)
	index("v2", 20)
	text := keepNewest("v", 1)
	if _, err := s.ECR().PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("app"), LifecyclePolicyText: &text}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the older index and its images to go", func() bool { return len(listed(t, s.ECR(), "app", nil, 100)) == 3 })
	r.Verify(t, "app", "v2")
}
