// Package migrating brings the databases of a configuration to this program's
// form without serving, and says how far they are from it. The migrations are
// domain/schema's; sqldb runs them.
package migrating

import (
	"context"
	"errors"
	"io/fs"

	"github.com/berth-registry/berth/internal/app/backends"
	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/sqldb"
	"github.com/berth-registry/berth/internal/infra/sqldb/migration"
)

// Migrations is how far a database is from this program's form.
type Migrations struct {
	// Database is "metadata" or "uploads"; on PostgreSQL they are two lists in
	// one database.
	Database string `json:"database"`
	migration.Status
}

// Status says what Up would do, and does nothing. SQLite must not
// be in use by a server.
func Status(ctx context.Context, cfg config.Config) ([]Migrations, error) {
	return onDatabases(ctx, cfg, false)
}

// Up brings the databases to this program's form and says how they are
// then. On PostgreSQL, nodes may be running: one of them migrates at a time.
func Up(ctx context.Context, cfg config.Config) ([]Migrations, error) {
	return onDatabases(ctx, cfg, true)
}

func onDatabases(ctx context.Context, cfg config.Config, up bool) (all []Migrations, err error) {
	durable, volatile, err := backends.Databases(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, volatile.Close(), durable.Close()) }() // on PostgreSQL one twice, which is no error
	for _, d := range []struct {
		name, table string
		db          *sqldb.DB
		dirs        []fs.FS
	}{
		{"metadata", "schema_version", durable, schema.Durable()},
		{"uploads", "schema_version_volatile", volatile, schema.Volatile()},
	} {
		if up {
			if err := d.db.Migrate(ctx, d.table, d.dirs...); err != nil {
				return nil, err
			}
		}
		status, err := d.db.MigrationStatus(ctx, d.table, d.dirs...)
		if err != nil {
			return nil, err
		}
		all = append(all, Migrations{d.name, status})
	}
	return all, nil
}
