package oidcverify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
	"github.com/berth-registry/berth/internal/infra/oidcverify/oidcverifytest"
)

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// A broken issuer is told from one that does not answer.
func TestBrokenIssuers(t *testing.T) {
	signer := oidcverifytest.NewKey(t, "", jose.ES256).Private
	large := strings.Repeat(" ", 256<<10) // after what is sound by itself
	for _, c := range []struct {
		what, path string
		handler    func(i *oidcverifytest.Issuer) http.HandlerFunc
		want       error
	}{
		{"no discovery document", oidcverifytest.DiscoveryPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return answer(404, "") }, oidcverify.ErrKey},
		{"discovery fails", oidcverifytest.DiscoveryPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return answer(500, "") }, oidcverify.ErrUnreachable},
		{"too many questions", oidcverifytest.KeysPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return answer(429, "") }, oidcverify.ErrUnreachable},
		{"no JSON", oidcverifytest.DiscoveryPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return answer(200, "<html>") }, oidcverify.ErrKey},
		{"a discovery document without end", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, i.URL, i.URL+oidcverifytest.KeysPath)+large)
		}, oidcverify.ErrKey},
		{"no keys", oidcverifytest.KeysPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return answer(200, `{}`) }, oidcverify.ErrKey},
		{"another issuer", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"issuer":"https://issuer.example.com","jwks_uri":%q}`, i.URL+oidcverifytest.KeysPath))
		}, oidcverify.ErrKey},
		{"no issuer", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"jwks_uri":%q}`, i.URL+oidcverifytest.KeysPath))
		}, oidcverify.ErrKey},
		{"keys nowhere", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"issuer":%q}`, i.URL))
		}, oidcverify.ErrKey},
		{"keys by http elsewhere", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://169.254.169.254/latest"}`, i.URL))
		}, oidcverify.ErrKey},
		{"keys in a file", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"file:///etc/passwd"}`, i.URL))
		}, oidcverify.ErrKey},
		{"keys with a password", oidcverifytest.DiscoveryPath, func(i *oidcverifytest.Issuer) http.HandlerFunc {
			return answer(200, fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://a:b@127.0.0.1/"}`, i.URL))
		}, oidcverify.ErrKey},
		{"a redirect elsewhere", oidcverifytest.KeysPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return redirect("https://issuer.example.com/keys") }, oidcverify.ErrKey},
		{"a redirect to another port", oidcverifytest.KeysPath, func(*oidcverifytest.Issuer) http.HandlerFunc { return redirect("http://127.0.0.1:1/keys") }, oidcverify.ErrKey},
		{"redirects in a circle", oidcverifytest.KeysPath, func(i *oidcverifytest.Issuer) http.HandlerFunc { return redirect("/tenant" + oidcverifytest.KeysPath) }, oidcverify.ErrKey},
	} {
		t.Run(c.what, func(t *testing.T) {
			i, v, clk := setup(t)
			i.Handle(c.path, c.handler(i))
			token := i.Sign(claims(nil))
			if _, err := v.Verify(t.Context(), provider(i), token); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			// Not asked again at once, and well again when the issuer is.
			asked := i.Asked(c.path)
			if _, err := v.Verify(t.Context(), provider(i), token); !errors.Is(err, c.want) || i.Asked(c.path) != asked {
				t.Errorf("again: %v, asked %d times more", err, i.Asked(c.path)-asked)
			}
			i.Handle(c.path, nil)
			clk.Advance(5 * time.Second)
			if _, err := v.Verify(t.Context(), provider(i), token); err != nil {
				t.Errorf("after the repair: %v", err)
			}
		})
	}
	t.Run("many keys", func(t *testing.T) {
		for n, want := range map[int]error{100: nil, 101: oidcverify.ErrKey} {
			i, v, _ := setup(t)
			keys := make([]oidcverifytest.Key, n)
			for k := range keys {
				keys[k] = oidcverifytest.Key{ID: fmt.Sprint(k), Algorithm: jose.ES256, Private: signer}
			}
			i.SetKeys(keys...)
			if _, err := v.Verify(t.Context(), provider(i), i.Sign(claims(nil))); !errors.Is(err, want) || (err == nil) != (want == nil) {
				t.Errorf("%d: %v, want %v", n, err, want)
			}
		}
	})
	t.Run("redirect on the same host", func(t *testing.T) {
		i, v, _ := setup(t)
		first := true
		i.Handle(oidcverifytest.KeysPath, func(w http.ResponseWriter, r *http.Request) {
			i.Handle(oidcverifytest.KeysPath, nil)
			if first {
				first = false
				http.Redirect(w, r, "/moved", http.StatusFound)
			}
		})
		if _, err := v.Verify(t.Context(), provider(i), i.Sign(claims(nil))); err != nil {
			t.Error(err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		i, v, _ := setup(t)
		token := i.Sign(claims(nil))
		i.Server.Close()
		if _, err := v.Verify(t.Context(), provider(i), token); !errors.Is(err, oidcverify.ErrUnreachable) {
			t.Error(err)
		}
	})
	t.Run("no answer", func(t *testing.T) {
		i, v, _ := setup(t)
		i.Handle(oidcverifytest.KeysPath, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		before := time.Now()
		if _, err := v.Verify(t.Context(), provider(i), i.Sign(claims(nil))); !errors.Is(err, oidcverify.ErrUnreachable) {
			t.Error(err)
		}
		if took := time.Since(before); took < 4*time.Second || took > 20*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	t.Run("http where there is no loopback", func(t *testing.T) {
		clk := clock.NewFake(start)
		i := oidcverifytest.New(t, "")
		i.URL = "http://issuer.example.com"
		v := oidcverify.New(oidcverify.Config{Clock: clk, Dial: i.Dial})
		if _, err := v.Verify(t.Context(), provider(i), i.Sign(claims(nil))); !errors.Is(err, oidcverify.ErrKey) || i.Asked(oidcverifytest.DiscoveryPath) != 0 {
			t.Error(err)
		}
	})
	t.Run("the caller has gone", func(t *testing.T) {
		i, v, _ := setup(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		// The keys are read all the same, or the next one would have to.
		if _, err := v.Verify(ctx, provider(i), i.Sign(claims(nil))); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := v.Verify(t.Context(), provider(i), i.Sign(claims(nil))); err != nil {
			t.Error(err)
		}
	})
}

func TestRotation(t *testing.T) {
	i, v, clk := setup(t)
	verify := func() error {
		t.Helper()
		_, err := v.Verify(t.Context(), provider(i), i.Sign(claims(map[string]any{"exp": clk.Now().Add(time.Hour).Unix()})))
		return err
	}
	asked := func() int { return i.Asked(oidcverifytest.KeysPath) }
	for range 3 {
		if err := verify(); err != nil || asked() != 1 {
			t.Fatalf("%v, asked %d times", err, asked())
		}
	}
	// A new key is found at once, if the issuer was not asked just now.
	clk.Advance(5 * time.Second)
	second := oidcverifytest.NewKey(t, "second", jose.RS256)
	i.SetKeys(second)
	if err := verify(); err != nil || asked() != 2 {
		t.Errorf("a new key: %v, asked %d times", err, asked())
	}
	// Keys that do not exist cannot have the issuer asked more often.
	hidden := oidcverifytest.NewKey(t, "hidden", jose.ES256)
	hidden.Hidden = true
	i.SetKeys(hidden, second)
	for range 3 {
		if err := verify(); !errors.Is(err, oidcverify.ErrKey) || asked() != 2 {
			t.Errorf("an unknown key: %v, asked %d times", err, asked())
		}
	}
	clk.Advance(5 * time.Second)
	for range 3 {
		if err := verify(); !errors.Is(err, oidcverify.ErrKey) || asked() != 3 {
			t.Errorf("an unknown key later: %v, asked %d times", err, asked())
		}
	}
	// A key that was withdrawn is refused after an hour.
	i.SetKeys(second)
	clk.Advance(5 * time.Second)
	if err := verify(); err != nil || asked() != 3 {
		t.Errorf("%v, asked %d times", err, asked())
	}
	withdrawn := second
	withdrawn.Hidden = true
	i.SetKeys(withdrawn, oidcverifytest.NewKey(t, "third", jose.ES384))
	if err := verify(); err != nil {
		t.Errorf("a withdrawn key before it is known: %v", err)
	}
	clk.Advance(time.Hour)
	if err := verify(); !errors.Is(err, oidcverify.ErrKey) || asked() != 4 {
		t.Errorf("a withdrawn key: %v, asked %d times", err, asked())
	}
}

func TestIssuerDown(t *testing.T) {
	i, v, clk := setup(t)
	verify := func() error {
		t.Helper()
		_, err := v.Verify(t.Context(), provider(i), i.Sign(claims(map[string]any{"exp": clk.Now().Add(time.Hour).Unix()})))
		return err
	}
	if err := verify(); err != nil {
		t.Fatal(err)
	}
	i.Handle(oidcverifytest.DiscoveryPath, answer(503, ""))
	clk.Advance(time.Hour)
	for range 3 {
		if err := verify(); err != nil || i.Asked(oidcverifytest.DiscoveryPath) != 2 {
			t.Errorf("down for an hour: %v, asked %d times", err, i.Asked(oidcverifytest.DiscoveryPath))
		}
	}
	clk.Advance(22*time.Hour + 59*time.Minute)
	if err := verify(); err != nil {
		t.Errorf("down for almost a day: %v", err)
	}
	clk.Advance(time.Minute)
	if err := verify(); !errors.Is(err, oidcverify.ErrUnreachable) {
		t.Errorf("down for a day: %v", err)
	}
	i.Handle(oidcverifytest.DiscoveryPath, nil)
	clk.Advance(5 * time.Second)
	if err := verify(); err != nil {
		t.Errorf("up again: %v", err)
	}
}

// Many at once read the keys once.
func TestAtOnce(t *testing.T) {
	i, v, _ := setup(t)
	token := i.Sign(claims(nil))
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if _, err := v.Verify(t.Context(), provider(i), token); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := i.Asked(oidcverifytest.KeysPath); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// The number of issuers is bounded: those that were not needed for the longest
// time go.
func TestManyIssuers(t *testing.T) {
	i, v, clk := setup(t)
	verify := func(thumbprint string) {
		t.Helper()
		if _, err := v.Verify(t.Context(), provider(i, thumbprint), i.Sign(claims(nil))); err != nil {
			t.Fatal(err)
		}
		clk.Advance(time.Millisecond)
	}
	for n := range 500 {
		verify(fmt.Sprint(n)) // other thumbprints are another issuer
	}
	verify("0")
	if n := i.Asked(oidcverifytest.KeysPath); n != 500 {
		t.Errorf("asked %d times", n)
	}
	verify("new")
	verify("0")
	if n := i.Asked(oidcverifytest.KeysPath); n != 501 {
		t.Errorf("after one more, asked %d times", n)
	}
	verify("1")
	if n := i.Asked(oidcverifytest.KeysPath); n != 502 {
		t.Errorf("for the oldest, asked %d times", n)
	}
}

// chain is a root, a certificate under it and one for a host under that.
type chain struct {
	root, middle, leaf *x509.Certificate
	key                *ecdsa.PrivateKey
}

func newChain(t *testing.T, host string) chain {
	t.Helper()
	var c chain
	var parent *x509.Certificate
	var parentKey *ecdsa.PrivateKey
	make := func(serial int64, ca bool) *x509.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprintf("certificate %d", serial)},
			NotBefore: start.Add(-time.Hour), NotAfter: start.Add(1000 * time.Hour), IsCA: ca, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}
		if !ca {
			template.DNSNames, template.ExtKeyUsage = []string{host}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		made, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		parent, parentKey, c.key = made, key, key
		return made
	}
	c.root, c.middle, c.leaf = make(1, true), make(2, true), make(3, false)
	return c
}

func (c chain) serve(present ...*x509.Certificate) tls.Certificate {
	out := tls.Certificate{PrivateKey: c.key}
	for _, p := range present {
		out.Certificate = append(out.Certificate, p.Raw)
	}
	return out
}

func pool(certs ...*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return hex.EncodeToString(sum[:])
}

func TestCertificates(t *testing.T) {
	c, wrongHost, stranger := newChain(t, "example.com"), newChain(t, "example.org"), newChain(t, "example.com")
	late := start.Add(2000 * time.Hour)
	for _, test := range []struct {
		what        string
		present     tls.Certificate
		roots       *x509.CertPool
		thumbprints []string
		at          time.Time
		want        error
	}{
		{"trusted by the roots", c.serve(c.leaf, c.middle), pool(c.root), nil, start, nil},
		{"trusted by the roots, whatever the thumbprints", c.serve(c.leaf, c.middle), pool(c.root), []string{thumbprint(stranger.root)}, start, nil},
		{"not trusted", c.serve(c.leaf, c.middle, c.root), pool(), nil, start, oidcverify.ErrCertificate},
		{"the system's roots", c.serve(c.leaf, c.middle, c.root), nil, nil, start, oidcverify.ErrCertificate},
		{"thumbprint of the root", c.serve(c.leaf, c.middle, c.root), pool(), []string{"00", strings.ToUpper(thumbprint(c.root))}, start, nil},
		{"thumbprint of the topmost that is presented", c.serve(c.leaf, c.middle), pool(), []string{thumbprint(c.middle)}, start, nil},
		{"thumbprint of one below", c.serve(c.leaf, c.middle, c.root), pool(), []string{thumbprint(c.middle)}, start, oidcverify.ErrCertificate},
		{"thumbprint of a root that is not presented", c.serve(c.leaf, c.middle), pool(), []string{thumbprint(c.root)}, start, oidcverify.ErrCertificate},
		{"thumbprint of another", c.serve(c.leaf, c.middle, c.root), pool(), []string{thumbprint(stranger.root)}, start, oidcverify.ErrCertificate},
		{"thumbprint of the only one", c.serve(c.leaf), pool(), []string{thumbprint(c.leaf)}, start, nil},
		{"a root that did not sign", stranger.serve(stranger.leaf, stranger.middle, c.root), pool(), []string{thumbprint(c.root)}, start, oidcverify.ErrCertificate},
		{"a leaf as root", stranger.serve(stranger.leaf, c.leaf), pool(), []string{thumbprint(c.leaf)}, start, oidcverify.ErrCertificate},
		{"another host by thumbprint", wrongHost.serve(wrongHost.leaf, wrongHost.middle), pool(), []string{thumbprint(wrongHost.middle)}, start, oidcverify.ErrCertificate},
		{"another host by the roots", wrongHost.serve(wrongHost.leaf, wrongHost.middle), pool(wrongHost.root), nil, start, oidcverify.ErrCertificate},
		{"too old, by thumbprint", c.serve(c.leaf, c.middle), pool(), []string{thumbprint(c.middle)}, late, oidcverify.ErrCertificate},
	} {
		t.Run(test.what, func(t *testing.T) {
			i := oidcverifytest.NewTLS(t, "/tenant")
			i.Server.TLS.Certificates = []tls.Certificate{test.present}
			v := oidcverify.New(oidcverify.Config{Clock: clock.NewFake(test.at), Roots: test.roots, Dial: i.Dial})
			token := i.Sign(claims(map[string]any{"exp": test.at.Add(time.Hour).Unix()}))
			if _, err := v.Verify(t.Context(), provider(i, test.thumbprints...), token); !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

// Keys that were read because of one provider's thumbprints do not serve another
// provider of the same issuer.
func TestThumbprintsAreTheProviders(t *testing.T) {
	c := newChain(t, "example.com")
	i := oidcverifytest.NewTLS(t, "")
	i.Server.TLS.Certificates = []tls.Certificate{c.serve(c.leaf, c.middle)}
	v := oidcverify.New(oidcverify.Config{Clock: clock.NewFake(start), Roots: pool(), Dial: i.Dial})
	token := i.Sign(claims(nil))
	if _, err := v.Verify(t.Context(), provider(i, thumbprint(c.middle)), token); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), provider(i), token); !errors.Is(err, oidcverify.ErrCertificate) {
		t.Error(err)
	}
}
