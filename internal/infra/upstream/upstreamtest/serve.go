package upstreamtest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Kind is what a request is for.
type Kind string

// The kinds of requests.
const (
	Any       Kind = ""          // all of them, in Fault and Count
	Base      Kind = "base"      // GET /v2/
	Manifest  Kind = "manifest"  // GET of a manifest
	Head      Kind = "head"      // HEAD of a manifest
	Blob      Kind = "blob"      // GET of a blob
	BlobHead  Kind = "blob-head" // HEAD of a blob
	Referrers Kind = "referrers" // a list of referrers
	Tags      Kind = "tags"      // a list of tags, always whole
	Token     Kind = "token"     // GET /token
	Storage   Kind = "storage"   // GET /storage/{digest}, where blobs may be redirected to
	Other     Kind = "other"
)

// login is what the registry asks of its clients.
type login struct {
	user, password string
	tokens         bool              // by the token endpoint, else by basic authentication
	realm          string            // "" /token on the same host
	expires        time.Duration     // of tokens, as told to the client; 0 is not told
	issued         map[string]string // token -> scope
}

// RequireToken makes the registry ask for bearer tokens, which its /token gives
// to who has the credentials, or to everybody where user is "".
func (r *Registry) RequireToken(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = login{user: user, password: password, tokens: true, expires: 5 * time.Minute, issued: map[string]string{}}
}

// RequireBasic makes the registry ask for basic authentication.
func (r *Registry) RequireBasic(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = login{user: user, password: password}
}

// SetRealm makes the registry name another address for tokens, after
// RequireToken. TokenServer is what has to answer there.
func (r *Registry) SetRealm(realm string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login.realm = realm
}

// SetTokenLife changes what clients are told of how long tokens last, after
// RequireToken; 0 tells them nothing. RevokeTokens ends them.
func (r *Registry) SetTokenLife(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login.expires = d
}

// RevokeTokens makes all tokens invalid that were given out.
func (r *Registry) RevokeTokens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.login.issued)
}

// TokenServer is a handler that gives out the registry's tokens, for a server on
// another host.
func (r *Registry) TokenServer() http.Handler { return http.HandlerFunc(r.token) }

// ServeHTTP answers as the registry.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	kind, repo, reference := route(req)
	r.mu.Lock()
	r.requests = append(r.requests, Request{
		Kind: kind, Method: req.Method, Path: req.URL.Path, Query: req.URL.RawQuery, Header: req.Header.Clone(),
	})
	f := r.fault(kind, req.URL.Path)
	r.mu.Unlock()

	out := &writer{ResponseWriter: w, ctx: req.Context(), fault: f, left: f.CutAfter}
	defer func() {
		if (kind == Blob || kind == Storage) && (out.status == http.StatusOK || out.status == http.StatusPartialContent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sent += out.written
		}
	}()
	if f.instead(out, req, reference) {
		return
	}
	switch {
	case kind == Token:
		r.token(out, req)
	case kind != Storage && !r.authorized(out, req, repo):
	case kind == Base:
		out.WriteHeader(http.StatusOK)
	case kind == Manifest || kind == Head:
		r.manifest(out, repo, reference)
	case kind == Blob || kind == BlobHead || kind == Storage:
		r.blob(out, req, kind, repo, reference)
	case kind == Tags:
		r.tags(out, repo)
	case kind == Referrers:
		r.referrers(out, req, repo, reference)
	default:
		fail(out, http.StatusNotFound, "NOT_FOUND")
	}
	out.finish()
}

// route says what a request is for.
func route(req *http.Request) (kind Kind, repo, reference string) {
	path := req.URL.Path
	head := req.Method == http.MethodHead
	if req.Method != http.MethodGet && !head {
		return Other, "", ""
	}
	if digest, ok := strings.CutPrefix(path, "/storage/"); ok {
		return Storage, "", digest
	}
	if path == "/token" {
		return Token, "", ""
	}
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return Other, "", ""
	}
	if rest == "" {
		return Base, "", ""
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return Other, "", ""
	}
	name, reference := rest[:i], rest[i+1:]
	if repo, ok := strings.CutSuffix(name, "/tags"); ok && reference == "list" {
		return Tags, repo, ""
	}
	if repo, ok := strings.CutSuffix(name, "/manifests"); ok {
		if head {
			return Head, repo, reference
		}
		return Manifest, repo, reference
	}
	if repo, ok := strings.CutSuffix(name, "/blobs"); ok {
		if head {
			return BlobHead, repo, reference
		}
		return Blob, repo, reference
	}
	if repo, ok := strings.CutSuffix(name, "/referrers"); ok {
		return Referrers, repo, reference
	}
	return Other, "", ""
}

