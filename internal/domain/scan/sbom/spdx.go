package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// The shapes are those of SPDX 2.3 (ISO/IEC 5962 with its later additions), as far as
// they are used.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		DataLicense   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Licences      []spdxLicence      `json:"hasExtractedLicensingInfos,omitempty"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		Name             string           `json:"name"`
		ID               string           `json:"SPDXID"`
		Version          string           `json:"versionInfo,omitempty"`
		FileName         string           `json:"packageFileName,omitempty"`
		Supplier         string           `json:"supplier"`
		DownloadLocation string           `json:"downloadLocation"`
		FilesAnalyzed    bool             `json:"filesAnalyzed"`
		Purpose          string           `json:"primaryPackagePurpose,omitempty"`
		Checksums        []spdxChecksum   `json:"checksums,omitempty"`
		SourceInfo       string           `json:"sourceInfo,omitempty"`
		Concluded        string           `json:"licenseConcluded"`
		Declared         string           `json:"licenseDeclared"`
		Copyright        string           `json:"copyrightText"`
		Description      string           `json:"description,omitempty"`
		References       []spdxReference  `json:"externalRefs,omitempty"`
		Annotations      []spdxAnnotation `json:"annotations,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxReference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxAnnotation struct {
		Annotator string `json:"annotator"`
		Date      string `json:"annotationDate"`
		Type      string `json:"annotationType"`
		Comment   string `json:"comment"`
	}
	spdxLicence struct {
		ID   string `json:"licenseId"`
		Text string `json:"extractedText"`
		Name string `json:"name"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Kind    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	spdxDocumentID = "SPDXRef-DOCUMENT"
	spdxImageID    = "SPDXRef-Image"
	spdxOSID       = "SPDXRef-OperatingSystem"
	noAssertion    = "NOASSERTION"
)

// spdxWriter gathers a document.
type spdxWriter struct {
	doc       spdxDocument
	annotator string
	date      string
	// extracted are the licences that have no id, by their own.
	extracted map[string]string
}

// SPDX is the bill of materials as SPDX 2.3 in JSON. The document describes the image,
// which contains its distribution and the languages' packages; the distribution contains
// its own. tool is the version of Berth that writes it.
func SPDX(s Subject, img inventory.Image, tool string, now time.Time) ([]byte, error) {
	w := spdxWriter{annotator: "Tool: berth-" + strings.Join(strings.Fields(text(tool)), "-"), date: stamp(now), extracted: map[string]string{}}
	w.doc = spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: spdxDocumentID, Name: text(s.location() + "@" + string(s.Digest)),
		Namespace: "https://" + s.location() + "/sbom/spdx-" + s.id("spdx"),
		Creation:  spdxCreation{Created: stamp(now), Creators: []string{w.annotator}},
	}
	w.image(s, img)
	w.relate(spdxDocumentID, "DESCRIBES", spdxImageID)
	if img.OS.Family != "" {
		w.system(img.OS)
		w.relate(spdxImageID, "CONTAINS", spdxOSID)
	}
	seen := ids{}
	for _, p := range img.Packages {
		id := "SPDXRef-Package-" + seen.of(p)
		w.pack(id, p, img.OS)
		if p.Type.Distribution() && img.OS.Family != "" {
			w.relate(spdxOSID, "CONTAINS", id)
		} else {
			w.relate(spdxImageID, "CONTAINS", id)
		}
	}
	for id, text := range w.extracted {
		name, _, _ := strings.Cut(text, "\n")
		w.doc.Licences = append(w.doc.Licences, spdxLicence{ID: id, Text: text, Name: name})
	}
	slices.SortFunc(w.doc.Licences, func(a, b spdxLicence) int { return strings.Compare(a.ID, b.ID) })
	return encode(w.doc)
}

func (w *spdxWriter) relate(element, kind, related string) {
	w.doc.Relationships = append(w.doc.Relationships, spdxRelationship{Element: element, Kind: kind, Related: related})
}

