package nodes

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestRedirect: with an address of the bucket for clients, plain layers come from
// the bucket itself, and sealed ones through the node.
func TestRedirect(t *testing.T) {
	backing := harness.NewBacking(t, harness.ScaleOut)
	public := []string{"BERTH_S3_PUBLIC_ENDPOINT=" + backing.Store.Endpoint}
	s := harness.Prepare(t, harness.Options{Backing: backing, Env: public})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.ReadCredentials(t)
	s.CreateRepository(t, "plain")
	registry := s.Registry(t)
	registry.PushImage(t, "plain", "v1", 1, 6_000_000) // several parts
	digest := firstLayer(t, registry, "v1")
	answer, err := registry.Open(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/plain/blobs/" + digest})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // the header is all
	if location := answer.Header.Get("Location"); answer.StatusCode != http.StatusTemporaryRedirect || !strings.HasPrefix(location, backing.Store.Endpoint+"/"+backing.Bucket+"/") {
		t.Fatalf("GET of a plain layer: %s to %q, want a redirect to the bucket", answer.Status, location)
	}
	out, err := s.ECR().GetDownloadUrlForLayer(t.Context(), &ecr.GetDownloadUrlForLayerInput{RepositoryName: aws.String("plain"), LayerDigest: &digest})
	if err != nil {
		t.Fatal(err)
	}
	for what, from := range map[string]string{"the redirect's": answer.Header.Get("Location"), "GetDownloadUrlForLayer's": *out.DownloadUrl} {
		whole, status := fetch(t, from, "")
		if status != http.StatusOK || harness.Digest(whole) != digest {
			t.Errorf("%s address: %d, %d bytes", what, status, len(whole))
		}
		if part, status := fetch(t, from, "bytes=5500000-5500009"); status != http.StatusPartialContent || !bytes.Equal(part, whole[5_500_000:5_500_010]) {
			t.Errorf("%s address, a range: %d, %d bytes", what, status, len(part))
		}
	}
	if a, err := registry.Do(t.Context(), harness.Request{Method: http.MethodHead, Path: "/v2/plain/blobs/" + digest}, http.StatusOK); err != nil {
		t.Errorf("HEAD is not redirected: %v %v", a, err)
	}
	b := harness.NewBox(t, "skopeo") // crane refuses to be sent from localhost to 127.0.0.1
	b.Run("skopeo", "copy", "--src-tls-verify=false", "--src-creds", "AWS:"+s.Password(t), "docker://"+s.Host+"/plain:v1", "dir:"+b.Path("copied"))

	// Another node seals what is pushed to it; both read everything.
	sealing := harness.StartNode(t, s, harness.Options{Env: append(public, "BERTH_BLOBS_ENCRYPTION=berth")})
	image := sealing.Registry(t).PushImage(t, "plain", "v2", 2, 6_000_000)
	for _, node := range []*harness.Server{s, sealing} {
		registry := node.Registry(t)
		digest := firstLayer(t, registry, image.Digest)
		a, err := registry.Do(t.Context(), harness.Request{Method: http.MethodGet, Path: "/v2/plain/blobs/" + digest}, http.StatusOK)
		if err != nil || harness.Digest(a.Body) != digest {
			t.Errorf("GET of a sealed layer: %v", err)
		}
	}
	s.MustFsck(t)
}

func firstLayer(t *testing.T, registry *harness.Registry, ref string) string {
	t.Helper()
	raw, _, err := registry.Manifest(t.Context(), "plain", ref)
	var m harness.Manifest
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Layers[0].Digest
}

func fetch(t *testing.T, address, bytesRange string) ([]byte, int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytesRange != "" {
		r.Header.Set("Range", bytesRange)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // read whole
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body, answer.StatusCode
}

// TestCache: what was read once comes from the node's own disk.
func TestCache(t *testing.T) {
	s := harness.Start(t, harness.Options{Shape: harness.ScaleOut, Config: "blobs: {cache: {dir: " + t.TempDir() + ", max_bytes: 100000000}}\n"})
	s.CreateRepository(t, "cached")
	registry := s.Registry(t)
	registry.PushImage(t, "cached", "v1", 1, 3_000_000)
	registry.Verify(t, "cached", "v1")
	store := s.Backing.Store.Client()
	all, err := store.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &s.Backing.Bucket})
	if err != nil || len(all.Contents) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, o := range all.Contents {
		if _, err := store.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &s.Backing.Bucket, Key: o.Key}); err != nil {
			t.Fatal(err)
		}
	}
	registry.Verify(t, "cached", "v1")
}
