package sbom

import (
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// distribution is what package URLs call a distribution: the vendor, which is the
// namespace, and the word of its release file (ID), which stands in the qualifier distro.
type distribution struct{ vendor, id string }

// distributions are those whose words are not the inventory's own.
var distributions = map[string]distribution{
	"redhat":                       {"redhat", "rhel"},
	"amazon":                       {"amazon", "amzn"},
	"alma":                         {"almalinux", "almalinux"},
	"oracle":                       {"oracle", "ol"},
	"opensuse":                     {"opensuse", "opensuse"},
	"opensuse-leap":                {"opensuse", "opensuse-leap"},
	"opensuse-tumbleweed":          {"opensuse", "opensuse-tumbleweed"},
	"suse linux enterprise server": {"suse", "sles"},
	"suse linux enterprise micro":  {"suse", "sle-micro"},
	"cbl-mariner":                  {"mariner", "mariner"},
}

func distributionOf(os inventory.OS) distribution {
	if d, ok := distributions[os.Family]; ok {
		return d
	}
	word := strings.ReplaceAll(os.Family, " ", "-")
	return distribution{word, word}
}

// release is the qualifier distro, "debian-12.15"; "" where the distribution is not known.
func release(os inventory.OS) string {
	id := distributionOf(os).id
	version, _, _ := strings.Cut(os.Name, " ") // "2 (Karoo)"
	if id == "" || version == "" {
		return id
	}
	return id + "-" + version
}

// PURL is the package URL of a package (the purl specification with its types): of a
// distribution's package with the distribution of the image, of a language's without.
// It is "" for a package without a name.
func PURL(p inventory.Package, os inventory.OS) string {
	u := purl{name: p.Name, version: p.Version}
	switch p.Type {
	case inventory.Dpkg:
		u.kind, u.namespace, u.version = "deb", or(distributionOf(os).vendor, "debian"), p.FullVersion()
		u.name = strings.ToLower(u.name)
		u.qualify("arch", p.Arch)
		u.qualify("distro", release(os))
	case inventory.Apk:
		u.kind, u.namespace, u.version = "apk", or(distributionOf(os).vendor, "alpine"), p.FullVersion()
		u.name = strings.ToLower(u.name)
		u.qualify("arch", p.Arch)
		u.qualify("distro", release(os))
	case inventory.RPM:
		// The epoch stands beside the version, as the specification has it for rpm alone.
		u.kind, u.namespace = "rpm", distributionOf(os).vendor
		if p.Release != "" {
			u.version += "-" + p.Release
		}
		u.qualify("arch", p.Arch)
		u.qualify("distro", release(os))
		if p.Epoch != 0 {
			u.qualify("epoch", strconv.Itoa(p.Epoch))
		}
		u.qualify("rpmmod", p.Modularity)
	case inventory.GoBinary:
		u.kind = "golang"
		u.split(strings.ToLower(p.Name))
	case inventory.Jar:
		u.kind = "maven"
		if group, artifact, ok := strings.Cut(p.Name, ":"); ok {
			u.namespace, u.name = group, artifact
		}
	case inventory.NodePkg, inventory.Npm, inventory.Yarn, inventory.Pnpm:
		u.kind = "npm"
		u.split(strings.ToLower(p.Name))
	case inventory.PythonPkg, inventory.Pip, inventory.Poetry, inventory.Pipenv:
		u.kind, u.name = "pypi", strings.ReplaceAll(strings.ToLower(p.Name), "_", "-")
	case inventory.GemSpec, inventory.Bundler:
		u.kind = "gem"
	case inventory.RustBinary, inventory.Cargo:
		u.kind = "cargo"
	case inventory.Composer, inventory.ComposerV:
		u.kind = "composer"
		u.split(strings.ToLower(p.Name))
	case inventory.DotNetCore, inventory.NuGet:
		u.kind = "nuget"
	default:
		u.kind = "generic"
	}
	return u.String()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// imagePURL is the package URL of the image itself.
func imagePURL(s Subject, architecture string) string {
	u := purl{kind: "oci", version: string(s.Digest)}
	u.name = strings.ToLower(string(s.Repository))
	u.name = u.name[strings.LastIndexByte(u.name, '/')+1:]
	u.qualify("arch", architecture)
	u.qualify("repository_url", s.location())
	if len(s.Tags) > 0 {
		u.qualify("tag", string(s.Tags[0]))
	}
	return u.String()
}

// purl is a package URL in its parts, none of them encoded.
type purl struct {
	kind, namespace, name, version string
	// qualifiers stand in the order of their keys, which is the order of the calls
	// of qualify.
	qualifiers []string
}

// split puts what stands before the last slash into the namespace.
func (u *purl) split(path string) {
	path = strings.Trim(path, "/")
	i := strings.LastIndexByte(path, '/')
	u.namespace, u.name = path[:max(i, 0)], path[i+1:]
}

// qualify adds a qualifier; keys come in ascending order. An empty value is none.
func (u *purl) qualify(key, value string) {
	if value != "" {
		u.qualifiers = append(u.qualifiers, key+"="+escape(value, true))
	}
}

// String is the canonical form.
func (u *purl) String() string {
	if u.name == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString("pkg:" + u.kind)
	for segment := range strings.SplitSeq(u.namespace, "/") {
		if segment != "" {
			b.WriteString("/" + escape(segment, false))
		}
	}
	b.WriteString("/" + escape(u.name, false))
	if u.version != "" {
		b.WriteString("@" + escape(u.version, false))
	}
	if len(u.qualifiers) > 0 {
		b.WriteString("?" + strings.Join(u.qualifiers, "&"))
	}
	return b.String()
}

// escape percent-encodes everything but what the specification leaves as it is: letters,
// digits, ".-_~" and the colon; in the values of qualifiers also the slash.
func escape(s string, qualifier bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(".-_~:", c) >= 0, qualifier && c == '/':
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}
