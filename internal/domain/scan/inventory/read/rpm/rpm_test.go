package rpm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/berth-registry/berth/internal/domain/scan/inventory/read/rpm"
)

// fixtures are a database of each format.
var fixtures = []string{"Packages", "Packages.db", "rpmdb.sqlite"}

func fixture(t testing.TB, file string) []byte {
	t.Helper()
	f, err := os.Open("testdata/" + file + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // it is only read
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// read gives a line for each package, in order.
func read(b []byte) (lines []string, bad int, err error) {
	bad, err = rpm.Read(context.Background(), bytes.NewReader(b), int64(len(b)), func(p *rpm.Package) error {
		var files []string
		p.Files(func(path string) { files = append(files, path) })
		sum := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(files, "\n"))))[:16]
		lines = append(lines, strings.Join([]string{p.Name, fmt.Sprint(p.Epoch), p.Version, p.Release, p.Arch, p.SourceRPM, p.License,
			p.Vendor, p.Modularity, p.MD5, fmt.Sprint(len(files)), sum}, "\t"))
		return nil
	})
	slices.Sort(lines)
	return lines, bad, err
}

func TestRealDatabases(t *testing.T) {
	for _, file := range fixtures {
		golden, err := os.ReadFile("testdata/" + file + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Split(strings.TrimSuffix(string(golden), "\n"), "\n")
		got, bad, err := read(fixture(t, file))
		if err != nil || bad != 0 {
			t.Errorf("%s: %d bad, %v", file, bad, err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

// tag is one entry of a header.
type tag struct {
	tag, kind, count uint32
	data             []byte
}

// header writes one as rpm does.
func header(tags ...tag) []byte {
	var index, data []byte
	for _, t := range tags {
		for t.kind == 4 && len(data)%4 != 0 {
			data = append(data, 0)
		}
		for _, v := range [...]uint32{t.tag, t.kind, uint32(len(data)), t.count} {
			index = binary.BigEndian.AppendUint32(index, v)
		}
		data = append(data, t.data...)
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(tags)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	return append(append(out, index...), data...)
}

func text(n uint32, s string) tag { return tag{n, 6, 1, append([]byte(s), 0)} }

func texts(n uint32, s ...string) tag {
	return tag{n, 8, uint32(len(s)), append([]byte(strings.Join(s, "\x00")), 0)}
}

func numbers(n uint32, v ...uint32) tag {
	var b []byte
	for _, x := range v {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return tag{n, 4, uint32(len(v)), b}
}

// bdb writes headers into a Berkeley DB of 512-byte pages, each record over pages of its own.
func bdb(o binary.ByteOrder, headers ...[]byte) []byte {
	const size = 512
	page := func(kind byte, next uint32, entries, free uint16) []byte {
		b := make([]byte, size)
		o.PutUint32(b[16:], next)
		o.PutUint16(b[20:], entries)
		o.PutUint16(b[22:], free)
		b[25] = kind
		return b
	}
	meta := page(8, 0, 0, 0)
	o.PutUint32(meta[12:], 0x00061561)
	o.PutUint32(meta[20:], size)
	hash := page(13, 0, uint16(2*len(headers)), 0)
	pages := [][]byte{meta, hash}
	for i, h := range headers {
		at := size - 12*(i+1)
		o.PutUint16(hash[26+4*i:], uint16(at)) // the key, which is not looked at
		o.PutUint16(hash[26+4*i+2:], uint16(at))
		hash[at] = 3
		o.PutUint32(hash[at+4:], uint32(len(pages)))
		o.PutUint32(hash[at+8:], uint32(len(h)))
		for rest := h; len(rest) > 0; {
			n := min(len(rest), size-26)
			next := uint32(len(pages) + 1)
			if n == len(rest) {
				next = 0
			}
			p := page(7, next, 1, uint16(n))
			copy(p[26:], rest[:n])
			rest = rest[n:]
			pages = append(pages, p)
		}
	}
	o.PutUint32(meta[32:], uint32(len(pages)-1))
	return bytes.Join(pages, nil)
}

func nodejs() []byte {
	return header(numbers(63, 0), text(1000, "nodejs"), text(1001, "18.1"), text(1002, "1.el8"), numbers(1003, 2), text(1022, "x86_64"),
		text(1044, "(none)"), text(5096, "nodejs:18:8000:abcd"), texts(1117, "node", "README", "lost"), texts(1118, "/usr/bin/", "/usr/share/"), numbers(1116, 0, 1, 7),
		text(1011, strings.Repeat("v", 3000)), text(1002, "2.el8"))
}

func TestHeaderWritten(t *testing.T) {
	for _, db := range [][]byte{
		bdb(binary.LittleEndian, nodejs(), header(text(1000, "x"), text(1001, "1"))),
		bdb(binary.BigEndian, nodejs(), header(text(1000, "x"), text(1001, "1"))),
	} {
		var got []rpm.Package
		var files []string
		bad, err := rpm.Read(t.Context(), bytes.NewReader(db), int64(len(db)), func(p *rpm.Package) error {
			p.Files(func(path string) { files = append(files, path) })
			got = append(got, *p)
			return nil
		})
		if err != nil || bad != 0 || len(got) != 2 {
			t.Fatalf("%d packages, %d bad, %v", len(got), bad, err)
		}
		if p := got[0]; p.Name != "nodejs" || p.Epoch != 2 || p.Release != "2.el8" || p.Modularity != "nodejs:18:8000:abcd" || p.SourceRPM != "" || len(p.Vendor) != 1024 {
			t.Errorf("got %+v: the later release holds, (none) is none, and long words are cut", p)
		}
		if want := []string{"usr/bin/node", "usr/share/README"}; !slices.Equal(files, want) {
			t.Errorf("files %q, want %q: one points to no directory", files, want)
		}
	}
}

func TestBrokenHeadersLeaveTheOthers(t *testing.T) {
	good := header(text(1000, "good"), text(1001, "1"))
	lies := slices.Clone(good)
	binary.BigEndian.PutUint32(lies, 1<<30) // entries
	short := slices.Clone(good)
	binary.BigEndian.PutUint32(short[4:], 1<<31) // bytes of data
	nameless := header(text(1001, "1"))
	list := header(text(1000, "list"), text(1001, "1"), tag{1117, 8, 1 << 30, []byte("a\x00")})
	db := bdb(binary.LittleEndian, lies, short, nameless, list, good)
	got, bad, err := read(db)
	if err != nil || bad != 3 || len(got) != 2 || !strings.HasPrefix(got[0], "good") || !strings.HasPrefix(got[1], "list") {
		t.Fatalf("got %q, %d bad, %v", got, bad, err)
	}
}

func TestPagesInACircle(t *testing.T) {
	db := bdb(binary.LittleEndian, nodejs())
	// The first overflow page points to itself, and the record claims 32 MiB.
	binary.LittleEndian.PutUint32(db[2*512+16:], 2)
	binary.LittleEndian.PutUint32(db[2*512-12+8:], rpm.HeaderMax)
	if got, _, err := read(db); err == nil || !strings.Contains(err.Error(), "longer than the database") {
		t.Errorf("Berkeley DB: %q, %v", got, err)
	}

	lite := fixture(t, "rpmdb.sqlite")
	page := int(binary.BigEndian.Uint16(lite[16:]))
	circles := 0
	for n := 1; n < len(lite)/page; n++ {
		if p := lite[n*page:]; p[0] == 0x05 { // an interior page: its last child is itself
			binary.BigEndian.PutUint32(p[8:], uint32(n+1))
			circles++
		}
	}
	if circles == 0 {
		t.Fatal("the fixture has no interior page")
	}
	if _, _, err := read(lite); err == nil || !strings.Contains(err.Error(), "circle") && !strings.Contains(err.Error(), "longer than the database") {
		t.Errorf("SQLite: %v", err)
	}
}

func TestRecordsOverOneAnother(t *testing.T) {
	db := fixture(t, "Packages.db")
	// Every slot points to the largest blob.
	var largest []byte
	for at := 32; at < 4096; at += 16 {
		if slot := db[at : at+16]; largest == nil || binary.LittleEndian.Uint32(slot[12:]) > binary.LittleEndian.Uint32(largest[12:]) {
			largest = slices.Clone(slot)
		}
	}
	for at := 32; at < 4096; at += 16 {
		copy(db[at:], largest)
	}
	if got, _, err := read(db); err == nil || !strings.Contains(err.Error(), "longer than the database") {
		t.Errorf("%d packages, %v", len(got), err)
	}
}

func TestNoDatabase(t *testing.T) {
	for _, b := range []string{"", "short", strings.Repeat("x", 4096), "SQLite format 3\x00" + strings.Repeat("\x00", 4096), "RpmP" + strings.Repeat("\xff", 4096)} {
		if _, _, err := read([]byte(b)); err == nil {
			t.Errorf("%.20q was read", b)
		}
	}
	stop := errors.New("stop")
	b := fixture(t, "Packages")
	if _, err := rpm.Read(t.Context(), bytes.NewReader(b), int64(len(b)), func(*rpm.Package) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the callback's error became %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rpm.Read(ctx, bytes.NewReader(b), int64(len(b)), func(*rpm.Package) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled reading ended with %v", err)
	}
}

// Damage anywhere ends in packages, bad ones or an error.
func TestDamage(t *testing.T) {
	var dbs [][]byte
	for _, f := range fixtures {
		dbs = append(dbs, fixture(t, f))
	}
	rapid.Check(t, func(t *rapid.T) {
		db := slices.Clone(rapid.SampledFrom(dbs).Draw(t, "database"))
		for range rapid.IntRange(1, 20).Draw(t, "changes") {
			at := rapid.IntRange(0, len(db)-4).Draw(t, "at")
			if rapid.Bool().Draw(t, "in front") {
				at %= 4096
			}
			copy(db[at:], rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "bytes"))
		}
		if rapid.Bool().Draw(t, "cut") {
			db = db[:rapid.IntRange(0, len(db)).Draw(t, "length")]
		}
		_, _, _ = read(db) // whatever it says: it must end
	})
}

func FuzzRead(f *testing.F) {
	f.Add(bdb(binary.LittleEndian, nodejs()))
	f.Add(bdb(binary.BigEndian, nodejs()))
	f.Add([]byte("RpmP\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"))
	f.Add([]byte("SQLite format 3\x00\x10\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, _, err := read(b)
		if err == nil && len(b) < 16 {
			t.Fatalf("%d bytes were a database of %d packages", len(b), len(lines))
		}
	})
}
