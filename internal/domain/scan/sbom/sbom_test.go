package sbom

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

var (
	now     = time.Date(2026, 3, 1, 12, 0, 0, 987, time.FixedZone("", 3600))
	digest  = name.SHA256([]byte("image"))
	subject = Subject{
		Registry: name.Registry{Account: "111122223333", Region: "eu-west-1"}, Repository: "team/app", Digest: digest, Tags: []name.Tag{"1.2", "latest"}, Created: now,
	}
)

// sample has a package of each kind and what can go wrong with names.
func sample() inventory.Image {
	return inventory.Image{
		OS:           inventory.OS{Family: "debian", Name: "12.15", Pretty: "Debian GNU/Linux 12 (bookworm)", CPE: "cpe:/o:debian:debian_linux:12"},
		Architecture: "amd64", Platform: "linux",
		Packages: []inventory.Package{
			{Type: inventory.Dpkg, Name: "libc6", Version: "2.36", Release: "9+deb12u7", Arch: "amd64", SrcName: "glibc", SrcVersion: "2.36", SrcRelease: "9+deb12u7", Licenses: []string{"LGPL-2.1-only", "GPL-2.0-only", "BSD-like"}, Maintainer: "GNU Libc Maintainers <x@y>", Layer: digest, DiffID: digest},
			{Type: inventory.Dpkg, Name: "bash", Version: "5.2.15", Release: "2+b7", Epoch: 1, Arch: "amd64", SrcName: "bash", SrcVersion: "5.2.15", SrcRelease: "2+b7", SrcEpoch: 1, Licenses: []string{"gpl-3.0-or-later"}},
			{Type: inventory.Jar, Name: "org.example:core", Version: "1.0", Path: "app.jar/lib/core.jar", Licenses: []string{"(MIT or Apache-2.0) AND gpl-2.0 WITH Classpath-exception-2.0"}, Digest: "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709"},
			{Type: inventory.Jar, Name: "org.example:core", Version: "1.0", Path: "app.jar/lib/core.jar"}, // again, in the same place
			{Type: inventory.NodePkg, Name: "@types/node", Version: "20.1.0", Path: "srv/node_modules/@types/node/package.json", Dev: true},
			{Type: inventory.PythonPkg, Name: "Flask_Login", Version: "0.6", Path: "usr/lib/python3/x"},
			{Type: inventory.GoBinary, Name: "github.com/BurntSushi/toml", Version: "v1.3.2", Path: "usr/bin/tool"},
			{Type: inventory.RustBinary, Name: "a\x00b\xff<&>\u2028]]>\ufffe\x1b[31m", Version: "1\xc3", Path: "bin/\xfe\n", Licenses: []string{"\x01", "weird \x02 & <text>"}, Maintainer: "\xff"},
			{Type: inventory.NuGet, Name: "", Version: "1"},
		},
	}
}

func decode(t *testing.T, doc []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatal(err)
	}
}

