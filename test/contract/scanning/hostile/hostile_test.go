package hostile

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/test/contract/harness"
)

// serverMemory is what the server may hold while hostile layers are read, whatever they
// are; scannerMemory what each process that reads them may (scanning.memory is twice that).
const (
	serverMemory  = 300 * mib
	scannerMemory = 1024 * mib
)

// hostile is a layer and how its scan ends: "" is COMPLETE with the good image's
// finding, everything else is what the description says of the layer.
type hostile struct {
	name  string
	layer []byte
	want  string
}

// bombs are layers that are much larger than they look.
func bombs(t *testing.T) []hostile {
	gib := 3
	if *big {
		gib = 10
	}
	header := raw("usr/share/same", '0', 0, "")
	return []hostile{
		{"a tar bomb", zeros(t, "usr/share/zeros", gib<<10), ""},
		{"a tar bomb where packages are listed", zeros(t, "var/lib/dpkg/status.d/zeros", 900), "unread"},
		{"a tar bomb of a file that is too large", zeros(t, "var/lib/dpkg/status", 1100), "unread"},
		{"endless gzip", bytes.Repeat(gzipped(t, make([]byte, mib)), gib<<10), ""},
		{"zstd that repeats itself", slices.Concat(zstded(t, raw("usr/share/zeros", '0', 60<<30, "")), zstdZeros(16<<10, 23)), "makes more than 2000 bytes of each compressed byte"},
		{"zstd with a window of 1 TiB", zstdZeros(64, 40), "needs more than 128 MiB of memory"},
		{"zstd with the largest window", append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff}, zstdZeros(1, 20)[6:]...), "needs more than 128 MiB of memory"},
		{"zstd that says it has exabytes", append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x10}, zstdZeros(1, 20)[6:]...), "needs more than 128 MiB of memory"},
		{"millions of entries", repeated(t, nil, bytes.Repeat(header, 2048), 1960, end()), "has more than 4000000 entries"},
		{"many entries, each in a directory of its own", gzipped(t, directories(100_000)), ""},
		{"headers of a GiB", repeated(t, raw("PaxHeaders/x", 'x', 1<<30, ""), make([]byte, mib), 1024, end()), "has a header that is too long"},
		{"a million extended headers", repeated(t, nil, bytes.Repeat(pax(record("comment", strings.Repeat("x", 400)), raw("a", '0', 0, "")), 512), 200, end()), ""},
	}
}

func directories(n int) []byte {
	b := make([]byte, 0, 512*n)
	for i := range n {
		b = append(b, raw(fmt.Sprintf("d%06d/f", i), '0', 0, "")...)
	}
	return append(b, end()...)
}

// places are layers that want to be somewhere else than in their image. outside is
// an absolute path.
func places(t *testing.T, outside string) []hostile {
	up := strings.Repeat("../", 20) + outside[1:]
	link := func(name, to string) entry { return entry{name: name, link: to, kind: tar.TypeSymlink} }
	hard := func(name, to string) entry { return entry{name: name, link: to, kind: tar.TypeLink} }
	tarred := func(entries ...entry) []byte { return gzipped(t, archive(t, entries...)) }
	return []hostile{
		{"symbolic links out", tarred(link("etc/alpine-release", "/etc/passwd"), link("usr/lib/os-release", "/etc/passwd"), link("opt/up", up), link("opt/there", outside), link("var/lib/rpm", up)), ""},
		{"files through symbolic links out", tarred(link("opt", outside), file("opt/kept", "changed"), file("opt/new", "new"), link("srv", up), file("srv/package.json", `{"name":"x","version":"1.0.0"}`)), ""},
		{"the release file is a symbolic link out", tarred(link("etc/os-release", "/etc/passwd")), ""},
		{"a circle of symbolic links", tarred(link("a", "b"), link("b", "a"), link("etc/os-release.d", ".")), ""},
		{"absolute names", tarred(file(outside+"/kept", "changed"), file(outside+"/new", "new"), file("//"+outside+"/new", "new")), ""},
		{"names that go up", tarred(file(up+"/kept", "changed"), file(up+"/new", "new"), file("usr/../../../../../../../.."+outside+"/new", "new"), file("..", ""), file("../.wh...", "")), ""},
		{"whiteouts of what is outside", tarred(file(up+"/.wh.kept", ""), file(outside+"/.wh..wh..opq", ""), file(".wh...", ""), file(".wh..", ""), file(".wh.", "")), ""},
		{"names with NUL", slices.Concat(raw("usr/lib/x\x00/../etc/os-release", '0', 0, ""), raw("\x00etc/os-release", '0', 0, ""), end()), ""},
		{"an extended name with NUL", slices.Concat(pax(record("path", "etc/os-release\x00.txt"), raw("x", '0', 0, "")), end()), "is not a tar archive, or its first header is damaged"},
		{"names that are no text", slices.Concat(raw("usr/\xff\xfe\x01\n\x1b[2J/package.json", '0', 0, ""), end()), ""},
		{"a name of 100,000 characters", slices.Concat(pax(record("path", strings.Repeat("x/", 50_000)), raw("x", '0', 0, "")), end()), "has a path of more than 4096 bytes"},
		{"hard links out", tarred(hard("etc/hosts", "/etc/passwd"), hard("opt/kept", outside+"/kept"), hard("opt/again", up+"/kept"), hard("srv/package.json", outside+"/kept")), ""},
		{"the list of packages is a hard link out", tarred(hard("var/lib/dpkg/status", "/var/lib/dpkg/status")), "no finding"},
		{"devices", tarred(entry{name: "dev/sda", kind: tar.TypeBlock}, entry{name: "var/lib/dpkg/status.d/x", kind: tar.TypeChar}, entry{name: "etc/alpine-release", kind: tar.TypeFifo}, entry{name: "lib/apk/db/installed", kind: tar.TypeBlock}), ""},
		{"a device with a size", slices.Concat(raw("lib/apk/db/installed", '3', 1<<30, ""), end()), ""},
	}
}

