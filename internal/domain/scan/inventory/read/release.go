package read

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// smallMax bounds files that are a few lines, or some JSON.
const smallMax = 4 << 20

// redhatRE is the line that Red Hat and its kin write: "Rocky Linux release 9.3 (Blue Onyx)".
var redhatRE = regexp.MustCompile(`^(.*) release (\d[\d.]*)`)

// release reads a release file. One that says nothing of a known distribution is nil.
func release(path string, r io.Reader) (*inventory.OS, error) {
	s := lines(io.LimitReader(r, smallMax))
	os := inventory.OS{}
	switch base := path[strings.LastIndexByte(path, '/')+1:]; base {
	case "os-release":
		os = osRelease(pairs(s))
	case "alpine-release":
		os = inventory.OS{Family: "alpine", Name: firstLine(s)}
	case "debian_version":
		os = inventory.OS{Family: "debian", Name: firstLine(s)}
	case "lsb-release":
		if v := pairs(s); v["DISTRIB_ID"] == "Ubuntu" {
			os = inventory.OS{Family: "ubuntu", Name: v["DISTRIB_RELEASE"]}
		}
	case "SuSE-release":
		os = suseRelease(s)
	case "system-release":
		os = amazonRelease(firstLine(s))
	default:
		os = redhatRelease(base, firstLine(s))
	}
	if err := scanned(s); err != nil {
		return nil, err
	}
	os.Name = strings.TrimSpace(os.Name)
	switch os.Family {
	case "":
		return nil, nil //nolint:nilnil // no distribution that is known, and no failure
	case "wolfi", "chainguard", "opensuse-tumbleweed":
	default:
		if os.Name == "" { // detectors rely on one
			return nil, nil //nolint:nilnil // as above
		}
	}
	for _, s := range [...]*string{&os.Name, &os.Pretty, &os.CPE} {
		if len(*s) > nameMax {
			return nil, errors.New("has values that are too long for a release file")
		}
		*s = words(*s)
	}
	return &os, nil
}

// family is a word of os-release's ID, in Trivy's words. Rebrands of SLE Micro are one.
func family(id, name string) string {
	switch id {
	case "alpine", "debian", "ubuntu", "rocky", "fedora", "photon", "wolfi", "chainguard", "azurelinux",
		"opensuse-tumbleweed", "opensuse-leap", "sles", "bottlerocket", "echo", "minimos", "coreos":
		return id
	case "rhel":
		return "redhat"
	case "centos":
		if name == "CentOS Stream" {
			return "centos-stream"
		}
		return "centos"
	case "almalinux":
		return "alma"
	case "ol":
		return "oracle"
	case "amzn":
		return "amazon"
	case "mariner":
		return "cbl-mariner"
	case "opensuse": // Leap 42
		return "opensuse-leap"
	case "sles_sap":
		return "sles"
	case "sle-micro", "sl-micro", "sle-micro-rancher":
		return "slem"
	}
	return ""
}

func osRelease(v map[string]string) inventory.OS {
	os := inventory.OS{Family: family(v["ID"], v["NAME"]), Name: v["VERSION_ID"], Pretty: v["PRETTY_NAME"], CPE: v["CPE_NAME"]}
	if os.Family == "amazon" && os.Name != "" {
		// As system-release has it, which images without it lack.
		switch major, _, _ := strings.Cut(os.Name, "."); major {
		case "2":
			os.Name = "2 (Karoo)"
		case "2018", "2017", "2016", "2015", "2014", "2013", "2012", "2011":
			os.Name = "AMI release " + os.Name
		default:
			os.Name += " (Amazon Linux)"
		}
	}
	return os
}

// amazonRelease reads "Amazon Linux release 2 (Karoo)" and "Amazon Linux AMI release 2018.03".
// In other distributions the file says what redhat-release says.
func amazonRelease(line string) inventory.OS {
	rest, ok := strings.CutPrefix(line, "Amazon Linux ")
	if !ok {
		return inventory.OS{}
	}
	if v, ok := strings.CutPrefix(rest, "release "); ok {
		rest = v
	}
	if !strings.ContainsAny(rest, "0123456789") {
		return inventory.OS{}
	}
	return inventory.OS{Family: "amazon", Name: strings.Join(strings.Fields(rest), " ")}
}

