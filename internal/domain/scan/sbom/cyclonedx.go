package sbom

import (
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// The shapes are those of CycloneDX 1.6 (ECMA-424), as far as they are used.
type (
	cdxDocument struct {
		Schema       string          `json:"$schema"`
		Format       string          `json:"bomFormat"`
		SpecVersion  string          `json:"specVersion"`
		SerialNumber string          `json:"serialNumber"`
		Version      int             `json:"version"`
		Metadata     cdxMetadata     `json:"metadata"`
		Components   []cdxComponent  `json:"components"`
		Dependencies []cdxDependency `json:"dependencies"`
	}
	cdxMetadata struct {
		Timestamp string       `json:"timestamp"`
		Tools     cdxTools     `json:"tools"`
		Component cdxComponent `json:"component"`
	}
	cdxTools struct {
		Components []cdxComponent `json:"components"`
	}
	cdxComponent struct {
		Type       string        `json:"type"`
		Ref        string        `json:"bom-ref,omitempty"`
		Supplier   *cdxSupplier  `json:"supplier,omitempty"`
		Group      string        `json:"group,omitempty"`
		Name       string        `json:"name"`
		Version    string        `json:"version,omitempty"`
		Describes  string        `json:"description,omitempty"`
		Scope      string        `json:"scope,omitempty"`
		Hashes     []cdxHash     `json:"hashes,omitempty"`
		Licenses   []cdxLicense  `json:"licenses,omitempty"`
		CPE        string        `json:"cpe,omitempty"`
		PURL       string        `json:"purl,omitempty"`
		Evidence   *cdxEvidence  `json:"evidence,omitempty"`
		Properties []cdxProperty `json:"properties,omitempty"`
	}
	cdxSupplier struct {
		Name string `json:"name"`
	}
	cdxHash struct {
		Algorithm string `json:"alg"`
		Content   string `json:"content"`
	}
	cdxLicense struct {
		License    *cdxOneLicense `json:"license,omitempty"`
		Expression string         `json:"expression,omitempty"`
	}
	cdxOneLicense struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	}
	cdxEvidence struct {
		Occurrences []cdxOccurrence `json:"occurrences"`
	}
	cdxOccurrence struct {
		Location string `json:"location"`
	}
	cdxProperty struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	cdxDependency struct {
		Ref string   `json:"ref"`
		On  []string `json:"dependsOn,omitempty"`
	}
)

// The references of the components that are no packages.
const (
	imageRef = "image"
	osRef    = "os"
)

// CycloneDX is the bill of materials as CycloneDX 1.6 in JSON. The image is the
// document's subject; its distribution and all packages are components, the
// distribution's packages hanging on it and the languages' on the image. tool is the version of Berth that
// writes it.
func CycloneDX(s Subject, img inventory.Image, tool string, now time.Time) ([]byte, error) {
	doc := cdxDocument{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6",
		SerialNumber: "urn:uuid:" + s.id("cyclonedx"), Version: 1,
		Metadata: cdxMetadata{
			Timestamp: stamp(now), Tools: cdxTools{Components: []cdxComponent{{Type: "application", Name: "berth", Version: text(tool)}}},
			Component: cdxImage(s, img),
		},
		Components: []cdxComponent{},
	}
	image, system := cdxDependency{Ref: imageRef}, cdxDependency{Ref: osRef}
	if img.OS.Family != "" {
		image.On = append(image.On, osRef)
		doc.Components = append(doc.Components, cdxOS(img.OS))
	}
	seen := ids{}
	for _, p := range img.Packages {
		ref := "pkg-" + seen.of(p)
		doc.Components = append(doc.Components, cdxPackage(ref, p, img.OS))
		if p.Type.Distribution() && img.OS.Family != "" {
			system.On = append(system.On, ref)
		} else {
			image.On = append(image.On, ref)
		}
	}
	doc.Dependencies = []cdxDependency{image}
	if img.OS.Family != "" {
		doc.Dependencies = append(doc.Dependencies, system)
	}
	return encode(doc)
}

func cdxImage(s Subject, img inventory.Image) cdxComponent {
	c := cdxComponent{
		Type: "container", Ref: imageRef, Name: text(s.location()), Version: text(string(s.Digest)), PURL: imagePURL(s, img.Architecture),
		Hashes: cdxHashes(string(s.Digest)),
	}
	for _, t := range s.Tags {
		c.add("tag", string(t))
	}
	c.add("repository:arn", s.Registry.RepositoryARN(s.Repository).String())
	c.add("platform:os", img.Platform)
	c.add("platform:architecture", img.Architecture)
	if !s.Created.IsZero() {
		c.add("pushedAt", stamp(s.Created))
	}
	return c
}

func cdxOS(os inventory.OS) cdxComponent {
	c := cdxComponent{Type: "operating-system", Ref: osRef, Name: text(os.Family), Version: text(os.Name), Describes: text(os.Pretty), CPE: cpe(os.CPE)}
	if os.Extended {
		c.add("os:extendedSupport", "true")
	}
	return c
}

func cdxPackage(ref string, p inventory.Package, os inventory.OS) cdxComponent {
	c := cdxComponent{Type: "library", Ref: ref, Name: text(p.Name), Version: text(p.FullVersion()), PURL: PURL(p, os), Licenses: cdxLicenses(p.Licenses)}
	if p.Type == inventory.Jar { // else the digest is that of a file about the package
		c.Hashes = cdxHashes(p.Digest)
	}
	if p.Maintainer != "" {
		c.Supplier = &cdxSupplier{Name: text(p.Maintainer)}
	}
	if p.Dev {
		c.Scope = "excluded" // it is not there at run time
	}
	if p.Path != "" {
		c.Evidence = &cdxEvidence{Occurrences: []cdxOccurrence{{Location: text(p.Path)}}}
	}
	c.add("package:type", string(p.Type))
	c.add("package:source", source(p))
	c.add("package:modularity", p.Modularity)
	c.add("layer:digest", string(p.Layer))
	c.add("layer:diffId", string(p.DiffID))
	return c
}

// add adds a property of Berth's; an empty value is none.
func (c *cdxComponent) add(name, value string) {
	if value != "" {
		c.Properties = append(c.Properties, cdxProperty{Name: "berth:" + name, Value: text(value)})
	}
}

func cdxHashes(digest string) []cdxHash {
	if c, ok := sum(digest); ok {
		return []cdxHash{{Algorithm: sums[c.algorithm].cyclonedx, Content: c.value}}
	}
	return nil
}

// cdxLicenses are licences by id or by name, or one expression: the schema takes no
// expression beside others.
func cdxLicenses(from []string) []cdxLicense {
	all := licences(from)
	if len(all) == 1 && all[0].expression != "" && !all[0].simple {
		return []cdxLicense{{Expression: all[0].expression}}
	}
	var out []cdxLicense
	for _, l := range all {
		one := &cdxOneLicense{Name: l.text}
		if l.simple {
			one = &cdxOneLicense{ID: l.expression}
		}
		out = append(out, cdxLicense{License: one})
	}
	return out
}
