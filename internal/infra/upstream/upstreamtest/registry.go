// Package upstreamtest is a small registry of images for tests of what reads from
// other registries: a real HTTP server on a loopback address that keeps what it is
// given in memory, can ask for logins, counts what it is asked, and misbehaves as it
// is told.
//
// It does not own the client (upstream), and takes no pushes over the wire: tests
// put images into it with its methods.
package upstreamtest

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berth-registry/berth/internal/infra/upstream"
)

// Registry is a registry and the server that it runs on. All methods may be
// called at any time, by many goroutines.
type Registry struct {
	// Server serves the registry. It is closed at the end of the test.
	Server *httptest.Server

	mu       sync.Mutex
	blobs    map[string][]byte // by digest; shared by all repositories
	repos    map[string]*repository
	login    login
	faults   []*Fault
	requests []Request
	sent     int64 // bytes of blobs
}

type repository struct {
	blobs     map[string]bool
	manifests map[string]manifest // by digest
	tags      map[string]string
}

type manifest struct {
	mediaType string
	body      []byte
	subject   string
	entry     ocispec.Descriptor // in lists of referrers
}

// Image is a manifest or an index that was put into a registry, with what it
// refers to.
type Image struct {
	Repository string
	Descriptor ocispec.Descriptor
	Body       []byte
	Config     ocispec.Descriptor   // zero for an index
	Layers     []ocispec.Descriptor // empty for an index
	Children   []Image              // of an index
}

// Digest is the image's digest as a string.
func (i Image) Digest() string { return i.Descriptor.Digest.String() }

// New starts a registry that speaks plain HTTP.
func New(tb testing.TB) *Registry { return start(tb, (*httptest.Server).Start) }

// NewTLS starts a registry that speaks HTTPS, HTTP/2 included, with a certificate
// for 127.0.0.1 and example.com that Roots signs.
func NewTLS(tb testing.TB) *Registry {
	return start(tb, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
}

func start(tb testing.TB, run func(*httptest.Server)) *Registry {
	tb.Helper()
	r := &Registry{blobs: map[string][]byte{}, repos: map[string]*repository{}}
	r.Server = httptest.NewUnstartedServer(r)
	run(r.Server)
	tb.Cleanup(func() {
		r.Server.CloseClientConnections() // else endless bodies keep Close from returning
		r.Server.Close()
	})
	return r
}

// URL is where the registry is, "http://127.0.0.1:41234".
func (r *Registry) URL() string { return r.Server.URL }

// Host is the registry's host with its port, "127.0.0.1:41234".
func (r *Registry) Host() string { return r.Server.Listener.Addr().String() }

// Roots is who signs the registry's certificate, nil where it speaks plain HTTP.
func (r *Registry) Roots() *x509.CertPool {
	if r.Server.Certificate() == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AddCert(r.Server.Certificate())
	return pool
}

// Config is a configuration for clients that may reach these registries: their
// loopback addresses allowed, plain HTTP where they speak it, and each of them
// allowed to send to the others.
func Config(registries ...*Registry) upstream.Config {
	c := upstream.Config{AllowPrivate: Loopback(), Hosts: map[string]upstream.Host{}}
	for _, r := range registries {
		h := upstream.Host{Roots: r.Roots(), PlainHTTP: r.Roots() == nil}
		for _, other := range registries {
			if other != r {
				h.Also = append(h.Also, other.Host())
			}
		}
		c.Hosts[r.Host()] = h
	}
	return c
}

// Loopback is the prefixes of loopback addresses, for Config.AllowPrivate.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Endpoint is the registry as a client names it, with the credentials that it
// asks for.
func (r *Registry) Endpoint() upstream.Endpoint {
	r.mu.Lock()
	defer r.mu.Unlock()
	return upstream.Endpoint{Host: r.Host(), Username: r.login.user, Password: r.login.password}
}

// PushImage puts an OCI image into a repository, made of a config and of layers
// with these bytes. It is tagged, except with tag "".
func (r *Registry) PushImage(repo, tag string, layers ...[]byte) Image {
	config, _ := json.Marshal(ocispec.Image{ // it holds nothing that could fail
		Platform: ocispec.Platform{Architecture: "amd64", OS: "linux"},
		RootFS:   ocispec.RootFS{Type: "layers"},
		// Two images of different layers have different configs.
		Author: digestOf(slices.Concat(layers...)),
	})
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: descriptor(ocispec.MediaTypeImageConfig, config), Layers: []ocispec.Descriptor{},
	}
	r.PutBlob(repo, config)
	for _, layer := range layers {
		r.PutBlob(repo, layer)
		m.Layers = append(m.Layers, descriptor(ocispec.MediaTypeImageLayerGzip, layer))
	}
	return r.push(repo, tag, m)
}

