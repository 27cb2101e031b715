package guides

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic"
	"github.com/aws/aws-sdk-go-v2/service/ecrpublic/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

// publicRepository is a public repository with an image, tagged v1.
type publicRepository struct {
	*repository // of which owner.ecr says nothing
	alias       string
}

// public is the identity's client of ECR Public.
func (i *identity) public() *ecrpublic.Client { return ecrpublic.NewFromConfig(i.config) }

// publicRepository makes a public repository in the account of its root user, with an
// image.
func (i *identity) publicRepository(t *testing.T, name string, tags ...types.Tag) *publicRepository {
	t.Helper()
	out, err := i.public().CreateRepository(t.Context(), &ecrpublic.CreateRepositoryInput{RepositoryName: &name, Tags: tags, CatalogData: &types.RepositoryCatalogDataInput{Description: aws.String("of the guide")}})
	must(t, "CreateRepository", err)
	path := strings.SplitN(*out.Repository.RepositoryUri, "/", 3)
	r := &publicRepository{alias: path[1], repository: &repository{owner: i, name: name, arn: *out.Repository.RepositoryArn, seed: i.w.seeds.Add(1)}}
	if path[0] != i.w.PublicHost || path[2] != name || r.arn != publicARN(i.account, name) {
		t.Fatalf("the repository is %s, %s", *out.Repository.RepositoryUri, r.arn)
	}
	layer := harness.Random(r.seed, 2000)
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]}}`, harness.Digest(layer))
	r.layer, r.config = harness.Digest(layer), harness.Digest(config)
	for _, blob := range [][]byte{layer, config} {
		id := r.send(t, blob)
		_, err := i.public().CompleteLayerUpload(t.Context(), &ecrpublic.CompleteLayerUploadInput{RepositoryName: &r.name, UploadId: &id, LayerDigests: []string{harness.Digest(blob)}})
		must(t, "CompleteLayerUpload", err)
	}
	r.manifest = string(harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: r.config, Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: r.layer, Size: int64(len(layer))}},
	}.Bytes(t))
	_, err = i.public().PutImage(t.Context(), &ecrpublic.PutImageInput{RepositoryName: &r.name, ImageManifest: &r.manifest, ImageTag: aws.String("v1")})
	must(t, "PutImage", err)
	return r
}

// send starts an upload as the owner and sends all of it.
func (r *publicRepository) send(t *testing.T, blob []byte) (id string) {
	t.Helper()
	out, err := r.owner.public().InitiateLayerUpload(t.Context(), &ecrpublic.InitiateLayerUploadInput{RepositoryName: &r.name})
	must(t, "InitiateLayerUpload", err)
	_, err = r.owner.public().UploadLayerPart(t.Context(), &ecrpublic.UploadLayerPartInput{
		RepositoryName: &r.name, UploadId: out.UploadId, PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(int64(len(blob)) - 1), LayerPartBlob: blob,
	})
	must(t, "UploadLayerPart", err)
	return *out.UploadId
}

// setPolicy sets the repository's policy as its owner, and fails unless the policy comes
// back as it was set.
func (r *publicRepository) setPolicy(t *testing.T, policy string) {
	t.Helper()
	_, err := r.owner.public().SetRepositoryPolicy(t.Context(), &ecrpublic.SetRepositoryPolicyInput{RepositoryName: &r.name, PolicyText: &policy})
	must(t, "SetRepositoryPolicy", err)
	out, err := r.owner.public().GetRepositoryPolicy(t.Context(), &ecrpublic.GetRepositoryPolicyInput{RepositoryName: &r.name})
	must(t, "GetRepositoryPolicy", err)
	sameJSON(t, "the policy of "+r.name, *out.PolicyText, policy)
}

// publicOperations are those of ECR Public that act on a repository, each as one call of
// somebody. Whatever else the call needs, the owner does before.
var publicOperations = map[string]func(context.Context, *testing.T, *identity, *publicRepository) error{
	"BatchCheckLayerAvailability": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		out, err := u.public().BatchCheckLayerAvailability(ctx, &ecrpublic.BatchCheckLayerAvailabilityInput{RegistryId: &r.alias, RepositoryName: &r.name, LayerDigests: []string{r.layer}})
		if err == nil && (len(out.Layers) != 1 || out.Layers[0].LayerAvailability != types.LayerAvailabilityAvailable) {
			return fmt.Errorf("the layers are %v", out.Layers)
		}
		return err
	},
	"InitiateLayerUpload": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().InitiateLayerUpload(ctx, &ecrpublic.InitiateLayerUploadInput{RegistryId: &r.alias, RepositoryName: &r.name})
		return err
	},
	"UploadLayerPart": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		out, err := r.owner.public().InitiateLayerUpload(ctx, &ecrpublic.InitiateLayerUploadInput{RepositoryName: &r.name})
		must(t, "InitiateLayerUpload", err)
		_, err = u.public().UploadLayerPart(ctx, &ecrpublic.UploadLayerPartInput{
			RegistryId: &r.owner.account, RepositoryName: &r.name, UploadId: out.UploadId, PartFirstByte: aws.Int64(0), PartLastByte: aws.Int64(2), LayerPartBlob: []byte("abc"),
		})
		return err
	},
	"CompleteLayerUpload": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		blob := harness.Random(u.w.seeds.Add(1), 100)
		id := r.send(t, blob)
		_, err := u.public().CompleteLayerUpload(ctx, &ecrpublic.CompleteLayerUploadInput{RegistryId: &r.alias, RepositoryName: &r.name, UploadId: &id, LayerDigests: []string{harness.Digest(blob)}})
		return err
	},
	"PutImage": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		tag := fmt.Sprint("api-", u.w.seeds.Add(1))
		_, err := u.public().PutImage(ctx, &ecrpublic.PutImageInput{RegistryId: &r.alias, RepositoryName: &r.name, ImageManifest: &r.manifest, ImageTag: &tag})
		return err
	},
	"BatchDeleteImage": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		tag := fmt.Sprint("gone-", u.w.seeds.Add(1))
		_, err := r.owner.public().PutImage(ctx, &ecrpublic.PutImageInput{RepositoryName: &r.name, ImageManifest: &r.manifest, ImageTag: &tag})
		must(t, "PutImage", err)
		out, err := u.public().BatchDeleteImage(ctx, &ecrpublic.BatchDeleteImageInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageIds: []types.ImageIdentifier{{ImageTag: &tag}}})
		if err == nil && len(out.Failures) > 0 {
			return fmt.Errorf("failures %v", out.Failures)
		}
		return err
	},
	"DescribeImages": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().DescribeImages(ctx, &ecrpublic.DescribeImagesInput{RegistryId: &r.owner.account, RepositoryName: &r.name, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}}})
		return err
	},
	"DescribeImageTags": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		out, err := u.public().DescribeImageTags(ctx, &ecrpublic.DescribeImageTagsInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		if err == nil && len(out.ImageTagDetails) == 0 {
			return errors.New("no tags are listed")
		}
		return err
	},
	"DescribeRepositories": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().DescribeRepositories(ctx, &ecrpublic.DescribeRepositoriesInput{RegistryId: &r.owner.account, RepositoryNames: []string{r.name}})
		return err
	},
	"GetRepositoryCatalogData": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().GetRepositoryCatalogData(ctx, &ecrpublic.GetRepositoryCatalogDataInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		return err
	},
	"PutRepositoryCatalogData": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().PutRepositoryCatalogData(ctx, &ecrpublic.PutRepositoryCatalogDataInput{RegistryId: &r.owner.account, RepositoryName: &r.name, CatalogData: &types.RepositoryCatalogDataInput{AboutText: aws.String("# About")}})
		return err
	},
	"GetRepositoryPolicy": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().GetRepositoryPolicy(ctx, &ecrpublic.GetRepositoryPolicyInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		return unlessNonePublic(err)
	},
	"SetRepositoryPolicy": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		text := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + r.owner.account + `"},"Action":"ecr-public:DescribeImages"}]}`
		_, err := u.public().SetRepositoryPolicy(ctx, &ecrpublic.SetRepositoryPolicyInput{RegistryId: &r.owner.account, RepositoryName: &r.name, PolicyText: &text, Force: true})
		return err
	},
	"DeleteRepositoryPolicy": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().DeleteRepositoryPolicy(ctx, &ecrpublic.DeleteRepositoryPolicyInput{RegistryId: &r.owner.account, RepositoryName: &r.name})
		return unlessNonePublic(err)
	},
	"TagResource": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().TagResource(ctx, &ecrpublic.TagResourceInput{ResourceArn: &r.arn, Tags: publicTags("owner", "tests")})
		return err
	},
	"UntagResource": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().UntagResource(ctx, &ecrpublic.UntagResourceInput{ResourceArn: &r.arn, TagKeys: []string{"owner"}})
		return err
	},
	"ListTagsForResource": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().ListTagsForResource(ctx, &ecrpublic.ListTagsForResourceInput{ResourceArn: &r.arn})
		return err
	},
	"DeleteRepository": func(ctx context.Context, t *testing.T, u *identity, r *publicRepository) error {
		_, err := u.public().DeleteRepository(ctx, &ecrpublic.DeleteRepositoryInput{RegistryId: &r.owner.account, RepositoryName: &r.name, Force: true})
		return err
	},
}

