package match_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

type (
	adv  = matchtest.Advisory
	pkg  = inventory.Package
	vuln = matchtest.Vulnerability
	pack = matchtest.Bucket
)

func dpkg(src, name, version, release string) pkg {
	return pkg{Type: inventory.Dpkg, Name: name, Version: version, Release: release, Arch: "amd64", SrcName: src, SrcVersion: version, SrcRelease: release}
}

func apk(src, name, version string) pkg {
	return pkg{Type: inventory.Apk, Name: name, Version: version, Arch: "x86_64", SrcName: src, SrcVersion: version}
}

func rpm(name string, epoch int, version, release string) pkg {
	return pkg{Type: inventory.RPM, Name: name, Epoch: epoch, Version: version, Release: release, Arch: "x86_64",
		SrcName: name, SrcEpoch: epoch, SrcVersion: version, SrcRelease: release}
}

func source(id string) matchtest.Source { return matchtest.Source{ID: id, Name: "source " + id} }

// distributions is one database for all; each bucket has advisories that other buckets lack,
// so that one that is looked up in the wrong place shows.
func distributions() matchtest.DB {
	x := []string{"x86_64", "aarch64"}
	return matchtest.DB{
		Buckets: []pack{
			{Bucket: "debian 12", Source: source("debian"), Advs: []adv{
				{Pkg: "openssl", ID: "CVE-2023-0001", Fixed: "3.0.9-1", VendorIDs: []string{"DSA-5417-1"}},
				{Pkg: "openssl", ID: "CVE-2023-0002", Fixed: "3.0.11-1"},
				{Pkg: "openssl", ID: "CVE-2023-0003", Severity: "LOW", Status: "will_not_fix"},
				{Pkg: "openssl", ID: "TEMP-0000000-1A2B3C", Status: "fix_deferred"},
				{Pkg: "absent", ID: "CVE-2023-0004"},
			}},
			{Bucket: "debian 10", Source: source("debian"), Advs: []adv{{Pkg: "openssl", ID: "CVE-2019-1010"}}},
			{Bucket: "ubuntu 22.04", Source: source("ubuntu"), Advs: []adv{
				{Pkg: "bash", ID: "CVE-2022-3715", Fixed: "5.1-6ubuntu1.1"},
				{Pkg: "bash", ID: "CVE-2022-3716", Fixed: "5.1-6ubuntu1"},
				{Pkg: "bash", ID: "CVE-2022-3717"},
			}},
			{Bucket: "ubuntu 20.04", Source: source("ubuntu"), Advs: []adv{{Pkg: "bash", ID: "CVE-2020-2004"}}},
			{Bucket: "ubuntu 20.04-ESM", Source: source("ubuntu"), Advs: []adv{{Pkg: "bash", ID: "CVE-2020-2005", Fixed: "5.0-6ubuntu1.2+esm1"}}},
			{Bucket: "alpine 3.20", Source: source("alpine"), Advs: []adv{
				{Pkg: "openssl", ID: "CVE-2024-0320", Fixed: "3.3.1-r1"},
				{Pkg: "openssl", ID: "CVE-2024-0321", Fixed: "3.3.0-r0"},
			}},
			{Bucket: "alpine edge", Source: source("alpine"), Advs: []adv{{Pkg: "openssl", ID: "CVE-2024-0999", Fixed: "3.4.0-r0"}}},
			{Bucket: "amazon linux 1", Source: source("amazon"), Advs: []adv{{Pkg: "curl", ID: "CVE-2019-5481", Fixed: "7.61.1-12.93.amzn1"}}},
			{Bucket: "amazon linux 2", Source: source("amazon"), Advs: []adv{
				{Pkg: "curl", ID: "CVE-2019-5436", Fixed: "7.61.1-11.amzn2.0.2"},
				{Pkg: "curl", ID: "CVE-2019-5437", Fixed: "7.61.1-9.amzn2"},
				{Pkg: "bind-libs", ID: "CVE-2022-38177", Fixed: "99:9.11.4-26.P2.amzn2.13"},
			}},
			{Bucket: "amazon linux 2023", Source: source("amazon"), Advs: []adv{{Pkg: "curl", ID: "CVE-2023-2023", Fixed: "8.3.0-1.amzn2023.0.2"}}},
			{Bucket: "Red Hat", Source: matchtest.Source{ID: "redhat-oval", Name: "Red Hat OVAL v2"}, Advs: []adv{
				{Pkg: "openssl", ID: "RHSA-2023:1405", Fixed: "1:3.0.7-6.el9_1", Severity: "HIGH", CVEs: []string{"CVE-2023-0286", "CVE-2023-0215"}, Products: []int{9}},
				{Pkg: "openssl", ID: "CVE-2023-9999", Severity: "LOW", Status: "will_not_fix", Products: []int{9}},
				{Pkg: "openssl", ID: "RHSA-2023:0808", Fixed: "1:1.1.1k-9.el8", Severity: "MEDIUM", CVEs: []string{"CVE-2023-0288"}, Products: []int{8}},
				{Pkg: "openssl", ID: "RHSA-2023:9992", Fixed: "1:3.0.7-9.el9_2", Severity: "CRITICAL", CVEs: []string{"CVE-2023-9092"}, Products: []int{92}},
				{Pkg: "openssl", ID: "RHSA-2023:5555", Fixed: "1:3.0.8-1.el9", Severity: "LOW", CVEs: []string{"CVE-2023-5555"}, Products: []int{55}},
				{Pkg: "openssl", ID: "RHSA-2025:1010", Fixed: "1:3.2.2-16.el10", Severity: "LOW", CVEs: []string{"CVE-2025-1010"}, Products: []int{10}},
				{Pkg: "openssl", ID: "RHSA-2023:0707", Fixed: "1:1.0.2k-25.el7_9", Severity: "LOW", CVEs: []string{"CVE-2023-0707"}, Products: []int{7}},
				{Pkg: "nodejs:18::nodejs", ID: "RHSA-2023:1818", Fixed: "1:18.14.2-2.module+el9", Severity: "HIGH", CVEs: []string{"CVE-2023-1818"}, Products: []int{9}},
				{Pkg: "openssl-devel", ID: "RHSA-2023:7777", Fixed: "1:9-1", Severity: "HIGH", CVEs: []string{"CVE-2023-7777"}, Products: []int{9}, Arches: []string{"s390x"}},
			}},
			{Bucket: "rocky 9", Source: source("rocky"), Advs: []adv{
				{Pkg: "openssl", ID: "CVE-2023-0286", Fixed: "1:3.0.1-47.el9_1", Arches: x},
				{Pkg: "openssl", ID: "CVE-2023-0290", Fixed: "1:9.0.1-47.el9_1", Arches: []string{"s390x"}},
			}},
			{Bucket: "alma 9", Source: source("alma"), Advs: []adv{
				{Pkg: "openssl", ID: "CVE-2023-0286", Fixed: "1:3.0.1-47.el9_1"},
				{Pkg: "openssl", ID: "CVE-2023-0291", Fixed: "1:3.0.1-1.el9"},
			}},
			{Bucket: "Oracle Linux 8", Source: source("oracle-oval"), Advs: []adv{
				{Pkg: "curl", ID: "CVE-2019-3823", Fixed: "7.61.1-11.el8", Arches: x, VendorIDs: []string{"ELSA-2019-3701"}},
				{Pkg: "curl", ID: "CVE-2019-3823", Fixed: "7.61.1-12.el8", Arches: x, VendorIDs: []string{"ELSA-2019-4000"}},
				{Pkg: "curl", ID: "CVE-2019-3824", Fixed: "7.61.1-1.ksplice1.el8", Arches: x},
			}},
			{Bucket: "SUSE Linux Enterprise 15.3", Source: source("suse-cvrf"), Advs: []adv{
				{Pkg: "libopenssl1_1", ID: "SUSE-SU-2022:2251-1", Fixed: "1.1.1d-150200.11.48.1"},
				{Pkg: "libopenssl1_1", ID: "SUSE-SU-2020:0001-1", Fixed: "1.1.1d-150200.11.1.1"},
			}},
			{Bucket: "openSUSE Leap 15.5", Source: source("suse-cvrf"), Advs: []adv{{Pkg: "libopenssl1_1", ID: "openSUSE-SU-2023:0062-1", Fixed: "1.1.1l-150500.17.1"}}},
			{Bucket: "openSUSE Tumbleweed", Source: source("suse-cvrf"), Advs: []adv{{Pkg: "libopenssl3", ID: "openSUSE-SU-2024:13065-1", Fixed: "3.1.4-3.1"}}},
			{Bucket: "Photon OS 5.0", Source: source("photon"), Advs: []adv{{Pkg: "curl", ID: "CVE-2023-5005", Fixed: "8.1.2-5.ph5"}, {Pkg: "curl", ID: "CVE-2023-5006", Fixed: "8.1.2-1.ph5"}}},
			{Bucket: "CBL-Mariner 2.0", Source: source("cbl-mariner"), Advs: []adv{{Pkg: "expat", ID: "CVE-2022-2001", Fixed: "0:2.4.4-1.cm2"}, {Pkg: "expat", ID: "CVE-2022-2002", Fixed: "0:2.4.2-1.cm2"}}},
			{Bucket: "Azure Linux 3.0", Source: source("azure"), Advs: []adv{{Pkg: "expat", ID: "CVE-2024-3001", Fixed: "0:2.6.4-1.azl3"}}},
			{Bucket: "wolfi", Source: source("wolfi"), Advs: []adv{{Pkg: "openssl", ID: "CVE-2024-7001", Fixed: "3.3.1-r5"}, {Pkg: "openssl", ID: "CVE-2024-7002", Fixed: "0"}}},
			{Bucket: "chainguard", Source: source("chainguard"), Advs: []adv{{Pkg: "openssl", ID: "CVE-2024-7003", Fixed: "3.3.1-r6"}}},
		},
		RedHat: matchtest.RedHat{
			Repositories: map[string][]int{
				"rhel-7-server-rpms": {7}, "rhel-8-for-x86_64-baseos-rpms": {8}, "rhel-9-for-x86_64-baseos-rpms": {9},
				"rhel-10-for-x86_64-baseos-rpms": {10}, "rhel-9-for-x86_64-baseos-eus-rpms__9_DOT_2": {92},
			},
			NVRs: map[string][]int{"ubi9-container-9.1-1-x86_64": {55}},
		},
		Vulnerabilities: []vuln{
			{ID: "SUSE-SU-2022:2251-1", VendorSeverity: map[string]string{"suse-cvrf": "HIGH"}},
			{ID: "CVE-2019-5436", VendorSeverity: map[string]string{"amazon": "LOW", "nvd": "HIGH", "redhat": "LOW"},
				CVSS: map[string]matchtest.CVSS{"nvd": {V3Vector: "CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", V3Score: 7.8}}},
		},
	}
}

