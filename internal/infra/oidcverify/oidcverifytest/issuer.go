// Package oidcverifytest is an OpenID Connect issuer for tests: it serves its
// discovery document and keys over HTTP, on a loopback address or under a name
// with TLS, and signs tokens. It can be broken in the ways that issuers break.
package oidcverifytest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

// Issuer is a running issuer. Its fields may be changed before tokens are
// verified.
type Issuer struct {
	t testing.TB
	// URL is what tokens name as their issuer.
	URL string
	// Server is what answers.
	Server *httptest.Server

	mu       sync.Mutex
	keys     []Key
	handlers map[string]http.HandlerFunc
	asked    map[string]int
}

// Key is a key of an issuer.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
	// Hidden keys sign and are not published.
	Hidden bool
}

// Paths under which an issuer serves, after its own path.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/keys"
)

// New starts an issuer at http://127.0.0.1:port/path with one ECDSA key, "ec".
func New(t testing.TB, path string) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Server.Close)
	i.URL = i.Server.URL + path
	i.SetKeys(NewKey(t, "ec", jose.ES256))
	return i
}

// NewTLS starts an issuer at https://example.com/path, with httptest's
// certificate. A verifier finds it by Dial.
func NewTLS(t testing.TB, path string) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Server.Close)
	i.URL = "https://example.com" + path
	i.SetKeys(NewKey(t, "ec", jose.ES256))
	return i
}

// Dial connects to the issuer, whatever the address.
func (i *Issuer) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, i.Server.Listener.Addr().String())
}

// NewKey makes a key.
func NewKey(t testing.TB, id string, algorithm jose.SignatureAlgorithm) Key {
	t.Helper()
	k := Key{ID: id, Algorithm: algorithm}
	var err error
	switch algorithm {
	case jose.ES256:
		k.Private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		k.Private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		k.Private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	default:
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// SetKeys replaces the issuer's keys. The first one signs.
func (i *Issuer) SetKeys(keys ...Key) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Handle has the path, DiscoveryPath or KeysPath, answered by h; nil restores
// the issuer's own answer.
func (i *Issuer) Handle(path string, h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handlers == nil {
		i.handlers = map[string]http.HandlerFunc{}
	}
	i.handlers[path] = h
}

// Asked is how often the path was asked for.
func (i *Issuer) Asked(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// ServeHTTP answers as an issuer does.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := KeysPath
	if strings.HasSuffix(r.URL.Path, DiscoveryPath) {
		path = DiscoveryPath
	}
	i.mu.Lock()
	if i.asked == nil {
		i.asked = map[string]int{}
	}
	i.asked[path]++
	own, keys := i.handlers[path], i.keys
	i.mu.Unlock()
	if own != nil {
		own(w, r)
		return
	}
	if path == DiscoveryPath {
		i.write(w, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + KeysPath})
		return
	}
	set := jose.JSONWebKeySet{}
	for _, k := range keys {
		if !k.Hidden {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Use: "sig"})
		}
	}
	i.write(w, set)
}

func (i *Issuer) write(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		i.t.Logf("the test's issuer cannot answer: %v", err)
	}
}

// Sign makes a token with the claims, signed with the issuer's first key. Its
// issuer is added where the claims have none.
func (i *Issuer) Sign(claims map[string]any) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.keys[0]
	i.mu.Unlock()
	all := map[string]any{"iss": i.URL}
	maps.Copy(all, claims)
	payload, err := json.Marshal(all)
	if err != nil {
		i.t.Fatal(err)
	}
	return SignPayload(i.t, key.Algorithm, key.Private, key.ID, payload)
}

// SignPayload signs any bytes as a token; key is what go-jose signs with.
func SignPayload(t testing.TB, algorithm jose.SignatureAlgorithm, key any, keyID string, payload []byte) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if keyID != "" {
		options = options.WithHeader("kid", keyID)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
