package match

import (
	"context"
	"errors"
	"strconv"

	"github.com/aquasecurity/trivy/pkg/detector/library"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/aquasecurity/trivy/pkg/types"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
)

// languageTypes are the types of languages' packages that the database tells of.
func languageTypes() []inventory.Type {
	return []inventory.Type{
		inventory.GoBinary, inventory.Jar, inventory.NodePkg, inventory.Npm, inventory.Yarn, inventory.Pnpm,
		inventory.PythonPkg, inventory.Pip, inventory.Poetry, inventory.Pipenv, inventory.GemSpec, inventory.Bundler,
		inventory.RustBinary, inventory.Cargo, inventory.Composer, inventory.ComposerV, inventory.DotNetCore, inventory.NuGet,
	}
}

// languages looks up packages of languages, and says in r that there are some. A package
// that lies in an image many times is looked up once.
func languages(ctx context.Context, img inventory.Image, r *finding.Report) ([]hit, error) {
	type key struct{ name, version string }
	byType := map[inventory.Type][]group{}
	at := map[inventory.Type]map[key]int{}
	for _, t := range languageTypes() {
		at[t] = map[key]int{}
	}
	for i, p := range img.Packages {
		seen, ok := at[p.Type]
		if !ok {
			continue
		}
		r.Supported = true
		if !usable(p) || p.Dev { // what only development needs is listed, not looked up, as Trivy does
			continue
		}
		k := key{p.Name, p.FullVersion()}
		n, ok := seen[k]
		if !ok {
			n = len(byType[p.Type])
			seen[k] = n
			byType[p.Type] = append(byType[p.Type], group{pkg: ftypes.Package{ID: strconv.Itoa(n), Name: p.Name, Version: p.FullVersion()}})
		}
		byType[p.Type][n].members = append(byType[p.Type][n].members, i)
	}
	var hits []hit
	for _, t := range languageTypes() {
		found, err := oneType(ctx, ftypes.LangType(t), byType[t])
		if err != nil {
			return nil, err
		}
		hits = append(hits, expand(found, byType[t])...)
	}
	return hits, nil
}

// oneType looks up the packages of one type: all at once, or one at a time if that panics.
func oneType(ctx context.Context, t ftypes.LangType, groups []group) ([]types.DetectedVulnerability, error) {
	if len(groups) == 0 {
		return nil, nil
	}
	pkgs := make([]ftypes.Package, len(groups))
	for i := range groups {
		pkgs[i] = groups[i].pkg
	}
	run := func(pkgs []ftypes.Package) ([]types.DetectedVulnerability, error) {
		return try(func() ([]types.DetectedVulnerability, error) { return library.Detect(ctx, t, pkgs) })
	}
	found, err := run(pkgs)
	if !errors.Is(err, errPassed) {
		return found, err
	}
	found = nil
	for i := range pkgs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v, err := run(pkgs[i : i+1])
		switch {
		case errors.Is(err, errPassed):
		case err != nil:
			return nil, err
		}
		found = append(found, v...)
	}
	return found, nil
}
