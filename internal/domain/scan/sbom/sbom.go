// Package sbom writes what an image holds as a bill of materials: CycloneDX 1.6 and
// SPDX 2.3, both as JSON, with a package URL for each package.
//
// It is pure: the same image, subject, tool and time give the same bytes, so that a
// document can be made again and compared. It reads no images and keeps nothing
// (scan/inventory reads, domain/scan keeps and attaches).
package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// The media types of the documents, as they are registered with IANA and as
// registries' artifact types have them.
const (
	CycloneDXType = "application/vnd.cyclonedx+json"
	SPDXType      = "application/spdx+json"
)

// Format is a form of the document.
type Format string

// The formats.
const (
	FormatCycloneDX Format = "cyclonedx"
	FormatSPDX      Format = "spdx"
)

// Encode writes the document of the format, and says of which media type it is. ok is
// false for a format that there is none of.
func Encode(f Format, s Subject, img inventory.Image, tool string, now time.Time) (doc []byte, mediaType string, ok bool, err error) {
	switch f {
	case FormatCycloneDX:
		doc, err = CycloneDX(s, img, tool, now)
		return doc, CycloneDXType, true, err
	case FormatSPDX:
		doc, err = SPDX(s, img, tool, now)
		return doc, SPDXType, true, err
	}
	return nil, "", false, nil
}

// Subject is the image that the document is about.
type Subject struct {
	Registry   name.Registry
	Repository name.Repository
	// Digest is that of the image's manifest.
	Digest name.Digest
	// Tags are those that the document names, in the order that it is to have.
	Tags []name.Tag
	// Created is when the image was pushed; zero: it is not told.
	Created time.Time
	// Host is the registry's host, with its port where it has one; "": AWS's own
	// name for the registry.
	Host string
}

// location is where the image is pulled from, without tag and digest.
func (s Subject) location() string {
	host := s.Host
	if host == "" {
		domain := "amazonaws.com"
		if s.Registry.Region.Partition() == "aws-cn" {
			domain += ".cn"
		}
		host = name.Hosts{Domain: domain}.RegistryHost(s.Registry)
	}
	return host + "/" + string(s.Repository)
}

// id is a UUID that follows from the image alone (version 5 of RFC 9562), so that the
// documents of one image bear one number. what tells documents of one image apart.
func (s Subject) id(what string) string {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(what+" "+s.Registry.RepositoryARN(s.Repository).String()+"@"+string(s.Digest))).String()
}

// text makes text that JSON and XML both can hold: valid UTF-8 without control
// characters and non-characters, which are replaced by U+FFFD. Names come out of images,
// so anything may stand in them.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r == '\r':
			return ' '
		case r < 0x20, r >= 0x7f && r < 0xa0, r&0xfffe == 0xfffe, r >= 0xfdd0 && r <= 0xfdef:
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// stamp is a time as both formats want it: UTC, whole seconds.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// ids makes identifiers of packages: each follows from what the package is, and no two
// of a document are the same.
type ids map[string]int

func (all ids) of(p inventory.Package) string {
	h := sha256.New()
	for _, part := range []string{string(p.Type), p.Name, p.FullVersion(), p.Arch, p.Path, string(p.Layer)} {
		fmt.Fprintf(h, "%d:%s", len(part), part) // a hash takes everything
	}
	id := hex.EncodeToString(h.Sum(nil)[:10])
	all[id]++
	if n := all[id]; n > 1 {
		id += "-" + strconv.Itoa(n) // the same package in the same file again; no hash has a hyphen
	}
	return id
}

// checksum is a digest taken apart.
type checksum struct{ algorithm, value string }

// sums has for each algorithm the length of its values in hexadecimal digits and the
// words that CycloneDX and SPDX have for it.
var sums = map[string]struct {
	digits          int
	cyclonedx, spdx string
}{
	"md5": {32, "MD5", "MD5"}, "sha1": {40, "SHA-1", "SHA1"}, "sha256": {64, "SHA-256", "SHA256"},
	"sha384": {96, "SHA-384", "SHA384"}, "sha512": {128, "SHA-512", "SHA512"},
}

// sum takes "sha1:..." apart; false for what is no digest that both formats know.
func sum(digest string) (checksum, bool) {
	algorithm, value, _ := strings.Cut(digest, ":")
	known, ok := sums[algorithm]
	if !ok || len(value) != known.digits {
		return checksum{}, false
	}
	value = strings.ToLower(value)
	if _, err := hex.DecodeString(value); err != nil {
		return checksum{}, false
	}
	return checksum{algorithm, value}, true
}

// The forms of a CPE: the URI of version 2.2 and the formatted string of version 2.3
// (NISTIR 7695, 6.1 and 6.2), as far as operating systems use them.
var (
	cpe22 = regexp.MustCompile(`^cpe:/[aho](:[A-Za-z0-9._\-~%]*){1,6}$`)
	cpe23 = regexp.MustCompile(`^cpe:2\.3:[aho](:(?:[A-Za-z0-9._\-]|\\[!-/:-@\[-` + "`" + `{-~]|[*?])+){1,10}$`)
)

// cpe is the CPE of an operating system in a form that readers take, "" for none. A
// release file may leave out the last members of the newer form ("cpe:2.3:o:amazon:amazon_linux:2"),
// which all have to be there: what is not told is any.
func cpe(s string) string {
	switch {
	case cpe22.MatchString(s):
		return s
	case cpe23.MatchString(s):
		const members = 13
		if n := strings.Count(strings.ReplaceAll(s, `\:`, ""), ":") + 1; n < members {
			s += strings.Repeat(":*", members-n)
		}
		return s
	}
	return ""
}

// source is the source package in words, "" where there is none of another name or version.
func source(p inventory.Package) string {
	if p.SrcName == "" || p.SrcName == p.Name && p.SrcFullVersion() == p.FullVersion() {
		return ""
	}
	if v := p.SrcFullVersion(); v != "" {
		return p.SrcName + " " + v
	}
	return p.SrcName
}

// encode is the JSON of a document, indented so that people can read and compare it.
func encode(v any) ([]byte, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // no "\u0026" in package URLs
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("a bill of materials cannot be written: %w", err)
	}
	return []byte(b.String()), nil
}