// registryOperations are those on the caller's own registry.
var registryOperations = map[string]func(context.Context, *identity) error{
	"DescribeRegistries": func(ctx context.Context, u *identity) error {
		_, err := u.public().DescribeRegistries(ctx, &ecrpublic.DescribeRegistriesInput{})
		return err
	},
	"GetRegistryCatalogData": func(ctx context.Context, u *identity) error {
		_, err := u.public().GetRegistryCatalogData(ctx, &ecrpublic.GetRegistryCatalogDataInput{})
		return err
	},
	"PutRegistryCatalogData": func(ctx context.Context, u *identity) error {
		_, err := u.public().PutRegistryCatalogData(ctx, &ecrpublic.PutRegistryCatalogDataInput{DisplayName: aws.String("the guide's")})
		return err
	},
}

// unlessNonePublic drops the error that there is no policy: only who may look is told.
func unlessNonePublic(err error) error {
	if none := (*types.RepositoryPolicyNotFoundException)(nil); errors.As(err, &none) {
		return nil
	}
	return err
}

func publicTags(pairs ...string) (all []types.Tag) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return all
}

// mayPublic fails unless the identity can do the operations of ECR Public.
func (i *identity) mayPublic(t *testing.T, r *publicRepository, names ...string) {
	t.Helper()
	for _, name := range names {
		call, err := registryOperations[name], error(nil)
		if call != nil {
			err = call(t.Context(), i)
		} else {
			err = publicOperations[name](t.Context(), t, i, r)
		}
		if err != nil {
			t.Errorf("%s may %s %s, and cannot: %v", i.arn, name, r.name, err)
		}
	}
}

