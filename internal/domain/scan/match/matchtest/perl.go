package matchtest

import (
	"embed"
	"io/fs"
)

//go:embed testdata/advisories.json testdata/debian-perl-oci
var files embed.FS

// PerlImage is an OCI image layout with the package list of Debian 12.15, in which perl-base lacks
// a security update. It has exactly the vulnerabilities of PerlDB.
func PerlImage() (fs.FS, error) { return fs.Sub(files, "testdata/debian-perl-oci") }

// PerlDB is a database with the thirteen advisories that Debian's update of perl mends.
func PerlDB() (DB, error) {
	b, err := files.ReadFile("testdata/advisories.json")
	if err != nil {
		return DB{}, err
	}
	buckets, err := Buckets(b)
	return DB{Buckets: buckets}, err
}
