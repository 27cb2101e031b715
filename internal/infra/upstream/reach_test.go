package upstream_test

import (
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

// TestLoopbackIsRefused asks for a server that is there, in the ways that lead to
// it, without being allowed to.
func TestLoopbackIsRefused(t *testing.T) {
	r := upstreamtest.New(t)
	r.PushImage(repo, "v1")
	_, port, err := net.SplitHostPort(r.Host())
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{
		"127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
		"0.0.0.0", "[::]", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "0x7f.0.0.1",
	}
	ask := func(config upstream.Config, host string) error {
		_, err := client(t, config).Head(t.Context(), upstream.Endpoint{Host: host}, repo, "v1", nil)
		return err
	}
	for _, host := range hosts {
		at := host + ":" + port
		config := upstream.Config{Hosts: map[string]upstream.Host{strings.ToLower(at): {PlainHTTP: true}}}
		err := ask(config, at)
		// 0177.0.0.1 and its like are names to Go, and never resolve.
		if kind := upstream.KindOf(err); kind != upstream.Refused && (kind != upstream.Unavailable || !strings.HasPrefix(host, "0")) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if n := r.Count(upstreamtest.Any); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	// The same ones reach it where they may.
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		at := host + ":" + port
		for _, config := range []upstream.Config{
			{AllowPrivate: upstreamtest.Loopback(), Hosts: map[string]upstream.Host{at: {PlainHTTP: true}}},
			{Hosts: map[string]upstream.Host{at: {PlainHTTP: true, AllowPrivate: true}}},
		} {
			if err := ask(config, at); err != nil {
				t.Errorf("%s with leave: %v", at, err)
			}
		}
	}
	// A setting of one host is for that host.
	at := "localhost:" + port
	config := upstream.Config{Hosts: map[string]upstream.Host{at: {PlainHTTP: true}, r.Host(): {PlainHTTP: true, AllowPrivate: true}}}
	want(t, ask(config, at), upstream.Refused, "not dialled")
}

func TestProxiesOfTheEnvironment(t *testing.T) {
	r, proxy := upstreamtest.New(t), upstreamtest.New(t)
	r.PushImage(repo, "v1")
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL())
	}
	t.Setenv("NO_PROXY", "")
	config := upstreamtest.Config()
	config.Hosts["registry.invalid"] = upstream.Host{PlainHTTP: true}
	_, err := client(t, config).Head(t.Context(), upstream.Endpoint{Host: "registry.invalid"}, repo, "v1", nil)
	want(t, err, upstream.Unavailable, "registry.invalid")
	if n := proxy.Count(upstreamtest.Any); n != 0 {
		t.Errorf("the proxy got %d requests", n)
	}
}

func TestRedirects(t *testing.T) {
	r, storage, stranger := upstreamtest.New(t), upstreamtest.New(t), upstreamtest.New(t)
	blob := pattern(1000)
	digest := r.PutBlob(repo, blob)
	storage.PutBlob("", blob)
	stranger.PutBlob("", blob)
	one := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	config := upstream.Config{AllowPrivate: one, Hosts: map[string]upstream.Host{
		r.Host(): {PlainHTTP: true, Also: []string{storage.Host(), "127.0.0.2:1", "localhost:1", "169.254.169.254", "10.0.0.1", "*.internal.example"}},
	}}
	for name, x := range map[string]struct {
		to   string
		kind upstream.Kind
		text string
	}{
		"to its storage":              {storage.URL() + "/storage/{digest}", 0, ""},
		"to itself":                   {"/storage/{digest}", 0, ""},
		"to a stranger":               {stranger.URL() + "/storage/{digest}", upstream.Refused, "none of its hosts"},
		"to a public stranger":        {"https://example.com/{digest}", upstream.Refused, "none of its hosts"},
		"to https on another port":    {"https://127.0.0.1:444/{digest}", upstream.Refused, "none of its hosts"},
		"to another loopback address": {"http://127.0.0.2:1/{digest}", upstream.Refused, "not dialled"},
		"to metadata":                 {"http://169.254.169.254/latest/meta-data/", upstream.Refused, "credentials of machines"},
		"to a private address":        {"http://10.0.0.1/", upstream.Refused, "not a public one"},
		"to a number":                 {"http://2130706433/", upstream.Refused, "number"},
		"to a file":                   {"file:///etc/passwd", upstream.Refused, "no address"},
		"to an opaque address":        {"mailto:a@b.example", upstream.Refused, "no address"},
		"with credentials":            {"http://a:b@" + storage.Host() + "/storage/{digest}", upstream.Refused, "credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Redirect: x.to})()
			content, size, err := client(t, config).Blob(t.Context(), r.Endpoint(), repo, digest, 0)
			if x.kind != 0 {
				want(t, err, x.kind, x.text)
				return
			}
			if err != nil || size != 1000 {
				t.Fatalf("%d, %v", size, err)
			}
			if err := content.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	if n := stranger.Count(upstreamtest.Any); n != 0 {
		t.Errorf("the stranger got %d requests", n)
	}

	// Five are followed, the sixth is not.
	for n, kind := range map[int]upstream.Kind{5: 0, 6: upstream.Refused} {
		r.ResetRequests()
		c := client(t, config)
		left := n
		remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if left--; left == 0 {
				http.Redirect(w, req, "/storage/"+digest, http.StatusFound)
				return
			}
			http.Redirect(w, req, req.URL.Path, http.StatusFound)
		})})
		content, _, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
		if upstream.KindOf(err) != kind {
			t.Errorf("%d redirects: %v", n, err)
		}
		if err == nil {
			if err := content.Close(); err != nil {
				t.Error(err)
			}
		}
		remove()
	}
}

func TestTLS(t *testing.T) {
	r, plain := upstreamtest.NewTLS(t), upstreamtest.New(t)
	r.PushImage(repo, "v1")
	head := func(config upstream.Config, host string) error {
		_, err := client(t, config).Head(t.Context(), upstream.Endpoint{Host: host}, repo, "v1", nil)
		return err
	}
	config := upstream.Config{AllowPrivate: upstreamtest.Loopback()}
	want(t, head(config, r.Host()), upstream.Refused, "certificate")
	want(t, head(config, plain.Host()), upstream.Refused, "TLS")
	config.Roots = r.Roots()
	if err := head(config, r.Host()); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(r.URL(), "https://") {
		t.Errorf("at %s", r.URL())
	}
	// Another name than the certificate's.
	_, port, err := net.SplitHostPort(r.Host())
	if err != nil {
		t.Fatal(err)
	}
	want(t, head(config, "localhost:"+port), upstream.Refused, "certificate")
	// Roots of one host are that host's.
	config.Roots, config.Hosts = x509.NewCertPool(), map[string]upstream.Host{r.Host(): {Roots: r.Roots()}}
	if err := head(config, r.Host()); err != nil {
		t.Error(err)
	}
	// No way back to http.
	defer r.Inject(upstreamtest.Fault{Redirect: "http://" + r.Host() + "/v2/"})()
	want(t, head(config, r.Host()), upstream.Refused, "not https")
}
