package language

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/inventory/language/executable"
)

const (
	// maxText is the largest text file in bytes that is read. The largest lock files of real
	// projects have about 6 MiB.
	maxText = 16 << 20
	// maxPackages is how many packages one file may tell of.
	maxPackages = 20_000
	// minExecutable is the size in bytes from which an executable may hold build information: an
	// empty program has 1 MiB in Go, and 14 KiB in Rust without its standard library.
	minExecutable = 10 << 10
	// maxWord is the longest name, version or licence in bytes that is believed.
	maxWord = 512
)

// File is what an archive's entry says of a file.
type File struct {
	// Path is clean and relative to the root: "usr/bin/app".
	Path string
	// Size is in bytes.
	Size int64
	// Mode is the type and the permissions. Only regular files are wanted.
	Mode fs.FileMode
}

// Reader is the content of a file, of File.Size bytes.
type Reader interface {
	io.ReaderAt
	io.ReadSeeker
}

// format is how a file is read.
type format struct {
	typ   inventory.Type
	parse func(ctx context.Context, f File, r io.Reader, c *collector) error
}

// Wanted says whether Parse may find packages in the file. It looks at path, size and mode alone. An
// executable is wanted whatever it is; Executable tells more once its first bytes are there.
func Wanted(f File) bool {
	if !f.Mode.IsRegular() || f.Size <= 0 || f.Path == "" {
		return false
	}
	if _, ok := textFormat(f.Path); ok {
		return true
	}
	return archive(f.Path) || runs(f)
}

// Executable says whether the first bytes of a file are those of an executable that Parse
// reads: ELF, PE or Mach-O. Four bytes are enough. A reader may drop executables for which it is
// false (scripts, mostly) without keeping them.
func Executable(head []byte) bool { return executable.Is(head) }

// Parse finds the packages that the file tells of, in the order of name, version and path. It
// returns nothing and no error when the file is none of a package after all. A broken file is
// an error; what was found in it until then is returned as well, because an archive within an
// archive may be broken while the others are not. It never panics, and ends soon after ctx.
func Parse(ctx context.Context, f File, r Reader) (found []inventory.Package, err error) {
	c := &collector{path: f.Path}
	defer func() {
		// The formats are bounded, but a mistake in a parser must not end the walk of a layer.
		if p := recover(); p != nil {
			err = fmt.Errorf("read %q: unexpected content: %v", f.Path, p)
		}
		found = c.packages()
	}()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := parse(ctx, f, r, c); err != nil {
		return nil, fmt.Errorf("read %q: %w", f.Path, err)
	}
	return nil, nil
}

func parse(ctx context.Context, f File, r Reader, c *collector) error {
	if f.Size <= 0 {
		return nil
	}
	content := io.NewSectionReader(r, 0, f.Size)
	if t, ok := textFormat(f.Path); ok {
		plain, err := text(f.Size, content)
		if err != nil {
			return err
		}
		c.typ = t.typ
		return t.parse(ctx, f, plain, c)
	}
	if archive(f.Path) {
		return parseArchive(ctx, f, content, c)
	}
	if runs(f) {
		return executable.Read(ctx, content, c.add)
	}
	return nil
}

// runs says whether the mode, as the one of Unix or the name of Windows, tells that the file can be run.
func runs(f File) bool {
	return f.Size >= minExecutable && (f.Mode.Perm()&0o111 != 0 || strings.EqualFold(path.Ext(f.Path), ".exe"))
}

// textFormat says how a text file is read, by its name and place.
func textFormat(p string) (format, bool) {
	base := path.Base(p)
	switch {
	case base == "package.json":
		return format{inventory.NodePkg, parsePackageJSON}, packageRoot(p)
	case strings.HasSuffix(base, ".gemspec"):
		return format{inventory.GemSpec, parseGemSpec}, strings.Contains("/"+p, "/specifications/")
	case strings.HasSuffix(p, ".dist-info/METADATA"), strings.HasSuffix(p, ".egg-info/PKG-INFO"), strings.HasSuffix(p, ".egg-info/METADATA"),
		strings.HasSuffix("/"+p, "/EGG-INFO/PKG-INFO"), strings.HasSuffix(base, ".egg-info"):
		return format{inventory.PythonPkg, parsePythonMetadata}, true
	case strings.HasSuffix("/"+p, "/composer/installed.json"):
		return format{inventory.ComposerV, parseComposer}, true
	case strings.HasSuffix(base, ".deps.json"):
		return format{inventory.DotNetCore, parseDotNetDeps}, true
	}
	t, ok := lockFormat(base)
	return t, ok && !foreign(p)
}

