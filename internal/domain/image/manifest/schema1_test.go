package manifest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/libtrust"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
)

const imageConfig = `{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05.678Z","config":{"Cmd":["/bin/sh"],"Env":["A=<b>&c"]},` +
	`"rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2"]},"history":[` +
	`{"created":"2026-01-01T00:00:00Z","created_by":"ADD base","author":"me"},` +
	`{"created":"2026-01-01T00:00:01Z","created_by":"ENV A=b","empty_layer":true,"comment":"c"},` +
	`{"created":"2026-01-01T00:00:02Z","created_by":"RUN make"},` +
	`{"created":"2026-01-02T03:04:05.678Z","created_by":"CMD /bin/sh","empty_layer":true}]}`

var signedAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func newSigner(t testing.TB) *manifest.Signer {
	t.Helper()
	s, err := manifest.NewSigner(bytes.Repeat([]byte("seed"), 12))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func options(t testing.TB) manifest.Schema1Options {
	return manifest.Schema1Options{Repository: "team/app", Tag: "v1", Config: []byte(imageConfig), At: signedAt, Signer: newSigner(t)}
}

func signed(t testing.TB) []byte {
	t.Helper()
	body, _, err := parse(t, ociImage("")).Schema1(options(t))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestEmptyLayer(t *testing.T) {
	if got := name.SHA256(manifest.EmptyLayer()); got != manifest.EmptyLayerDigest {
		t.Errorf("the bytes have the digest %s", got)
	}
}

func TestSchema1IsReadByLibtrustAndByUs(t *testing.T) {
	m := parse(t, ociImage(""))
	body, digest, err := m.Schema1(options(t))
	if err != nil {
		t.Fatal(err)
	}
	js, err := libtrust.ParsePrettySignature(body, "signatures")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := js.Verify()
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys verify: %v", len(keys), err)
	}
	payload, err := js.Payload()
	if err != nil || name.SHA256(payload) != digest {
		t.Fatalf("the payload's digest is %s, want %s: %v", name.SHA256(payload), digest, err)
	}
	got := parse2(t, body, manifest.DockerSchema1Signed)
	if name.SHA256(got.Canonical) != digest || got.MediaType != manifest.DockerSchema1Signed || got.Kind != manifest.KindSchema1 {
		t.Errorf("we read %s with digest %s", got.MediaType, name.SHA256(got.Canonical))
	}
	want := []name.Digest{digestB, manifest.EmptyLayerDigest, digestC, manifest.EmptyLayerDigest}
	var layers []name.Digest
	for _, l := range got.Layers {
		layers = append(layers, l.Digest)
	}
	if fmt.Sprint(layers) != fmt.Sprint(want) {
		t.Errorf("layers %v, want %v", layers, want)
	}
}

func parse2(t *testing.T, body []byte, announced string) manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse(body, announced, manifest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSchema1Chain(t *testing.T) {
	body, _, err := parse(t, schema2("")).Schema1(options(t))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Name, Tag, Architecture string
		History                 []struct{ V1Compatibility string }
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "team/app" || got.Tag != "v1" || got.Architecture != "amd64" || len(got.History) != 4 {
		t.Fatalf("got %+v", got)
	}
	type entry struct {
		ID, Parent, Comment, Author string
		Created                     time.Time
		Throwaway                   bool
		RootFS, History             json.RawMessage
		ContainerConfig             struct{ Cmd []string } `json:"container_config"`
		Config                      struct{ Env []string }
	}
	entries := make([]entry, 4) // the base first
	for i, h := range got.History {
		if err := json.Unmarshal([]byte(h.V1Compatibility), &entries[3-i]); err != nil {
			t.Fatal(err)
		}
	}
	// The ids by docker's formula, written out.
	id := func(parts ...string) string {
		return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(parts, " "))))
	}
	empty := manifest.EmptyLayerDigest.Hex()
	first := id(digestB[7:], "")
	second := id(empty, first)
	third := id(digestC[7:], second)
	for i, want := range []string{first, second, third, id(empty, third, imageConfig)} {
		if entries[i].ID != want {
			t.Errorf("id %d is %s, want %s", i, entries[i].ID, want)
		}
	}
	if entries[0].Parent != "" || entries[1].Parent != first || entries[2].Parent != second || entries[3].Parent != third {
		t.Error("the chain of parents is broken")
	}
	if entries[0].Throwaway || !entries[1].Throwaway || entries[2].Throwaway || !entries[3].Throwaway {
		t.Error("the wrong steps are marked as without a layer")
	}
	if entries[0].Author != "me" || entries[1].Comment != "c" || entries[2].ContainerConfig.Cmd[0] != "RUN make" || entries[2].Created.Second() != 2 {
		t.Errorf("history is lost: %+v", entries)
	}
	if top := entries[3]; top.RootFS != nil || top.History != nil || len(top.Config.Env) != 1 || top.Config.Env[0] != "A=<b>&c" {
		t.Errorf("the configuration is %+v", top)
	}
}

