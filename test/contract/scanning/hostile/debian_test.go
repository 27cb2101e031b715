package hostile

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// release is the Debian that is taken: security updates come after its last point release.
const release = "bookworm"

// mirror is Debian's, as apt knows it on this machine.
func mirror(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "apt-get", "indextargets", "--format", "$(REPO_URI)").Output()
	if err != nil {
		t.Fatalf("apt-get indextargets: %v; run scripts/install-test-deps.sh", err)
	}
	for line := range strings.Lines(string(out)) {
		if uri := strings.TrimSuffix(strings.TrimSpace(line), "/"); strings.HasSuffix(uri, "/debian") {
			return uri
		}
	}
	return "http://deb.debian.org/debian"
}

// apt is apt with lists and sources of its own: it sees what it is told and nothing
// of the machine's.
type apt struct {
	t   *testing.T
	dir string
}

func newApt(t *testing.T, uri, suite string) *apt {
	t.Helper()
	a := &apt{t: t, dir: t.TempDir()}
	for _, d := range []string{"lists/partial", "cache/archives/partial", "etc", "debs"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// The directory is nobody else's, and apt's own user may not look into it.
	conf := fmt.Sprintf("Dir::State::Lists %q;\nDir::State::Status %q;\nDir::Cache %q;\nDir::Etc::SourceList %q;\nDir::Etc::SourceParts \"/dev/null\";\nDir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\nAPT::Sandbox::User \"root\";\nAPT::Architecture \"amd64\";\nAPT::Architectures \"amd64\";\nAcquire::Languages \"none\";\n",
		a.path("lists"), a.path("status"), a.path("cache"), a.path("etc/sources.list"))
	for file, content := range map[string]string{
		"apt.conf": conf, "status": "",
		"etc/sources.list": "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + uri + " " + suite + " main\n",
	} {
		if err := os.WriteFile(a.path(file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a.run("apt-get", "-qq", "update")
	return a
}

func (a *apt) path(name string) string { return filepath.Join(a.dir, name) }

func (a *apt) run(args ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.path("apt.conf"), "LC_ALL=C")
	cmd.Dir = a.path("debs")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		a.t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, complaint.Bytes())
	}
	return string(out)
}

// newest are the newest versions of packages, by name; those that are not there are left out.
func (a *apt) newest(names ...string) map[string]string {
	a.t.Helper()
	versions := map[string]string{}
	var name string
	for line := range strings.Lines(a.run(append([]string{"apt-cache", "policy"}, names...)...)) {
		if !strings.HasPrefix(line, " ") {
			name = strings.TrimSuffix(strings.TrimSpace(line), ":")
		} else if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate: "); ok && v != "(none)" {
			versions[name] = v
		}
	}
	return versions
}

// download gets the newest versions of packages, and returns their files.
func (a *apt) download(names ...string) []string {
	a.t.Helper()
	a.run(append([]string{"apt-get", "-qq", "download"}, names...)...)
	return must(filepath.Glob(a.path("debs/*.deb")))(a.t)
}

// newer compares versions as dpkg does.
func newer(a, than string) bool {
	return exec.Command("dpkg", "--compare-versions", a, "gt", than).Run() == nil
}

// installed is a package of an image.
type installed struct{ name, version, source, sourceVersion string }

// paragraphs reads what dpkg's status says.
func paragraphs(status string) (all []installed) {
	for text := range strings.SplitSeq(status, "\n\n") {
		field := func(name string) string {
			m := regexp.MustCompile(`(?m)^` + name + `: (.*)$`).FindStringSubmatch(text)
			if m == nil {
				return ""
			}
			return m[1]
		}
		p := installed{name: field("Package"), version: field("Version")}
		if p.name == "" {
			continue
		}
		p.source, p.sourceVersion = p.name, p.version
		if m := regexp.MustCompile(`^(\S+)(?: \((.*)\))?$`).FindStringSubmatch(field("Source")); m != nil {
			p.source = m[1]
			if m[2] != "" {
				p.sourceVersion = m[2]
			}
		}
		all = append(all, p)
	}
	return all
}

// changelog takes a package's own changelog out of its file; "" where it is another
// package's.
func changelog(t *testing.T, deb string) string {
	t.Helper()
	plain, err := exec.CommandContext(t.Context(), "dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		t.Fatalf("dpkg-deb: %v", err)
	}
	name, _, _ := strings.Cut(filepath.Base(deb), "_")
	for r := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"changelog.Debian.gz", "changelog.gz"} {
			if h.Name == "./usr/share/doc/"+name+"/"+file && h.Typeflag == tar.TypeReg {
				return string(must(io.ReadAll(must(gzip.NewReader(r))(t)))(t))
			}
		}
	}
}

// mended says which version of a source package is the first that its changelog says of
// that it mends a vulnerability.
func mended(text string) map[string]string {
	first := map[string]string{}
	var version string
	for line := range strings.Lines(text) {
		if m := regexp.MustCompile(`^\S+ \(([^)]+)\) `).FindStringSubmatch(line); m != nil {
			version = m[1]
			continue
		}
		for _, id := range regexp.MustCompile(`CVE-\d{4}-\d{4,}`).FindAllString(line, -1) {
			first[id] = version // the newest entries come first, so an older one goes over it
		}
	}
	return first
}

