package guides

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// repository is a repository with an image, tagged v1.
type repository struct {
	owner    *identity // the root user of its account, in its Region
	name     string
	arn      string
	manifest string
	config   string
	layer    string
	seed     uint64
}

// repository makes a repository in the account of its root user, with an image.
func (i *identity) repository(t *testing.T, name string, tags ...types.Tag) *repository {
	t.Helper()
	out, err := i.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name, Tags: tags})
	must(t, "CreateRepository", err)
	return i.filled(t, *out.Repository.RepositoryArn)
}

// filled pushes an image to a repository, through the API.
func (i *identity) filled(t *testing.T, arn string) *repository {
	t.Helper()
	r := &repository{owner: i, arn: arn, name: arn[strings.Index(arn, ":repository/")+len(":repository/"):], seed: i.w.seeds.Add(1)}
	layer := harness.Random(r.seed, 2000)
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, harness.Digest(layer))
	r.layer, r.config = harness.Digest(layer), harness.Digest(config)
	for _, blob := range [][]byte{layer, config} {
		id := r.upload(t, blob)
		_, err := i.ecr.CompleteLayerUpload(t.Context(), &ecr.CompleteLayerUploadInput{RepositoryName: &r.name, UploadId: &id, LayerDigests: []string{harness.Digest(blob)}})
		must(t, "CompleteLayerUpload", err)
	}
	r.manifest = string(harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: r.config, Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: r.layer, Size: int64(len(layer))}},
	}.Bytes(t))
	_, err := i.ecr.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &r.name, ImageManifest: &r.manifest, ImageTag: aws.String("v1")})
	must(t, "PutImage", err)
	return r
}

// upload starts an upload as the owner and sends all of it.
func (r *repository) upload(t *testing.T, blob []byte) (id string) {
	t.Helper()
	out, err := r.owner.ecr.InitiateLayerUpload(t.Context(), &ecr.InitiateLayerUploadInput{RepositoryName: &r.name})
	must(t, "InitiateLayerUpload", err)
	_, err = r.owner.ecr.UploadLayerPart(t.Context(), &ecr.UploadLayerPartInput{
		RepositoryName: &r.name, UploadId: out.UploadId, PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(int64(len(blob)) - 1), LayerPartBlob: blob,
	})
	must(t, "UploadLayerPart", err)
	return *out.UploadId
}

// setPolicy sets the repository's policy as its owner, and fails unless the
// policy comes back as it was set.
func (r *repository) setPolicy(t *testing.T, policy string) {
	t.Helper()
	_, err := r.owner.ecr.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &r.name, PolicyText: &policy})
	must(t, "SetRepositoryPolicy", err)
	out, err := r.owner.ecr.GetRepositoryPolicy(t.Context(), &ecr.GetRepositoryPolicyInput{RepositoryName: &r.name})
	must(t, "GetRepositoryPolicy", err)
	sameJSON(t, "the policy of "+r.name, *out.PolicyText, policy)
}

