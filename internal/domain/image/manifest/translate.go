package manifest

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/berth-registry/berth/internal/domain/name"
)

// ErrUntranslatable says that an image cannot be expressed in the wanted form.
var ErrUntranslatable = errors.New("the image cannot be expressed in that manifest format")

// Forms lists the media types in which the manifest can be served by tag: its
// own first, then those it can be translated into, the best first.
//
// Images are translated between docker schema 2 and OCI, and from both to
// signed docker schema 1, as ECR does. What only one side can say decides:
// annotations and embedded data are dropped on the way to docker, for the image
// runs without them; an image with an artifact type or a subject, and one whose
// configuration or layers are none of a container image, is not translated,
// for it would no longer be what it is. Lists and indexes are never translated.
//
// The schema 1 form needs the image's configuration too, and Schema1 may still
// find that it does not fit.
func (m Manifest) Forms() []string {
	forms := []string{m.MediaType}
	if _, mediaType, ok := m.Counterpart(); ok {
		forms = append(forms, mediaType)
		if m.fitsSchema1() {
			forms = append(forms, DockerSchema1Signed)
		}
	}
	return forms
}

// imageWire is a docker schema 2 or OCI image manifest as it is written.
type imageWire struct {
	SchemaVersion int              `json:"schemaVersion"`
	MediaType     string           `json:"mediaType"`
	Config        descriptorWire   `json:"config"`
	Layers        []descriptorWire `json:"layers"`
}

type descriptorWire struct {
	MediaType string      `json:"mediaType"`
	Digest    name.Digest `json:"digest"`
	Size      int64       `json:"size"`
	URLs      []string    `json:"urls,omitempty"`
}

// Counterpart translates docker schema 2 to OCI and OCI to docker schema 2. The
// bytes depend on the manifest only, so that their digest is stable. It answers
// false for a manifest that has no counterpart; see Forms.
func (m Manifest) Counterpart() (body []byte, mediaType string, ok bool) {
	var config string
	var layer func(string) (string, bool)
	switch {
	case m.MediaType == DockerSchema2 && m.Config.MediaType == dockerConfig:
		mediaType, config, layer = OCIImage, ociConfig, dockerToOCI
	case m.MediaType == OCIImage && m.Config.MediaType == ociConfig && m.ArtifactType == "" && m.Subject.Digest == "":
		mediaType, config, layer = DockerSchema2, dockerConfig, ociToDocker
	default:
		return nil, "", false
	}
	wire := imageWire{SchemaVersion: 2, MediaType: mediaType, Layers: []descriptorWire{}}
	wire.Config = descriptorWire{MediaType: config, Digest: m.Config.Digest, Size: m.Config.Size}
	for _, l := range m.Layers {
		to, ok := layer(l.MediaType)
		if !ok {
			return nil, "", false
		}
		wire.Layers = append(wire.Layers, descriptorWire{MediaType: to, Digest: l.Digest, Size: l.Size, URLs: l.URLs})
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(wire); err != nil {
		return nil, "", false
	}
	return bytes.TrimSpace(out.Bytes()), mediaType, true
}

// fitsSchema1 says whether schema 1 can name the layers: it has no URLs, and
// its docker unpacks gzip or nothing.
func (m Manifest) fitsSchema1() bool {
	for _, l := range m.Layers {
		if !schema1Readable(l.MediaType) || len(l.URLs) > 0 {
			return false
		}
	}
	return true
}
