package match_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

// ecosystems has the same advisories for each.
func ecosystems() matchtest.DB {
	db := matchtest.DB{Vulnerabilities: []vuln{
		{ID: "CVE-2024-0001", VendorSeverity: map[string]string{"ghsa": "MEDIUM", "nvd": "CRITICAL"},
			CVSS: map[string]matchtest.CVSS{"ghsa": cvss3(5.3), "nvd": cvss3(9.8)}},
		{ID: "GHSA-aaaa-bbbb-cccc", VendorSeverity: map[string]string{"ghsa": "HIGH"}},
	}}
	for _, e := range []string{"go", "maven", "npm", "pip", "rubygems", "cargo", "composer", "nuget"} {
		name := "it"
		if e == "maven" {
			name = "org.example:it"
		}
		db.Buckets = append(db.Buckets,
			pack{Bucket: e + "::GitHub Security Advisory " + e, Source: source("ghsa"), Advs: []adv{
				{Pkg: name, ID: "CVE-2024-0001", Patched: []string{"1.5.0"}, Vulnerable: []string{"<1.5.0"}, VendorIDs: []string{"GHSA-1111-2222-3333"}},
				{Pkg: name, ID: "GHSA-aaaa-bbbb-cccc", Vulnerable: []string{">=1.0.0"}},
				{Pkg: name, ID: "CVE-2024-0003", Patched: []string{"3.0.0"}, Vulnerable: []string{">=2.5.0, <3.0.0"}},
			}},
			pack{Bucket: e + "::GitLab Advisory Database", Source: source("glad"), Advs: []adv{
				{Pkg: "other", ID: "CVE-2024-0004", Vulnerable: []string{"<9.0.0"}},
			}})
	}
	return db
}

func TestLanguages(t *testing.T) {
	d := open(t, ecosystems())
	all := []inventory.Type{
		inventory.GoBinary, inventory.Jar, inventory.NodePkg, inventory.Npm, inventory.Yarn, inventory.Pnpm, inventory.PythonPkg, inventory.Pip,
		inventory.Poetry, inventory.Pipenv, inventory.GemSpec, inventory.Bundler, inventory.RustBinary, inventory.Cargo, inventory.Composer,
		inventory.ComposerV, inventory.DotNetCore, inventory.NuGet,
	}
	for _, of := range all {
		t.Run(string(of), func(t *testing.T) {
			name := "it"
			if of == inventory.Jar {
				name = "org.example:it"
			}
			at := func(version, path string) pkg { return pkg{Type: of, Name: name, Version: version, Path: path} }
			r := find(t, d, inventory.Image{Packages: []pkg{at("1.4.9", "a"), at("1.5.0", "b"), at("0.9.0", "c"), at("1.4.9", "d"), {Type: of, Name: "unknown", Version: "1"}}})
			if !r.Supported {
				t.Error("not supported")
			}
			var got []string
			for _, m := range r.Matches {
				got = append(got, strings.Join([]string{m.Package.Path, r.Vulnerabilities[m.Vulnerability].ID, string(m.Severity), m.FixedVersion, m.Source, m.URI, strings.Join(m.VendorIDs, ",")}, " "))
			}
			const unfixed = " GHSA-aaaa-bbbb-cccc HIGH  GITHUB https://github.com/advisories/GHSA-aaaa-bbbb-cccc "
			const fixed = " CVE-2024-0001 MEDIUM 1.5.0 GITHUB https://github.com/advisories/GHSA-1111-2222-3333 GHSA-1111-2222-3333"
			want := []string{"a" + unfixed, "d" + unfixed, "b" + unfixed, "c" + fixed, "a" + fixed, "d" + fixed}
			if !slices.Equal(got, want) {
				t.Errorf("got\n %s\nwant\n %s", strings.Join(got, "\n "), strings.Join(want, "\n "))
			}
		})
	}
}

// TestLanguagesAreAskedFor: basic scanning knows the distribution's packages only.
func TestLanguagesAreAskedFor(t *testing.T) {
	d := open(t, ecosystems())
	img := inventory.Image{OS: inventory.OS{Family: "plan9", Name: "4"}, Packages: []pkg{{Type: inventory.Npm, Name: "other", Version: "1.0.0"}}}
	r := find(t, d, img)
	if !r.Supported || !reflect.DeepEqual(lines(r), []string{"CVE-2024-0004 other 9.0.0 UNDEFINED fixed"}) || r.Matches[0].Source != "GITLAB" {
		t.Errorf("supported %v: %v", r.Supported, lines(r))
	}
	if len(r.Basic()) != 0 || len(r.Counts()) != 0 {
		t.Errorf("basic scanning shows %v", r.Basic())
	}
	if counts := finding.EnhancedCounts(r.Enhanced(finding.EnhancedOptions{})); counts[finding.Untriaged] != 1 || len(counts) != 1 {
		t.Errorf("counts %v", counts)
	}
	r, err := d.Match(t.Context(), img, match.Options{Now: now})
	if err != nil || r.Supported || len(r.Matches) != 0 {
		t.Errorf("without languages: supported %v, %v, %v", r.Supported, lines(r), err)
	}
}
