package scanning

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/berth-registry/berth/internal/domain/scan/match/matchtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// rpms is a real database of RPM, of a distribution that its os-release names.
func rpms(t *testing.T, name, at, release string) layer {
	t.Helper()
	packed := must(os.ReadFile(filepath.Join(harness.Root(t), "internal", "domain", "scan", "inventory", "read", "rpm", "testdata", name)))(t)
	z := must(gzip.NewReader(bytes.NewReader(packed)))(t)
	return plain(t, "etc/os-release", release, at, string(must(io.ReadAll(z))(t)))
}

// TestDistributions: images with the package managers of others than Debian: apk, and
// RPM with its databases of today and of old; and distroless, where each package has a
// file of its own.
func TestDistributions(t *testing.T) {
	t.Parallel()
	w := start(t, harness.Options{})
	bucket := func(name, source string, a matchtest.Advisory) matchtest.Bucket {
		b := advisories(a)
		b.Bucket, b.Source = name, matchtest.Source{ID: source, Name: source}
		return b
	}
	w.take(t, database(t, 1,
		bucket("alpine 3.20", "alpine", matchtest.Advisory{Pkg: "openssl", ID: "CVE-2026-0021", Fixed: "3.3.1-r1"}),
		bucket("alma 8", "alma", matchtest.Advisory{Pkg: "libuuid", ID: "CVE-2026-0022", Fixed: "2.32.1-43.el8_8"}),
		bucket("SUSE Linux Enterprise 15.3", "suse-cvrf", matchtest.Advisory{Pkg: "bash", ID: "SUSE-SU-2026:0023-1", Fixed: "4.4-19.7.1"}),
		advisories(matchtest.Advisory{Pkg: "tzdata", ID: "CVE-2026-0024", Severity: "LOW"}),
	))
	w.onPush(t, "of")
	for tag, of := range map[string]struct {
		layer layer
		want  string
	}{
		"alpine": {plain(t, "etc/os-release", "ID=alpine\nVERSION_ID=3.20.3\n", "etc/alpine-release", "3.20.3\n",
			"lib/apk/db/installed", "P:libssl3\nV:3.3.1-r0\nA:x86_64\no:openssl\nL:Apache-2.0\n\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\n\n"),
			"CVE-2026-0021 UNDEFINED libssl3 3.3.1-r0"},
		"alma": {rpms(t, "Packages.gz", "var/lib/rpm/Packages", "ID=almalinux\nVERSION_ID=\"8.8\"\n"),
			"CVE-2026-0022 UNDEFINED libuuid 2.32.1-42.el8_8"},
		"suse": {rpms(t, "Packages.db.gz", "usr/lib/sysimage/rpm/Packages.db", "ID=\"sles\"\nVERSION_ID=\"15.3\"\n"),
			"SUSE-SU-2026:0023-1 UNDEFINED bash 4.4-19.6.1"},
		"distroless": {plain(t, "usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\n", "var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all\n"),
			"CVE-2026-0024 LOW tzdata 2024a-0+deb12u1"},
	} {
		w.push(t, "of", tag, linux, of.layer)
		same(t, tag, w.complete(t, "of", tag), []string{of.want})
	}
}