// operations are those of ECR that act on a repository, each as one call of
// somebody. Whatever else the call needs, the owner does before.
var operations = map[string]func(context.Context, *testing.T, *identity, *repository) error{
	"BatchCheckLayerAvailability": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		out, err := u.ecr.BatchCheckLayerAvailability(ctx, &ecr.BatchCheckLayerAvailabilityInput{RegistryId: &r.owner.account, RepositoryName: &r.name, LayerDigests: []string{r.layer}})
		if err == nil && (len(out.Layers) != 1 || out.Layers[0].LayerAvailability != types.LayerAvailabilityAvailable) {
			return fmt.Errorf("the layers are %v", out.Layers)
		}
		return err
	},
	"GetDownloadUrlForLayer": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RegistryId: &r.owner.account, RepositoryName: &r.name, LayerDigest: &r.layer})
		return err
	},
	"GetRepositoryPolicy": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		return unlessNone(err)
	},
	"DescribeRepositories": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RegistryId: &r.owner.account, RepositoryNames: []string{r.name}})
		return err
	},
	"ListImages": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		out, err := u.ecr.ListImages(ctx, &ecr.ListImagesInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		if err == nil && len(out.ImageIds) == 0 {
			return errors.New("no images are listed")
		}
		return err
	},
	"DescribeImages": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageIds: v1()})
		return err
	},
	"BatchGetImage": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		out, err := u.ecr.BatchGetImage(ctx, &ecr.BatchGetImageInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageIds: v1()})
		if err == nil && (len(out.Images) != 1 || *out.Images[0].ImageManifest != r.manifest) {
			return fmt.Errorf("the images are %v, failures %v", out.Images, out.Failures)
		}
		return err
	},
	"ListTagsForResource": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: &r.arn})
		return err
	},
	"InitiateLayerUpload": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.InitiateLayerUpload(ctx, &ecr.InitiateLayerUploadInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		return err
	},
	"UploadLayerPart": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		out, err := r.owner.ecr.InitiateLayerUpload(ctx, &ecr.InitiateLayerUploadInput{RepositoryName: &r.name})
		must(t, "InitiateLayerUpload", err)
		_, err = u.ecr.UploadLayerPart(ctx, &ecr.UploadLayerPartInput{
			RegistryId: &r.owner.account, RepositoryName: &r.name, UploadId: out.UploadId, PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(2), LayerPartBlob: []byte("abc"),
		})
		return err
	},
	"CompleteLayerUpload": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		blob := harness.Random(u.w.seeds.Add(1), 100)
		id := r.upload(t, blob)
		_, err := u.ecr.CompleteLayerUpload(ctx, &ecr.CompleteLayerUploadInput{RegistryId: &r.owner.account, RepositoryName: &r.name, UploadId: &id, LayerDigests: []string{harness.Digest(blob)}})
		return err
	},
	"PutImage": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		tag := fmt.Sprint("api-", u.w.seeds.Add(1))
		_, err := u.ecr.PutImage(ctx, &ecr.PutImageInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageManifest: &r.manifest, ImageTag: &tag})
		return err
	},
	"BatchDeleteImage": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		tag := fmt.Sprint("gone-", u.w.seeds.Add(1))
		_, err := r.owner.ecr.PutImage(ctx, &ecr.PutImageInput{RepositoryName: &r.name, ImageManifest: &r.manifest, ImageTag: &tag})
		must(t, "PutImage", err)
		out, err := u.ecr.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageIds: []types.ImageIdentifier{{ImageTag: &tag}}})
		if err == nil && len(out.Failures) > 0 {
			return fmt.Errorf("failures %v", out.Failures)
		}
		return err
	},
	"PutImageTagMutability": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageTagMutability: types.ImageTagMutabilityMutable})
		return err
	},
	"TagResource": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: &r.arn, Tags: tags("owner", "tests")})
		return err
	},
	"UntagResource": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: &r.arn, TagKeys: []string{"owner"}})
		return err
	},
	"SetRepositoryPolicy": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + r.owner.account + `"},"Action":"ecr:ListImages"}]}`
		_, err := u.ecr.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RegistryId: &r.owner.account, RepositoryName: &r.name, PolicyText: &text, Force: true})
		return err
	},
	"DeleteRepositoryPolicy": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		return unlessNone(err)
	},
	"DeleteRepository": func(ctx context.Context, t *testing.T, u *identity, r *repository) error {
		_, err := u.ecr.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RegistryId: &r.owner.account, RepositoryName: &r.name, Force: true})
		return err
	},
}

// unlessNone drops the error that there is no policy: only who may look is told.
func unlessNone(err error) error {
	if none := (*types.RepositoryPolicyNotFoundException)(nil); errors.As(err, &none) {
		return nil
	}
	return err
}

func v1() []types.ImageIdentifier { return []types.ImageIdentifier{{ImageTag: aws.String("v1")}} }

func tags(pairs ...string) (all []types.Tag) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return all
}

