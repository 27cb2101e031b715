package hostile

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// found are the enhanced findings of an image, each vulnerability with its packages:
// "CVE-2024-0001 name version-release < fixed", sorted.
func found(r result) (lines []string) {
	for _, f := range r.out.ImageScanFindings.EnhancedFindings {
		for _, p := range f.PackageVulnerabilityDetails.VulnerablePackages {
			version := aws.ToString(p.Version)
			if p.Epoch != nil && *p.Epoch != 0 {
				version = fmt.Sprintf("%d:%s", *p.Epoch, version)
			}
			if release := aws.ToString(p.Release); release != "" {
				version += "-" + release
			}
			lines = append(lines, fmt.Sprintf("%s %s %s < %s", aws.ToString(f.PackageVulnerabilityDetails.VulnerabilityId), aws.ToString(p.Name), version, aws.ToString(p.FixedInVersion)))
		}
	}
	slices.Sort(lines)
	return lines
}

// fixture is a compressed file of a package's testdata.
func fixture(t *testing.T, file string) string {
	t.Helper()
	f := must(os.Open(filepath.Join(harness.Root(t), "internal/domain/scan/inventory/read/rpm/testdata", file)))(t)
	defer func() { _ = f.Close() }() // it is only read
	return string(must(io.ReadAll(must(gzip.NewReader(f))(t)))(t))
}

// goProgram builds a program with one dependency, without a network.
func goProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":                     "module example.com/program\n\ngo 1.21\n\nrequire example.com/it v1.2.3\n",
		"main.go":                    "package main\n\nimport \"example.com/it\"\n\nfunc main() { println(it.N) }\n",
		"vendor/modules.txt":         "# example.com/it v1.2.3\n## explicit\nexample.com/it\n",
		"vendor/example.com/it/a.go": "package it\n\nvar N = 1\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=vendor", "-ldflags=-s -w", "-o", "program")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return string(must(os.ReadFile(filepath.Join(dir, "program")))(t))
}