func lockFormat(base string) (format, bool) {
	switch base {
	case "package-lock.json", "npm-shrinkwrap.json":
		return format{inventory.Npm, parsePackageLock}, true
	case "yarn.lock":
		return format{inventory.Yarn, parseYarn}, true
	case "pnpm-lock.yaml":
		return format{inventory.Pnpm, parsePnpm}, true
	case "requirements.txt":
		return format{inventory.Pip, parseRequirements}, true
	case "Pipfile.lock":
		return format{inventory.Pipenv, parsePipfile}, true
	case "poetry.lock":
		return format{inventory.Poetry, parsePoetry}, true
	case "Gemfile.lock", "gems.locked":
		return format{inventory.Bundler, parseGemfile}, true
	case "Cargo.lock":
		return format{inventory.Cargo, parseCargo}, true
	case "composer.lock":
		return format{inventory.Composer, parseComposer}, true
	case "packages.lock.json":
		return format{inventory.NuGet, parseNuGetLock}, true
	case "packages.config":
		return format{inventory.NuGet, parseNuGetConfig}, true
	}
	return format{}, false
}

// foreign says whether a lock file lies among the installed sources of dependencies: it then
// pins what their authors developed with, and nothing of it is here.
func foreign(p string) bool {
	for dir := range strings.SplitSeq(path.Dir(p), "/") {
		switch dir {
		case "node_modules", "bower_components", "site-packages", "dist-packages", "vendor", "gems", "specifications",
			".cargo", ".npm", ".yarn", ".pnpm", ".pnpm-store", ".nuget", ".m2", ".cache", ".bundle":
			return true
		}
		// The sources of Cargo's and Go's registries, wherever their homes are.
		if strings.HasPrefix(dir, "index.crates.io-") || strings.HasPrefix(dir, "github.com-") {
			return true
		}
	}
	return false
}

// archive says whether the file is read as a zip archive of Java or Python.
func archive(p string) bool { return javaArchive(p) || strings.EqualFold(path.Ext(p), ".egg") }

func javaArchive(p string) bool {
	switch strings.ToLower(path.Ext(p)) {
	case ".jar", ".war", ".ear", ".par":
		return true
	}
	return false
}

// errTooMany ends the reading of a file that tells of more packages than any real one.
var errTooMany = fmt.Errorf("it tells of more than %d packages", maxPackages)

// collector gathers the packages of one file.
type collector struct {
	typ   inventory.Type
	path  string
	found []inventory.Package
	index map[key]int
}

type key struct{ name, version, path string }

// add takes a package; Type and Path are those of the file unless it has its own. What has no
// name or no version, or one that no package manager would take, is left out. A package that
// is there already stays once, and is one for development only when it is so every time.
func (c *collector) add(p inventory.Package) error {
	if !word(p.Name) || !word(p.Version) {
		return nil
	}
	if p.Type == "" {
		p.Type = c.typ
	}
	if p.Path == "" {
		p.Path = c.path
	}
	k := key{p.Name, p.Version, p.Path}
	if i, ok := c.index[k]; ok {
		c.found[i].Dev = c.found[i].Dev && p.Dev
		if len(c.found[i].Licenses) == 0 {
			c.found[i].Licenses = licenses(p.Licenses...)
		}
		return nil
	}
	if len(c.found) >= maxPackages {
		return errTooMany
	}
	if c.index == nil {
		c.index = map[key]int{}
	}
	p.Licenses = licenses(p.Licenses...)
	c.index[k] = len(c.found)
	c.found = append(c.found, p)
	return nil
}

// packages are those found, in order, so that the same file gives the same answer.
func (c *collector) packages() []inventory.Package {
	slices.SortFunc(c.found, func(a, b inventory.Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Path, b.Path))
	})
	return c.found
}

// word says whether s can be a name or a version: some text in one line.
func word(s string) bool {
	return s != "" && len(s) <= maxWord && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) && strings.TrimSpace(s) == s
}

// licenses are the names in the order given, without what is a whole text, a repetition or too much.
func licenses(names ...string) []string {
	var kept []string
	for _, n := range names {
		if n = strings.TrimSpace(n); word(n) && len(n) <= 200 && !slices.Contains(kept, n) && len(kept) < 16 {
			kept = append(kept, n)
		}
	}
	return kept
}

// ended says whether err is of the context, after which nothing more is read.
func ended(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
