package upstreamtest_test

import (
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

// TestRegistry uses what the client's own tests do not.
func TestRegistry(t *testing.T) {
	r := upstreamtest.New(t)
	c := upstream.New(upstreamtest.Config(r))
	defer c.Close()
	const repo = "library/app"
	one, two := r.PushImage(repo, "", []byte("one")), r.PushImage(repo, "", []byte("two"))
	if one.Digest() == two.Digest() || one.Config.Digest == two.Config.Digest {
		t.Error("two images are the same")
	}
	index := r.PushIndex(repo, "latest", one, two)
	m, err := c.Manifest(t.Context(), r.Endpoint(), repo, "latest", nil)
	if err != nil || m.Digest != index.Digest() {
		t.Fatalf("%v, %v", m, err)
	}
	var list struct {
		Manifests []struct {
			Digest   string
			Platform struct{ Architecture string }
		}
	}
	if err := json.Unmarshal(m.Body, &list); err != nil || len(list.Manifests) != 2 ||
		list.Manifests[1].Digest != two.Digest() || list.Manifests[1].Platform.Architecture != "arm64" {
		t.Errorf("%s: %v", m.Body, err)
	}
	for _, child := range list.Manifests {
		if _, err := c.Manifest(t.Context(), r.Endpoint(), repo, child.Digest, nil); err != nil {
			t.Error(err)
		}
	}
	r.Tag(repo, "latest", one.Digest())
	if m, err := c.Manifest(t.Context(), r.Endpoint(), repo, "latest", nil); err != nil || m.Digest != one.Digest() {
		t.Errorf("moved: %v, %v", m, err)
	}

	r.ResetRequests()
	r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Contains: one.Layers[0].Digest.String(), Times: 1, Skip: 1, Status: 500})
	r.Inject(upstreamtest.Fault{Kind: upstreamtest.BlobHead, Delay: time.Hour})
	var kinds []upstream.Kind
	for range 3 {
		content, _, err := c.Blob(t.Context(), r.Endpoint(), repo, one.Layers[0].Digest.String(), 0)
		kinds = append(kinds, upstream.KindOf(err))
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(content); err != nil || string(got) != "one" {
			t.Errorf("%q, %v", got, err)
		}
		if err := content.Close(); err != nil {
			t.Error(err)
		}
	}
	if kinds[0] != 0 || kinds[1] != upstream.Unavailable || kinds[2] != 0 {
		t.Errorf("failures: %v", kinds)
	}
	if n := r.CountPath(upstreamtest.Blob, one.Layers[0].Digest.String()); n != 3 {
		t.Errorf("%d requests", n)
	}
	if n := r.BlobBytes(); n != 6 {
		t.Errorf("%d bytes were sent", n)
	}
	r.Inject(upstreamtest.Fault{Status: 503})
	if err := c.Ping(t.Context(), r.Endpoint(), ""); upstream.KindOf(err) != upstream.Unavailable {
		t.Error(err)
	}
	r.Heal()
	if err := c.Ping(t.Context(), r.Endpoint(), repo); err != nil {
		t.Error(err)
	}
}
