package inventory

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
)

// Where the files lie that say more than their packages.
const (
	dpkgStatus = "var/lib/dpkg/status"
	dpkgInfo   = "var/lib/dpkg/info/"
	dpkgMore   = "var/lib/dpkg/status.d/"
)

// standing is a file that is there after the layers so far.
type standing struct {
	file *File
	hash uint64 // of its path
	// skipped is why the file could not be read, "" where it was.
	skipped string
}

// Merge puts layers together to what the image holds, the bottom one first; digests
// are theirs, in the same order (of a layer without one, the packages carry none). It applies the rules of
// image layers: a whiteout removes what lower layers have at its path and under it, an opaque
// directory what they have in it; what a layer puts somewhere replaces what was there, with everything
// under it unless it is a directory; of two files at one path the later one holds.
//
// A package keeps as Layer the first one that listed it in this very version. Packages of
// languages are left out where their file belongs to a package of the distribution, unless that
// package is a third party's: the distribution's advisories tell of it then.
func Merge(layers []Layer, digests []name.Digest) Image {
	files := map[string]standing{}
	first := map[identity]int{}
	total := 0
	for i := range layers {
		apply(files, &layers[i])
		for j := range layers[i].Files {
			f := &layers[i].Files[j]
			for k := range f.Packages {
				id := identify(&f.Packages[k], f.Path)
				if _, ok := first[id]; !ok {
					first[id] = i
				}
			}
		}
	}
	paths := make([]string, 0, len(files))
	for p := range files {
		paths = append(paths, p)
	}
	slices.Sort(paths)

	img := Image{OS: pickOS(files, paths), Unreadable: unreadable(files, paths)}
	owned := installed(files, paths)
	builds := make([]*build, len(layers))
	for i := range layers {
		builds[i] = buildOf(&layers[i])
	}
	unpacked := vendored(files, paths)
	seen := map[identity]bool{}
	for _, p := range paths {
		total += len(files[p].file.Packages)
	}
	all := make([]item, 0, total)
	for _, p := range paths {
		s := files[p]
		if s.file.AlpineRepository != "" {
			img.AlpineRepository = s.file.AlpineRepository
		}
		for i := range s.file.Packages {
			pkg := &s.file.Packages[i]
			if !pkg.Type.Distribution() {
				if !owned[usr(p)] && !unpacked[source{pkg.Type, path.Dir(p)}] {
					all = append(all, item{pkg, p})
				}
				continue
			}
			// One package manager may keep its list at two places. RPM's packages may be
			// there for two architectures; for the others the advisories do not tell them apart.
			id := identify(pkg, p)
			if pkg.Type != RPM {
				id.arch = ""
			}
			if !seen[id] {
				seen[id] = true
				all = append(all, item{pkg, p})
			}
		}
	}
	slices.SortFunc(all, item.compare)
	if len(all) > 0 {
		img.Packages = make([]Package, len(all))
	}
	for i, it := range all {
		pkg := *it.pkg
		at := first[identify(&pkg, it.file)]
		pkg.DiffID = layers[at].DiffID
		if at < len(digests) {
			pkg.Layer = digests[at]
		}
		if pkg.Type == RPM {
			if b := buildAt(builds, at); b != nil {
				pkg.ContentSets, pkg.Build = b.sets, b.build
			}
		}
		img.Packages[i] = pkg
	}
	return img
}

// item is a package and the file that it was listed in.
type item struct {
	pkg  *Package
	file string
}

// compare orders by type, name, version and path; the rest only makes the order one.
func (a item) compare(b item) int {
	if c := cmp.Or(cmp.Compare(a.pkg.Type, b.pkg.Type), cmp.Compare(a.pkg.Name, b.pkg.Name)); c != 0 {
		return c
	}
	if c := cmp.Compare(a.pkg.FullVersion(), b.pkg.FullVersion()); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(a.pkg.Path, b.pkg.Path), cmp.Compare(a.pkg.Arch, b.pkg.Arch), cmp.Compare(a.file, b.file))
}

// apply puts one layer over what stands.
func apply(files map[string]standing, l *Layer) {
	if len(files) > 0 {
		gone := make(map[string]bool, len(l.Whiteouts)) // at these paths and under them
		for _, p := range l.Whiteouts {
			gone[p] = true
		}
		opaque := make(map[string]bool, len(l.Opaque)) // under these
		for _, p := range l.Opaque {
			opaque[p] = true
		}
		// dirs remembers for a directory whether what lower layers have in it is gone.
		dirs := map[string]bool{}
		var inside func(dir string) bool
		inside = func(dir string) bool {
			if dir == "." || dir == "" {
				return opaque[""]
			}
			if v, ok := dirs[dir]; ok {
				return v
			}
			v := opaque[dir] || gone[dir] || hides(l.Hides, Hash(dir)) || inside(path.Dir(dir))
			dirs[dir] = v
			return v
		}
		for p, s := range files {
			if gone[p] || hides(l.Hides, s.hash) || hides(l.Hides, (s.hash^'/')*fnvPrime) || inside(path.Dir(p)) {
				delete(files, p)
			}
		}
	}
	for i := range l.Files {
		files[l.Files[i].Path] = standing{file: &l.Files[i], hash: Hash(l.Files[i].Path)}
	}
	for _, s := range l.Skipped {
		if managerOf(s.Path) == "" {
			continue
		}
		f, ok := files[s.Path]
		if !ok {
			f = standing{file: &File{Path: s.Path}, hash: Hash(s.Path)}
		}
		f.skipped = s.Reason
		files[s.Path] = f
	}
}

