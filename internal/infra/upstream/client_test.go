package upstream_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	repo         = "team/app"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

// client makes a client by a configuration. It is closed at the end of the test.
func client(t *testing.T, config upstream.Config) *upstream.Client {
	t.Helper()
	c := upstream.New(config)
	t.Cleanup(c.Close)
	return c
}

// want holds an error to a kind, and to a part of its text.
func want(t *testing.T, err error, kind upstream.Kind, text string) {
	t.Helper()
	if f := failed(t, err, kind, text); f.Err == nil {
		t.Fatal("a failure without an error")
	}
}

// failed does the same and returns the failure.
func failed(t *testing.T, err error, kind upstream.Kind, text string) *upstream.Failure {
	t.Helper()
	f, ok := errors.AsType[*upstream.Failure](err)
	if !ok || f.Kind != kind || !strings.Contains(f.Error(), text) {
		t.Fatalf("got %v (%v), want %v with %q", err, upstream.KindOf(err), kind, text)
	}
	return f
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestManifest(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *upstreamtest.Registry{"plain": upstreamtest.New, "tls": upstreamtest.NewTLS} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			c := client(t, upstreamtest.Config(r))
			image := r.PushImage(repo, "v1", []byte("layer one"))
			for _, reference := range []string{"v1", image.Digest()} {
				m, err := c.Manifest(t.Context(), r.Endpoint(), repo, reference, []string{manifestType, "application/vnd.oci.image.index.v1+json"})
				if err != nil {
					t.Fatal(err)
				}
				if m.Digest != image.Digest() || m.MediaType != manifestType || !bytes.Equal(m.Body, image.Body) {
					t.Errorf("%s: %s %s %s", reference, m.Digest, m.MediaType, m.Body)
				}
				d, err := c.Head(t.Context(), r.Endpoint(), repo, reference, nil)
				if err != nil || d != (upstream.Descriptor{MediaType: manifestType, Digest: image.Digest(), Size: int64(len(image.Body))}) {
					t.Errorf("%s: %v, %v", reference, d, err)
				}
			}
			if got := r.Requests()[0].Header; got.Get("Accept") != manifestType+", application/vnd.oci.image.index.v1+json" || got.Get("User-Agent") != "berth" {
				t.Errorf("sent %v", got)
			}
			_, err := c.Manifest(t.Context(), r.Endpoint(), repo, "v2", nil)
			if f := failed(t, err, upstream.NotFound, "MANIFEST_UNKNOWN"); f.Status != 404 {
				t.Errorf("status %d", f.Status)
			}
			_, err = c.Head(t.Context(), r.Endpoint(), repo, "v2", nil)
			want(t, err, upstream.NotFound, "/v2/team/app/manifests/v2")
		})
	}
}

