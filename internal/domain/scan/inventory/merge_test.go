package inventory_test

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// op is one entry of a layer's archive.
type op struct {
	kind string // file, other, dir, whiteout, opaque
	path string
	pkg  string // of a file
}

// tree is a plain model of a file system: what stands at each path. Directories are "".
type tree map[string]string

func (t tree) remove(p string) {
	delete(t, p)
	t.clear(p)
}

// clear removes what lies in p.
func (t tree) clear(p string) {
	for k := range t {
		if p == "" || strings.HasPrefix(k, p+"/") {
			delete(t, k)
		}
	}
}

func (t tree) parents(p string) {
	for d := path.Dir(p); d != "."; d = path.Dir(d) {
		if t[d] != "" {
			delete(t, d)
		}
		t[d] = ""
	}
}

// apply does what unpacking a layer does: what it removes of the lower ones first.
func (t tree) apply(ops []op) {
	for _, o := range ops {
		switch o.kind {
		case "whiteout":
			t.remove(o.path)
		case "opaque":
			t.clear(o.path)
		}
	}
	for _, o := range ops {
		switch o.kind {
		case "file", "other":
			t.parents(o.path)
			t.remove(o.path)
			t[o.path] = o.pkg
			if o.kind == "other" {
				t[o.path] = "-"
			}
		case "dir":
			t.parents(o.path)
			if t[o.path] != "" {
				delete(t, o.path)
			}
			t[o.path] = ""
		}
	}
}

// inventoried makes of the entries what a reader makes of them.
func inventoried(ops []op) inventory.Layer {
	own := tree{}
	l := inventory.Layer{Version: inventory.Version}
	var hashes []uint64
	for _, o := range ops {
		switch o.kind {
		case "whiteout":
			l.Whiteouts = append(l.Whiteouts, o.path)
			continue
		case "opaque":
			l.Opaque = append(l.Opaque, o.path)
			continue
		case "dir":
			hashes = append(hashes, inventory.Hash(o.path+"/"))
		default:
			hashes = append(hashes, inventory.Hash(o.path))
		}
		inventory.Hashes(o.path, func(h uint64) { hashes = append(hashes, h) })
		own.apply([]op{o})
	}
	for p, pkg := range own {
		if pkg != "" && pkg != "-" {
			l.Files = append(l.Files, inventory.File{Path: p, Packages: []inventory.Package{{Type: inventory.NodePkg, Name: pkg, Version: "1", Path: p}}})
		}
	}
	l.Hides = inventory.PackHides(hashes)
	return l
}

// drawOps makes entries that meet: few names, three levels.
func drawOps(t *rapid.T, label string) []op {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		p := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 3).Draw(t, "path"), "/")
		o := op{kind: rapid.SampledFrom([]string{"file", "file", "file", "other", "dir", "whiteout", "opaque"}).Draw(t, "kind"), path: p}
		if o.kind == "opaque" && rapid.IntRange(0, 9).Draw(t, "root") == 0 {
			o.path = ""
		}
		if o.kind == "file" {
			o.pkg = rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "package")
		}
		return o
	}), 0, 8).Draw(t, label)
}

// What Merge says is what unpacking the layers one over the other leaves.
func TestMergeIsUnpacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		model := tree{}
		var layers []inventory.Layer
		for i := range rapid.IntRange(1, 5).Draw(t, "layers") {
			ops := drawOps(t, fmt.Sprintf("layer %d", i))
			model.apply(ops)
			l := inventoried(ops)
			// As it is stored.
			b, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			var back inventory.Layer
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			layers = append(layers, back)
		}
		want := map[string]string{}
		for p, pkg := range model {
			if pkg != "" && pkg != "-" {
				want[p] = pkg
			}
		}
		got := map[string]string{}
		for _, p := range inventory.Merge(layers, nil).Packages {
			got[p.Path] = p.Name
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("merged %v, unpacked %v", got, want)
		}
	})
}

func TestHashesAreOfTheDirectoriesAbove(t *testing.T) {
	var got []uint64
	inventory.Hashes("var/lib/dpkg/status", func(h uint64) { got = append(got, h) })
	want := []uint64{inventory.Hash("var/"), inventory.Hash("var/lib/"), inventory.Hash("var/lib/dpkg/")}
	if !slices.Equal(got, want) {
		t.Fatalf("got %x, want %x", got, want)
	}
	if h := inventory.Hash("foobar"); h != 0x85944171f73967e8 { // from the authors' list of test vectors
		t.Fatalf("FNV-1a of foobar is %x", h)
	}
}

func deb(name, version string) inventory.Package {
	return inventory.Package{Type: inventory.Dpkg, Name: name, Version: version}
}

