package language

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

func parseString(ctx context.Context, path, content string, mode fs.FileMode) ([]inventory.Package, error) {
	return Parse(ctx, File{Path: path, Size: int64(len(content)), Mode: mode}, strings.NewReader(content))
}

// show is a package as samples write it.
func show(path string, p inventory.Package) string {
	s := fmt.Sprintf("%s %s %s", p.Type, p.Name, p.Version)
	if p.Dev {
		s += " dev"
	}
	if len(p.Licenses) > 0 {
		s += fmt.Sprintf(" %v", p.Licenses)
	}
	if p.Path != path {
		s += " @" + p.Path
	}
	return s
}

func TestParse(t *testing.T) {
	for _, s := range samples(t) {
		got, err := parseString(t.Context(), s.path, s.content, 0o644)
		if err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		var shown []string
		for _, p := range got {
			shown = append(shown, show(s.path, p))
		}
		if !slices.Equal(shown, s.want) {
			t.Errorf("%s:\n got %q\nwant %q", s.name, shown, s.want)
		}
		wanted := Wanted(File{Path: s.path, Size: int64(len(s.content)), Mode: 0o644})
		if len(s.want) > 0 && !wanted {
			t.Errorf("%s: %s is not wanted", s.name, s.path)
		}
		if _, err := parseString(t.Context(), s.path, "", 0o644); err != nil {
			t.Errorf("%s, empty: %v", s.name, err)
		}
	}
}

// TestEveryType holds the list of types to what is found: each one of a language is produced.
func TestEveryType(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../inventory.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[inventory.Type]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Type" {
			for _, v := range spec.Values {
				word, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				if typ := inventory.Type(word); !typ.Distribution() {
					missing[typ] = true
				}
			}
		}
		return true
	})
	if len(missing) < 10 {
		t.Fatalf("the types were not found in inventory.go: %v", missing)
	}
	// Executables are made in package executable's tests: this one reads itself for Go's.
	delete(missing, inventory.RustBinary)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range append(samples(t), sample{path: "bin/self", content: string(program)}) {
		found, err := parseString(t.Context(), s.path, s.content, 0o755)
		if err != nil {
			t.Errorf("%s: %v", s.path, err)
		}
		for _, p := range found {
			delete(missing, p.Type)
		}
	}
	if len(missing) > 0 {
		t.Errorf("nothing finds packages of the types %v", missing)
	}
}

func TestWanted(t *testing.T) {
	const text = 0o644
	for _, c := range []struct {
		path string
		mode fs.FileMode
		size int64
		want bool
	}{
		{"usr/bin/app", 0o755, 1 << 20, true},
		{"usr/bin/app", 0o755, 100, false},
		{"usr/bin/app", text, 1 << 20, false},
		{"usr/bin/app", 0o755 | fs.ModeSymlink, 1 << 20, false},
		{"app/tool.exe", text, 1 << 20, true},
		{"app/package-lock.json", text, 100, true},
		{"app/package-lock.json", text, 0, false},
		{"package-lock.json", text, 100, true},
		{"app/node_modules/x/package-lock.json", text, 100, false},
		{"app/node_modules/.package-lock.json", text, 100, false},
		{"app/node_modules/x/yarn.lock", text, 100, false},
		{"app/node_modules/x/package.json", text, 100, true},
		{"app/node_modules/x/ajax/package.json", text, 100, false},
		{"app/node_modules/@s/x/package.json", text, 100, true},
		{"app/node_modules/@s/package.json", text, 100, false},
		{"app/node_modules/@s/x/testing/package.json", text, 100, false},
		{"app/node_modules/.pnpm/x@1.0.0/node_modules/x/package.json", text, 100, true},
		{"app/node_modules/package.json", text, 100, false},
		{"app/package.json", text, 100, false},
		{"package.json", text, 100, false},
		{"opt/yarn-v1.22.22/package.json", text, 100, true},
		{"usr/lib/python3/dist-packages/x.dist-info/METADATA", text, 100, true},
		{"usr/lib/python3/dist-packages/METADATA", text, 100, false},
		{"usr/lib/python3/dist-packages/x.egg-info", text, 100, true},
		{"usr/lib/python3/dist-packages/x.egg-info", 0o755 | fs.ModeDir, 100, false},
		{"usr/lib/python3/dist-packages/x.egg-info/SOURCES.txt", text, 100, false},
		{"usr/lib/python3/dist-packages/x/requirements.txt", text, 100, false},
		{"app/requirements.txt", text, 100, true},
		{"app/requirements-dev.txt", text, 100, false},
		{"usr/lib/ruby/gems/3.0.0/specifications/default/x.gemspec", text, 100, true},
		{"usr/lib/ruby/gems/3.0.0/gems/x/x.gemspec", text, 100, false},
		{"usr/lib/ruby/gems/3.0.0/gems/x/Gemfile.lock", text, 100, false},
		{"root/.cargo/registry/src/index.crates.io-6f17d22bba15001f/x-1.0/Cargo.lock", text, 100, false},
		{"srv/composer.lock", text, 100, true},
		{"srv/vendor/x/y/composer.lock", text, 100, false},
		{"srv/vendor/composer/installed.json", text, 100, true},
		{"srv/installed.json", text, 100, false},
		{"app/App.deps.json", text, 100, true},
		{"app/LIB.JAR", text, 100, true},
		{"app/x.zip", text, 100, false},
		{"app/pom.xml", text, 100, false},
		{"", text, 100, false},
	} {
		if got := Wanted(File{Path: c.path, Size: c.size, Mode: c.mode}); got != c.want {
			t.Errorf("%q, %v, %d bytes: %v", c.path, c.mode, c.size, got)
		}
	}
	if !Executable([]byte("\x7fELF")) || Executable([]byte("#!/b")) || Executable(nil) {
		t.Error("Executable does not tell a program from a script")
	}
}

