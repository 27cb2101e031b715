package manifest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
)

func parse(t interface {
	Helper()
	Fatal(...any)
}, body string) manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse([]byte(body), "", manifest.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestCounterpartBytes(t *testing.T) {
	// The digest of a translation is handed out to clients and stored in the
	// database, so its bytes can never change.
	const wantOCI = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digestA + `","size":7},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + digestB + `","size":10},{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + digestC + `","size":20}]}`
	const wantDocker = `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"` + digestA + `","size":7},` +
		`"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"` + digestB + `","size":10},{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":"` + digestC + `","size":20}]}`
	for _, c := range []struct{ name, body, wantType, want string }{
		{"schema 2", schema2(""), manifest.OCIImage, wantOCI},
		{"OCI", ociImage(""), manifest.DockerSchema2, wantDocker},
		{"OCI with annotations", ociImage(`,"annotations":{"a":"b"}`), manifest.DockerSchema2, wantDocker},
	} {
		t.Run(c.name, func(t *testing.T) {
			body, mediaType, ok := parse(t, c.body).Counterpart()
			if !ok || mediaType != c.wantType || string(body) != c.want {
				t.Errorf("%v %s\n%s\nwant\n%s", ok, mediaType, body, c.want)
			}
		})
	}
}

func TestFormsOfWhatCannotBeTranslated(t *testing.T) {
	both := func(stored string) []string { return []string{stored} }
	replace := func(s, old, new string) string { return strings.Replace(s, old, new, 1) }
	gzip, zstd := "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd"
	foreign := "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	for _, c := range []struct {
		name, body string
		want       []string
	}{
		{"image", ociImage(""), []string{manifest.OCIImage, manifest.DockerSchema2, manifest.DockerSchema1Signed}},
		{"docker image", schema2(""), []string{manifest.DockerSchema2, manifest.OCIImage, manifest.DockerSchema1Signed}},
		{"zstd layers", replace(ociImage(""), gzip, zstd), []string{manifest.OCIImage, manifest.DockerSchema2}},
		{"foreign layers", replace(ociImage(""), gzip+`"`, foreign+`","urls":["https://example.com/"]`), []string{manifest.OCIImage, manifest.DockerSchema2}},
		{"encrypted layers", replace(ociImage(""), gzip, gzip+"+encrypted"), both(manifest.OCIImage)},
		{"helm chart", replace(ociImage(""), "application/vnd.oci.image.config.v1+json", "application/vnd.cncf.helm.config.v1+json"), both(manifest.OCIImage)},
		{"artifact type", ociImage(`,"artifactType":"a/b"`), both(manifest.OCIImage)},
		{"subject", ociImage(`,"subject":` + descriptor("a/b", digestA, 1, "")), both(manifest.OCIImage)},
		{"docker plugin", replace(schema2(""), "application/vnd.docker.container.image.v1+json", "application/vnd.docker.plugin.v1+json"), both(manifest.DockerSchema2)},
		{"index", index(manifest.OCIIndex, manifest.OCIImage), both(manifest.OCIIndex)},
		{"list", index(manifest.DockerList, manifest.DockerSchema2), both(manifest.DockerList)},
		{"schema 1", schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"{}"}`), both(manifest.DockerSchema1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := parse(t, c.body).Forms(); !slices.Equal(got, c.want) {
				t.Errorf("forms %v, want %v", got, c.want)
			}
		})
	}
}

// randomImage draws an OCI or docker image out of the layers that both know.
func randomImage(t *rapid.T) string {
	stored := rapid.SampledFrom([]string{manifest.OCIImage, manifest.DockerSchema2}).Draw(t, "type")
	layerTypes := []string{"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.oci.image.layer.v1.tar+zstd",
		"application/vnd.oci.image.layer.nondistributable.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}
	config := "application/vnd.oci.image.config.v1+json"
	if stored == manifest.DockerSchema2 {
		config = "application/vnd.docker.container.image.v1+json"
		layerTypes = []string{"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.diff.tar.gzip", "application/vnd.docker.image.rootfs.diff.tar.zstd",
			"application/vnd.docker.image.rootfs.foreign.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}
	}
	digest := rapid.OneOf(rapid.StringMatching("sha256:[0-9a-f]{64}"), rapid.StringMatching("sha512:[0-9a-f]{128}"))
	size := rapid.IntRange(0, 1<<40)
	var layers []string
	for i := range rapid.IntRange(0, 8).Draw(t, "layers") {
		more := ""
		if rapid.Bool().Draw(t, "url") {
			more = `,"urls":["https://example.com/a?b=<c>&d"]`
		}
		layers = append(layers, descriptor(rapid.SampledFrom(layerTypes).Draw(t, fmt.Sprint("layer", i)), digest.Draw(t, "digest"), size.Draw(t, "size"), more))
	}
	return `{"schemaVersion":2,"mediaType":"` + stored + `","config":` + descriptor(config, digest.Draw(t, "config"), size.Draw(t, "size"), "") + `,"layers":[` + strings.Join(layers, ",") + `]}`
}

func TestCounterpartOfCounterpartIsTheSameImage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := parse(t, randomImage(t))
		body, mediaType, ok := m.Counterpart()
		if !ok {
			t.Fatal("not translated")
		}
		other, err := manifest.Parse(body, mediaType, manifest.Limits{})
		if err != nil || other.MediaType == m.MediaType {
			t.Fatalf("%s became %s: %v", m.MediaType, other.MediaType, err)
		}
		if !slices.Equal(digests(other.Blobs()), digests(m.Blobs())) {
			t.Fatal("the translation needs other blobs")
		}
		back, _, ok := other.Counterpart()
		if !ok {
			t.Fatal("not translated back")
		}
		again, err := manifest.Parse(back, m.MediaType, manifest.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		again.Canonical, m.Canonical = nil, nil
		if !reflect.DeepEqual(again, m) {
			t.Fatalf("got %+v\nwant %+v", again, m)
		}
		// From here on the bytes turn in a circle.
		second, _, _ := parse(t, string(back)).Counterpart()
		if name.SHA256(second) != name.SHA256(body) {
			t.Fatal("the translation is not stable")
		}
	})
}
