// Package document has the JSON documents of the registry's lists, as the distribution
// specification has them. What is in a list is api/oci's.
package document

import (
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
)

// IndexType is the media type of an Index.
const IndexType = "application/vnd.oci.image.index.v1+json"

// Catalog is the document of _catalog.
type Catalog struct {
	Repositories []name.Repository `json:"repositories"`
}

// Tags is the document of tags/list. Name is the repository's as the client calls it.
type Tags struct {
	Name string     `json:"name"`
	Tags []name.Tag `json:"tags"`
}

// Index is the image index that lists referrers.
type Index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []Descriptor `json:"manifests"`
}

// Descriptor is one referrer in an Index.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       name.Digest       `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Referrers is the index of what refers to an image.
func Referrers(found []image.Referrer) Index {
	index := Index{SchemaVersion: 2, MediaType: IndexType, Manifests: make([]Descriptor, len(found))}
	for i, r := range found {
		index.Manifests[i] = Descriptor{MediaType: r.MediaType, Digest: r.Digest, Size: r.Size, ArtifactType: r.ArtifactType, Annotations: r.Annotations}
	}
	return index
}