// may fails unless the identity can do the operations.
func (i *identity) may(t *testing.T, r *repository, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := operations[name](t.Context(), t, i, r); err != nil {
			t.Errorf("%s may %s %s, and cannot: %v", i.arn, name, r.name, err)
		}
	}
}

// mayNot fails unless each operation is refused for the reason.
func (i *identity) mayNot(t *testing.T, r *repository, why reason, names ...string) {
	t.Helper()
	for _, name := range names {
		i.refused(t, operations[name](t.Context(), t, i, r), "ecr:"+name, r.arn, why)
	}
}

// reason is how AWS's sentence ends.
type reason func(action string) string

func noIdentityPolicy(action string) string {
	return "because no identity-based policy allows the " + action + " action"
}

func noResourcePolicy(action string) string {
	return "because no resource-based policy allows the " + action + " action"
}

func identityDeny(string) string { return "with an explicit deny in an identity-based policy" }
func resourceDeny(string) string { return "with an explicit deny in a resource-based policy" }

// sentence is AWS's refusal.
func (i *identity) sentence(action, resource string, why reason) string {
	return "User: " + i.arn + " is not authorized to perform: " + action + " on resource: " + resource + " " + why(action)
}

// refused fails unless a call of the AWS API ended in AWS's refusal.
func (i *identity) refused(t *testing.T, err error, action, resource string, why reason) {
	t.Helper()
	code, want := "AccessDeniedException", i.sentence(action, resource, why)
	if strings.HasPrefix(action, "iam:") {
		code = "AccessDenied" // the query protocol's
	}
	var api smithy.APIError
	switch {
	case err == nil:
		t.Errorf("%s may not %s on %s, and can", i.arn, action, resource)
	case !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != want:
		t.Errorf("%s may not %s; the answer is\n%v\nwant %s:\n%s", i.arn, action, err, code, want)
	}
}

// noToken fails unless the identity cannot even log in.
func (i *identity) noToken(t *testing.T) {
	t.Helper()
	_, err := i.ecr.GetAuthorizationToken(t.Context(), &ecr.GetAuthorizationTokenInput{})
	i.refused(t, err, "ecr:GetAuthorizationToken", "*", noIdentityPolicy)
}

// denied fails unless a request to the registry was answered 403 DENIED with AWS's
// sentence.
func (c *client) denied(t *testing.T, err error, action string, r *repository, why reason) {
	t.Helper()
	want := c.sentence(action, r.arn, why)
	var status *harness.StatusError
	if !errors.As(err, &status) || status.Status != http.StatusForbidden {
		t.Errorf("%s may not %s; the registry's answer is %v", c.arn, action, err)
		return
	}
	var body struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(status.Body), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code != "DENIED" || body.Errors[0].Message != want {
		t.Errorf("%s may not %s; the registry's answer is\n%s\nwant DENIED:\n%s", c.arn, action, status.Body, want)
	}
}

func (c *client) ref(r *repository, tag string) string { return c.host + "/" + r.name + ":" + tag }

// pulls fails unless the image can be pulled whole, and with crane.
func (c *client) pulls(t *testing.T, r *repository) {
	t.Helper()
	raw, _, err := c.registry.Manifest(t.Context(), r.name, "v1")
	if err != nil || string(raw) != r.manifest {
		t.Errorf("%s may pull %s, and cannot: %v", c.arn, r.name, err)
		return
	}
	for _, digest := range []string{r.layer, r.config} {
		if _, err := c.registry.Blob(t.Context(), r.name, digest); err != nil {
			t.Errorf("%s may pull %s, and cannot: %v", c.arn, r.name, err)
		}
	}
	if _, stderr, err := c.crane.Try("", "crane", "pull", "--format", "oci", c.ref(r, "v1"), c.crane.Path(fmt.Sprint("layout-", c.w.seeds.Add(1)))); err != nil {
		t.Errorf("%s may pull %s, and crane cannot: %v\n%s", c.arn, r.name, err, stderr)
	}
}

