package executable

import (
	"bytes"
	"compress/zlib"
	"context"
	"debug/buildinfo"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// read gives the packages as "type name version".
func read(t testing.TB, b []byte) ([]string, error) {
	t.Helper()
	var found []string
	err := Read(context.Background(), io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b))), func(p inventory.Package) error {
		found = append(found, string(p.Type)+" "+p.Name+" "+p.Version)
		return nil
	})
	slices.Sort(found)
	return found, err
}

// build makes a program of a module with two dependencies, one of which is replaced by a
// directory and one by another module; nothing of it needs a network.
func build(t *testing.T, target string, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod": "module example.com/program\n\ngo 1.21\n\nrequire (\n\texample.com/dep v1.2.3\n\texample.com/old v1.0.0\n)\n\n" +
			"replace example.com/dep v1.2.3 => ./dep\n\nreplace example.com/old v1.0.0 => example.com/new v2.0.1+incompatible\n",
		"main.go":                           "package main\n\nimport (\n\t\"example.com/dep\"\n\t\"example.com/old\"\n)\n\nvar version = \"dev\"\n\nfunc main() { println(version, dep.N, old.N) }\n",
		"dep/go.mod":                        "module example.com/dep\n",
		"dep/dep.go":                        "package dep\n\nvar N = 1\n",
		"vendor/modules.txt":                "# example.com/dep v1.2.3 => ./dep\n## explicit\nexample.com/dep\n# example.com/old v1.0.0 => example.com/new v2.0.1+incompatible\n## explicit\nexample.com/old\n# example.com/dep => ./dep\n",
		"vendor/example.com/dep/dep.go":     "package dep\n\nvar N = 1\n",
		"vendor/example.com/old/old.go":     "package old\n\nvar N = 2\n",
		"vendor/example.com/old/LICENSE.md": "MIT\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(content, "# example.com/dep => ./dep\n", "")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	system, arch, _ := strings.Cut(target, "/")
	cmd := exec.Command("go", append([]string{"build", "-o", "program", "-mod=vendor"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "program"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goVersion(t *testing.T, b []byte) string {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), "-X:")
	version, _, _ = strings.Cut(version, " ")
	return "v" + version
}

func TestGo(t *testing.T) {
	for name, c := range map[string]struct {
		target  string
		args    []string
		version string // of the main module
	}{
		"ELF":                         {target: "linux/amd64"},
		"ELF of 32 bit":               {target: "linux/386"},
		"ELF, big-endian":             {target: "linux/s390x"},
		"PE":                          {target: "windows/amd64"},
		"Mach-O":                      {target: "darwin/arm64"},
		"without symbols":             {target: "linux/amd64", args: []string{"-ldflags=-s -w"}},
		"stamped":                     {target: "linux/amd64", args: []string{"-ldflags=-s -w -X 'main.version=3.1.4'"}, version: "3.1.4"},
		"stamped, flags not recorded": {target: "linux/amd64", args: []string{"-trimpath", "-ldflags=-X main.version=3.1.5"}, version: "3.1.5"},
		"stamped with no version":     {target: "linux/amd64", args: []string{"-ldflags=-X main.version=main-branch"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := build(t, c.target, c.args...)
			got, err := read(t, b)
			want := []string{"gobinary ./dep ", "gobinary example.com/new v2.0.1+incompatible", "gobinary example.com/program " + c.version, "gobinary stdlib " + goVersion(t, b)}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %q, %v; want %q", got, err, want)
			}
		})
	}
}

// TestGoAsTheStandardLibrary compares with debug/buildinfo on this test's own executable, which has many modules.
func TestGoAsTheStandardLibrary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	info, err := buildinfo.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"gobinary stdlib " + goVersion(t, b), "gobinary " + info.Main.Path + " " + strings.TrimPrefix(info.Main.Version, "(devel)")}
	for _, m := range info.Deps {
		want = append(want, "gobinary "+m.Path+" "+m.Version)
	}
	slices.Sort(want)
	if got, err := read(t, b); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// elf makes an ELF of 64 bit with one section of the name and content.
