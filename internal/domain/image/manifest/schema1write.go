package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
)

// indent is what docker indents its manifests with.
const indent = "   "

// EmptyLayerDigest is the layer that schema 1 manifests name for a step that
// changed no file. No client pushes it for a schema 2 or OCI image, so whoever
// serves blobs has to know it: see EmptyLayer.
const EmptyLayerDigest name.Digest = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"

// EmptyLayer returns the bytes of EmptyLayerDigest: an empty tar, gzipped in
// the one way that every docker knows.
func EmptyLayer() []byte {
	return []byte{
		0x1f, 0x8b, 0x08, 0x00, 0x00, 0x09, 0x6e, 0x88, 0x00, 0xff, 0x62, 0x18, 0x05, 0xa3, 0x60, 0x14,
		0x8c, 0x58, 0x00, 0x08, 0x00, 0x00, 0xff, 0xff, 0x2e, 0xaf, 0xb5, 0xef, 0x00, 0x04, 0x00, 0x00,
	}
}

// Schema1Options say what goes into a schema 1 manifest beside the image.
type Schema1Options struct {
	// Repository and Tag stand in the manifest; docker ignores them.
	Repository name.Repository
	Tag        name.Tag
	// Config are the bytes of the image's configuration.
	Config []byte
	// At is when the signature claims to have been made. The same time gives
	// the same bytes.
	At     time.Time
	Signer *Signer
}

// imageConfig is what schema 1 needs of an image's configuration.
type imageConfig struct {
	Architecture string    `json:"architecture"`
	Created      time.Time `json:"created"`
	RootFS       struct {
		DiffIDs   []string `json:"diff_ids"`
		BaseLayer string   `json:"base_layer"`
	} `json:"rootfs"`
	History []historyEntry `json:"history"`
}

type historyEntry struct {
	Created    time.Time `json:"created"`
	Author     string    `json:"author"`
	CreatedBy  string    `json:"created_by"`
	Comment    string    `json:"comment"`
	EmptyLayer bool      `json:"empty_layer"`
}

// v1Image is one step of an image in the words of docker's first format.
type v1Image struct {
	ID              string      `json:"id"`
	Parent          string      `json:"parent,omitempty"`
	Comment         string      `json:"comment,omitempty"`
	Created         time.Time   `json:"created"`
	ContainerConfig v1Container `json:"container_config"`
	Author          string      `json:"author,omitempty"`
	Throwaway       bool        `json:"throwaway,omitempty"`
}

type v1Container struct {
	Cmd []string
}

type schema1Wire struct {
	SchemaVersion int             `json:"schemaVersion"`
	Name          name.Repository `json:"name"`
	Tag           name.Tag        `json:"tag"`
	Architecture  string          `json:"architecture"`
	Layers        []schema1Layer  `json:"fsLayers"`
	History       []schema1Entry  `json:"history"`
}

type schema1Layer struct {
	BlobSum name.Digest `json:"blobSum"`
}

type schema1Entry struct {
	V1Compatibility string `json:"v1Compatibility"`
}

// Schema1 translates a docker schema 2 or OCI image to signed docker schema 1,
// and returns the body with the digest of its signed part, which is the
// digest of the manifest. ErrUntranslatable when the image does not fit.
//
// Each step of the image's history becomes one entry; a step without a layer
// names EmptyLayerDigest. The ids of the steps are those that docker's own
// converter computes, so that an old docker shares layers between tags.
func (m Manifest) Schema1(o Schema1Options) (body []byte, digest name.Digest, err error) {
	if _, _, ok := m.Counterpart(); !ok || !m.fitsSchema1() {
		return nil, "", ErrUntranslatable
	}
	var config imageConfig
	if err := json.Unmarshal(o.Config, &config); err != nil {
		return nil, "", fmt.Errorf("%w: its configuration cannot be read: %w", ErrUntranslatable, err)
	}
	steps, err := m.steps(config)
	if err != nil {
		return nil, "", err
	}
	wire := schema1Wire{
		SchemaVersion: 1, Name: o.Repository, Tag: o.Tag, Architecture: config.Architecture,
		Layers: make([]schema1Layer, len(steps)), History: make([]schema1Entry, len(steps)),
	}
	parent := ""
	for i, s := range steps {
		last := i == len(steps)-1
		seed := s.layer.Hex() + " " + parent
		if last {
			seed += " " + string(o.Config)
		}
		sum := sha256.Sum256([]byte(seed))
		id := hex.EncodeToString(sum[:])
		var v1 []byte
		if last {
			v1, err = topEntry(o.Config, id, parent, s.entry.EmptyLayer)
		} else {
			v1, err = json.Marshal(v1Image{
				ID: id, Parent: parent, Comment: s.entry.Comment, Created: s.entry.Created,
				ContainerConfig: v1Container{Cmd: []string{s.entry.CreatedBy}},
				Author:          s.entry.Author, Throwaway: s.entry.EmptyLayer,
			})
		}
		if err != nil {
			return nil, "", fmt.Errorf("%w: %w", ErrUntranslatable, err)
		}
		// The top step comes first in this format.
		at := len(steps) - 1 - i
		wire.Layers[at], wire.History[at] = schema1Layer{s.layer}, schema1Entry{string(v1)}
		parent = id
	}
	payload, err := json.MarshalIndent(wire, "", indent)
	if err != nil {
		return nil, "", err
	}
	body, err = o.Signer.sign(payload, o.At)
	return body, name.SHA256(payload), err
}

// step is one entry of the history with its layer.
type step struct {
	entry historyEntry
	layer name.Digest
}

// steps joins history and layers. An image without a history, which some
// builders make, has one step for each layer.
func (m Manifest) steps(config imageConfig) ([]step, error) {
	if config.RootFS.BaseLayer != "" || len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("%w: its configuration lists other layers than its manifest", ErrUntranslatable)
	}
	history := config.History
	if len(history) == 0 {
		for range m.Layers {
			history = append(history, historyEntry{Created: config.Created})
		}
	}
	var steps []step
	used := 0
	for _, h := range history {
		if h.EmptyLayer {
			steps = append(steps, step{h, EmptyLayerDigest})
			continue
		}
		if used == len(m.Layers) {
			return nil, fmt.Errorf("%w: its history has more steps than it has layers", ErrUntranslatable)
		}
		steps = append(steps, step{h, m.Layers[used].Digest})
		used++
	}
	if used != len(m.Layers) || len(steps) == 0 {
		return nil, fmt.Errorf("%w: its history has fewer steps than it has layers", ErrUntranslatable)
	}
	return steps, nil
}

// topEntry is the entry of the last step: the image's configuration without
// what schema 1 did not have, and with the place of the step in the chain.
func topEntry(config []byte, id, parent string, throwaway bool) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(config, &members); err != nil || members == nil {
		return nil, fmt.Errorf("the configuration is not a JSON object")
	}
	delete(members, "rootfs")
	delete(members, "history")
	set := map[string]any{"id": id}
	if parent != "" {
		set["parent"] = parent
	}
	if throwaway {
		set["throwaway"] = true
	}
	for key, value := range set {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		members[key] = raw
	}
	return json.Marshal(members)
}
