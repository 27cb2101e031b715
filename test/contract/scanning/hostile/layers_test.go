package hostile

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// manifest is a manifest as it is pushed.
func manifest(m harness.Manifest) ([]byte, error) { return json.Marshal(m) }

const (
	debianRelease = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n"
	// bash is what the good image has installed.
	bash = "Package: bash\nStatus: install ok installed\nMaintainer: Matthias Klose <doko@debian.org>\nArchitecture: amd64\nVersion: 5.2.15-2+b7\nSource: bash (5.2.15-2)\n\n"
)

// goodDB has one advisory, for the good image.
func goodDB() matchtest.DB {
	return matchtest.DB{
		Buckets: []matchtest.Bucket{{
			Bucket: "debian 12", Source: matchtest.Source{ID: "debian", Name: "Debian Security Tracker"},
			Advs: []matchtest.Advisory{{Pkg: "bash", ID: "CVE-2024-0001", Fixed: "5.2.15-2+deb12u1"}},
		}},
		Vulnerabilities: []matchtest.Vulnerability{{ID: "CVE-2024-0001", Title: "of bash"}},
	}
}

// base is the layer that every image here begins with: Debian with bash.
func base(t testing.TB) []byte {
	return gzipped(t, archive(t, file("etc/os-release", debianRelease), file("etc/debian_version", "12.5\n"), file("var/lib/dpkg/status", bash)))
}

// file is an entry of an archive.
func file(name, content string) entry { return entry{name: name, content: content} }

// entry is one of an archive; a regular file where nothing else is said.
type entry struct {
	name, content, link string
	kind                byte
	mode                int64
}

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
		if h.Typeflag == tar.TypeBlock || h.Typeflag == tar.TypeChar {
			h.Devmajor, h.Devminor = 8, 1
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
	w := must(gzip.NewWriterLevel(&out, gzip.BestSpeed))(t)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// raw is a header as the format has it, with a right checksum, whatever it says: what
// archive/tar does not write.
func raw(name string, kind byte, size int64, link string) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000755\x000000000\x000000000\x00")
	copy(h[124:], fmt.Sprintf("%011o\x00", size&(1<<33-1)))
	copy(h[136:], "00000000000\x00")
	h[156] = kind
	copy(h[157:257], link)
	copy(h[257:], "ustar\x0000")
	return sum(h)
}

func sum(h []byte) []byte {
	copy(h[148:], "        ")
	n := 0
	for _, c := range h {
		n += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", n))
	return h
}

// padded fills up a block.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&511)...) }

// pax is an entry with extended headers, which are not checked at all.
func pax(records string, header []byte) []byte {
	return slices.Concat(raw("PaxHeaders/x", 'x', int64(len(records)), ""), padded([]byte(records)), header)
}

// record is one of an extended header.
func record(key, value string) string {
	size := len(key) + len(value) + 3
	for {
		if s := fmt.Sprintf("%d %s=%s\n", size, key, value); len(s) == size {
			return s
		} else {
			size = len(s)
		}
	}
}

// end is the end of an archive.
func end() []byte { return make([]byte, 1024) }

// repeated is a gzip file of the beginning, n times the block, and the end, made in
// little time and memory however large that is.
func repeated(t testing.TB, start, block []byte, n int, end []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	out.WriteString("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
	crc, size := uint32(0), uint32(0)
	count := func(b []byte) {
		crc = crc32.Update(crc, crc32.IEEETable, b)
		size += uint32(len(b))
	}
	var piece bytes.Buffer
	z := must(flate.NewWriter(&piece, flate.BestCompression))(t)
	compress := func(b []byte) []byte {
		t.Helper()
		piece.Reset()
		_, err := z.Write(b)
		if err == nil {
			err = z.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		return piece.Bytes()
	}
	out.Write(compress(start))
	count(start)
	// A piece that begins anew refers to nothing before it, so it can be put anywhere.
	z.Reset(&piece)
	again := bytes.Clone(compress(block))
	for range n {
		out.Write(again)
		count(block)
	}
	z.Reset(&piece)
	out.Write(compress(end))
	count(end)
	out.WriteString("\x03\x00") // an empty last block
	out.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, crc), size))
	return out.Bytes()
}

// zeros is an archive of one file with n MiB of zeros: a thousandth of it as a layer.
func zeros(t testing.TB, name string, n int) []byte {
	t.Helper()
	var h bytes.Buffer
	if err := tar.NewWriter(&h).WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(n) * mib}); err != nil {
		t.Fatal(err)
	}
	return repeated(t, h.Bytes(), make([]byte, mib), n, end())
}

// zstdZeros is a zstd frame whose blocks say "n times a zero" in four bytes, as often as
// is said; window is its exponent.
func zstdZeros(blocks int, window byte) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (window - 10) << 3}
	for i := range blocks {
		h := uint32(128<<10)<<3 | 1<<1
		if i == blocks-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return b
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	w := must(zstd.NewWriter(nil))(t)
	defer func() { _ = w.Close() }() // nothing is in it
	return w.EncodeAll(b, nil)
}

// jar is an archive with the entries.
func jar(t testing.TB, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		w := must(z.Create(e.name))(t)
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pom is what Maven leaves in a jar.
func pom(group, artifact, version string) entry {
	return file("META-INF/maven/"+group+"/"+artifact+"/pom.properties", "version="+version+"\ngroupId="+group+"\nartifactId="+artifact+"\n")
}

// elf makes a program of 64 bit with one section of the name and content.
func elf(name, content string) string {
	names := "\x00.shstrtab\x00" + name + "\x00"
	h := make([]byte, 64+3*64)
	copy(h, "\x7fELF\x02\x01\x01")
	o := binary.LittleEndian
	o.PutUint16(h[16:], 2)
	o.PutUint16(h[18:], 62)
	o.PutUint32(h[20:], 1)
	o.PutUint64(h[40:], 64)
	o.PutUint16(h[52:], 64)
	o.PutUint16(h[54:], 56)
	o.PutUint16(h[58:], 64)
	o.PutUint16(h[60:], 3)
	o.PutUint16(h[62:], 1)
	section := func(i int, name uint32, off, size int) {
		s := h[64+64*i:]
		o.PutUint32(s, name)
		o.PutUint32(s[4:], 1)
		o.PutUint64(s[8:], 2)
		o.PutUint64(s[16:], uint64(0x400000+off))
		o.PutUint64(s[24:], uint64(off))
		o.PutUint64(s[32:], uint64(size))
	}
	section(1, 1, len(h), len(names))
	section(2, 11, len(h)+len(names), len(content))
	return string(h) + names + content
}

// program is an entry that can be run; it is filled up to the size that a program has at least.
func program(name, content string) entry {
	return entry{name: name, content: content + strings.Repeat("\x00", max(0, 64<<10-len(content))), mode: 0o755}
}

// random is n bytes as text.
func random(seed uint64, n int) string { return string(harness.Random(seed, n)) }

// zlibZeros are n zeros, compressed.
func zlibZeros(t testing.TB, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := io.CopyN(z, nothing{}, int64(n)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// nothing is zeros without end.
type nothing struct{}

// Read clears all of b.
func (nothing) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