func elf(name string, content []byte) []byte {
	names := "\x00.shstrtab\x00" + name + "\x00"
	h := make([]byte, 64+3*64)
	copy(h, "\x7fELF\x02\x01\x01")
	o := binary.LittleEndian
	o.PutUint64(h[40:], 64) // sections
	o.PutUint16(h[58:], 64)
	o.PutUint16(h[60:], 3)
	o.PutUint16(h[62:], 1)
	section := func(i int, name uint32, off, size int) {
		s := h[64+64*i:]
		o.PutUint32(s, name)
		o.PutUint32(s[4:], 1)
		o.PutUint64(s[24:], uint64(off))
		o.PutUint64(s[32:], uint64(size))
	}
	section(1, 1, len(h), len(names))
	section(2, 11, len(h)+len(names), len(content))
	return slices.Concat(h, []byte(names), content)
}

// pe makes a PE with one section.
func pe(name string, content []byte) []byte {
	h := make([]byte, 64+24+40)
	copy(h, "MZ")
	o := binary.LittleEndian
	o.PutUint32(h[60:], 64)
	copy(h[64:], "PE\x00\x00")
	o.PutUint16(h[64+6:], 1)
	s := h[64+24:]
	copy(s, name)
	o.PutUint32(s[8:], uint32(len(content)))
	o.PutUint32(s[16:], uint32(len(content))+512) // aligned, so longer than it is
	o.PutUint32(s[20:], uint32(len(h)))
	return slices.Concat(h, content, make([]byte, 512))
}

// macho makes a Mach-O of 64 bit with one section.
func macho(name string, content []byte) []byte {
	h := make([]byte, 32+72+80)
	o := binary.LittleEndian
	o.PutUint32(h, 0xfeedfacf)
	o.PutUint32(h[16:], 1)
	o.PutUint32(h[20:], 72+80)
	c := h[32:]
	o.PutUint32(c, 0x19)
	o.PutUint32(c[4:], 72+80)
	s := c[72:]
	copy(s, name)
	o.PutUint64(s[40:], uint64(len(content)))
	o.PutUint32(s[48:], uint32(len(h)))
	return slices.Concat(h, content)
}

