package match_test

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

// TestHostileInventories: whatever an image says of its packages, those that make sense are
// matched.
func TestHostileInventories(t *testing.T) {
	db := distributions()
	db.Buckets = append(db.Buckets, ecosystems().Buckets...)
	d := open(t, db)
	strange := []string{
		"", " ", "\x00", "\xff\xfe", ":", "-", ":-", "0:", "-1", "1:2:3", "~", "^", "..", "1..2", "v", "vv1", "latest", "😀", "1\n2", "%s%n",
		"99999999999999999999999999", "-99999999999999999999:1", strings.Repeat("9", 1000), strings.Repeat("1.", 500) + "1", strings.Repeat("a", 100_000),
		"1.0-r", "1.0-r99999999999999999999", "1_alpha_beta", ">=1", "<1,>2", "|| 1", "1 || 2", "[1,2)", "1.x", "*", "1!2", "1.0+", "1.0.dev", "(", "[",
	}
	families := []struct{ family, version string }{
		{"debian", "12"}, {"ubuntu", "22.04"}, {"alpine", "3.20"}, {"amazon", "2"}, {"redhat", "9"}, {"rocky", "9"}, {"alma", "9"}, {"oracle", "8"},
		{"suse linux enterprise server", "15.3"}, {"opensuse-tumbleweed", ""}, {"photon", "5.0"}, {"wolfi", ""}, {"chainguard", ""},
	}
	for _, f := range families {
		img := inventory.Image{OS: inventory.OS{Family: f.family, Name: f.version}}
		for _, s := range strange {
			for _, p := range []pkg{
				{Name: "openssl", Version: s, SrcName: "openssl", SrcVersion: s},
				{Name: s, Version: "1", SrcName: s, SrcVersion: s, Release: s, SrcRelease: s, Arch: s, Modularity: s, Epoch: -7},
				{Name: "bash", Version: "1", SrcName: "bash", SrcVersion: s, Modularity: "a:b:c:d:" + s},
			} {
				for _, of := range []inventory.Type{inventory.Dpkg, inventory.Apk, inventory.RPM} {
					p.Type = of
					img.Packages = append(img.Packages, p)
				}
			}
		}
		good := dpkg("openssl", "good", "3.0.1", "1")
		good.SrcName = "openssl"
		img.Packages = append(img.Packages, good)
		r := find(t, d, img)
		if !r.Supported {
			t.Errorf("%s is not supported", f.family)
		}
		if f.family == "debian" && !slices.Contains(lines(r), "CVE-2023-0002 good 3.0.11-1 UNDEFINED fixed") {
			t.Errorf("the package that makes sense was not matched: %v", lines(r))
		}
	}
	for _, of := range []inventory.Type{
		inventory.GoBinary, inventory.Jar, inventory.Npm, inventory.Pip, inventory.GemSpec, inventory.Cargo, inventory.Composer, inventory.NuGet,
	} {
		img := inventory.Image{}
		name := "it"
		if of == inventory.Jar {
			name = "org.example:it"
		}
		for _, s := range strange {
			img.Packages = append(img.Packages, pkg{Type: of, Name: name, Version: s}, pkg{Type: of, Name: s, Version: "1"})
		}
		img.Packages = append(img.Packages, pkg{Type: of, Name: name, Version: "1.4.9", Path: "good"})
		found := false
		for _, m := range find(t, d, img).Matches {
			found = found || m.Package.Path == "good"
		}
		if !found {
			t.Errorf("%s: the package that makes sense was not matched", of)
		}
	}
}

// TestHostileDistributions: names of distributions that no image should have.
func TestHostileDistributions(t *testing.T) {
	d := open(t, distributions())
	for _, family := range []string{"debian", "ubuntu", "alpine", "amazon", "redhat", "centos", "oracle", "sles", "opensuse-leap", "photon", "azurelinux", "cbl-mariner", "coreos", "bottlerocket", "echo", "x\x00"} {
		for _, version := range []string{"", " ", ".", "..", "\x00", "::", "12::", "-ESM", strings.Repeat("1", 10_000)} {
			r := find(t, d, inventory.Image{OS: inventory.OS{Family: family, Name: version}, AlpineRepository: version,
				Packages: []pkg{dpkg("openssl", "openssl", "1", "1"), rpm("curl", 0, "1", "1"), apk("openssl", "openssl", "1")}})
			// Whatever is neither 2 nor 2023 was Amazon Linux 1, which named itself by dates.
			if family != "amazon" && (r.Supported || len(r.Matches) > 0) {
				t.Errorf("%q %.20q: supported, %v", family, version, lines(r))
			}
		}
	}
}

// TestADetectorThatPanics: Trivy indexes its words of severity with what an advisory says;
// that costs the package, not the image.
func TestADetectorThatPanics(t *testing.T) {
	d := open(t, matchtest.DB{
		Buckets: []pack{{Bucket: "debian 12", Source: source("debian"), Advs: []adv{
			{Pkg: "bad", ID: "CVE-2024-1", Raw: []byte(`{"Severity": 99}`)},
			{Pkg: "good", ID: "CVE-2024-2", Fixed: "2-1"},
		}}},
		Vulnerabilities: []vuln{{ID: "CVE-2024-2"}},
	})
	r := find(t, d, inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{
		dpkg("bad", "bad", "1", "1"), dpkg("good", "one", "1", "1"), dpkg("good", "two", "1", "1"),
	}})
	if r := find(t, d, inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{dpkg("bad", "bad", "1", "1")}}); r.Supported {
		t.Error("an image of which nothing could be matched counts as matched")
	}
	want := []string{"CVE-2024-2 one 2-1 UNDEFINED fixed", "CVE-2024-2 two 2-1 UNDEFINED fixed"}
	if got := lines(r); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestAnUnknownVulnerability: an advisory of one that the database does not describe.
func TestAnUnknownVulnerability(t *testing.T) {
	d := open(t, matchtest.DB{Buckets: []pack{{Bucket: "debian 12", Source: source("debian"), Advs: []adv{{Pkg: "it", ID: "CVE-2024-1"}}}}})
	r := find(t, d, inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}, Packages: []pkg{dpkg("it", "it", "1", "1")}})
	if got := lines(r); !reflect.DeepEqual(got, []string{"CVE-2024-1 it - UNDEFINED affected"}) {
		t.Errorf("got %v", got)
	}
}

// TestTooMany: an image can list the same vulnerable package as often as it likes.
func TestTooMany(t *testing.T) {
	d := open(t, distributions())
	img := inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}}
	for i := range 40_000 { // three matches each
		p := dpkg("openssl", "openssl", "3.0.9", "1")
		p.Arch = strconv.Itoa(i)
		img.Packages = append(img.Packages, p)
	}
	if _, err := d.Match(t.Context(), img, match.Options{Now: now}); !errors.Is(err, match.ErrTooMany) {
		t.Error(err)
	}
}