func TestSchema1IsStable(t *testing.T) {
	m := parse(t, ociImage(""))
	one, digest, err := m.Schema1(options(t))
	if err != nil {
		t.Fatal(err)
	}
	two, _, _ := m.Schema1(options(t))
	if !bytes.Equal(one, two) {
		t.Error("the same input gave other bytes")
	}
	// Another key or time changes the signature, and not the digest.
	o := options(t)
	o.At = o.At.Add(time.Hour)
	o.Signer, _ = manifest.NewSigner(bytes.Repeat([]byte("other!"), 8))
	three, other, err := m.Schema1(o)
	if err != nil || other != digest || bytes.Equal(one, three) {
		t.Errorf("digest %s, want %s: %v", other, digest, err)
	}
	// The docker form of the same image gives the same manifest.
	if _, other, _ := parse(t, schema2("")).Schema1(options(t)); other != digest {
		t.Errorf("from docker %s, from OCI %s", other, digest)
	}
}

func TestSchema1WithoutHistory(t *testing.T) {
	o := options(t)
	o.Config = []byte(`{"architecture":"arm64","created":"2026-01-02T03:04:05Z","rootfs":{"diff_ids":["a","b"]}}`)
	body, _, err := parse(t, ociImage("")).Schema1(o)
	if err != nil {
		t.Fatal(err)
	}
	if m := parse2(t, body, ""); len(m.Layers) != 2 || m.Layers[0].Digest != digestB || m.Layers[1].Digest != digestC {
		t.Errorf("layers %+v", m.Layers)
	}
}

func TestSchema1Untranslatable(t *testing.T) {
	for name, config := range map[string]string{
		"no JSON":              `hello`,
		"null":                 `null`,
		"other layers":         `{"rootfs":{"diff_ids":["a"]}}`,
		"history too short":    `{"rootfs":{"diff_ids":["a","b"]},"history":[{}]}`,
		"history too long":     `{"rootfs":{"diff_ids":["a","b"]},"history":[{},{},{}]}`,
		"base layer elsewhere": `{"rootfs":{"diff_ids":["a","b"],"base_layer":"windows"},"history":[{},{}]}`,
		"impossible time":      `{"rootfs":{"diff_ids":["a","b"]},"history":[{"created":"then"},{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			o.Config = []byte(config)
			if _, _, err := parse(t, ociImage("")).Schema1(o); !errors.Is(err, manifest.ErrUntranslatable) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, _, err := parse(t, index(manifest.OCIIndex, manifest.OCIImage)).Schema1(options(t)); !errors.Is(err, manifest.ErrUntranslatable) {
		t.Errorf("an index: %v", err)
	}
}

func TestSignerNeedsItsSeed(t *testing.T) {
	if _, err := manifest.NewSigner(make([]byte, manifest.SignerSeedSize-1)); err == nil {
		t.Error("a short seed was accepted")
	}
	if _, err := manifest.NewSigner(make([]byte, manifest.SignerSeedSize)); err != nil {
		t.Error(err)
	}
}

// unsigned is a schema 1 manifest as docker 1.9 writes it.
func unsigned(t *testing.T) []byte {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"{\"id\":\"x\"}"}`)), "", "   "); err != nil {
		t.Fatal(err)
	}
	return indented.Bytes()
}