func pack(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const someCrates = `{"packages":[{"name":"hello","version":"0.1.0","source":"local","root":true,"dependencies":[1]},
	{"name":"libc","version":"0.2.150","source":"crates.io","kind":"runtime"},{"name":"cc","version":"1.0.83","source":"crates.io","kind":"build"}],"format":1}`

func TestRust(t *testing.T) {
	want := []string{"rustbinary hello 0.1.0", "rustbinary libc 0.2.150"}
	for name, b := range map[string][]byte{
		"ELF":            elf(".dep-v0", pack(t, someCrates)),
		"ELF, older":     elf(".rust-deps-v0", pack(t, someCrates)),
		"PE":             pe(".dep-v0", pack(t, someCrates)),
		"PE, older":      pe("rdep-v0", pack(t, someCrates)),
		"Mach-O":         macho(".dep-v0", pack(t, someCrates)),
		"Mach-O, before": macho("rust-deps-v0", pack(t, someCrates)),
	} {
		if got, err := read(t, b); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestNotOurs(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": nil, "two bytes": []byte("MZ")[:1], "script": []byte("#!/bin/sh\nexit 0\n"), "Java class": {0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52},
		"MS-DOS": append([]byte("MZ"), make([]byte, 100)...), "ELF without our sections": elf(".text", []byte("code")),
	} {
		if got, err := read(t, b); err != nil || len(got) != 0 {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

// TestBroken: what leads out of the file, or claims to be large, is an error and takes no memory.
func TestBroken(t *testing.T) {
	crates := pack(t, someCrates)
	change := func(b []byte, at int, val uint64) []byte {
		b = slices.Clone(b)
		binary.LittleEndian.PutUint64(b[at:], val)
		return b
	}
	good := elf(".dep-v0", crates)
	cases := map[string][]byte{
		"only a beginning":         good[:20],
		"sections outside":         change(good, 40, 1<<40),
		"sections wrap around":     change(good, 40, ^uint64(0)-63),
		"huge names":               change(good, 64+64+32, 1<<62),
		"huge crates":              change(good, 64+128+32, 1<<62),
		"crates outside":           change(good, 64+128+24, 1<<40),
		"not packed":               elf(".dep-v0", []byte(someCrates)),
		"packed bomb":              elf(".dep-v0", pack(t, `{"packages":[`+strings.Repeat(" ", 100<<20))),
		"crates cut off":           elf(".dep-v0", pack(t, someCrates[:60])),
		"Mach-O, endless commands": change(macho(".dep-v0", crates), 32, 0x19),
		"PE, sections outside":     append(pe(".dep-v0", crates)[:64+24+4], 0),
	}
	for name, b := range cases {
		if got, err := read(t, b); err == nil || len(got) != 0 {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	sentinel := errors.New("enough")
	if err := Read(context.Background(), io.NewSectionReader(bytes.NewReader(good), 0, int64(len(good))), func(inventory.Package) error { return sentinel }); !errors.Is(err, sentinel) {
		t.Errorf("an error of add is lost: %v", err)
	}
}

// TestSymbolsOfALiar: every symbol may claim the longest name; that must not cost its length each time.
func TestSymbolsOfALiar(t *testing.T) {
	x := &file{order: binary.LittleEndian, wide: true}
	names := bytes.Repeat([]byte("a"), 4<<20)
	names = append(names, "\x00main.version.str\x00"...)
	symbols := make([]byte, 24*100_000)
	b := slices.Concat(names, symbols)
	x.r = io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
	x.strings, x.symbols = region{size: uint64(len(names))}, region{off: uint64(len(names)), size: uint64(len(symbols))}
	allocated := testing.AllocsPerRun(1, func() {
		if v := stampedSymbols(context.Background(), x, "example.com/x"); v != "" {
			t.Errorf("got %q", v)
		}
	})
	if allocated > 1000 {
		t.Errorf("%v allocations for 100,000 symbols", allocated)
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		set  []string
		want string
	}{
		{[]string{"main.version=1.2.3"}, "1.2.3"},
		{[]string{"main.version=1.2.3", "example.com/m/cmd/m.Version=v2.0.0"}, "v2.0.0"},
		{[]string{"main.version=1.2.3", "example.com/other.ver=9.9.9"}, "1.2.3"},
		{[]string{"example.com/other.ver=9.9.9"}, "9.9.9"},
		{[]string{"main.version=1.2.3", "version.Version=1.2.4"}, ""},
		{[]string{"main.version=abc", "main.commit=1.2.3"}, ""},
	} {
		var v versions
		for _, s := range c.set {
			name, val, _ := strings.Cut(s, "=")
			v.add(name, "example.com/m", val)
		}
		if got := v.best(); got != c.want {
			t.Errorf("%v: got %q, want %q", c.set, got, c.want)
		}
	}
	if got := shellWords(`-s  -X 'main.version=1 2' "-X=a.b=c" x`); !slices.Equal(got, []string{"-s", "-X", "main.version=1 2", "-X=a.b=c", "x"}) {
		t.Errorf("shell words: %q", got)
	}
}

func FuzzRead(f *testing.F) {
	info := slices.Concat([]byte("\xff Go buildinf:\x08\x02"), make([]byte, 16), []byte("\x08go1.22.3\x00"))
	f.Add(elf(".go.buildinfo", info))
	f.Add(macho("__go_buildinfo", info))
	for _, make := range []func(string, []byte) []byte{elf, pe, macho} {
		f.Add(make(".dep-v0", pack(f, someCrates)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// Only panics and endless work count; what is broken is an error.
		_, _ = read(t, b)
	})
}
