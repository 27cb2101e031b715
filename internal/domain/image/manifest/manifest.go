package manifest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Limits bound what Parse accepts. A bound of 0 is no bound, which is right
// for manifests that were accepted before.
type Limits struct {
	// Bytes bounds the manifest's length.
	Bytes int
	// Layers bounds the layers of an image, and the entries of an index.
	Layers int
}

// Manifest is a manifest that has passed every check that its bytes alone
// allow.
type Manifest struct {
	// MediaType is the format, one of the constants of this package.
	MediaType string
	Kind      Kind
	// ArtifactType is what the manifest itself declares, "" for none; see
	// EffectiveArtifactType.
	ArtifactType string
	// Config is the image's configuration; its Digest is "" for an index, for
	// docker schema 1 and for the ORAS artifact manifest.
	Config Descriptor
	// Layers stand in the order in which they are applied, the base first. A
	// digest may stand there more than once.
	Layers []Descriptor
	// Children are the manifests that an index names.
	Children []Descriptor
	// Subject is the manifest that this one refers to; its Digest is "" for
	// none.
	Subject     Descriptor
	Annotations map[string]string
	// Canonical are the bytes that the digest is computed of: the body, and
	// for signed docker schema 1 the body without its signatures.
	Canonical []byte
}

// Descriptor names content by digest and size.
type Descriptor struct {
	MediaType string
	Digest    name.Digest
	// Size in bytes; -1 in docker schema 1, which does not say it.
	Size         int64
	URLs         []string
	Annotations  map[string]string
	ArtifactType string
	// Foreign marks a non-distributable layer that clients fetch from URLs; the
	// registry need not hold it.
	Foreign bool
}

// EffectiveArtifactType is the artifact type that ECR and the OCI referrers
// API report: the declared one, else the media type of an image's
// configuration. It is "" where there is neither.
func (m Manifest) EffectiveArtifactType() string {
	if m.ArtifactType != "" {
		return m.ArtifactType
	}
	return m.Config.MediaType
}

// Blobs lists what the image needs from the blob store, each digest once: the
// configuration first, then the layers. A digest is Foreign only where every
// mention of it is.
func (m Manifest) Blobs() []Descriptor {
	all := m.Layers
	if m.Config.Digest != "" {
		all = append([]Descriptor{m.Config}, m.Layers...)
	}
	return distinct(all)
}

// ChildManifests lists the manifests that an index needs, each digest once.
func (m Manifest) ChildManifests() []Descriptor { return distinct(m.Children) }

func distinct(all []Descriptor) []Descriptor {
	at := make(map[name.Digest]int, len(all))
	out := make([]Descriptor, 0, len(all))
	for _, d := range all {
		if i, ok := at[d.Digest]; ok {
			out[i].Foreign = out[i].Foreign && d.Foreign
			continue
		}
		at[d.Digest] = len(out)
		out = append(out, d)
	}
	return out
}

// Parse reads a manifest. announced is the media type that came beside it, ""
// for none; parameters on it are ignored.
//
// Refusals carry the codes ManifestTooLarge, ManifestTypeMissing (no media type
// in the body nor announced) or ManifestInvalid, with finished texts.
func Parse(body []byte, announced string, limits Limits) (Manifest, error) {
	if limits.Bytes > 0 && len(body) > limits.Bytes {
		return Manifest{}, errs.New(errs.ManifestTooLarge,
			"Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Member must have length less than or equal to %d'", limits.Bytes)
	}
	if err := checkDocument(body); err != nil {
		return Manifest{}, err
	}
	top, err := readObject("the manifest", body, "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests",
		"subject", "annotations", "blobs", "fsLayers", "history", "signatures")
	if err != nil {
		return Manifest{}, err
	}
	mediaType, err := typeOf(top, announced)
	if err != nil {
		return Manifest{}, err
	}
	p := parser{top: top, limits: limits}
	switch mediaType {
	case DockerSchema2, OCIImage:
		return p.image(body, mediaType)
	case DockerList, OCIIndex:
		return p.index(body, mediaType)
	case ORASArtifact:
		return p.orasArtifact(body)
	case DockerSchema1, DockerSchema1Signed:
		return p.schema1(body, mediaType)
	}
	return Manifest{}, errs.New(errs.ManifestInvalid,
		"Invalid parameter at 'ImageManifestMediaType' failed to satisfy constraint: 'the media type %s is not supported; a manifest is one of %s'",
		quote(mediaType), strings.Join([]string{OCIImage, OCIIndex, DockerSchema2, DockerList, DockerSchema1Signed, DockerSchema1}, ", "))
}

