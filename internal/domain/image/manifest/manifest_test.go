package manifest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
)

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	digestC = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
	emptied = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
)

func descriptor(mediaType, digest string, size int, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, mediaType, digest, size, more)
}

func ociImage(more string) string {
	return `{"schemaVersion":2,"mediaType":"` + manifest.OCIImage + `","config":` +
		descriptor("application/vnd.oci.image.config.v1+json", digestA, 7, "") + `,"layers":[` +
		descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digestB, 10, "") + `,` +
		descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digestC, 20, "") + `]` + more + `}`
}

func schema2(more string) string {
	return `{"schemaVersion":2,"mediaType":"` + manifest.DockerSchema2 + `","config":` +
		descriptor("application/vnd.docker.container.image.v1+json", digestA, 7, "") + `,"layers":[` +
		descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", digestB, 10, "") + `,` +
		descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", digestC, 20, "") + `]` + more + `}`
}

func index(mediaType, childType string) string {
	return `{"schemaVersion":2,"mediaType":"` + mediaType + `","manifests":[` +
		descriptor(childType, digestA, 7, `,"platform":{"os":"linux","architecture":"amd64"}`) + `,` +
		descriptor(childType, digestA, 7, `,"platform":{"os":"linux","architecture":"arm64"}`) + `,` +
		descriptor(childType, digestB, 8, "") + `]}`
}

func schema1(layers, history string) string {
	return `{"schemaVersion":1,"name":"r","tag":"t","architecture":"amd64","fsLayers":[` + layers + `],"history":[` + history + `]}`
}

var limits = manifest.Limits{Bytes: 4 << 20, Layers: 5}

func TestParseReadsEveryFormat(t *testing.T) {
	schema1Body := schema1(`{"blobSum":"`+digestA+`"},{"blobSum":"`+digestB+`"}`, `{"v1Compatibility":"{\"id\":\"x\"}"},{"v1Compatibility":"{}"}`)
	oras := `{"mediaType":"` + manifest.ORASArtifact + `","artifactType":"sbom/example","blobs":[` + descriptor("text/spdx", digestB, 4, "") +
		`],"subject":` + descriptor(manifest.OCIImage, digestC, 9, "") + `}`
	for _, c := range []struct {
		name, body, announced string
		wantType              string
		wantKind              manifest.Kind
		wantArtifact          string
		wantBlobs             []name.Digest
		wantChildren          []name.Digest
		wantSubject           name.Digest
	}{
		{"OCI image", ociImage(""), "", manifest.OCIImage, manifest.KindImage, "application/vnd.oci.image.config.v1+json", []name.Digest{digestA, digestB, digestC}, nil, ""},
		{"OCI image, announced too", ociImage(""), manifest.OCIImage + "; charset=utf-8", manifest.OCIImage, manifest.KindImage, "application/vnd.oci.image.config.v1+json", []name.Digest{digestA, digestB, digestC}, nil, ""},
		{"OCI image, announced only", strings.Replace(ociImage(""), `"mediaType":"`+manifest.OCIImage+`",`, "", 1), manifest.OCIImage, manifest.OCIImage, manifest.KindImage, "application/vnd.oci.image.config.v1+json", []name.Digest{digestA, digestB, digestC}, nil, ""},
		{"announced as plain JSON", schema2(""), "application/json", manifest.DockerSchema2, manifest.KindImage, "application/vnd.docker.container.image.v1+json", []name.Digest{digestA, digestB, digestC}, nil, ""},
		{"OCI artifact", `{"schemaVersion":2,"mediaType":"` + manifest.OCIImage + `","artifactType":"application/vnd.example+type","config":` +
			descriptor("application/vnd.oci.empty.v1+json", emptied, 2, `,"data":"e30="`) + `,"layers":[` + descriptor("application/vnd.oci.empty.v1+json", emptied, 2, "") +
			`],"subject":` + descriptor(manifest.OCIImage, digestC, 99, "") + `,"annotations":{"a":"b"}}`, "", manifest.OCIImage, manifest.KindImage,
			"application/vnd.example+type", []name.Digest{emptied}, nil, digestC},
		{"no layers", `{"schemaVersion":2,"config":` + descriptor("a/b", digestA, 0, "") + `,"layers":[]}`, manifest.OCIImage, manifest.OCIImage, manifest.KindImage, "a/b", []name.Digest{digestA}, nil, ""},
		{"OCI index", index(manifest.OCIIndex, manifest.OCIImage), "", manifest.OCIIndex, manifest.KindIndex, "", nil, []name.Digest{digestA, digestB}, ""},
		{"empty index", `{"schemaVersion":2,"mediaType":"` + manifest.OCIIndex + `","manifests":[],"artifactType":"x/y"}`, "", manifest.OCIIndex, manifest.KindIndex, "x/y", nil, nil, ""},
		{"manifest list", index(manifest.DockerList, manifest.DockerSchema2), "", manifest.DockerList, manifest.KindIndex, "", nil, []name.Digest{digestA, digestB}, ""},
		{"schema 1", schema1Body, "", manifest.DockerSchema1, manifest.KindSchema1, "", []name.Digest{digestB, digestA}, nil, ""},
		{"schema 1, announced", schema1Body, manifest.DockerSchema1, manifest.DockerSchema1, manifest.KindSchema1, "", []name.Digest{digestB, digestA}, nil, ""},
		{"ORAS artifact", oras, "", manifest.ORASArtifact, manifest.KindImage, "sbom/example", []name.Digest{digestB}, nil, digestC},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := manifest.Parse([]byte(c.body), c.announced, limits)
			if err != nil {
				t.Fatal(err)
			}
			if m.MediaType != c.wantType || m.Kind != c.wantKind || m.EffectiveArtifactType() != c.wantArtifact || m.Subject.Digest != c.wantSubject {
				t.Errorf("got %s, kind %d, artifact type %q, subject %q", m.MediaType, m.Kind, m.EffectiveArtifactType(), m.Subject.Digest)
			}
			if got := digests(m.Blobs()); fmt.Sprint(got) != fmt.Sprint(c.wantBlobs) {
				t.Errorf("blobs %v, want %v", got, c.wantBlobs)
			}
			if got := digests(m.ChildManifests()); fmt.Sprint(got) != fmt.Sprint(c.wantChildren) {
				t.Errorf("children %v, want %v", got, c.wantChildren)
			}
			if string(m.Canonical) != c.body {
				t.Error("the digest does not cover the body")
			}
		})
	}
}