// managerOf is the package manager whose list of packages stands at the path, "" for none.
func managerOf(p string) Type {
	switch p {
	case dpkgStatus:
		return Dpkg
	case "lib/apk/db/installed", "usr/lib/apk/db/installed":
		return Apk
	}
	switch dir := path.Dir(p); {
	case dir+"/" == dpkgMore:
		return Dpkg
	case dir == "var/lib/rpm", dir == "usr/lib/sysimage/rpm", dir == "usr/share/rpm", dir == "var/lib/rpmmanifest":
		return RPM
	}
	return ""
}

// unreadable is the first list of packages that could not be read, and why; of those of RPM
// only where no other list could be read, since an old one may lie beside the one in use, and a tool's own in a Debian.
func unreadable(files map[string]standing, paths []string) *Skipped {
	var first *Skipped
	other := false
	for _, p := range paths {
		s := files[p]
		other = other || managerOf(p) != "" && s.skipped == "" && len(s.file.Packages) > 0
	}
	for _, p := range paths {
		if s := files[p]; s.skipped != "" && first == nil && (managerOf(p) != RPM || !other) {
			first = &Skipped{Path: p, Reason: s.skipped}
		}
	}
	return first
}

// identity names a package in this very version; one of a language at this place, too.
type identity struct {
	kind                         Type
	name, version, release, arch string
	epoch                        int
	file, path                   string
}

func identify(p *Package, file string) identity {
	id := identity{kind: p.Type, name: p.Name, version: p.Version, release: p.Release, arch: p.Arch, epoch: p.Epoch}
	if !p.Type.Distribution() {
		id.file, id.path = file, p.Path
	}
	return id
}

// installed are the paths that the distribution's own packages own. For dpkg they
// stand in a file for each package, and whose package it is, in another.
func installed(files map[string]standing, paths []string) map[string]bool {
	foreign := map[string]bool{} // dpkg's packages: whether a third party made it
	for _, p := range paths {
		if p != dpkgStatus && !strings.HasPrefix(p, dpkgMore) {
			continue
		}
		for _, pkg := range files[p].file.Packages {
			foreign[pkg.Name] = pkg.ThirdParty
			foreign[pkg.Name+":"+pkg.Arch] = pkg.ThirdParty
		}
	}
	owned := map[string]bool{}
	for _, p := range paths {
		list := files[p].file.Installed
		if len(list) == 0 {
			continue
		}
		pkg, dpkg := strings.CutPrefix(p, dpkgInfo)
		if !dpkg {
			pkg, dpkg = strings.CutPrefix(p, dpkgMore)
		}
		if dpkg {
			pkg = strings.TrimSuffix(pkg, path.Ext(pkg))
			if third, known := foreign[pkg]; third || !known {
				continue
			}
		}
		for _, o := range list {
			owned[usr(o)] = true
		}
	}
	return owned
}

// usr is the path as distributions have it that moved /bin, /lib and /sbin under /usr:
// source is the directory of a lock file, by the type of its packages.
type source struct {
	kind Type
	dir  string
}

// vendored tells the lock files whose packages lie unpacked beside them, and are told
// of by their own files: those of Node below node_modules, those of PHP in vendor.
func vendored(files map[string]standing, paths []string) map[source]bool {
	const node, php = "node_modules/", "vendor/composer/installed.json"
	found := map[source]bool{}
	for _, p := range paths {
		if len(files[p].file.Packages) == 0 {
			continue
		}
		if at := strings.Index("/"+p, "/"+node); at >= 0 {
			for _, kind := range []Type{Npm, Yarn, Pnpm} {
				found[source{kind, path.Clean(p[:at])}] = true
			}
		}
		if p == php || strings.HasSuffix(p, "/"+php) {
			found[source{Composer, path.Clean(strings.TrimSuffix(p, php))}] = true
		}
	}
	return found
}

// their package managers go on naming the old one.
func usr(p string) string {
	for _, dir := range [...]string{"bin/", "lib/", "lib64/", "sbin/"} {
		if strings.HasPrefix(p, dir) {
			return "usr/" + p
		}
	}
	return p
}

// build is what a layer says of how Red Hat built it.
type build struct {
	sets  []string
	build *Build
}

func buildOf(l *Layer) *build {
	var b build
	for i := range l.Files {
		f := &l.Files[i]
		for _, set := range f.ContentSets {
			if !slices.Contains(b.sets, set) {
				b.sets = append(b.sets, set)
			}
		}
		// The Dockerfile has the name by which Red Hat's data know an image without
		// content sets; other files only add to these.
		if f.Build != nil && (b.build == nil || strings.HasPrefix(f.Path, "root/buildinfo/Dockerfile")) {
			b.build = f.Build
		}
	}
	if b.build != nil && len(b.sets) == 0 && !slices.ContainsFunc(l.Files, func(f File) bool {
		return f.Build != nil && strings.HasPrefix(f.Path, "root/buildinfo/Dockerfile")
	}) {
		return nil
	}
	if b.build == nil && b.sets == nil {
		return nil
	}
	return &b
}

// buildAt finds the build of the packages of a layer: its own; for the base layer
// that of the one above it, as Red Hat's images of two layers have it there; else that of the nearest one below.
func buildAt(builds []*build, at int) *build {
	if builds[at] != nil {
		return builds[at]
	}
	if at == 0 {
		if len(builds) > 1 {
			return builds[1]
		}
		return nil
	}
	for i := at - 1; i >= 0; i-- {
		if builds[i] != nil {
			return builds[i]
		}
	}
	return nil
}
