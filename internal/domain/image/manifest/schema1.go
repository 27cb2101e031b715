package manifest

import (
	"encoding/json"
	"fmt"
)

// schema1 reads docker's first format, signed or not. Of a signed manifest the
// signed part is read, after its signatures have been verified.
// Whether it is signed decides which of the two media types it gets.
func (p parser) schema1(body []byte, mediaType string) (Manifest, error) {
	m := Manifest{MediaType: DockerSchema1, Kind: KindSchema1, Canonical: body}
	switch {
	case p.top.has("signatures"):
		signed, err := p.openSigned(body)
		if err != nil {
			return Manifest{}, err
		}
		m.MediaType, m.Canonical = DockerSchema1Signed, signed.payload
		p.top = signed.top
	case mediaType == DockerSchema1Signed:
		return Manifest{}, invalid("the manifest was sent as signed and has no signatures")
	}
	if err := p.excludes(m.MediaType, "manifests", "layers", "config", "blobs", "subject"); err != nil {
		return Manifest{}, err
	}
	if err := p.schemaVersion(1); err != nil {
		return Manifest{}, err
	}
	for _, member := range []string{"name", "tag", "architecture"} {
		if _, err := p.top.text(member); err != nil {
			return Manifest{}, err
		}
	}
	layers, err := p.top.list("fsLayers")
	if err != nil {
		return Manifest{}, err
	}
	if err := p.layerLimit(len(layers)); err != nil {
		return Manifest{}, err
	}
	history, err := p.top.list("history")
	if err != nil {
		return Manifest{}, err
	}
	if len(layers) == 0 || len(layers) != len(history) {
		return Manifest{}, invalid("fsLayers and history have to be equally long and not empty")
	}
	for i, raw := range history {
		if err := checkHistory(fmt.Sprintf("history[%d]", i), raw); err != nil {
			return Manifest{}, err
		}
	}
	// The format lists the top layer first.
	m.Layers = make([]Descriptor, len(layers))
	for i, raw := range layers {
		o, err := readObject(fmt.Sprintf("fsLayers[%d]", i), raw, "blobSum")
		if err != nil {
			return Manifest{}, err
		}
		d, err := readDigest(o, "blobSum")
		if err != nil {
			return Manifest{}, err
		}
		m.Layers[len(layers)-1-i] = Descriptor{MediaType: dockerSchema1Layer, Digest: d, Size: -1}
	}
	return m, nil
}

// checkHistory checks that the entry holds a JSON object in a string, which
// docker parses without mercy.
func checkHistory(at string, raw json.RawMessage) error {
	o, err := readObject(at, raw, "v1Compatibility")
	if err != nil {
		return err
	}
	v1, err := o.text("v1Compatibility")
	if err != nil {
		return err
	}
	if checkDocument([]byte(v1)) != nil {
		return invalid("%s.v1Compatibility is not a JSON object in a string", at)
	}
	return nil
}
