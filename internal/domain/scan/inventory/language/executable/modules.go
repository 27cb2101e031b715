package executable

import (
	"bytes"
	"context"
	"encoding/binary"
	"regexp"
	"runtime/debug"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

const (
	maxBuildInfo = 4 << 20  // bytes of the list of modules; a binary with 1,000 has 100 KiB
	maxStrings   = 64 << 20 // bytes of an ELF's names of symbols; Kubernetes' have 10 MiB
	maxVersion   = 512      // bytes of a variable's name, and of a version
	maxVersions  = 256      // symbols that could hold a version
)

var (
	pseudoVersion = regexp.MustCompile(`^v[0-9]+\.(0\.0-|[0-9]+\.[0-9]+-([^+]*\.)?0\.)[0-9]{14}-[A-Za-z0-9]+(\+[0-9A-Za-z.-]+)?$`)
	semver        = regexp.MustCompile(`^v?[0-9]+(\.[0-9]+(\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?)?)?$`)
)

// modules reads Go's build information, as debug/buildinfo does. The packages are the modules, the
// standard library as "stdlib" with Go's version, and the main module, all with "v" before
// the version.
func modules(ctx context.Context, x *file, add func(inventory.Package) error) error {
	goVersion, list, err := buildInfo(ctx, x)
	if err != nil || goVersion == "" {
		return err
	}
	info, err := debug.ParseBuildInfo(list)
	if err != nil {
		return err
	}
	module := func(name, version string) error {
		if version == "(devel)" {
			version = ""
		}
		return add(inventory.Package{Type: inventory.GoBinary, Name: name, Version: version})
	}
	// "go1.26.0-X:nodwarf5" and "go1.22.3 X:boringcrypto" name experiments; an unreleased Go has no number.
	if version, ok := strings.CutPrefix(goVersion, "go"); ok && version != "" && version[0] >= '0' && version[0] <= '9' {
		version, _, _ = strings.Cut(version, "-X:")
		version, _, _ = strings.Cut(version, " ")
		if err := module("stdlib", "v"+version); err != nil {
			return err
		}
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if err := module(m.Path, m.Version); err != nil {
			return err
		}
	}
	if info.Main.Path == "" {
		return nil
	}
	version := info.Main.Version
	if version == "" || version == "(devel)" || pseudoVersion.MatchString(version) {
		// Whoever builds from a checkout stamps the version by the linker.
		if s := stampedFlags(info); s != "" {
			version = s
		} else if s := stampedSymbols(ctx, x, info.Main.Path); s != "" {
			version = s
		}
	}
	return module(info.Main.Path, version)
}

// buildInfo finds Go's version and the list of modules; both are "" in what Go did not build.
func buildInfo(ctx context.Context, x *file) (version, modules string, err error) {
	const header = 32
	at, ok, err := searchMagic(ctx, x)
	if err != nil || !ok {
		return "", "", err
	}
	h := make([]byte, header)
	if x.mapped(at, h) < header {
		return "", "", nil
	}
	const inline, big = 2, 1
	if h[15]&inline != 0 {
		version, at = inlineString(x, at+header)
		modules, _ = inlineString(x, at)
	} else {
		// Before Go 1.18: pointers to strings of Go.
		p := &file{r: x.r, maps: x.maps, order: binary.LittleEndian, wide: h[14] == 8}
		if h[15]&big != 0 {
			p.order = binary.BigEndian
		}
		if h[14] != 4 && h[14] != 8 {
			return "", "", nil
		}
		version = pointedString(p, p.word(h, 16))
		modules = pointedString(p, p.word(h, 16+int(h[14])))
	}
	// Go frames the list with 16 bytes before and after it.
	if len(modules) >= 33 && modules[len(modules)-17] == '\n' {
		return version, modules[16 : len(modules)-16], nil
	}
	return version, "", nil
}

// searchMagic looks through the data for the address of what begins the build information.
func searchMagic(ctx context.Context, x *file) (addr uint64, ok bool, err error) {
	const align, chunk = 16, 1 << 20
	magic := []byte("\xff Go buildinf:")
	b := make([]byte, chunk)
	start, end := (x.info.addr+align-1)&^(align-1), x.info.addr+x.info.size
	for ; start < end && start >= x.info.addr; start += chunk {
		if err := ctx.Err(); err != nil {
			return 0, false, err
		}
		n := x.mapped(start, b[:min(chunk, end-start)])
		if n == 0 {
			return 0, false, nil
		}
		for i := 0; ; i++ {
			at := bytes.Index(b[i:n], magic)
			if at < 0 {
				break
			}
			if i += at; i%align == 0 {
				return start + uint64(i), true, nil
			}
		}
	}
	return 0, false, nil
}

// inlineString reads a string with its length before it, and says what address follows.
func inlineString(x *file, addr uint64) (string, uint64) {
	length := make([]byte, binary.MaxVarintLen64)
	n, used := binary.Uvarint(length[:x.mapped(addr, length)])
	if used <= 0 || n > maxBuildInfo {
		return "", addr
	}
	addr += uint64(used)
	return stringAt(x, addr, n), addr + n
}

// pointedString reads a string of Go whose header is at addr.
func pointedString(x *file, addr uint64) string {
	width := 4
	if x.wide {
		width = 8
	}
	h := make([]byte, 2*width)
	if x.mapped(addr, h) < len(h) {
		return ""
	}
	return stringAt(x, x.word(h, 0), x.word(h, width))
}

func stringAt(x *file, addr, n uint64) string {
	if n == 0 || n > min(maxBuildInfo, uint64(x.r.Size())) {
		return ""
	}
	b := make([]byte, n)
	if uint64(x.mapped(addr, b)) < n {
		return ""
	}
	return string(b)
}

// versions are values that a linker put into variables called version, by how likely they are the
// program's: those of its own commands, those of packages that usually hold it, others.
type versions [3][]string

func (v *versions) add(variable, module, val string) {
	lower := strings.ToLower(variable)
	if !strings.HasSuffix(lower, ".version") && !strings.HasSuffix(lower, ".ver") || !semver.MatchString(val) {
		return
	}
	pkg, _, _ := strings.Cut(lower[strings.LastIndexByte(lower, '/')+1:], ".")
	rank := 2
	switch {
	case strings.HasPrefix(variable, module+"/cmd/"):
		rank = 0
	case pkg == "main" || pkg == "common" || pkg == "version" || pkg == "cmd":
		rank = 1
	}
	v[rank] = append(v[rank], val)
}

// best is the version of the best kind, "" where it is not one alone.
func (v *versions) best() string {
	for _, found := range v {
		if len(found) == 1 {
			return found[0]
		}
		if len(found) > 1 {
			return ""
		}
	}
	return ""
}

// stampedFlags is the version that the build's -ldflags set: "-X main.version=1.2.3".
func stampedFlags(info *debug.BuildInfo) string {
	var v versions
	for _, s := range info.Settings {
		if s.Key != "-ldflags" {
			continue
		}
		flags := shellWords(s.Value)
		for i, f := range flags {
			set, ok := strings.CutPrefix(strings.TrimPrefix(f, "-"), "-X=")
			if !ok {
				set, ok = strings.CutPrefix(f, "-X=")
			}
			if !ok && (f == "-X" || f == "--X") && i+1 < len(flags) {
				set, ok = flags[i+1], true
			}
			if name, val, cut := strings.Cut(set, "="); ok && cut {
				v.add(name, info.Main.Path, val)
			}
		}
	}
	return v.best()
}

// shellWords splits at spaces that stand outside of quotes, which it drops.
func shellWords(s string) []string {
	var words []string
	var b strings.Builder
	quote := rune(0)
	for _, r := range s + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote = r
		case quote == 0 && (r == ' ' || r == '\t' || r == '\n'):
			if b.Len() > 0 {
				words = append(words, b.String())
			}
			b.Reset()
		default:
			b.WriteRune(r)
		}
	}
	return words
}

