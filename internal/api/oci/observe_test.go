package oci_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/api/oci/observation"
	"github.com/berth-registry/berth/internal/domain/name"
)

// TestObservedPulls: whoever counts pulls is told the manifest of each, and of nothing
// that is none; and how much of a layer the client was sent elsewhere for.
func TestObservedPulls(t *testing.T) {
	var mu sync.Mutex
	var seen []observation.Request
	w := newWorld(t, func(c *oci.Config) {
		c.Layers = &redirecting{Layers: c.Layers, on: true}
		c.Observe = func(_ http.ResponseWriter, o observation.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, o)
		}
	})
	last := func() observation.Request {
		mu.Lock()
		defer mu.Unlock()
		return seen[len(seen)-1]
	}
	c := w.client(t)
	body, content := c.image("team/one", "counted"), []byte("some layer")
	layer := c.push("team/one", content)
	const manifests = "/v2/team/one/manifests/"
	c.wants(c.do("PUT", manifests+"v1", body, "Content-Type", imageType), 201)
	d := name.SHA256(body)
	for _, row := range []struct {
		method, path string
		headers      []string
		status       int
		digest       name.Digest
		tag          name.Tag
		elsewhere    int64
	}{
		{"GET", manifests + "v1", nil, 200, d, "v1", 0},
		{"GET", manifests + string(d), nil, 200, d, "", 0},
		{"HEAD", manifests + "v1", nil, 200, "", "", 0},
		{"GET", manifests + "v1", []string{"If-None-Match", `"` + string(d) + `"`}, 304, "", "", 0},
		{"GET", manifests + "v1", []string{"Range", "bytes=0-1"}, 206, "", "", 0},
		{"GET", manifests + "none", nil, 404, "", "", 0},
		{"GET", "/v2/team/one/blobs/" + layer, nil, 307, "", "", int64(len(content))},
		{"PUT", manifests + "v2", []string{"Content-Type", imageType}, 201, "", "", 0},
	} {
		sent := []byte(nil)
		if row.method == "PUT" {
			sent = body
		}
		c.wants(c.do(row.method, row.path, sent, row.headers...), row.status)
		got := last()
		if got.Status != row.status || got.Digest != row.digest || got.Tag != row.tag || got.Elsewhere != row.elsewhere || got.Repository != "team/one" {
			t.Errorf("%s %s: observed %+v", row.method, row.path, got)
		}
	}
	if got := last(); !slices.Equal(got.Actions, []string{"PutImage"}) {
		t.Errorf("the actions of a push are %q", got.Actions)
	}
}
