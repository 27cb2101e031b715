package oidcverify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/oidcverify"
	"github.com/berth-registry/berth/internal/infra/oidcverify/oidcverifytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// claims are those of a good token, with changes; a nil value removes one.
func claims(changes map[string]any) map[string]any {
	all := map[string]any{
		"sub": "repo:acme/app:ref:refs/heads/main", "aud": "sts.amazonaws.com",
		"iat": start.Unix(), "nbf": start.Unix(), "exp": start.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

func setup(t *testing.T) (*oidcverifytest.Issuer, *oidcverify.Verifier, *clock.Fake) {
	t.Helper()
	clk := clock.NewFake(start)
	return oidcverifytest.New(t, "/tenant"), oidcverify.New(oidcverify.Config{Clock: clk}), clk
}

func provider(i *oidcverifytest.Issuer, thumbprints ...string) oidcverify.Issuer {
	return oidcverify.Issuer{URL: i.URL, ClientIDs: []string{"other", "sts.amazonaws.com"}, Thumbprints: thumbprints}
}

func TestVerifies(t *testing.T) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512} {
		t.Run(string(algorithm), func(t *testing.T) {
			i, v, _ := setup(t)
			i.SetKeys(oidcverifytest.NewKey(t, "k", algorithm), oidcverifytest.NewKey(t, "k2", jose.ES256))
			token := i.Sign(claims(map[string]any{
				"aud": []string{"x", "other"}, "repository": "acme/app", "run": 7, "ok": true, "amr": []string{"a", "b"},
				"nested": map[string]any{"a": 1}, "mixed": []any{"a", 1}, "null": nil,
			}))
			if issuer, err := oidcverify.UnverifiedIssuer(token); err != nil || issuer != i.URL {
				t.Errorf("%q %v", issuer, err)
			}
			got, err := v.Verify(t.Context(), provider(i), token)
			if err != nil {
				t.Fatal(err)
			}
			if got.Issuer != i.URL || got.Subject != "repo:acme/app:ref:refs/heads/main" || !reflect.DeepEqual(got.Clients(), []string{"x", "other"}) ||
				!got.Expires.Equal(start.Add(10*time.Minute)) || !got.IssuedAt.Equal(start) {
				t.Errorf("%+v", got)
			}
			texts := got.Texts()
			for name, want := range map[string][]string{
				"repository": {"acme/app"}, "run": {"7"}, "ok": {"true"}, "amr": {"a", "b"}, "aud": {"x", "other"}, "nested": nil, "mixed": nil, "null": nil,
			} {
				if !reflect.DeepEqual(texts[name], want) {
					t.Errorf("%s: %q, want %q", name, texts[name], want)
				}
			}
			var nested struct{ A int }
			if ok, err := got.Decode("nested", &nested); !ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
			if ok, err := got.Decode("nested", new(string)); !ok || !errors.Is(err, oidcverify.ErrMalformed) {
				t.Errorf("%v %v", ok, err)
			}
			if ok, err := got.Decode("absent", new(string)); ok || err != nil {
				t.Errorf("%v %v", ok, err)
			}
		})
	}
}