// mayNotPublic fails unless each operation is refused for the reason.
func (i *identity) mayNotPublic(t *testing.T, r *publicRepository, why reason, names ...string) {
	t.Helper()
	for _, name := range names {
		if call := registryOperations[name]; call != nil {
			i.refused(t, call(t.Context(), i), "ecr-public:"+name, "arn:aws:ecr-public::"+i.account+":registry/"+i.account, why)
			continue
		}
		i.refused(t, publicOperations[name](t.Context(), t, i, r), "ecr-public:"+name, r.arn, why)
	}
}

// createsPublic makes a public repository and returns how that ended.
func (i *identity) createsPublic(t *testing.T, name string, tags ...types.Tag) error {
	t.Helper()
	_, err := i.public().CreateRepository(t.Context(), &ecrpublic.CreateRepositoryInput{RepositoryName: &name, Tags: tags})
	return err
}

// noPublicToken fails unless the identity lacks the permission for a token.
func (i *identity) noPublicToken(t *testing.T, lacks string) {
	t.Helper()
	_, err := i.public().GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	i.refused(t, err, lacks, "*", noIdentityPolicy)
}

// publicLogin is the identity as a client of the public registry, with the API's token as
// a bearer as the guide has it ("Using HTTP API authentication").
func (i *identity) publicLogin(t *testing.T) *client {
	t.Helper()
	out, err := i.public().GetAuthorizationToken(t.Context(), &ecrpublic.GetAuthorizationTokenInput{})
	must(t, i.arn+": GetAuthorizationToken", err)
	token := *out.AuthorizationData.AuthorizationToken
	if plain, err := base64.StdEncoding.DecodeString(token); err != nil || !strings.HasPrefix(string(plain), "AWS:") {
		t.Fatalf("the token: %v", err)
	}
	return &client{identity: i, registry: harness.NewRegistry(i.w.PublicEndpoint, "Bearer "+token, http.DefaultTransport)}
}

// pullsPublic fails unless the image can be pulled whole, as everybody may.
func (c *client) pullsPublic(t *testing.T, r *publicRepository) {
	t.Helper()
	path := r.alias + "/" + r.name
	raw, _, err := c.registry.Manifest(t.Context(), path, "v1")
	if err != nil || string(raw) != r.manifest {
		t.Errorf("%s may pull %s, and cannot: %v", c.arn, r.name, err)
	}
	for _, digest := range []string{r.layer, r.config} {
		if _, err := c.registry.Blob(t.Context(), path, digest); err != nil {
			t.Errorf("%s may pull %s, and cannot: %v", c.arn, r.name, err)
		}
	}
}

// pushesPublic fails unless a new image can be pushed.
func (c *client) pushesPublic(t *testing.T, r *publicRepository) {
	t.Helper()
	c.registry.PushImage(t, r.alias+"/"+r.name, "pushed", c.w.seeds.Add(1), 1000)
}

// cannotPushPublic fails unless the beginning and the end of a push are refused.
func (c *client) cannotPushPublic(t *testing.T, r *publicRepository, why reason) {
	t.Helper()
	path := r.alias + "/" + r.name
	_, err := c.registry.StartUpload(t.Context(), path)
	c.denied(t, err, "ecr-public:InitiateLayerUpload", r.repository, why)
	err = c.registry.PutManifest(t.Context(), path, "pushed", harness.OCIImage, []byte(r.manifest))
	c.denied(t, err, "ecr-public:PutImage", r.repository, why)
}
