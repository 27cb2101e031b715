package aws

import (
	"encoding/base64"
	"encoding/json"
	"testing"
)

// Media types that the suite pushes.
const (
	typeImage        = "application/vnd.oci.image.manifest.v1+json"
	typeIndex        = "application/vnd.oci.image.index.v1+json"
	typeLayer        = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeConfig       = "application/vnd.oci.image.config.v1+json"
	typeForeign      = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	typeDockerImage  = "application/vnd.docker.distribution.manifest.v2+json"
	typeDockerList   = "application/vnd.docker.distribution.manifest.list.v2+json"
	typeDockerV1     = "application/vnd.docker.distribution.manifest.v1+json"
	typeDockerLayer  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	typeDockerConfig = "application/vnd.docker.container.image.v1+json"
)

// descriptor is what manifests refer with.
type descriptor struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	Size      int      `json:"size"`
	URLs      []string `json:"urls,omitempty"`
}

// manifest is an image manifest or an index.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitzero"`
	Manifests     []descriptor      `json:"manifests,omitzero"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// text is the manifest as it is pushed: indented, so that a registry which
// writes JSON anew is found out.
func (m manifest) text(t *testing.T) string {
	t.Helper()
	b, err := json.MarshalIndent(m, "", "   ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// repo makes a repository under a fresh name.
func (s *suite) repo(t *testing.T, prefix string) string {
	t.Helper()
	name := unique(prefix)
	s.succeed(t, "CreateRepository", object{"repositoryName": name})
	return name
}

// begin opens an upload.
func (s *suite) begin(t *testing.T, repo string) string {
	t.Helper()
	return text(t, s.succeed(t, "InitiateLayerUpload", object{"repositoryName": repo}), "uploadId")
}

// part is the input of UploadLayerPart for bytes that begin at first.
func part(repo, upload string, first int, b []byte) object {
	return object{
		"repositoryName": repo, "uploadId": upload, "partFirstByte": first, "partLastByte": first + len(b) - 1,
		"layerPartBlob": base64.StdEncoding.EncodeToString(b),
	}
}

// complete is the input of CompleteLayerUpload.
func complete(repo, upload string, digests ...string) object {
	return object{"repositoryName": repo, "uploadId": upload, "layerDigests": digests}
}

// layer pushes a layer in one part and returns its digest.
func (s *suite) layer(t *testing.T, repo string, content []byte) string {
	t.Helper()
	upload, digest := s.begin(t, repo), sha256Digest(content)
	s.succeed(t, "UploadLayerPart", part(repo, upload, 0, content))
	s.succeed(t, "CompleteLayerUpload", complete(repo, upload, digest))
	return digest
}

// kit is a configuration and a layer in a repository, of which any number of
// images can be made.
type kit struct {
	config, layer descriptor
	content       []byte // of the layer
}

// kit pushes a configuration and a layer of 700 bytes.
func (s *suite) kit(t *testing.T, repo string) kit {
	t.Helper()
	config, layer := []byte(`{"architecture":"amd64","os":"linux","x":"`+unique("c")+`"}`), randomBytes(700)
	return kit{
		config:  descriptor{MediaType: typeConfig, Digest: s.layer(t, repo, config), Size: len(config)},
		layer:   descriptor{MediaType: typeLayer, Digest: s.layer(t, repo, layer), Size: len(layer)},
		content: layer,
	}
}

// manifest is an image of the kit that no other one is equal to.
func (k kit) manifest() manifest {
	return manifest{
		SchemaVersion: 2, MediaType: typeImage, Config: &k.config, Layers: []descriptor{k.layer},
		Annotations: map[string]string{"unique": unique("a")},
	}
}

func (k kit) image(t *testing.T) string {
	t.Helper()
	return k.manifest().text(t)
}

// size is what DescribeImages says of an image of the kit.
func (k kit) size() int { return k.config.Size + k.layer.Size }

// indexOf is an index of images.
func indexOf(t *testing.T, images ...string) string {
	t.Helper()
	m := manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{}, Annotations: map[string]string{"unique": unique("i")}}
	for _, image := range images {
		m.Manifests = append(m.Manifests, descriptor{MediaType: typeImage, Digest: sha256Digest(image), Size: len(image)})
	}
	return m.text(t)
}

// putInput is the input of PutImage; a tag "" is none.
func putInput(repo, tag, manifest string) object {
	in := object{"repositoryName": repo, "imageManifest": manifest}
	if tag != "" {
		in["imageTag"] = tag
	}
	return in
}

// put pushes a manifest and returns its digest.
func (s *suite) put(t *testing.T, repo, tag, manifest string) string {
	t.Helper()
	return text(t, s.succeed(t, "PutImage", putInput(repo, tag, manifest)), "image", "imageId", "imageDigest")
}

// imageAnswer is an image as PutImage and BatchGetImage have to give it.
func (s *suite) imageAnswer(repo, tag, manifest, mediaType string) object {
	return object{
		"registryId": s.Account, "repositoryName": repo, "imageId": imageID(sha256Digest(manifest), tag),
		"imageManifest": manifest, "imageManifestMediaType": mediaType,
	}
}

// imageID is an image identifier; "" stands for an absent member.
func imageID(digest, tag string) object {
	id := object{}
	if digest != "" {
		id["imageDigest"] = digest
	}
	if tag != "" {
		id["imageTag"] = tag
	}
	return id
}

func byTag(tag string) object { return imageID("", tag) }

func byDigest(digest string) object { return imageID(digest, "") }

// ids is the input of the operations that take a list of images.
func ids(repo string, all ...any) object { return object{"repositoryName": repo, "imageIds": all} }

// noImage is the message for an image that is not there; "null" stands for the
// member that was not given.
func (s *suite) noImage(repo, digest, tag string) string {
	return "The image with imageId {imageDigest:'" + digest + "', imageTag:'" + tag + "'} does not exist within the repository with name '" +
		repo + "' in the registry with id '" + s.Account + "'"
}

// imageExists is the message for an image that is there already.
func (s *suite) imageExists(repo, digest, tag string) string {
	return "Image with digest '" + digest + "' and tag '" + tag + "' already exists in the repository with name '" + repo +
		"' in registry with id '" + s.Account + "'"
}
