package read_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/read"
)

// unpacked is a plain model of a root file system: what stands at each path, "/" for a
// directory, else the content of a file or "" for what is none.
type unpacked map[string]string

func (u unpacked) remove(p string) {
	delete(u, p)
	u.empty(p)
}

func (u unpacked) empty(p string) {
	for k := range u {
		if p == "" || strings.HasPrefix(k, p+"/") {
			delete(u, k)
		}
	}
}

func (u unpacked) mkdir(p string) {
	for ; p != "." && p != ""; p = path.Dir(p) {
		u[p] = "/"
	}
}

// apply unpacks a layer: first what it removes of the lower ones, then its own.
func (u unpacked) apply(entries []entry) {
	for _, e := range entries {
		switch dir, base := path.Split(e.name); {
		case base == ".wh..wh..opq":
			u.empty(strings.TrimSuffix(dir, "/"))
		case strings.HasPrefix(base, ".wh."):
			u.remove(dir + base[4:])
		}
	}
	for _, e := range entries {
		p := strings.TrimSuffix(e.name, "/")
		switch {
		case strings.HasPrefix(path.Base(p), ".wh."):
			continue
		case e.kind == tar.TypeDir:
			u.mkdir(p)
			continue
		case e.kind == tar.TypeLink && e.link == p: // would remove itself
			continue
		}
		content, linked := u[e.link], e.kind == tar.TypeLink
		u.mkdir(path.Dir(p))
		u.remove(p)
		switch {
		case linked && content != "/":
			u[p] = content
		case e.kind == 0:
			u[p] = e.content
		default:
			u[p] = ""
		}
	}
}

// Layers that are read and merged say what unpacking them leaves in the files of packages.
func TestReadAndMergedIsUnpacked(t *testing.T) {
	status := func(pkg string) string { return "Package: " + pkg + "\nVersion: 1-1\n" }
	places := []string{"var/lib/dpkg/status.d/a", "var/lib/dpkg/status.d/b", "var/lib/dpkg/status", "var/lib/apk", "var"}
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		model := unpacked{}
		var layers []inventory.Layer
		for range rapid.IntRange(1, 4).Draw(t, "layers") {
			entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) entry {
				p := rapid.SampledFrom(places).Draw(t, "place")
				switch rapid.SampledFrom([]string{"file", "file", "file", "symlink", "dir", "whiteout", "opaque", "up"}).Draw(t, "kind") {
				case "symlink":
					return entry{name: p, kind: tar.TypeSymlink, link: "elsewhere"}
				case "dir":
					return entry{name: p + "/", kind: tar.TypeDir}
				case "whiteout":
					return file(path.Dir(p)+"/.wh."+path.Base(p), "")
				case "opaque":
					return file(path.Dir(p)+"/.wh..wh..opq", "")
				case "up":
					return entry{name: path.Dir(p) + "/", kind: tar.TypeDir}
				}
				return file(p, status(rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "package")))
			}), 0, 6).Draw(t, "entries")
			for i := range entries {
				entries[i].name = path.Clean(entries[i].name)
				if entries[i].kind == tar.TypeDir {
					entries[i].name += "/"
				}
			}
			model.apply(entries)
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			for _, e := range entries {
				kind := e.kind
				if kind == 0 {
					kind = tar.TypeReg
				}
				if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: kind, Linkname: e.link, Mode: 0o644, Size: int64(len(e.content))}); err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write([]byte(e.content)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			l, err := read.Layer(context.Background(), "", &b, dir, read.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			layers = append(layers, l)
		}
		var want []string
		for p, content := range model {
			if pkg, _, ok := strings.Cut(strings.TrimPrefix(content, "Package: "), "\n"); ok && (p == "var/lib/dpkg/status" || path.Dir(p) == "var/lib/dpkg/status.d") {
				want = append(want, pkg)
			}
		}
		slices.Sort(want)
		want = slices.Compact(want) // a package that is listed twice is one
		var got []string
		for _, p := range inventory.Merge(layers, nil).Packages {
			got = append(got, p.Name)
		}
		if !reflect.DeepEqual(got, want) && len(got)+len(want) > 0 {
			t.Fatalf("merged %q, unpacked %q (%v)", got, want, model)
		}
	})
}

