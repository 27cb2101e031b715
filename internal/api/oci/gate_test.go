package oci_test

import (
	"context"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// held is a gate that holds the images of some digests back from everybody.
type held map[name.Digest]bool

func (h held) Check(_ context.Context, r repository.Repository, img image.Image, who principal.Principal) error {
	if r.Name != "team/one" || who.Account != account || !h[img.Stored] {
		return nil
	}
	return errs.New(errs.PullBlocked, "The rule 'r' holds it back")
}

// TestGate: what the gate holds back is not handed out, by tag or by digest, while
// everything that a push needs goes on.
func TestGate(t *testing.T) {
	gate := held{}
	w := newWorld(t, func(c *oci.Config) { c.Gate = gate })
	c := w.client(t)
	bad, good := c.image("team/one", "bad"), c.image("team/one", "good")
	d := name.SHA256(bad)
	gate[d] = true
	const manifests = "/v2/team/one/manifests/"
	c.wants(c.do("PUT", manifests+"v1", bad, "Content-Type", imageType), 201)
	c.wants(c.do("PUT", manifests+"v2", good, "Content-Type", imageType), 201)
	c.wants(c.do("GET", manifests+"v2", nil), 200)
	for _, ref := range []string{"v1", string(d)} {
		got := c.do("GET", manifests+ref, nil)
		if body := got.text; got.StatusCode != 403 || !strings.Contains(body, "DENIED") || !strings.Contains(body, "The rule 'r' holds it back") || strings.Contains(body, "layers") {
			t.Errorf("%s: %d %s", ref, got.StatusCode, body)
		}
		got = c.do("GET", manifests+ref, nil, "If-None-Match", `"`+string(d)+`"`)
		if got.StatusCode != 403 {
			t.Errorf("%s, if it has changed: %d", ref, got.StatusCode)
		}
		c.wants(c.do("HEAD", manifests+ref, nil), 200)
	}
	c.wants(c.do("PUT", manifests+"v1", good, "Content-Type", imageType), 201)
	c.wants(c.do("GET", manifests+"v1", nil), 200)
}
