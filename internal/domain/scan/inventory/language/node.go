package language

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// packageRoot says whether a package.json describes an installed package: node_modules/name or
// node_modules/@scope/name, not a directory within one. Outside of node_modules only an unpacked
// release counts ("opt/yarn-v1.22.22"); any other is somebody's own program, whose name may be
// that of a stranger's package.
func packageRoot(p string) bool {
	parts := strings.Split(path.Dir(p), "/")
	last := len(parts) - 1
	for i := last; i >= 0; i-- {
		if parts[i] != "node_modules" {
			continue
		}
		name := parts[i+1:]
		switch len(name) {
		case 1:
			return !strings.HasPrefix(name[0], "@")
		case 2:
			return strings.HasPrefix(name[0], "@")
		}
		return false
	}
	_, ok := release(parts[last])
	return ok
}

// release splits the name of a directory that holds an unpacked release, "yarn-v1.22.22".
func release(dir string) (nameVersion [2]string, ok bool) {
	i := strings.LastIndexByte(dir, '-')
	if i <= 0 {
		return nameVersion, false
	}
	version := strings.TrimPrefix(dir[i+1:], "v")
	return [2]string{dir[:i], version}, digit(version)
}

// digit says whether s begins with a digit, as every version of npm and PyPI does.
func digit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// nodeName says whether npm would take the name.
func nodeName(s string) bool {
	return s != "" && strings.Count(s, "/") <= 1 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._@/~", r))
	})
}

// parsePackageJSON reads the package.json of an installed package.
func parsePackageJSON(_ context.Context, f File, r io.Reader, c *collector) error {
	var p struct {
		Name     string `json:"name"`
		Version  string `json:"version"`
		License  names  `json:"license"`
		Licenses names  `json:"licenses"`
	}
	if err := value(json.NewDecoder(r), &p); err != nil {
		return err
	}
	if !nodeName(p.Name) {
		return nil
	}
	if !slices.Contains(strings.Split(f.Path, "/"), "node_modules") {
		if dir, _ := release(path.Base(path.Dir(f.Path))); dir != [2]string{p.Name, p.Version} {
			return nil
		}
	}
	return c.add(inventory.Package{Name: p.Name, Version: p.Version, Licenses: append(p.License, p.Licenses...)})
}

// parsePackageLock reads package-lock.json: version 1 nests "dependencies", 2 and 3 list
// "packages" by where they are put. Version 2 has both, and then the list counts.
func parsePackageLock(ctx context.Context, _ File, r io.Reader, c *collector) error {
	d := json.NewDecoder(r)
	nested, listed := &collector{typ: c.typ, path: c.path}, false
	err := object(ctx, d, func(name string) error {
		switch name {
		case "packages":
			listed = true
			return lockedPackages(ctx, d, c)
		case "dependencies":
			return lockedDependencies(ctx, d, nested, 0)
		}
		return skip(d)
	})
	if !listed {
		*c = *nested
	}
	return err
}

func lockedPackages(ctx context.Context, d *json.Decoder, c *collector) error {
	return object(ctx, d, func(at string) error {
		var p struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			Dev     bool   `json:"dev"`
			Link    bool   `json:"link"`
			License names  `json:"license"`
		}
		if err := value(d, &p); err != nil {
			return err
		}
		// What is not below node_modules is the project itself and its workspaces, and a link leads there.
		i := strings.LastIndex("/"+at, "/node_modules/")
		if i < 0 || p.Link {
			return nil
		}
		if p.Name == "" {
			p.Name = at[i+len("node_modules/"):]
		}
		return addNode(c, p.Name, p.Version, p.Dev, p.License)
	})
}

func lockedDependencies(ctx context.Context, d *json.Decoder, c *collector, depth int) error {
	if depth > maxNesting {
		return errors.New("its dependencies are nested too deep")
	}
	return object(ctx, d, func(name string) error {
		var version string
		var dev bool
		err := object(ctx, d, func(member string) error {
			switch member {
			case "version":
				return value(d, &version)
			case "dev":
				return value(d, &dev)
			case "dependencies":
				return lockedDependencies(ctx, d, c, depth+1)
			}
			return skip(d)
		})
		if err != nil {
			return err
		}
		return addNode(c, name, version, dev, nil)
	})
}

// addNode takes a package of a lock file. A version "npm:other@1.0.0" is that of another package under
// this name; one that begins with no digit names a repository or a file, of which no advisory speaks.
func addNode(c *collector, name, version string, dev bool, licenses []string) error {
	if other, ok := strings.CutPrefix(version, "npm:"); ok {
		name, version = splitAt(other)
	}
	if !digit(version) || !nodeName(name) {
		return nil
	}
	return c.add(inventory.Package{Name: name, Version: version, Dev: dev, Licenses: licenses})
}

// splitAt splits "name@version" and "@scope/name@version".
func splitAt(s string) (name, version string) {
	if i := strings.LastIndexByte(s, '@'); i > 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// parseYarn reads yarn.lock: blocks whose first line has the wishes that they fulfil,
//
//	"@babel/core@^7.0.0", "@babel/core@^7.1.0":
//	  version "7.2.2"
//
// in yarn's own form and, from its second version on, in YAML with "npm:" before each range. It does
// not say what is for development.
func parseYarn(ctx context.Context, _ File, r io.Reader, c *collector) error {
	name := ""
	return lines(ctx, r, func(line string) (bool, error) {
		switch {
		case line == "" || line[0] == '#':
		case line[0] != ' ':
			name = yarnName(line)
		case name != "":
			if f := strings.Fields(strings.ReplaceAll(line, `"`, "")); len(f) == 2 && strings.TrimSuffix(f[0], ":") == "version" && indent(line) == 2 {
				err := addNode(c, name, f[1], false, nil)
				name = ""
				return true, err
			}
		}
		return true, nil
	})
}

// yarnName is the package of a block's first line, "" for one that is not from a registry.
func yarnName(line string) string {
	first, _, _ := strings.Cut(strings.TrimSuffix(line, ":"), ", ")
	first = strings.Trim(first, `"`)
	if len(first) < 2 {
		return ""
	}
	i := strings.IndexByte(first[1:], '@') + 1
	if i == 0 {
		return ""
	}
	name, wish := first[:i], first[i+1:]
	if other, ok := strings.CutPrefix(wish, "npm:"); ok {
		if alias, version := splitAt(other); version != "" {
			return alias
		}
		return name
	}
	if strings.Contains(wish, ":") || strings.Contains(wish, "/") {
		return ""
	}
	return name
}
