package inventory

import "strings"

// UbuntuPro is the file that says whether Ubuntu's Expanded Security Maintenance is
// on. It names no version.
const UbuntuPro = "var/lib/ubuntu-advantage/status.json"

// OSRelease says whether the path is one at which os-release stands.
func OSRelease(path string) bool { return path == "etc/os-release" || path == "usr/lib/os-release" }

// rank orders release files by how well they know. Distributions that were made from another
// one keep its files: Oracle, Rocky and Alma have redhat-release, Ubuntu has debian_version. And a
// distribution's own file has the point release that os-release lacks.
func rank(path string, os OS) int {
	switch path {
	case "etc/oracle-release", "etc/rocky-release", "etc/almalinux-release", "etc/centos-release",
		"etc/system-release", "usr/lib/system-release", "etc/SuSE-release":
		return 1
	case "etc/lsb-release":
		return 3
	case "etc/alpine-release":
		return 4
	case "etc/fedora-release", "usr/lib/fedora-release":
		return 5
	case "etc/redhat-release":
		return 6
	case "etc/debian_version":
		return 7
	}
	if os.Family == "debian" { // os-release, which has "12" where debian_version has "12.15"
		return 8
	}
	return 2
}

func pickOS(files map[string]standing, paths []string) OS {
	var best OS
	bestRank := -1
	for _, p := range paths { // sorted, so etc comes before usr
		os := files[p].file.OS
		if os == nil || p == UbuntuPro {
			continue
		}
		if r := rank(p, *os); bestRank < 0 || r < bestRank {
			best, bestRank = *os, r
		}
	}
	for _, p := range paths {
		os := files[p].file.OS
		if os == nil {
			continue
		}
		if p == UbuntuPro && os.Extended && best.Family == "ubuntu" {
			best.Extended = true
		}
		if OSRelease(p) && strings.TrimSuffix(os.Family, "-stream") == strings.TrimSuffix(best.Family, "-stream") {
			if best.Pretty == "" {
				best.Pretty = os.Pretty
			}
			if best.CPE == "" {
				best.CPE = os.CPE
			}
		}
	}
	return best
}
