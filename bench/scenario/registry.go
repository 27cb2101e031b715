package scenario

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/berth-registry/berth/bench/content"
	"github.com/berth-registry/berth/bench/load"
)

// Media types of what is pushed. zot takes OCI's only.
const (
	imageType  = "application/vnd.oci.image.manifest.v1+json"
	configType = "application/vnd.oci.image.config.v1+json"
	layerType  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// Headers of requests. docker asks for manifests with all of its forms.
var (
	acceptManifest = []string{"Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, " +
		"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v1+prettyjws, application/json"}
	bytesHeader    = []string{"Content-Type: application/octet-stream"}
	manifestHeader = []string{"Content-Type: " + imageType}
	blobHeader     = []string{"Accept-Encoding: identity"}
)

// descriptor and manifest are an image's.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	Digest    string `json:"digest"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// image is a manifest that has been made, with what it names.
type image struct {
	tag     string
	digest  string
	raw     []byte
	config  []byte
	blobs   []descriptor // the config first
	payload int64        // bytes of the manifest and all blobs
}

// newImage makes the manifest of an image with these layers. label makes its bytes differ from
// those of another image with the same ones; "" does not.
func newImage(tag string, config []byte, label string, layers ...*content.Blob) *image {
	m := manifest{
		SchemaVersion: 2, MediaType: imageType,
		Config: descriptor{configType, int64(len(config)), content.Digest(config)},
	}
	for _, l := range layers {
		m.Layers = append(m.Layers, descriptor{layerType, l.Size, l.Digest})
	}
	if label != "" {
		m.Annotations = map[string]string{"org.opencontainers.image.version": label}
	}
	i := &image{tag: tag, config: config, blobs: append([]descriptor{m.Config}, m.Layers...)}
	i.raw, _ = json.Marshal(m) // of strings and numbers
	i.digest, i.payload = content.Digest(i.raw), int64(len(i.raw))
	for _, b := range i.blobs {
		i.payload += b.Size
	}
	return i
}

// newConfig is the config of an image with these layers, as docker writes one.
func newConfig(layers ...*content.Blob) []byte {
	ids := make([]string, 0, len(layers))
	for _, l := range layers {
		ids = append(ids, l.Digest)
	}
	return encode(map[string]any{
		"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05Z",
		"config":  map[string]any{"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, "Cmd": []string{"/bin/sh"}, "WorkingDir": "/"},
		"history": []any{map[string]any{"created": "2026-01-02T03:04:05Z", "created_by": "COPY layer / # buildkit", "comment": "buildkit.dockerfile.v0"}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": ids},
	})
}

// largestBody is up to which size a blob is sent from memory, with the head of its request.
const largestBody = 64 << 10

// pushBlob uploads as docker does: POST, PATCH with everything, PUT with the digest.
func pushBlob(c *load.Conn, repository string, b *content.Blob) error {
	patch := load.Request{Method: http.MethodPatch, Header: bytesHeader}
	if b.Size <= largestBody {
		patch.Body = b.Bytes()
	} else {
		patch.Stream, patch.Length = b, b.Size
	}
	return upload(c, repository, b.Digest, &patch)
}

// pushBytes is pushBlob for bytes.
func pushBytes(c *load.Conn, repository, digest string, body []byte) error {
	return upload(c, repository, digest, &load.Request{Method: http.MethodPatch, Header: bytesHeader, Body: body})
}

func upload(c *load.Conn, repository, digest string, patch *load.Request) error {
	at, err := location(c.Do(&load.Request{Method: http.MethodPost, Path: "/v2/" + repository + "/blobs/uploads/"}))
	if err != nil {
		return fmt.Errorf("start an upload: %w", err)
	}
	patch.Path = at
	if at, err = location(c.Do(patch)); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	joint := "?"
	if strings.Contains(at, "?") {
		joint = "&"
	}
	answer, err := c.Do(&load.Request{Method: http.MethodPut, Path: at + joint + "digest=" + digest})
	if err == nil {
		err = answer.Want(http.StatusCreated)
	}
	if err != nil {
		return fmt.Errorf("finish an upload: %w", err)
	}
	return nil
}

// location is where an upload goes on.
func location(answer *load.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	if err := answer.Want(http.StatusAccepted); err != nil {
		return "", err
	}
	if answer.Location == "" {
		return "", fmt.Errorf("an answer %d has no Location", answer.Status)
	}
	return answer.Location, nil
}

// head asks whether a blob is there; want is the status that it should have.
func head(c *load.Conn, repository, digest string, want int) error {
	answer, err := c.Do(&load.Request{Method: http.MethodHead, Path: "/v2/" + repository + "/blobs/" + digest})
	if err != nil {
		return err
	}
	return answer.Want(want)
}

// putManifest pushes a manifest under a tag or its digest.
func putManifest(c *load.Conn, repository, ref string, raw []byte) error {
	answer, err := c.Do(&load.Request{Method: http.MethodPut, Path: "/v2/" + repository + "/manifests/" + ref, Header: manifestHeader, Body: raw})
	if err != nil {
		return err
	}
	if err := answer.Want(http.StatusCreated); err != nil {
		return fmt.Errorf("push a manifest: %w", err)
	}
	return nil
}

// manifestRequest asks for a manifest by a tag or its digest.
func manifestRequest(method, repository, ref string) *load.Request {
	return &load.Request{Method: method, Path: "/v2/" + repository + "/manifests/" + ref, Header: acceptManifest}
}

// getManifest reads a manifest, or with HEAD its headers, and compares digest and length.
func getManifest(c *load.Conn, method, repository, ref string, i *image) error {
	answer, err := c.Do(manifestRequest(method, repository, ref))
	if err != nil {
		return err
	}
	if err := answer.Want(http.StatusOK); err != nil {
		return err
	}
	if answer.Digest != i.digest {
		return fmt.Errorf("the manifest %s is said to be %q, it is %s", ref, answer.Digest, i.digest)
	}
	if method == http.MethodGet && answer.Bytes != int64(len(i.raw)) {
		return fmt.Errorf("the manifest %s came with %d bytes, it has %d", ref, answer.Bytes, len(i.raw))
	}
	return nil
}

// getBlob reads what is at a path, and compares its length.
func getBlob(c *load.Conn, path string, size int64) error {
	answer, err := c.Do(&load.Request{Method: http.MethodGet, Path: path, Header: blobHeader})
	if err != nil {
		return err
	}
	if err := answer.Want(http.StatusOK); err != nil {
		return err
	}
	if answer.Bytes != size {
		return fmt.Errorf("%s came with %d bytes, it has %d", path, answer.Bytes, size)
	}
	return nil
}

// blobPath is where a registry has a blob.
func blobPath(repository, digest string) string {
	return "/v2/" + repository + "/blobs/" + digest
}

// pushImage pushes an image as docker does: it asks for each blob before it uploads it,
// and for the tag before it sends the manifest.
func pushImage(c *load.Conn, repository string, i *image, layer *content.Blob) error {
	if err := head(c, repository, layer.Digest, http.StatusNotFound); err != nil {
		return fmt.Errorf("a layer that is new: %w", err)
	}
	if err := pushBlob(c, repository, layer); err != nil {
		return err
	}
	config := i.blobs[0].Digest
	if err := head(c, repository, config, http.StatusNotFound); err != nil {
		return fmt.Errorf("a config that is new: %w", err)
	}
	if err := pushBytes(c, repository, config, i.config); err != nil {
		return err
	}
	answer, err := c.Do(manifestRequest(http.MethodHead, repository, i.tag))
	if err != nil {
		return err
	}
	if err := answer.Want(http.StatusNotFound); err != nil {
		return fmt.Errorf("a tag that is new: %w", err)
	}
	return putManifest(c, repository, i.tag, i.raw)
}

// pullImage pulls an image as docker and containerd do: what the tag is, the manifest, the
// config and the layers.
func pullImage(c *load.Conn, repository string, i *image) error {
	if err := getManifest(c, http.MethodHead, repository, i.tag, i); err != nil {
		return err
	}
	if err := getManifest(c, http.MethodGet, repository, i.digest, i); err != nil {
		return err
	}
	for _, b := range i.blobs {
		if err := getBlob(c, blobPath(repository, b.Digest), b.Size); err != nil {
			return err
		}
	}
	return nil
}
