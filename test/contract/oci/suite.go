package oci

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// Media types of the OCI image specification.
const (
	typeImage = "application/vnd.oci.image.manifest.v1+json"
	typeIndex = "application/vnd.oci.image.index.v1+json"
	typeEmpty = "application/vnd.oci.empty.v1+json"
	typeLayer = "application/vnd.oci.image.layer.v1.tar"
	typeConf  = "application/vnd.oci.image.config.v1+json"
)

// algorithms are the digest algorithms that every push is tried with.
func algorithms() []string { return []string{"sha256", "sha512"} }

type suite struct {
	Target
	client *http.Client
}

func newSuite(target Target) *suite {
	s := &suite{Target: target, client: target.Client}
	if s.client == nil {
		s.client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return s
}

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// code is the first error code of the answer.
func (a answer) code() string {
	var e struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(a.body, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	return e.Errors[0].Code
}

// request is one request. Header values replace those that the suite sets; an
// empty value removes one.
type request struct {
	method, path string
	body         io.Reader
	length       int64 // announced where body is not a *bytes.Reader
	header       map[string]string
}

// do sends a request and reads the whole answer.
func (s *suite) do(t *testing.T, r request) answer {
	t.Helper()
	resp, err := s.send(t, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", r.method, r.path, err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func (s *suite) send(t *testing.T, r request) (*http.Response, error) {
	t.Helper()
	return s.client.Do(s.request(t, r))
}

func (s *suite) request(t *testing.T, r request) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, s.url(t, r.path), r.body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	if r.length != 0 {
		req.ContentLength = r.length
	}
	req.Header.Set("Authorization", s.Authorization)
	for k, v := range r.header {
		req.Header.Del(k)
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	return req
}

// url resolves a path or a Location against the registry.
func (s *suite) url(t *testing.T, path string) string {
	t.Helper()
	if strings.HasPrefix(path, "http://") || strings.HasPrefix(path, "https://") {
		return path
	}
	if !strings.HasPrefix(path, "/") {
		t.Fatalf("%q is no path", path)
	}
	return s.BaseURL + path
}

// want sends a request and fails unless the status is the wanted one.
func (s *suite) want(t *testing.T, status int, r request) answer {
	t.Helper()
	a := s.do(t, r)
	if a.status != status {
		t.Fatalf("%s %s: status %d, want %d\n%.500s", r.method, r.path, a.status, status, a.body)
	}
	return a
}

// refused sends a request and fails unless it is refused with status and code.
// A HEAD has no body to say the code in.
func (s *suite) refused(t *testing.T, status int, code string, r request) answer {
	t.Helper()
	a := s.want(t, status, r)
	if r.method != http.MethodHead && a.code() != code {
		t.Fatalf("%s %s: code %q, want %q\n%.500s", r.method, r.path, a.code(), code, a.body)
	}
	return a
}

func get(path string) request    { return request{method: http.MethodGet, path: path} }
func head(path string) request   { return request{method: http.MethodHead, path: path} }
func remove(path string) request { return request{method: http.MethodDelete, path: path} }

func post(path string, body []byte) request {
	return request{method: http.MethodPost, path: path, body: bytes.NewReader(body)}
}

func put(path string, body []byte) request {
	return request{method: http.MethodPut, path: path, body: bytes.NewReader(body)}
}

func patch(path string, body []byte) request {
	return request{method: http.MethodPatch, path: path, body: bytes.NewReader(body)}
}

// with adds a header.
func (r request) with(key, value string) request {
	h := map[string]string{key: value}
	for k, v := range r.header {
		if k != key {
			h[k] = v
		}
	}
	r.header = h
	return r
}

// streamed sends the body without announcing its length.
func (r request) streamed() request {
	r.body = io.MultiReader(r.body) // hides the length from net/http
	return r
}

// called is how clients call a repository of the registry.
func (s *suite) called(repo string) string {
	if s.Alias == "" {
		return repo
	}
	return s.Alias + "/" + repo
}

func (s *suite) blobPath(repo, digest string) string { return "/v2/" + repo + "/blobs/" + digest }

func (s *suite) manifestPath(repo, ref string) string { return "/v2/" + repo + "/manifests/" + ref }

// random is fresh content.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}

// unique makes a name that no earlier run has used.
func unique(prefix string) string { return prefix + "-" + hex.EncodeToString(random(6)) }

func digestOf(algorithm string, b []byte) string {
	if algorithm == "sha512" {
		sum := sha512.Sum512(b)
		return "sha512:" + hex.EncodeToString(sum[:])
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sha(b []byte) string { return digestOf("sha256", b) }

// withQuery adds a query parameter to a Location, which may have a query.
func withQuery(t *testing.T, location, key, value string) string {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatalf("the Location %q is no URL: %v", location, err)
	}
	q := u.Query()
	q.Add(key, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// start opens an upload and returns where it goes on.
func (s *suite) start(t *testing.T, repo string) string {
	t.Helper()
	a := s.want(t, http.StatusAccepted, post("/v2/"+repo+"/blobs/uploads/", nil))
	return location(t, a)
}

func location(t *testing.T, a answer) string {
	t.Helper()
	l := a.header.Get("Location")
	if l == "" {
		t.Fatalf("an answer %d without a Location", a.status)
	}
	return l
}

// push uploads a blob and returns its sha256 digest.
func (s *suite) push(t *testing.T, repo string, content []byte) string {
	t.Helper()
	d := sha(content)
	s.want(t, http.StatusCreated, put(withQuery(t, s.start(t, repo), "digest", d), content))
	return d
}

// holds checks that the repository gives out the blob.
func (s *suite) holds(t *testing.T, repo, digest string, content []byte) {
	t.Helper()
	a := s.want(t, http.StatusOK, get(s.blobPath(repo, digest)))
	if !bytes.Equal(a.body, content) {
		t.Fatalf("the blob %s came back with %d other bytes", digest, len(a.body))
	}
	s.sameHead(t, a, s.blobPath(repo, digest))
	if got := a.header.Get("Docker-Content-Digest"); got != digest {
		t.Errorf("Docker-Content-Digest is %q, want %q", got, digest)
	}
	if got := a.header.Get("Content-Length"); got != strconv.Itoa(len(content)) {
		t.Errorf("Content-Length is %q, want %d", got, len(content))
	}
}

// sameHead checks that a HEAD has the headers of the GET that was answered.
func (s *suite) sameHead(t *testing.T, a answer, path string) {
	t.Helper()
	h := s.want(t, a.status, head(path))
	if len(h.body) > 0 {
		t.Errorf("HEAD %s has a body", path)
	}
	for _, k := range []string{"Content-Length", "Content-Type", "Docker-Content-Digest", "Etag", "Accept-Ranges"} {
		if g, w := h.header.Get(k), a.header.Get(k); g != w {
			t.Errorf("HEAD %s has %s %q, GET has %q", path, k, g, w)
		}
	}
}

// lacks checks that the repository has no such blob.
func (s *suite) lacks(t *testing.T, repo, digest string) {
	t.Helper()
	s.refused(t, http.StatusNotFound, "BLOB_UNKNOWN", get(s.blobPath(repo, digest)))
	s.refused(t, http.StatusNotFound, "BLOB_UNKNOWN", head(s.blobPath(repo, digest)))
}

// descriptor is what manifests refer with.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int               `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// manifest is an image manifest or an index.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// bytes is the manifest as it is pushed: indented, so that a registry which
// writes JSON anew is found out.
func (m manifest) bytes(t *testing.T) []byte {
	t.Helper()
	b, err := json.MarshalIndent(m, "", "   ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// image pushes the blobs of a small image and returns its manifest, which is
// not pushed.
func (s *suite) image(t *testing.T, repo string) manifest {
	t.Helper()
	config, layer := []byte(`{"architecture":"amd64","os":"linux","x":"`+unique("c")+`"}`), random(700)
	return manifest{
		SchemaVersion: 2, MediaType: typeImage,
		Config: &descriptor{MediaType: typeConf, Digest: s.push(t, repo, config), Size: len(config)},
		Layers: []descriptor{{MediaType: typeLayer, Digest: s.push(t, repo, layer), Size: len(layer)}},
	}
}

// putManifest pushes a manifest and returns its descriptor.
func (s *suite) putManifest(t *testing.T, repo, ref string, m manifest) descriptor {
	t.Helper()
	b := m.bytes(t)
	s.want(t, http.StatusCreated, put(s.manifestPath(repo, ref), b).with("Content-Type", m.MediaType))
	return descriptor{MediaType: m.MediaType, Digest: sha(b), Size: len(b)}
}

// pushImage pushes an image under a fresh tag.
func (s *suite) pushImage(t *testing.T, repo string) (tag string, d descriptor) {
	t.Helper()
	tag = unique("image")
	return tag, s.putManifest(t, repo, tag, s.image(t, repo))
}
