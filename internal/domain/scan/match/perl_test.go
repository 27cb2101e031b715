package match_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

// TestTheRealImage: a real package list and real advisories, of which it is known what
// they amount to.
func TestTheRealImage(t *testing.T) {
	db, err := matchtest.PerlDB()
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, db)
	img := perlImage(t)
	r := find(t, d, img)
	if !r.Supported || r.EndOfLife {
		t.Errorf("supported %v, past its end of life %v", r.Supported, r.EndOfLife)
	}
	if !r.SourceUpdatedAt.Equal(d.Metadata().UpdatedAt) || r.SourceUpdatedAt.IsZero() {
		t.Errorf("the database is of %v", r.SourceUpdatedAt)
	}
	want := []string{
		"CVE-2025-15649", "CVE-2026-12087", "CVE-2026-13221", "CVE-2026-19487", "CVE-2026-42496", "CVE-2026-42497", "CVE-2026-48959",
		"CVE-2026-48962", "CVE-2026-57432", "CVE-2026-57433", "CVE-2026-7010", "CVE-2026-7017", "CVE-2026-8376",
	}
	var got []string
	for _, f := range r.Basic() {
		got = append(got, f.Name)
		if f.Severity != finding.Undefined || f.URI != "https://security-tracker.debian.org/tracker/"+f.Name || f.Description == "" {
			t.Errorf("%+v", f)
		}
		if f.Attributes[1] != (finding.Attribute{Key: "package_name", Value: "perl-base"}) ||
			f.Attributes[0] != (finding.Attribute{Key: "package_version", Value: "5.36.0-7+deb12u3"}) || len(f.Attributes) != 2 {
			t.Errorf("%s: attributes %v", f.Name, f.Attributes)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("found %s\nwant %s", strings.Join(got, " "), strings.Join(want, " "))
	}
	for _, l := range lines(r) {
		if !strings.HasSuffix(l, " perl-base 5.36.0-7+deb12u4 UNDEFINED fixed") {
			t.Error(l)
		}
	}
	for range 5 { // Trivy goes through maps
		if again := find(t, d, img); !reflect.DeepEqual(r, again) {
			t.Fatal("the same image and database gave another report")
		}
	}

	for i := range img.Packages {
		if img.Packages[i].SrcName == "perl" {
			img.Packages[i].Version, img.Packages[i].SrcVersion = "5.36.0-7+deb12u4", "5.36.0-7+deb12u4"
		}
	}
	if r := find(t, d, img); !r.Supported || len(r.Matches) != 0 {
		t.Errorf("with the update there are still %v", lines(r))
	}
}
