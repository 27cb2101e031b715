// Package schema holds the database's form: the migrations of every feature in
// one order, NNNN_<feature>_<what>.sql. Forward only.
//
// It does not run them; infra/sqldb does. The queue's own table is migration
// 0001, in infra/jobs, and the keyring's 0020, in infra/keys/keyring, so that
// their suites need nothing above them.
package schema

import (
	"embed"
	"io/fs"

	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

//go:embed durable/*.sql volatile/*.sql
var files embed.FS

// Durable returns the directories of migrations whose rows survive a power cut.
func Durable() []fs.FS {
	return []fs.FS{sub(jobs.Migrations, "migrations"), sub(keyring.Migrations, "migrations"), sub(files, "durable")}
}

// Volatile returns the directories of migrations for rows that a power cut may
// lose: upload sessions.
func Volatile() []fs.FS {
	return []fs.FS{sub(files, "volatile")}
}

func sub(f fs.FS, dir string) fs.FS {
	s, err := fs.Sub(f, dir)
	if err != nil {
		panic(err) // only for a malformed path, which is a constant above
	}
	return s
}