func TestClaimsThatDoNotFit(t *testing.T) {
	i, v, clk := setup(t)
	for _, c := range []struct {
		what    string
		changes map[string]any
		want    error
	}{
		{"another audience", map[string]any{"aud": "sts.example.com"}, oidcverify.ErrAudience},
		{"an audience in other case", map[string]any{"aud": "STS.amazonaws.com"}, oidcverify.ErrAudience},
		{"an authorized party that is no client", map[string]any{"azp": "stranger"}, oidcverify.ErrAudience},
		{"an authorized party that is a client", map[string]any{"azp": "other", "aud": "account"}, nil},
		{"no audience", map[string]any{"aud": nil}, oidcverify.ErrMalformed},
		{"an audience without entries", map[string]any{"aud": []string{}}, oidcverify.ErrMalformed},
		{"an audience of numbers", map[string]any{"aud": []int{1}}, oidcverify.ErrMalformed},
		{"no subject", map[string]any{"sub": nil}, oidcverify.ErrMalformed},
		{"a subject in other case", map[string]any{"sub": nil, "Sub": "x"}, oidcverify.ErrMalformed},
		{"a subject that is a number", map[string]any{"sub": 1}, oidcverify.ErrMalformed},
		{"no end", map[string]any{"exp": nil}, oidcverify.ErrMalformed},
		{"an end with a fraction", map[string]any{"exp": float64(start.Unix()) + 100.5}, oidcverify.ErrMalformed},
		{"an end that is a text", map[string]any{"exp": "1900000000"}, oidcverify.ErrMalformed},
		{"an end beyond all time", map[string]any{"exp": int64(1) << 62}, oidcverify.ErrMalformed},
		{"an end before 1970", map[string]any{"exp": -1}, oidcverify.ErrMalformed},
		{"no beginning", map[string]any{"iat": nil, "nbf": nil}, nil},
		{"from the future", map[string]any{"iat": start.Add(61 * time.Second).Unix()}, oidcverify.ErrNotYet},
		{"from a clock that is a little fast", map[string]any{"iat": start.Add(60 * time.Second).Unix()}, nil},
		{"not yet", map[string]any{"nbf": start.Add(61 * time.Second).Unix()}, oidcverify.ErrNotYet},
		{"almost", map[string]any{"nbf": start.Add(60 * time.Second).Unix()}, nil},
		{"just ended", map[string]any{"exp": start.Add(-59 * time.Second).Unix()}, nil},
		{"another issuer", map[string]any{"iss": "https://issuer.example.com"}, oidcverify.ErrIssuer},
		{"an issuer with a slash more", map[string]any{"iss": i.URL + "/"}, oidcverify.ErrIssuer},
		{"no issuer", map[string]any{"iss": ""}, oidcverify.ErrMalformed},
	} {
		if _, err := v.Verify(t.Context(), provider(i), i.Sign(claims(c.changes))); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	token := i.Sign(claims(nil))
	clk.Advance(11 * time.Minute)
	var expired *oidcverify.ExpiredError
	if _, err := v.Verify(t.Context(), provider(i), token); !errors.As(err, &expired) || !expired.Now.Equal(start.Add(11*time.Minute)) || !expired.Expires.Equal(start.Add(10*time.Minute)) {
		t.Errorf("after its end: %v", err)
	}
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Texts that are not what they claim to be.
func TestForgeries(t *testing.T) {
	i, v, _ := setup(t)
	rsaKey, ecKey := oidcverifytest.NewKey(t, "rsa", jose.RS256), oidcverifytest.NewKey(t, "ec", jose.ES256)
	i.SetKeys(ecKey, rsaKey)
	payload, err := json.Marshal(claims(map[string]any{"iss": i.URL}))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	publicJWK, err := json.Marshal(jose.JSONWebKey{Key: rsaKey.Private.Public()})
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(a jose.SignatureAlgorithm, key any, id string) string {
		return oidcverifytest.SignPayload(t, a, key, id, payload)
	}
	good := i.Sign(claims(nil))
	parts := strings.Split(good, ".")
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: foreign}, &jose.SignerOptions{EmbedJWK: true, ExtraHeaders: map[jose.HeaderKey]any{"jku": i.URL, "x5u": i.URL}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := embedded.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	withOwnKey, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	twice := strings.Replace(string(payload), `{`, `{"sub":"admin",`, 1)
	for _, c := range []struct {
		what, token string
		want        error
	}{
		{"nothing", "", oidcverify.ErrMalformed},
		{"no token", "x.y", oidcverify.ErrMalformed},
		{"no base64", "!.!.!", oidcverify.ErrMalformed},
		{"JSON serialization", signed.FullSerialize(), oidcverify.ErrMalformed},
		{"too long", good + strings.Repeat("A", 20_000), oidcverify.ErrMalformed},
		{"alg none", encode(`{"alg":"none"}`) + "." + encode(string(payload)) + ".", oidcverify.ErrMalformed},
		{"alg None", encode(`{"alg":"None"}`) + "." + encode(string(payload)) + ".", oidcverify.ErrMalformed},
		{"no alg", encode(`{}`) + "." + encode(string(payload)) + ".", oidcverify.ErrMalformed},
		{"alg none with the signature of another", encode(`{"alg":"none","kid":"ec"}`) + "." + parts[1] + "." + parts[2], oidcverify.ErrMalformed},
		{"HS256 with the public key as PEM", sign(jose.HS256, publicPEM, "rsa"), oidcverify.ErrMalformed},
		{"HS256 with the public key as DER", sign(jose.HS256, der, "rsa"), oidcverify.ErrMalformed},
		{"HS256 with the public key as JWK", sign(jose.HS256, publicJWK, "rsa"), oidcverify.ErrMalformed},
		{"PS256", sign(jose.PS256, rsaKey.Private, "rsa"), oidcverify.ErrMalformed},
		{"a foreign key with the right id", sign(jose.ES256, foreign, "ec"), oidcverify.ErrSignature},
		{"a foreign key without an id", sign(jose.ES256, foreign, ""), oidcverify.ErrSignature},
		{"a key that the token brings along", withOwnKey, oidcverify.ErrSignature},
		{"RSA with the id of the other kind", sign(jose.RS256, rsaKey.Private, "ec"), oidcverify.ErrKey},
		{"ECDSA with the id of the other kind", sign(jose.ES256, ecKey.Private, "rsa"), oidcverify.ErrKey},
		{"changed claims", parts[0] + "." + encode(strings.Replace(string(payload), "main", "evil", 1)) + "." + parts[2], oidcverify.ErrSignature},
		{"a cut signature", good[:len(good)-4], oidcverify.ErrSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", oidcverify.ErrSignature},
		{"a claim twice", oidcverifytest.SignPayload(t, jose.ES256, ecKey.Private, "ec", []byte(twice)), oidcverify.ErrMalformed},
		{"claims that are no object", oidcverifytest.SignPayload(t, jose.ES256, ecKey.Private, "ec", []byte(`["iss"]`)), oidcverify.ErrMalformed},
		{"claims that are null", oidcverifytest.SignPayload(t, jose.ES256, ecKey.Private, "ec", []byte(`null`)), oidcverify.ErrMalformed},
		{"good", good, nil},
		{"good without an id", sign(jose.ES256, ecKey.Private, ""), nil},
		{"good with the other key", sign(jose.RS256, rsaKey.Private, "rsa"), nil},
	} {
		if _, err := v.Verify(t.Context(), provider(i), c.token); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// Keys that an issuer publishes and that are no good.
func TestKeysThatDoNotFit(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong := oidcverifytest.NewKey(t, "k", jose.RS256)
	for _, c := range []struct {
		what string
		key  jose.JSONWebKey
		sign any
		want error
	}{
		{"the right one", jose.JSONWebKey{Key: strong.Private.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}, strong.Private, nil},
		{"another algorithm", jose.JSONWebKey{Key: strong.Private.Public(), KeyID: "k", Algorithm: "RS512"}, strong.Private, oidcverify.ErrKey},
		{"for encryption", jose.JSONWebKey{Key: strong.Private.Public(), KeyID: "k", Use: "enc"}, strong.Private, oidcverify.ErrKey},
		{"another id", jose.JSONWebKey{Key: strong.Private.Public(), KeyID: "K"}, strong.Private, oidcverify.ErrKey},
		{"without an id", jose.JSONWebKey{Key: strong.Private.Public()}, strong.Private, oidcverify.ErrKey},
		{"private", jose.JSONWebKey{Key: strong.Private, KeyID: "k"}, strong.Private, oidcverify.ErrKey},
		{"symmetric", jose.JSONWebKey{Key: []byte("secret"), KeyID: "k"}, strong.Private, oidcverify.ErrKey},
	} {
		t.Run(c.what, func(t *testing.T) {
			i, v, _ := setup(t)
			text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{c.key}})
			if err != nil {
				t.Fatal(err)
			}
			// Beside it a key of a kind that nobody knows, and a broken one.
			i.Handle(oidcverifytest.KeysPath, answer(200, strings.Replace(string(text), "[", `[{"kty":"novel","kid":"k"},{"kty":"RSA","kid":"k","n":"!"},`, 1)))
			payload, err := json.Marshal(claims(map[string]any{"iss": i.URL}))
			if err != nil {
				t.Fatal(err)
			}
			token := oidcverifytest.SignPayload(t, jose.RS256, c.sign, "k", payload)
			if _, err := v.Verify(t.Context(), provider(i), token); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	t.Run("short", func(t *testing.T) {
		i, v, _ := setup(t)
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: weak.Public(), KeyID: "k"}}})
		if err != nil {
			t.Fatal(err)
		}
		i.Handle(oidcverifytest.KeysPath, answer(200, string(text)))
		// go-jose signs with no key that short, and need not: it fits no token.
		token := encode(`{"alg":"RS256","kid":"k"}`) + "." + encode(fmt.Sprintf(`{"iss":%q,"sub":"s","aud":"other","exp":%d}`, i.URL, start.Add(time.Hour).Unix())) + "." + encode("x")
		if _, err := v.Verify(t.Context(), provider(i), token); !errors.Is(err, oidcverify.ErrKey) {
			t.Error(err)
		}
	})
}
