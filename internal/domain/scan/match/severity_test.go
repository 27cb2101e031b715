package match_test

import (
	"strconv"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

const (
	v2 = "AV:L/AC:L/Au:N/C:P/I:P/A:P"
	v3 = "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H"
	v4 = "CVSS:4.0/AV:L/AC:L/AT:N/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
)

func cvss3(score float64) matchtest.CVSS { return matchtest.CVSS{V3Vector: v3, V3Score: score} }
func cvss2(score float64) matchtest.CVSS { return matchtest.CVSS{V2Vector: v2, V2Score: score} }

// TestSeverity: the package's own severity, else the distribution's, else NVD's score, else
// UNDEFINED.
func TestSeverity(t *testing.T) {
	type words map[string]string
	type scores map[string]matchtest.CVSS
	for i, c := range []struct {
		family string // debian where it is ""
		own    string // the package's own severity
		vendor words
		cvss   scores
		want   finding.Severity
		word   string
	}{
		{own: "MEDIUM", vendor: words{"debian": "HIGH", "nvd": "CRITICAL"}, cvss: scores{"nvd": cvss3(9.8)}, want: finding.Medium, word: "medium"},
		{vendor: words{"debian": "HIGH", "nvd": "LOW"}, cvss: scores{"nvd": cvss3(2)}, want: finding.High, word: "high"},
		{vendor: words{"ubuntu": "LOW", "redhat": "LOW"}, cvss: scores{"nvd": cvss3(9.8)}, want: finding.Critical, word: "not yet assigned"},
		{vendor: words{"ubuntu": "LOW", "redhat": "LOW", "ghsa": "HIGH"}, want: finding.Undefined, word: "not yet assigned"}, // other vendors do not count
		{cvss: scores{"redhat": cvss3(9.8), "ghsa": cvss3(9.8)}, want: finding.Undefined, word: "not yet assigned"},
		{want: finding.Undefined, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(0.1)}, want: finding.Low, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(3.9)}, want: finding.Low, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(4)}, want: finding.Medium, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(6.9)}, want: finding.Medium, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(7)}, want: finding.High, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(8.9)}, want: finding.High, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(9)}, want: finding.Critical, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss3(0)}, want: finding.Informational, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss2(10)}, want: finding.High, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss2(7)}, want: finding.High, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss2(6.9)}, want: finding.Medium, word: "not yet assigned"},
		{cvss: scores{"nvd": cvss2(3.9)}, want: finding.Low, word: "not yet assigned"},
		{cvss: scores{"nvd": {V2Vector: v2, V2Score: 10, V3Vector: v3, V3Score: 5}}, want: finding.Medium, word: "not yet assigned"},
		{cvss: scores{"nvd": {V3Vector: v3, V3Score: 5, V40Vector: v4, V40Score: 9.3}}, want: finding.Medium, word: "not yet assigned"},
		{cvss: scores{"nvd": {V2Vector: v2, V2Score: 1, V40Vector: v4, V40Score: 9.3}}, want: finding.Critical, word: "not yet assigned"},
		{vendor: words{"nvd": "HIGH"}, want: finding.High, word: "not yet assigned"},
		{family: "ubuntu", vendor: words{"ubuntu": "LOW"}, cvss: scores{"nvd": cvss3(9.8)}, want: finding.Low, word: "low"},
		{family: "ubuntu", cvss: scores{"nvd": cvss3(9.8)}, want: finding.Critical},
		{family: "alpine", vendor: words{"debian": "LOW"}, cvss: scores{"nvd": cvss3(9.8)}, want: finding.Critical},
		{family: "amazon", vendor: words{"amazon": "LOW", "nvd": "HIGH", "redhat": "HIGH"}, cvss: scores{"nvd": cvss3(7.8)}, want: finding.Low, word: "Low"},
		{family: "amazon", vendor: words{"amazon": "HIGH"}, want: finding.High, word: "Important"},
		{family: "redhat", own: "MEDIUM", vendor: words{"redhat": "HIGH"}, want: finding.Medium, word: "Moderate"},
		{family: "redhat", vendor: words{"redhat": "HIGH"}, cvss: scores{"nvd": cvss3(2)}, want: finding.High, word: "Important"},
		{family: "suse linux enterprise server", vendor: words{"suse-cvrf": "MEDIUM"}, want: finding.Medium, word: "moderate"},
		{family: "oracle", vendor: words{"oracle-oval": "HIGH", "redhat": "LOW"}, want: finding.High, word: "IMPORTANT"},
		{family: "rocky", vendor: words{"rocky": "CRITICAL"}, want: finding.Critical, word: "Critical"},
		{family: "photon", vendor: words{"photon": "HIGH"}, want: finding.High, word: "HIGH"},
		{family: "wolfi", cvss: scores{"nvd": cvss3(6)}, want: finding.Medium},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			const id = "CVE-2024-1234"
			in := map[string]struct {
				bucket, source, version string
				pkg                     pkg
			}{
				"":                             {"debian 12", "debian", "12", dpkg("it", "it", "1", "1")},
				"ubuntu":                       {"ubuntu 24.04", "ubuntu", "24.04", dpkg("it", "it", "1", "1")},
				"alpine":                       {"alpine 3.20", "alpine", "3.20", apk("it", "it", "1-r1")},
				"wolfi":                        {"wolfi", "wolfi", "1", apk("it", "it", "1-r1")},
				"amazon":                       {"amazon linux 2", "amazon", "2", rpm("it", 0, "1", "1")},
				"redhat":                       {"Red Hat", "redhat-oval", "9", rpm("it", 0, "1", "1")},
				"suse linux enterprise server": {"SUSE Linux Enterprise 15.5", "suse-cvrf", "15.5", rpm("it", 0, "1", "1")},
				"oracle":                       {"Oracle Linux 9", "oracle-oval", "9", rpm("it", 0, "1", "1")},
				"rocky":                        {"rocky 9", "rocky", "9", rpm("it", 0, "1", "1")},
				"photon":                       {"Photon OS 5.0", "photon", "5.0", rpm("it", 0, "1", "1")},
			}[c.family]
			fixed := "2-1"
			if c.family == "alpine" || c.family == "wolfi" {
				fixed = "2-r1"
			}
			d := open(t, matchtest.DB{
				Buckets: []pack{{Bucket: in.bucket, Source: source(in.source), Advs: []adv{
					{Pkg: "it", ID: id, Fixed: fixed, Severity: c.own, Products: []int{9}},
				}}},
				Vulnerabilities: []vuln{{ID: id, VendorSeverity: c.vendor, CVSS: c.cvss}},
				RedHat:          matchtest.RedHat{Repositories: map[string][]int{"rhel-9-for-x86_64-baseos-rpms": {9}}},
			})
			family := c.family
			if family == "" {
				family = "debian"
			}
			r := find(t, d, inventory.Image{OS: inventory.OS{Family: family, Name: in.version}, Packages: []pkg{in.pkg}})
			if len(r.Matches) != 1 || r.Matches[0].Severity != c.want || r.Matches[0].VendorSeverity != c.word {
				t.Errorf("got %+v, want %s, %q", r.Matches, c.want, c.word)
			}
		})
	}
}

