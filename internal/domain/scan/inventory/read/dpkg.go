package read

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// thirdParty tells by the Maintainer the packages that are not from Debian or Ubuntu
// but from their makers' own repositories: the list is that of Trivy 0.74, which decides by it, too.
func thirdParty(maintainer string) bool {
	if maintainer == "GitHub" || maintainer == "HashiCorp" {
		return true
	}
	for _, s := range [...]string{
		"support@docker.com", "@nvidia.com", "Google Cloud CLI Authors", "sapmachine@sap.com", "@hashicorp.com", "@microsoft.com",
		"@mongodb.com", "developers@lists.mariadb.org", "dev@couchdb.apache.org", "info@elastic.co",
		"nginx-packaging@f5.com", "@konghq.com", "@cloudflare.com",
		"support@influxdb.com", "support@gitlab.com", "contact@grafana.com", "@datadoghq.com",
		"@nodesource.com", "info@tailscale.com", "@openrobotics.org", "@osrfoundation.org",
	} {
		if strings.Contains(maintainer, s) {
			return true
		}
	}
	return false
}

// control is one paragraph of dpkg's status, of the fields that are needed.
type control struct {
	name, status, version, arch, source, maintainer string
}

// set takes a field.
func (c *control) set(key, value string) {
	switch {
	case strings.EqualFold(key, "Package"):
		c.name = value
	case strings.EqualFold(key, "Status"):
		c.status = value
	case strings.EqualFold(key, "Version"):
		c.version = value
	case strings.EqualFold(key, "Architecture"):
		c.arch = value
	case strings.EqualFold(key, "Source"):
		c.source = value
	case strings.EqualFold(key, "Maintainer"):
		c.maintainer = value
	}
}

// dpkgStatus reads what is installed: paragraphs of "Key: value", with an empty line
// between them.
func (w *walker) dpkgStatus(in *inventory.File, r io.Reader) error {
	s := lines(r)
	var c control
	for s.Scan() {
		line := s.Bytes()
		if len(line) == 0 || line[0] == '\r' {
			if err := w.dpkgAdd(in, &c); err != nil {
				return err
			}
			c = control{}
			continue
		}
		if line[0] == ' ' || line[0] == '\t' { // goes on with the field before
			continue
		}
		// Only these have a key that is looked at; most lines are of other fields.
		switch line[0] | 0x20 {
		case 'p', 's', 'v', 'a', 'm':
			key, value, ok := strings.Cut(string(line), ":")
			if !ok {
				return errors.New("has a line that is no field")
			}
			c.set(key, strings.TrimSpace(value))
		}
	}
	if err := w.dpkgAdd(in, &c); err != nil {
		return err
	}
	return scanned(s)
}

// dpkgAdd adds the package of a paragraph if it is installed. What was unpacked and not
// yet configured is there, too; of removed ones only configuration is.
func (w *walker) dpkgAdd(in *inventory.File, c *control) error {
	if c.name == "" {
		return nil
	}
	if f := strings.Fields(c.status); len(f) == 3 && (f[2] == "not-installed" || f[2] == "config-files") {
		return nil
	}
	p := inventory.Package{Type: inventory.Dpkg, Name: c.name, Arch: c.arch, Maintainer: c.maintainer, ThirdParty: thirdParty(c.maintainer)}
	var ok bool
	if p.Epoch, p.Version, p.Release, ok = debVersion(c.version); !ok {
		return nil
	}
	// "Source: glibc (2.36-9)" where name or version are not the package's own.
	name, rest, _ := strings.Cut(c.source, " ")
	version := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(rest), "("), ")")
	if name == "" {
		name = c.name
	}
	if version == "" {
		version = c.version
	}
	p.SrcName = name
	if p.SrcEpoch, p.SrcVersion, p.SrcRelease, ok = debVersion(version); !ok {
		return nil
	}
	return w.add(in, p)
}

// debVersion splits [epoch:]upstream[-revision] as deb-version(7) has it.
func debVersion(s string) (epoch int, upstream, revision string, ok bool) {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		n, err := strconv.ParseInt(s[:i], 10, 32)
		if err != nil || n < 0 {
			return 0, "", "", false
		}
		epoch, s = int(n), s[i+1:]
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		s, revision = s[:i], s[i+1:]
	}
	for _, part := range [...]string{s, revision} {
		for i := range len(part) {
			c := part[i]
			switch {
			case c >= '0' && c <= '9', c|0x20 >= 'a' && c|0x20 <= 'z', strings.IndexByte(".+-:~_", c) >= 0:
			default:
				return 0, "", "", false
			}
		}
	}
	return epoch, s, revision, s != ""
}

// dpkgList reads which files a package owns: a path on each line.
func (w *walker) dpkgList(in *inventory.File, r io.Reader) error {
	s := lines(r)
	for s.Scan() {
		if line := s.Bytes(); len(line) > 1 && line[0] == '/' {
			w.own(in, string(line[1:]))
		}
	}
	return scanned(s)
}

// dpkgSums reads the same where images leave the lists out: a sum, two spaces, a path.
func (w *walker) dpkgSums(in *inventory.File, r io.Reader) error {
	s := lines(r)
	for s.Scan() {
		if _, p, ok := strings.Cut(s.Text(), "  "); ok {
			w.own(in, clean(p))
		}
	}
	return scanned(s)
}
