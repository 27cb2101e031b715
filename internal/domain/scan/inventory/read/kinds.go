package read

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/language"
)

// kind says how a file is read.
type kind int

const (
	kindNone kind = iota
	kindRelease
	kindUbuntuPro
	kindRepositories
	kindDpkgStatus
	kindDpkgOne  // status of one package, in distroless images
	kindDpkgList // the files of one package
	kindDpkgSums // the same, in distroless images
	kindApk
	kindRPM
	kindRPMManifest
	kindContentManifest
	kindDockerfile
	kindLabels
	kindLanguage
)

// kindOf tells a file by its path; dir and base are its parts.
func kindOf(p, dir, base string) kind {
	switch dir {
	case "etc":
		switch base {
		case "os-release", "alpine-release", "debian_version", "redhat-release", "centos-release", "oracle-release",
			"rocky-release", "almalinux-release", "fedora-release", "system-release", "SuSE-release", "lsb-release":
			return kindRelease
		}
	case "usr/lib":
		switch base {
		case "os-release", "system-release", "fedora-release":
			return kindRelease
		}
	case "etc/apk":
		if base == "repositories" {
			return kindRepositories
		}
	case "var/lib/dpkg":
		if base == "status" {
			return kindDpkgStatus
		}
	case "var/lib/dpkg/status.d":
		if strings.HasSuffix(base, ".md5sums") {
			return kindDpkgSums
		}
		return kindDpkgOne
	case "var/lib/dpkg/info":
		if strings.HasSuffix(base, ".list") {
			return kindDpkgList
		}
	case "lib/apk/db", "usr/lib/apk/db":
		if base == "installed" {
			return kindApk
		}
	case "var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm":
		switch base {
		case "Packages", "Packages.db", "rpmdb.sqlite":
			return kindRPM
		}
	case "var/lib/rpmmanifest":
		if base == "container-manifest-2" {
			return kindRPMManifest
		}
	case "root/buildinfo/content_manifests":
		if strings.HasSuffix(base, ".json") {
			return kindContentManifest
		}
	case "root/buildinfo":
		if strings.HasPrefix(base, "Dockerfile") {
			return kindDockerfile
		}
		if base == "labels.json" {
			return kindLabels
		}
	case "usr/share/buildinfo":
		if base == "labels.json" {
			return kindLabels
		}
		if strings.HasSuffix(base, ".json") {
			return kindContentManifest
		}
	}
	if p == inventory.UbuntuPro {
		return kindUbuntuPro
	}
	return kindNone
}

// parse fills k from its content. An error is of this file alone; what was read before
// it stands.
func (w *walker) parse(ctx context.Context, k *keptFile, f language.File, content language.Reader) (err error) {
	defer func() {
		if x := recover(); x != nil { // a parser met what it had not thought of
			k.file = inventory.File{Path: k.file.Path}
			err = fmt.Errorf("cannot be read: %v", x)
		}
	}()
	in := &k.file
	switch k.kind {
	case kindRelease:
		in.OS, err = release(in.Path, content)
	case kindUbuntuPro:
		in.OS, err = ubuntuPro(content)
	case kindRepositories:
		in.AlpineRepository, err = alpineRepository(content)
	case kindDpkgStatus, kindDpkgOne:
		err = w.dpkgStatus(in, content)
	case kindDpkgList:
		err = w.dpkgList(in, content)
	case kindDpkgSums:
		err = w.dpkgSums(in, content)
	case kindApk:
		err = w.apk(in, content)
	case kindRPM:
		err = w.rpm(ctx, in, content, f.Size)
	case kindRPMManifest:
		err = w.rpmManifest(in, content)
	case kindContentManifest:
		in.ContentSets, err = contentSets(content)
	case kindDockerfile:
		in.Build, err = dockerfile(in.Path, content)
	case kindLabels:
		in.Build, err = labels(content)
	case kindLanguage:
		var found []inventory.Package
		found, err = language.Parse(ctx, f, content)
		for i := range found {
			if sound(&found[i]) {
				in.Packages = append(in.Packages, found[i])
			}
		}
	case kindNone:
	}
	return err
}

// errMany ends the reading of a file with too many packages; the layer is refused then.
var errMany = errors.New("has too many packages")

// add adds a package that can be one. One over the limit is enough to have the layer refused.
func (w *walker) add(in *inventory.File, p inventory.Package) error {
	if !sound(&p) {
		return nil
	}
	in.Packages = append(in.Packages, p)
	if w.packages+len(in.Packages) > w.limits.Packages {
		return errMany
	}
	return nil
}

// own notes a path of a package of the distribution if it would be taken for a package
// of a language.
func (w *walker) own(in *inventory.File, p string) {
	if len(p) > w.limits.PathBytes || !ownable(p) {
		return
	}
	if w.owned+len(in.Installed) >= w.limits.Owned {
		w.ownedOver = true
		return
	}
	in.Installed = append(in.Installed, p)
}

// ownable says whether a file may hold packages of a language: by its name, or as a
// program in one of the directories of programs.
func ownable(p string) bool {
	dir, _ := split(p)
	if _, last := split(dir); last == "bin" || last == "sbin" || last == "libexec" {
		return true
	}
	return language.Wanted(language.File{Path: p, Size: programBytes, Mode: 0o644})
}

const (
	// nameMax and textMax bound names and versions, and what else a package says. The
	// longest names that distributions and npm allow have 214 characters.
	nameMax = 512
	textMax = 1024
	// pathOfPackageMax is longer than a path, for archives in archives.
	pathOfPackageMax = 16 << 10
	// lineMax is the longest line of a list of packages.
	lineMax = 1 << 20
)

// sound says whether a package has a name and a version that can be one, and cuts what
// else it says to a bearable length.
func sound(p *inventory.Package) bool {
	if p.Name == "" || p.Version == "" || len(p.Path) > pathOfPackageMax {
		return false
	}
	for _, s := range [...]string{p.Name, p.Version, p.Release, p.Arch, p.SrcName, p.SrcVersion, p.SrcRelease, p.Modularity, p.Digest} {
		if len(s) > nameMax || strings.ContainsFunc(s, unicode.IsControl) {
			return false
		}
	}
	p.Maintainer = cut(p.Maintainer)
	if len(p.Licenses) > 100 {
		p.Licenses = p.Licenses[:100]
	}
	for i := range p.Licenses {
		p.Licenses[i] = cut(p.Licenses[i])
	}
	return true
}

// cut shortens a text, and copies it so that it does not hold on to the file it is from.
func cut(s string) string {
	if len(s) > textMax {
		s = s[:textMax]
	}
	return strings.ToValidUTF8(s, "?")
}

// lines is a scanner of lines that are not too long.
func lines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 64<<10), lineMax)
	return s
}

func scanned(s *bufio.Scanner) error {
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return errors.New("has a line that is too long")
	}
	return s.Err()
}