func status(pkgs ...inventory.Package) inventory.File {
	return inventory.File{Path: "var/lib/dpkg/status", Packages: pkgs}
}

func layerOf(files ...inventory.File) inventory.Layer {
	l := inventory.Layer{Files: files, DiffID: name.SHA256([]byte(fmt.Sprint(files)))}
	var hashes []uint64
	for _, f := range files {
		hashes = append(hashes, inventory.Hash(f.Path))
	}
	l.Hides = inventory.PackHides(hashes)
	return l
}

func digestsOf(n int) []name.Digest {
	var d []name.Digest
	for i := range n {
		d = append(d, name.SHA256([]byte{byte(i)}))
	}
	return d
}

func TestPackageKeepsItsFirstLayer(t *testing.T) {
	layers := []inventory.Layer{
		layerOf(status(deb("bash", "5.1"), deb("curl", "7.1"))),
		layerOf(inventory.File{Path: "etc/os-release", OS: &inventory.OS{Family: "debian", Name: "12"}}),
		layerOf(status(deb("bash", "5.1"), deb("curl", "7.2"), deb("jq", "1.6"))),
	}
	digests := digestsOf(3)
	img := inventory.Merge(layers, digests)
	got := map[string]name.Digest{}
	for _, p := range img.Packages {
		got[p.Name+" "+p.Version] = p.Layer
		if i := slices.Index(digests, p.Layer); p.DiffID != layers[i].DiffID {
			t.Errorf("%s has the plain digest of another layer", p.Name)
		}
	}
	want := map[string]name.Digest{"bash 5.1": digests[0], "curl 7.2": digests[2], "jq 1.6": digests[2]}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestOrderAndDoubles(t *testing.T) {
	a := deb("zlib", "1")
	a.Arch = "amd64"
	b := deb("zlib", "1")
	b.Arch = "i386"
	x := inventory.Package{Type: inventory.RPM, Name: "glibc", Version: "2", Arch: "x86_64"}
	y := x
	y.Arch = "i686"
	img := inventory.Merge([]inventory.Layer{layerOf(
		status(a, b), inventory.File{Path: "var/lib/dpkg/status.d/zlib", Packages: []inventory.Package{a}},
		inventory.File{Path: "var/lib/rpm/Packages", Packages: []inventory.Package{x, y}},
		inventory.File{Path: "app/b.jar", Packages: []inventory.Package{{Type: inventory.Jar, Name: "n", Version: "1", Path: "app/b.jar"}}},
		inventory.File{Path: "app/a.jar", Packages: []inventory.Package{{Type: inventory.Jar, Name: "n", Version: "1", Path: "app/a.jar"}}},
	)}, nil)
	var got []string
	for _, p := range img.Packages {
		got = append(got, strings.Join([]string{string(p.Type), p.Name, p.Path, p.Arch}, " "))
	}
	want := []string{"dpkg zlib  amd64", "jar n app/a.jar ", "jar n app/b.jar ", "rpm glibc  i686", "rpm glibc  x86_64"}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestFilesOfTheDistributionAreNotListedTwice(t *testing.T) {
	python := func(p string) inventory.File {
		return inventory.File{Path: p, Packages: []inventory.Package{{Type: inventory.PythonPkg, Name: path.Base(p), Version: "1", Path: p}}}
	}
	list := func(pkg string, paths ...string) inventory.File {
		return inventory.File{Path: "var/lib/dpkg/info/" + pkg + ".list", Installed: paths}
	}
	third := deb("docker-ce", "1")
	third.ThirdParty = true
	multi := deb("libx", "1")
	multi.Arch = "amd64"
	img := inventory.Merge([]inventory.Layer{
		layerOf(status(deb("python3-six", "1"), third, multi),
			list("python3-six", "usr/lib/six", "lib/moved"), list("docker-ce", "usr/bin/docker"), list("libx:amd64", "usr/lib/x"), list("gone", "opt/kept"),
			inventory.File{Path: "var/lib/rpm/Packages", Installed: []string{"usr/lib/by-rpm"}},
			python("usr/lib/six"), python("usr/lib/moved"), python("usr/bin/docker"), python("usr/lib/x"), python("opt/kept"), python("usr/lib/by-rpm")),
	}, nil)
	var got []string
	for _, p := range img.Packages {
		if p.Type == inventory.PythonPkg {
			got = append(got, p.Path)
		}
	}
	if want := []string{"usr/bin/docker", "opt/kept"}; !slices.Equal(got, want) {
		t.Fatalf("left are %q, want %q: of a third party, and of a package that is not installed", got, want)
	}
}

func TestReleaseFilesByPriority(t *testing.T) {
	file := func(p, family, version string) inventory.File {
		return inventory.File{Path: p, OS: &inventory.OS{Family: family, Name: version}}
	}
	pretty := inventory.File{Path: "etc/os-release", OS: &inventory.OS{Family: "centos", Name: "7", Pretty: "CentOS Linux 7 (Core)", CPE: "cpe:/o:centos:centos:7"}}
	pro := inventory.File{Path: inventory.UbuntuPro, OS: &inventory.OS{Family: "ubuntu", Extended: true}}
	for _, c := range []struct {
		what  string
		files []inventory.File
		want  inventory.OS
	}{
		{"oracle keeps redhat-release", []inventory.File{file("etc/redhat-release", "redhat", "8.9"), file("etc/oracle-release", "oracle", "8.9")}, inventory.OS{Family: "oracle", Name: "8.9"}},
		{"ubuntu keeps debian_version", []inventory.File{file("etc/debian_version", "debian", "bookworm/sid"), file("etc/lsb-release", "ubuntu", "22.04")}, inventory.OS{Family: "ubuntu", Name: "22.04"}},
		{"debian's point release", []inventory.File{file("etc/debian_version", "debian", "12.15"), file("etc/os-release", "debian", "12")}, inventory.OS{Family: "debian", Name: "12.15"}},
		{"distroless has os-release alone", []inventory.File{file("usr/lib/os-release", "debian", "12")}, inventory.OS{Family: "debian", Name: "12"}},
		{"centos's point release", []inventory.File{file("etc/centos-release", "centos", "7.9.2009"), pretty}, inventory.OS{Family: "centos", Name: "7.9.2009", Pretty: "CentOS Linux 7 (Core)", CPE: "cpe:/o:centos:centos:7"}},
		{"etc before usr", []inventory.File{file("usr/lib/os-release", "sles", "15.4"), file("etc/os-release", "sles", "15.5")}, inventory.OS{Family: "sles", Name: "15.5"}},
		{"maintained longer", []inventory.File{file("etc/lsb-release", "ubuntu", "18.04"), pro}, inventory.OS{Family: "ubuntu", Name: "18.04", Extended: true}},
		{"maintained longer alone says nothing", []inventory.File{pro}, inventory.OS{}},
		{"maintained longer is Ubuntu's", []inventory.File{file("etc/debian_version", "debian", "12"), pro}, inventory.OS{Family: "debian", Name: "12"}},
	} {
		if got := inventory.Merge([]inventory.Layer{layerOf(c.files...)}, nil).OS; got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
	// A later layer's file replaces that of a lower one.
	over := []inventory.Layer{layerOf(file("etc/os-release", "alpine", "3.19.1")), layerOf(file("etc/os-release", "alpine", "3.20.3"))}
	if got := inventory.Merge(over, nil).OS.Name; got != "3.20.3" {
		t.Errorf("the upper layer's release is %q", got)
	}
}

func TestRedHatsContentSets(t *testing.T) {
	rpms := func(names ...string) inventory.File {
		f := inventory.File{Path: "var/lib/rpm/rpmdb.sqlite"}
		for _, n := range names {
			f.Packages = append(f.Packages, inventory.Package{Type: inventory.RPM, Name: n, Version: "1"})
		}
		return f
	}
	manifest := func(sets ...string) inventory.File {
		return inventory.File{Path: "root/buildinfo/content_manifests/" + sets[0] + ".json", ContentSets: sets}
	}
	docker := inventory.File{Path: "root/buildinfo/Dockerfile-ubi8-8.3-227", Build: &inventory.Build{NVR: "ubi8-container-8.3-227", Arch: "x86_64"}}
	img := inventory.Merge([]inventory.Layer{
		layerOf(rpms("base")),
		layerOf(manifest("ubi"), docker),
		layerOf(rpms("base", "mine")),
		layerOf(rpms("base", "mine", "theirs"), manifest("product")),
	}, nil)
	got := map[string]string{}
	for _, p := range img.Packages {
		got[p.Name] = strings.Join(p.ContentSets, ",")
		if p.Build != nil {
			got[p.Name] += " " + p.Build.NVR
		}
	}
	want := map[string]string{"base": "ubi ubi8-container-8.3-227", "mine": "ubi ubi8-container-8.3-227", "theirs": "product"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	// Labels alone do not name the repositories, and would put the usual ones aside.
	labels := inventory.File{Path: "usr/share/buildinfo/labels.json", Build: &inventory.Build{NVR: "x-1-1", Arch: "x86_64"}}
	if p := inventory.Merge([]inventory.Layer{layerOf(rpms("base"), labels)}, nil).Packages[0]; p.Build != nil {
		t.Fatalf("a build without content sets: %+v", p.Build)
	}
}

// A large Node.js image over ten layers.
func BenchmarkMerge(b *testing.B) {
	var layers []inventory.Layer
	for i := range 10 {
		var ops []op
		for j := range 1000 {
			for k := range 20 {
				ops = append(ops, op{kind: "other", path: fmt.Sprintf("app%d/node_modules/m%d/lib/f%d.js", i, j, k)})
			}
			ops = append(ops, op{kind: "file", path: fmt.Sprintf("app%d/node_modules/m%d/package.json", i, j), pkg: fmt.Sprintf("m%d", j)})
		}
		l := inventory.Layer{}
		var hashes []uint64
		for _, o := range ops {
			hashes = append(hashes, inventory.Hash(o.path))
			inventory.Hashes(o.path, func(h uint64) { hashes = append(hashes, h) })
			if o.kind == "file" {
				l.Files = append(l.Files, inventory.File{Path: o.path, Packages: []inventory.Package{{Type: inventory.NodePkg, Name: o.pkg, Version: "1", Path: o.path}}})
			}
		}
		l.Hides = inventory.PackHides(hashes)
		layers = append(layers, l)
	}
	for b.Loop() {
		if n := len(inventory.Merge(layers, nil).Packages); n != 10_000 {
			b.Fatal(n)
		}
	}
}

// TestUnreadable tells of lists of packages that could not be read, as long as they stand.
func TestUnreadable(t *testing.T) {
	bad := func(paths ...string) (l inventory.Layer) {
		for _, p := range paths {
			l.Skipped = append(l.Skipped, inventory.Skipped{Path: p, Reason: "it is broken"})
		}
		return l
	}
	good := func(p string, kind inventory.Type) inventory.Layer {
		return inventory.Layer{Files: []inventory.File{{Path: p, Packages: []inventory.Package{{Type: kind, Name: "a", Version: "1"}}}}}
	}
	const status, old, now = "var/lib/dpkg/status", "var/lib/rpm/Packages", "var/lib/rpm/rpmdb.sqlite"
	for what, c := range map[string]struct {
		layers []inventory.Layer
		want   string
	}{
		"nothing":            {nil, ""},
		"dpkg":               {[]inventory.Layer{bad(status)}, status},
		"over a good one":    {[]inventory.Layer{good(status, inventory.Dpkg), bad(status)}, status},
		"replaced":           {[]inventory.Layer{bad(status), {Hides: inventory.PackHides([]uint64{inventory.Hash(status)}), Files: good(status, inventory.Dpkg).Files}}, ""},
		"removed":            {[]inventory.Layer{bad(status), {Whiteouts: []string{"var/lib"}}}, ""},
		"apk":                {[]inventory.Layer{bad("lib/apk/db/installed")}, "lib/apk/db/installed"},
		"distroless":         {[]inventory.Layer{bad("var/lib/dpkg/status.d/base")}, "var/lib/dpkg/status.d/base"},
		"RPM":                {[]inventory.Layer{bad(old)}, old},
		"an old RPM":         {[]inventory.Layer{bad(old), good(now, inventory.RPM)}, ""},
		"an RPM in a Debian": {[]inventory.Layer{good(status, inventory.Dpkg), bad(old)}, ""},
		"another file":       {[]inventory.Layer{bad("usr/bin/program", "app/a.jar")}, ""},
	} {
		img := inventory.Merge(c.layers, nil)
		if got := img.Unreadable; (got == nil) != (c.want == "") || got != nil && got.Path != c.want {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// TestLockFiles has packages of lock files told of once where they lie unpacked.
func TestLockFiles(t *testing.T) {
	one := func(p string, kind inventory.Type, names ...string) inventory.File {
		f := inventory.File{Path: p}
		for _, n := range names {
			f.Packages = append(f.Packages, inventory.Package{Type: kind, Name: n, Version: "1", Path: p})
		}
		return f
	}
	img := inventory.Merge([]inventory.Layer{{Files: []inventory.File{
		one("app/package-lock.json", inventory.Npm, "a", "b"),
		one("app/node_modules/a/package.json", inventory.NodePkg, "a"),
		one("other/yarn.lock", inventory.Yarn, "c"),
		one("composer.lock", inventory.Composer, "d"),
		one("vendor/composer/installed.json", inventory.ComposerV, "d"),
		one("srv/composer.lock", inventory.Composer, "e"),
		one("package-lock.json", inventory.Npm, "f"),
	}}}, nil)
	var got []string
	for _, p := range img.Packages {
		got = append(got, string(p.Type)+" "+p.Name)
	}
	slices.Sort(got)
	if want := []string{"composer e", "composer-vendor d", "node-pkg a", "npm f", "yarn c"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