// some are packages that every Debian has, and that have had security updates.
func some() []string {
	return []string{"base-files", "apt", "liblzma5", "libpam0g", "libpcre2-8-0", "perl-base", "libc6", "libgnutls30", "zlib1g"}
}

// unpacked is an image with the packages in the point release, as dpkg would have them.
func unpacked(t *testing.T, uri string) (status string, layer []byte) {
	t.Helper()
	main := newApt(t, uri, release)
	var entries []entry
	for _, deb := range main.download(some()...) {
		name, _, _ := strings.Cut(filepath.Base(deb), "_")
		control := main.run("dpkg-deb", "-f", deb)
		status += strings.Replace(control, "\nVersion:", "\nStatus: install ok installed\nVersion:", 1) + "\n"
		if name == "base-files" {
			to := t.TempDir()
			main.run("dpkg-deb", "-x", deb, to)
			for _, file := range []string{"usr/lib/os-release", "etc/debian_version"} {
				entries = append(entries, entry{name: file, content: string(must(os.ReadFile(filepath.Join(to, file)))(t))})
			}
		}
	}
	return status, gzipped(t, archive(t, append(entries, file("var/lib/dpkg/status", status))...))
}

// debootstrapped is a whole Debian without security updates.
func debootstrapped(t *testing.T, uri string) (status string, layer []byte) {
	t.Helper()
	harness.NeedRoot(t, "debootstrap")
	root := filepath.Join(t.TempDir(), "root")
	cmd := exec.CommandContext(t.Context(), "/usr/sbin/debootstrap", "--variant=minbase", "--arch=amd64", release, root, uri)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debootstrap: %v; run scripts/install-test-deps.sh\n%s", err, out)
	}
	var b bytes.Buffer
	z := must(gzip.NewWriterLevel(&b, gzip.BestSpeed))(t)
	w := tar.NewWriter(z)
	err := w.AddFS(withoutDevices{os.DirFS(root)})
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return string(must(os.ReadFile(filepath.Join(root, "var/lib/dpkg/status")))(t)), b.Bytes()
}

// withoutDevices hides what archive/tar does not take of a file system.
type withoutDevices struct{ fs.FS }

// ReadDir lists files, directories and links.
func (f withoutDevices) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(f.FS, name)
	return slices.DeleteFunc(all, func(e fs.DirEntry) bool { return e.Type()&^(fs.ModeDir|fs.ModeSymlink) != 0 }), err
}

// ReadLink reads a link.
func (f withoutDevices) ReadLink(name string) (string, error) { return fs.ReadLink(f.FS, name) }

// Lstat looks at a link itself.
func (f withoutDevices) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(f.FS, name) }

// TestDebian compares the findings on a Debian without security updates with what the
// changelogs of these updates say, which dpkg's own order of versions decides upon: what an
// update mends is found, with the version that mends it; what was mended before is not.
// With -big the image is a whole debootstrap, otherwise some packages of it.
func TestDebian(t *testing.T) {
	uri := mirror(t)
	debian := unpacked
	if *big {
		debian = debootstrapped
	}
	status, layer := debian(t, uri)
	all := paragraphs(status)
	security := newApt(t, strings.TrimSuffix(uri, "/debian")+"/debian-security", release+"-security")
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	available := security.newest(names...)
	// Packages of one source share a changelog.
	var updates []string
	for _, p := range all {
		if v := available[p.name]; v != "" && newer(v, p.version) {
			updates = append(updates, p.name)
		}
	}
	if len(updates) == 0 {
		t.Fatalf("none of %d packages has a security update: %v", len(all), available)
	}
	db := matchtest.DB{Vulnerabilities: []matchtest.Vulnerability{{ID: "CVE-2000-0001"}}}
	bucket := matchtest.Bucket{Bucket: "debian 12", Source: matchtest.Source{ID: "debian", Name: "Debian Security Tracker"}}
	var want []string
	older, seen := 0, map[string]bool{}
	for _, deb := range security.download(updates...) {
		name, _, _ := strings.Cut(filepath.Base(deb), "_")
		source := all[slices.IndexFunc(all, func(p installed) bool { return p.name == name })].source
		text := changelog(t, deb)
		if text == "" || seen[source] {
			continue
		}
		seen[source] = true
		for id, version := range mended(text) {
			bucket.Advs = append(bucket.Advs, matchtest.Advisory{Pkg: source, ID: id, Fixed: version})
			for _, p := range all {
				switch {
				case p.source != source:
				case newer(version, p.sourceVersion):
					want = append(want, fmt.Sprintf("%s %s %s < %s", id, p.name, p.version, version))
				default:
					older++
				}
			}
		}
	}
	slices.Sort(want)
	t.Logf("%d packages; updates of %q; %d findings to be there, %d not to be", len(all), updates, len(want), older)
	if len(want) == 0 || older == 0 {
		t.Fatal("the changelogs tell of no vulnerability on the one side or the other")
	}
	db.Buckets = append(db.Buckets, bucket)
	w := start(t, harness.Options{}, db)
	w.repository(t, "debian", false)
	w.enhanced(t)
	w.mustPush(t, "debian", release, layer)
	r := w.ended(t, "debian", release)
	if got := found(r); r.status != "COMPLETE" || !slices.Equal(got, want) {
		t.Errorf("%s\n %s\nwant\n %s", r, strings.Join(got, "\n "), strings.Join(want, "\n "))
	}
	for _, line := range want {
		t.Log(line)
	}
}
