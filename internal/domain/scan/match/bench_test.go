package match_test

import (
	"fmt"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

// big is a database of about 240,000 advisories.
func big() matchtest.DB {
	return matchtest.DB{Buckets: []pack{
		matchtest.Filler("debian 12", source("debian"), 120_000),
		matchtest.Filler("ubuntu 22.04", source("ubuntu"), 60_000),
		matchtest.Filler("alpine 3.20", source("alpine"), 60_000),
	}}
}

// bigImage has 500 packages of Debian, 30 of which are vulnerable, with ten advisories each.
func bigImage() inventory.Image {
	img := inventory.Image{OS: inventory.OS{Family: "debian", Name: "12"}}
	for i := range 500 {
		version := "3.0"
		if i < 30 {
			version = "1.0"
		}
		src := fmt.Sprintf("filler-%05d", i*7)
		img.Packages = append(img.Packages, dpkg(src, fmt.Sprintf("lib%d", i), version, "1"))
	}
	return img
}

// BenchmarkMatch is matching a known inventory: 500 packages, each with ten advisories, 300
// matches.
func BenchmarkMatch(b *testing.B) {
	d := open(b, big())
	img := bigImage()
	b.ReportAllocs()
	for b.Loop() {
		r, err := d.Match(b.Context(), img, match.Options{Now: now})
		if err != nil || len(r.Matches) != 300 {
			b.Fatal(len(r.Matches), err)
		}
	}
}

// BenchmarkCheck reads a whole database.
func BenchmarkCheck(b *testing.B) {
	d := open(b, big())
	for b.Loop() {
		if err := d.Check(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
