package clients

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/docker/libtrust"

	"github.com/berth-registry/berth/test/contract/harness"
)

// schema1Payload is docker's first manifest format.
type schema1Payload struct {
	SchemaVersion      int
	Name, Tag          string
	Architecture       string
	FSLayers           []struct{ BlobSum string }
	History            []struct{ V1Compatibility string }
	Signatures, Config json.RawMessage
}

// get fetches a manifest with the Accept header as given.
func (f *fixture) get(t *testing.T, method, repo, ref string, accept ...string) harness.Answer {
	t.Helper()
	a, err := f.registry.Do(t.Context(), harness.Request{Method: method, Path: "/v2/" + repo + "/manifests/" + ref, Accept: accept})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// schema1 pulls images of newer formats as a docker before 1.10 does: by tag, in
// the signed format, whose signature docker's own library verifies.
func schema1(t *testing.T, f *fixture) {
	f.CreateRepository(t, "schema1/app")
	f.image(t, "schema1/app", "oci", "amd64", harness.Random(110, 60_000))
	oci := f.registry.Verify(t, "schema1/app", "oci")
	pushDockerForm(t, f, "schema1/app", "docker", oci)
	for _, tag := range []string{"oci", "docker"} {
		stored := f.registry.Verify(t, "schema1/app", tag)
		// What docker 1.9 sends.
		a := f.get(t, http.MethodGet, "schema1/app", tag, "application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json")
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != harness.DockerSchema1 {
			t.Fatalf("%s: status %d, %s\n%s", tag, a.Status, a.Header.Get("Content-Type"), a.Body)
		}
		jws, err := libtrust.ParsePrettySignature(a.Body, "signatures")
		if err != nil {
			t.Fatalf("%s: no signed manifest: %v\n%s", tag, err, a.Body)
		}
		if keys, err := jws.Verify(); err != nil || len(keys) != 1 {
			t.Fatalf("%s: the signature does not hold: %v (%d keys)", tag, err, len(keys))
		}
		payload, err := jws.Payload()
		if err != nil {
			t.Fatal(err)
		}
		digest := harness.Digest(payload) // docker's digest leaves the signatures out
		same(t, "Docker-Content-Digest", a.Header.Get("Docker-Content-Digest"), digest)
		m := decode[schema1Payload](t, string(payload))
		if m.SchemaVersion != 1 || m.Name != "schema1/app" || m.Tag != tag || m.Architecture != "amd64" || len(m.FSLayers) != len(m.History) {
			t.Fatalf("%s: the manifest is\n%s", tag, payload)
		}
		// The newest layer comes first; steps without one name the empty layer,
		// which has to be there too.
		var sums []string
		for _, l := range m.FSLayers {
			content, err := f.registry.Blob(t.Context(), "schema1/app", l.BlobSum)
			if err != nil {
				t.Fatal(err)
			}
			if stored.Blobs[l.BlobSum] != nil {
				sums = append(sums, l.BlobSum)
			} else if len(content) > 100 {
				t.Fatalf("%s names a layer of %d bytes that the image has not", tag, len(content))
			}
		}
		slices.Reverse(sums)
		want := []string{}
		for _, l := range stored.Manifest.Layers {
			want = append(want, l.Digest)
		}
		if !slices.Equal(sums, want) {
			t.Fatalf("%s: the layers are %v, want %v", tag, sums, want)
		}
		parent := ""
		for i := len(m.History) - 1; i >= 0; i-- {
			h := decode[struct{ ID, Parent string }](t, m.History[i].V1Compatibility)
			if h.ID == "" || h.Parent != parent {
				t.Fatalf("%s: step %d is %s, its parent has to be %q", tag, i, m.History[i].V1Compatibility, parent)
			}
			parent = h.ID
		}
		if top := m.History[0].V1Compatibility; !strings.Contains(top, `"Entrypoint":["/hello"]`) {
			t.Fatalf("%s: the configuration is lost: %s", tag, top)
		}

		head := f.get(t, http.MethodHead, "schema1/app", tag, harness.DockerSchema1)
		same(t, "HEAD", head.Header.Get("Docker-Content-Digest"), digest)
		if byDigest := f.get(t, http.MethodGet, "schema1/app", stored.Digest, harness.DockerSchema1); !bytes.Equal(byDigest.Body, stored.Raw) {
			t.Fatalf("%s: by its digest the manifest was translated: status %d, %s", tag, byDigest.Status, byDigest.Body)
		}
	}
}

// pushDockerForm pushes an OCI image once more as docker's schema 2.
func pushDockerForm(t *testing.T, f *fixture, repo, tag string, oci harness.Whole) {
	t.Helper()
	m := oci.Manifest
	config := *m.Config
	config.MediaType = harness.DockerConfig
	m.Config, m.MediaType, m.Layers = &config, harness.DockerImage, slices.Clone(m.Layers)
	for i := range m.Layers {
		m.Layers[i].MediaType = "application/vnd.docker.image.rootfs.diff.tar"
	}
	f.registry.PushManifest(t, repo, tag, harness.DockerImage, m.Bytes(t))
}

// translation walks the table of conversions (reference 8.9): by tag a manifest
// comes in a form that the client knows, by digest always as it is stored.
func translation(t *testing.T, f *fixture) {
	const repo = "translate/app"
	f.CreateRepository(t, repo)
	f.image(t, repo, "oci", "amd64", harness.Random(120, 20_000))
	pushDockerForm(t, f, repo, "docker", f.registry.Verify(t, repo, "oci"))
	f.index(t, repo, "index")
	artifact := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage, ArtifactType: "example/thing",
		Config: &harness.Descriptor{MediaType: harness.OCIEmpty, Digest: harness.Digest([]byte("{}")), Size: 2},
		Layers: []harness.Descriptor{{MediaType: harness.OCIEmpty, Digest: harness.Digest([]byte("{}")), Size: 2}},
	}.Bytes(t)
	if _, err := f.registry.PutBlob(t.Context(), repo, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	f.registry.PushManifest(t, repo, "artifact", harness.OCIImage, artifact)

	const other = "application/vnd.example.none"
	for _, c := range []struct{ tag, accept, want string }{
		{"oci", harness.OCIImage, harness.OCIImage},
		{"oci", harness.DockerImage, harness.DockerImage},
		{"oci", harness.DockerSchema1, harness.DockerSchema1},
		{"oci", "*/*", harness.OCIImage},
		{"oci", other, ""},
		{"docker", harness.DockerImage, harness.DockerImage},
		{"docker", harness.OCIImage, harness.OCIImage},
		{"docker", harness.DockerSchema1, harness.DockerSchema1},
		{"docker", other, ""},
		{"index", harness.OCIIndex, harness.OCIIndex},
		{"index", harness.OCIImage, ""},
		{"artifact", harness.OCIImage, harness.OCIImage},
		{"artifact", harness.DockerImage, ""},
		{"artifact", harness.DockerSchema1, ""},
	} {
		stored := f.registry.Verify(t, repo, c.tag)
		a := f.get(t, http.MethodGet, repo, c.tag, c.accept)
		head := f.get(t, http.MethodHead, repo, c.tag, c.accept)
		if a.Status != head.Status || a.Header.Get("Docker-Content-Digest") != head.Header.Get("Docker-Content-Digest") {
			t.Errorf("%s as %s: GET says %d %v, HEAD %d %v", c.tag, c.accept, a.Status, a.Header, head.Status, head.Header)
		}
		if c.want == "" {
			if a.Status != http.StatusNotFound || !bytes.Contains(a.Body, []byte("MANIFEST_UNKNOWN")) {
				t.Errorf("%s as %s: status %d, want 404 MANIFEST_UNKNOWN\n%s", c.tag, c.accept, a.Status, a.Body)
			}
			continue
		}
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != c.want {
			t.Errorf("%s as %s: status %d %s, want %s\n%s", c.tag, c.accept, a.Status, a.Header.Get("Content-Type"), c.want, a.Body)
			continue
		}
		digest := a.Header.Get("Docker-Content-Digest")
		if c.want == stored.MediaType && !bytes.Equal(a.Body, stored.Raw) {
			t.Errorf("%s as %s: not the stored bytes", c.tag, c.accept)
		}
		// containerd asks HEAD by tag and then GET by the digest that it was told.
		again := f.get(t, http.MethodGet, repo, digest, c.accept)
		if again.Status != http.StatusOK || !bytes.Equal(again.Body, a.Body) {
			t.Errorf("%s as %s: by its digest %s: status %d\n%s", c.tag, c.accept, digest, again.Status, again.Body)
		}
		if byDigest := f.get(t, http.MethodGet, repo, stored.Digest, c.accept); !bytes.Equal(byDigest.Body, stored.Raw) {
			t.Errorf("%s as %s: by its digest the manifest was translated", c.tag, c.accept)
		}
	}
}
