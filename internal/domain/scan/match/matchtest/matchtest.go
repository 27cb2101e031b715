package matchtest

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	"github.com/aquasecurity/trivy-db/pkg/vulnsrc/bucket"
	bolt "go.etcd.io/bbolt"
)

// The files of a database.
const (
	databaseFile = "trivy.db"
	metadataFile = "metadata.json"
)

// DB is a database.
type DB struct {
	// Schema is 2 where it is 0.
	Schema int `json:",omitempty"`
	// UpdatedAt is 2026-01-02 03:04:05 UTC where it is zero; NextUpdate is a day, and
	// DownloadedAt an hour after it where they are zero.
	UpdatedAt, NextUpdate, DownloadedAt time.Time
	Buckets                             []Bucket
	Vulnerabilities                     []Vulnerability
	// RedHat says to which products (numbers of CPEs) repositories and builds ("NVR-ARCH") belong.
	RedHat RedHat
}

// RedHat is how Red Hat's repositories and builds are mapped to products.
type RedHat struct {
	Repositories, NVRs map[string][]int `json:",omitempty"`
}

// Bucket is the advisories of one source for one release of a distribution ("debian 12") or
// one ecosystem ("npm::GitHub Security Advisory npm").
type Bucket struct {
	Bucket string
	Source Source
	Advs   []Advisory
	// Vulns describe vulnerabilities, by id, as DB.Vulnerabilities do.
	Vulns map[string]Vulnerability `json:",omitempty"`
}

// Source is who publishes a bucket. ID is Trivy's word, "debian".
type Source struct{ ID, Name, URL string }

// Advisory is what a source says of a package.
type Advisory struct {
	Pkg, ID string
	// Fixed is the version that mends it, "" while there is none.
	Fixed string `json:",omitempty"`
	// Severity is for this package alone: LOW, MEDIUM, HIGH, CRITICAL.
	Severity string `json:",omitempty"`
	// Status is one of dbtypes.Statuses: "will_not_fix".
	Status    string   `json:",omitempty"`
	VendorIDs []string `json:",omitempty"`
	// Arches is for Red Hat, Oracle and Rocky.
	Arches []string `json:",omitempty"`
	// Products and CVEs are for Red Hat: numbers of CPEs, and what an erratum (ID is "RHSA-...") mends.
	Products []int    `json:",omitempty"`
	CVEs     []string `json:",omitempty"`
	// Vulnerable and Patched are ranges of versions of languages' packages.
	Vulnerable, Patched []string `json:",omitempty"`
	// Raw is written as it is, in place of all others.
	Raw json.RawMessage `json:",omitempty"`
}

// Vulnerability describes one.
type Vulnerability struct {
	ID                 string   `json:",omitempty"`
	Title, Description string   `json:",omitempty"`
	References, CWEs   []string `json:",omitempty"`
	// VendorSeverity is LOW, MEDIUM, HIGH or CRITICAL by source ("nvd", "redhat").
	VendorSeverity map[string]string `json:",omitempty"`
	CVSS           map[string]CVSS   `json:",omitempty"`
	// Published and Modified are not written where they are zero.
	Published, Modified time.Time
}

// CVSS is the scores by one source.
type CVSS struct {
	V2Vector, V3Vector, V40Vector string  `json:",omitempty"`
	V2Score, V3Score, V40Score    float64 `json:",omitempty"`
}

// Buckets reads the form in which the advisories of fixtures are written.
func Buckets(b []byte) ([]Bucket, error) {
	var out []Bucket
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("advisories: %w", err)
	}
	return out, nil
}

