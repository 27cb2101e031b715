package apptest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Do sends one registry request with the authorization and returns the answer
// with its whole body.
func Do(t testing.TB, method, url, authorization string, body []byte, header map[string]string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	for k, v := range header {
		if k == "Host" {
			r.Host = v
			continue
		}
		r.Header.Set(k, v)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer, content
}

// PushBlob uploads one blob and returns its digest.
func PushBlob(t testing.TB, base, authorization, repo string, content []byte, header map[string]string) digest.Digest {
	t.Helper()
	started, text := Do(t, http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/", authorization, nil, header)
	if started.StatusCode != http.StatusAccepted {
		t.Fatalf("starting an upload: %s %s", started.Status, text)
	}
	d := digest.FromBytes(content)
	location := started.Header.Get("Location")
	if i := strings.Index(location, "/v2/"); i > 0 {
		location = location[i:]
	}
	put, text := Do(t, http.MethodPut, base+location+"?digest="+d.String(), authorization, content, header)
	if put.StatusCode != http.StatusCreated {
		t.Fatalf("finishing an upload: %s %s", put.Status, text)
	}
	return d
}

// PushImage pushes an OCI image of the layers under the tag and returns the
// digest of its manifest.
func PushImage(t testing.TB, base, authorization, repo, tag string, header map[string]string, layers ...[]byte) digest.Digest {
	t.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Size: int64(len(config)), Digest: PushBlob(t, base, authorization, repo, config, header)}
	for _, l := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: int64(len(l)), Digest: PushBlob(t, base, authorization, repo, l, header)})
	}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"Content-Type": m.MediaType}
	for k, v := range header {
		all[k] = v
	}
	put, text := Do(t, http.MethodPut, base+"/v2/"+repo+"/manifests/"+tag, authorization, body, all)
	if put.StatusCode != http.StatusCreated {
		t.Fatalf("pushing a manifest: %s %s", put.Status, text)
	}
	return digest.FromBytes(body)
}
