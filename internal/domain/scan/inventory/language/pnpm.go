package language

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// pnpmLock is what is kept of a pnpm-lock.yaml while it is read. pnpm writes it always in one
// way, two spaces for a level, so that it is read by lines: a general reader of YAML may need many
// times the file's size.
type pnpmLock struct {
	version float64
	// keys are the packages, in version 9 the snapshots.
	keys []string
	dev  map[string]bool // up to version 8: marked as for development
	// told are name and version of packages whose keys are addresses.
	told map[string][2]string
	// tools says that the document is pnpm's own, of how to get itself; it stands before the project's since version 11.
	tools bool
	// roots are the keys that the projects need to run; needs are the edges, by key. From version 9 on.
	roots []string
	needs map[string][]string
	edges int
}

// parsePnpm reads pnpm-lock.yaml of the versions 5 to 9.
func parsePnpm(ctx context.Context, _ File, r io.Reader, c *collector) error {
	l := newPnpmLock()
	var at [10]string // the keys that lead to the line, by level
	err := lines(ctx, r, func(line string) (bool, error) {
		if line == "---" && l.tools {
			l = newPnpmLock()
		}
		trimmed := strings.TrimLeft(line, " ")
		level := (len(line) - len(trimmed)) / 2
		if trimmed == "" || trimmed[0] == '#' || trimmed[0] == '-' || level >= len(at) {
			return true, nil
		}
		name, val := yamlPair(trimmed)
		at[level] = name
		return true, l.line(level, at, val)
	})
	if err != nil {
		return err
	}
	return l.collect(c)
}

func newPnpmLock() pnpmLock {
	return pnpmLock{dev: map[string]bool{}, told: map[string][2]string{}, needs: map[string][]string{}}
}

func (l *pnpmLock) line(level int, at [10]string, val string) error {
	section, entry, part := at[0], at[1], at[2]
	switch {
	case level == 0 && section == "lockfileVersion":
		v, err := strconv.ParseFloat(val, 64)
		if err != nil {
			return fmt.Errorf("lockfileVersion %q is no number", val)
		}
		l.version = v
	case level == 1 && section == "packages" && l.version < 9, level == 1 && section == "snapshots" && l.version >= 9:
		if len(l.keys) >= maxPackages {
			return errTooMany
		}
		l.keys = append(l.keys, entry)
	case level == 2 && section == "packages" && part == "dev" && val == "true":
		l.dev[entry] = true
	case level == 2 && section == "packages" && (part == "name" || part == "version"):
		told := l.told[entry]
		if len(l.told) >= maxPackages {
			return errTooMany
		}
		if part == "name" {
			told[0] = val
		} else {
			told[1] = val
		}
		l.told[entry] = told
	case level == 2 && section == "importers" && (part == "configDependencies" || part == "packageManagerDependencies"):
		l.tools = true
	case level == 3 && section == "snapshots" && (part == "dependencies" || part == "optionalDependencies"):
		l.edges++
		if l.edges > 50*maxPackages {
			return errTooMany
		}
		l.needs[entry] = append(l.needs[entry], pnpmKey(at[3], val))
	case level == 4 && section == "importers" && (part == "dependencies" || part == "optionalDependencies") && at[4] == "version":
		if len(l.roots) >= 50*maxPackages {
			return errTooMany
		}
		l.roots = append(l.roots, pnpmKey(at[3], val))
	}
	return nil
}

// pnpmKey is the key of a dependency: "name: 1.2.3", or "alias: other@1.2.3".
func pnpmKey(name, version string) string {
	bare, _, _ := strings.Cut(version, "(")
	if i := strings.LastIndexByte(bare, '@'); i > 0 && nodeName(bare[:i]) {
		return version
	}
	return name + "@" + version
}

func (l *pnpmLock) collect(c *collector) error {
	runs := map[string]bool{}
	for next := l.roots; len(next) > 0; {
		k := next[len(next)-1]
		next = next[:len(next)-1]
		if !runs[k] {
			runs[k] = true
			next = append(next, l.needs[k]...)
		}
	}
	for _, k := range l.keys {
		dev := l.dev[k]
		if l.version >= 9 {
			dev = !runs[k]
		}
		name, version := l.split(k)
		bare, _, _ := strings.Cut(k, "(")
		told := l.told[bare]
		if told == [2]string{} {
			told = l.told[k]
		}
		name, version = cmp.Or(told[0], name), cmp.Or(told[1], version)
		if !digit(version) || !nodeName(name) {
			continue
		}
		if err := c.add(inventory.Package{Name: name, Version: version, Dev: dev}); err != nil {
			return err
		}
	}
	return nil
}

// split takes a key apart: "/@babel/core/7.21.9_peer" of version 5, "/@babel/core@7.21.9(peer)" of 6,
// without the slash from 9 on; another registry than npm's stands before the first slash.
func (l *pnpmLock) split(k string) (name, version string) {
	if l.version < 9 {
		_, k, _ = strings.Cut(k, "/")
	}
	k, _, _ = strings.Cut(k, "(")
	if l.version >= 6 && len(k) > 1 {
		// The version may be an address with signs of its own.
		if i := strings.IndexByte(k[1:], '@') + 1; i > 0 {
			return k[:i], k[i+1:]
		}
		return "", ""
	}
	i := strings.LastIndexByte(k, '/')
	if i < 0 {
		return "", ""
	}
	version, _, _ = strings.Cut(k[i+1:], "_")
	return k[:i], version
}

// yamlPair splits "name: value", each plain or in quotes.
func yamlPair(s string) (name, val string) {
	if q := s[0]; q == '\'' || q == '"' {
		if i := strings.IndexByte(s[1:], q); i >= 0 {
			return s[1 : 1+i], strings.Trim(strings.TrimPrefix(s[i+2:], ":"), ` '"`)
		}
	}
	if before, after, ok := strings.Cut(s, ": "); ok {
		return before, strings.Trim(after, ` '"`)
	}
	return strings.TrimSuffix(s, ":"), ""
}