func digests(ds []manifest.Descriptor) []name.Digest {
	var out []name.Digest
	for _, d := range ds {
		out = append(out, d.Digest)
	}
	return out
}

const wrapped = "Invalid parameter at 'ImageManifest' failed to satisfy constraint: '%s'"

func TestParseRefuses(t *testing.T) {
	layer := descriptor("application/vnd.oci.image.layer.v1.tar+gzip", digestB, 10, "")
	config := descriptor("application/vnd.oci.image.config.v1+json", digestA, 7, "")
	oci := func(config, layers, more string) string {
		return `{"schemaVersion":2,"mediaType":"` + manifest.OCIImage + `","config":` + config + `,"layers":` + layers + more + `}`
	}
	for _, c := range []struct{ name, body, announced, want string }{
		{"nothing", "", "", "Invalid JSON syntax"},
		{"text", "hello", "", "Invalid JSON syntax"},
		{"a list", "[]", "", "Invalid JSON syntax"},
		{"cut off", ociImage("")[:40], "", "Invalid JSON syntax"},
		{"something after it", ociImage("") + "{}", "", "Invalid JSON syntax"},
		{"a byte order mark", "\ufeff" + ociImage(""), "", "Invalid JSON syntax"},
		{"no UTF-8", strings.Replace(ociImage(`,"annotations":{"a":"X"}`), "X", "\xff", 1), "", "Invalid JSON syntax"},
		{"type twice", ociImage(`,"mediaType":"` + manifest.OCIImage + `"`), "", `the member "mediaType" stands twice in one object`},
		{"layers twice", ociImage(`,"layers":[]`), "", `the member "layers" stands twice in one object`},
		{"twice by an escape", ociImage(`,"l\u0061yers":[]`), "", `the member "layers" stands twice in one object`},
		{"twice in a descriptor", oci(config, `[{"mediaType":"a/b","digest":"`+digestA+`","size":1,"size":2}]`, ""), "", `the member "size" stands twice in one object`},
		{"case", ociImage(`,"Layers":[]`), "", `the manifest has a member "Layers"; it is written "layers"`},
		{"Unicode case", ociImage(`,"layer\u017f":[]`), "", `the manifest has a member "layer\u017f"; it is written "layers"`},
		{"layers and manifests", ociImage(`,"manifests":[]`), "", `a manifest of the media type ` + manifest.OCIImage + ` has no member "manifests"`},
		{"manifests and layers", strings.Replace(index(manifest.OCIIndex, manifest.OCIImage), "}]}", `}],"layers":[]}`, 1), "", `a manifest of the media type ` + manifest.OCIIndex + ` has no member "layers"`},
		{"manifests and config", strings.Replace(index(manifest.DockerList, manifest.OCIImage), "}]}", `}],"config":{}}`, 1), "", `a manifest of the media type ` + manifest.DockerList + ` has no member "config"`},
		{"schema 1 and layers", strings.Replace(schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"{}"}`), `"name"`, `"layers":[],"name"`, 1), "", `a manifest of the media type ` + manifest.DockerSchema1 + ` has no member "layers"`},
		{"deep", ociImage(`,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40)), "", "the manifest is nested more than 32 levels deep"},
		{"deep objects", ociImage(`,"x":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)), "", "the manifest is nested more than 32 levels deep"},
		{"many members", ociImage(`,"x":[` + strings.Repeat("0,", 100_001) + "0]"), "", "the manifest has more than 100000 members"},
		{"other type announced", ociImage(""), manifest.DockerSchema2, `the manifest says that its media type is "` + manifest.OCIImage + `", and it was sent as "` + manifest.DockerSchema2 + `"`},
		{"version 1", strings.Replace(ociImage(""), `"schemaVersion":2`, `"schemaVersion":1`, 1), "", "schemaVersion has to be 2 for this media type"},
		{"version missing", strings.Replace(ociImage(""), `"schemaVersion":2,`, ``, 1), "", "schemaVersion has to be 2 for this media type"},
		{"version a string", strings.Replace(ociImage(""), `"schemaVersion":2`, `"schemaVersion":"2"`, 1), "", "the manifest.schemaVersion is not a whole number of 0 or more"},
		{"schema 1 with version 2", strings.Replace(schema1("", ""), `"schemaVersion":1`, `"schemaVersion":2`, 1), "", "schemaVersion has to be 1 for this media type"},
		{"type a number", strings.Replace(ociImage(""), `"`+manifest.OCIImage+`"`, `2`, 1), "", "the manifest.mediaType is not a string"},
		{"no config", `{"schemaVersion":2,"mediaType":"` + manifest.OCIImage + `","layers":[]}`, "", "the manifest has no config"},
		{"config null", oci("null", "[]", ""), "", "the manifest has no config"},
		{"config a string", oci(`"x"`, "[]", ""), "", "config is not a JSON object"},
		{"no layers", `{"schemaVersion":2,"mediaType":"` + manifest.OCIImage + `","config":` + config + `}`, "", "the manifest has no layers"},
		{"layers an object", oci(config, "{}", ""), "", "the manifest.layers is not a list"},
		{"layer null", oci(config, "[null]", ""), "", "layers[0] is not a JSON object"},
		{"too many layers", oci(config, "["+strings.Repeat(layer+",", 5)+layer+"]", ""), "", "Limit on number of layers per image exceeded"},
		{"too many fsLayers", schema1(strings.Repeat(`{"blobSum":"`+digestA+`"},`, 5)+`{"blobSum":"`+digestA+`"}`, ""), "", "Limit on number of layers per image exceeded"},
		{"too many children", `{"schemaVersion":2,"mediaType":"` + manifest.OCIIndex + `","manifests":[{},{},{},{},{},{}]}`, "", "Limit on number of manifests per index exceeded"},
		{"no digest", oci(config, `[{"mediaType":"a/b","size":1}]`, ""), "", "layers[0] has no digest"},
		{"digest in capitals", oci(config, "["+descriptor("a/b", strings.ToUpper(digestA[7:]), 1, "")+"]", ""), "", `layers[0].digest is no sha256 or sha512 digest in lower case: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`},
		{"digest short", oci(config, "["+descriptor("a/b", "sha256:abcd", 1, "")+"]", ""), "", `layers[0].digest is no sha256 or sha512 digest in lower case: "sha256:abcd"`},
		{"digest unknown", oci(config, "["+descriptor("a/b", "blake3:abcd", 1, "")+"]", ""), "", `layers[0].digest is no sha256 or sha512 digest in lower case: "blake3:abcd"`},
		{"no size", oci(config, `[{"mediaType":"a/b","digest":"`+digestA+`"}]`, ""), "", "layers[0] has no size"},
		{"negative size", oci(config, "["+descriptor("a/b", digestA, -1, "")+"]", ""), "", "layers[0].size is not a whole number of 0 or more"},
		{"fractional size", oci(config, `[{"mediaType":"a/b","digest":"`+digestA+`","size":1.5}]`, ""), "", "layers[0].size is not a whole number of 0 or more"},
		{"size in powers", oci(config, `[{"mediaType":"a/b","digest":"`+digestA+`","size":1e3}]`, ""), "", "layers[0].size is not a whole number of 0 or more"},
		{"size too large", oci(config, `[{"mediaType":"a/b","digest":"`+digestA+`","size":9223372036854775808}]`, ""), "", "layers[0].size is not a whole number of 0 or more"},
		{"no media type", oci(config, `[{"digest":"`+digestA+`","size":1}]`, ""), "", "layers[0] has no mediaType"},
		{"media type with a space", oci(config, "["+descriptor("a b", digestA, 1, "")+"]", ""), "", `layers[0].mediaType is not a media type: "a b"`},
		{"media type too long", oci(config, "["+descriptor("a/"+strings.Repeat("b", 254), digestA, 1, "")+"]", ""), "", `layers[0].mediaType is longer than 255 characters`},
		{"data that is not the content", oci(descriptor("a/b", emptied, 2, `,"data":"e30K"`), "[]", ""), "", "config.data is not the content that the digest and size describe"},
		{"data no base64", oci(descriptor("a/b", emptied, 2, `,"data":"***"`), "[]", ""), "", "config.data is not base64"},
		{"foreign layer from a file", oci(config, "["+descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digestA, 1, `,"urls":["file:///etc/passwd"]`)+"]", ""), "", `layers[0].urls has "file:///etc/passwd", which is no http or https URL`},
		{"annotations no strings", ociImage(`,"annotations":{"a":1}`), "", "the manifest.annotations is not an object of strings"},
		{"annotation null", ociImage(`,"annotations":{"a":null}`), "", "the manifest.annotations is not an object of strings"},
		{"subject without digest", ociImage(`,"subject":{"mediaType":"a/b","size":1}`), "", "subject has no digest"},
		{"layers in an index", index(manifest.OCIIndex, "application/vnd.oci.image.layer.v1.tar+gzip"), "", `manifests[0] has the media type "application/vnd.oci.image.layer.v1.tar+gzip"; an index names manifests only`},
		{"index without manifests", `{"schemaVersion":2,"mediaType":"` + manifest.OCIIndex + `"}`, "", "the index has no manifests"},
		{"schema 1 empty", schema1("", ""), "", "fsLayers and history have to be equally long and not empty"},
		{"schema 1 uneven", schema1(`{"blobSum":"`+digestA+`"}`, ""), "", "fsLayers and history have to be equally long and not empty"},
		{"schema 1 history no JSON", schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"x"}`), "", "history[0].v1Compatibility is not a JSON object in a string"},
		{"schema 1 no digest", schema1(`{"blobSum":"x"}`, `{"v1Compatibility":"{}"}`), "", `fsLayers[0].blobSum is no sha256 or sha512 digest in lower case: "x"`},
		{"schema 1 sent as signed", schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"{}"}`), manifest.DockerSchema1Signed, "the manifest was sent as signed and has no signatures"},
		{"ORAS without type", `{"mediaType":"` + manifest.ORASArtifact + `","blobs":[]}`, "", "the manifest has no artifactType"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := manifest.Parse([]byte(c.body), c.announced, limits)
			if !errs.Is(err, errs.ManifestInvalid) || err.Error() != fmt.Sprintf(wrapped, c.want) {
				t.Errorf("got %v\nwant %s", err, fmt.Sprintf(wrapped, c.want))
			}
		})
	}
}

func TestParseRefusesWithOtherCodes(t *testing.T) {
	untyped := strings.Replace(ociImage(""), `"mediaType":"`+manifest.OCIImage+`",`, "", 1)
	if _, err := manifest.Parse([]byte(untyped), "", limits); !errs.Is(err, errs.ManifestTypeMissing) ||
		err.Error() != "image manifest mediatype not provided in manifest or parameter" {
		t.Errorf("no media type: %v", err)
	}
	if _, err := manifest.Parse([]byte(untyped), "application/json", limits); !errs.Is(err, errs.ManifestTypeMissing) {
		t.Errorf("announced as plain JSON: %v", err)
	}
	if _, err := manifest.Parse([]byte(ociImage("")), "", manifest.Limits{Bytes: 10}); !errs.Is(err, errs.ManifestTooLarge) {
		t.Errorf("too long: %v", err)
	}
	_, err := manifest.Parse([]byte(untyped), "application/vnd.oci.artifact.manifest.v1+json", limits)
	if !errs.Is(err, errs.ManifestInvalid) || !strings.Contains(err.Error(), `the media type "application/vnd.oci.artifact.manifest.v1+json" is not supported`) {
		t.Errorf("unknown media type: %v", err)
	}
}

func TestForeignLayers(t *testing.T) {
	foreign := "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	urls := `,"urls":["https://example.com/layer"]`
	body := `{"schemaVersion":2,"mediaType":"` + manifest.DockerSchema2 + `","config":` + descriptor("a/b", digestA, 1, urls) + `,"layers":[` +
		descriptor(foreign, digestB, 2, urls) + `,` + descriptor(foreign, digestC, 3, "") + `]}`
	m, err := manifest.Parse([]byte(body), "", limits)
	if err != nil {
		t.Fatal(err)
	}
	got := map[name.Digest]bool{}
	for _, b := range m.Blobs() {
		got[b.Digest] = b.Foreign
	}
	// URLs alone do not excuse a missing blob, and neither does the media type.
	if got[digestA] || !got[digestB] || got[digestC] {
		t.Errorf("foreign: %v", got)
	}
}

func TestBlobNamedTwiceIsNeededOnce(t *testing.T) {
	foreign := descriptor("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", digestB, 2, `,"urls":["https://example.com/layer"]`)
	plain := descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", digestB, 2, "")
	m, err := manifest.Parse([]byte(`{"schemaVersion":2,"mediaType":"`+manifest.DockerSchema2+`","config":`+plain+`,"layers":[`+foreign+`,`+foreign+`]}`), "", limits)
	if err != nil {
		t.Fatal(err)
	}
	if blobs := m.Blobs(); len(blobs) != 1 || blobs[0].Foreign {
		t.Errorf("blobs %+v", blobs)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{ociImage(""), schema2(""), index(manifest.OCIIndex, manifest.OCIImage), index(manifest.DockerList, manifest.DockerSchema2),
		schema1(`{"blobSum":"`+digestA+`"}`, `{"v1Compatibility":"{}"}`), string(signed(f)),
		ociImage(`,"subject":` + descriptor("a/b", digestA, 3, "") + `,"annotations":{"a":"b"}`), `{"mediaType":"` + manifest.ORASArtifact + `","artifactType":"a"}`} {
		f.Add([]byte(s), "")
	}
	f.Fuzz(func(t *testing.T, body []byte, announced string) {
		m, err := manifest.Parse(body, announced, limits)
		if err != nil {
			if c := errs.CodeOf(err); c != errs.ManifestInvalid && c != errs.ManifestTypeMissing && c != errs.ManifestTooLarge {
				t.Fatalf("refused with the code %d: %v", c, err)
			}
			return
		}
		if !json.Valid(m.Canonical) {
			t.Fatal("the canonical bytes are no JSON")
		}
		if _, ok := manifest.KindOf(m.MediaType); !ok {
			t.Fatalf("accepted the media type %q", m.MediaType)
		}
		for _, d := range append(m.Blobs(), m.ChildManifests()...) {
			if !d.Digest.Verifiable() {
				t.Fatalf("accepted the digest %q", d.Digest)
			}
		}
		again, err := manifest.Parse(body, m.MediaType, manifest.Limits{})
		if err != nil || again.MediaType != m.MediaType || string(again.Canonical) != string(m.Canonical) {
			t.Fatalf("read again as %s: %v", again.MediaType, err)
		}
		if translated, mediaType, ok := m.Counterpart(); ok {
			if _, err := manifest.Parse(translated, mediaType, limits); err != nil {
				t.Fatalf("the translation does not parse: %v", err)
			}
		}
	})
}
