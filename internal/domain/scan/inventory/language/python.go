package language

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"unicode"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// parsePythonMetadata reads what pip leaves of an installed distribution: headers as of a
// mail (METADATA, PKG-INFO), which end at the first empty line.
func parsePythonMetadata(ctx context.Context, _ File, r io.Reader, c *collector) error {
	var p inventory.Package
	var expression, free, header string
	var classified []string
	err := lines(ctx, r, func(line string) (bool, error) {
		if line == "" {
			return false, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			if header == "license" {
				free = "" // it goes on: a whole text, and no name
			}
			return true, nil
		}
		name, val, ok := strings.Cut(line, ":")
		header, val = strings.ToLower(name), strings.TrimSpace(val)
		switch {
		case !ok:
		case header == "name":
			p.Name = val
		case header == "version":
			p.Version = val
		case header == "license-expression":
			expression = val
		case header == "license" && !strings.EqualFold(val, "UNKNOWN"):
			free = val
		case header == "classifier":
			if l, ok := strings.CutPrefix(val, "License :: "); ok && l != "OSI Approved" && len(classified) < 16 {
				classified = append(classified, l[strings.LastIndex(l, ":")+1:])
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	switch {
	case expression != "":
		p.Licenses = []string{expression}
	case len(classified) > 0:
		p.Licenses = classified
	default:
		p.Licenses = []string{free}
	}
	return c.add(p)
}

// parseRequirements reads requirements.txt, of which only "name==version" says what is installed.
func parseRequirements(ctx context.Context, _ File, r io.Reader, c *collector) error {
	return lines(ctx, r, func(line string) (bool, error) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		line, _, _ = strings.Cut(line, "--")
		line = strings.NewReplacer(" ", "", "\t", "", `\`, "").Replace(line)
		if open := strings.IndexByte(line, '['); open > 0 {
			if end := strings.IndexByte(line[open:], ']'); end > 0 {
				line = line[:open] + line[open+end+1:]
			}
		}
		i := strings.IndexFunc(line, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '_' && r != '-'
		})
		if i <= 0 {
			return true, nil
		}
		for wish := range strings.SplitSeq(line[i:], ",") {
			version, ok := strings.CutPrefix(wish, "==")
			version = strings.TrimPrefix(version, "=")
			if ok && digit(version) && !strings.Contains(version, "*") {
				return true, c.add(inventory.Package{Name: line[:i], Version: version})
			}
		}
		return true, nil
	})
}

// parsePipfile reads Pipfile.lock.
func parsePipfile(ctx context.Context, _ File, r io.Reader, c *collector) error {
	d := json.NewDecoder(r)
	return object(ctx, d, func(group string) error {
		if group != "default" && group != "develop" {
			return skip(d)
		}
		return object(ctx, d, func(name string) error {
			var p struct {
				Version string `json:"version"`
			}
			if err := value(d, &p); err != nil {
				return err
			}
			return c.add(inventory.Package{Name: name, Version: strings.TrimLeft(p.Version, "="), Dev: group == "develop"})
		})
	})
}

// parsePoetry reads poetry.lock. Before version 2 of the format a category says whether a package is
// for development, then the groups, of which "main" is the one that is always installed.
func parsePoetry(ctx context.Context, _ File, r io.Reader, c *collector) error {
	return tomlPackages(ctx, r, func(p map[string]string) error {
		groups := p["groups"]
		return c.add(inventory.Package{Name: p["name"], Version: p["version"],
			Dev: p["category"] == "dev" || groups != "" && !strings.Contains(groups, `"main"`)})
	})
}
