package language

import (
	"bufio"
	"context"
	"encoding/json"
	"io"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// parseComposer reads composer.lock and installed.json. The first has the packages for
// development in a list of their own; the second names them, and is a bare list before
// Composer 2.
func parseComposer(ctx context.Context, _ File, r io.Reader, c *collector) error {
	b := bufio.NewReader(r)
	d := json.NewDecoder(b)
	if first, err := b.Peek(1); err == nil && first[0] == '[' {
		return composerPackages(ctx, d, c, false)
	}
	dev := map[string]bool{}
	err := object(ctx, d, func(name string) error {
		switch name {
		case "packages":
			return composerPackages(ctx, d, c, false)
		case "packages-dev":
			return composerPackages(ctx, d, c, true)
		case "dev-package-names":
			return array(ctx, d, func() error {
				var name string
				if len(dev) >= maxPackages {
					return errTooMany
				}
				err := value(d, &name)
				dev[name] = true
				return err
			})
		}
		return skip(d)
	})
	for i, p := range c.found {
		c.found[i].Dev = p.Dev || dev[p.Name]
	}
	return err
}

func composerPackages(ctx context.Context, d *json.Decoder, c *collector, dev bool) error {
	return array(ctx, d, func() error {
		var p struct {
			Name    string `json:"name"`
			Version string `json:"version"`
			License names  `json:"license"`
		}
		if err := value(d, &p); err != nil {
			return err
		}
		return c.add(inventory.Package{Name: p.Name, Version: p.Version, Dev: dev, Licenses: p.License})
	})
}