// TestDistributions: for each distribution what is vulnerable, and nothing else: not what is
// mended in the version that is installed, not what another release's advisory says.
func TestDistributions(t *testing.T) {
	d := open(t, distributions())
	ssl9 := rpm("openssl", 1, "3.0.1", "41.el9")
	module := rpm("nodejs", 1, "18.12.1", "1.module+el9")
	module.Modularity = "nodejs:18:9010020221118120946:rhel9"
	sets := func(p pkg, s ...string) pkg { p.ContentSets = s; return p }
	build := func(p pkg, nvr, arch string) pkg { p.Build = &inventory.Build{NVR: nvr, Arch: arch}; return p }
	third := func(p pkg) pkg { p.ThirdParty = true; return p }
	noarch := func(p pkg) pkg { p.Arch = "noarch"; return p }
	for _, c := range []struct {
		what, family, version, repository string
		extended                          bool
		packages                          []pkg
		want                              []string
		unsupported, eol                  bool
	}{
		{
			what: "CBL-Mariner", family: "cbl-mariner", version: "2.0", packages: []pkg{rpm("expat", 0, "2.4.3", "1.cm2"), rpm("expat", 0, "2.4.3", "1.cm2"), rpm("bash", 0, "5.1", "1.cm2")},
			want: []string{"CVE-2022-2001 expat 2.4.4-1.cm2 UNDEFINED fixed", "CVE-2022-2001 expat 2.4.4-1.cm2 UNDEFINED fixed"},
		},
		{
			what: "Azure Linux", family: "azurelinux", version: "3.0", packages: []pkg{rpm("expat", 0, "2.6.3", "1.azl3"), rpm("expat", 0, "2.6.4", "1.azl3")},
			want: []string{"CVE-2024-3001 expat 2.6.4-1.azl3 UNDEFINED fixed"},
		},
		{
			what: "debian", family: "debian", version: "12.5",
			packages: []pkg{dpkg("openssl", "libssl3", "3.0.9", "1"), dpkg("zlib", "zlib1g", "1.2.13", "1"), third(dpkg("openssl", "openssl-third", "1.0", "1"))},
			want: []string{
				"CVE-2023-0003 libssl3 - LOW will_not_fix", "CVE-2023-0002 libssl3 3.0.11-1 UNDEFINED fixed", "TEMP-0000000-1A2B3C libssl3 - UNDEFINED fix_deferred",
			},
		},
		{
			what: "every binary of a source", family: "debian", version: "12", packages: []pkg{dpkg("openssl", "openssl", "3.0.11", "1"), dpkg("openssl", "libssl3", "3.0.11", "1")},
			want: []string{
				"CVE-2023-0003 libssl3 - LOW will_not_fix", "CVE-2023-0003 openssl - LOW will_not_fix",
				"TEMP-0000000-1A2B3C libssl3 - UNDEFINED fix_deferred", "TEMP-0000000-1A2B3C openssl - UNDEFINED fix_deferred",
			},
		},
		{what: "an old debian", family: "debian", version: "10.13", packages: []pkg{dpkg("openssl", "openssl", "1.1", "1")}, want: []string{"CVE-2019-1010 openssl - UNDEFINED affected"}, eol: true},
		{what: "debian sid", family: "debian", version: "trixie/sid", packages: []pkg{dpkg("openssl", "openssl", "1.1", "1")}, unsupported: true},
		{what: "a debian without a version", family: "debian", packages: []pkg{dpkg("openssl", "openssl", "1.1", "1")}, unsupported: true},
		{
			what: "ubuntu", family: "ubuntu", version: "22.04", packages: []pkg{dpkg("bash", "bash", "5.1", "6ubuntu1")},
			want: []string{"CVE-2022-3715 bash 5.1-6ubuntu1.1 UNDEFINED fixed", "CVE-2022-3717 bash - UNDEFINED affected"},
		},
		{what: "ubuntu with a point release", family: "ubuntu", version: "22.04.5", packages: []pkg{dpkg("bash", "bash", "5.1", "6ubuntu1.1")}, want: []string{"CVE-2022-3717 bash - UNDEFINED affected"}},
		{what: "ubuntu past its end", family: "ubuntu", version: "20.04", packages: []pkg{dpkg("bash", "bash", "5.0", "6ubuntu1.2")}, want: []string{"CVE-2020-2004 bash - UNDEFINED affected"}, eol: true},
		{what: "ubuntu pro", family: "ubuntu", version: "20.04", extended: true, packages: []pkg{dpkg("bash", "bash", "5.0", "6ubuntu1.2")}, want: []string{"CVE-2020-2005 bash 5.0-6ubuntu1.2+esm1 UNDEFINED fixed"}},
		{what: "ubuntu pro of a release with support", family: "ubuntu", version: "22.04", extended: true, packages: []pkg{dpkg("bash", "bash", "5.1", "6ubuntu1.1")}, want: []string{"CVE-2022-3717 bash - UNDEFINED affected"}},
		{what: "a new ubuntu", family: "ubuntu", version: "31.04", packages: []pkg{dpkg("bash", "bash", "5.1", "6ubuntu1")}, unsupported: true},
		{what: "alpine", family: "alpine", version: "3.20.3", packages: []pkg{apk("openssl", "libssl3", "3.3.0-r3"), apk("musl", "musl", "1.2.5-r0")}, want: []string{"CVE-2024-0320 libssl3 3.3.1-r1 UNDEFINED fixed"}},
		{what: "alpine with the repositories of edge", family: "alpine", version: "3.20.3", repository: "edge", packages: []pkg{apk("openssl", "libssl3", "3.3.0-r3")}, want: []string{"CVE-2024-0999 libssl3 3.4.0-r0 UNDEFINED fixed"}},
		{what: "a new alpine", family: "alpine", version: "3.99.0", packages: []pkg{apk("openssl", "libssl3", "3.3.0-r3")}, unsupported: true},
		{what: "amazon linux 1", family: "amazon", version: "AMI release 2018.03", packages: []pkg{rpm("curl", 0, "7.61.1", "11.91.amzn1")}, want: []string{"CVE-2019-5481 curl 7.61.1-12.93.amzn1 UNDEFINED fixed"}, eol: true},
		{what: "amazon linux 2", family: "amazon", version: "2 (Karoo)", packages: []pkg{rpm("curl", 0, "7.61.1", "9.amzn2.0.1"), rpm("bind-libs", 32, "9.11.4", "26.P2.amzn2.13")}, want: []string{
			"CVE-2019-5436 curl 7.61.1-11.amzn2.0.2 LOW fixed", "CVE-2022-38177 bind-libs 99:9.11.4-26.P2.amzn2.13 UNDEFINED fixed",
		}},
		{what: "amazon linux 2023", family: "amazon", version: "2023.5.20240708 (Amazon Linux)", packages: []pkg{rpm("curl", 0, "8.3.0", "1.amzn2023.0.1")}, want: []string{"CVE-2023-2023 curl 8.3.0-1.amzn2023.0.2 UNDEFINED fixed"}},
		{what: "amazon linux without a version", family: "amazon", version: " ", packages: []pkg{rpm("curl", 0, "8.3.0", "1.amzn2023.0.1")}, unsupported: true},
		{
			what: "red hat without manifests", family: "redhat", version: "9.1", packages: []pkg{ssl9, module},
			want: []string{
				"CVE-2023-0215 openssl 1:3.0.7-6.el9_1 HIGH fixed", "CVE-2023-0286 openssl 1:3.0.7-6.el9_1 HIGH fixed",
				"CVE-2023-1818 nodejs 1:18.14.2-2.module+el9 HIGH fixed", "CVE-2023-9999 openssl - LOW will_not_fix",
			},
		},
		{what: "red hat, mended", family: "redhat", version: "9.1", packages: []pkg{rpm("openssl", 1, "3.0.7", "6.el9_1")}, want: []string{"CVE-2023-9999 openssl - LOW will_not_fix"}},
		{what: "red hat by content sets", family: "redhat", version: "9.2", packages: []pkg{sets(ssl9, "rhel-9-for-x86_64-baseos-eus-rpms__9_DOT_2")}, want: []string{"CVE-2023-9092 openssl 1:3.0.7-9.el9_2 CRITICAL fixed"}},
		{what: "content sets with a generic suffix", family: "redhat", version: "9.2", packages: []pkg{sets(rpm("openssl", 1, "1.1.1k", "6.el8"), "rhel-8-for-x86_64-baseos-rpms__8")}, want: []string{"CVE-2023-0288 openssl 1:1.1.1k-9.el8 MEDIUM fixed"}},
		{what: "UBI by its build", family: "redhat", version: "9.1", packages: []pkg{build(ssl9, "ubi9-container-9.1-1", "x86_64")}, want: []string{"CVE-2023-5555 openssl 1:3.0.8-1.el9 LOW fixed"}},
		{
			what: "content sets that nobody knows", family: "redhat", version: "9.1", packages: []pkg{sets(rpm("openssl", 1, "3.0.7", "6.el9_1"), "internal-rpms"), build(rpm("openssl", 1, "3.0.7", "6.el9_1"), "mine-1-1", "x86_64")},
			want: []string{"CVE-2023-9999 openssl - LOW will_not_fix", "CVE-2023-9999 openssl - LOW will_not_fix"},
		},
		{what: "another architecture's", family: "redhat", version: "9.1", packages: []pkg{rpm("openssl-devel", 1, "3.0.1", "41.el9")}, want: []string{}},
		{what: "noarch", family: "redhat", version: "9.1", packages: []pkg{noarch(rpm("openssl-devel", 1, "3.0.1", "41.el9"))}, want: []string{"CVE-2023-7777 openssl-devel 1:9-1 HIGH fixed"}},
		{what: "red hat 10", family: "redhat", version: "10.0", packages: []pkg{rpm("openssl", 1, "3.2.2", "12.el10")}, want: []string{"CVE-2025-1010 openssl 1:3.2.2-16.el10 LOW fixed"}},
		{what: "a new red hat", family: "redhat", version: "11.0", packages: []pkg{ssl9}, unsupported: true},
		{what: "centos", family: "centos", version: "7.9.2009", packages: []pkg{rpm("openssl", 1, "1.0.2k", "21.el7_9")}, want: []string{"CVE-2023-0707 openssl 1:1.0.2k-25.el7_9 LOW fixed"}, eol: true},
		{what: "rocky", family: "rocky", version: "9.1", packages: []pkg{ssl9}, want: []string{"CVE-2023-0286 openssl 1:3.0.1-47.el9_1 UNDEFINED fixed"}},
		{what: "alma", family: "alma", version: "9.1", packages: []pkg{ssl9}, want: []string{"CVE-2023-0286 openssl 1:3.0.1-47.el9_1 UNDEFINED fixed"}},
		{what: "oracle, with two errata", family: "oracle", version: "8.9", packages: []pkg{rpm("curl", 0, "7.61.1", "8.el8")}, want: []string{"CVE-2019-3823 curl 7.61.1-12.el8 UNDEFINED fixed"}},
		{what: "sles", family: "suse linux enterprise server", version: "15.3", packages: []pkg{rpm("libopenssl1_1", 0, "1.1.1d", "150200.11.40.1")}, want: []string{"SUSE-SU-2022:2251-1 libopenssl1_1 1.1.1d-150200.11.48.1 HIGH fixed"}, eol: true},
		{what: "sles in Trivy's word", family: "sles", version: "15.3", packages: []pkg{rpm("libopenssl1_1", 0, "1.1.1d", "150200.11.48.1")}, want: []string{}, eol: true},
		{what: "leap", family: "opensuse-leap", version: "15.5", packages: []pkg{rpm("libopenssl1_1", 0, "1.1.1l", "150500.15.4")}, want: []string{"openSUSE-SU-2023:0062-1 libopenssl1_1 1.1.1l-150500.17.1 UNDEFINED fixed"}, eol: true},
		{what: "tumbleweed", family: "opensuse-tumbleweed", version: "20240101", packages: []pkg{rpm("libopenssl3", 0, "3.1.4", "2.1")}, want: []string{"openSUSE-SU-2024:13065-1 libopenssl3 3.1.4-3.1 UNDEFINED fixed"}},
		{what: "photon", family: "photon", version: "5.0", packages: []pkg{rpm("curl", 0, "8.1.2", "3.ph5")}, want: []string{"CVE-2023-5005 curl 8.1.2-5.ph5 UNDEFINED fixed"}},
		{what: "wolfi", family: "wolfi", version: "20230201", packages: []pkg{apk("openssl", "libssl3", "3.3.0-r3")}, want: []string{"CVE-2024-7001 libssl3 3.3.1-r5 UNDEFINED fixed"}},
		{what: "chainguard", family: "chainguard", version: "20230214", packages: []pkg{apk("openssl", "libssl3", "3.3.1-r5")}, want: []string{"CVE-2024-7003 libssl3 3.3.1-r6 UNDEFINED fixed"}},
		{what: "one that nobody matches", family: "fedora", version: "40", packages: []pkg{ssl9}, unsupported: true},
		{what: "none at all", unsupported: true},
		{what: "a distribution without packages", family: "debian", version: "12", want: []string{}},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := find(t, d, inventory.Image{OS: inventory.OS{Family: c.family, Name: c.version, Extended: c.extended}, AlpineRepository: c.repository, Packages: c.packages})
			if r.Supported == c.unsupported || r.EndOfLife != c.eol {
				t.Errorf("supported %v, past its end of life %v", r.Supported, r.EndOfLife)
			}
			if got := lines(r); !reflect.DeepEqual(got, c.want) && len(got)+len(c.want) > 0 {
				t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(c.want, "\n "))
			}
		})
	}
}

func TestEndOfLifeIsTold(t *testing.T) {
	d := open(t, distributions())
	img := inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}}
	for year, over := range map[int]bool{2028: false, 2029: true} {
		r, err := d.Match(t.Context(), img, match.Options{Now: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)})
		if err != nil || r.EndOfLife != over {
			t.Errorf("in %d: past its end of life %v, %v", year, r.EndOfLife, err)
		}
	}
}

func TestVendorIDs(t *testing.T) {
	d := open(t, distributions())
	for _, c := range []struct {
		img  inventory.Image
		want []string
	}{
		{inventory.Image{OS: inventory.OS{Family: "redhat", Name: "8"}, Packages: []pkg{rpm("openssl", 1, "1.1.1k", "6.el8")}}, []string{"RHSA-2023:0808"}},
		{inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{dpkg("openssl", "openssl", "3.0.8", "1")}}, []string{"DSA-5417-1"}},
	} {
		var got []string
		for _, m := range find(t, d, c.img).Matches {
			got = append(got, m.VendorIDs...)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.img.OS.Family, got, c.want)
		}
	}
}
