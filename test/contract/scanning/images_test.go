package scanning

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// layer is a layer of an image.
type layer struct {
	mediaType string
	content   []byte
	diffID    string // the digest without compression
}

// The compressed forms of layers.
const (
	gzipped = harness.OCILayer + "+gzip"
	zstded  = harness.OCILayer + "+zstd"
)

// plain is a layer with files, given as path and content by turns.
func plain(t *testing.T, files ...string) layer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o755, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		must(io.WriteString(w, files[i+1]))(t)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layer{harness.OCILayer, out.Bytes(), harness.Digest(out.Bytes())}
}

// debian is a layer of Debian 12 with packages, "name version" each.
func debian(t *testing.T, packages ...string) layer {
	t.Helper()
	var status strings.Builder
	for _, p := range packages {
		name, version, _ := strings.Cut(p, " ")
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: %s\nDescription: for tests\n\n", name, version)
	}
	return plain(t, "etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n", "etc/debian_version", "12.15\n", "var/lib/dpkg/status", status.String())
}

// perlLayer is the layer of the real image, as it is published.
func perlLayer(t *testing.T) layer {
	t.Helper()
	layout := must(matchtest.PerlImage())(t)
	blob := func(digest string) []byte {
		return must(fs.ReadFile(layout, "blobs/"+strings.Replace(digest, ":", "/", 1)))(t)
	}
	index := decode[harness.Manifest](t, string(must(fs.ReadFile(layout, "index.json"))(t)))
	image := decode[harness.Manifest](t, string(blob(index.Manifests[0].Digest)))
	config := decode[struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}](t, string(blob(image.Config.Digest)))
	return layer{image.Layers[0].MediaType, blob(image.Layers[0].Digest), config.RootFS.DiffIDs[0]}
}

// unpacked is a gzipped layer without its compression.
func (l layer) unpacked(t *testing.T) layer {
	t.Helper()
	z := must(gzip.NewReader(bytes.NewReader(l.content)))(t)
	return layer{harness.OCILayer, must(io.ReadAll(z))(t), l.diffID}
}

// zstd is a plain layer with that compression.
func (l layer) zstd(t *testing.T) layer {
	t.Helper()
	z := must(zstd.NewWriter(nil))(t)
	defer func() { _ = z.Close() }() // nothing is written through it
	return layer{zstded, z.EncodeAll(l.content, nil), l.diffID}
}

// gzip is a plain layer with that compression.
func (l layer) gzip(t *testing.T) layer {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	must(z.Write(l.content))(t)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return layer{gzipped, out.Bytes(), l.diffID}
}

// platform is what an image's configuration says that it runs on.
type platform struct{ OS, Architecture string }

var linux = platform{"linux", "amd64"}

// push pushes an image of these layers and returns its descriptor; tag "" pushes it by
// its digest.
func (w *world) push(t *testing.T, repo, tag string, on platform, layers ...layer) harness.Descriptor {
	t.Helper()
	var diffs []string
	for _, l := range layers {
		diffs = append(diffs, l.diffID)
	}
	config := must(json.Marshal(map[string]any{
		"architecture": on.Architecture, "os": on.OS, "author": "somebody", "rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		"config": map[string]any{"Labels": map[string]string{"for": repo + ":" + tag}},
	}))(t)
	m := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIImage, Config: w.blob(t, repo, harness.OCIConfig, config)}
	for _, l := range layers {
		m.Layers = append(m.Layers, *w.blob(t, repo, l.mediaType, l.content))
	}
	d := w.root.PushManifest(t, repo, tag, harness.OCIImage, m.Bytes(t))
	d.Platform = &harness.Platform{Architecture: on.Architecture, OS: on.OS}
	return d
}

func (w *world) blob(t *testing.T, repo, mediaType string, content []byte) *harness.Descriptor {
	t.Helper()
	digest := must(w.root.PutBlob(t.Context(), repo, content))(t)
	return &harness.Descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(content))}
}

// index pushes an index of images.
func (w *world) index(t *testing.T, repo, tag string, images ...harness.Descriptor) harness.Descriptor {
	t.Helper()
	m := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: images}
	return w.root.PushManifest(t, repo, tag, harness.OCIIndex, m.Bytes(t))
}

// chart pushes an artifact as Helm does.
func (w *world) chart(t *testing.T, repo, tag string) harness.Descriptor {
	t.Helper()
	m := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: w.blob(t, repo, "application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"app","version":"1.0.0","apiVersion":"v2"}`)),
		Layers: []harness.Descriptor{*w.blob(t, repo, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", plain(t, "app/Chart.yaml", "name: app\n").gzip(t).content)},
	}
	return w.root.PushManifest(t, repo, tag, harness.OCIImage, m.Bytes(t))
}

// jar is a Java archive that Maven has named.
func jar(t *testing.T, group, artifact, version string) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	f := must(z.Create("META-INF/maven/" + group + "/" + artifact + "/pom.properties"))(t)
	must(fmt.Fprintf(f, "groupId=%s\nartifactId=%s\nversion=%s\n", group, artifact, version))(t)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