// Whatever the bytes are, reading ends with an inventory or a reason.
func FuzzLayer(f *testing.F) {
	plain := archive(f, file("var/lib/dpkg/status", bash), file("etc/os-release", "ID=debian\nVERSION_ID=12\n"), file("a/.wh.b", ""),
		file("lib/apk/db/installed", apkInstalled), file("root/buildinfo/Dockerfile-a-1-2", "FROM x\nLABEL architecture=\"a\" \\\n com.redhat.component=$X\n"),
		entry{name: "etc/alpine-release", kind: tar.TypeLink, link: "etc/os-release"}, file("x/package-lock.json", `{"packages": {}}`))
	f.Add(plain)
	f.Add(gzipped(f, plain))
	f.Add(zstded(f, plain))
	f.Add(rawPAX("var/lib/rpm/rpmdb.sqlite", 16, map[string]string{"GNU.sparse.major": "1"}, []byte("SQLite format 3\x00")))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	dir := f.TempDir()
	l := read.DefaultLimits()
	l.Bytes, l.Entries, l.Packages, l.MemoryBytes, l.FileBytes = 1<<20, 200, 100, 1<<10, 1<<16
	f.Fuzz(func(t *testing.T, b []byte) {
		layer, err := read.Layer(t.Context(), "", bytes.NewReader(b), dir, l)
		if err != nil {
			if e := new(read.Error); !errors.As(err, &e) || e.Reason == "" {
				t.Fatalf("no reason: %v", err)
			}
			return
		}
		if layer.Size > l.Bytes || layer.Entries > l.Entries || layer.DiffID == "" {
			t.Fatalf("over the limits: %+v", layer)
		}
		inventory.Merge([]inventory.Layer{layer, layer}, []name.Digest{"sha256:x"})
	})
}

// debianLike is an archive like a layer of Debian with much installed: many small files
// that compress as text does, some large programs, dpkg's list and lists of files.
func debianLike(b *testing.B, size int) []byte {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 5000)
	for i := range words {
		w := make([]byte, 2+r.IntN(9))
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(w)
	}
	text := func(n int) []byte {
		out := make([]byte, 0, n+16)
		for len(out) < n {
			out = append(append(out, words[int(r.ExpFloat64()*300)%len(words)]...), ' ')
		}
		return out[:n]
	}
	code := func(n int) []byte {
		out := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 57)...)
		for len(out) < n {
			v := r.Uint64()
			out = append(out, 0x48, 0x8b, byte(v), byte(v>>8)&0x3f, 0, 0, 0xe8, byte(v>>16), byte(v>>24)&7, 0, 0, byte(v>>32)&3)
		}
		return out[:n]
	}
	var buf bytes.Buffer
	buf.Grow(size + size/8)
	w := tar.NewWriter(&buf)
	put := func(p string, mode int64, content []byte) {
		if err := w.WriteHeader(&tar.Header{Name: p, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			b.Fatal(err)
		}
	}
	var status strings.Builder
	for n := 0; buf.Len() < size; n++ {
		fmt.Fprintf(&status, "Package: pkg%d\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.%d-2\nDescription: %s\n\n", n, n, text(700))
		var list strings.Builder
		for i := range 40 {
			p := fmt.Sprintf("usr/share/pkg%d/file%d", n, i)
			list.WriteString("/" + p + "\n")
			put("./"+p, 0o644, text(2000+r.IntN(30_000)))
		}
		put(fmt.Sprintf("./usr/bin/prog%d", n), 0o755, code(300_000))
		put(fmt.Sprintf("./usr/lib/x86_64-linux-gnu/lib%d.so.1", n), 0o644, code(600_000))
		put(fmt.Sprintf("./var/lib/dpkg/info/pkg%d.list", n), 0o644, []byte(list.String()))
	}
	put("./var/lib/dpkg/status", 0o644, []byte(status.String()))
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return buf.Bytes()
}