func deflated(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestFormats scans an image of each kind of package, as a whole and through the API.
func TestFormats(t *testing.T) {
	db := matchtest.DB{Vulnerabilities: []matchtest.Vulnerability{{ID: "CVE-2024-0001", VendorSeverity: map[string]string{"ghsa": "HIGH", "nvd": "HIGH"}}}}
	advise := func(bucket, source string, advs ...matchtest.Advisory) {
		db.Buckets = append(db.Buckets, matchtest.Bucket{Bucket: bucket, Source: matchtest.Source{ID: source, Name: "source " + source}, Advs: advs})
	}
	fixed := func(pkg, version string) matchtest.Advisory {
		return matchtest.Advisory{Pkg: pkg, ID: "CVE-2024-0001", Fixed: version}
	}
	advise("alpine 3.20", "alpine", fixed("busybox", "1.36.1-r30"), matchtest.Advisory{Pkg: "musl", ID: "CVE-2024-0002", Fixed: "1.2.5-r0"})
	advise("debian 12", "debian", fixed("bash", "5.2.15-2+deb12u1"))
	advise("SUSE Linux Enterprise 15.3", "suse-cvrf", fixed("bash", "4.4-19.7.1"))
	advise("CBL-Mariner 2.0", "cbl-mariner", fixed("expat", "0:2.4.4-1.cm2"))
	advise("Red Hat", "redhat-oval", matchtest.Advisory{Pkg: "libuuid", ID: "RHSA-2024:0001", CVEs: []string{"CVE-2024-0001"}, Fixed: "0:2.32.1-43.el8", Severity: "HIGH", Products: []int{8}})
	db.RedHat.Repositories = map[string][]int{"rhel-8-for-x86_64-baseos-rpms": {8}}
	for _, e := range []string{"go", "maven", "npm", "pip", "rubygems", "cargo", "composer", "nuget"} {
		pkg := map[string]string{"go": "example.com/it", "maven": "org.example:it", "composer": "vendor/it"}[e]
		if pkg == "" {
			pkg = "it"
		}
		advise(e+"::GitHub Security Advisory "+e, "ghsa", matchtest.Advisory{Pkg: pkg, ID: "CVE-2024-0001", Patched: []string{"1.5.0"}, Vulnerable: []string{"<1.5.0"}})
	}
	w := start(t, harness.Options{}, db)
	w.repository(t, "formats", false)
	w.enhanced(t)
	crates := `{"packages":[{"name":"root","version":"9.0.0","source":"local","root":true,"dependencies":[1]},{"name":"it","version":"1.2.3","source":"crates.io"}],"format":0}`
	language := func(e ...entry) []entry { return append(e, file("etc/hostname", "x\n")) }
	inner := jar(t, pom("org.example", "it", "1.2.3"))
	for i, c := range []struct {
		what string
		in   []entry
		want []string
	}{
		{"dpkg", []entry{file("etc/os-release", debianRelease), file("var/lib/dpkg/status", bash)}, []string{"bash 5.2.15-2+b7 < 5.2.15-2+deb12u1"}},
		{"dpkg of distroless", []entry{file("etc/os-release", debianRelease), file("var/lib/dpkg/status.d/bash", bash)}, []string{"bash 5.2.15-2+b7 < 5.2.15-2+deb12u1"}},
		{"apk", []entry{
			file("etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n"), file("etc/alpine-release", "3.20.3\n"),
			file("lib/apk/db/installed", "P:busybox\nV:1.36.1-r29\nA:x86_64\no:busybox\nL:GPL-2.0-only\n\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\n\n"),
		}, []string{"busybox 1.36.1-r29 < 1.36.1-r30"}},
		{"RPM in NDB", []entry{
			file("etc/os-release", "ID=sles\nVERSION_ID=\"15.3\"\nNAME=SLES\nPRETTY_NAME=\"SUSE Linux Enterprise Server 15 SP3\"\n"),
			file("var/lib/rpm/Packages.db", fixture(t, "Packages.db.gz")),
		}, []string{"bash 4.4-19.6.1 < 4.4-19.7.1"}},
		{"RPM in SQLite", []entry{
			file("etc/os-release", "ID=mariner\nVERSION_ID=\"2.0\"\nNAME=\"Common Base Linux Mariner\"\n"),
			file("var/lib/rpm/rpmdb.sqlite", fixture(t, "rpmdb.sqlite.gz")),
		}, []string{"expat-libs 2.4.3-1.cm2 < 2.4.4-1.cm2"}},
		{"RPM in Berkeley DB", []entry{
			file("etc/os-release", "ID=rhel\nVERSION_ID=\"8.8\"\nNAME=\"Red Hat Enterprise Linux\"\n"), file("etc/redhat-release", "Red Hat Enterprise Linux release 8.8 (Ootpa)\n"),
			file("root/buildinfo/content_manifests/x.json", `{"content_sets":["rhel-8-for-x86_64-baseos-rpms"]}`),
			file("var/lib/rpm/Packages", fixture(t, "Packages.gz")),
		}, []string{"libuuid 2.32.1-42.el8_8 < 2.32.1-43.el8"}},
		{"Node", language(file("app/node_modules/it/package.json", `{"name":"it","version":"1.2.3"}`)), []string{"it 1.2.3 < 1.5.0"}},
		{"a mended one of Node", language(file("app/node_modules/it/package.json", `{"name":"it","version":"1.5.0"}`)), nil},
		{"a jar", language(file("app/it.jar", inner)), []string{"org.example:it 1.2.3 < 1.5.0"}},
		{"a jar in a war", language(file("app/app.war", jar(t, file("WEB-INF/lib/it.jar", inner)))), []string{"org.example:it 1.2.3 < 1.5.0"}},
		{"a Go program", language(entry{name: "usr/bin/program", content: goProgram(t), mode: 0o755}), []string{"example.com/it v1.2.3 < 1.5.0"}},
		{"a gem", language(file("usr/lib/ruby/gems/3.2.0/specifications/it-1.2.3.gemspec", "Gem::Specification.new do |s|\n  s.name = \"it\".freeze\n  s.version = \"1.2.3\"\nend\n")), []string{"it 1.2.3 < 1.5.0"}},
		{"Python", language(file("usr/lib/python3/site-packages/it-1.2.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: it\nVersion: 1.2.3\n\n")), []string{"it 1.2.3 < 1.5.0"}},
		{"a Rust program", language(program("usr/bin/rust", elf(".dep-v0", deflated(t, crates)))), []string{"it 1.2.3 < 1.5.0"}},
		{"PHP", language(file("app/vendor/composer/installed.json", `{"packages":[{"name":"vendor/it","version":"1.2.3","version_normalized":"1.2.3.0"}]}`)), []string{"vendor/it 1.2.3 < 1.5.0"}},
		{".NET", language(file("app/app.deps.json", `{"runtimeTarget":{"name":".NETCoreApp,Version=v8.0"},"targets":{".NETCoreApp,Version=v8.0":{"It/1.2.3":{"runtime":{"lib/It.dll":{}}}}},"libraries":{"It/1.2.3":{"type":"package","serviceable":true,"sha512":""}}}`)), []string{"It 1.2.3 < 1.5.0"}},
	} {
		tag := fmt.Sprintf("v%d", i)
		w.mustPush(t, "formats", tag, gzipped(t, archive(t, c.in...)))
		r := w.ended(t, "formats", tag)
		got := found(r)
		want := slices.Clone(c.want)
		for i := range want {
			want[i] = "CVE-2024-0001 " + want[i]
		}
		if r.status != "COMPLETE" || !slices.Equal(got, want) {
			t.Errorf("%s: %s\n %s\nwant\n %s", c.what, r, strings.Join(got, "\n "), strings.Join(want, "\n "))
		}
	}
}
