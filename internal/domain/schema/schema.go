// Package schema holds the database's form: the migrations of every feature in
// one order, NNNN_<feature>_<what>.sql. Forward only.
//
// While a deployment is upgraded node by node, old programs run, and start, on
// the new form; an old one sees nothing but its own statements. So a migration
// only adds: tables, indexes, columns that have a default or may be null. It
// drops, renames and retypes nothing, and adds no column that an old INSERT
// would have to name, and no constraint that old rows or statements break.
//
// What is no longer used goes in a later release than the one that stopped using
// it, in a migration with the line
//
//	-- contract: why no program that can still be running needs it
//
// Running it raises the floor of the database to its own number: a program that
// does not know that migration is refused from then on (sqldb.DB.Migrate). So an
// upgrade by more than one release stops the old nodes first, or goes through
// the releases between. A test holds the rule from 0017 on.
//
// It does not run them; infra/sqldb does. The queue's own table is migration
// 0001, in infra/jobs, so that the queue's suite needs nothing above it.
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
