package finding

import (
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// Platform is Inspector's word for a distribution: DEBIAN_12, UBUNTU_22_04,
// AMAZON_LINUX_2, ALPINE_LINUX_3_20. It is "" where there is none. Those for distributions that
// Inspector does not know are made alike.
func Platform(os inventory.OS) string {
	word, parts := "", 0 // parts of the version that count
	switch os.Family {
	case "":
		return ""
	case "alpine":
		word, parts = "ALPINE_LINUX", 2
	case "amazon":
		return amazon(os.Name)
	case "debian":
		word, parts = "DEBIAN", 1
	case "ubuntu":
		word, parts = "UBUNTU", 2
	case "redhat":
		word, parts = "REDHAT", 1
	case "centos":
		word, parts = "CENTOS", 1
	case "rocky":
		word, parts = "ROCKY_LINUX", 1
	case "alma":
		word, parts = "ALMALINUX", 1
	case "oracle":
		word, parts = "ORACLE_LINUX", 1
	case "fedora":
		word, parts = "FEDORA", 1
	case "opensuse", "opensuse-leap":
		word, parts = "OPENSUSE_LEAP", 2
	case "opensuse-tumbleweed":
		return "OPENSUSE_TUMBLEWEED"
	case "suse linux enterprise server", "sles":
		word, parts = "SUSE_SERVER", 2
	case "photon":
		word, parts = "PHOTON", 2
	case "wolfi", "chainguard":
		return strings.ToUpper(os.Family)
	default:
		word, parts = strings.ToUpper(os.Family), 2
	}
	version := strings.Split(strings.TrimSuffix(os.Name, "-ESM"), ".")
	return platformWord(strings.Join(append([]string{word}, version[:min(parts, len(version))]...), "_"))
}

// amazon: "2 (Karoo)", "2023.5.20240708", and "2018.03" of the first one, which has no number.
func amazon(version string) string {
	first, _, _ := strings.Cut(version, " ")
	first, _, _ = strings.Cut(first, ".")
	switch first {
	case "2", "2022", "2023":
		return "AMAZON_LINUX_" + first
	}
	return "AMAZON_LINUX"
}

// platformWord leaves only what such a word consists of.
func platformWord(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		}
		return '_'
	}, s)
	return strings.TrimRight(s, "_")
}