// sizes are layers that lie about sizes.
func sizes(t *testing.T) []hostile {
	base256 := func(h []byte, at int, n int64) []byte {
		h[at] = 0x80
		binary.BigEndian.PutUint64(h[at+4:], uint64(n))
		return sum(h)
	}
	gnu := raw("var/lib/rpm/rpmdb.sqlite", 'S', 0, "")
	copy(gnu[257:], "ustar  \x00")
	base256(gnu, 483, 1<<50)
	sparse := func(name string, size int64, start string) []byte {
		content := fmt.Sprintf("2\n0\n%d\n%d\n0\n", len(start), size)
		data := append(padded([]byte(content)), start...)
		return slices.Concat(pax(record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+record("GNU.sparse.name", name)+record("GNU.sparse.realsize", fmt.Sprint(size)),
			raw("GNUSparseFile.0/x", '0', int64(len(data)), "")), padded(data))
	}
	var programs []byte
	for i := range 2000 {
		programs = append(programs, sparse(fmt.Sprintf("usr/bin/program%d", i), 1<<30, "\x7fELF")...)
	}
	good := archive(t, file("usr/share/doc/readme", random(1, 300_000)))
	return []hostile{
		{"a sparse file of a petabyte, of GNU's", slices.Concat(gnu, end()), ""},
		{"a sparse file of a petabyte", slices.Concat(sparse("var/lib/dpkg/status", 1<<50, "x"), end()), "unread"},
		{"a sparse list of packages of a GiB", slices.Concat(sparse("var/lib/dpkg/status.d/x", 1<<30, "Package: x\n"), end()), "unread"},
		{"2,000 sparse programs of a GiB", gzipped(t, slices.Concat(programs, end())), ""},
		{"a file that says it has exabytes", slices.Concat(base256(raw("usr/share/x", '0', 0, ""), 124, 1<<60), end()), "is not a tar archive, or its first header is damaged"},
		{"a list of packages that says it has exabytes", slices.Concat(base256(raw("var/lib/dpkg/status", '0', 0, ""), 124, 1<<60), end()), "is not a tar archive, or its first header is damaged"},
		{"a file of a negative size", slices.Concat(base256(raw("usr/share/x", '0', 0, ""), 124, -1), end()), "is not a tar archive"},
		{"a cut off archive", good[:200_000], "is cut off in the middle of its archive"},
		{"cut off gzip", gzipped(t, good)[:200_000], "is cut off in the middle of its compressed data"},
		{"cut off zstd", zstded(t, good)[:200_000], "is cut off in the middle of its compressed data"},
		{"gzip with a wrong checksum", damaged(gzipped(t, good)), "cannot be decompressed"},
		{"rubbish", []byte(random(2, 100_000)), "is not a tar archive"},
		{"text", []byte(strings.Repeat("this is no archive\n", 1000)), "is not a tar archive"},
		{"rubbish in gzip", gzipped(t, []byte(random(3, 100_000))), "is not a tar archive"},
		{"bzip2", []byte("BZh91AY&SY" + random(4, 1000)), "is compressed with bzip2"},
		{"xz", []byte("\xfd7zXZ\x00" + random(5, 1000)), "is compressed with xz"},
		{"rubbish after a good file", slices.Concat(raw("a", '0', 0, ""), []byte(random(6, 4096))), "has a damaged header after 1 entries"},
	}
}

