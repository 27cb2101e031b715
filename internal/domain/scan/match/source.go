package match

import (
	"strings"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	vs "github.com/aquasecurity/trivy-db/pkg/vulnsrc/vulnerability"
	osver "github.com/aquasecurity/trivy/pkg/detector/ospkg/version"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// sourceOf is whose word counts for a hit. Red Hat's advisories come without a source.
func sourceOf(v types.DetectedVulnerability, p inventory.Package, os inventory.OS) dbtypes.SourceID {
	if src := dataSource(v); src != "" && src != vs.RedHatOVAL {
		return src
	}
	if !p.Type.Distribution() {
		return ""
	}
	switch system(os).Family {
	case ftypes.RedHat, ftypes.CentOS:
		return vs.RedHat
	case ftypes.Debian:
		return vs.Debian
	case ftypes.Ubuntu:
		return vs.Ubuntu
	case ftypes.Alpine:
		return vs.Alpine
	case ftypes.Amazon:
		return vs.Amazon
	case ftypes.Alma:
		return vs.Alma
	case ftypes.Rocky:
		return vs.Rocky
	case ftypes.Oracle:
		return vs.OracleOVAL
	case ftypes.SLES, ftypes.SLEMicro, ftypes.OpenSUSELeap, ftypes.OpenSUSETumbleweed:
		return vs.SuseCVRF
	case ftypes.Photon:
		return vs.Photon
	case ftypes.Wolfi:
		return vs.Wolfi
	case ftypes.Chainguard:
		return vs.Chainguard
	case ftypes.Azure:
		return vs.AzureLinux
	case ftypes.CBLMariner:
		return vs.CBLMariner
	}
	return ""
}

// sourceName is Inspector's form of a source. NVD, DEBIAN_CVE, UBUNTU_CVE, REDHAT_CVE and
// AMAZON_CVE are what it is known to write; the others are made alike.
func sourceName(src dbtypes.SourceID) string {
	switch src {
	case "":
		return ""
	case vs.NVD:
		return "NVD"
	case vs.GHSA:
		return "GITHUB"
	case vs.GLAD:
		return "GITLAB"
	case vs.RedHat, vs.RedHatOVAL, vs.RedHatCSAFVEX, vs.CentOS:
		return "REDHAT_CVE"
	case vs.OracleOVAL:
		return "ORACLE_CVE"
	case vs.SuseCVRF:
		return "SUSE_CVE"
	case vs.AzureLinux, vs.CBLMariner:
		return "AZURE_CVE"
	case vs.Debian, vs.Ubuntu, vs.Alpine, vs.Amazon, vs.Alma, vs.Rocky, vs.Photon, vs.Wolfi, vs.Chainguard,
		vs.Fedora, vs.ArchLinux, vs.Bottlerocket:
		return strings.ToUpper(strings.ReplaceAll(string(src), "-", "_")) + "_CVE"
	}
	return strings.ToUpper(strings.ReplaceAll(string(src), "-", "_"))
}

// uri is the page about a vulnerability: the distribution's own, as far as it has one
// for each, else that of who gave it its id, else NVD's.
func uri(v types.DetectedVulnerability, src dbtypes.SourceID, os inventory.OS, references []string) string {
	id := v.VulnerabilityID
	cve := strings.HasPrefix(id, "CVE-")
	switch src {
	case vs.Debian:
		return "https://security-tracker.debian.org/tracker/" + id
	case vs.SuseCVRF:
		if !cve {
			return suse(id, references)
		}
		return "https://www.suse.com/security/cve/" + id + ".html"
	case vs.Alma:
		if r := reference(references, "https://errata.almalinux.org/"+osver.Major(os.Name)+"/"); r != "" {
			return r
		}
	case vs.Rocky:
		if r := reference(references, "https://errata.rockylinux.org/"); r != "" {
			return r
		}
	case vs.Wolfi, vs.Chainguard:
		if cve || strings.HasPrefix(id, "CGA-") {
			return "https://images.chainguard.dev/security/" + id
		}
	case vs.GHSA:
		for _, vendor := range v.VendorIDs {
			if strings.HasPrefix(vendor, "GHSA-") {
				return "https://github.com/advisories/" + vendor
			}
		}
	}
	if cve {
		switch src {
		case vs.Ubuntu:
			return "https://ubuntu.com/security/" + id
		case vs.Alpine:
			return "https://security.alpinelinux.org/vuln/" + id
		case vs.Amazon:
			return "https://alas.aws.amazon.com/cve/html/" + id + ".html"
		case vs.RedHat:
			return "https://access.redhat.com/security/cve/" + id
		case vs.OracleOVAL:
			return "https://linux.oracle.com/cve/" + id + ".html"
		}
		return "https://nvd.nist.gov/vuln/detail/" + id
	}
	return byID(id, references)
}

// byID is the page of who gave out an id that is no CVE's.
func byID(id string, references []string) string {
	prefix, _, _ := strings.Cut(id, "-")
	switch prefix {
	case "GHSA":
		return "https://github.com/advisories/" + id
	case "RUSTSEC":
		return "https://rustsec.org/advisories/" + id + ".html"
	case "GO":
		return "https://pkg.go.dev/vuln/" + id
	case "TEMP":
		return "https://security-tracker.debian.org/tracker/" + id
	case "PYSEC", "OSV", "MAL":
		return "https://osv.dev/vulnerability/" + id
	}
	return reference(references, "https://")
}

// suse is the announcement that a SUSE advisory is: "SUSE-SU-2022:2251-1" is written
// "2022/suse-su-20222251-1" there; openSUSE's of their own are on a mailing list, which the
// references name.
func suse(id string, references []string) string {
	for _, prefix := range []string{"https://www.suse.com/support/update/announcement/", "https://lists.opensuse.org/"} {
		if r := reference(references, prefix); r != "" {
			return r
		}
	}
	if rest, ok := strings.CutPrefix(id, "SUSE-SU-"); ok {
		if year, number, ok := strings.Cut(rest, ":"); ok {
			return "https://www.suse.com/support/update/announcement/" + year + "/suse-su-" + year + number + "/"
		}
	}
	return reference(references, "https://")
}

// reference is the first that begins so, "" if none does.
func reference(references []string, prefix string) string {
	for _, r := range references {
		if strings.HasPrefix(r, prefix) {
			return r
		}
	}
	return ""
}
