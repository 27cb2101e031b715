package match_test

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
)

// now is when the tests match: before the end of life of what they call current.
var now = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)

// open writes a database and opens it until the test ends.
func open(t testing.TB, db matchtest.DB) *match.Database {
	t.Helper()
	dir := t.TempDir()
	if err := matchtest.Write(dir, db); err != nil {
		t.Fatal(err)
	}
	d, err := match.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func find(t testing.TB, d *match.Database, img inventory.Image) finding.Report {
	t.Helper()
	r, err := d.Match(t.Context(), img, match.Options{Languages: true, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines are the matches of a report as "id package fixed severity status".
func lines(r finding.Report) []string {
	out := []string{}
	for _, m := range r.Matches {
		fixed := m.FixedVersion
		if fixed == "" {
			fixed = "-"
		}
		out = append(out, strings.Join([]string{r.Vulnerabilities[m.Vulnerability].ID, m.Package.Name, fixed, string(m.Severity), m.Status}, " "))
	}
	return out
}

// perlImage reads the real image: its dpkg status, in the few lines that this takes.
func perlImage(t *testing.T) inventory.Image {
	t.Helper()
	layout, err := matchtest.PerlImage()
	if err != nil {
		t.Fatal(err)
	}
	read := func(digest string) []byte {
		b, err := fs.ReadFile(layout, "blobs/"+strings.Replace(digest, ":", "/", 1))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct{ Layers []descriptor }
	b, err := fs.ReadFile(layout, "index.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(read(index.Manifests[0].Digest), &manifest); err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(read(manifest.Layers[0].Digest)))
	if err != nil {
		t.Fatal(err)
	}
	img := inventory.Image{OS: inventory.OS{Family: "debian", Name: "12.15"}, Architecture: "amd64", Platform: "linux"}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimPrefix(h.Name, "./") == "var/lib/dpkg/status" {
			img.Packages = status(t, r)
		}
	}
	if len(img.Packages) < 50 {
		t.Fatalf("the image has %d packages", len(img.Packages))
	}
	return img
}

func status(t *testing.T, r io.Reader) []inventory.Package {
	t.Helper()
	var all []inventory.Package
	p := inventory.Package{Type: inventory.Dpkg}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), ": ")
		switch key {
		case "Package":
			p = inventory.Package{Type: inventory.Dpkg, Name: value, SrcName: value}
		case "Architecture":
			p.Arch = value
		case "Source":
			name, version, _ := strings.Cut(value, " (")
			p.SrcName, p.SrcVersion = name, strings.TrimSuffix(version, ")")
		case "Version":
			p.Version = value
			if p.SrcVersion == "" {
				p.SrcVersion = value
			}
		case "":
			all = append(all, p)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
