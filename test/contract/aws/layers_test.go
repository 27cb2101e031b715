package aws

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/berth-registry/berth/test/contract/harness"
)

const mib = 1 << 20

// asError is errors.As.
func asError[E error](err error, target *E) bool { return errors.As(err, target) }

func (w *world) begin(t *testing.T, repo *string) *string {
	t.Helper()
	out := must(w.InitiateLayerUpload(t.Context(), &ecr.InitiateLayerUploadInput{RepositoryName: repo}))(t)
	if *out.PartSize != 10*mib {
		t.Errorf("partSize is %d, want 10 MiB", *out.PartSize)
	}
	return out.UploadId
}

func (w *world) part(t *testing.T, repo, upload *string, first int64, b []byte) (*ecr.UploadLayerPartOutput, error) {
	t.Helper()
	return w.UploadLayerPart(t.Context(), &ecr.UploadLayerPartInput{
		RepositoryName: repo, UploadId: upload, PartFirstByte: &first, PartLastByte: aws.Int64(first + int64(len(b)) - 1), LayerPartBlob: b,
	})
}

func (w *world) complete(t *testing.T, repo, upload *string, digests ...string) (*ecr.CompleteLayerUploadOutput, error) {
	t.Helper()
	return w.CompleteLayerUpload(t.Context(), &ecr.CompleteLayerUploadInput{RepositoryName: repo, UploadId: upload, LayerDigests: digests})
}

// layerUpload sends a layer in parts of several sizes, and gets it back.
func layerUpload(t *testing.T, w *world) {
	repo := w.repo(t, "layers/upload")
	content := harness.Random(1, 5*mib+20*mib+6*mib+1234)
	upload := w.begin(t, repo)
	at := int64(0)
	for _, n := range []int{5 * mib, 20 * mib, 6 * mib, 1234} {
		out := must(w.part(t, repo, upload, at, content[at:at+int64(n)]))(t)
		at += int64(n)
		if *out.LastByteReceived != at-1 || *out.UploadId != *upload || *out.RepositoryName != *repo || *out.RegistryId != w.Account {
			t.Fatalf("UploadLayerPart answers %d of upload %s, want %d", *out.LastByteReceived, *out.UploadId, at-1)
		}
	}
	digest := harness.Digest(content)
	done := must(w.complete(t, repo, upload, "sha256:"+strings.Repeat("0", 64), digest))(t) // one of several is enough
	if *done.LayerDigest != digest || *done.UploadId != *upload {
		t.Fatalf("CompleteLayerUpload answers %s, want %s", *done.LayerDigest, digest)
	}
	got, err := w.registry.Blob(t.Context(), *repo, digest)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("the layer came back with %d bytes: %v", len(got), err)
	}
	_, err = w.complete(t, repo, upload, digest)
	code(t, err, "UploadNotFoundException", *upload)

	t.Log("the same layer once more, and into another repository")
	again := w.begin(t, repo)
	must(w.part(t, repo, again, 0, content[:20*mib]))(t)
	must(w.part(t, repo, again, 20*mib, content[20*mib:]))(t)
	_, err = w.complete(t, repo, again, digest)
	code(t, err, "LayerAlreadyExistsException", digest)
	other := w.repo(t, "layers/other")
	if _, err := w.registry.Blob(t.Context(), *other, digest); err == nil {
		t.Error("another repository has the layer without a push")
	}
	third := w.begin(t, other)
	must(w.part(t, other, third, 0, content[:20*mib]))(t)
	must(w.part(t, other, third, 20*mib, content[20*mib:]))(t)
	must(w.complete(t, other, third, digest))(t)
}

// layerParts is what happens to parts that do not fit.
func layerParts(t *testing.T, w *world) {
	repo := w.repo(t, "layers/parts")
	upload := w.begin(t, repo)
	five := harness.Random(2, 5*mib)
	must(w.part(t, repo, upload, 0, five))(t)
	for _, first := range []int64{0, 5*mib - 1, 5*mib + 1, 50 * mib} { // again, an overlap, gaps
		_, err := w.part(t, repo, upload, first, five)
		var e *types.InvalidLayerPartException
		if !asError(err, &e) {
			t.Fatalf("a part at %d: %v, want InvalidLayerPartException", first, err)
		}
		if aws.ToInt64(e.LastValidByteReceived) != 5*mib-1 || aws.ToString(e.UploadId) != *upload || aws.ToString(e.RepositoryName) != *repo || aws.ToString(e.RegistryId) != w.Account {
			t.Errorf("the exception holds %d, %s, %s, %s", aws.ToInt64(e.LastValidByteReceived), aws.ToString(e.UploadId), aws.ToString(e.RepositoryName), aws.ToString(e.RegistryId))
		}
	}
	_, err := w.UploadLayerPart(t.Context(), &ecr.UploadLayerPartInput{ // the range says more than there is
		RepositoryName: repo, UploadId: upload, PartFirstByte: aws.Int64(5 * mib), PartLastByte: aws.Int64(6 * mib), LayerPartBlob: five[:100],
	})
	code(t, err, "InvalidLayerPartException", "")
	must(w.part(t, repo, upload, 5*mib, five[:1000]))(t) // a small one; it may be the last
	must(w.part(t, repo, upload, 5*mib+1000, five[:1000]))(t)
	_, err = w.complete(t, repo, upload, harness.Digest(append(append(bytes.Clone(five), five[:1000]...), five[:1000]...)))
	refused[*types.LayerPartTooSmallException](t, err, "All layer parts except the last part should be at least 5MB")

	_, err = w.part(t, repo, w.begin(t, repo), 0, make([]byte, 20*mib+1))
	if err == nil {
		t.Error("a part of more than 20 MiB was accepted")
	}
}

