package oci_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/api/oci"
)

// TestQuirks holds every line of docs/decisions/0005-oci-spec-by-default.md:
// what ECR does where it breaks the specification.
func TestQuirks(t *testing.T) {
	w := newWorld(t, func(c *oci.Config) { c.Quirks = true })
	c := w.client(t)
	const base = "/v2/team/one"
	part := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)

	t.Run("uploads", func(t *testing.T) {
		start := c.do("POST", base+"/blobs/uploads/", nil)
		c.wants(start, 202)
		if start.Header.Get("Docker-Upload-Uuid") != "" || start.Header.Get("Range") != "0-0" {
			t.Errorf("the start's headers are %v", start.Header)
		}
		at, content := start.Header.Get("Location"), []byte{}
		for i := range 3 { // the Range sticks at the end of the first chunk
			first := len(content)
			content = append(content, part...)
			patch := c.do("PATCH", at, part, "Content-Range", fmt.Sprintf("%d-%d", first, len(content)-1))
			c.wants(patch, 201)
			if got := patch.Header.Get("Range"); got != "0-5242879" {
				t.Errorf("chunk %d: Range is %q", i, got)
			}
			at = patch.Header.Get("Location")
		}
		c.wants(c.do("PATCH", at, part, "Content-Range", "5242880-10485759"), 416) // what a client gets that trusts it
		content = append(content, "the end"...)
		c.wants(c.do("PUT", at+"?digest="+digest(content), []byte("the end")), 201)
		if got := c.do("GET", base+"/blobs/"+digest(content), nil); got.text != string(content) {
			t.Errorf("%d other bytes", len(got.text))
		}
	})
	t.Run("small parts and empty blobs", func(t *testing.T) {
		at := c.do("POST", base+"/blobs/uploads/", nil).Header.Get("Location")
		at = c.do("PATCH", at, []byte("small")).Header.Get("Location")
		at = c.do("PATCH", at, []byte("last")).Header.Get("Location")
		c.wants(c.do("PUT", at+"?digest="+digest([]byte("smalllast")), nil), 400, "BLOB_UPLOAD_INVALID", "All layer parts except the last part should be at least 5MB")
		at = c.do("POST", base+"/blobs/uploads/", nil).Header.Get("Location")
		c.wants(c.do("PUT", at+"?digest="+digest(nil), nil), 400, "BLOB_UPLOAD_INVALID", "because it does not have any parts")
		at = c.do("POST", base+"/blobs/uploads/", nil).Header.Get("Location")
		c.wants(c.do("PUT", at+"?digest="+digest([]byte("other")), []byte("this")), 400, "BLOB_UPLOAD_INVALID", "None of the provided layer digests match the calculated layer digest")
	})
	t.Run("manifests", func(t *testing.T) {
		manifest := c.image("team/one", "quirk")
		c.wants(c.do("PUT", base+"/manifests/v1", manifest, "Content-Type", imageType), 201)
		if got := c.do("GET", base+"/manifests/v1", nil); got.Header.Get("Docker-Content-Digest") != "" || got.text != string(manifest) {
			t.Errorf("GET has the headers %v", got.Header)
		}
		got := c.do("HEAD", base+"/manifests/v1", nil)
		if sizes, ok := got.Header["Sizes"]; got.Header.Get("Docker-Content-Digest") != digest(manifest) || !ok || sizes[0] != "" {
			t.Errorf("HEAD has the headers %v", got.Header)
		}
		for what, r := range map[string]reply{
			"a tag":      c.do("PUT", base+"/manifests/a+b", manifest, "Content-Type", imageType),
			"a tag, too": c.do("GET", base+"/manifests/a+b", nil),
			"no JSON":    c.do("PUT", base+"/manifests/v2", []byte("{"), "Content-Type", imageType),
			"a name":     c.do("GET", "/v2/Team/tags/list", nil),
			"n":          c.do("GET", base+"/tags/list?n=1001", nil),
			"no type":    c.do("PUT", base+"/manifests/v2", []byte(`{"schemaVersion":2}`)),
			"a digest":   c.do("GET", base+"/blobs/sha256:none", nil),
		} {
			if r.StatusCode != 405 || !strings.Contains(r.text, `"code":"UNSUPPORTED"`) {
				t.Errorf("%s: %d %s", what, r.StatusCode, r.text)
			}
		}
		c.wants(c.do("PUT", base+"/manifests/.dot", manifest, "Content-Type", imageType), 201) // ECR's tags are wider than the specification's
		c.wants(c.do("GET", base+"/tags/list?n=1001", nil), 405, "Member must have value less than or equal to 1000")
		c.wants(c.do("GET", base+"/manifests/a+b", nil), 405, "Invalid parameter at 'imageTag' failed to satisfy constraint: 'must satisfy regular expression '[a-zA-Z0-9-_.]+''")
	})
	t.Run("deleting blobs", func(t *testing.T) {
		c.wants(c.do("DELETE", base+"/blobs/"+c.push("team/one", []byte("stays")), nil), 405, "UNSUPPORTED")
	})
	t.Run("tags", func(t *testing.T) {
		const repo = "/v2/team/two"
		manifest := c.image("team/two", "tagged")
		for _, tag := range []string{"c", "a", "b"} {
			c.wants(c.do("PUT", repo+"/manifests/"+tag, c.image("team/two", tag), "Content-Type", imageType), 201)
		}
		for i := range 100 {
			c.wants(c.do("PUT", fmt.Sprintf("%s/manifests/t%03d", repo, i), manifest, "Content-Type", imageType), 201)
		}
		var got []string
		pages := 0
		for next := repo + "/tags/list"; next != ""; pages++ {
			r := c.do("GET", next, nil)
			c.wants(r, 200, `"name":"team/two"`)
			if kind := r.Header.Get("Content-Type"); kind != "text/plain; charset=utf-8" {
				t.Errorf("Content-Type is %q", kind)
			}
			_, list, _ := strings.Cut(r.text, `"tags":["`)
			got = append(got, strings.Split(strings.TrimSuffix(strings.TrimSpace(list), `"]}`), `","`)...)
			link := r.Header.Get("Link")
			if next = ""; link != "" {
				url, _, _ := strings.Cut(strings.TrimPrefix(link, "<"+w.url), ">")
				next = url
				if !strings.HasPrefix(link, "<"+w.url+repo+"/tags/list?last=") || strings.Contains(link, got[len(got)-1]) {
					t.Errorf("Link is %q", link)
				}
			}
		}
		if pages != 2 || len(got) != 103 || !slices.Equal(got[:3], []string{"c", "a", "b"}) {
			t.Errorf("%d pages, %d tags: %v", pages, len(got), got)
		}
		c.wants(c.do("GET", repo+"/tags/list?last=c", nil), 405, "UNSUPPORTED")
	})
}