// add adds a package; notes are annotations, those that are "" left out.
func (w *spdxWriter) add(p spdxPackage, notes ...string) {
	p.DownloadLocation, p.Concluded, p.Copyright = or(p.DownloadLocation, noAssertion), noAssertion, noAssertion
	p.Supplier, p.Declared = or(p.Supplier, noAssertion), or(p.Declared, noAssertion)
	for _, note := range notes {
		if note != "" {
			p.Annotations = append(p.Annotations, spdxAnnotation{Annotator: w.annotator, Date: w.date, Type: "OTHER", Comment: text(note)})
		}
	}
	w.doc.Packages = append(w.doc.Packages, p)
}

// note is "key: value", "" without a value.
func note(key, value string) string {
	if value == "" {
		return ""
	}
	return key + ": " + value
}

func (w *spdxWriter) image(s Subject, img inventory.Image) {
	notes := []string{note("repository", s.Registry.RepositoryARN(s.Repository).String())}
	for _, t := range s.Tags {
		notes = append(notes, note("tag", string(t)))
	}
	notes = append(notes, note("platform", strings.Trim(img.Platform+"/"+img.Architecture, "/")))
	if !s.Created.IsZero() {
		notes = append(notes, note("pushedAt", stamp(s.Created)))
	}
	w.add(spdxPackage{
		Name: text(s.location()), ID: spdxImageID, Version: text(string(s.Digest)), Purpose: "CONTAINER", Checksums: spdxChecksums(string(s.Digest)),
		References: []spdxReference{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: imagePURL(s, img.Architecture)}},
	}, notes...)
}

func (w *spdxWriter) system(os inventory.OS) {
	p := spdxPackage{Name: text(os.Family), ID: spdxOSID, Version: text(os.Name), Purpose: "OPERATING_SYSTEM", Description: text(os.Pretty)}
	if c := cpe(os.CPE); c != "" {
		kind := "cpe22Type"
		if strings.HasPrefix(c, "cpe:2.3:") {
			kind = "cpe23Type"
		}
		p.References = []spdxReference{{Category: "SECURITY", Type: kind, Locator: c}}
	}
	notes := []string{}
	if os.Extended {
		notes = append(notes, note("extendedSupport", "true"))
	}
	w.add(p, notes...)
}

func (w *spdxWriter) pack(id string, in inventory.Package, os inventory.OS) {
	p := spdxPackage{
		Name: text(in.Name), ID: id, Version: text(in.FullVersion()), FileName: text(in.Path), Purpose: "LIBRARY",
		Declared: w.declared(in.Licenses),
	}
	if in.Type == inventory.Jar { // else the digest is that of a file about the package
		p.Checksums = spdxChecksums(in.Digest)
	}
	if in.Maintainer != "" {
		p.Supplier = "Organization: " + strings.Join(strings.Fields(text(in.Maintainer)), " ")
	}
	if from := source(in); from != "" {
		p.SourceInfo = "built from the source package " + text(from)
	}
	if u := PURL(in, os); u != "" {
		p.References = []spdxReference{{Category: "PACKAGE-MANAGER", Type: "purl", Locator: u}}
	}
	dev := ""
	if in.Dev {
		dev = "true"
	}
	w.add(p, note("type", string(in.Type)), note("development", dev), note("modularity", in.Modularity), note("layer", string(in.Layer)), note("diffId", string(in.DiffID)))
}

// declared is the expression of all licences together. What has no id gets one of
// the document's own, with what was written as its text.
func (w *spdxWriter) declared(from []string) string {
	all := licences(from)
	parts := make([]string, 0, len(all))
	for _, l := range all {
		switch {
		case l.simple:
			parts = append(parts, l.expression)
		case l.expression != "" && len(all) > 1:
			parts = append(parts, "("+l.expression+")")
		case l.expression != "":
			parts = append(parts, l.expression)
		default:
			h := sha256.Sum256([]byte(l.text))
			id := "LicenseRef-" + hex.EncodeToString(h[:8])
			w.extracted[id] = l.text
			parts = append(parts, id)
		}
	}
	return strings.Join(parts, " AND ")
}

func spdxChecksums(digest string) []spdxChecksum {
	if c, ok := sum(digest); ok {
		return []spdxChecksum{{Algorithm: sums[c.algorithm].spdx, Value: c.value}}
	}
	return nil
}
