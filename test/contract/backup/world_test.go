package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

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

// berth runs a command, which has to succeed.
func berth(t *testing.T, s *harness.Server, args ...string) string {
	t.Helper()
	out, err := s.Command(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("berth %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// refused runs a command, which has to fail and say the words.
func refused(t *testing.T, s *harness.Server, words string, args ...string) {
	t.Helper()
	out, err := s.Command(t.Context(), args...).CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); !failed || !strings.Contains(string(out), words) {
		t.Errorf("berth %s: %v, want %q\n%s", strings.Join(args, " "), err, words, out)
	}
}

// world is a registry with something of everything in it.
type world struct {
	*harness.Server
	t *testing.T
	// token opens the registry, userID and userSecret the API as a user.
	token, userID, userSecret string
	// active are references to images that can be pulled, archived is the digest of
	// one that cannot.
	active   map[string]string // repository:tag to digest
	archived string
	// settings are users, policies and so on as the API shows them.
	settings string
}

const policyText = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:*"],"Resource":"*"}]}`

func fill(t *testing.T, s *harness.Server) *world {
	t.Helper()
	ctx, api, users := t.Context(), s.ECR(), iam.NewFromConfig(s.Config())
	w := &world{Server: s, t: t, active: map[string]string{}, token: "Basic " + s.Token(t)}
	ok := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.CreateRepository(t, "app", "life", "busy")
	ok(api.CreateRepository(ctx, &ecr.CreateRepositoryInput{
		RepositoryName: aws.String("sealed"), EncryptionConfiguration: &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms},
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}, ImageTagMutability: types.ImageTagMutabilityImmutable,
	}))
	r := s.Registry(t)
	for i, repo := range []string{"app", "sealed", "life"} {
		for n := range 3 {
			ref := fmt.Sprint("v", n)
			w.active[repo+":"+ref] = r.PushImage(t, repo, ref, uint64(100*i+n+1), 50_000+n*100_000).Digest
		}
	}
	// A signature that refers to an image, and an index.
	subject, _, err := r.Manifest(ctx, "app", "v0")
	ok(nil, err)
	signature := []byte(`{"signed":true}`)
	for _, b := range [][]byte{signature, []byte("{}")} {
		_, err := r.PutBlob(ctx, "app", b)
		ok(nil, err)
	}
	raw := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage, ArtifactType: "application/vnd.example.signature",
		Config:  &harness.Descriptor{MediaType: harness.OCIEmpty, Digest: harness.Digest([]byte("{}")), Size: 2},
		Layers:  []harness.Descriptor{{MediaType: "application/vnd.example.signature", Digest: harness.Digest(signature), Size: int64(len(signature))}},
		Subject: &harness.Descriptor{MediaType: harness.OCIImage, Digest: harness.Digest(subject), Size: int64(len(subject))},
	}.Bytes(t)
	w.active["app:signature"] = r.PushManifest(t, "app", "signature", harness.OCIImage, raw).Digest
	child := r.PushImage(t, "app", "", 77, 70_000)
	child.Platform = &harness.Platform{Architecture: "amd64", OS: "linux"}
	index := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{child}}.Bytes(t)
	w.active["app:index"] = r.PushManifest(t, "app", "index", harness.OCIIndex, index).Digest
	// An archived image, whose bytes have moved.
	w.archived = r.PushImage(t, "app", "old", 88, 300_000).Digest
	ok(api.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{
		RepositoryName: aws.String("app"), ImageId: &types.ImageIdentifier{ImageDigest: &w.archived}, TargetStorageClass: types.TargetStorageClassArchive,
	}))

	group, user := aws.String("readers"), aws.String("ann")
	ok(users.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: group}))
	ok(users.CreateUser(ctx, &iam.CreateUserInput{UserName: user}))
	ok(users.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: group, UserName: user}))
	policy, err := users.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("push"), PolicyDocument: aws.String(policyText)})
	ok(nil, err)
	ok(users.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: policy.Policy.Arn}))
	key, err := users.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	ok(nil, err)
	w.userID, w.userSecret = *key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey
	ok(api.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + s.Account + `:user/ann"},"Action":"ecr:ListImages"}]}`)}))
	ok(api.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{
		Prefix: aws.String("made"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForCreateOnPush}, ImageTagMutability: types.ImageTagMutabilityImmutable,
	}))
	w.putLifecycle(s)
	w.settings = w.describe(s)
	return w
}

