package oci_test

import (
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci"
)

// TestCallsShareNothing: calls take over the memory of earlier ones, and nothing that these had.
func TestCallsShareNothing(t *testing.T) {
	w := newWorld(t, func(c *oci.Config) { c.Quirks = true })
	c := w.client(t)
	manifest, layer := c.image("team/one", "v1"), []byte("a layer")
	c.wants(c.do("PUT", "/v2/team/one/manifests/v1", manifest, "Content-Type", imageType), 201)
	c.push("team/two", layer)
	for range 20 {
		for _, tt := range []struct {
			method, path string
			status       int
			headers      []string // of the answer, of those that not all have
			params       string
		}{
			{"HEAD", "/v2/team/one/manifests/v1", 200, []string{"Docker-Content-Digest", "Etag", "Sizes"},
				`{"acceptedMediaTypes":["` + imageType + `"],"imageIds":[{"imageTag":"v1"}],"registryId":"` + string(account) + `","repositoryName":"team/one"}`},
			{"GET", "/v2/team/one/manifests/v1", 200, []string{"Etag"},
				`{"acceptedMediaTypes":["` + imageType + `"],"imageIds":[{"imageTag":"v1"}],"registryId":"` + string(account) + `","repositoryName":"team/one"}`},
			{"HEAD", "/v2/team/two/blobs/" + digest(layer), 200, []string{"Accept-Ranges", "Docker-Content-Digest", "Etag"},
				`{"layerDigests":["` + digest(layer) + `"],"registryId":"` + string(account) + `","repositoryName":"team/two"}`},
			{"GET", "/v2/team/two/tags/list", 200, nil, `{"registryId":"` + string(account) + `","repositoryName":"team/two"}`},
			{"HEAD", "/v2/team/one/blobs/" + digest(layer), 404, nil,
				`{"layerDigests":["` + digest(layer) + `"],"registryId":"` + string(account) + `","repositoryName":"team/one"}`},
		} {
			got := c.do(tt.method, tt.path, nil, "Accept", imageType)
			c.wants(got, tt.status)
			var headers []string
			for _, h := range []string{"Accept-Ranges", "Docker-Content-Digest", "Etag", "Sizes"} {
				if _, there := got.Header[h]; there {
					headers = append(headers, h)
				}
			}
			if !slices.Equal(headers, tt.headers) {
				t.Errorf("%s %s has the headers %q, want %q", tt.method, tt.path, headers, tt.headers)
			}
			if e := w.audit.last(); string(e.RequestParameters) != tt.params {
				t.Errorf("%s %s is recorded with %s, want %s", tt.method, tt.path, e.RequestParameters, tt.params)
			}
		}
	}
}