// cannotPull fails unless the manifest, the layer and crane's pull are refused.
func (c *client) cannotPull(t *testing.T, r *repository, why reason) {
	t.Helper()
	_, _, err := c.registry.Manifest(t.Context(), r.name, "v1")
	c.denied(t, err, "ecr:BatchGetImage", r, why)
	_, err = c.registry.Blob(t.Context(), r.name, r.layer)
	c.denied(t, err, "ecr:GetDownloadUrlForLayer", r, why)
	c.craneRefused(t, "DENIED: "+c.sentence("ecr:BatchGetImage", r.arn, why), "manifest", c.ref(r, "v1"))
}

// pushes fails unless a new image can be pushed, and another one with crane.
func (c *client) pushes(t *testing.T, r *repository) {
	t.Helper()
	c.registry.PushImage(t, r.name, "pushed", c.w.seeds.Add(1), 1000)
	if _, stderr, err := c.cranePush(t, r); err != nil {
		t.Errorf("%s may push to %s, and crane cannot: %v\n%s", c.arn, r.name, err, stderr)
	}
}

// cannotPush fails unless every step of a push, and crane's, is refused.
func (c *client) cannotPush(t *testing.T, r *repository, why reason) {
	t.Helper()
	blob := harness.Random(c.w.seeds.Add(1), 100)
	_, err := c.registry.StartUpload(t.Context(), r.name)
	c.denied(t, err, "ecr:InitiateLayerUpload", r, why)
	id := r.upload(t, blob)
	_, err = c.registry.Append(t.Context(), "/v2/"+r.name+"/blobs/uploads/"+id, int64(len(blob)), []byte("more"))
	c.denied(t, err, "ecr:UploadLayerPart", r, why)
	err = c.registry.Finish(t.Context(), "/v2/"+r.name+"/blobs/uploads/"+id, harness.Digest(blob), nil)
	c.denied(t, err, "ecr:CompleteLayerUpload", r, why)
	err = c.registry.PutManifest(t.Context(), r.name, "pushed", harness.OCIImage, []byte(r.manifest))
	c.denied(t, err, "ecr:PutImage", r, why)
	// crane begins with a HEAD where it may not do that either; that has no body.
	stdout, stderr, err := c.cranePush(t, r)
	if err == nil || !strings.Contains(stderr, "DENIED: "+c.sentence("ecr:InitiateLayerUpload", r.arn, why)) && !strings.Contains(stderr, "403 Forbidden") {
		t.Errorf("%s may not push to %s; crane ended with %v\n%s%s", c.arn, r.name, err, stdout, stderr)
	}
}

// cranePush pushes an image with a layer that the registry has not.
func (c *client) cranePush(t *testing.T, r *repository) (stdout, stderr string, err error) {
	t.Helper()
	seed := c.w.seeds.Add(1)
	layer := c.crane.Write(fmt.Sprint(seed, ".tar"), harness.Tar(t, "file", harness.Random(seed, 1000)))
	return c.crane.Try("", "crane", "append", "--oci-empty-base", "-f", layer, "-t", c.ref(r, "crane"))
}

// lists fails unless crane lists the repository's tags, with the one given.
func (c *client) lists(t *testing.T, r *repository, tag string) {
	t.Helper()
	out, stderr, err := c.crane.Try("", "crane", "ls", c.host+"/"+r.name)
	if err != nil || !slices.Contains(strings.Fields(out), tag) {
		t.Errorf("crane ls: %q %v\n%s", out, err, stderr)
	}
}

func (c *client) craneRefused(t *testing.T, text string, args ...string) {
	t.Helper()
	stdout, stderr, err := c.crane.Try("", "crane", args...)
	if err == nil || !strings.Contains(stderr, text) {
		t.Errorf("crane %s as %s ended with %v\n%s%s\nwant %s", strings.Join(args, " "), c.arn, err, stdout, stderr, text)
	}
}