// stampedSymbols is the same from the linker's symbols "main.version.str": builds with
// -trimpath do not record their flags. An executable without symbols has none.
func stampedSymbols(ctx context.Context, x *file, module string) string {
	table, err := x.at(x.strings.off, x.strings.size, maxStrings)
	if err != nil {
		return ""
	}
	wanted := map[uint32]string{} // where in the table a variable's name begins
	suffix := []byte(".str\x00")
	for i := 0; len(wanted) < maxVersions; i++ {
		at := bytes.Index(table[i:], suffix)
		if at < 0 {
			break
		}
		i += at
		begin := bytes.LastIndexByte(table[max(0, i-maxVersion):i], 0) + 1 + max(0, i-maxVersion)
		name := string(table[begin:i])
		if lower := strings.ToLower(name); strings.HasSuffix(lower, ".version") || strings.HasSuffix(lower, ".ver") {
			wanted[uint32(begin)] = name
		}
	}
	if len(wanted) == 0 {
		return ""
	}
	entry, value, size := uint64(16), 4, 8
	if x.wide {
		entry, value, size = 24, 8, 16
	}
	var v versions
	chunk := make([]byte, 4096*entry)
	end := min(x.symbols.off+x.symbols.size, uint64(x.r.Size()))
	for off := x.symbols.off; off < end && ctx.Err() == nil && len(wanted) > 0; off += uint64(len(chunk)) {
		// A short read is the end of the file; what is whole of it counts.
		n, _ := x.r.ReadAt(chunk[:min(uint64(len(chunk)), end-off)], int64(off))
		for s := chunk[:n]; uint64(len(s)) >= entry; s = s[entry:] {
			begin := x.order.Uint32(s)
			name, ok := wanted[begin]
			if !ok {
				continue
			}
			delete(wanted, begin)
			if long := x.word(s, size); long > 0 && long <= maxVersion {
				v.add(name, module, strings.TrimRight(stringAt(x, x.word(s, value), long), "\x00"))
			}
		}
	}
	return v.best()
}
