package language

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// maxXML is the largest packages.config in bytes that is read: a reader of XML needs some ten times the memory.
const maxXML = 4 << 20

// asIs reads XML whatever character set it claims: names and versions are ASCII, and text is UTF-8 by now.
func asIs(_ string, r io.Reader) (io.Reader, error) { return r, nil }

// runtimePack stands before the name of the runtime that a self-contained program brings.
const runtimePack = "runtimepack."

// dotNetDeps is what is kept of a .deps.json.
type dotNetDeps struct {
	target    string
	libraries []string                   // "name/version" of the kinds that are packages
	targets   map[string]map[string]bool // by target and library: whether anything of it is there at run time
	entries   int
}

// parseDotNetDeps reads NAME.deps.json, which the SDK writes beside a built program. A library that brings
// nothing at run time for the target was needed to build, and is not there.
func parseDotNetDeps(ctx context.Context, _ File, r io.Reader, c *collector) error {
	d := json.NewDecoder(r)
	deps := dotNetDeps{targets: map[string]map[string]bool{}}
	err := object(ctx, d, func(name string) error {
		switch name {
		case "runtimeTarget":
			var t struct {
				Name string `json:"name"`
			}
			err := value(d, &t)
			deps.target = t.Name
			return err
		case "libraries":
			return deps.readLibraries(ctx, d)
		case "targets":
			return object(ctx, d, func(target string) error { return deps.readTarget(ctx, d, target) })
		}
		return skip(d)
	})
	if err != nil {
		return err
	}
	for _, l := range deps.libraries {
		if there, known := deps.targets[deps.target][l]; known && !there {
			continue
		}
		name, version, _ := strings.Cut(l, "/")
		if err := c.add(inventory.Package{Name: strings.TrimPrefix(name, runtimePack), Version: version}); err != nil {
			return err
		}
	}
	return nil
}

func (deps *dotNetDeps) readLibraries(ctx context.Context, d *json.Decoder) error {
	return object(ctx, d, func(library string) error {
		var l struct {
			Type string `json:"type"`
		}
		if err := value(d, &l); err != nil {
			return err
		}
		switch strings.ToLower(l.Type) {
		case "package", "project", "runtimepack":
			if len(deps.libraries) >= maxPackages {
				return errTooMany
			}
			deps.libraries = append(deps.libraries, library)
		}
		return nil
	})
}

func (deps *dotNetDeps) readTarget(ctx context.Context, d *json.Decoder, target string) error {
	there := map[string]bool{}
	deps.targets[target] = there
	return object(ctx, d, func(library string) error {
		// Files for several targets stand in one .deps.json only in small numbers.
		if deps.entries++; deps.entries > 5*maxPackages {
			return errTooMany
		}
		there[library] = false
		return object(ctx, d, func(member string) error {
			switch member {
			case "runtime", "runtimeTargets", "native":
				return object(ctx, d, func(string) error {
					there[library] = true
					return skip(d)
				})
			}
			return skip(d)
		})
	})
}

// parseNuGetLock reads packages.lock.json: packages by target framework.
func parseNuGetLock(ctx context.Context, _ File, r io.Reader, c *collector) error {
	d := json.NewDecoder(r)
	return object(ctx, d, func(member string) error {
		if member != "dependencies" {
			return skip(d)
		}
		return object(ctx, d, func(string) error {
			return object(ctx, d, func(name string) error {
				var p struct {
					Type     string `json:"type"`
					Resolved string `json:"resolved"`
				}
				if err := value(d, &p); err != nil || strings.EqualFold(p.Type, "project") {
					return err
				}
				return c.add(inventory.Package{Name: name, Version: p.Resolved})
			})
		})
	})
}

// parseNuGetConfig reads packages.config, NuGet's older list.
func parseNuGetConfig(ctx context.Context, f File, r io.Reader, c *collector) error {
	if f.Size > maxXML {
		return fmt.Errorf("it has %d bytes, and more than %d are not read of XML", f.Size, maxXML)
	}
	d := xml.NewDecoder(r)
	d.CharsetReader = asIs
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		// RawToken keeps no stack of open elements, so that depth costs nothing.
		t, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := t.(xml.StartElement)
		if !ok || e.Name.Local != "package" {
			continue
		}
		var p inventory.Package
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "id":
				p.Name = a.Value
			case "version":
				p.Version = a.Value
			case "developmentDependency":
				p.Dev = strings.EqualFold(a.Value, "true")
			}
		}
		if err := c.add(p); err != nil {
			return err
		}
	}
}
