package clients

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// fixture is the server that all clients share.
type fixture struct {
	*harness.Server
	registry *harness.Registry
}

// TestClients runs every client against one server. The clients run side by
// side; what the server holds in the end has to be whole.
func TestClients(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	f := &fixture{Server: s, registry: s.Registry(t)}
	t.Run("with", func(t *testing.T) {
		for _, c := range []struct {
			name string
			run  func(*testing.T, *fixture)
		}{
			{"debian", debian}, // first: it takes longest
			{"docker", docker},
			{"docker-manifest", dockerManifest},
			{"podman", podman},
			{"skopeo", skopeo},
			{"buildah", buildah},
			{"crane", crane},
			{"regctl", regctl},
			{"oras", oras},
			{"containerd", containerd},
			{"awscli", awscli},
			{"awscli-retag", awscliRetag},
			{"awscli-secrets", awscliSecrets},
			{"credential-helper", credentialHelper},
			{"schema1", schema1},
			{"translation", translation},
			{"create-on-push", createOnPush},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.run(t, f)
			})
		}
	})
	f.MustFsck(t)
}

// ref is an image name at the server.
func (f *fixture) ref(repo, suffix string) string { return f.Host + "/" + repo + suffix }

// same fails unless what a client says is the digest that the registry has.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: the digest is %s, want %s", what, got, want)
	}
}

// decode reads the JSON that a client has printed.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("this is no JSON: %v\n%.500s", err, text)
	}
	return v
}

// identical fails unless two images are the same to the byte.
func identical(t *testing.T, a, b harness.Whole) {
	t.Helper()
	if !bytes.Equal(a.Raw, b.Raw) {
		t.Fatalf("the manifests differ:\n%s\n%s", a.Raw, b.Raw)
	}
	if len(a.Blobs) != len(b.Blobs) || len(a.Children) != len(b.Children) {
		t.Fatalf("%d blobs and %d children, want %d and %d", len(b.Blobs), len(b.Children), len(a.Blobs), len(a.Children))
	}
	for d, content := range a.Blobs {
		if !bytes.Equal(content, b.Blobs[d]) {
			t.Fatalf("the blob %s differs", d)
		}
	}
	for i := range a.Children {
		identical(t, a.Children[i], b.Children[i])
	}
}

// image is a small image that a client can run or at least unpack: one layer
// with one file. platform is linux/amd64 or another.
func (f *fixture) image(t *testing.T, repo, ref, architecture string, content []byte) harness.Descriptor {
	t.Helper()
	layer := harness.Tar(t, "hello", content)
	config, err := json.Marshal(map[string]any{
		"architecture": architecture, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/hello"}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{harness.Digest(layer)}},
		"history": []map[string]any{{"created": "2024-01-02T03:04:05Z", "created_by": "COPY hello /hello"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{layer, config} {
		if _, err := f.registry.PutBlob(t.Context(), repo, b); err != nil {
			t.Fatal(err)
		}
	}
	raw := harness.Manifest{
		SchemaVersion: 2, MediaType: harness.OCIImage,
		Config: &harness.Descriptor{MediaType: harness.OCIConfig, Digest: harness.Digest(config), Size: int64(len(config))},
		Layers: []harness.Descriptor{{MediaType: harness.OCILayer, Digest: harness.Digest(layer), Size: int64(len(layer))}},
	}.Bytes(t)
	d := f.registry.PushManifest(t, repo, ref, harness.OCIImage, raw)
	d.Platform = &harness.Platform{Architecture: architecture, OS: "linux"}
	return d
}

// index is a multi-arch image of two platforms under the tag.
func (f *fixture) index(t *testing.T, repo, tag string) harness.Descriptor {
	t.Helper()
	raw := harness.Manifest{SchemaVersion: 2, MediaType: harness.OCIIndex, Manifests: []harness.Descriptor{
		f.image(t, repo, "", "amd64", []byte("amd64 "+repo)), f.image(t, repo, "", "arm64", []byte("arm64 "+repo)),
	}}.Bytes(t)
	return f.registry.PushManifest(t, repo, tag, harness.OCIIndex, raw)
}
