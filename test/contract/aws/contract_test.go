package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"

	"github.com/berth-registry/berth/test/contract/harness"
)

// world is the server that the checks share. Each check has repositories of its
// own.
type world struct {
	*harness.Server
	*ecr.Client
	registry *harness.Registry
}

// TestContract runs all checks against one server.
func TestContract(t *testing.T) {
	s := harness.Start(t, harness.Options{Config: "regions: [us-east-1, eu-central-1]\n"})
	w := &world{Server: s, Client: s.ECR(), registry: s.Registry(t)}
	t.Run("the", func(t *testing.T) {
		for _, c := range []struct {
			name string
			run  func(*testing.T, *world)
		}{
			{"CreateRepository", createRepository},
			{"RepositoryNames", repositoryNames},
			{"DescribeRepositories", describeRepositories},
			{"DeleteRepository", deleteRepository},
			{"RepositorySettings", repositorySettings},
			{"ResourceTags", resourceTags},
			{"Encryption", encryption},
			{"Registry", registry},

			{"LayerUpload", layerUpload},
			{"LayerParts", layerParts},
			{"LayerUploadRefusals", layerUploadRefusals},
			{"BatchCheckLayerAvailability", batchCheckLayerAvailability},
			{"Downloads", downloads},

			{"PutImage", putImage},
			{"PutImageRefusals", putImageRefusals},
			{"TagMutability", tagMutability},
			{"BatchGetImage", batchGetImage},
			{"BatchDeleteImage", batchDeleteImage},
			{"ListImages", listImages},
			{"DescribeImages", describeImages},
			{"ListImageReferrers", listImageReferrers},

			{"Paging", paging},
			{"PagingWhileImagesComeAndGo", pagingUnderChange},
			{"PageTokens", pageTokens},

			{"Signatures", signatures},
			{"Protocol", protocol},
			{"AuthorizationTokens", authorizationTokens},
			{"CallerIdentity", callerIdentity},
			{"Regions", regions},
			{"Hosts", hosts},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, w)
			})
		}
	})
	w.MustFsck(t)
}

// refused fails unless err is the API's exception of type E with the text.
func refused[E smithy.APIError](t *testing.T, err error, text string) {
	t.Helper()
	var e E
	if !errors.As(err, &e) {
		t.Fatalf("the answer is %v (%T), want a %T", err, err, e)
	}
	if e.ErrorMessage() != text {
		t.Fatalf("the %s says\n%s\nwant\n%s", e.ErrorCode(), e.ErrorMessage(), text)
	}
}

// parameter fails unless err refuses the parameter for the reason.
func parameter(t *testing.T, err error, name, constraint string) {
	t.Helper()
	refused[*types.InvalidParameterException](t, err, "Invalid parameter at '"+name+"' failed to satisfy constraint: '"+constraint+"'")
}

// code fails unless err has the error code; for those that the SDK has no type
// for.
func code(t *testing.T, err error, want, text string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != want || !strings.Contains(e.ErrorMessage(), text) {
		t.Fatalf("the answer is %v, want %s with %q", err, want, text)
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) repo(t *testing.T, name string) *string {
	t.Helper()
	w.CreateRepository(t, name)
	return &name
}

// CreateRepository is the harness's, not the SDK's.
func (w *world) CreateRepository(t *testing.T, name string) {
	t.Helper()
	w.Server.CreateRepository(t, name)
}

func (w *world) repositoryMissing(name string) string {
	return fmt.Sprintf("The repository with name '%s' does not exist in the registry with id '%s'", name, w.Account)
}

// put pushes a manifest under a tag; "" pushes it without one.
func (w *world) put(t *testing.T, repo, tag string, raw []byte) error {
	t.Helper()
	in := &ecr.PutImageInput{RepositoryName: &repo, ImageManifest: new(string(raw))}
	if tag != "" {
		in.ImageTag = &tag
	}
	_, err := w.PutImage(t.Context(), in)
	return err
}

// raw is a manifest whose blobs are pushed, and which is not.
func (w *world) raw(t *testing.T, repo string, seed uint64) []byte {
	t.Helper()
	layer, config := harness.Random(seed, 1000), fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","n":%d}`, seed)
	for _, b := range [][]byte{layer, config} {
		if _, err := w.registry.PutBlob(t.Context(), repo, b); err != nil {
			t.Fatal(err)
		}
	}
	return harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
	}.Bytes(t)
}

// send makes a plain HTTP request to the server and reads the answer.
func (w *world) send(ctx context.Context, t *testing.T, method, url string, header map[string]string, body []byte) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			r.Host = v
		}
		r.Header.Set(k, v)
	}
	answer, err := w.registry.HTTP.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // read to its end
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

func tagID(tag string) types.ImageIdentifier { return types.ImageIdentifier{ImageTag: &tag} }

func digestID(digest string) types.ImageIdentifier {
	return types.ImageIdentifier{ImageDigest: &digest}
}