func TestManifestIsVerified(t *testing.T) {
	r := upstreamtest.New(t)
	config := upstreamtest.Config(r)
	config.MaxManifest = 64 << 10
	c := client(t, config)
	image := r.PushImage(repo, "v1", []byte("layer"))
	other := r.PushImage(repo, "v2", []byte("other layer"))
	for name, x := range map[string]struct {
		fault     upstreamtest.Fault
		reference string
		kind      upstream.Kind
		text      string
	}{
		"changed, by tag":       {upstreamtest.Fault{Corrupt: true}, "v1", upstream.Invalid, "digest"},
		"changed, by digest":    {upstreamtest.Fault{Corrupt: true, Header: http.Header{"Docker-Content-Digest": nil}}, image.Digest(), upstream.Invalid, "digest"},
		"another's digest":      {upstreamtest.Fault{Header: header("Docker-Content-Digest", other.Digest())}, "v1", upstream.Invalid, "calls it"},
		"no digest":             {upstreamtest.Fault{Header: header("Docker-Content-Digest", "md5:00")}, "v1", upstream.Invalid, "calls it"},
		"another manifest":      {upstreamtest.Fault{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(other.Body) })}, image.Digest(), upstream.Invalid, other.Digest()},
		"endless":               {upstreamtest.Fault{Endless: true}, "v1", upstream.Invalid, "more than 65536"},
		"announced to be large": {upstreamtest.Fault{Header: header("Content-Length", "10000000000")}, "v1", upstream.Invalid, "10000000000"},
		"shorter than said":     {upstreamtest.Fault{Header: header("Content-Length", "4000")}, "v1", upstream.Unavailable, ""},
		"cut":                   {upstreamtest.Fault{CutAfter: 10}, "v1", upstream.Unavailable, ""},
		"without a type":        {upstreamtest.Fault{Header: http.Header{"Content-Type": nil}}, "v1", upstream.Invalid, "media type"},
		"with a bad type":       {upstreamtest.Fault{Header: header("Content-Type", "nonsense")}, "v1", upstream.Invalid, "media type"},
		"encoded":               {upstreamtest.Fault{Header: header("Content-Encoding", "gzip")}, "v1", upstream.Invalid, "encodes"},
		"no content":            {upstreamtest.Fault{Status: 204}, "v1", upstream.Invalid, "204"},
		"a huge header":         {upstreamtest.Fault{Header: header("X-Large", strings.Repeat("x", 300<<10))}, "v1", upstream.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x.fault.Kind = upstreamtest.Manifest
			defer r.Inject(x.fault)()
			_, err := c.Manifest(t.Context(), r.Endpoint(), repo, x.reference, nil)
			want(t, err, x.kind, x.text)
		})
	}
	// What is unusual, and well.
	for name, f := range map[string]upstreamtest.Fault{
		"parameters":      {Header: header("Content-Type", manifestType+"; charset=utf-8")},
		"bad parameters":  {Header: header("Content-Type", manifestType+"; ;=")},
		"no digest":       {Header: http.Header{"Docker-Content-Digest": nil}},
		"sha512 besides":  {Header: header("Docker-Content-Digest", sha512of(image.Body))},
		"without length":  {Header: http.Header{"Content-Length": nil}, Trickle: 10},
		"a redirect home": {Redirect: r.URL() + "/v2/" + repo + "/manifests/v1", Times: 1},
		"identity":        {Header: header("Content-Encoding", "identity")},
	} {
		t.Run(name, func(t *testing.T) {
			f.Kind = upstreamtest.Manifest
			defer r.Inject(f)()
			m, err := c.Manifest(t.Context(), r.Endpoint(), repo, "v1", nil)
			if err != nil || m.Digest != image.Digest() || m.MediaType != manifestType {
				t.Errorf("%v, %v", m, err)
			}
		})
	}
	t.Run("by sha512", func(t *testing.T) {
		defer r.Inject(upstreamtest.Fault{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", manifestType)
			_, _ = w.Write(image.Body)
		})})()
		m, err := c.Manifest(t.Context(), r.Endpoint(), repo, sha512of(image.Body), nil)
		if err != nil || m.Digest != sha512of(image.Body) {
			t.Errorf("%v, %v", m, err)
		}
		_, err = c.Manifest(t.Context(), r.Endpoint(), repo, sha512of(other.Body), nil)
		want(t, err, upstream.Invalid, "digest")
	})
}

func sha512of(b []byte) string {
	s := sha512.Sum512(b)
	return "sha512:" + hex.EncodeToString(s[:])
}

func TestHeadIsHeldToItsDigest(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	image := r.PushImage(repo, "v1", []byte("layer"))
	other := r.PushImage(repo, "v2", []byte("other"))
	remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Head, Header: header("Docker-Content-Digest", other.Digest())})
	_, err := c.Head(t.Context(), r.Endpoint(), repo, image.Digest(), nil)
	want(t, err, upstream.Invalid, other.Digest())
	if d, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil || d.Digest != other.Digest() {
		t.Errorf("by tag: %v, %v", d, err)
	}
	remove()
	defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Head, Header: http.Header{"Docker-Content-Digest": nil, "Content-Length": nil, "Content-Type": nil}})()
	if d, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil || d != (upstream.Descriptor{Size: -1}) {
		t.Errorf("says nothing: %v, %v", d, err)
	}
}

