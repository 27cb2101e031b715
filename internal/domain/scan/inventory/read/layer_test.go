package read_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/read"
)

// entry is one of an archive; a regular file where nothing else is said.
type entry struct {
	name, content, link string
	kind                byte
	mode                int64
}

func file(name, content string) entry { return entry{name: name, content: content} }

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.content))}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	out := w.EncodeAll(b, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

func layerOf(t testing.TB, b []byte, l read.Limits) (inventory.Layer, error) {
	t.Helper()
	dir := t.TempDir()
	layer, err := read.Layer(t.Context(), "application/vnd.oci.image.layer.v1.tar+gzip", bytes.NewReader(b), dir, l)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left in the spool directory", len(left))
	}
	return layer, err
}

func mustRead(t testing.TB, b []byte) inventory.Layer {
	t.Helper()
	l, err := layerOf(t, b, read.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// refused wants an *read.Error that says so.
func refused(t testing.TB, b []byte, l read.Limits, says string) {
	t.Helper()
	layer, err := layerOf(t, b, l)
	var e *read.Error
	if !errors.As(err, &e) || !strings.Contains(e.Reason, says) {
		t.Errorf("got %v, want an error that says %q", err, says)
	}
	if len(layer.Files) != 0 {
		t.Errorf("a refused layer has files")
	}
}

const bash = "Package: bash\nStatus: install ok installed\nMaintainer: Matthias Klose <doko@debian.org>\nArchitecture: amd64\nVersion: 5.2.15-2+b7\nSource: bash (5.2.15-2)\n\n"

// packages are "type name version" of all packages of a layer.
func packages(l inventory.Layer) []string {
	var out []string
	for _, f := range l.Files {
		for _, p := range f.Packages {
			out = append(out, string(p.Type)+" "+p.Name+" "+p.FullVersion())
		}
	}
	return out
}

func TestCompressions(t *testing.T) {
	plain := archive(t, file("var/lib/dpkg/status", bash), file("usr/share/doc/big", strings.Repeat("documentation ", 100_000)))
	half := len(plain) / 2
	skippable := append([]byte{0x52, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	for what, b := range map[string][]byte{
		"plain":                             plain,
		"gzip":                              gzipped(t, plain),
		"gzip of two members":               append(gzipped(t, plain[:half]), gzipped(t, plain[half:])...),
		"zstd":                              zstded(t, plain),
		"zstd of two frames":                append(zstded(t, plain[:half]), zstded(t, plain[half:])...),
		"zstd with a table of its contents": append(zstded(t, plain), skippable...),
		"zstd with something before it":     append(skippable[:len(skippable):len(skippable)], zstded(t, plain)...),
		"without an end":                    plain[:len(plain)-1024],
	} {
		l, err := layerOf(t, b, read.DefaultLimits())
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		want := plain
		if what == "without an end" {
			want = b
		}
		if l.DiffID != name.SHA256(want) || l.Size != int64(len(want)) || l.Entries != 2 || l.Version != inventory.Version {
			t.Errorf("%s: got %s of %d bytes with %d entries", what, l.DiffID, l.Size, l.Entries)
		}
		if got := packages(l); !slices.Equal(got, []string{"dpkg bash 5.2.15-2+b7"}) {
			t.Errorf("%s: got %q", what, got)
		}
	}
	// What stands behind the end of the archive belongs to the layer's digest.
	longer := append(slices.Clone(plain), make([]byte, 600_000)...)
	if l := mustRead(t, longer); l.DiffID != name.SHA256(longer) || l.Size != int64(len(longer)) {
		t.Errorf("with something behind its end: %s of %d bytes", l.DiffID, l.Size)
	}
	// Readers may hand out little at a time.
	l, err := read.Layer(t.Context(), "", iotest.OneByteReader(bytes.NewReader(gzipped(t, plain))), t.TempDir(), read.DefaultLimits())
	if err != nil || l.DiffID != name.SHA256(plain) {
		t.Errorf("byte by byte: %s, %v", l.DiffID, err)
	}
	if l := mustRead(t, nil); l.DiffID != name.SHA256(nil) || l.Entries != 0 {
		t.Errorf("an empty layer is %+v", l)
	}
}

func TestDamagedLayers(t *testing.T) {
	l := read.DefaultLimits()
	plain := archive(t, file("etc/hostname", strings.Repeat("x", 100_000)), file("var/lib/dpkg/status", bash))
	zip := gzipped(t, plain)
	refused(t, zip[:len(zip)-20], l, "cut off")
	refused(t, zip[:5], l, "cut off")
	refused(t, zstded(t, plain)[:60], l, "cut off")
	refused(t, plain[:1000], l, "cut off")
	refused(t, plain[:len(plain)-1400], l, "cut off")
	refused(t, plain[:100], l, "cut off")
	refused(t, []byte(strings.Repeat("{\"not\": \"a layer\"}", 100)), l, "is not a tar archive")
	refused(t, append(slices.Clone(plain[:512*197]), bytes.Repeat([]byte{7}, 4096)...), l, "damaged header after 1 entries")
	refused(t, append([]byte("\xfd7zXZ\x00"), zip...), l, "xz")
	refused(t, append([]byte("BZh91AY"), zip...), l, "bzip2")
	flipped := slices.Clone(zip)
	flipped[len(zip)-6] ^= 1 // the checksum
	refused(t, flipped, l, "cannot be decompressed")
	refused(t, append(slices.Clone(zip), "garbage behind it"...), l, "cannot be decompressed")
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf0, 1, 0, 0} // a frame with a window of 1 TiB
	refused(t, window, l, "zstd")
}

func TestSourceAndContextAreNotTheLayersFault(t *testing.T) {
	plain := archive(t, file("etc/hostname", strings.Repeat("x", 600_000)))
	broken := errors.New("the store is gone")
	for _, b := range [][]byte{nil, plain[:100], plain[:300_000], gzipped(t, plain)[:200]} {
		_, err := read.Layer(t.Context(), "", io.MultiReader(bytes.NewReader(b), iotest.ErrReader(broken)), t.TempDir(), read.DefaultLimits())
		var e *read.Error
		if !errors.Is(err, broken) || errors.As(err, &e) {
			t.Errorf("after %d bytes: %v", len(b), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := read.Layer(ctx, "", bytes.NewReader(plain), t.TempDir(), read.DefaultLimits()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLimits(t *testing.T) {
	l := read.DefaultLimits()
	l.Bytes = 1 << 20
	// An endless stream ends at the limit, and its source is let go.
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		z := gzip.NewWriter(pw)
		zeros := make([]byte, 1<<16)
		copy(zeros, archive(t, file("a", ""))[:512])
		for {
			if _, err := z.Write(zeros); err != nil {
				return
			}
			zeros = make([]byte, 1<<16)
		}
	}()
	_, err := read.Layer(t.Context(), "", pr, t.TempDir(), l)
	if e := new(read.Error); !errors.As(err, &e) || !strings.Contains(e.Reason, "more than 1048576 bytes") {
		t.Errorf("endless gzip: %v", err)
	}
	_ = pr.Close() // never fails
	<-done

	l = read.DefaultLimits()
	l.Entries = 2
	refused(t, archive(t, file("a", ""), file("b", ""), file("c", "")), l, "more than 2 entries")
	l = read.DefaultLimits()
	l.PathBytes = 300
	refused(t, archive(t, file(strings.Repeat("d/", 200)+"f", "")), l, "path of more than 300 bytes")
	refused(t, archive(t, entry{name: "l", kind: tar.TypeSymlink, link: strings.Repeat("d/", 200)}), l, "path of more than 300 bytes")
	l = read.DefaultLimits()
	l.Packages = 1
	refused(t, archive(t, file("var/lib/dpkg/status", bash+strings.Replace(bash, "bash", "dash", 1))), l, "more than 1 packages")
	refused(t, archive(t, file("etc/os-release", "ID=debian\nVERSION_ID=12\n"), file("var/lib/dpkg/status", bash)), l, "more than 1 files")
	l = read.DefaultLimits()
	l.WhiteoutBytes = 100
	refused(t, archive(t, file("a/.wh."+strings.Repeat("x", 90), ""), file("a/.wh.b", "")), l, "removes so many")

	l = read.DefaultLimits()
	l.FileBytes = 10
	got, err := layerOf(t, archive(t, file("var/lib/dpkg/status", bash), file("etc/alpine-release", "3.20.3\n")), l)
	if err != nil || len(got.Files) != 1 || len(got.Skipped) != 1 || !strings.Contains(got.Skipped[0].Reason, "more than the 10") {
		t.Errorf("a file that is too large: %+v, %v", got, err)
	}
	// What is too large for memory is spooled.
	l = read.DefaultLimits()
	l.MemoryBytes = 10
	got, err = layerOf(t, archive(t, file("var/lib/dpkg/status", bash)), l)
	if err != nil || !slices.Equal(packages(got), []string{"dpkg bash 5.2.15-2+b7"}) {
		t.Errorf("a spooled file: %+v, %v", got, err)
	}
	if _, err := read.Layer(t.Context(), "", bytes.NewReader(archive(t, file("var/lib/dpkg/status", bash))), t.TempDir()+"/none", l); err == nil || errors.As(err, new(*read.Error)) {
		t.Errorf("no place to spool: %v; the layer has no part in it", err)
	}
	l = read.DefaultLimits()
	l.Owned = 1
	got, err = layerOf(t, archive(t, file("var/lib/dpkg/info/a.list", "/usr/bin/a\n/usr/bin/b\n"), file("var/lib/dpkg/status", bash)), l)
	if err != nil || len(got.Files) != 2 || len(got.Skipped) != 1 || !strings.Contains(got.Skipped[0].Reason, "own more than 1 files") {
		t.Errorf("too many owned files: %+v, %v", got, err)
	}
}

func TestRatio(t *testing.T) {
	l := read.DefaultLimits()
	l.Ratio, l.RatioBytes = 100, 1<<20
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		z, err := zstd.NewWriter(pw, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			t.Error(err)
			return
		}
		zeros := make([]byte, 1<<20)
		if _, err := z.Write(archive(t, file("a", ""))); err != nil {
			t.Error(err)
		}
		for {
			if _, err := z.Write(zeros); err != nil {
				return
			}
		}
	}()
	_, err := read.Layer(t.Context(), "", pr, t.TempDir(), l)
	if e := new(read.Error); !errors.As(err, &e) || !strings.Contains(e.Reason, "of each compressed byte") {
		t.Errorf("zeros without an end: %v", err)
	}
	_ = pr.Close() // never fails
	<-done
}

func TestPathsAndKinds(t *testing.T) {
	release := "3.20.3\n"
	for what, entries := range map[string][]entry{
		"a leading dot":             {file("./etc/alpine-release", release)},
		"absolute":                  {file("/etc/alpine-release", release)},
		"out of the root":           {file("../../etc/alpine-release", release)},
		"up and down":               {file("usr/../etc//./alpine-release", release)},
		"the later one of two":      {file("etc/alpine-release", "1.0.0\n"), file("etc/alpine-release", release)},
		"a hard link":               {file("etc/alpine-release", release), {name: "usr/lib/other", kind: tar.TypeLink, link: "etc/alpine-release"}},
		"after a link of that name": {{name: "etc/alpine-release", kind: tar.TypeSymlink, link: "x"}, file("etc/alpine-release", release)},
	} {
		l := mustRead(t, archive(t, entries...))
		if len(l.Files) != 1 || l.Files[0].Path != "etc/alpine-release" || l.Files[0].OS == nil || l.Files[0].OS.Name != "3.20.3" {
			t.Errorf("%s: got %+v", what, l.Files)
		}
	}
	for what, entries := range map[string][]entry{
		"a symlink":                {{name: "etc/alpine-release", kind: tar.TypeSymlink, link: "../proc/1/environ"}},
		"a device":                 {{name: "etc/alpine-release", kind: tar.TypeChar}},
		"a FIFO":                   {{name: "etc/alpine-release", kind: tar.TypeFifo}},
		"a hard link to nothing":   {{name: "etc/alpine-release", kind: tar.TypeLink, link: "etc/passwd"}},
		"a hard link out":          {{name: "etc/alpine-release", kind: tar.TypeLink, link: "../../../etc/alpine-release"}},
		"a hard link to a package": {file("var/lib/dpkg/status", bash), {name: "etc/alpine-release", kind: tar.TypeLink, link: "var/lib/dpkg/status"}},
		"a directory":              {{name: "etc/alpine-release/", kind: tar.TypeDir}},
		"replaced by a symlink":    {file("etc/alpine-release", release), {name: "etc/alpine-release", kind: tar.TypeSymlink, link: "x"}},
		"replaced by a directory":  {file("etc/alpine-release", release), file("etc/alpine-release/x", "")},
		"in a directory that went": {file("etc/alpine-release", release), {name: "etc", kind: tar.TypeSymlink, link: "x"}},
		"through a linked one":     {{name: "var", kind: tar.TypeSymlink, link: "etc"}, file("var/alpine-release", release)},
	} {
		l := mustRead(t, archive(t, entries...))
		for _, f := range l.Files {
			if f.OS != nil {
				t.Errorf("%s: got %+v", what, f)
			}
		}
	}
	// Both names of a program's file have its packages, each with its own path.
	pkg := `{"name": "left-pad", "version": "1.3.0"}`
	l := mustRead(t, archive(t, file("a/node_modules/left-pad/package.json", pkg), entry{name: "b/node_modules/left-pad/package.json", kind: tar.TypeLink, link: "a/node_modules/left-pad/package.json"}))
	var paths []string
	for _, f := range l.Files {
		for _, p := range f.Packages {
			paths = append(paths, p.Path)
		}
	}
	if want := []string{"a/node_modules/left-pad/package.json", "b/node_modules/left-pad/package.json"}; !slices.Equal(paths, want) {
		t.Errorf("linked packages are at %q, want %q", paths, want)
	}
}

// Names that are hostile to what reads them later.
func TestNames(t *testing.T) {
	l := mustRead(t, archive(t, file("opt/\xff\xfe/node_modules/x/package.json", `{"name": "x", "version": "1"}`)))
	if len(l.Files) != 1 || l.Files[0].Path != "opt/\uFFFD/node_modules/x/package.json" {
		t.Fatalf("got %+v: paths are text", l.Files)
	}
	if got := inventory.Merge([]inventory.Layer{l, mustRead(t, archive(t, file("opt/\xff\xfe/node_modules/x/package.json", "")))}, nil); len(got.Packages) != 0 {
		t.Errorf("a replaced file stands: %+v", got.Packages)
	}
	refused(t, rawPAX("x", 7, map[string]string{"path": "etc/alpine-release\x00.txt"}, []byte("3.20.3\n")), read.DefaultLimits(), "first header is damaged")
	for _, bad := range []string{"evil\x01name", "evil\x00name"} {
		l := mustRead(t, archive(t, file("var/lib/dpkg/status", strings.Replace(bash, "Package: bash", "Package: "+bad, 1))))
		if len(packages(l)) != 0 {
			t.Errorf("a package is called %q", packages(l))
		}
	}
}

func TestWhiteouts(t *testing.T) {
	l := mustRead(t, archive(t,
		file("etc/.wh.os-release", ""), file("./var/lib/.wh..wh..opq", ""), file(".wh..wh..opq", ""), file(".wh.opt", ""),
		file("a/.wh.", ""), file("a/.wh..", ""), file("a/.wh...", ""), file("a/.wh..wh.plnk", ""), file("../.wh.srv", "")))
	if want := []string{"etc/os-release", "opt", "srv"}; !slices.Equal(l.Whiteouts, want) {
		t.Errorf("whiteouts %q, want %q", l.Whiteouts, want)
	}
	if want := []string{"var/lib", ""}; !slices.Equal(l.Opaque, want) {
		t.Errorf("opaque %q, want %q", l.Opaque, want)
	}
	if len(l.Hides) != 0 {
		t.Errorf("whiteouts put something at %d places", len(l.Hides)/8)
	}
}

// Every kind of entry hides what lies below it, and directories only files.
func TestHides(t *testing.T) {
	base := mustRead(t, archive(t, file("var/lib/dpkg/status", bash)))
	for _, c := range []struct {
		what   string
		upper  entry
		hidden bool
	}{
		{"another file", file("etc/hostname", "x"), false},
		{"a file beside it", file("var/lib/dpkg/available", "x"), false},
		{"its directory", entry{name: "var/lib/dpkg/", kind: tar.TypeDir}, false},
		{"an empty file", file("var/lib/dpkg/status", ""), true},
		{"a symlink", entry{name: "var/lib/dpkg/status", kind: tar.TypeSymlink, link: "x"}, true},
		{"a hard link", entry{name: "var/lib/dpkg/status", kind: tar.TypeLink, link: "x"}, true},
		{"a device", entry{name: "var/lib/dpkg/status", kind: tar.TypeBlock}, true},
		{"a directory at its place", entry{name: "var/lib/dpkg/status/", kind: tar.TypeDir}, true},
		{"a file in it", file("var/lib/dpkg/status/x", ""), true},
		{"a symlink at a directory above", entry{name: "var/lib", kind: tar.TypeSymlink, link: "x"}, true},
		{"a file at the top", file("var", ""), true},
		{"a whiteout", file("var/lib/dpkg/.wh.status", ""), true},
		{"a whiteout above", file("var/.wh.lib", ""), true},
		{"an opaque directory", file("var/lib/.wh..wh..opq", ""), true},
		{"an opaque root", file(".wh..wh..opq", ""), true},
		{"an opaque directory beside", file("var/cache/.wh..wh..opq", ""), false},
	} {
		img := inventory.Merge([]inventory.Layer{base, mustRead(t, archive(t, c.upper))}, nil)
		if hidden := len(img.Packages) == 0; hidden != c.hidden {
			t.Errorf("%s: hidden %v, want %v", c.what, hidden, c.hidden)
		}
	}
}

// An archive may claim what it likes of sizes and headers.
func TestHostileHeaders(t *testing.T) {
	// A sparse file of a petabyte, at a place that is read.
	raw := rawPAX("var/lib/dpkg/status", 512, map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
		"GNU.sparse.name": "var/lib/dpkg/status", "GNU.sparse.realsize": "1125899906842624"}, append([]byte("1\n0\n0\n"), make([]byte, 506)...))
	l, err := layerOf(t, raw, read.DefaultLimits())
	if err != nil && !errors.As(err, new(*read.Error)) {
		t.Errorf("a sparse file: %v", err)
	}
	if err == nil && (len(l.Skipped) != 1 || len(l.Files) != 0) {
		t.Errorf("a sparse file: %+v", l)
	}
	// Headers for a name of 2 MiB.
	refused(t, rawPAX("a", 0, map[string]string{"path": strings.Repeat("a", 2<<20)}, nil), read.DefaultLimits(), "header that is too long")
}

// rawPAX writes an archive with records that archive/tar does not write.
func rawPAX(name string, size int, records map[string]string, content []byte) []byte {
	var text strings.Builder
	for k, v := range records {
		rest := " " + k + "=" + v + "\n"
		n := len(rest)
		for n != len(fmt.Sprint(n))+len(rest) {
			n = len(fmt.Sprint(n)) + len(rest)
		}
		fmt.Fprint(&text, n, rest)
	}
	header := func(name string, kind byte, size int) []byte {
		b := make([]byte, 512)
		copy(b, name)
		copy(b[100:], "0000644\x000000000\x000000000\x00")
		copy(b[124:], fmt.Sprintf("%011o\x0000000000000\x00", size))
		b[156] = kind
		copy(b[257:], "ustar\x0000")
		copy(b[148:], "        ")
		sum := 0
		for _, c := range b {
			sum += int(c)
		}
		copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
		return b
	}
	pad := func(b []byte) []byte { return append(b, make([]byte, (512-len(b)%512)%512)...) }
	out := header("PaxHeaders/x", 'x', text.Len())
	out = append(out, pad([]byte(text.String()))...)
	out = append(out, header(name, '0', size)...)
	out = append(out, pad(content)...)
	return append(out, make([]byte, 1024)...)
}

func TestUnreadableFilesAreTold(t *testing.T) {
	l := mustRead(t, archive(t,
		file("var/lib/rpm/rpmdb.sqlite", "SQLite format 3\x00"+strings.Repeat("x", 4096)), file("var/lib/rpm/Packages", "no database at all"),
		file("var/lib/dpkg/status", bash+strings.Repeat("x", 2<<20)), file("root/buildinfo/content_manifests/a.json", "{"), file("etc/alpine-release", "3.20.3")))
	var skipped []string
	for _, s := range l.Skipped {
		skipped = append(skipped, s.Path)
	}
	if want := []string{"var/lib/rpm/rpmdb.sqlite", "var/lib/rpm/Packages", "var/lib/dpkg/status", "root/buildinfo/content_manifests/a.json"}; !slices.Equal(skipped, want) {
		t.Errorf("skipped %q, want %q", skipped, want)
	}
	if got := packages(l); !slices.Equal(got, []string{"dpkg bash 5.2.15-2+b7"}) {
		t.Errorf("got %q: what was read before the damage stands", got)
	}
	var many []entry
	for i := range 300 {
		many = append(many, file(fmt.Sprintf("root/buildinfo/content_manifests/%d.json", i), "{"))
	}
	if n := len(mustRead(t, archive(t, many...)).Skipped); n != 100 {
		t.Errorf("%d files are told of, want 100", n)
	}
}

func TestSameBytesSameInventory(t *testing.T) {
	b := archive(t, file("var/lib/dpkg/status", bash+strings.Replace(bash, "bash", "dash", 1)), file("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"),
		file("var/lib/dpkg/info/bash.list", "/.\n/usr/bin/bash\n/usr/share/doc/bash\n"))
	if a, b := mustRead(t, b), mustRead(t, b); !reflect.DeepEqual(a, b) {
		t.Errorf("%+v, then %+v", a, b)
	}
}

// TestSparse: a header of a few bytes makes a GiB of zeros; of all together no more are
// read than of one file.
func TestSparse(t *testing.T) {
	sparse := func(name string) []byte {
		const content = "Package: x\nVersion: 1\n\n"
		start := fmt.Sprintf("2\n0\n%d\n%d\n0\n", len(content), 1<<20)
		body := start + strings.Repeat("\x00", 512-len(start)) + content
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h := &tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body)), PAXRecords: map[string]string{"comment": "x"}}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		// archive/tar writes no such records, so they take the place of the one it did write.
		records := ""
		for _, r := range [][2]string{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.name", name}, {"GNU.sparse.realsize", fmt.Sprint(1 << 20)}} {
			n := len(r[0]) + len(r[1]) + 5 // of two digits
			records += fmt.Sprintf("%d %s=%s\n", n, r[0], r[1])
		}
		out := b.Bytes()
		copy(out[512:1024], records+strings.Repeat("\x00", 512-len(records)))
		copy(out[124:], fmt.Sprintf("%011o\x00", len(records)))
		copy(out[148:], "        ")
		sum := 0
		for _, c := range out[:512] {
			sum += int(c)
		}
		copy(out[148:], fmt.Sprintf("%06o\x00 ", sum))
		return out
	}
	l := read.DefaultLimits()
	l.FileBytes = 2 << 20
	all := slices.Concat(sparse("var/lib/dpkg/status.d/a"), sparse("var/lib/dpkg/status.d/b"), sparse("var/lib/dpkg/status.d/c"), make([]byte, 1024))
	layer, err := layerOf(t, all, l)
	if err != nil {
		t.Fatal(err)
	}
	var over []string
	for _, s := range layer.Skipped {
		if strings.Contains(s.Reason, "is sparse") {
			over = append(over, s.Path)
		}
	}
	if !slices.Equal(over, []string{"var/lib/dpkg/status.d/c"}) {
		t.Errorf("skipped are %v", layer.Skipped)
	}
}