// damaged has another checksum.
func damaged(b []byte) []byte {
	b[len(b)-6] ^= 1
	return b
}

// files are layers with files in them that break those who read packages.
func files(t *testing.T) []hostile {
	one := func(e entry) []byte { return gzipped(t, archive(t, e)) }
	list := func(block string, n int) []byte {
		var h bytes.Buffer
		if err := tar.NewWriter(&h).WriteHeader(&tar.Header{Name: "var/lib/dpkg/status", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(block) * n)}); err != nil {
			t.Fatal(err)
		}
		return repeated(t, h.Bytes(), []byte(block), n, append(make([]byte, -(len(block)*n)&511), end()...))
	}
	paragraph := "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2.15-2+b7\nSource: bash (5.2.15-2)\n\n"
	sqlite := "SQLite format 3\x00" + "\x10\x00\x01\x01\x00\x40\x20\x20" + random(7, 3*mib)
	pages := []byte("SQLite format 3\x00\x02\x00\x01\x01\x00\x40\x20\x20")
	pages = append(pages, bytes.Repeat([]byte{0x05, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1}, 90_000)...) // inner pages that lead to themselves
	bdb := []byte(strings.Repeat("\x00", 12) + "\x61\x15\x06\x00" + random(8, 3*mib))
	binary.LittleEndian.PutUint32(bdb[20:], 512)
	ndb := []byte("RpmP\x00\x00\x00\x00\x01\x00\x00\x00\xff\xff\xff\x7f" + random(9, 3*mib))
	deep := jar(t, pom("org.example", "deep", "1.0"))
	for range 30 {
		deep = jar(t, file("lib/inner.jar", deep))
	}
	bomb := jar(t, file("lib/inner.jar", strings.Repeat("\x00", 512*mib)))
	wide := make([]entry, 0, 200)
	for i := range 200 {
		wide = append(wide, file(fmt.Sprintf("lib/%d.jar", i), bomb))
	}
	buildInfo := "\xff Go buildinf:\x08\x02" + strings.Repeat("\x00", 16)
	return []hostile{
		{"100 MB of packages", list(strings.Repeat(paragraph, 1000), 1000), "has more than 100000 packages"},
		{"100 MB without a line's end", list(strings.Repeat("Package: x", 10_000), 1000), "unread"},
		{"100 MB of broken paragraphs", list(strings.Repeat("Package: bash\nVersion: \x00\x01\nPackage\n: :\n\n\xff\n", 2500), 1000), "unread"},
		{"SQLite's rubbish for RPM", one(file("var/lib/rpm/rpmdb.sqlite", sqlite)), ""},
		{"an SQLite database that leads in circles", one(file("var/lib/rpm/rpmdb.sqlite", string(pages))), ""},
		{"BDB's rubbish for RPM", one(file("var/lib/rpm/Packages", string(bdb))), ""},
		{"NDB's rubbish for RPM", one(file("usr/lib/sysimage/rpm/Packages.db", string(ndb))), ""},
		{"a huge database of RPM", zeros(t, "var/lib/rpm/rpmdb.sqlite", 800), ""},
		{"jars in jars", one(file("app/deep.jar", deep)), ""},
		{"a jar that is a bomb", one(file("app/bomb.jar", bomb)), ""},
		{"a jar of 200 bombs", one(file("app/wide.jar", jar(t, wide...))), ""},
		{"a Go program with long strings", one(program("usr/bin/a", elf(".go.buildinfo", buildInfo+strings.Repeat("\xff", 9)+"\x01"))), ""},
		{"a Go program that ends early", one(program("usr/bin/b", elf(".go.buildinfo", "\xff Go buildinf:")[:280])), ""},
		{"a Rust program with a bomb", one(program("usr/bin/c", elf(".dep-v0", string(zlibZeros(t, 1<<30))))), ""},
		{"JSON of a million levels", one(file("srv/app/package-lock.json", strings.Repeat(`{"dependencies":`, 400_000))), ""},
		{"YAML that multiplies", one(file("srv/app/pnpm-lock.yaml", "lockfileVersion: '6.0'\na: &a [x,x,x,x,x,x,x,x,x]\n"+multiplied(20))), ""},
		{"an apk database of one line", one(file("lib/apk/db/installed", strings.Repeat("P:x", 10*mib))), "unread"},
	}
}