// Write writes a database into dir, which it makes: trivy.db and metadata.json.
func Write(dir string, d DB) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	updated := d.UpdatedAt
	if updated.IsZero() {
		updated = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	or := func(t time.Time, after time.Duration) time.Time {
		if t.IsZero() {
			return updated.Add(after)
		}
		return t
	}
	m, err := json.Marshal(map[string]any{
		"Version": cmp.Or(d.Schema, 2), "UpdatedAt": updated,
		"NextUpdate": or(d.NextUpdate, 24*time.Hour), "DownloadedAt": or(d.DownloadedAt, time.Hour),
	})
	if err != nil {
		return err
	}
	path := filepath.Join(dir, databaseFile)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	b, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: true, NoFreelistSync: true})
	if err != nil {
		return err
	}
	err = b.Update(func(tx *bolt.Tx) error { return write(tx, d) })
	if closed := b.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, metadataFile), m, 0o600)
}

// put writes a value, making the buckets that lead to it.
func put(tx *bolt.Tx, value any, path ...string) error {
	v, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	b, err := tx.CreateBucketIfNotExists([]byte(path[0]))
	for _, name := range path[1 : len(path)-1] {
		if err != nil {
			break
		}
		b, err = b.CreateBucketIfNotExists([]byte(name))
	}
	if err == nil {
		err = b.Put([]byte(path[len(path)-1]), v)
	}
	if err != nil {
		return fmt.Errorf("%q: %w", path, err)
	}
	return nil
}