// PushReferrer puts an artifact into a repository that refers to an image there,
// with one layer of these bytes.
func (r *Registry) PushReferrer(subject Image, artifactType string, layer []byte) Image {
	empty := []byte("{}")
	r.PutBlob(subject.Repository, empty)
	r.PutBlob(subject.Repository, layer)
	return r.push(subject.Repository, "", ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		ArtifactType: artifactType, Config: descriptor(ocispec.MediaTypeEmptyJSON, empty),
		Layers:  []ocispec.Descriptor{descriptor("application/octet-stream", layer)},
		Subject: &ocispec.Descriptor{MediaType: subject.Descriptor.MediaType, Digest: subject.Descriptor.Digest, Size: subject.Descriptor.Size},
	})
}

func (r *Registry) push(repo, tag string, m ocispec.Manifest) Image {
	body, _ := json.Marshal(m) // it holds nothing that could fail
	r.PutManifest(repo, tag, m.MediaType, body)
	return Image{
		Repository: repo, Descriptor: descriptor(m.MediaType, body), Body: body, Config: m.Config, Layers: m.Layers,
	}
}

// PushIndex puts an OCI index of images of the same repository into it. It is
// tagged, except with tag "". The n-th child gets the n-th of six platforms.
func (r *Registry) PushIndex(repo, tag string, children ...Image) Image {
	architectures := []string{"amd64", "arm64", "arm", "386", "s390x", "ppc64le"}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
	}
	for n, child := range children {
		d := child.Descriptor
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: architectures[n%len(architectures)]}
		index.Manifests = append(index.Manifests, d)
	}
	body, _ := json.Marshal(index) // it holds nothing that could fail
	r.PutManifest(repo, tag, index.MediaType, body)
	return Image{Repository: repo, Descriptor: descriptor(index.MediaType, body), Body: body, Children: children}
}

// PutManifest puts any bytes into a repository as a manifest, makes tag point to
// them unless it is "", and returns their digest.
func (r *Registry) PutManifest(repo, tag, mediaType string, body []byte) string {
	var read struct {
		ArtifactType string              `json:"artifactType"`
		Config       ocispec.Descriptor  `json:"config"`
		Subject      *ocispec.Descriptor `json:"subject"`
		Annotations  map[string]string   `json:"annotations"`
	}
	m := manifest{mediaType: mediaType, body: slices.Clone(body), entry: descriptor(mediaType, body)}
	if json.Unmarshal(body, &read) == nil && read.Subject != nil {
		m.subject = read.Subject.Digest.String()
		m.entry.Annotations = read.Annotations
		if m.entry.ArtifactType = read.ArtifactType; m.entry.ArtifactType == "" {
			m.entry.ArtifactType = read.Config.MediaType
		}
	}
	digest := digestOf(body)
	r.mu.Lock()
	defer r.mu.Unlock()
	to := r.repository(repo)
	to.manifests[digest] = m
	if tag != "" {
		to.tags[tag] = digest
	}
	return digest
}

// PutBlob puts a blob into a repository and returns its digest.
func (r *Registry) PutBlob(repo string, content []byte) string {
	digest := digestOf(content)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blobs[digest] = content
	r.repository(repo).blobs[digest] = true
	return digest
}

// Tag makes a tag point to a manifest that is in the repository.
func (r *Registry) Tag(repo, tag, digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.repository(repo).tags[tag] = digest
}

// Delete takes a tag, a manifest or a blob out of a repository. What is not there
// is left so.
func (r *Registry) Delete(repo, reference string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.repository(repo)
	delete(from.tags, reference)
	delete(from.manifests, reference)
	delete(from.blobs, reference)
}

// repository is the repository of a name, made where it is missing. The lock is
// held.
func (r *Registry) repository(repo string) *repository {
	if r.repos[repo] == nil {
		r.repos[repo] = &repository{blobs: map[string]bool{}, manifests: map[string]manifest{}, tags: map[string]string{}}
	}
	return r.repos[repo]
}

// Request is a request that the registry has got.
type Request struct {
	Kind   Kind
	Method string
	Path   string
	Query  string
	Header http.Header
}

// Requests is all that was asked for since the start, or since ResetRequests.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// ResetRequests forgets what was asked for and sent.
func (r *Registry) ResetRequests() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.sent = nil, 0
}

// Count is how many requests of a kind came, Any for all. Those that were refused
// for want of a login count.
func (r *Registry) Count(kind Kind) int { return r.CountPath(kind, "") }

// CountPath is how many requests of a kind came whose path contains a text, such as a
// digest.
func (r *Registry) CountPath(kind Kind, contains string) int {
	n := 0
	for _, req := range r.Requests() {
		if (kind == Any || req.Kind == kind) && strings.Contains(req.Path, contains) {
			n++
		}
	}
	return n
}

// BlobBytes is how many bytes of blobs were sent.
func (r *Registry) BlobBytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent
}

func descriptor(mediaType string, body []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(digestOf(body)), Size: int64(len(body))}
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}