// multiplied are n levels that each have nine times what the one before has.
func multiplied(n int) string {
	var b strings.Builder
	for i := range n {
		c, d := 'a'+rune(i), 'b'+rune(i)
		fmt.Fprintf(&b, "%c: &%c [%s]\n", d, d, strings.TrimSuffix(strings.Repeat("*"+string(c)+",", 9), ","))
	}
	return b.String()
}

// TestHostileLayers pushes layers that were made to harm. Each costs at most its own
// scan; beside them good images are pushed, scanned and pulled as ever.
func TestHostileLayers(t *testing.T) {
	w := start(t, harness.Options{Config: "scanning: {workers: 2}\n"}, goodDB())
	for _, repo := range []string{"hostile", "good"} {
		w.repository(t, repo, true)
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "kept"), []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	all := slices.Concat(places(t, outside), sizes(t), files(t), bombs(t))
	memory := w.watch(t)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var beside sync.WaitGroup
	good := 0
	beside.Go(func() {
		for ; ctx.Err() == nil; good++ {
			tag := fmt.Sprintf("v%d", good)
			layer := gzipped(t, archive(t, file("usr/share/doc/readme", random(uint64(good), 100_000))))
			digest, err := w.push(t.Context(), "good", tag, base(t), layer)
			if err != nil {
				t.Errorf("a good image beside: %v", err)
				return
			}
			if got, err := w.root.Pull(t.Context(), "good", tag); err != nil || got.Digest != digest || !bytes.Equal(got.Blobs[harness.Digest(layer)], layer) {
				t.Errorf("a good image beside is %s, %v; want %s", got.Digest, err, digest)
				return
			}
			isGood(t, "a good image beside", w.ended(t, "good", tag))
		}
	})
	tag := func(i int) string { return fmt.Sprintf("h%d", i) }
	for i, h := range all {
		w.mustPush(t, "hostile", tag(i), base(t), h.layer)
	}
	for i, h := range all {
		r := w.ended(t, "hostile", tag(i))
		t.Logf("%s (%d bytes): %s", h.name, len(h.layer), r)
		switch {
		case h.want == "":
			isGood(t, h.name, r)
		case h.want == "no finding": // the list of packages is another one
			if r.status != "COMPLETE" || len(r.out.ImageScanFindings.Findings) != 0 {
				t.Errorf("%s: %s, want COMPLETE without a finding", h.name, r)
			}
		case h.want == "unread": // so what is told of the image would not be all
			if r.status != "FAILED" || !strings.HasPrefix(r.description, "ImageContentError: the list of packages ") || !strings.Contains(r.description, " cannot be read: ") {
				t.Errorf("%s: %s, want FAILED for its list of packages", h.name, r)
			}
		default:
			if r.status != "FAILED" || !strings.HasPrefix(r.description, "ImageContentError: the layer ") || !strings.Contains(r.description, h.want) {
				t.Errorf("%s: %s, want FAILED with %q", h.name, r, h.want)
			}
		}
	}
	stop()
	beside.Wait()
	memory.end()
	t.Logf("%d good images beside; the server held %d MiB at most, a scanner %d", good, memory.server/mib, memory.scanner/mib)
	if good == 0 {
		t.Error("no good image got through beside")
	}
	if memory.server > serverMemory || memory.server == 0 {
		t.Errorf("the server held %d MiB, at most %d are allowed", memory.server/mib, serverMemory/mib)
	}
	if memory.scanner > scannerMemory || memory.scanner == 0 {
		t.Errorf("a scanner held %d MiB, at most %d are allowed", memory.scanner/mib, scannerMemory/mib)
	}
	if left := w.spooled(t); len(left) > 0 {
		t.Errorf("the scanners left %q", left)
	}
	entries := must(os.ReadDir(outside))(t)
	kept := must(os.ReadFile(filepath.Join(outside, "kept")))(t)
	if len(entries) != 1 || string(kept) != "as it was" {
		t.Errorf("outside there are %v now, and what was kept is %q", entries, kept)
	}
	if strings.Contains(w.Log(), "panic") {
		t.Error("something panicked; see the log")
	}
	w.MustFsck(t)
}
