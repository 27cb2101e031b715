package oci_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// gate counts what it is asked to admit, and refuses what it is told to.
type gate struct {
	mu     sync.Mutex
	asked  []string
	refuse string
}

func (g *gate) admit(_ context.Context, caller name.AccountID, addressed name.Region, action string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked = append(g.asked, string(caller)+" "+string(addressed)+" "+action)
	if action == g.refuse {
		return errs.New(errs.Throttled, "Rate exceeded").With("retryAfter", 3)
	}
	return nil
}

func (g *gate) take() (asked []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	asked, g.asked = g.asked, nil
	return asked
}

// TestThrottle: each request is admitted as the operations that it is, before
// anybody is asked whether it is allowed, and one that is refused does nothing.
func TestThrottle(t *testing.T) {
	g := &gate{}
	w := newWorld(t, func(c *oci.Config) { c.Throttle = g.admit })
	c := w.client(t)
	content := []byte("a layer")
	manifest := c.image("team/one", "throttle")
	g.take()
	location := func() string {
		r := c.do("POST", "/v2/team/one/blobs/uploads/", nil)
		c.wants(r, 202)
		at := r.Header.Get("Location")
		return strings.TrimPrefix(at, w.url)
	}
	upload := location()
	whole := location()
	g.take()
	for _, step := range []struct {
		method, path string
		body         []byte
		want         string // operations
	}{
		{"GET", "/v2/", nil, ""},
		{"PUT", "/v2/team/one/manifests/v1", manifest, "PutImage"},
		{"GET", "/v2/team/one/manifests/v1", nil, "BatchGetImage"},
		{"HEAD", "/v2/team/one/manifests/v1", nil, "BatchGetImage"},
		{"POST", "/v2/team/one/blobs/uploads/", nil, "InitiateLayerUpload"},
		{"POST", "/v2/team/one/blobs/uploads/?digest=" + digest(content), nil, "InitiateLayerUpload"},
		{"POST", "/v2/team/one/blobs/uploads/?digest=" + digest(content), content, "InitiateLayerUpload UploadLayerPart CompleteLayerUpload"},
		{"PATCH", upload, content, "UploadLayerPart"},
		{"PUT", upload + "?digest=" + digest(content), nil, "CompleteLayerUpload"},
		{"PUT", whole + "?digest=" + digest(content), content, "CompleteLayerUpload UploadLayerPart"},
		{"GET", "/v2/team/one/blobs/" + digest(content), nil, "GetDownloadUrlForLayer"},
		{"HEAD", "/v2/team/one/blobs/" + digest(content), nil, "BatchCheckLayerAvailability"},
		{"GET", "/v2/team/one/tags/list", nil, "ListImages"},
		{"GET", "/v2/_catalog", nil, "DescribeRepositories"},
		{"GET", "/v2/not/there/tags/list", nil, "ListImages"},
	} {
		r := c.do(step.method, step.path, step.body, "Content-Type", imageType)
		if r.StatusCode >= 400 && !strings.Contains(step.path, "not/there") {
			t.Errorf("%s %s: %d %s", step.method, step.path, r.StatusCode, r.text)
		}
		var want []string
		for _, action := range strings.Fields(step.want) {
			want = append(want, string(account)+" "+string(region)+" "+action)
		}
		if got := g.take(); !slices.Equal(got, want) {
			t.Errorf("%s %s asked for %q, want %q", step.method, step.path, got, want)
		}
	}

	g.refuse = "PutImage"
	r := c.do("PUT", "/v2/team/one/manifests/refused", manifest, "Content-Type", imageType)
	c.wants(r, 429, `"code":"TOOMANYREQUESTS"`, `"message":"Rate exceeded"`)
	if got := r.Header.Get("Retry-After"); got != "3" {
		t.Errorf("Retry-After is %q", got)
	}
	if e := w.audit.last(); e.EventName != "PutImage" || e.ErrorCode != "TOOMANYREQUESTS" {
		t.Errorf("recorded as %+v", e)
	}
	c.wants(c.do("GET", "/v2/team/one/manifests/refused", nil), 404)

	// The caller's own account counts, whatever registry it asks, and a stranger
	// who would be denied is admitted first.
	g.take()
	stranger := &client{t, w, w.token(t, foreign, region)}
	stranger.wants(stranger.do("GET", "/v2/team/one/tags/list", nil), 403)
	if got, want := g.take(), []string{string(foreign) + " " + string(region) + " ListImages"}; !slices.Equal(got, want) {
		t.Errorf("a stranger's request asked for %q, want %q", got, want)
	}
	nobody := &client{t, w, "Basic bm9ib2R5"}
	nobody.wants(nobody.do("GET", "/v2/team/one/tags/list", nil), 401)
	if got := g.take(); len(got) != 0 {
		t.Errorf("a request without a token asked for %q", got)
	}
}
