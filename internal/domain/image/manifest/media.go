package manifest

import "strings"

// Media types of the manifests that Berth keeps.
const (
	DockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	DockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	DockerSchema2       = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList          = "application/vnd.docker.distribution.manifest.list.v2+json"
	OCIImage            = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex            = "application/vnd.oci.image.index.v1+json"
	ORASArtifact        = "application/vnd.cncf.oras.artifact.manifest.v1+json"
)

// Media types of the image configurations that can be translated.
const (
	dockerConfig = "application/vnd.docker.container.image.v1+json"
	ociConfig    = "application/vnd.oci.image.config.v1+json"
)

// Media types of layers that hold file systems.
const (
	dockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	dockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerLayerZstd    = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	dockerForeign      = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	dockerForeignGzip  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	dockerSchema1Layer = "application/vnd.docker.container.image.rootfs.diff+x-gtar"
	ociLayer           = "application/vnd.oci.image.layer.v1.tar"
	ociLayerGzip       = "application/vnd.oci.image.layer.v1.tar+gzip"
	ociLayerZstd       = "application/vnd.oci.image.layer.v1.tar+zstd"
	ociForeign         = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	ociForeignGzip     = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	ociForeignZstd     = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
)

// genericJSON is what old docker clients announce and what plain HTTP clients
// ask for; it says nothing about the format.
const genericJSON = "application/json"

// Kind is the family of a manifest: what its references mean.
type Kind int

// The kinds.
const (
	// KindImage names a configuration and layers (the ORAS artifact manifest:
	// layers only).
	KindImage Kind = iota + 1
	// KindIndex names other manifests.
	KindIndex
	// KindSchema1 is docker's first format: layers without sizes, and the
	// configuration inside the manifest.
	KindSchema1
)

// KindOf returns the kind of a manifest media type, and false for a media type
// that is none of those that Berth keeps.
func KindOf(mediaType string) (Kind, bool) {
	switch mediaType {
	case DockerSchema1, DockerSchema1Signed:
		return KindSchema1, true
	case DockerSchema2, OCIImage, ORASArtifact:
		return KindImage, true
	case DockerList, OCIIndex:
		return KindIndex, true
	}
	return 0, false
}

// dockerToOCI gives the OCI name of a docker layer's media type.
func dockerToOCI(layer string) (string, bool) {
	switch layer {
	case dockerLayer:
		return ociLayer, true
	case dockerLayerGzip:
		return ociLayerGzip, true
	case dockerLayerZstd:
		return ociLayerZstd, true
	case dockerForeign:
		return ociForeign, true
	case dockerForeignGzip:
		return ociForeignGzip, true
	}
	return "", false
}

// ociToDocker gives docker's name of an OCI layer's media type.
func ociToDocker(layer string) (string, bool) {
	switch layer {
	case ociLayer:
		return dockerLayer, true
	case ociLayerGzip:
		return dockerLayerGzip, true
	case ociLayerZstd:
		return dockerLayerZstd, true
	case ociForeign:
		return dockerForeign, true
	case ociForeignGzip:
		return dockerForeignGzip, true
	}
	return "", false
}

// nondistributable says whether layers of the media type may be fetched from
// elsewhere instead of from the registry.
func nondistributable(mediaType string) bool {
	switch mediaType {
	case dockerForeign, dockerForeignGzip, ociForeign, ociForeignGzip, ociForeignZstd:
		return true
	}
	return false
}

// schema1Readable says whether a docker that only knows schema 1 can unpack a
// layer of the media type.
func schema1Readable(mediaType string) bool {
	switch mediaType {
	case dockerLayer, dockerLayerGzip, ociLayer, ociLayerGzip:
		return true
	}
	return false
}

// bareMediaType cuts the parameters off a media type and lowers its case.
func bareMediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}
