package harness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// Media types that the tests push and ask for.
const (
	OCIImage      = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex      = "application/vnd.oci.image.index.v1+json"
	OCIConfig     = "application/vnd.oci.image.config.v1+json"
	OCILayer      = "application/vnd.oci.image.layer.v1.tar"
	OCIEmpty      = "application/vnd.oci.empty.v1+json"
	DockerSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	DockerImage   = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList    = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig  = "application/vnd.docker.container.image.v1+json"
)

// EveryManifest accepts all forms of a manifest, so that none is translated.
func EveryManifest() []string {
	return []string{OCIImage, OCIIndex, DockerImage, DockerList, DockerSchema1, "application/vnd.docker.distribution.manifest.v1+json"}
}

// Digest is the sha256 digest of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Registry is a plain client of the registry API: every method is as few
// requests as possible, without retries, and safe for concurrent use.
type Registry struct {
	base          string
	authorization string
	// HTTP sends the requests.
	HTTP *http.Client
}

// NewRegistry makes a client for http://host:port with the value of the
// Authorization header. It follows no redirects.
func NewRegistry(base, authorization string, transport http.RoundTripper) *Registry {
	return &Registry{base: base, authorization: authorization, HTTP: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// StatusError is an answer of another status than the wanted one.
type StatusError struct {
	Method, Path string
	Status       int
	Body         string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: status %d: %s", e.Method, e.Path, e.Status, strings.TrimSpace(tail(e.Body, 500)))
}

// Request is one request to the registry.
type Request struct {
	Method string
	Path   string // or a whole Location
	Header map[string]string
	Accept []string
	Body   io.Reader
	// Length is announced; 0 announces what net/http finds out.
	Length int64
}

// Answer is a whole response.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Open sends a request and returns the response, whose body the caller closes.
func (r *Registry) Open(ctx context.Context, q Request) (*http.Response, error) {
	target := q.Path
	if strings.HasPrefix(target, "/") {
		target = r.base + target
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, target, q.Body)
	if err != nil {
		return nil, err
	}
	if q.Length != 0 {
		req.ContentLength = q.Length
	}
	req.Header.Set("Authorization", r.authorization)
	for _, a := range q.Accept {
		req.Header.Add("Accept", a)
	}
	for k, v := range q.Header {
		req.Header.Set(k, v)
	}
	return r.HTTP.Do(req)
}

// Do sends a request and reads the whole answer. An answer of another status
// than those wanted is a *StatusError; none wanted accepts all.
func (r *Registry) Do(ctx context.Context, q Request, want ...int) (Answer, error) {
	response, err := r.Open(ctx, q)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }() // it was read to its end or failed
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: reading the answer: %w", q.Method, q.Path, err)
	}
	a := Answer{response.StatusCode, response.Header, body}
	for _, status := range want {
		if a.Status == status {
			return a, nil
		}
	}
	if len(want) == 0 {
		return a, nil
	}
	return a, &StatusError{q.Method, q.Path, a.Status, string(body)}
}

