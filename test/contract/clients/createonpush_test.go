package clients

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/berth-registry/berth/test/contract/harness"
)

// createOnPush: docker and crane push to repositories that are not there, as a
// user who may make them and as one who may not.
func createOnPush(t *testing.T, f *fixture) {
	ctx, api := t.Context(), f.ECR()
	if _, err := api.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{
		Prefix: aws.String("onpush"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}, ImageTagMutability: types.ImageTagMutabilityImmutable,
	}); err != nil {
		t.Fatal(err)
	}
	there := func(repo string) bool {
		t.Helper()
		out, err := api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repo}})
		if err == nil && out.Repositories[0].ImageTagMutability != types.ImageTagMutabilityImmutable {
			t.Errorf("%s is %s", repo, out.Repositories[0].ImageTagMutability)
		}
		return err == nil
	}
	const pushing = "ecr:GetAuthorizationToken ecr:BatchGetImage ecr:GetDownloadUrlForLayer ecr:BatchCheckLayerAvailability ecr:InitiateLayerUpload ecr:UploadLayerPart ecr:CompleteLayerUpload ecr:PutImage"
	able, unable := f.pusher(t, "able-pusher", pushing+" ecr:CreateRepository"), f.pusher(t, "unable-pusher", pushing)
	const refused = "is not authorized to perform: ecr:CreateRepository"

	b := harness.NewBox(t, "docker", "dockerd", "crane")
	harness.StartDocker(t, b)
	b.Write("ctx/Dockerfile", []byte("FROM scratch\nCOPY one /one\n"))
	b.Write("ctx/one", harness.Random(60, 200_000))
	made, other := f.ref("onpush/docker/app", ":v1"), f.ref("onpush/docker/other", ":v1")
	b.Run("docker", "build", "-t", made, "-t", other, "-t", f.ref("elsewhere/app", ":v1"), "ctx")

	t.Log("docker, without ecr:CreateRepository and with it")
	b.Feed(unable, "docker", "login", "--username", "AWS", "--password-stdin", f.Host)
	b.Refused(refused, "docker", "push", made)
	if there("onpush/docker/app") {
		t.Error("a refused push has made the repository")
	}
	b.Feed(able, "docker", "login", "--username", "AWS", "--password-stdin", f.Host)
	digest := pushed(t, b.Run("docker", "push", made))
	same(t, "docker push", digest, f.registry.Verify(t, "onpush/docker/app", "v1").Digest)
	if !there("onpush/docker/app") {
		t.Error("the push has made no repository")
	}
	b.Refused("does not exist", "docker", "push", f.ref("elsewhere/app", ":v1"))
	// docker mounts what it knows from the first repository into the second.
	same(t, "the second push", pushed(t, b.Run("docker", "push", other)), digest)
	f.registry.Verify(t, "onpush/docker/other", "v1")
	b.Feed(unable, "docker", "login", "--username", "AWS", "--password-stdin", f.Host)
	if out := b.Run("docker", "push", other); !strings.Contains(out, digest) {
		t.Errorf("pushing again to what is there: %s", out)
	}

	t.Log("crane, with an image and with a copy of one")
	tarball := b.Write("root.tar", harness.Tar(t, "file", harness.Random(61, 100_000)))
	b.Feed(unable, "crane", "auth", "login", f.Host, "--username", "AWS", "--password-stdin")
	b.Refused(refused, "crane", "append", "--oci-empty-base", "-f", tarball, "-t", f.ref("onpush/crane/app", ":v1"))
	b.Refused(refused, "crane", "copy", made, f.ref("onpush/crane/copy", ":v1"))
	if there("onpush/crane/app") || there("onpush/crane/copy") {
		t.Error("a refused push has made a repository")
	}
	b.Feed(able, "crane", "auth", "login", f.Host, "--username", "AWS", "--password-stdin")
	b.Run("crane", "append", "--oci-empty-base", "-f", tarball, "-t", f.ref("onpush/crane/app", ":v1"))
	b.Run("crane", "copy", made, f.ref("onpush/crane/copy", ":v1"))
	identical(t, f.registry.Verify(t, "onpush/docker/app", "v1"), f.registry.Verify(t, "onpush/crane/copy", "v1"))
	if !there("onpush/crane/app") || !there("onpush/crane/copy") {
		t.Error("the pushes have made no repositories")
	}
}

// pusher makes a user who may do the actions, separated by blanks, and returns
// the password that it logs in with.
func (f *fixture) pusher(t *testing.T, name, actions string) string {
	t.Helper()
	ctx, users := t.Context(), iam.NewFromConfig(f.Config())
	if _, err := users.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	allowed, err := json.Marshal(strings.Fields(actions))
	if err != nil {
		t.Fatal(err)
	}
	document := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":%s,"Resource":"*"}]}`, allowed)
	if _, err := users.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("own"), PolicyDocument: &document}); err != nil {
		t.Fatal(err)
	}
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	own := ecr.NewFromConfig(f.ConfigAs(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey, ""))
	out, err := own.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := base64.StdEncoding.DecodeString(*out.AuthorizationData[0].AuthorizationToken)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(string(plain), "AWS:")
}