// typeOf finds the media type out of the body and what was announced.
func typeOf(top object, announced string) (string, error) {
	inside, err := top.text("mediaType")
	if err != nil {
		return "", err
	}
	announced = bareMediaType(announced)
	if announced == genericJSON {
		announced = ""
	}
	switch {
	case inside == "" && announced == "":
		// Docker schema 1 never carries a media type and looks like no other
		// format.
		if top.has("fsLayers") {
			return DockerSchema1, nil
		}
		return "", errs.New(errs.ManifestTypeMissing, "image manifest mediatype not provided in manifest or parameter")
	case inside == "":
		return announced, nil
	case announced == "" || announced == inside:
		return inside, nil
	}
	return "", invalid("the manifest says that its media type is %s, and it was sent as %s", quote(inside), quote(announced))
}

// parser reads the members of one manifest.
type parser struct {
	top    object
	limits Limits
}

// excludes refuses members of other formats: a manifest that can be read in two
// ways is read by somebody in the other way.
func (p parser) excludes(mediaType string, members ...string) error {
	for _, m := range members {
		if p.top.has(m) {
			return invalid("a manifest of the media type %s has no member %s", mediaType, quote(m))
		}
	}
	return nil
}

func (p parser) schemaVersion(want int64) error {
	v, ok, err := p.top.integer("schemaVersion")
	if err != nil {
		return err
	}
	if !ok || v != want {
		return invalid("schemaVersion has to be %d for this media type", want)
	}
	return nil
}

func (p parser) image(body []byte, mediaType string) (Manifest, error) {
	m := Manifest{MediaType: mediaType, Kind: KindImage, Canonical: body}
	if err := p.excludes(mediaType, "manifests", "fsLayers", "blobs"); err != nil {
		return Manifest{}, err
	}
	if err := p.schemaVersion(2); err != nil {
		return Manifest{}, err
	}
	if !p.top.has("config") {
		return Manifest{}, invalid("the manifest has no config")
	}
	var err error
	if m.Config, err = readDescriptor("config", p.top.members["config"]); err != nil {
		return Manifest{}, err
	}
	if _, ok := p.top.members["layers"]; !ok {
		return Manifest{}, invalid("the manifest has no layers")
	}
	if m.Layers, err = p.layers("layers"); err != nil {
		return Manifest{}, err
	}
	if mediaType == OCIImage {
		if err := p.ociMembers(&m); err != nil {
			return Manifest{}, err
		}
	}
	return m, nil
}

func (p parser) index(body []byte, mediaType string) (Manifest, error) {
	m := Manifest{MediaType: mediaType, Kind: KindIndex, Canonical: body}
	if err := p.excludes(mediaType, "layers", "config", "fsLayers", "blobs"); err != nil {
		return Manifest{}, err
	}
	if err := p.schemaVersion(2); err != nil {
		return Manifest{}, err
	}
	if _, ok := p.top.members["manifests"]; !ok {
		return Manifest{}, invalid("the index has no manifests")
	}
	raws, err := p.top.list("manifests")
	if err != nil {
		return Manifest{}, err
	}
	if p.limits.Layers > 0 && len(raws) > p.limits.Layers {
		return Manifest{}, invalid("Limit on number of manifests per index exceeded")
	}
	for i, raw := range raws {
		at := fmt.Sprintf("manifests[%d]", i)
		d, err := readDescriptor(at, raw)
		if err != nil {
			return Manifest{}, err
		}
		if _, ok := KindOf(d.MediaType); !ok {
			return Manifest{}, invalid("%s has the media type %s; an index names manifests only", at, quote(d.MediaType))
		}
		m.Children = append(m.Children, d)
	}
	if mediaType == OCIIndex {
		if err := p.ociMembers(&m); err != nil {
			return Manifest{}, err
		}
	}
	return m, nil
}

