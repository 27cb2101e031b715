// Package inventory says what software an image holds: its distribution, the packages
// of the distribution's package manager, and those of languages.
//
// It owns the types, which are stored by layer, and how layers are put together to an
// image, which is pure. It does not read layers (inventory/read does, in a process of its own), nor
// does it know vulnerabilities (scan/match).
package inventory

import "github.com/berth-registry/berth/internal/domain/name"

// Version is the version of what readers write: a layer that was read with another
// one is read again.
const Version = 1

// Layer is what one layer brings, and what it hides of the layers below.
type Layer struct {
	// Version is the Version of the reader.
	Version int `json:"version"`
	// DiffID is the digest of the plain tar archive, as the image's configuration names it.
	DiffID name.Digest `json:"diffId"`
	// Size is the length of the plain tar archive in bytes, Entries how many it has.
	Size    int64 `json:"size"`
	Entries int64 `json:"entries"`
	// Files are those that tell of software, by path.
	Files []File `json:"files,omitempty"`
	// Whiteouts are paths that the layer removes, Opaque directories whose former
	// content it removes.
	Whiteouts []string `json:"whiteouts,omitempty"`
	Opaque    []string `json:"opaque,omitempty"`
	// Hides has eight bytes for each path that the layer puts something at: the Hash of
	// the path where it is no directory, the Hash of the path and a slash where it is one (or has
	// to be, as something lies in it). They are in ascending order, big-endian, and stand in JSON as base64.
	Hides []byte `json:"hides,omitempty"`
	// Skipped are files that tell of software and could not be read, in a layer that is
	// good apart from them; the first hundred.
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Skipped is a file that could not be read, and why in plain words.
type Skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// File is a file that tells of software.
type File struct {
	// Path is clean and relative to the root: "var/lib/dpkg/status".
	Path string `json:"path"`
	// OS is what a release file says.
	OS *OS `json:"os,omitempty"`
	// Packages are those that the file tells of.
	Packages []Package `json:"packages,omitempty"`
	// ContentSets and Build come from Red Hat's manifests (root/buildinfo, usr/share/buildinfo).
	ContentSets []string `json:"contentSets,omitempty"`
	Build       *Build   `json:"build,omitempty"`
	// AlpineRepository is the release of the repositories that apk is set up with ("3.20", "edge").
	AlpineRepository string `json:"alpineRepository,omitempty"`
	// Installed are files that the distribution's packages own and that would be
	// taken for packages of languages otherwise.
	Installed []string `json:"installed,omitempty"`
}

// OS is a distribution. Family has the words of Trivy 0.74: alpine, amazon, debian, ubuntu,
// redhat (UBI too), centos, centos-stream, rocky, alma, oracle, fedora, sles, slem (SLE Micro), opensuse-leap,
// opensuse-tumbleweed, photon, wolfi, chainguard, cbl-mariner, azurelinux, bottlerocket, echo, minimos,
// coreos, and none ("") where no release file says one. There are no detectors for centos-stream and fedora.
type OS struct {
	Family string `json:"family"`
	// Name is its version as the detectors of Trivy take it: "12.15", "3.20.3", "2 (Karoo)",
	// "2023 (Amazon Linux)", "AMI release 2018.03". It is never "" where Family is not, but for
	// the rolling wolfi, chainguard and opensuse-tumbleweed.
	Name string `json:"name"`
	// Extended: Ubuntu's with Expanded Security Maintenance.
	Extended bool `json:"extended,omitempty"`
	// Pretty is PRETTY_NAME of os-release, for people; CPE is its CPE_NAME.
	Pretty string `json:"pretty,omitempty"`
	CPE    string `json:"cpe,omitempty"`
}

// Build is how Red Hat built a layer.
type Build struct {
	NVR  string `json:"nvr,omitempty"`
	Arch string `json:"arch,omitempty"`
}

// Type says which package manager a package is of. The words are Trivy's.
type Type string

// The types: the distributions' package managers, then languages.
const (
	Dpkg Type = "dpkg"
	Apk  Type = "apk"
	RPM  Type = "rpm"

	GoBinary   Type = "gobinary"
	Jar        Type = "jar"
	NodePkg    Type = "node-pkg"
	Npm        Type = "npm"
	Yarn       Type = "yarn"
	Pnpm       Type = "pnpm"
	PythonPkg  Type = "python-pkg"
	Pip        Type = "pip"
	Poetry     Type = "poetry"
	Pipenv     Type = "pipenv"
	GemSpec    Type = "gemspec"
	Bundler    Type = "bundler"
	RustBinary Type = "rustbinary"
	Cargo      Type = "cargo"
	Composer   Type = "composer"
	ComposerV  Type = "composer-vendor"
	DotNetCore Type = "dotnet-core"
	NuGet      Type = "nuget"
)

// Distribution says whether the type is a distribution's package manager.
func (t Type) Distribution() bool { return t == Dpkg || t == Apk || t == RPM }

// Package is one package that is installed.
type Package struct {
	Type Type   `json:"type"`
	Name string `json:"name"`
	// Version is the upstream version; with Epoch and Release where the package manager
	// has them. A language's package has Version alone.
	Version string `json:"version"`
	Release string `json:"release,omitempty"`
	Epoch   int    `json:"epoch,omitempty"`
	Arch    string `json:"arch,omitempty"`
	// Src is the source package, by which most distributions publish.
	SrcName    string `json:"srcName,omitempty"`
	SrcVersion string `json:"srcVersion,omitempty"`
	SrcRelease string `json:"srcRelease,omitempty"`
	SrcEpoch   int    `json:"srcEpoch,omitempty"`
	// Modularity is RPM's module, "nodejs:18:...".
	Modularity string `json:"modularity,omitempty"`
	Maintainer string `json:"maintainer,omitempty"` // RPM: the vendor
	// ThirdParty says that the package is not from the distribution itself (Trivy's repository class).
	ThirdParty bool `json:"thirdParty,omitempty"`
	// Licenses are as the package manager writes them; an apk's or RPM's is one
	// expression ("MIT AND BSD-2-Clause").
	Licenses []string `json:"licenses,omitempty"`
	// Path is where a language's package was found; in an archive within an archive,
	// "app.jar/lib/inner.jar". It is "" for the distribution's packages.
	Path string `json:"path,omitempty"`
	// Dev says that it is a dependency for development only.
	Dev bool `json:"dev,omitempty"`
	// Digest is of the file, "sha1:...", where the format has it.
	Digest string `json:"digest,omitempty"`
	// Layer is the digest of the layer that brought the package into its present form,
	// DiffID that of its plain archive. Merge fills them.
	Layer  name.Digest `json:"layer,omitempty"`
	DiffID name.Digest `json:"diffId,omitempty"`
	// ContentSets and Build are those of the Red Hat layer; Merge fills them.
	ContentSets []string `json:"contentSets,omitempty"`
	Build       *Build   `json:"build,omitempty"`
}

// FullVersion is the version as the package manager writes it: [epoch:]version[-release].
func (p Package) FullVersion() string { return fullVersion(p.Epoch, p.Version, p.Release) }

// SrcFullVersion is that of the source package.
func (p Package) SrcFullVersion() string { return fullVersion(p.SrcEpoch, p.SrcVersion, p.SrcRelease) }

// Image is what an image holds.
type Image struct {
	OS OS `json:"os"`
	// AlpineRepository is the release of Alpine's repositories, "" where it is not told.
	AlpineRepository string `json:"alpineRepository,omitempty"`
	// Packages are in the order of type, name, version, path.
	Packages []Package `json:"packages,omitempty"`
	// Unreadable is a list of the distribution's packages that could not be read: what is told
	// of the image is not all. nil for none.
	Unreadable *Skipped `json:"unreadable,omitempty"`
	// Architecture and Platform are those of the image's configuration: "amd64", "linux".
	Architecture string `json:"architecture,omitempty"`
	Platform     string `json:"platform,omitempty"`
}
