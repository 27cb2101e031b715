package read_test

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/read"
)

// osRelease is the file as distributions write it.
func osRelease(id, name, version, pretty, more string) string {
	return "NAME=\"" + name + "\"\nID=" + id + "\nID_LIKE=\"x y\"\nVERSION_ID=\"" + version + "\"\nPRETTY_NAME=\"" + pretty + "\"\nHOME_URL='https://example.org/?a=b'\n" + more
}

func TestDistributions(t *testing.T) {
	type files map[string]string
	for _, c := range []struct {
		what  string
		files files
		want  inventory.OS
	}{
		{"Alpine", files{"etc/alpine-release": "3.20.3\n", "etc/os-release": osRelease("alpine", "Alpine Linux", "3.20.3", "Alpine Linux v3.20", "")}, inventory.OS{Family: "alpine", Name: "3.20.3", Pretty: "Alpine Linux v3.20"}},
		{"Alpine without os-release", files{"etc/alpine-release": "3.2.3\n"}, inventory.OS{Family: "alpine", Name: "3.2.3"}},
		{"Amazon Linux 1", files{"etc/system-release": "Amazon Linux AMI release 2018.03\n", "etc/os-release": osRelease("amzn", "Amazon Linux AMI", "2018.03", "Amazon Linux AMI 2018.03", "")}, inventory.OS{Family: "amazon", Name: "AMI release 2018.03", Pretty: "Amazon Linux AMI 2018.03"}},
		{"Amazon Linux 2", files{"etc/system-release": "Amazon Linux release 2 (Karoo)\n", "etc/os-release": osRelease("amzn", "Amazon Linux", "2", "Amazon Linux 2", "CPE_NAME=\"cpe:2.3:o:amazon:amazon_linux:2\"\n")}, inventory.OS{Family: "amazon", Name: "2 (Karoo)", Pretty: "Amazon Linux 2", CPE: "cpe:2.3:o:amazon:amazon_linux:2"}},
		{"Amazon Linux 2023", files{"usr/lib/system-release": "Amazon Linux release 2023.6.20241010 (Amazon Linux)\n"}, inventory.OS{Family: "amazon", Name: "2023.6.20241010 (Amazon Linux)"}},
		{"Amazon Linux 2023 without system-release", files{"etc/os-release": osRelease("amzn", "Amazon Linux", "2023", "Amazon Linux 2023", "")}, inventory.OS{Family: "amazon", Name: "2023 (Amazon Linux)", Pretty: "Amazon Linux 2023"}},
		{"Debian", files{"etc/debian_version": "12.15\n", "usr/lib/os-release": osRelease("debian", "Debian GNU/Linux", "12", "Debian GNU/Linux 12 (bookworm)", "")}, inventory.OS{Family: "debian", Name: "12.15", Pretty: "Debian GNU/Linux 12 (bookworm)"}},
		{"Debian testing", files{"etc/debian_version": "trixie/sid\n"}, inventory.OS{Family: "debian", Name: "trixie/sid"}},
		{"distroless", files{"usr/lib/os-release": osRelease("debian", "Debian GNU/Linux", "12", "Distroless", "")}, inventory.OS{Family: "debian", Name: "12", Pretty: "Distroless"}},
		{"Ubuntu", files{"etc/debian_version": "bookworm/sid\n", "etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\nDISTRIB_CODENAME=jammy\n", "usr/lib/os-release": osRelease("ubuntu", "Ubuntu", "22.04", "Ubuntu 22.04.5 LTS", "")}, inventory.OS{Family: "ubuntu", Name: "22.04", Pretty: "Ubuntu 22.04.5 LTS"}},
		{"Ubuntu with ESM", files{"etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=18.04\n", inventory.UbuntuPro: `{"services": [{"name": "livepatch", "status": "disabled"}, {"name": "esm-infra", "status": "enabled"}]}`}, inventory.OS{Family: "ubuntu", Name: "18.04", Extended: true}},
		{"Ubuntu without ESM", files{"etc/lsb-release": "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=18.04\n", inventory.UbuntuPro: `{"services": [{"name": "esm-infra", "status": "disabled"}]}`}, inventory.OS{Family: "ubuntu", Name: "18.04"}},
		{"RHEL 6", files{"etc/redhat-release": "Red Hat Enterprise Linux Server release 6.2 (Santiago)\n"}, inventory.OS{Family: "redhat", Name: "6.2"}},
		{"UBI", files{"etc/redhat-release": "Red Hat Enterprise Linux release 9.4 (Plow)\n", "etc/os-release": osRelease("rhel", "Red Hat Enterprise Linux", "9.4", "Red Hat Enterprise Linux 9.4 (Plow)", "CPE_NAME=\"cpe:/o:redhat:enterprise_linux:9::baseos\"\n")}, inventory.OS{Family: "redhat", Name: "9.4", Pretty: "Red Hat Enterprise Linux 9.4 (Plow)", CPE: "cpe:/o:redhat:enterprise_linux:9::baseos"}},
		{"CentOS", files{"etc/centos-release": "CentOS Linux release 7.9.2009 (Core)\n", "etc/redhat-release": "CentOS Linux release 7.9.2009 (Core)\n", "etc/os-release": osRelease("centos", "CentOS Linux", "7", "CentOS Linux 7 (Core)", "")}, inventory.OS{Family: "centos", Name: "7.9.2009", Pretty: "CentOS Linux 7 (Core)"}},
		{"CentOS 6", files{"etc/redhat-release": "CentOS release 6.10 (Final)\n"}, inventory.OS{Family: "centos", Name: "6.10"}},
		{"CentOS Stream", files{"etc/centos-release": "CentOS Stream release 9\n", "etc/os-release": osRelease("centos", "CentOS Stream", "9", "CentOS Stream 9", "")}, inventory.OS{Family: "centos-stream", Name: "9", Pretty: "CentOS Stream 9"}},
		{"Rocky", files{"etc/rocky-release": "Rocky Linux release 9.3 (Blue Onyx)\n", "etc/redhat-release": "Rocky Linux release 9.3 (Blue Onyx)\n"}, inventory.OS{Family: "rocky", Name: "9.3"}},
		{"Alma", files{"etc/almalinux-release": "AlmaLinux release 8.10 (Cerulean Leopard)\n", "etc/redhat-release": "AlmaLinux release 8.10 (Cerulean Leopard)\n"}, inventory.OS{Family: "alma", Name: "8.10"}},
		{"Oracle", files{"etc/oracle-release": "Oracle Linux Server release 8.9\n", "etc/redhat-release": "Red Hat Enterprise Linux release 8.9 (Ootpa)\n"}, inventory.OS{Family: "oracle", Name: "8.9"}},
		{"Oracle by os-release", files{"etc/os-release": osRelease("ol", "Oracle Linux Server", "9.4", "Oracle Linux Server 9.4", ""), "etc/redhat-release": "Red Hat Enterprise Linux release 9.4 (Plow)\n"}, inventory.OS{Family: "oracle", Name: "9.4", Pretty: "Oracle Linux Server 9.4"}},
		{"Fedora", files{"etc/fedora-release": "Fedora release 40 (Forty)\n"}, inventory.OS{Family: "fedora", Name: "40"}},
		{"SLES", files{"etc/os-release": osRelease("sles", "SLES", "15.6", "SUSE Linux Enterprise Server 15 SP6", "")}, inventory.OS{Family: "sles", Name: "15.6", Pretty: "SUSE Linux Enterprise Server 15 SP6"}},
		{"SLES for SAP", files{"etc/os-release": osRelease("sles_sap", "SLES_SAP", "15.5", "", "")}, inventory.OS{Family: "sles", Name: "15.5"}},
		{"SLES 11", files{"etc/SuSE-release": "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 4\n"}, inventory.OS{Family: "sles", Name: "11.4"}},
		{"openSUSE 13", files{"etc/SuSE-release": "openSUSE 13.2 (x86_64)\nVERSION = 13.2\nCODENAME = Harlequin\n"}, inventory.OS{Family: "opensuse-leap", Name: "13.2"}},
		{"SLE Micro", files{"etc/os-release": osRelease("sle-micro", "SLE Micro", "5.5", "", "")}, inventory.OS{Family: "slem", Name: "5.5"}},
		{"SL Micro", files{"etc/os-release": osRelease("sl-micro", "SL Micro", "6.0", "", "")}, inventory.OS{Family: "slem", Name: "6.0"}},
		{"openSUSE Leap", files{"etc/os-release": osRelease("opensuse-leap", "openSUSE Leap", "15.6", "", "")}, inventory.OS{Family: "opensuse-leap", Name: "15.6"}},
		{"openSUSE Leap 42", files{"etc/os-release": osRelease("opensuse", "openSUSE Leap", "42.3", "", "")}, inventory.OS{Family: "opensuse-leap", Name: "42.3"}},
		{"Tumbleweed", files{"etc/os-release": osRelease("opensuse-tumbleweed", "openSUSE Tumbleweed", "20241016", "", "")}, inventory.OS{Family: "opensuse-tumbleweed", Name: "20241016"}},
		{"Photon", files{"etc/os-release": osRelease("photon", "VMware Photon OS", "5.0", "VMware Photon OS/Linux", ""), "etc/lsb-release": "DISTRIB_ID=\"VMware Photon OS\"\nDISTRIB_RELEASE=\"5.0\"\n"}, inventory.OS{Family: "photon", Name: "5.0", Pretty: "VMware Photon OS/Linux"}},
		{"Wolfi", files{"etc/os-release": osRelease("wolfi", "Wolfi", "20230201", "Wolfi", "")}, inventory.OS{Family: "wolfi", Name: "20230201", Pretty: "Wolfi"}},
		{"Chainguard", files{"etc/os-release": osRelease("chainguard", "Chainguard", "20230214", "Chainguard", "")}, inventory.OS{Family: "chainguard", Name: "20230214", Pretty: "Chainguard"}},
		{"CBL-Mariner", files{"etc/os-release": osRelease("mariner", "Common Base Linux Mariner", "2.0.20240123", "", "")}, inventory.OS{Family: "cbl-mariner", Name: "2.0.20240123"}},
		{"Azure Linux", files{"etc/os-release": osRelease("azurelinux", "Microsoft Azure Linux", "3.0", "", "")}, inventory.OS{Family: "azurelinux", Name: "3.0"}},
		{"not known", files{"etc/os-release": osRelease("arch", "Arch Linux", "1", "Arch Linux", "")}, inventory.OS{}},
		{"no version", files{"etc/os-release": "ID=rhel\n", "etc/debian_version": "\n", "etc/system-release": "Amazon Linux release \n", "etc/alpine-release": ""}, inventory.OS{}},
		{"nonsense", files{"etc/redhat-release": "\x00\x01", "etc/centos-release": "release", "etc/os-release": "=\n==\nID", "etc/SuSE-release": "", "etc/lsb-release": "DISTRIB_RELEASE=1\n"}, inventory.OS{}},
	} {
		var entries []entry
		for p, content := range c.files {
			entries = append(entries, file(p, content))
		}
		if got := inventory.Merge([]inventory.Layer{mustRead(t, archive(t, entries...))}, nil).OS; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestAlpinesRepositories(t *testing.T) {
	for content, want := range map[string]string{
		"https://dl-cdn.alpinelinux.org/alpine/v3.9/main\nhttps://dl-cdn.alpinelinux.org/alpine/v3.20/community\n": "3.20",
		"https://dl-cdn.alpinelinux.org/alpine/v3.20/main\nhttp://mirror.example/alpine/edge/testing\n":            "edge",
		"#https://dl-cdn.alpinelinux.org/alpine/edge/testing\nhttps://dl-cdn.alpinelinux.org/alpine/v3.18/main\n":  "3.18",
		"https://packages.wolfi.dev/os\n":             "",
		"https://mirror.example/postmarketos/v1/main": "",
	} {
		l := mustRead(t, archive(t, file("etc/apk/repositories", content)))
		if got := inventory.Merge([]inventory.Layer{l}, nil).AlpineRepository; got != want {
			t.Errorf("%q: got %q, want %q", content, got, want)
		}
	}
}

const dpkgStatus = `Package: libc6
Status: install ok installed
Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>
Architecture: amd64
Multi-Arch: same
Source: glibc
Version: 2.36-9+deb12u8
Depends: libgcc-s1, libcrypt1
Description: GNU C Library: Shared libraries
 Package: not-this-one
 Version: 1

Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2+b7
Source: bash (5.2.15-2)

Package: removed
Status: deinstall ok config-files
Version: 1.0

Package: held
Status: hold ok installed
Architecture: all
Version: 1:2.0~rc1
source: held-src (2:1.9-3)

Package: docker-ce
Status: install ok installed
Maintainer: Docker <support@docker.com>
Architecture: amd64
Version: 5:26.1.0-1~debian.12~bookworm

Package: broken
Status: install ok installed
Version: not a version

Package: half
Status: install reinstreq half-installed
Version: 3-1`

func TestDpkg(t *testing.T) {
	l := mustRead(t, archive(t, file("var/lib/dpkg/status", strings.ReplaceAll(dpkgStatus, "half-installed", "half-configured")),
		file("var/lib/dpkg/available", "Package: available\nVersion: 1\n"), file("var/lib/dpkg/status-old", "Package: old\nVersion: 1\n"),
		file("var/lib/dpkg/info/libc6:amd64.list", "/.\n/lib/x86_64-linux-gnu/libc.so.6\n/usr/bin/ldd\n/usr/lib/python3/dist-packages/six-1.0.egg-info/PKG-INFO\n"),
		file("var/lib/dpkg/info/libc6:amd64.md5sums", "00  usr/bin/no\n"), file("var/lib/dpkg/info/libc6:amd64.postinst", "#!/bin/sh\n")))
	want := []inventory.Package{
		{Type: inventory.Dpkg, Name: "libc6", Version: "2.36", Release: "9+deb12u8", Arch: "amd64", SrcName: "glibc", SrcVersion: "2.36", SrcRelease: "9+deb12u8", Maintainer: "GNU Libc Maintainers <debian-glibc@lists.debian.org>"},
		{Type: inventory.Dpkg, Name: "bash", Version: "5.2.15", Release: "2+b7", Arch: "amd64", SrcName: "bash", SrcVersion: "5.2.15", SrcRelease: "2"},
		{Type: inventory.Dpkg, Name: "held", Version: "2.0~rc1", Epoch: 1, Arch: "all", SrcName: "held-src", SrcVersion: "1.9", SrcRelease: "3", SrcEpoch: 2},
		{Type: inventory.Dpkg, Name: "docker-ce", Version: "26.1.0", Release: "1~debian.12~bookworm", Epoch: 5, Arch: "amd64", SrcName: "docker-ce", SrcVersion: "26.1.0", SrcRelease: "1~debian.12~bookworm", SrcEpoch: 5, Maintainer: "Docker <support@docker.com>", ThirdParty: true},
		{Type: inventory.Dpkg, Name: "half", Version: "3", Release: "1", SrcName: "half", SrcVersion: "3", SrcRelease: "1"},
	}
	if got := l.Files[0].Packages; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if len(l.Files) != 2 || !slices.Equal(l.Files[1].Installed, []string{"usr/bin/ldd", "usr/lib/python3/dist-packages/six-1.0.egg-info/PKG-INFO"}) {
		t.Errorf("owned: %+v", l.Files[1:])
	}
}

func TestDistrolessDpkg(t *testing.T) {
	l := mustRead(t, archive(t,
		file("var/lib/dpkg/status.d/libssl3", "Package: libssl3\nVersion: 3.0.15-1~deb12u1\nArchitecture: amd64\nSource: openssl\n"),
		file("var/lib/dpkg/status.d/libssl3.md5sums", "b1946ac92492d2347c6235b4d2611184  usr/bin/openssl\nb1946ac92492d2347c6235b4d2611184  usr/share/doc/x\n"),
		file("var/lib/dpkg/status.d/base", "Package: base-files\nVersion: 12.4+deb12u8\n")))
	if got := packages(l); !slices.Equal(got, []string{"dpkg libssl3 3.0.15-1~deb12u1", "dpkg base-files 12.4+deb12u8"}) {
		t.Errorf("got %q", got)
	}
	if got := l.Files[1].Installed; !slices.Equal(got, []string{"usr/bin/openssl"}) {
		t.Errorf("owned %q", got)
	}
}

// A real image's list.
func TestRealDebian(t *testing.T) {
	b, err := os.ReadFile("testdata/debian-12.15.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	l := mustRead(t, b)
	img := inventory.Merge([]inventory.Layer{l}, []name.Digest{name.SHA256(b)})
	if img.OS.Family != "debian" || img.OS.Name != "12.15" || !strings.HasPrefix(img.OS.Pretty, "Debian GNU/Linux 12") {
		t.Errorf("it is %+v", img.OS)
	}
	i := slices.IndexFunc(img.Packages, func(p inventory.Package) bool { return p.Name == "perl-base" })
	if i < 0 || img.Packages[i].SrcName != "perl" || img.Packages[i].Layer != name.SHA256(b) {
		t.Errorf("perl-base is not as it is there: %d of %d packages", i, len(img.Packages))
	}
	if len(l.Skipped) != 0 {
		t.Errorf("skipped %+v", l.Skipped)
	}
}

const apkInstalled = `C:Q1qKcZ+j23xssAXmgQhkOO8dHnbWw=
P:musl
V:1.2.5-r0
A:x86_64
S:408000
T:the musl c library (libc) implementation
o:musl
m:Timo Teräs <timo.teras@iki.fi>
L:MIT
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
F:usr/bin
R:ldd

P:py3-six
V:1.16.0-r9
A:noarch
o:six
L:MIT AND Python-2.0
F:usr/lib/python3.12/site-packages/six-1.16.0.dist-info
R:METADATA
F:
R:top

P:musl
V:0.0.1

P:noversion

P:last
V:1-r0`

func TestApk(t *testing.T) {
	for _, at := range []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"} {
		l := mustRead(t, archive(t, file(at, apkInstalled)))
		want := []inventory.Package{
			{Type: inventory.Apk, Name: "musl", Version: "1.2.5-r0", Arch: "x86_64", SrcName: "musl", SrcVersion: "1.2.5-r0", Maintainer: "Timo Teräs <timo.teras@iki.fi>", Licenses: []string{"MIT"}, Digest: "sha1:a8a719fa3db7c6cb005e681086438ef1d1e76d6c"},
			{Type: inventory.Apk, Name: "py3-six", Version: "1.16.0-r9", Arch: "noarch", SrcName: "six", SrcVersion: "1.16.0-r9", Licenses: []string{"MIT AND Python-2.0"}},
			{Type: inventory.Apk, Name: "last", Version: "1-r0", SrcName: "last", SrcVersion: "1-r0"},
		}
		if got := l.Files[0].Packages; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", at, got, want)
		}
		if got := l.Files[0].Installed; !slices.Equal(got, []string{"usr/bin/ldd", "usr/lib/python3.12/site-packages/six-1.16.0.dist-info/METADATA"}) {
			t.Errorf("%s: owned %q", at, got)
		}
	}
}

func unzipped(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRPM(t *testing.T) {
	for _, c := range []struct {
		fixture, at string
		count       int
		want        inventory.Package
		owned       bool
	}{
		{"Packages", "var/lib/rpm/Packages", 1, inventory.Package{Type: inventory.RPM, Name: "libuuid", Version: "2.32.1", Release: "42.el8_8", Arch: "x86_64", SrcName: "util-linux", SrcVersion: "2.32.1", SrcRelease: "42.el8_8", Maintainer: "Red Hat, Inc.", Licenses: []string{"BSD"}, Digest: "md5:c1e561f13d39aee443a1f00258fba000"}, false},
		{"Packages.db", "usr/lib/sysimage/rpm/Packages.db", 35, inventory.Package{}, true},
		{"rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite", 18, inventory.Package{Type: inventory.RPM, Name: "bzip2-libs", Version: "1.0.8", Release: "1.cm2", Arch: "x86_64", SrcName: "bzip2", SrcVersion: "1.0.8", SrcRelease: "1.cm2", Maintainer: "Microsoft Corporation", Licenses: []string{"BSD"}, Digest: "md5:dd11ab0fe74f3ac60d333e507c3042a3"}, true},
	} {
		b := archive(t, file(c.at, unzipped(t, "rpm/testdata/"+c.fixture+".gz")))
		for _, memory := range []int64{64 << 20, 100} { // kept in memory, and spooled
			l := read.DefaultLimits()
			l.MemoryBytes = memory
			layer, err := layerOf(t, b, l)
			if err != nil || len(layer.Files) != 1 || len(layer.Skipped) != 0 {
				t.Fatalf("%s: %+v, %v", c.fixture, layer.Skipped, err)
			}
			f := layer.Files[0]
			if len(f.Packages) != c.count {
				t.Errorf("%s: %d packages, want %d", c.fixture, len(f.Packages), c.count)
			}
			if c.want.Name != "" && !slices.ContainsFunc(f.Packages, func(p inventory.Package) bool { return reflect.DeepEqual(p, c.want) }) {
				t.Errorf("%s: no %+v", c.fixture, c.want)
			}
			if (len(f.Installed) > 0) != c.owned {
				t.Errorf("%s: owned %q", c.fixture, f.Installed)
			}
			for _, p := range f.Packages {
				if p.ThirdParty || p.Name == "gpg-pubkey" {
					t.Errorf("%s: %+v", c.fixture, p)
				}
			}
		}
	}
}

func TestRPMManifest(t *testing.T) {
	row := "curl\t8.5.0-1.cm2\t1705952541\t1705000000\tMicrosoft Corporation\t(none)\t123\tx86_64\t1\tcurl-8.5.0-1.cm2.src.rpm\n"
	l := mustRead(t, archive(t, file("var/lib/rpmmanifest/container-manifest-2", row+"not a row\n")))
	want := []inventory.Package{{Type: inventory.RPM, Name: "curl", Version: "8.5.0", Release: "1.cm2", Epoch: 1, Arch: "x86_64", SrcName: "curl", SrcVersion: "8.5.0", SrcRelease: "1.cm2", SrcEpoch: 1, Maintainer: "Microsoft Corporation"}}
	if len(l.Files) != 1 || !reflect.DeepEqual(l.Files[0].Packages, want) {
		t.Errorf("got %+v, want %+v", l.Files, want)
	}
	if len(l.Skipped) != 1 {
		t.Errorf("the other row is passed over in silence: %+v", l.Skipped)
	}
}

func TestRedHatBuild(t *testing.T) {
	docker := "FROM sha256:abc\nARG ARCH=x86_64\nENV NAME=\"ubi8\" \\\n    VER=1\n# LABEL com.redhat.component=no\nLABEL maintainer=\"Red Hat, Inc.\" \\\n      com.redhat.component=\"$NAME-container\" \\\n      name='a b'\nLABEL architecture=${ARCH}\nRUN rm x\n"
	l := mustRead(t, archive(t,
		file("root/buildinfo/Dockerfile-ubi8-8.3-227", docker),
		file("root/buildinfo/content_manifests/ubi8-container-8.3-227.json", `{"metadata": {}, "content_sets": ["rhel-8-for-x86_64-baseos-rpms", "rhel-8-for-x86_64-appstream-rpms"]}`),
		file("usr/share/buildinfo/content-sets.json", `{"content_sets": ["ubi-9-baseos-rpms__x86_64"]}`),
		file("usr/share/buildinfo/labels.json", `{"com.redhat.component": "ubi9-container", "version": "9.5", "release": "173", "architecture": "x86_64"}`)))
	want := []inventory.File{
		{Path: "root/buildinfo/Dockerfile-ubi8-8.3-227", Build: &inventory.Build{NVR: "ubi8-container-8.3-227", Arch: "x86_64"}},
		{Path: "root/buildinfo/content_manifests/ubi8-container-8.3-227.json", ContentSets: []string{"rhel-8-for-x86_64-baseos-rpms", "rhel-8-for-x86_64-appstream-rpms"}},
		{Path: "usr/share/buildinfo/content-sets.json", ContentSets: []string{"ubi-9-baseos-rpms__x86_64"}},
		{Path: "usr/share/buildinfo/labels.json", Build: &inventory.Build{NVR: "ubi9-container-9.5-173", Arch: "x86_64"}},
	}
	if !reflect.DeepEqual(l.Files, want) {
		t.Errorf("got %+v, want %+v", l.Files, want)
	}
	// One whose labels do not say what it is brings nothing.
	if l := mustRead(t, archive(t, file("root/buildinfo/Dockerfile-x", "FROM scratch\nLABEL a b\nLABEL =\nLABEL $X=\"\n"))); len(l.Files) != 0 {
		t.Errorf("got %+v", l.Files)
	}
}

// Programs are read for what their compilers wrote down; this one is the test itself.
func TestPrograms(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n" + strings.Repeat("# a long script\n", 10_000)
	l := mustRead(t, archive(t, entry{name: "usr/bin/app", content: string(b), mode: 0o755}, entry{name: "usr/bin/script", content: script, mode: 0o755},
		entry{name: "usr/bin/other", kind: tar.TypeLink, link: "usr/bin/app", mode: 0o755}))
	if len(l.Files) != 2 || len(l.Skipped) != 0 {
		t.Fatalf("got %+v, skipped %+v", l.Files, l.Skipped)
	}
	if !slices.ContainsFunc(l.Files[0].Packages, func(p inventory.Package) bool {
		return p.Type == inventory.GoBinary && p.Name == "stdlib" && p.Path == "usr/bin/app"
	}) {
		t.Errorf("no standard library in the program: %+v", l.Files[0].Packages)
	}
	if p := l.Files[1].Packages; len(p) == 0 || p[0].Path != "usr/bin/other" {
		t.Errorf("its other name: %+v", p)
	}
}