// orasArtifact reads the artifact manifest that ORAS used before OCI 1.1.
func (p parser) orasArtifact(body []byte) (Manifest, error) {
	m := Manifest{MediaType: ORASArtifact, Kind: KindImage, Canonical: body}
	if err := p.excludes(ORASArtifact, "manifests", "layers", "config", "fsLayers"); err != nil {
		return Manifest{}, err
	}
	if !p.top.has("artifactType") {
		return Manifest{}, invalid("the manifest has no artifactType")
	}
	var err error
	if m.Layers, err = p.layers("blobs"); err != nil {
		return Manifest{}, err
	}
	if err := p.ociMembers(&m); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

func (p parser) layers(member string) ([]Descriptor, error) {
	raws, err := p.top.list(member)
	if err != nil {
		return nil, err
	}
	if err := p.layerLimit(len(raws)); err != nil {
		return nil, err
	}
	var layers []Descriptor
	for i, raw := range raws {
		d, err := readDescriptor(fmt.Sprintf("%s[%d]", member, i), raw)
		if err != nil {
			return nil, err
		}
		layers = append(layers, d)
	}
	return layers, nil
}

func (p parser) layerLimit(n int) error {
	if p.limits.Layers > 0 && n > p.limits.Layers {
		return invalid("Limit on number of layers per image exceeded")
	}
	return nil
}

// ociMembers reads what OCI manifests and indexes have beyond docker's.
func (p parser) ociMembers(m *Manifest) error {
	var err error
	if m.ArtifactType, err = readType(p.top, "artifactType"); err != nil {
		return err
	}
	if p.top.has("subject") {
		if m.Subject, err = readDescriptor("subject", p.top.members["subject"]); err != nil {
			return err
		}
	}
	m.Annotations, err = p.top.textMap("annotations")
	return err
}

// readType reads a media type or artifact type: 1 to 255 visible ASCII
// characters when it is there. What they mean is the client's business.
func readType(o object, member string) (string, error) {
	s, err := o.text(member)
	if err != nil {
		return "", err
	}
	if len(s) > 255 {
		return "", invalid("%s.%s is longer than 255 characters", o.at, member)
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return "", invalid("%s.%s is not a media type: %s", o.at, member, quote(s))
		}
	}
	return s, nil
}

func readDescriptor(at string, raw json.RawMessage) (Descriptor, error) {
	o, err := readObject(at, raw, "mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")
	if err != nil {
		return Descriptor{}, err
	}
	var d Descriptor
	if d.MediaType, err = readType(o, "mediaType"); err != nil {
		return Descriptor{}, err
	}
	if d.MediaType == "" {
		return Descriptor{}, invalid("%s has no mediaType", at)
	}
	if d.Digest, err = readDigest(o, "digest"); err != nil {
		return Descriptor{}, err
	}
	var ok bool
	if d.Size, ok, err = o.integer("size"); err != nil {
		return Descriptor{}, err
	}
	if !ok {
		return Descriptor{}, invalid("%s has no size", at)
	}
	if d.URLs, err = o.texts("urls"); err != nil {
		return Descriptor{}, err
	}
	if d.Annotations, err = o.textMap("annotations"); err != nil {
		return Descriptor{}, err
	}
	if d.ArtifactType, err = readType(o, "artifactType"); err != nil {
		return Descriptor{}, err
	}
	if err := checkData(o, d); err != nil {
		return Descriptor{}, err
	}
	d.Foreign = nondistributable(d.MediaType) && len(d.URLs) > 0
	if d.Foreign {
		for _, u := range d.URLs {
			parsed, err := url.Parse(u)
			if err != nil || (parsed.Scheme != "https" && parsed.Scheme != "http") || parsed.Host == "" {
				return Descriptor{}, invalid("%s.urls has %s, which is no http or https URL", at, quote(u))
			}
		}
	}
	return d, nil
}

// checkData verifies content that stands in the descriptor itself: clients may
// take it from there without asking for the blob.
func checkData(o object, d Descriptor) error {
	data, err := o.text("data")
	if err != nil || data == "" {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		return invalid("%s.data is not base64", o.at)
	}
	if int64(len(b)) != d.Size || d.Digest.DigestOf(b) != d.Digest {
		return invalid("%s.data is not the content that the digest and size describe", o.at)
	}
	return nil
}

func readDigest(o object, member string) (name.Digest, error) {
	s, err := o.text(member)
	if err != nil {
		return "", err
	}
	if s == "" {
		return "", invalid("%s has no %s", o.at, member)
	}
	d, err := name.ParseDigest(s)
	if err != nil || !d.Verifiable() {
		return "", invalid("%s.%s is no sha256 or sha512 digest in lower case: %s", o.at, member, quote(s))
	}
	return d, nil
}
