package language

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// parseCargo reads Cargo.lock. It names the project's own crates too, as the matcher knows them.
func parseCargo(ctx context.Context, _ File, r io.Reader, c *collector) error {
	return tomlPackages(ctx, r, func(p map[string]string) error {
		return c.add(inventory.Package{Name: p["name"], Version: p["version"]})
	})
}

// tomlPackages calls fn with the plain members of each [[package]]. Cargo and Poetry write them one to
// a line, so that lines are enough.
func tomlPackages(ctx context.Context, r io.Reader, fn func(map[string]string) error) error {
	var p map[string]string
	within := false
	flush := func() error {
		if p == nil {
			return nil
		}
		last := p
		p = nil
		return fn(last)
	}
	err := lines(ctx, r, func(line string) (bool, error) {
		switch line = strings.TrimSpace(line); {
		case line == "[[package]]":
			err := flush()
			p, within = map[string]string{}, true
			return true, err
		case strings.HasPrefix(line, "[[") || strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			within = false // a table of the package, or another
			return true, nil
		}
		name, val, ok := strings.Cut(line, "=")
		if !within || !ok {
			return true, nil
		}
		switch name = strings.TrimSpace(name); name {
		case "name", "version", "category", "groups":
			p[name] = tomlString(strings.TrimSpace(val))
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return flush()
}

func tomlString(s string) string {
	if strings.HasPrefix(s, "'") || strings.HasPrefix(s, `"""`) {
		return strings.Trim(s, s[:1])
	}
	if plain, err := strconv.Unquote(s); err == nil {
		return plain
	}
	return s
}

// parseGemfile reads Gemfile.lock: the packages of a registry or a repository stand in its sections
// with four spaces before them, what each needs with six. Gems of a PATH are the project's own.
func parseGemfile(ctx context.Context, _ File, r io.Reader, c *collector) error {
	section := ""
	return lines(ctx, r, func(line string) (bool, error) {
		if indent(line) == 0 {
			section = line
			return true, nil
		}
		if indent(line) != 4 || section != "GEM" && section != "GIT" {
			return true, nil
		}
		f := strings.Fields(line)
		if len(f) != 2 {
			return true, nil
		}
		version, _, _ := strings.Cut(strings.Trim(f[1], "()"), "-") // the platform: 1.13.6-x86_64-linux
		return true, c.add(inventory.Package{Name: f[0], Version: version})
	})
}

// parseGemSpec reads the specification of an installed gem, which is a program of Ruby, but one that
// gem writes always alike:
//
//	Gem::Specification.new do |s|
//	  s.name = "rack".freeze
func parseGemSpec(ctx context.Context, _ File, r io.Reader, c *collector) error {
	var p inventory.Package
	receiver := ""
	err := lines(ctx, r, func(line string) (bool, error) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "Gem::Specification.new") {
			_, after, _ := strings.Cut(line, "|")
			receiver, _, _ = strings.Cut(after, "|")
			return true, nil
		}
		member, val, ok := strings.Cut(line, "=")
		member, its := strings.CutPrefix(strings.TrimSpace(member), receiver+".")
		if receiver == "" || !ok || !its {
			return true, nil
		}
		switch words := rubyStrings(val); {
		case len(words) == 0:
		case member == "name" && p.Name == "":
			p.Name = words[0]
		case member == "version" && p.Version == "":
			p.Version = words[0]
		case member == "license", member == "licenses":
			p.Licenses = words
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	return c.add(p)
}

// rubyStrings are the first words in quotes.
func rubyStrings(s string) []string {
	var words []string
	for len(words) < 16 {
		i := strings.IndexAny(s, `"'`)
		if i < 0 {
			return words
		}
		end := strings.IndexByte(s[i+1:], s[i])
		if end < 0 {
			return words
		}
		words = append(words, s[i+1:i+1+end])
		s = s[i+end+2:]
	}
	return words
}