func write(tx *bolt.Tx, d DB) error {
	for _, b := range d.Buckets {
		if b.Source.ID != "" {
			s := dbtypes.DataSource{ID: dbtypes.SourceID(b.Source.ID), Name: b.Source.Name, URL: b.Source.URL}
			if err := put(tx, s, "data-source", b.Bucket); err != nil {
				return err
			}
		}
		if err := advisories(tx, b); err != nil {
			return err
		}
		for _, id := range slices.Sorted(keys(b.Vulns)) {
			v := b.Vulns[id]
			v.ID = id
			if err := vulnerability(tx, v); err != nil {
				return err
			}
		}
	}
	for _, v := range d.Vulnerabilities {
		if err := vulnerability(tx, v); err != nil {
			return err
		}
	}
	for kind, all := range map[string]map[string][]int{"repository": d.RedHat.Repositories, "nvr": d.RedHat.NVRs} {
		for key, products := range all {
			if err := put(tx, products, "Red Hat CPE", kind, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// entries is an advisory that says different things for different architectures or products.
type entries struct {
	FixedVersion string  `json:",omitempty"`
	Entries      []entry `json:",omitempty"`
}

type entry struct {
	FixedVersion string   `json:",omitempty"`
	Arches       []string `json:",omitempty"`
	VendorIDs    []string `json:",omitempty"`
	Cves         []cve    `json:",omitempty"`
	Affected     []int    `json:",omitempty"`
	Status       int      `json:",omitempty"`
}

type cve struct {
	ID       string           `json:",omitempty"`
	Severity dbtypes.Severity `json:",omitempty"`
}

func advisories(tx *bolt.Tx, b Bucket) error {
	redHat := b.Bucket == bucket.NewRedHat("").Name()
	many := map[[2]string]*entries{}
	for _, a := range b.Advs {
		severity, err := rated(a.Severity)
		if err != nil {
			return err
		}
		if a.Status != "" && !slices.Contains(dbtypes.Statuses, a.Status) {
			return fmt.Errorf("%s: no such status: %q", a.ID, a.Status)
		}
		status := dbtypes.NewStatus(a.Status)
		switch {
		case a.Raw != nil:
			if err := put(tx, a.Raw, b.Bucket, a.Pkg, a.ID); err != nil {
				return err
			}
		case redHat || len(a.Arches) > 0:
			k := [2]string{a.Pkg, a.ID}
			if many[k] == nil {
				many[k] = &entries{}
			}
			e := entry{FixedVersion: a.Fixed, Arches: a.Arches, Status: int(status)}
			if redHat {
				e.Affected, e.Cves = a.Products, []cve{{Severity: severity}}
				if len(a.CVEs) > 0 {
					e.Cves = nil
				}
				for _, id := range a.CVEs {
					e.Cves = append(e.Cves, cve{ID: id, Severity: severity})
				}
			} else {
				e.VendorIDs, many[k].FixedVersion = a.VendorIDs, a.Fixed
			}
			many[k].Entries = append(many[k].Entries, e)
		default:
			adv := dbtypes.Advisory{
				FixedVersion: a.Fixed, Severity: severity, Status: status, VendorIDs: a.VendorIDs,
				VulnerableVersions: a.Vulnerable, PatchedVersions: a.Patched,
			}
			if err := put(tx, &adv, b.Bucket, a.Pkg, a.ID); err != nil {
				return err
			}
		}
	}
	for k, e := range many {
		if err := put(tx, e, b.Bucket, k[0], k[1]); err != nil {
			return err
		}
	}
	return nil
}

func rated(word string) (dbtypes.Severity, error) {
	if word == "" {
		return dbtypes.SeverityUnknown, nil
	}
	return dbtypes.NewSeverity(word)
}

func vulnerability(tx *bolt.Tx, v Vulnerability) error {
	out := dbtypes.Vulnerability{
		Title: v.Title, Description: v.Description, References: v.References, CweIDs: v.CWEs,
		VendorSeverity: dbtypes.VendorSeverity{}, CVSS: dbtypes.VendorCVSS{},
	}
	for src, word := range v.VendorSeverity {
		s, err := rated(word)
		if err != nil {
			return fmt.Errorf("%s: %w", v.ID, err)
		}
		out.VendorSeverity[dbtypes.SourceID(src)] = s
	}
	for src, c := range v.CVSS {
		out.CVSS[dbtypes.SourceID(src)] = dbtypes.CVSS(c)
	}
	if !v.Published.IsZero() {
		out.PublishedDate = &v.Published
	}
	if !v.Modified.IsZero() {
		out.LastModifiedDate = &v.Modified
	}
	return put(tx, out, "vulnerability", v.ID)
}

// Archive is the database in dir in the form in which databases are published: both files in a tar
// archive, compressed with gzip ("db.tar.gz").
func Archive(dir string) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	t := tar.NewWriter(z)
	for _, file := range []string{databaseFile, metadataFile} {
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return nil, err
		}
		if err := t.WriteHeader(&tar.Header{Name: file, Mode: 0o600, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			return nil, err
		}
		if _, err := t.Write(b); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Filler is a bucket of n advisories, ten for each package ("filler-00000", ...), that are fixed in
// version 2.0-1 of it, and of n/4 vulnerabilities, which it takes by turns: what makes a
// database as big as a real one. n is at least 40.
func Filler(name string, source Source, n int) Bucket {
	b := Bucket{Bucket: name, Source: source, Vulns: map[string]Vulnerability{}}
	for i := range n {
		id := "CVE-2020-" + strconv.Itoa(100000+i%(n/4))
		b.Advs = append(b.Advs, Advisory{Pkg: fmt.Sprintf("filler-%05d", i/10), ID: id, Fixed: "2.0-1"})
		if i < n/4 {
			b.Vulns[id] = Vulnerability{
				Title:       "a vulnerability that only takes up room, as long as most are",
				Description: string(bytes.Repeat([]byte("It was found that a crafted input leads to something that nobody wants. "), 8)),
				References: []string{
					"https://example.org/a/" + id, "https://example.org/advisories/2020/" + id + "/index.html",
					"https://example.com/bugzilla/show_bug.cgi?id=" + id, "https://example.net/lists/announce/2020/" + id + "/msg00012.html",
				},
				CWEs:           []string{"CWE-125"},
				VendorSeverity: map[string]string{"nvd": "HIGH", "redhat": "MEDIUM", "ubuntu": "LOW", source.ID: "LOW"},
				CVSS: map[string]CVSS{
					"nvd":    {V3Vector: "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", V3Score: 7.8, V2Vector: "AV:L/AC:L/Au:N/C:P/I:P/A:P", V2Score: 4.6},
					"redhat": {V3Vector: "CVSS:3.1/AV:L/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:L", V3Score: 4.9},
				},
				Published: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), Modified: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC),
			}
		}
	}
	return b
}