func TestNames(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	digest := r.PushImage(repo, "v1").Digest()
	for _, name := range []string{"", "/", "a//b", "../a", "a/../b", "a/..", "a?b", "a#b", "a b", "a%2fb", "a/", "/a", "é"} {
		_, err := c.Manifest(t.Context(), r.Endpoint(), name, "v1", nil)
		want(t, err, upstream.Invalid, "")
		_, _, err = c.Blob(t.Context(), r.Endpoint(), name, digest, 0)
		want(t, err, upstream.Invalid, "")
		_, err = c.Referrers(t.Context(), r.Endpoint(), name, digest, "")
		want(t, err, upstream.Invalid, "")
	}
	for _, reference := range []string{"", "..", "a/b", "a?b", "-a", strings.Repeat("a", 129), "sha256:00", "sha1:" + digest[7:], strings.ToUpper(digest)} {
		_, err := c.Head(t.Context(), r.Endpoint(), repo, reference, nil)
		want(t, err, upstream.Invalid, "")
	}
	if n := r.Count(upstreamtest.Any); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestStatuses(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	digest := r.PutBlob(repo, []byte("blob"))
	for _, x := range []struct {
		status int
		header http.Header
		kind   upstream.Kind
		after  time.Duration
	}{
		{404, nil, upstream.NotFound, 0},
		{401, nil, upstream.Unauthorized, 0},
		{403, nil, upstream.Unauthorized, 0},
		{429, header("Retry-After", "17"), upstream.TooManyRequests, 17 * time.Second},
		{429, nil, upstream.TooManyRequests, 0},
		{500, nil, upstream.Unavailable, 0},
		{503, header("Retry-After", "3"), upstream.Unavailable, 3 * time.Second},
		{400, nil, upstream.Invalid, 0},
		{206, nil, upstream.Invalid, 0},
		{304, nil, upstream.Invalid, 0},
	} {
		remove := r.Inject(upstreamtest.Fault{Status: x.status, Header: x.header})
		_, err := c.Manifest(t.Context(), r.Endpoint(), repo, "v1", nil)
		if f := failed(t, err, x.kind, ""); f.Status != x.status || f.RetryAfter != x.after {
			t.Errorf("%d: %+v", x.status, f)
		}
		_, _, err = c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
		if f := failed(t, err, x.kind, ""); f.Status != x.status || f.RetryAfter != x.after {
			t.Errorf("%d: %+v", x.status, f)
		}
		remove()
	}
}

func TestNetworkFailures(t *testing.T) {
	r := upstreamtest.New(t)
	gone := upstreamtest.New(t)
	gone.Server.Close()
	config := upstreamtest.Config(r, gone)
	config.Timeouts = upstream.Timeouts{Header: 50 * time.Millisecond}
	c := client(t, config)
	_, err := c.Manifest(t.Context(), gone.Endpoint(), repo, "v1", nil)
	want(t, err, upstream.Unavailable, "refused")
	_, err = c.Manifest(t.Context(), upstream.Endpoint{Host: "registry.invalid"}, repo, "v1", nil)
	want(t, err, upstream.Unavailable, "registry.invalid")
	r.PushImage(repo, "v1")
	remove := r.Inject(upstreamtest.Fault{Hold: make(chan struct{})})
	_, err = c.Manifest(t.Context(), r.Endpoint(), repo, "v1", nil)
	want(t, err, upstream.Unavailable, "timeout")
	remove()

	// A body that comes, but too slowly for a manifest.
	config.Timeouts = upstream.Timeouts{Manifest: 50 * time.Millisecond}
	c = client(t, config)
	remove = r.Inject(upstreamtest.Fault{StallAfter: 10})
	_, err = c.Manifest(t.Context(), r.Endpoint(), repo, "v1", nil)
	want(t, err, upstream.Unavailable, "too long")
	remove()
	// The header of a blob has the same limit, whatever carries it.
	defer r.Inject(upstreamtest.Fault{Hold: make(chan struct{})})()
	_, _, err = c.Blob(t.Context(), r.Endpoint(), repo, r.PutBlob(repo, []byte("x")), 0)
	want(t, err, upstream.Unavailable, "too long")
}

// TestContext makes sure that who gives up is not told of the registry.
func TestContext(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	digest := r.PutBlob(repo, make([]byte, 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	defer r.Inject(upstreamtest.Fault{StallAfter: 1 << 10})()
	content, _, err := c.Blob(ctx, r.Endpoint(), repo, digest, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	if _, err := io.ReadFull(content, make([]byte, 1<<10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(content); !errors.Is(err, context.Canceled) || upstream.KindOf(err) != 0 {
		t.Errorf("reading on: %v", err)
	}
	if _, err := c.Manifest(ctx, r.Endpoint(), repo, "v1", nil); !errors.Is(err, context.Canceled) || upstream.KindOf(err) != 0 {
		t.Errorf("asking on: %v", err)
	}
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := c.Head(over, r.Endpoint(), repo, "v1", nil); !errors.Is(err, context.DeadlineExceeded) || upstream.KindOf(err) != 0 {
		t.Errorf("too late: %v", err)
	}
}

func TestReferrers(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	image := r.PushImage(repo, "v1", []byte("layer"))
	r.PushReferrer(image, "application/vnd.signature", []byte("signed"))
	sbom := r.PushReferrer(image, "application/vnd.sbom", []byte("packages"))
	list := func(artifactType string) []string {
		t.Helper()
		body, err := c.Referrers(t.Context(), r.Endpoint(), repo, image.Digest(), artifactType)
		if err != nil {
			t.Fatal(err)
		}
		var index struct {
			MediaType string
			Manifests []struct{ Digest, ArtifactType string }
		}
		if err := json.Unmarshal(body, &index); err != nil || index.MediaType != "application/vnd.oci.image.index.v1+json" || index.Manifests == nil {
			t.Fatalf("%s: %v", body, err)
		}
		var digests []string
		for _, m := range index.Manifests {
			digests = append(digests, m.Digest)
		}
		return digests
	}
	both := func() {
		t.Helper()
		if got := list(""); len(got) != 2 {
			t.Errorf("all: %v", got)
		}
		if got := list("application/vnd.sbom"); len(got) != 1 || got[0] != sbom.Digest() {
			t.Errorf("sbom: %v", got)
		}
		if got := list("application/none"); len(got) != 0 {
			t.Errorf("none: %v", got)
		}
	}
	both()
	whole, err := c.Referrers(t.Context(), r.Endpoint(), repo, image.Digest(), "")
	if err != nil {
		t.Fatal(err)
	}

	// A registry that does not filter, and has one entry a page.
	page := func(n int) []byte {
		var index map[string]any
		if err := json.Unmarshal(whole, &index); err != nil {
			t.Fatal(err)
		}
		index["manifests"] = index["manifests"].([]any)[n : n+1]
		body, err := json.Marshal(index)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	next := "?page=1"
	remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Referrers, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		if req.URL.Query().Has("page") && next == "?page=1" {
			_, _ = w.Write(page(1))
			return
		}
		w.Header().Set("Link", "<"+next+`>; rel="next"`)
		_, _ = w.Write(page(0))
	})})
	both()
	next = "https://evil.example/v2/"
	_, err = c.Referrers(t.Context(), r.Endpoint(), repo, image.Digest(), "")
	want(t, err, upstream.Invalid, "elsewhere")
	next = "?again=1"
	_, err = c.Referrers(t.Context(), r.Endpoint(), repo, image.Digest(), "")
	want(t, err, upstream.Invalid, "pages")
	remove()

	// Registries without the API.
	for name, f := range map[string]upstreamtest.Fault{
		"404": {Status: 404},
		"a page for everything": {Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprint(w, "<html>welcome")
		})},
	} {
		f.Kind = upstreamtest.Referrers
		remove := r.Inject(f)
		if got := list(""); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
		tag := strings.Replace(image.Digest(), ":", "-", 1)
		r.PutManifest(repo, tag, "application/vnd.oci.image.index.v1+json", whole)
		both()
		r.Delete(repo, tag)
		remove()
	}
	defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Referrers, Status: 503})()
	_, err = c.Referrers(t.Context(), r.Endpoint(), repo, image.Digest(), "")
	want(t, err, upstream.Unavailable, "503")
}