// StartUpload opens an upload and returns its Location.
func (r *Registry) StartUpload(ctx context.Context, repo string) (location string, err error) {
	a, err := r.Do(ctx, Request{Method: http.MethodPost, Path: "/v2/" + repo + "/blobs/uploads/"}, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return locationOf(a)
}

func locationOf(a Answer) (string, error) {
	l := a.Header.Get("Location")
	if l == "" {
		return "", fmt.Errorf("an answer %d has no Location", a.Status)
	}
	return l, nil
}

// Append sends a chunk with its range and returns where the upload goes on.
func (r *Registry) Append(ctx context.Context, location string, first int64, chunk []byte) (string, error) {
	a, err := r.Do(ctx, Request{
		Method: http.MethodPatch, Path: location, Body: bytes.NewReader(chunk),
		Header: map[string]string{
			"Content-Type":  "application/octet-stream",
			"Content-Range": fmt.Sprintf("%d-%d", first, first+int64(len(chunk))-1),
		},
	}, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return locationOf(a)
}

// Stream sends everything in one PATCH without a range, as docker does.
func (r *Registry) Stream(ctx context.Context, location string, body io.Reader) (string, error) {
	a, err := r.Do(ctx, Request{
		Method: http.MethodPatch, Path: location, Body: body,
		Header: map[string]string{"Content-Type": "application/octet-stream"},
	}, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	return locationOf(a)
}

// Received asks how many bytes an upload holds; found is false where there is no
// such upload (any more).
func (r *Registry) Received(ctx context.Context, location string) (n int64, found bool, err error) {
	a, err := r.Do(ctx, Request{Method: http.MethodGet, Path: location}, http.StatusNoContent, http.StatusNotFound)
	if err != nil || a.Status == http.StatusNotFound {
		return 0, false, err
	}
	value := a.Header.Get("Range")
	_, last, ok := strings.Cut(strings.TrimPrefix(value, "bytes="), "-")
	n, err = strconv.ParseInt(last, 10, 64)
	if !ok || err != nil {
		return 0, false, fmt.Errorf("the Range of an upload's status is %q", value)
	}
	if n > 0 {
		return n + 1, true, nil
	}
	return 0, true, nil // 0-0 is what an empty upload answers
}

// Finish completes an upload with a last piece, which may be empty.
func (r *Registry) Finish(ctx context.Context, location, digest string, last []byte) error {
	return r.finish(ctx, location, digest, last, map[string]string{"Content-Type": "application/octet-stream"})
}

// FinishAt is Finish that says where the last piece begins, so that it is
// refused if the upload does not stand there.
func (r *Registry) FinishAt(ctx context.Context, location, digest string, first int64, last []byte) error {
	header := map[string]string{"Content-Type": "application/octet-stream"}
	if len(last) > 0 {
		header["Content-Range"] = fmt.Sprintf("%d-%d", first, first+int64(len(last))-1)
	}
	return r.finish(ctx, location, digest, last, header)
}

func (r *Registry) finish(ctx context.Context, location, digest string, last []byte, header map[string]string) error {
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set("digest", digest)
	u.RawQuery = q.Encode()
	var body io.Reader
	if len(last) > 0 {
		body = bytes.NewReader(last)
	}
	a, err := r.Do(ctx, Request{
		Method: http.MethodPut, Path: u.String(), Body: body, Header: header,
	}, http.StatusCreated)
	if err != nil {
		return err
	}
	if got := a.Header.Get("Docker-Content-Digest"); got != digest {
		return fmt.Errorf("a blob was accepted as %q, it is %s", got, digest)
	}
	return nil
}

// PutBlob uploads content by POST and PUT and returns its digest.
func (r *Registry) PutBlob(ctx context.Context, repo string, content []byte) (digest string, err error) {
	location, err := r.StartUpload(ctx, repo)
	if err != nil {
		return "", err
	}
	digest = Digest(content)
	return digest, r.Finish(ctx, location, digest, content)
}

// Blob is a blob's content.
func (r *Registry) Blob(ctx context.Context, repo, digest string) ([]byte, error) {
	a, err := r.Do(ctx, Request{Method: http.MethodGet, Path: "/v2/" + repo + "/blobs/" + digest}, http.StatusOK)
	if err == nil && Digest(a.Body) != digest {
		err = fmt.Errorf("the blob %s of %s came back as %s, %d bytes", digest, repo, Digest(a.Body), len(a.Body))
	}
	return a.Body, err
}

// PutManifest pushes a manifest under a tag or its digest, and checks the digest
// that the registry answers with.
func (r *Registry) PutManifest(ctx context.Context, repo, ref, mediaType string, manifest []byte) error {
	a, err := r.Do(ctx, Request{
		Method: http.MethodPut, Path: "/v2/" + repo + "/manifests/" + ref, Body: bytes.NewReader(manifest),
		Header: map[string]string{"Content-Type": mediaType},
	}, http.StatusCreated)
	if err != nil {
		return err
	}
	if got := a.Header.Get("Docker-Content-Digest"); got != Digest(manifest) {
		return fmt.Errorf("the manifest %s was accepted as %q", Digest(manifest), got)
	}
	return nil
}

// Manifest fetches a manifest by tag or digest. With no types given it accepts
// all, so that nothing is translated.
func (r *Registry) Manifest(ctx context.Context, repo, ref string, accept ...string) (manifest []byte, mediaType string, err error) {
	if len(accept) == 0 {
		accept = EveryManifest()
	}
	a, err := r.Do(ctx, Request{Method: http.MethodGet, Path: "/v2/" + repo + "/manifests/" + ref, Accept: accept}, http.StatusOK)
	if err != nil {
		return nil, "", err
	}
	if got := a.Header.Get("Docker-Content-Digest"); got != Digest(a.Body) {
		return nil, "", fmt.Errorf("the manifest %s of %s came with the digest %q over bytes of %s", ref, repo, got, Digest(a.Body))
	}
	if strings.HasPrefix(ref, "sha256:") && ref != Digest(a.Body) {
		return nil, "", fmt.Errorf("asked for %s of %s, got %s", ref, repo, Digest(a.Body))
	}
	return a.Body, a.Header.Get("Content-Type"), nil
}

// Descriptor is what manifests refer with.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Platform says what an image runs on.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Manifest is an image manifest or an index, of docker or OCI.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *Descriptor       `json:"config,omitempty"`
	Layers        []Descriptor      `json:"layers,omitempty"`
	Manifests     []Descriptor      `json:"manifests,omitempty"`
	Subject       *Descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Bytes is the manifest as it is pushed.
func (m Manifest) Bytes(t testing.TB) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
