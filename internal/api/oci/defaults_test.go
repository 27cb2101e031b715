package oci_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestDefaults is the other side of TestQuirks, as far as the contract of the
// data plane, which takes any registry, leaves it open.
func TestDefaults(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	const base = "/v2/team/one"
	start := c.do("POST", base+"/blobs/uploads/", nil)
	at := start.Header.Get("Location")
	if id := start.Header.Get("Docker-Upload-Uuid"); id == "" || at != base+"/blobs/uploads/"+id {
		t.Errorf("the start's headers are %v", start.Header)
	}
	if got := c.do("GET", at+".7", nil); got.StatusCode != 204 || got.Header.Get("Range") != "0-0" || got.Header.Get("Location") != at {
		t.Errorf("the place of the stuck Range is %d %v", got.StatusCode, got.Header)
	}
	for i := range 3 {
		c.wants(c.do("PUT", fmt.Sprintf("%s/manifests/v%d", base, i), c.image("team/one", "x"), "Content-Type", imageType), 201)
	}
	for _, list := range []string{base + "/tags/list", "/v2/_catalog"} {
		got := c.do("GET", list+"?n=1", nil)
		if link := got.Header.Get("Link"); !strings.HasPrefix(link, "<"+list+"?last=") || !strings.Contains(link, "n=1") {
			t.Errorf("%s: Link is %q", list, link)
		}
		if kind := got.Header.Get("Content-Type"); kind != "application/json" {
			t.Errorf("%s: Content-Type is %q", list, kind)
		}
		c.wants(c.do("GET", list+"?n=1001", nil), 200)
	}
	got := c.do("HEAD", base+"/manifests/v1", nil)
	if _, ok := got.Header["Sizes"]; ok || got.Header.Get("Docker-Content-Digest") == "" {
		t.Errorf("HEAD has the headers %v", got.Header)
	}
}

// TestBlobTypes: who pushes a manifest says what its blobs are, and browsers
// may be listening.
func TestBlobTypes(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client(t)
	for announced, want := range map[string]string{
		"application/vnd.oci.image.config.v1+json":                "application/vnd.oci.image.config.v1+json",
		"application/vnd.oci.image.layer.v1.tar+gzip":             "application/vnd.oci.image.layer.v1.tar+gzip",
		"application/json":                                        "application/json",
		"text/html":                                               "application/octet-stream",
		"image/svg+xml":                                           "application/octet-stream",
		"application/xhtml+xml":                                   "application/octet-stream",
		"application/vnd.wap.xhtml+xml":                           "application/octet-stream",
		"application/vnd.example\\r\\nSet-Cookie: x=y; text/html": "application/octet-stream",
	} {
		content := []byte("<script>" + announced + "</script>")
		d := c.push("team/one", content)
		manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"%s","digest":%q,"size":%d},"layers":[]}`, imageType, announced, d, len(content))
		if got := c.do("PUT", "/v2/team/one/manifests/v1", []byte(manifest), "Content-Type", imageType); got.StatusCode != 201 {
			t.Logf("%q is refused outright", announced)
			continue
		}
		got := c.do("GET", "/v2/team/one/blobs/"+d, nil)
		if kind := got.Header.Get("Content-Type"); kind != want || got.Header.Get("X-Content-Type-Options") != "nosniff" || got.Header.Get("Set-Cookie") != "" {
			t.Errorf("%q is served as %q", announced, kind)
		}
	}
}
