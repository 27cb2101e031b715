package aws_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/aws"
	"github.com/berth-registry/berth/test/contract/harness"
)

// binary is the built program, with a client for each of its two ways in.
type binary struct {
	*harness.Server
	api    *ecr.Client
	docker *harness.Registry
}

// TestBinary runs the contract against the built program, and beside it what
// needs a process or both ways into it. The pull time is written every ten
// seconds; the contract runs meanwhile.
func TestBinary(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Config: "regions: [us-east-1, eu-central-1]\n"})
	b := &binary{s, s.ECR(), s.Registry(t)}
	began := time.Now()
	b.docker.PushImage(t, b.repo(t, "ab", nil), "v1", 1, 1000) // names have two characters or more
	if at := b.pulled(t); at != nil {
		t.Errorf("never pulled, and lastRecordedPullTime is %s", at)
	}
	b.docker.Verify(t, "ab", "v1")
	pulled := time.Now()

	t.Run("BothWays", b.bothWays)
	t.Run("ImmutableTags", b.immutableTags)
	t.Run("SameNameAgain", b.sameNameAgain)
	t.Run("Keys", b.keys)
	t.Run("Contract", func(t *testing.T) {
		built, missing := operations(t, "ecr")
		public, _ := operations(t, "ecr-public")
		aws.Run(t, aws.Target{
			URL: s.Endpoint, Region: s.Region, Account: s.Account, AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey,
			OtherRegion: "eu-central-1", Domain: "localhost", Built: built, Missing: missing,
			PublicRegistry: s.PublicHost, Gallery: s.Endpoint + "/gallery", PublicBuilt: public,
		})
	})
	t.Run("PullTime", func(t *testing.T) {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			if at := b.pulled(t); at != nil {
				if at.Before(began.Add(-time.Second)) || at.After(pulled.Add(time.Second)) {
					t.Errorf("lastRecordedPullTime is %s, pulled at %s", at, pulled)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("more than a minute after a pull there is no lastRecordedPullTime")
			}
		}
	})
	b.MustFsck(t)
}

// repo makes a repository; change may be nil.
func (b *binary) repo(t *testing.T, name string, change func(*ecr.CreateRepositoryInput)) string {
	t.Helper()
	in := &ecr.CreateRepositoryInput{RepositoryName: &name}
	if change != nil {
		change(in)
	}
	if _, err := b.api.CreateRepository(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return name
}

// pulled is when the image in ab was, as far as it is written.
func (b *binary) pulled(t *testing.T) *time.Time {
	t.Helper()
	out, err := b.api.DescribeImages(t.Context(), &ecr.DescribeImagesInput{
		RepositoryName: sdk.String("ab"), ImageIds: []types.ImageIdentifier{{ImageTag: sdk.String("v1")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.ImageDetails[0].LastRecordedPullTime
}

// bothWays: what comes in through one way goes out through the other.
func (b *binary) bothWays(t *testing.T) {
	ctx := t.Context()
	repo, content := b.repo(t, "both/ways", nil), harness.Random(2, 50_000)
	upload, err := b.api.InitiateLayerUpload(ctx, &ecr.InitiateLayerUploadInput{RepositoryName: &repo})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.api.UploadLayerPart(ctx, &ecr.UploadLayerPartInput{
		RepositoryName: &repo, UploadId: upload.UploadId, PartFirstByte: sdk.Int64(0), PartLastByte: sdk.Int64(int64(len(content)) - 1), LayerPartBlob: content,
	})
	if err != nil {
		t.Fatal(err)
	}
	layer := harness.Digest(content)
	if _, err = b.api.CompleteLayerUpload(ctx, &ecr.CompleteLayerUploadInput{RepositoryName: &repo, UploadId: upload.UploadId, LayerDigests: []string{layer}}); err != nil {
		t.Fatal(err)
	}
	config, err := b.docker.PutBlob(ctx, repo, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	image := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage, Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: config, Size: 2},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: layer, Size: int64(len(content))}},
	}.Bytes(t)
	index := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIIndex,
		Manifests: []harness.Descriptor{{MediaType: harness.OCIImage, Digest: harness.Digest(image), Size: int64(len(image))}},
	}.Bytes(t)
	bare := bytes.Replace(image, []byte(`"mediaType":"`+harness.OCIImage+`",`), nil, 1)
	for _, m := range []struct {
		tag, mediaType string
		raw            []byte
	}{
		{"image", harness.OCIImage, image}, {"index", harness.OCIIndex, index}, {"bare", harness.OCIImage, bare},
		{"odd", harness.OCIImage, slices.Concat([]byte(" \n\t"), image, []byte("\n\n"))},
	} {
		_, err := b.api.PutImage(ctx, &ecr.PutImageInput{
			RepositoryName: &repo, ImageManifest: sdk.String(string(m.raw)), ImageManifestMediaType: &m.mediaType, ImageTag: &m.tag,
		})
		if err != nil {
			t.Fatalf("%s: %v", m.tag, err)
		}
		if got := b.docker.Verify(t, repo, m.tag).Raw; !bytes.Equal(got, m.raw) {
			t.Errorf("%s came back as %q", m.tag, got)
		}
	}

	pushed := b.docker.PushImage(t, repo, "docker", 3, 1000)
	whole := b.docker.Verify(t, repo, "docker")
	out, err := b.api.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: &repo, ImageIds: []types.ImageIdentifier{{ImageTag: sdk.String("docker")}}})
	if err != nil || len(out.Images) != 1 || *out.Images[0].ImageManifest != string(whole.Raw) || *out.Images[0].ImageId.ImageDigest != pushed.Digest {
		t.Errorf("BatchGetImage: %+v, %v", out, err)
	}
	url, err := b.api.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: &repo, LayerDigest: &whole.Manifest.Layers[0].Digest})
	if err != nil {
		t.Fatal(err)
	}
	a, err := b.docker.Do(ctx, harness.Request{Method: http.MethodGet, Path: *url.DownloadUrl}, http.StatusOK)
	if err != nil || !bytes.Equal(a.Body, whole.Blobs[whole.Manifest.Layers[0].Digest]) {
		t.Errorf("the download: %d bytes, %v", len(a.Body), err)
	}
}

