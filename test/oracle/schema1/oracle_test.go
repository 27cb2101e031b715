package schema1

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/distribution"
	"github.com/docker/distribution/manifest"
	"github.com/docker/distribution/manifest/schema1"
	"github.com/docker/distribution/manifest/schema2"
	"github.com/docker/libtrust"
	"github.com/opencontainers/go-digest"

	ours "github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
)

// image is one image to convert: its layers and its configuration.
type image struct {
	name   string
	layers []string
	config string
}

func images() []image {
	layer := func(i int) string { return "sha256:" + strings.Repeat(fmt.Sprintf("%08x", i), 8) }
	full := `{"architecture":"amd64","author":"a <a@example.com>","config":{"Cmd":["/bin/sh","-c","a && b > c"],"Env":["PATH=/bin"],"Labels":{"k":"v"}},` +
		`"created":"2026-01-02T03:04:05.678901234Z","docker_version":"20.10.7","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:1","sha256:2","sha256:3"]},"history":[` +
		`{"created":"2026-01-01T00:00:00Z","created_by":"/bin/sh -c #(nop) ADD file:x in / ","author":"a"},` +
		`{"created":"2026-01-01T00:00:01.5Z","created_by":"/bin/sh -c #(nop)  ENV A=<b>&\"c\"","empty_layer":true},` +
		`{"created":"2026-01-01T00:00:02Z","created_by":"RUN a \u2028 b","comment":"buildkit.dockerfile.v0"},` +
		`{"created":"2026-01-01T00:00:03Z","created_by":"COPY x y"},` +
		`{"created":"2026-01-02T03:04:05.678901234Z","created_by":"CMD [\"/bin/sh\"]","empty_layer":true}]}`
	list := []image{
		{"docker build", []string{layer(1), layer(2), layer(3)}, full},
		{"one layer", []string{layer(4)}, `{"architecture":"arm64","rootfs":{"type":"layers","diff_ids":["sha256:4"]},"history":[{"created_by":"x"}]}`},
		{"only metadata", nil, `{"rootfs":{"type":"layers"},"history":[{"created_by":"LABEL a=b","empty_layer":true}]}`},
		{"the same layer twice", []string{layer(5), layer(5)}, `{"rootfs":{"diff_ids":["sha256:5","sha256:5"]},"history":[{"created":"2020-01-01T00:00:00+02:00"},{}]}`},
	}
	var many image
	many.name = "a hundred layers"
	var ids, history []string
	for i := range 100 {
		many.layers = append(many.layers, layer(100+i))
		ids = append(ids, fmt.Sprintf(`"sha256:%d"`, i))
		history = append(history, fmt.Sprintf(`{"created":"2026-01-01T00:00:00Z","created_by":"step %d"}`, i))
		if i%3 == 0 {
			history = append(history, `{"created":"2026-01-01T00:00:00Z","created_by":"env","empty_layer":true}`)
		}
	}
	many.config = `{"architecture":"s390x","rootfs":{"diff_ids":[` + strings.Join(ids, ",") + `]},"history":[` + strings.Join(history, ",") + `]}`
	return append(list, many)
}

// blobs is where docker's converter puts the empty layer.
type blobs struct {
	distribution.BlobService
	put map[digest.Digest][]byte
}

func (b *blobs) Stat(_ context.Context, d digest.Digest) (distribution.Descriptor, error) {
	if _, ok := b.put[d]; !ok {
		return distribution.Descriptor{}, distribution.ErrBlobUnknown
	}
	return distribution.Descriptor{Digest: d}, nil
}

func (b *blobs) Put(_ context.Context, mediaType string, p []byte) (distribution.Descriptor, error) {
	d := distribution.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(p), Size: int64(len(p))}
	b.put[d.Digest] = p
	return d, nil
}