// TestBroken: what cannot be read is an error, and leaves what was found before it.
func TestBroken(t *testing.T) {
	good := archiveOf(t, pom("g", "good", "1"))
	many := func(format string) string {
		var b strings.Builder
		for i := range maxPackages + 1 {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, path, content string
		found               int
		says                string
	}{
		{"JSON cut off", "package-lock.json", `{"packages":{"node_modules/a":{"version":"1.0.0"},"node_modules/b":{"ver`, 1, "EOF"},
		{"no JSON", "Pipfile.lock", "hello", 0, "invalid character"},
		{"deep JSON", "package-lock.json", strings.Repeat(`{"dependencies":{"a":`, 100_000), 0, "nested too deep"},
		{"deep JSON that is skipped", "package-lock.json", `{"x":` + strings.Repeat("[", 1_000_000), 0, "exceeded max depth"},
		{"deep JSON in a value", "composer.lock", `{"packages":[` + strings.Repeat(`{"name":`, 1_000_000), 0, "exceeded max depth"},
		{"endless line", "requirements.txt", "a==1\n" + strings.Repeat("a", maxLine+1), 1, "too long"},
		{"large text", "Cargo.lock", strings.Repeat("#", maxText+1), 0, "more than"},
		{"large XML", "packages.config", "<packages>" + strings.Repeat(" ", maxXML), 0, "more than"},
		{"XML with a mistake", "packages.config", `<packages><package id="a" version="1"/><`, 1, "XML"},
		{"many packages", "requirements.txt", many("p%d==1\n"), maxPackages, "more than 20000 packages"},
		{"many of pnpm", "pnpm-lock.yaml", "lockfileVersion: '6.0'\npackages:\n" + many("  /p%d@1.0.0:\n"), 0, "more than 20000 packages"},
		{"pnpm of an unknown version", "pnpm-lock.yaml", "lockfileVersion: x\n", 0, "no number"},
		{"no archive", "a.jar", "hello", 0, "not a valid zip"},
		{"archive cut off", "a.jar", good[:len(good)-10], 0, "not a valid zip"},
		{"broken archive within a good one", "a.jar", archiveOf(t, entry{"broken.jar", "hello", false}, entry{"good.jar", good, false}), 1, "a.jar/broken.jar"},
		{"broken archive that is stored", "a.jar", archiveOf(t, entry{"broken.jar", "hello", true}, entry{"good.jar", good, true}), 1, "a.jar/broken.jar"},
	} {
		found, err := parseString(t.Context(), c.path, c.content, 0o644)
		if err == nil || !strings.Contains(err.Error(), c.says) || len(found) != c.found {
			t.Errorf("%s: %d packages, %.200v; want %d and %q", c.name, len(found), err, c.found, c.says)
		}
	}
}

// TestBombs: the budget is one for all archives of a file.
func TestBombs(t *testing.T) {
	nested := archiveOf(t, pom("g", "deep", "1"))
	for i := range 8 {
		nested = archiveOf(t, pom("g", "level", strconv.Itoa(i)), entry{"x.jar", nested, i%2 == 0})
	}
	found, err := parseString(t.Context(), "a.jar", nested, 0o644)
	if err == nil || !strings.Contains(err.Error(), "within each other") || len(found) != maxDepth {
		t.Errorf("nested: %d packages, %v", len(found), err)
	}

	// The others with a smaller budget, so as not to unpack a GiB here.
	read := func(content string, o opener) error {
		o.c = &collector{typ: inventory.Jar}
		return o.jar(t.Context(), "a.jar", io.NewSectionReader(strings.NewReader(content), 0, int64(len(content))), 1)
	}
	const mib = 1 << 20
	big := archiveOf(t, entry{"big.jar", strings.Repeat("\x00", mib+1), false})
	if err := read(big, opener{unpacked: 9 * mib, memory: mib, directories: mib, entries: 9}); err == nil || !strings.Contains(err.Error(), "in memory") {
		t.Errorf("large inner archive: %v", err)
	}
	half := archiveOf(t, entry{"META-INF/MANIFEST.MF", strings.Repeat("\x00", mib), false})
	var entries []entry
	for i := range 10 {
		entries = append(entries, entry{strconv.Itoa(i) + ".jar", half, true})
	}
	inners := archiveOf(t, entries...)
	for name, c := range map[string]struct {
		o    opener
		want error
	}{
		"enough":                   {opener{unpacked: 10 * mib, memory: mib, directories: maxDirectories, entries: 20}, nil},
		"unpacks too much":         {opener{unpacked: 10*mib - 1, memory: mib, directories: maxDirectories, entries: 20}, errUnpacked},
		"has too many entries":     {opener{unpacked: 10 * mib, memory: mib, directories: maxDirectories, entries: 19}, errEntries},
		"has too much of an index": {opener{unpacked: 10 * mib, memory: mib, directories: 1000, entries: 20}, errDirectories},
	} {
		// The zeros are one endless line, which is an error of its own.
		if err := read(inners, c.o); exhausted(err) != (c.want != nil) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, s := range samples(t) {
		if found, err := parseString(ctx, s.path, s.content, 0o644); !errors.Is(err, context.Canceled) || len(found) != 0 {
			t.Errorf("%s: %d packages, %v", s.name, len(found), err)
		}
	}
	// In the middle, too: the reader ends the context once it is read from.
	c, ended := context.WithCancel(t.Context())
	jar := archiveOf(t, pom("g", "a", "1"), pom("g", "b", "1"))
	r := endingReader{bytes.NewReader([]byte(jar)), ended}
	if _, err := Parse(c, File{Path: "a.jar", Size: int64(len(jar)), Mode: 0o644}, r); !errors.Is(err, context.Canceled) {
		t.Errorf("in the middle: %v", err)
	}
}

type endingReader struct {
	*bytes.Reader
	end func()
}

func (r endingReader) ReadAt(p []byte, off int64) (int, error) {
	r.end()
	return r.Reader.ReadAt(p, off)
}

// panicReader stands for a mistake in a parser.
type panicReader struct{ *strings.Reader }

func (panicReader) ReadAt([]byte, int64) (int, error) { panic("oh") }

func TestNeverPanics(t *testing.T) {
	if _, err := Parse(t.Context(), File{Path: "requirements.txt", Size: 9, Mode: 0o644}, panicReader{strings.NewReader("")}); err == nil || !strings.Contains(err.Error(), "unexpected content: oh") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range samples(f) {
		f.Add(s.path, []byte(s.content))
	}
	f.Fuzz(func(t *testing.T, path string, content []byte) {
		// An error is fine; a panic is caught by Parse, so it is told by its words.
		found, err := Parse(t.Context(), File{Path: path, Size: int64(len(content)), Mode: 0o755}, bytes.NewReader(content))
		if err != nil && strings.Contains(err.Error(), "unexpected content: ") {
			t.Fatal(err)
		}
		for _, p := range found {
			if p.Name == "" || p.Version == "" || p.Type == "" || !strings.HasPrefix(p.Path, path) {
				t.Fatalf("an incomplete package: %+v", p)
			}
		}
	})
}