// immutableTags: exclusions hold for docker's way in as well.
func (b *binary) immutableTags(t *testing.T) {
	for name, c := range map[string]struct {
		setting    types.ImageTagMutability
		filter     string
		free, held string
	}{
		"immutable/but": {types.ImageTagMutabilityImmutableWithExclusion, "dev-*", "dev-1", "xdev-1"},
		"mutable/but":   {types.ImageTagMutabilityMutableWithExclusion, "v*.*", "v1", "v1.2"},
	} {
		repo := b.repo(t, name, func(in *ecr.CreateRepositoryInput) {
			in.ImageTagMutability = c.setting
			in.ImageTagMutabilityExclusionFilters = []types.ImageTagMutabilityExclusionFilter{
				{FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard, Filter: &c.filter},
			}
		})
		b.docker.PushImage(t, repo, c.free, 4, 500)
		second := b.docker.PushImage(t, repo, c.free, 5, 500)
		first := b.docker.PushImage(t, repo, c.held, 4, 500)
		a, err := b.docker.Do(t.Context(), harness.Request{
			Method: http.MethodPut, Path: "/v2/" + repo + "/manifests/" + c.held, Body: bytes.NewReader(b.docker.Verify(t, repo, c.free).Raw),
			Header: map[string]string{"Content-Type": harness.OCIImage},
		}, http.StatusBadRequest)
		text := "The image tag '" + c.held + "' already exists in the '" + repo + "' repository and cannot be overwritten because the tag is immutable."
		if err != nil || !strings.Contains(string(a.Body), "TAG_INVALID") || !strings.Contains(string(a.Body), text) {
			t.Errorf("%s: %s, %v", c.setting, a.Body, err)
		}
		for tag, want := range map[string]string{c.free: second.Digest, c.held: first.Digest} {
			if got := b.docker.Verify(t, repo, tag).Digest; got != want {
				t.Errorf("%s: %s is %s, want %s", c.setting, tag, got, want)
			}
		}
	}
}

// sameNameAgain: the image of a deleted repository comes into its successor.
func (b *binary) sameNameAgain(t *testing.T) {
	for range 2 {
		b.docker.PushImage(t, b.repo(t, "again/app", nil), "v1", 6, 1000)
		b.docker.Verify(t, "again/app", "v1")
		if _, err := b.api.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: sdk.String("again/app"), Force: true}); err != nil {
			t.Fatal(err)
		}
	}
}

// keys: a key is made and rotated beside the running server.
func (b *binary) keys(t *testing.T) {
	key := "alias/production"
	berth := func(args ...string) {
		t.Helper()
		if out, err := b.Command(t.Context(), append([]string{"keys"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("berth keys %s: %v\n%s", args, err, out)
		}
	}
	berth("create", "--data", b.Data, "production")
	repo := b.repo(t, "encryption/kms", func(in *ecr.CreateRepositoryInput) {
		in.EncryptionConfiguration = &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeKms, KmsKey: &key}
	})
	out, err := b.api.DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repo}})
	if err != nil {
		t.Fatal(err)
	}
	got := out.Repositories[0].EncryptionConfiguration
	if got.EncryptionType != types.EncryptionTypeKms || !strings.HasPrefix(sdk.ToString(got.KmsKey), "arn:aws:kms:us-east-1:"+b.Account+":key/") {
		t.Errorf("encryptionConfiguration is %s, %s", got.EncryptionType, sdk.ToString(got.KmsKey))
	}
	first := b.docker.PushImage(t, repo, "v1", 7, 100_000)
	berth("rotate", "--data", b.Data, key)
	second := b.docker.PushImage(t, repo, "v2", 8, 100_000)
	for tag, want := range map[string]string{"v1": first.Digest, "v2": second.Digest} {
		if got := b.docker.Verify(t, repo, tag).Digest; got != want {
			t.Errorf("after the rotation %s is %s, want %s", tag, got, want)
		}
	}
}