// token gives out a token.
func (r *Registry) token(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	user, password, _ := req.BasicAuth()
	if !r.login.tokens || (r.login.user != "" && (user != r.login.user || password != r.login.password)) {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	token := "token-" + rand.Text()
	r.login.issued[token] = req.URL.Query().Get("scope")
	answer := map[string]any{"token": token}
	if r.login.expires > 0 {
		answer["expires_in"] = int(r.login.expires.Seconds())
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // a client that is gone needs no token
}

// authorized asks for a login where one is needed and says whether to go on.
func (r *Registry) authorized(w http.ResponseWriter, req *http.Request, repo string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.login.tokens {
		user, password, _ := req.BasicAuth()
		if r.login.user == "" || (user == r.login.user && password == r.login.password) {
			return true
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="upstreamtest"`)
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return false
	}
	scope := ""
	if repo != "" {
		scope = "repository:" + repo + ":pull"
	}
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if granted, known := r.login.issued[token]; ok && known && (scope == "" || granted == scope) {
		return true
	}
	realm := r.login.realm
	if realm == "" {
		realm = r.Server.URL + "/token"
	}
	challenge := fmt.Sprintf("Bearer realm=%q,service=%q", realm, r.Host())
	if scope != "" {
		challenge += fmt.Sprintf(",scope=%q", scope)
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
	return false
}

func (r *Registry) manifest(w http.ResponseWriter, repo, reference string) {
	r.mu.Lock()
	m, digest, ok := manifest{}, reference, false
	if from := r.repos[repo]; from != nil {
		if at, tagged := from.tags[reference]; tagged {
			digest = at
		}
		m, ok = from.manifests[digest]
	}
	r.mu.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", m.mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(m.body)))
	w.Header().Set("Docker-Content-Digest", digest)
	_, _ = w.Write(m.body) // a client that is gone needs no body; HEAD has none
}

func (r *Registry) blob(w *writer, req *http.Request, kind Kind, repo, digest string) {
	r.mu.Lock()
	from := r.repos[repo]
	content, ok := r.blobs[digest]
	ok = ok && (kind == Storage || (from != nil && from.blobs[digest]))
	r.mu.Unlock()
	if !ok {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	if w.fault.IgnoreRange {
		req.Header.Del("Range")
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if kind != Storage {
		w.Header().Set("Docker-Content-Digest", digest)
	}
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(content))
}

func (r *Registry) tags(w http.ResponseWriter, repo string) {
	r.mu.Lock()
	from := r.repos[repo]
	var tags []string
	if from != nil {
		tags = slices.Sorted(maps.Keys(from.tags))
	}
	r.mu.Unlock()
	if from == nil {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": repo, "tags": tags}) // a client that is gone needs no list
}

func (r *Registry) referrers(w http.ResponseWriter, req *http.Request, repo, digest string) {
	only := req.URL.Query().Get("artifactType")
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
	}
	r.mu.Lock()
	if from := r.repos[repo]; from != nil {
		for _, m := range from.manifests {
			if m.subject == digest && (only == "" || m.entry.ArtifactType == only) {
				index.Manifests = append(index.Manifests, m.entry)
			}
		}
	}
	r.mu.Unlock()
	slices.SortFunc(index.Manifests, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	w.Header().Set("Content-Type", index.MediaType)
	if only != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	_ = json.NewEncoder(w).Encode(index) // a client that is gone needs no list
}

// fail answers an error as registries do.
func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"upstreamtest says so"}]}`, code) // a client that is gone needs no body
}