func layerUploadRefusals(t *testing.T, w *world) {
	repo, other := w.repo(t, "layers/refusals"), w.repo(t, "layers/refusals-other")
	none := aws.String("layers/none")
	_, err := w.InitiateLayerUpload(t.Context(), &ecr.InitiateLayerUploadInput{RepositoryName: none})
	refused[*types.RepositoryNotFoundException](t, err, w.repositoryMissing(*none))

	empty := w.begin(t, repo)
	digest := "sha256:" + strings.Repeat("0", 64)
	_, err = w.complete(t, repo, empty, digest)
	refused[*types.EmptyUploadException](t, err, fmt.Sprintf("The upload with id '%s' in the repository with name '%s' in registry with id '%s' cannot be completed because it does not have any parts", *empty, *repo, w.Account))

	upload := w.begin(t, repo)
	must(w.part(t, repo, upload, 0, []byte("some bytes")))(t)
	_, err = w.complete(t, repo, upload, digest)
	refused[*types.InvalidLayerException](t, err, "None of the provided layer digests match the calculated layer digest")
	_, err = w.complete(t, repo, w.begin(t, repo), "no digest")
	code(t, err, "InvalidParameterException", "Invalid parameter at 'layerDigests")

	unknown := "01234567-89ab-cdef-0123-456789abcdef"
	_, err = w.part(t, repo, &unknown, 0, []byte("x"))
	code(t, err, "UploadNotFoundException", unknown)
	_, err = w.part(t, repo, aws.String("no-uuid"), 0, []byte("x"))
	code(t, err, "InvalidParameterException", "uploadId")
	foreign := w.begin(t, repo)
	_, err = w.part(t, other, foreign, 0, []byte("x"))
	code(t, err, "UploadNotFoundException", *foreign)
	_, err = w.complete(t, other, foreign, digest)
	code(t, err, "UploadNotFoundException", *foreign)
}

func batchCheckLayerAvailability(t *testing.T, w *world) {
	repo := w.repo(t, "layers/check")
	there := must(w.registry.PutBlob(t.Context(), *repo, harness.Random(3, 777)))(t)
	missing := "sha256:" + strings.Repeat("a", 64)
	out := must(w.BatchCheckLayerAvailability(t.Context(), &ecr.BatchCheckLayerAvailabilityInput{
		RepositoryName: repo, LayerDigests: []string{missing, there, "nonsense"},
	}))(t)
	if len(out.Layers) != 2 || len(out.Failures) != 1 {
		t.Fatalf("%d layers and %d failures, want 2 and 1", len(out.Layers), len(out.Failures))
	}
	if out.Layers[0].LayerAvailability != types.LayerAvailabilityUnavailable || *out.Layers[0].LayerDigest != missing {
		t.Errorf("the missing layer is %+v", out.Layers[0])
	}
	if l := out.Layers[1]; l.LayerAvailability != types.LayerAvailabilityAvailable || *l.LayerDigest != there || *l.LayerSize != 777 {
		t.Errorf("the layer is %+v", l)
	}
	if f := out.Failures[0]; f.FailureCode != types.LayerFailureCodeInvalidLayerDigest || *f.LayerDigest != "nonsense" {
		t.Errorf("the failure is %+v", f)
	}
}

func downloads(t *testing.T, w *world) {
	ctx := t.Context()
	repo := w.repo(t, "layers/download")
	w.registry.PushImage(t, *repo, "v1", 4, 50_000)
	image := w.registry.Verify(t, *repo, "v1")
	layer := image.Manifest.Layers[0].Digest
	content := image.Blobs[layer]
	out := must(w.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: repo, LayerDigest: &layer}))(t)
	if *out.LayerDigest != layer {
		t.Errorf("layerDigest is %s", *out.LayerDigest)
	}
	url := *out.DownloadUrl
	answer, body := w.send(ctx, t, http.MethodGet, url, nil, nil)
	if answer.StatusCode != http.StatusOK || body != string(content) {
		t.Fatalf("the download: status %d, %d bytes", answer.StatusCode, len(body))
	}
	answer, body = w.send(ctx, t, http.MethodGet, url, map[string]string{"Range": "bytes=100-199"}, nil)
	if answer.StatusCode != http.StatusPartialContent || body != string(content[100:200]) {
		t.Errorf("a range of the download: status %d, %d bytes", answer.StatusCode, len(body))
	}
	for _, altered := range []string{
		strings.Replace(url, layer[len(layer)-10:], "0000000000", 1),
		url[:len(url)-1] + string(url[len(url)-1]^1),
		strings.Split(url, "?")[0],
		strings.Replace(url, "layers/download", "layers/other000", 1),
	} {
		if altered == url {
			continue
		}
		if answer, _ := w.send(ctx, t, http.MethodGet, altered, nil, nil); answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusBadRequest && answer.StatusCode != http.StatusNotFound {
			t.Errorf("the altered address %s answers %d", altered, answer.StatusCode)
		}
	}
	if answer, _ := w.send(ctx, t, http.MethodPut, url, nil, []byte("x")); answer.StatusCode < 400 {
		t.Errorf("a PUT to the address answers %d", answer.StatusCode)
	}

	missing := "sha256:" + strings.Repeat("b", 64)
	_, err := w.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: repo, LayerDigest: &missing})
	refused[*types.LayersNotFoundException](t, err, fmt.Sprintf("The layer with digest '%s' does not exist within the repository with name '%s' in the registry with id '%s'", missing, *repo, w.Account))
	loose := must(w.registry.PutBlob(ctx, *repo, harness.Random(5, 100)))(t)
	_, err = w.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: repo, LayerDigest: &loose})
	code(t, err, "LayerInaccessibleException", loose)
}