// TestMirror makes sure that a mirror is asked in a registry's place.
func TestMirror(t *testing.T) {
	mirror := upstreamtest.New(t)
	image := mirror.PushImage(repo, "v1")
	config := upstreamtest.Config()
	config.Hosts["registry.example"] = upstream.Host{Endpoint: mirror.URL() + "/", PlainHTTP: true}
	config.Hosts["other.example"] = upstream.Host{Endpoint: mirror.URL()}
	c := client(t, config)
	m, err := c.Manifest(t.Context(), upstream.Endpoint{Host: "Registry.Example"}, repo, "v1", nil)
	if err != nil || m.Digest != image.Digest() {
		t.Errorf("%v, %v", m, err)
	}
	_, err = c.Manifest(t.Context(), upstream.Endpoint{Host: "other.example"}, repo, "v1", nil)
	want(t, err, upstream.Refused, "https")
}

// inProcess carries requests to a handler without a network.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	p.handler.ServeHTTP(rec, req)
	return rec.Result(), nil
}

func TestVia(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	r.SetRealm("http://123456789012.registry.example/token")
	image := r.PushImage(repo, "v1", []byte("layer"))
	digest := image.Layers[0].Digest.String()
	c := client(t, upstream.Config{})
	e := upstream.Endpoint{Host: "123456789012.registry.example", Username: "user", Password: "secret", Via: inProcess{r}}
	m, err := c.Manifest(t.Context(), e, repo, "v1", nil)
	if err != nil || m.Digest != image.Digest() {
		t.Fatalf("%v, %v", m, err)
	}
	content, size, err := c.Blob(t.Context(), e, repo, digest, 2)
	if err != nil || size != 5 {
		t.Fatalf("%d, %v", size, err)
	}
	defer func() { _ = content.Close() }()
	if got, err := io.ReadAll(content); err != nil || string(got) != "yer" {
		t.Errorf("%q, %v", got, err)
	}
	defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Redirect: "https://elsewhere.example/{digest}"})()
	_, _, err = c.Blob(t.Context(), e, repo, digest, 0)
	want(t, err, upstream.Refused, "elsewhere.example")
}