func TestParseVerifiesWhatLibtrustSigned(t *testing.T) {
	keys := map[string]func() (libtrust.PrivateKey, error){
		"P-256": libtrust.GenerateECP256PrivateKey, "P-384": libtrust.GenerateECP384PrivateKey,
		"P-521": libtrust.GenerateECP521PrivateKey, "RSA": libtrust.GenerateRSA2048PrivateKey,
	}
	js, err := libtrust.NewJSONSignature(unsigned(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, generate := range keys {
		key, err := generate()
		if err != nil {
			t.Fatal(err)
		}
		one, err := libtrust.NewJSONSignature(unsigned(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*libtrust.JSONSignature{one, js} {
			if err := s.Sign(key); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) { expectSigned(t, one) })
	}
	t.Run("all of them", func(t *testing.T) { expectSigned(t, js) })
	t.Run("without indentation", func(t *testing.T) {
		key, _ := libtrust.GenerateECP256PrivateKey()
		js, err := libtrust.NewJSONSignature([]byte(schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"{}"}`)))
		if err != nil {
			t.Fatal(err)
		}
		if err := js.Sign(key); err != nil {
			t.Fatal(err)
		}
		expectSigned(t, js)
	})
}

func expectSigned(t *testing.T, js *libtrust.JSONSignature) {
	t.Helper()
	body, err := js.PrettySignature("signatures")
	if err != nil {
		t.Fatal(err)
	}
	payload, err := js.Payload()
	if err != nil {
		t.Fatal(err)
	}
	for _, announced := range []string{"", manifest.DockerSchema1Signed, manifest.DockerSchema1, "application/json"} {
		m, err := manifest.Parse(body, announced, manifest.Limits{})
		if err != nil {
			t.Fatalf("sent as %q: %v", announced, err)
		}
		if m.MediaType != manifest.DockerSchema1Signed || !bytes.Equal(m.Canonical, payload) {
			t.Errorf("sent as %q, read as %s, digest %s", announced, m.MediaType, name.SHA256(m.Canonical))
		}
	}
}

func TestEveryChangeOfASignedManifestIsFound(t *testing.T) {
	body := signed(t)
	want := parse2(t, body, "").Canonical
	for i := range body {
		changed := bytes.Clone(body)
		changed[i] ^= 1
		m, err := manifest.Parse(changed, manifest.DockerSchema1Signed, manifest.Limits{})
		// A change may be without meaning (white space between the signatures,
		// unused bits of base64), but never change what was signed.
		if err == nil && (m.MediaType != manifest.DockerSchema1Signed || !bytes.Equal(m.Canonical, want)) {
			t.Errorf("the change at %d (%q) was accepted", i, body[i])
		}
	}
}

func TestUnsignedMembersAreRefused(t *testing.T) {
	body := string(signed(t))
	for name, changed := range map[string]string{
		"before the signatures": strings.Replace(body, `"signatures"`, `"extra":1,"signatures"`, 1),
		"after the signatures":  strings.TrimSuffix(body, "}") + `,"extra":1}`,
	} {
		if _, err := manifest.Parse([]byte(changed), "", manifest.Limits{}); !errs.Is(err, errs.ManifestInvalid) || !strings.Contains(err.Error(), "not signed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withSignature puts a hand-made signature into an unsigned manifest.
func withSignature(t *testing.T, protected, jwk, alg string) []byte {
	t.Helper()
	plain := strings.TrimSpace(string(unsigned(t)))
	enc := base64.RawURLEncoding.EncodeToString
	return []byte(strings.TrimSuffix(plain, "\n}") + `,"signatures":[{"header":{"alg":"` + alg + `","jwk":` + jwk + `},"signature":"` +
		enc(make([]byte, 64)) + `","protected":"` + enc([]byte(protected)) + `"}]}`)
}

func TestHostileSignaturesAreRefused(t *testing.T) {
	enc := base64.RawURLEncoding.EncodeToString
	rsaKey := func(n, e []byte) string { return `{"kty":"RSA","n":"` + enc(n) + `","e":"` + enc(e) + `"}` }
	ones := func(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }
	length := len(strings.TrimSuffix(strings.TrimSpace(string(unsigned(t))), "\n}"))
	good := fmt.Sprintf(`{"formatLength":%d,"formatTail":"%s"}`, length, enc([]byte("\n}")))
	for _, c := range []struct{ name, protected, jwk, alg, want string }{
		{"negative length", `{"formatLength":-5,"formatTail":"Cn0"}`, rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "formatLength"},
		{"length past the end", `{"formatLength":1000000,"formatTail":"Cn0"}`, rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "does not describe"},
		{"length no whole number", `{"formatLength":1e3,"formatTail":"Cn0"}`, rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "formatLength"},
		{"members in the tail", `{"formatLength":1,"formatTail":"` + enc([]byte(`"schemaVersion":1}`)) + `"}`, rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "does not describe"},
		{"no tail", fmt.Sprintf(`{"formatLength":%d}`, length), rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "does not describe"},
		{"protected no JSON", `x`, rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "is not a JSON object"},
		{"long exponent", good, rsaKey(ones(256), ones(9)), "RS256", "is too large"},
		{"exponent zero", good, rsaKey(ones(256), []byte{0}), "RS256", "unusual size"},
		{"huge modulus", good, rsaKey(ones(100_000), []byte{1, 0, 1}), "RS256", "is not a number"},
		{"no modulus", good, rsaKey(nil, []byte{1, 0, 1}), "RS256", "unusual size"},
		{"point off the curve", good, `{"kty":"EC","crv":"P-256","x":"` + enc(ones(32)) + `","y":"` + enc(ones(32)) + `"}`, "ES256", "is not a point"},
		{"point of another curve", good, `{"kty":"EC","crv":"P-384","x":"` + enc(ones(32)) + `","y":"` + enc(ones(32)) + `"}`, "ES384", "is not a point"},
		{"unknown curve", good, `{"kty":"EC","crv":"P-1"}`, "ES256", "crv is not known"},
		{"unknown key", good, `{"kty":"oct","k":"AAAA"}`, "HS256", "neither RSA nor EC"},
		{"key null", good, `null`, "RS256", "has no jwk"},
		{"no algorithm", good, rsaKey(ones(256), []byte{1, 0, 1}), "none", "is not known"},
		{"algorithm of another key", good, rsaKey(ones(256), []byte{1, 0, 1}), "ES256", "the key is not for"},
		{"wrong signature", good, rsaKey(ones(256), []byte{1, 0, 1}), "RS256", "wrong signature"},
		{"wrong fingerprint", good, strings.Replace(rsaKey(ones(256), []byte{1, 0, 1}), "{", `{"kid":"ABCD",`, 1), "RS256", "fingerprint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := manifest.Parse(withSignature(t, c.protected, c.jwk, c.alg), "", manifest.Limits{})
			if !errs.Is(err, errs.ManifestInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	plain := strings.TrimSuffix(strings.TrimSpace(string(unsigned(t))), "\n}")
	for name, signatures := range map[string]string{
		"none":       `[]`,
		"too many":   `[` + strings.Repeat("{},", 16) + `{}]`,
		"not a list": `{}`,
		"empty one":  `[{}]`,
	} {
		if _, err := manifest.Parse([]byte(plain+`,"signatures":`+signatures+`}`), "", manifest.Limits{}); !errs.Is(err, errs.ManifestInvalid) {
			t.Errorf("signatures: %s: %v", name, err)
		}
	}
}