func redhatRelease(base, line string) inventory.OS {
	m := redhatRE.FindStringSubmatch(line)
	if m == nil {
		return inventory.OS{}
	}
	os := inventory.OS{Name: m[2]}
	switch strings.ToLower(m[1]) {
	case "centos", "centos linux":
		os.Family = "centos"
	case "centos stream":
		os.Family = "centos-stream"
	case "rocky", "rocky linux":
		os.Family = "rocky"
	case "alma", "almalinux", "alma linux":
		os.Family = "alma"
	case "oracle", "oracle linux", "oracle linux server":
		os.Family = "oracle"
	case "fedora", "fedora linux":
		os.Family = "fedora"
	default:
		switch base {
		case "oracle-release":
			os.Family = "oracle"
		case "redhat-release":
			os.Family = "redhat"
		}
	}
	return os
}

// suseRelease reads the file of SLES 11 and openSUSE 13, which have no os-release:
// "SUSE Linux Enterprise Server 11 (x86_64)", "VERSION = 11", "PATCHLEVEL = 4".
func suseRelease(s interface {
	Scan() bool
	Text() string
}) inventory.OS {
	if !s.Scan() {
		return inventory.OS{}
	}
	first := s.Text()
	var version, patch string
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), "=")
		switch strings.TrimSpace(key) {
		case "VERSION":
			version = strings.TrimSpace(value)
		case "PATCHLEVEL":
			patch = strings.TrimSpace(value)
		}
	}
	switch {
	case strings.HasPrefix(first, "SUSE Linux Enterprise Server"):
		if patch != "" && patch != "0" && !strings.Contains(version, ".") {
			version += "." + patch
		}
		return inventory.OS{Family: "sles", Name: version}
	case strings.HasPrefix(first, "openSUSE"):
		return inventory.OS{Family: "opensuse-leap", Name: version}
	}
	return inventory.OS{}
}

// pairs reads KEY=value, with or without quotes.
func pairs(s interface {
	Scan() bool
	Text() string
}) map[string]string {
	v := map[string]string{}
	for s.Scan() {
		key, value, ok := strings.Cut(s.Text(), "=")
		if ok && len(v) < 1000 {
			v[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return v
}

func firstLine(s interface {
	Scan() bool
	Text() string
}) string {
	if !s.Scan() {
		return ""
	}
	return strings.TrimSpace(s.Text())
}

// ubuntuPro reads whether Expanded Security Maintenance is on.
func ubuntuPro(r io.Reader) (*inventory.OS, error) {
	var status struct {
		Services []struct{ Name, Status string }
	}
	if err := json.NewDecoder(io.LimitReader(r, smallMax)).Decode(&status); err != nil {
		return nil, errors.New("is not the JSON it should be")
	}
	for _, s := range status.Services {
		if s.Name == "esm-infra" && s.Status == "enabled" {
			return &inventory.OS{Family: "ubuntu", Extended: true}, nil
		}
	}
	return nil, nil //nolint:nilnil // it is off, which says nothing
}

// repositoryRE is an address of a repository: https://dl-cdn.alpinelinux.org/alpine/v3.20/main.
var repositoryRE = regexp.MustCompile(`(?:https?|ftp)://[0-9A-Za-z.-]+/([A-Za-z]+)/v?([0-9A-Za-z_.-]+)/`)

// alpineRepository is the latest release of Alpine's repositories that a file names; ""
// where it names another distribution's.
func alpineRepository(r io.Reader) (string, error) {
	s := lines(io.LimitReader(r, smallMax))
	best := ""
	for s.Scan() {
		m := repositoryRE.FindStringSubmatch(s.Text())
		if m == nil || strings.HasPrefix(strings.TrimSpace(s.Text()), "#") {
			continue
		}
		if m[1] != "alpine" {
			return "", nil
		}
		switch {
		case len(m[2]) > nameMax:
		case best == "", m[2] == "edge", best != "edge" && later(m[2], best):
			best = m[2]
		}
	}
	return best, scanned(s)
}

// later compares "3.20" with "3.9".
func later(a, b string) bool {
	for a != "" || b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		m, errM := strconv.Atoi(x)
		n, errN := strconv.Atoi(y)
		switch {
		case errM != nil && x != "", errN != nil && y != "":
			return false // "latest-stable" and the like, which have no order
		case m != n:
			return m > n
		}
	}
	return false
}
