package oci

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

func pullBlob(t *testing.T, s *suite) {
	for _, size := range []int{1, 65_536, 3<<20 + 1} {
		content := random(size)
		d := s.push(t, s.Repo1, content)
		s.holds(t, s.Repo1, d, content)
		s.holds(t, s.Repo1, digestOf("sha256", content), content)
	}
	missing := sha(random(10))
	s.lacks(t, s.Repo1, missing)
	// What one repository holds, another does not.
	s.lacks(t, s.Repo2, s.push(t, s.Repo1, random(100)))
	// An upload in the middle is no blob yet.
	content := random(100)
	s.want(t, http.StatusAccepted, patch(s.start(t, s.Repo1), content))
	s.lacks(t, s.Repo1, sha(content))
}

// rangeCase is a Range header for content of 2048 bytes with its answer.
type rangeCase struct {
	header      string
	status      int
	first, last int
}

func rangeCases() []rangeCase {
	return []rangeCase{
		{"bytes=500-1499", 206, 500, 1499},
		{"bytes=0-0", 206, 0, 0},
		{"bytes=2047-2047", 206, 2047, 2047},
		{"bytes=500-", 206, 500, 2047},
		{"bytes=-500", 206, 1548, 2047},
		{"bytes=-5000", 206, 0, 2047},
		{"bytes=2000-5000", 206, 2000, 2047},
		{"bytes=0-", 206, 0, 2047},
		{"bytes=500-0", 416, 0, 0},
		{"bytes=2048-", 416, 0, 0},
		{"bytes=5000-10000", 416, 0, 0},
		{"bytes=-0", 416, 0, 0},
		{"bytes=", 416, 0, 0},
		{"bytes=a-b", 416, 0, 0},
		{"bytes=0-10,20-30", 200, 0, 2047}, // several ranges: the whole
		{"lines=0-10", 200, 0, 2047},       // not bytes: the whole
		{"", 200, 0, 2047},
	}
}

// ranges tries all ranges on a path with 2048 bytes of content.
func (s *suite) ranges(t *testing.T, path string, content []byte) {
	t.Helper()
	for _, c := range rangeCases() {
		a := s.want(t, c.status, get(path).with("Range", c.header))
		if c.status == http.StatusRequestedRangeNotSatisfiable {
			if got := a.header.Get("Content-Range"); got != "bytes */2048" {
				t.Errorf("Range %q: Content-Range is %q", c.header, got)
			}
			continue
		}
		if !bytes.Equal(a.body, content[c.first:c.last+1]) {
			t.Errorf("Range %q gives %d other bytes", c.header, len(a.body))
		}
		if got := a.header.Get("Content-Length"); got != strconv.Itoa(c.last-c.first+1) {
			t.Errorf("Range %q: Content-Length is %q", c.header, got)
		}
		want := ""
		if c.status == http.StatusPartialContent {
			want = fmt.Sprintf("bytes %d-%d/2048", c.first, c.last)
		}
		if got := a.header.Get("Content-Range"); got != want {
			t.Errorf("Range %q: Content-Range is %q, want %q", c.header, got, want)
		}
	}
	tag := s.want(t, http.StatusOK, head(path)).header.Get("Etag")
	if tag == "" {
		t.Fatalf("%s has no ETag", path)
	}
	s.want(t, http.StatusPartialContent, get(path).with("Range", "bytes=1-2").with("If-Range", tag))
	s.want(t, http.StatusOK, get(path).with("Range", "bytes=1-2").with("If-Range", `"another"`))
	s.want(t, http.StatusOK, get(path).with("Range", "bytes=1-2").with("If-Range", "Mon, 02 Jan 2006 15:04:05 GMT"))
	s.want(t, http.StatusOK, head(path).with("Range", "bytes=1-2")) // a range is for a GET
}

func blobRanges(t *testing.T, s *suite) {
	content := random(2048)
	s.ranges(t, s.blobPath(s.Repo1, s.push(t, s.Repo1, content)), content)

	// Across the borders of whatever the registry stores in pieces.
	content = random(300_000)
	path := s.blobPath(s.Repo1, s.push(t, s.Repo1, content))
	for _, at := range []int{65_535, 65_536, 131_071, 200_000} {
		a := s.want(t, http.StatusPartialContent, get(path).with("Range", fmt.Sprintf("bytes=%d-%d", at-3, at+70_000)))
		if !bytes.Equal(a.body, content[at-3:at+70_001]) {
			t.Errorf("the range around %d gives other bytes", at)
		}
	}
	// An interrupted pull goes on where it was.
	a := s.want(t, http.StatusPartialContent, get(path).with("Range", "bytes=123456-"))
	if !bytes.Equal(append(bytes.Clone(content[:123_456]), a.body...), content) {
		t.Error("a resumed pull gives other bytes")
	}

	// An empty blob has no ranges; clients that always send one get the whole.
	empty := s.push(t, s.Repo1, nil)
	s.want(t, http.StatusOK, get(s.blobPath(s.Repo1, empty)).with("Range", "bytes=0-"))
}

// conditional tries If-None-Match on a path.
func (s *suite) conditional(t *testing.T, path string) {
	t.Helper()
	tag := s.want(t, http.StatusOK, get(path)).header.Get("Etag")
	for _, same := range []string{tag, "W/" + tag, "*", `"x", ` + tag} {
		for _, r := range []request{get(path), head(path)} {
			a := s.want(t, http.StatusNotModified, r.with("If-None-Match", same))
			if len(a.body) > 0 || a.header.Get("Etag") != tag {
				t.Errorf("304 with %d bytes and the ETag %q", len(a.body), a.header.Get("Etag"))
			}
		}
	}
	s.want(t, http.StatusOK, get(path).with("If-None-Match", `"another"`))
}

func conditionalBlob(t *testing.T, s *suite) {
	s.conditional(t, s.blobPath(s.Repo1, s.push(t, s.Repo1, random(100))))
}

func deleteBlob(t *testing.T, s *suite) {
	for _, algorithm := range algorithms() {
		content := random(1000)
		d := digestOf(algorithm, content)
		s.want(t, http.StatusCreated, post(withQuery(t, "/v2/"+s.Repo1+"/blobs/uploads/", "digest", d), content))
		s.want(t, http.StatusAccepted, remove(s.blobPath(s.Repo1, d)))
		s.lacks(t, s.Repo1, d)
		s.lacks(t, s.Repo1, sha(content))
		s.refused(t, http.StatusNotFound, "BLOB_UNKNOWN", remove(s.blobPath(s.Repo1, d)))
		// It can come back.
		s.want(t, http.StatusCreated, post(withQuery(t, "/v2/"+s.Repo1+"/blobs/uploads/", "digest", d), content))
		s.holds(t, s.Repo1, d, content)
	}
	// A blob that an image needs stays until the image is gone.
	m := s.image(t, s.Repo1)
	d := s.putManifest(t, s.Repo1, unique("tag"), m)
	for _, blob := range []string{m.Config.Digest, m.Layers[0].Digest} {
		s.refused(t, http.StatusMethodNotAllowed, "UNSUPPORTED", remove(s.blobPath(s.Repo1, blob)))
		s.want(t, http.StatusOK, get(s.blobPath(s.Repo1, blob)))
	}
	s.want(t, http.StatusAccepted, remove(s.manifestPath(s.Repo1, d.Digest)))
	for _, blob := range []string{m.Config.Digest, m.Layers[0].Digest} {
		s.want(t, http.StatusAccepted, remove(s.blobPath(s.Repo1, blob)))
		s.lacks(t, s.Repo1, blob)
	}
}