// parse reads the image as a manifest of ours.
func parse(t *testing.T, i image, manifestType, configType, layerType string) ours.Manifest {
	t.Helper()
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	layers := []descriptor{}
	for _, l := range i.layers {
		layers = append(layers, descriptor{layerType, l, 1})
	}
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "layers": layers,
		"config": descriptor{configType, string(name.SHA256([]byte(i.config))), len(i.config)},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ours.Parse(body, "", ours.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func convert(t *testing.T, i image, m ours.Manifest) ([]byte, name.Digest) {
	t.Helper()
	signer, err := ours.NewSigner(bytes.Repeat([]byte("0123456789abcdef"), 3))
	if err != nil {
		t.Fatal(err)
	}
	body, d, err := m.Schema1(ours.Schema1Options{
		Repository: "example.com/team/app", Tag: "v1", Config: []byte(i.config), At: time.Unix(1767225600, 0), Signer: signer,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body, d
}

// TestOursIsDockers compares what is signed byte for byte with what docker's own
// converter makes of the same image.
func TestOursIsDockers(t *testing.T) {
	ref, err := reference.ParseNamed("example.com/team/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	key, err := libtrust.GenerateECP256PrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range images() {
		t.Run(i.name, func(t *testing.T) {
			store := &blobs{put: map[digest.Digest][]byte{}}
			b := schema1.NewConfigManifestBuilder(store, key, ref, []byte(i.config))
			for _, l := range i.layers {
				if err := b.AppendReference(distribution.Descriptor{Digest: digest.Digest(l)}); err != nil {
					t.Fatal(err)
				}
			}
			theirs, err := b.Build(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			want := theirs.(*schema1.SignedManifest)
			for _, m := range []ours.Manifest{
				parse(t, i, ours.DockerSchema2, schema2.MediaTypeImageConfig, schema2.MediaTypeLayer),
				parse(t, i, ours.OCIImage, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+gzip"),
			} {
				body, d := convert(t, i, m)
				var got schema1.SignedManifest
				if err := got.UnmarshalJSON(body); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Canonical, want.Canonical) {
					t.Errorf("from %s:\n%s\nwant\n%s", m.MediaType, got.Canonical, want.Canonical)
				}
				if string(d) != digest.FromBytes(want.Canonical).String() {
					t.Errorf("digest %s", d)
				}
				if keys, err := schema1.Verify(&got); err != nil || len(keys) != 1 {
					t.Errorf("docker verifies %d keys: %v", len(keys), err)
				}
			}
			for d, p := range store.put {
				if name.Digest(d) != ours.EmptyLayerDigest || !bytes.Equal(p, ours.EmptyLayer()) {
					t.Errorf("docker stores %s", d)
				}
			}
		})
	}
}

// TestDockerReadsOurs goes the way of a docker client: by the media type, and
// with the digest that the registry announced.
func TestDockerReadsOurs(t *testing.T) {
	for _, i := range images() {
		body, d := convert(t, i, parse(t, i, ours.DockerSchema2, schema2.MediaTypeImageConfig, schema2.MediaTypeLayer))
		m, descriptor, err := distribution.UnmarshalManifest(ours.DockerSchema1Signed, body)
		if err != nil {
			t.Fatalf("%s: %v", i.name, err)
		}
		if string(descriptor.Digest) != string(d) {
			t.Errorf("%s: docker computes %s, we %s", i.name, descriptor.Digest, d)
		}
		s := m.(*schema1.SignedManifest)
		if s.Name != "example.com/team/app" || s.Tag != "v1" || len(s.FSLayers) != len(s.History) {
			t.Errorf("%s: docker reads %+v", i.name, s.Manifest)
		}
	}
}

// TestWeReadDockers reads manifests as docker 1.9 pushed them.
func TestWeReadDockers(t *testing.T) {
	generate := map[string]func() (libtrust.PrivateKey, error){
		"P-256": libtrust.GenerateECP256PrivateKey, "P-384": libtrust.GenerateECP384PrivateKey, "RSA": libtrust.GenerateRSA2048PrivateKey,
	}
	m := schema1.Manifest{
		Versioned: manifest.Versioned{SchemaVersion: 1}, Name: "team/app", Tag: "v1", Architecture: "amd64",
		FSLayers: []schema1.FSLayer{{BlobSum: digest.Digest(ours.EmptyLayerDigest)}, {BlobSum: digest.FromString("base")}},
		History:  []schema1.History{{V1Compatibility: `{"id":"b","parent":"a","throwaway":true}`}, {V1Compatibility: `{"id":"a"}`}},
	}
	for kind, f := range generate {
		t.Run(kind, func(t *testing.T) {
			key, err := f()
			if err != nil {
				t.Fatal(err)
			}
			signed, err := schema1.Sign(&m, key)
			if err != nil {
				t.Fatal(err)
			}
			mediaType, body, err := signed.Payload()
			if err != nil {
				t.Fatal(err)
			}
			got, err := ours.Parse(body, mediaType, ours.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Canonical, signed.Canonical) || got.MediaType != schema1.MediaTypeSignedManifest {
				t.Errorf("we read %s with the digest %s", got.MediaType, name.SHA256(got.Canonical))
			}
			if len(got.Layers) != 2 || string(got.Layers[0].Digest) != digest.FromString("base").String() {
				t.Errorf("layers %+v", got.Layers)
			}
			body = bytes.Replace(body, []byte(`"tag": "v1"`), []byte(`"tag": "v2"`), 1)
			if _, err := ours.Parse(body, mediaType, ours.Limits{}); err == nil {
				t.Error("a changed manifest was accepted")
			}
		})
	}
}
