package harness

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
)

// Random is n bytes that a seed decides.
func Random(seed uint64, n int) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// Tar is an archive with one file.
func Tar(t testing.TB, name string, content []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Whole is what Verify has seen of an image.
type Whole struct {
	// Digest and MediaType are of the manifest, as it is stored; Raw is the
	// manifest.
	Digest, MediaType string
	Raw               []byte
	Manifest          Manifest
	// Blobs are the contents of the config and the layers, by digest.
	Blobs map[string][]byte
	// Children are the images of an index, in its order.
	Children []Whole
}

// Verify pulls an image with everything that it names, by tag and by digest, and
// compares every digest and size with the bytes.
func (r *Registry) Verify(t testing.TB, repo, ref string) Whole {
	t.Helper()
	w, err := r.Pull(t.Context(), repo, ref)
	if err != nil {
		t.Fatalf("%s:%s does not come back right: %v", repo, ref, err)
	}
	return w
}

// Pull is Verify without a test.
func (r *Registry) Pull(ctx context.Context, repo, ref string) (Whole, error) {
	raw, mediaType, err := r.Manifest(ctx, repo, ref)
	if err != nil {
		return Whole{}, err
	}
	w := Whole{Digest: Digest(raw), MediaType: mediaType, Raw: raw, Blobs: map[string][]byte{}}
	again, _, err := r.Manifest(ctx, repo, w.Digest)
	if err != nil {
		return Whole{}, err
	}
	if !bytes.Equal(raw, again) {
		return Whole{}, fmt.Errorf("%s:%s has other bytes by its digest", repo, ref)
	}
	head, err := r.Do(ctx, Request{Method: http.MethodHead, Path: "/v2/" + repo + "/manifests/" + ref, Accept: EveryManifest()}, http.StatusOK)
	if err != nil {
		return Whole{}, err
	}
	if got := head.Header.Get("Docker-Content-Digest"); got != w.Digest {
		return Whole{}, fmt.Errorf("HEAD of %s:%s says %q, GET %s", repo, ref, got, w.Digest)
	}
	if err := json.Unmarshal(raw, &w.Manifest); err != nil {
		return Whole{}, err
	}
	blobs := w.Manifest.Layers
	if w.Manifest.Config != nil {
		blobs = append([]Descriptor{*w.Manifest.Config}, blobs...)
	}
	for _, d := range blobs {
		content, err := r.Blob(ctx, repo, d.Digest)
		if err != nil {
			return Whole{}, err
		}
		if int64(len(content)) != d.Size {
			return Whole{}, fmt.Errorf("the blob %s of %s has %d bytes, its descriptor says %d", d.Digest, repo, len(content), d.Size)
		}
		w.Blobs[d.Digest] = content
	}
	for _, d := range w.Manifest.Manifests {
		child, err := r.Pull(ctx, repo, d.Digest)
		if err != nil {
			return Whole{}, err
		}
		w.Children = append(w.Children, child)
	}
	return w, nil
}

// PushImage pushes an image with one layer of n bytes that the seed decides, and
// returns its descriptor. ref "" pushes it by its digest.
func (r *Registry) PushImage(t testing.TB, repo, ref string, seed uint64, n int) Descriptor {
	t.Helper()
	layer := Random(seed, n)
	config := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[%q]},"config":{"Labels":{"seed":"%d"}}}`, Digest(layer), seed)
	for _, b := range [][]byte{layer, config} {
		if _, err := r.PutBlob(t.Context(), repo, b); err != nil {
			t.Fatal(err)
		}
	}
	raw := Manifest{
		SchemaVersion: 2, MediaType: OCIImage,
		Config: &Descriptor{MediaType: OCIConfig, Digest: Digest(config), Size: int64(len(config))},
		Layers: []Descriptor{{MediaType: OCILayer, Digest: Digest(layer), Size: int64(len(layer))}},
	}.Bytes(t)
	return r.PushManifest(t, repo, ref, OCIImage, raw)
}

// PushManifest pushes a manifest and returns its descriptor. ref "" pushes it by
// its digest.
func (r *Registry) PushManifest(t testing.TB, repo, ref, mediaType string, raw []byte) Descriptor {
	t.Helper()
	if ref == "" {
		ref = Digest(raw)
	}
	if err := r.PutManifest(t.Context(), repo, ref, mediaType, raw); err != nil {
		t.Fatal(err)
	}
	return Descriptor{MediaType: mediaType, Digest: Digest(raw), Size: int64(len(raw))}
}