// TestURI: the distribution's page, else who gave the id, else NVD.
func TestURI(t *testing.T) {
	refs := []string{
		"https://errata.almalinux.org/8/ALSA-2024-1111.html", "https://errata.almalinux.org/9/ALSA-2024-2222.html",
		"https://errata.rockylinux.org/RLSA-2024:2222", "https://lists.opensuse.org/archives/x/",
	}
	for _, c := range []struct {
		family, version, bucket, source, id string
		refs                                []string
		pkg                                 pkg
		want, name                          string
	}{
		{"debian", "12", "debian 12", "debian", "CVE-1-1", nil, dpkg("it", "it", "1", "1"), "https://security-tracker.debian.org/tracker/CVE-1-1", "DEBIAN_CVE"},
		{"debian", "12", "debian 12", "debian", "TEMP-1-1", nil, dpkg("it", "it", "1", "1"), "https://security-tracker.debian.org/tracker/TEMP-1-1", "DEBIAN_CVE"},
		{"ubuntu", "24.04", "ubuntu 24.04", "ubuntu", "CVE-1-1", nil, dpkg("it", "it", "1", "1"), "https://ubuntu.com/security/CVE-1-1", "UBUNTU_CVE"},
		{"alpine", "3.20", "alpine 3.20", "alpine", "CVE-1-1", nil, apk("it", "it", "1-r1"), "https://security.alpinelinux.org/vuln/CVE-1-1", "ALPINE_CVE"},
		{"alpine", "3.20", "alpine 3.20", "alpine", "GHSA-1-1", nil, apk("it", "it", "1-r1"), "https://github.com/advisories/GHSA-1-1", "ALPINE_CVE"},
		{"amazon", "2", "amazon linux 2", "amazon", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://alas.aws.amazon.com/cve/html/CVE-1-1.html", "AMAZON_CVE"},
		{"redhat", "9", "Red Hat", "redhat-oval", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://access.redhat.com/security/cve/CVE-1-1", "REDHAT_CVE"},
		{"centos", "9", "Red Hat", "redhat-oval", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://access.redhat.com/security/cve/CVE-1-1", "REDHAT_CVE"},
		{"oracle", "9", "Oracle Linux 9", "oracle-oval", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://linux.oracle.com/cve/CVE-1-1.html", "ORACLE_CVE"},
		{"alma", "9.4", "alma 9", "alma", "CVE-1-1", refs, rpm("it", 0, "1", "1"), "https://errata.almalinux.org/9/ALSA-2024-2222.html", "ALMA_CVE"},
		{"alma", "9.4", "alma 9", "alma", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://nvd.nist.gov/vuln/detail/CVE-1-1", "ALMA_CVE"},
		{"rocky", "9.4", "rocky 9", "rocky", "CVE-1-1", refs, rpm("it", 0, "1", "1"), "https://errata.rockylinux.org/RLSA-2024:2222", "ROCKY_CVE"},
		{"suse linux enterprise server", "15.5", "SUSE Linux Enterprise 15.5", "suse-cvrf", "SUSE-SU-2022:2251-1", nil, rpm("it", 0, "1", "1"), "https://www.suse.com/support/update/announcement/2022/suse-su-20222251-1/", "SUSE_CVE"},
		{"suse linux enterprise server", "15.5", "SUSE Linux Enterprise 15.5", "suse-cvrf", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://www.suse.com/security/cve/CVE-1-1.html", "SUSE_CVE"},
		{"opensuse-leap", "15.6", "openSUSE Leap 15.6", "suse-cvrf", "openSUSE-SU-2024:1-1", refs, rpm("it", 0, "1", "1"), "https://lists.opensuse.org/archives/x/", "SUSE_CVE"},
		{"photon", "5.0", "Photon OS 5.0", "photon", "CVE-1-1", nil, rpm("it", 0, "1", "1"), "https://nvd.nist.gov/vuln/detail/CVE-1-1", "PHOTON_CVE"},
		{"wolfi", "1", "wolfi", "wolfi", "CVE-1-1", nil, apk("it", "it", "1-r1"), "https://images.chainguard.dev/security/CVE-1-1", "WOLFI_CVE"},
		{"chainguard", "1", "chainguard", "chainguard", "CVE-1-1", nil, apk("it", "it", "1-r1"), "https://images.chainguard.dev/security/CVE-1-1", "CHAINGUARD_CVE"},
	} {
		t.Run(c.family+" "+c.id, func(t *testing.T) {
			fixed := "2-1"
			if c.pkg.Type == inventory.Apk {
				fixed = "2-r1"
			}
			d := open(t, matchtest.DB{
				Buckets:         []pack{{Bucket: c.bucket, Source: source(c.source), Advs: []adv{{Pkg: "it", ID: c.id, Fixed: fixed, Products: []int{9}}}}},
				Vulnerabilities: []vuln{{ID: c.id, References: c.refs}},
				RedHat:          matchtest.RedHat{Repositories: map[string][]int{"rhel-9-for-x86_64-baseos-rpms": {9}}},
			})
			r := find(t, d, inventory.Image{OS: inventory.OS{Family: c.family, Name: c.version}, Packages: []pkg{c.pkg}})
			if len(r.Matches) != 1 || r.Matches[0].URI != c.want || r.Matches[0].Source != c.name {
				t.Errorf("got %+v, want %s of %s", r.Matches, c.want, c.name)
			}
		})
	}
}