func TestPURL(t *testing.T) {
	debian := inventory.OS{Family: "debian", Name: "12.15"}
	for want, c := range map[string]struct {
		p  inventory.Package
		os inventory.OS
	}{
		"pkg:deb/debian/bash@1:5.2.15-2%2Bb7?arch=amd64&distro=debian-12.15": {inventory.Package{Type: inventory.Dpkg, Name: "bash", Epoch: 1, Version: "5.2.15", Release: "2+b7", Arch: "amd64"}, debian},
		"pkg:deb/ubuntu/libstdc%2B%2B6@12~1?arch=arm64&distro=ubuntu-22.04":  {inventory.Package{Type: inventory.Dpkg, Name: "libstdc++6", Version: "12~1", Arch: "arm64"}, inventory.OS{Family: "ubuntu", Name: "22.04"}},
		"pkg:deb/debian/x@1": {inventory.Package{Type: inventory.Dpkg, Name: "x", Version: "1"}, inventory.OS{}},
		"pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.20.3":                      {inventory.Package{Type: inventory.Apk, Name: "musl", Version: "1.2.5-r0", Arch: "x86_64"}, inventory.OS{Family: "alpine", Name: "3.20.3"}},
		"pkg:apk/wolfi/musl@1?distro=wolfi-20230201":                                         {inventory.Package{Type: inventory.Apk, Name: "musl", Version: "1"}, inventory.OS{Family: "wolfi", Name: "20230201"}},
		"pkg:rpm/redhat/bind@9.16-3.el9?arch=x86_64&distro=rhel-9.4&epoch=32":                {inventory.Package{Type: inventory.RPM, Name: "bind", Epoch: 32, Version: "9.16", Release: "3.el9", Arch: "x86_64"}, inventory.OS{Family: "redhat", Name: "9.4"}},
		"pkg:rpm/amazon/curl@8-1?distro=amzn-2":                                              {inventory.Package{Type: inventory.RPM, Name: "curl", Version: "8", Release: "1"}, inventory.OS{Family: "amazon", Name: "2 (Karoo)"}},
		"pkg:rpm/suse/zypper@1-1?distro=sles-15.5":                                           {inventory.Package{Type: inventory.RPM, Name: "zypper", Version: "1", Release: "1"}, inventory.OS{Family: "suse linux enterprise server", Name: "15.5"}},
		"pkg:rpm/rocky/nodejs@18-1?distro=rocky-8.9&rpmmod=nodejs:18:8090020240101:a75119d5": {inventory.Package{Type: inventory.RPM, Name: "nodejs", Version: "18", Release: "1", Modularity: "nodejs:18:8090020240101:a75119d5"}, inventory.OS{Family: "rocky", Name: "8.9"}},
		"pkg:golang/github.com/burntsushi/toml@v1.3.2":                                       {inventory.Package{Type: inventory.GoBinary, Name: "github.com/BurntSushi/toml", Version: "v1.3.2"}, debian},
		"pkg:golang/stdlib@v1.22.1":                                                          {inventory.Package{Type: inventory.GoBinary, Name: "stdlib", Version: "v1.22.1"}, debian},
		"pkg:maven/org.apache.logging.log4j/log4j-core@2.17.1":                               {inventory.Package{Type: inventory.Jar, Name: "org.apache.logging.log4j:log4j-core", Version: "2.17.1"}, debian},
		"pkg:maven/lonely@1":                                                                 {inventory.Package{Type: inventory.Jar, Name: "lonely", Version: "1"}, debian},
		"pkg:npm/%40babel/core@7.1":                                                          {inventory.Package{Type: inventory.Yarn, Name: "@babel/core", Version: "7.1"}, debian},
		"pkg:pypi/flask-login@0.6":                                                           {inventory.Package{Type: inventory.Poetry, Name: "Flask_Login", Version: "0.6"}, debian},
		"pkg:gem/rails@7":                                                                    {inventory.Package{Type: inventory.GemSpec, Name: "rails", Version: "7"}, debian},
		"pkg:cargo/serde@1":                                                                  {inventory.Package{Type: inventory.Cargo, Name: "serde", Version: "1"}, debian},
		"pkg:composer/symfony/http-kernel@6":                                                 {inventory.Package{Type: inventory.ComposerV, Name: "Symfony/Http-Kernel", Version: "6"}, debian},
		"pkg:nuget/Newtonsoft.Json@13":                                                       {inventory.Package{Type: inventory.DotNetCore, Name: "Newtonsoft.Json", Version: "13"}, debian},
		"pkg:generic/a%20b%2Fc%00@%C3":                                                       {inventory.Package{Type: "new", Name: "a b/c\x00", Version: "\xc3"}, debian},
		"":                                                                                   {inventory.Package{Type: inventory.GoBinary, Name: "///", Version: "1"}, debian},
	} {
		if got := PURL(c.p, c.os); got != want {
			t.Errorf("%+v: %s, want %s", c.p, got, want)
		}
	}
	if got, want := imagePURL(subject, "arm64"), "pkg:oci/app@"+string(digest)+"?arch=arm64&repository_url=111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app&tag=1.2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	china, local := subject, subject
	china.Registry.Region, local.Host = "cn-north-1", "registry.example:5000"
	for want, s := range map[string]Subject{"111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/team/app": china, "registry.example:5000/team/app": local} {
		if got := s.location(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestExpressions(t *testing.T) {
	for in, want := range map[string]string{
		"mit": "MIT", "MIT or apache-2.0": "MIT OR Apache-2.0", "(MIT AND (ISC OR Zlib))": "(MIT AND (ISC OR Zlib))", "GPL-2.0+": "GPL-2.0+",
		"gpl-3.0-only with gcc-exception-3.1 AND MIT": "GPL-3.0-only WITH GCC-exception-3.1 AND MIT",
		"": "", "MIT OR": "", "OR MIT": "", "(MIT": "", "MIT)": "", "MIT ISC": "", "MIT WITH": "", "MIT WITH nothing": "", "Some License": "", "()": "",
		strings.Repeat("(", 17) + "MIT" + strings.Repeat(")", 17): "", strings.Repeat("(", 1_000_000): "",
	} {
		if got := expression(in); got != want {
			t.Errorf("%.40q: %q, want %q", in, got, want)
		}
	}
}

func TestCPE(t *testing.T) {
	for in, want := range map[string]string{
		"cpe:/o:debian:debian_linux:12":                    "cpe:/o:debian:debian_linux:12",
		"cpe:/o:redhat:enterprise_linux:9::baseos":         "cpe:/o:redhat:enterprise_linux:9::baseos",
		"cpe:2.3:o:amazon:amazon_linux:2":                  "cpe:2.3:o:amazon:amazon_linux:2:*:*:*:*:*:*:*",
		`cpe:2.3:o:a\:b:c:1:*:*:*:*:*:*:*`:                 `cpe:2.3:o:a\:b:c:1:*:*:*:*:*:*:*`,
		"cpe:2.3:o:amazon:amazon_linux:2023:*:*:*:*:*:*:*": "cpe:2.3:o:amazon:amazon_linux:2023:*:*:*:*:*:*:*",
		"":                    "",
		"cpe:/o:x y":          "",
		"cpe:2.3:o:\x00:b":    "",
		"cpe:2.3:o:a:b::c":    "",
		"javascript:alert(1)": "",
	} {
		if got := cpe(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCycloneDX(t *testing.T) {
	b, err := CycloneDX(subject, sample(), "v1.2.3", now)
	if err != nil {
		t.Fatal(err)
	}
	var doc cdxDocument
	decode(t, b, &doc)
	if doc.Format != "CycloneDX" || doc.SpecVersion != "1.6" || doc.Version != 1 || doc.Metadata.Timestamp != "2026-03-01T11:00:00Z" ||
		!regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(doc.SerialNumber) {
		t.Errorf("%+v", doc)
	}
	m := doc.Metadata.Component
	if m.Type != "container" || m.Version != string(digest) || len(m.Hashes) != 1 || m.Hashes[0] != (cdxHash{"SHA-256", digest.Hex()}) || m.Properties[1] != (cdxProperty{"berth:tag", "latest"}) {
		t.Errorf("%+v", m)
	}
	by := map[string]cdxComponent{}
	for _, c := range doc.Components {
		by[c.Name] = c
	}
	if os := by["debian"]; os.Type != "operating-system" || os.Version != "12.15" || os.CPE != "cpe:/o:debian:debian_linux:12" {
		t.Errorf("%+v", os)
	}
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for got, want := range map[string]string{
		text(by["libc6"].Licenses):                 `[{"license":{"id":"LGPL-2.1-only"}},{"license":{"id":"GPL-2.0-only"}},{"license":{"name":"BSD-like"}}]`,
		text(by["bash"].Licenses):                  `[{"license":{"id":"GPL-3.0-or-later"}}]`,
		text(doc.Components[3].Licenses):           `[{"expression":"(MIT OR Apache-2.0) AND GPL-2.0 WITH Classpath-exception-2.0"}]`,
		text(doc.Components[3].Hashes):             `[{"alg":"SHA-1","content":"da39a3ee5e6b4b0d3255bfef95601890afd80709"}]`,
		text(doc.Components[3].Evidence):           `{"occurrences":[{"location":"app.jar/lib/core.jar"}]}`,
		text(by["libc6"].Properties):               `[{"name":"berth:package:type","value":"dpkg"},{"name":"berth:package:source","value":"glibc 2.36-9+deb12u7"},{"name":"berth:layer:digest","value":"` + string(digest) + `"},{"name":"berth:layer:diffId","value":"` + string(digest) + `"}]`,
		text(by["bash"].Properties):                `[{"name":"berth:package:type","value":"dpkg"}]`,
		by["@types/node"].Scope:                    "excluded",
		by["libc6"].Version + by["libc6"].PURL:     "2.36-9+deb12u7pkg:deb/debian/libc6@2.36-9%2Bdeb12u7?arch=amd64&distro=debian-12.15",
		by["libc6"].Supplier.Name:                  "GNU Libc Maintainers <x@y>",
		text(doc.Dependencies[1].On):               text([]string{by["libc6"].Ref, by["bash"].Ref}),
		doc.Dependencies[0].On[0]:                  "os",
		doc.Metadata.Tools.Components[0].Version:   "v1.2.3",
		doc.Components[len(doc.Components)-1].PURL: "",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	checkCycloneDX(t, b, doc, len(sample().Packages))
	if len(doc.Dependencies[0].On) != 1+7 {
		t.Errorf("%v", doc.Dependencies[0])
	}
}

// checkCycloneDX holds a document to what the published schema and specification ask
// of what is used here.
func checkCycloneDX(t interface{ Errorf(string, ...any) }, b []byte, doc cdxDocument, packages int) {
	clean(t, b)
	refs := map[string]bool{doc.Metadata.Component.Ref: true}
	for _, c := range doc.Components {
		if c.Ref == "" || refs[c.Ref] {
			t.Errorf("the reference %q is there twice", c.Ref)
		}
		refs[c.Ref] = true
		expressions := 0
		for _, l := range c.Licenses {
			if l.Expression != "" {
				expressions++
			}
			if (l.License == nil) == (l.Expression == "") || l.License != nil && (l.License.ID == "") == (l.License.Name == "") {
				t.Errorf("not one of its forms: %+v", l)
			}
			if l.License != nil && l.License.ID != "" && known[strings.ToLower(l.License.ID)] != l.License.ID {
				t.Errorf("no id: %s", l.License.ID)
			}
		}
		if expressions > 0 && len(c.Licenses) > 1 {
			t.Errorf("an expression beside others: %+v", c.Licenses)
		}
	}
	for _, d := range doc.Dependencies {
		for _, on := range append(d.On, d.Ref) {
			if !refs[on] {
				t.Errorf("nothing has the reference %s", on)
			}
		}
	}
	total := 0
	for _, d := range doc.Dependencies {
		total += len(d.On)
	}
	if total != len(doc.Components) || len(doc.Components) < packages {
		t.Errorf("%d dependencies, %d components, %d packages", total, len(doc.Components), packages)
	}
}

// clean holds a document to what JSON and XML can both say.
func clean(t interface{ Errorf(string, ...any) }, b []byte) {
	if !utf8.Valid(b) || !json.Valid(b) {
		t.Errorf("no valid JSON: %q", b)
	}
	for _, bad := range []string{`\u0000`, `\u001b`, `\u0001`, "\ufffe", "\x7f", `\ufffe`} {
		if bytes.Contains(b, []byte(bad)) {
			t.Errorf("the document has %q", bad)
		}
	}
}

func TestSPDX(t *testing.T) {
	b, err := SPDX(subject, sample(), "v1.2.3 (go1.26)", now)
	if err != nil {
		t.Fatal(err)
	}
	var doc spdxDocument
	decode(t, b, &doc)
	if doc.Version != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.ID != "SPDXRef-DOCUMENT" || doc.Creation.Created != "2026-03-01T11:00:00Z" ||
		doc.Creation.Creators[0] != "Tool: berth-v1.2.3-(go1.26)" || !strings.HasPrefix(doc.Namespace, "https://111122223333.dkr.ecr.eu-west-1.amazonaws.com/team/app/sbom/spdx-") {
		t.Errorf("%+v", doc)
	}
	by := map[string]spdxPackage{}
	for _, p := range doc.Packages {
		by[p.Name] = p
	}
	if p := by["debian"]; p.Purpose != "OPERATING_SYSTEM" || p.References[0] != (spdxReference{"SECURITY", "cpe22Type", "cpe:/o:debian:debian_linux:12"}) || p.Version != "12.15" {
		t.Errorf("%+v", p)
	}
	if p := by["libc6"]; !regexp.MustCompile(`^LGPL-2\.1-only AND GPL-2\.0-only AND LicenseRef-[0-9a-f]{16}$`).MatchString(p.Declared) || p.Supplier != "Organization: GNU Libc Maintainers <x@y>" ||
		p.SourceInfo != "built from the source package glibc 2.36-9+deb12u7" || p.References[0].Locator != "pkg:deb/debian/libc6@2.36-9%2Bdeb12u7?arch=amd64&distro=debian-12.15" ||
		p.Annotations[1].Comment != "layer: "+string(digest) {
		t.Errorf("%+v", p)
	}
	if p := doc.Packages[4]; p.FileName != "app.jar/lib/core.jar" || p.Declared != "(MIT OR Apache-2.0) AND GPL-2.0 WITH Classpath-exception-2.0" || p.Checksums[0] != (spdxChecksum{"SHA1", "da39a3ee5e6b4b0d3255bfef95601890afd80709"}) {
		t.Errorf("%+v", p)
	}
	if p := doc.Packages[0]; p.Purpose != "CONTAINER" || p.Checksums[0] != (spdxChecksum{"SHA256", digest.Hex()}) || p.Supplier != "NOASSERTION" || p.Declared != "NOASSERTION" {
		t.Errorf("%+v", p)
	}
	if len(doc.Licences) != 3 { // BSD-like, and the two of the package with a hostile name
		t.Errorf("%+v", doc.Licences)
	}
	checkSPDX(t, b, doc)
}

var spdxID = regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)

// checkSPDX holds a document to what the published schema and specification ask of
// what is used here.
func checkSPDX(t interface{ Errorf(string, ...any) }, b []byte, doc spdxDocument) {
	clean(t, b)
	seen := map[string]bool{doc.ID: true}
	extracted := map[string]bool{}
	for _, l := range doc.Licences {
		if !regexp.MustCompile(`^LicenseRef-[A-Za-z0-9.-]+$`).MatchString(l.ID) || extracted[l.ID] || l.Text == "" || l.Name == "" {
			t.Errorf("%+v", l)
		}
		extracted[l.ID] = true
	}
	for _, p := range doc.Packages {
		if !spdxID.MatchString(p.ID) || seen[p.ID] {
			t.Errorf("no id, or one that is there twice: %s", p.ID)
		}
		seen[p.ID] = true
		for word := range strings.FieldsSeq(p.Declared) {
			if ref := strings.Trim(word, "()"); strings.HasPrefix(ref, "LicenseRef-") && !extracted[ref] {
				t.Errorf("%s is explained nowhere", ref)
			}
		}
		if strings.ContainsAny(p.Supplier, "\n\r") || p.DownloadLocation == "" || p.Copyright == "" || p.Concluded == "" {
			t.Errorf("%+v", p)
		}
	}
	related := map[string]bool{}
	for _, r := range doc.Relationships {
		if !seen[r.Element] || !seen[r.Related] {
			t.Errorf("a relationship to nothing: %+v", r)
		}
		related[r.Related] = true
	}
	if len(related) != len(doc.Packages) {
		t.Errorf("%d of %d packages belong to something", len(related), len(doc.Packages))
	}
}

// TestSame: the same input gives the same bytes, another image another number, and
// nothing in an image breaks a document.
func TestSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }), rapid.SampledFrom([]string{"", "MIT", "a", "@a/b", "g:a", "cpe:2.3:o:a:b"}))
		types := rapid.SampledFrom([]inventory.Type{inventory.Dpkg, inventory.Apk, inventory.RPM, inventory.GoBinary, inventory.Jar, inventory.NodePkg, inventory.Composer, inventory.PythonPkg, "x"})
		img := inventory.Image{OS: inventory.OS{Family: word.Draw(t, "family"), Name: word.Draw(t, "version"), Pretty: word.Draw(t, "pretty"), CPE: word.Draw(t, "cpe")}, Architecture: word.Draw(t, "arch"), Platform: word.Draw(t, "platform")}
		for range rapid.IntRange(0, 5).Draw(t, "packages") {
			p := inventory.Package{
				Type: types.Draw(t, "type"), Name: word.Draw(t, "name"), Version: word.Draw(t, "version"), Release: word.Draw(t, "release"), Arch: word.Draw(t, "arch"),
				SrcName: word.Draw(t, "source"), Licenses: rapid.SliceOfN(word, 0, 3).Draw(t, "licences"), Path: word.Draw(t, "path"), Maintainer: word.Draw(t, "maintainer"),
				Digest: word.Draw(t, "digest"), Modularity: word.Draw(t, "module"),
			}
			img.Packages = append(img.Packages, p)
			if rapid.Bool().Draw(t, "again") {
				img.Packages = append(img.Packages, p)
			}
		}
		for _, f := range []Format{FormatCycloneDX, FormatSPDX} {
			one, _, ok, err := Encode(f, subject, img, "v1", now)
			two, _, _, _ := Encode(f, subject, img, "v1", now)
			if !ok || err != nil || !bytes.Equal(one, two) {
				t.Fatalf("%v %v", ok, err)
			}
			d := json.NewDecoder(bytes.NewReader(one))
			if f == FormatSPDX {
				var doc spdxDocument
				if err := d.Decode(&doc); err != nil {
					t.Fatal(err)
				}
				checkSPDX(t, one, doc)
				continue
			}
			var doc cdxDocument
			if err := d.Decode(&doc); err != nil {
				t.Fatal(err)
			}
			checkCycloneDX(t, one, doc, len(img.Packages))
		}
	})
	other := subject
	other.Digest = name.SHA256([]byte("another"))
	if subject.id("spdx") == other.id("spdx") || subject.id("spdx") == subject.id("cyclonedx") {
		t.Error("ids do not follow from the image")
	}
	if _, _, ok, _ := Encode("xml", subject, sample(), "", now); ok {
		t.Error("a format that is none was taken")
	}
}