// putLifecycle keeps one image in the repository life.
func (w *world) putLifecycle(s *harness.Server) {
	w.t.Helper()
	_, err := s.ECR().PutLifecyclePolicy(w.t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("life"), LifecyclePolicyText: aws.String(
		`{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// describe is what is set, as the API shows it.
func (w *world) describe(s *harness.Server) string {
	w.t.Helper()
	ctx, api, users := w.t.Context(), s.ECR(), iam.NewFromConfig(s.Config())
	var text strings.Builder
	show := func(v any, err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
		line, err := json.Marshal(v)
		if err != nil {
			w.t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	userList, err := users.ListUsers(ctx, &iam.ListUsersInput{})
	if err != nil {
		w.t.Fatal(err)
	}
	show(userList.Users, nil)
	attached, err := users.ListAttachedGroupPolicies(ctx, &iam.ListAttachedGroupPoliciesInput{GroupName: aws.String("readers")})
	if err != nil {
		w.t.Fatal(err)
	}
	show(attached.AttachedPolicies, nil)
	members, err := users.GetGroup(ctx, &iam.GetGroupInput{GroupName: aws.String("readers")})
	if err != nil {
		w.t.Fatal(err)
	}
	show(members.Users, nil)
	policy, err := api.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: aws.String("app")})
	if err != nil {
		w.t.Fatal(err)
	}
	show(policy.PolicyText, nil)
	templates, err := api.DescribeRepositoryCreationTemplates(ctx, &ecr.DescribeRepositoryCreationTemplatesInput{})
	if err != nil {
		w.t.Fatal(err)
	}
	show(templates.RepositoryCreationTemplates, nil)
	rules, err := api.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: aws.String("life")})
	if err != nil {
		w.t.Fatal(err)
	}
	show(rules.LifecyclePolicyText, nil)
	for _, repo := range []string{"app", "sealed", "life"} {
		out, err := api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repo}})
		if err != nil {
			w.t.Fatal(err)
		}
		// The address has the port in it.
		out.Repositories[0].RepositoryUri = nil
		show(out.Repositories, nil)
	}
	// Endpoints differ by their port.
	return strings.ReplaceAll(text.String(), s.Host, "HOST")
}

// check holds a restored server against what there was before the backup.
func (w *world) check(s *harness.Server) {
	t := w.t
	t.Helper()
	ctx := t.Context()
	// The old root key, an old token, a user's old key.
	r := s.RegistryAt("127.0.0.1", w.token)
	for ref, digest := range w.active {
		repo, tag, _ := strings.Cut(ref, ":")
		if got := r.Verify(t, repo, tag); got.Digest != digest {
			t.Errorf("%s is %s and was %s", ref, got.Digest, digest)
		}
	}
	a, err := r.Do(ctx, harness.Request{Method: "GET", Path: "/v2/app/referrers/" + w.active["app:v0"]}, 200)
	if err != nil || !strings.Contains(string(a.Body), w.active["app:signature"]) {
		t.Errorf("the signature does not refer to its image: %s, %v", a.Body, err)
	}
	if got := w.describe(s); got != w.settings {
		t.Errorf("settings are\n%s\nand were\n%s", got, w.settings)
	}
	ann := ecr.NewFromConfig(s.ConfigAs(w.userID, w.userSecret, ""))
	if _, err := ann.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("sealed")}); err != nil {
		t.Errorf("a user's access key: %v", err)
	}
	// The archived image comes back, out of the restored archive.
	api := s.ECR()
	id := &types.ImageIdentifier{ImageDigest: &w.archived}
	if _, _, err := r.Manifest(ctx, "app", w.archived); err == nil {
		t.Error("the archived image can be pulled")
	}
	if _, err := api.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{RepositoryName: aws.String("app"), ImageId: id, TargetStorageClass: types.TargetStorageClassStandard}); err != nil {
		t.Fatal(err)
	}
	wait(t, "the archived image", func() bool {
		out, err := api.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{*id}})
		return err == nil && len(out.ImageDetails) == 1 && out.ImageDetails[0].ImageStatus == types.ImageStatusActive
	})
	if got := r.Verify(t, "app", "old"); got.Digest != w.archived {
		t.Errorf("the archived image is %s and was %s", got.Digest, w.archived)
	}
	// The job that waited still does; a change makes it due.
	if out := berth(t, s, "jobs", "list", "--data", s.Data); !strings.Contains(out, "lifecycle") {
		t.Errorf("no job of the lifecycle policy waits:\n%s", out)
	}
	w.putLifecycle(s)
	wait(t, "the lifecycle policy", func() bool {
		out, err := api.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: aws.String("life")})
		return err == nil && len(out.ImageIds) == 1
	})
	// New work goes on.
	pushed := r.PushImage(t, "sealed", "new", 4711, 100_000).Digest
	if got := r.Verify(t, "sealed", "new"); got.Digest != pushed {
		t.Error("a new image does not come back")
	}
	s.MustFsck(t)
}

// busy pushes, deletes, archives and collects until it is told to stop. It returns
// once all of that has happened at least once.
func (w *world) busy(ctx context.Context) (stop func()) {
	t := w.t
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	r, api := w.Registry(t), w.ECR()
	began := make(chan struct{}, 3)
	loop := func(do func(n int) error) {
		working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := do(n); err != nil && ctx.Err() == nil {
					t.Errorf("beside the backup: %v", err)
					began <- struct{}{}
					return
				}
				if n == 0 {
					began <- struct{}{}
				}
			}
		})
	}
	push := func(seed uint64, ref string) error {
		layer, config := harness.Random(seed, 20_000), harness.Random(seed+1, 100)
		for _, b := range [][]byte{layer, config} {
			if _, err := r.PutBlob(ctx, "busy", b); err != nil {
				return err
			}
		}
		raw, err := json.Marshal(harness.Manifest{
			SchemaVersion: 2, MediaType: harness.OCIImage,
			Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
			Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
		})
		if err != nil {
			return err
		}
		return r.PutManifest(ctx, "busy", ref, harness.OCIImage, raw)
	}
	loop(func(n int) error {
		ref := fmt.Sprint("n", n)
		if err := push(uint64(1_000_000+2*n), ref); err != nil {
			return err
		}
		if n < 20 {
			return nil
		}
		_, err := api.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("busy"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String(fmt.Sprint("n", n-20))}}})
		return err
	})
	loop(func(n int) error {
		if err := push(uint64(9_000_000+2*n), "moving"); err != nil {
			return err
		}
		_, err := api.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{
			RepositoryName: aws.String("busy"), ImageId: &types.ImageIdentifier{ImageTag: aws.String("moving")}, TargetStorageClass: types.TargetStorageClassArchive,
		})
		return err
	})
	loop(func(int) error {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond): // leaves the machine to the others
		}
		out, err := w.Command(ctx, "gc", "run", "--data", w.Data).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("berth gc run: %w\n%s", err, out)
		}
		return err
	})
	for range 3 {
		<-began
	}
	return func() {
		cancel()
		working.Wait()
	}
}

// settle waits until the archived image's bytes have moved.
func (w *world) settle() {
	w.t.Helper()
	wait(w.t, "the archived image's bytes to move", func() bool {
		out, err := w.ECR().BatchCheckLayerAvailability(w.t.Context(), &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: aws.String("app"), LayerDigests: []string{harness.Digest(harness.Random(88, 300_000))}})
		return err == nil && len(out.Layers) == 1 && out.Layers[0].LayerAvailability == types.LayerAvailabilityArchived
	})
}

// newTarget is a server that was not started yet, of a deployment without anything.
func newTarget(t *testing.T, from *world, shape harness.Shape) *harness.Server {
	t.Helper()
	s := harness.Prepare(t, harness.Options{Shape: shape, Data: filepath.Join(t.TempDir(), "restored"), Config: "lifecycle_delay: 1s\n"})
	s.AccessKeyID, s.SecretAccessKey = from.AccessKeyID, from.SecretAccessKey
	return s
}
