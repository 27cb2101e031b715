package backends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// VersionTable is the table that knows which migrations the durable database has
// seen; its highest version_id is the database's form.
const VersionTable = "schema_version"

// ErrNothing says that no deployment stands where the configuration points.
var ErrNothing = errors.New("there is no deployment here yet")

// Existing opens a deployment that is there as it is: nothing is made, and its
// databases stay in their form. ErrNothing when there is none.
func Existing(ctx context.Context, cfg config.Config, o Options) (_ *Backends, err error) {
	if !cfg.Database.Postgres() {
		if _, err := os.Stat(filepath.Join(cfg.Data, fileDatabase)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNothing, err)
		}
	}
	b := empty()
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.Durable, b.Volatile, err = Databases(ctx, cfg); err != nil {
		return nil, err
	}
	s, err := b.Durable.MigrationStatus(ctx, VersionTable, schema.Durable()...)
	if err != nil {
		return nil, err
	}
	if s.Version == 0 {
		return nil, fmt.Errorf("%w: the database is empty", ErrNothing)
	}
	if err := b.openKeys(ctx, cfg, o); err != nil {
		return nil, err
	}
	if err := b.openStores(ctx, cfg, o); err != nil {
		return nil, err
	}
	return b, nil
}

// MigrateTo brings the durable database to the form with the number version, and
// says which form it then has: a higher one where it was further already.
func MigrateTo(ctx context.Context, db *sqldb.DB, version int64) (int64, error) {
	if err := db.MigrateTo(ctx, version, VersionTable, schema.Durable()...); err != nil {
		return 0, err
	}
	s, err := db.MigrationStatus(ctx, VersionTable, schema.Durable()...)
	return s.Version, err
}

// Places opens Raw and RawArchives and nothing else.
func Places(ctx context.Context, cfg config.Config, o Options) (*Backends, error) {
	b := empty()
	if err := b.openStores(ctx, cfg, o); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	b.Stores, b.Archives = nil, nil // there are no keys
	return b, nil
}

// ImportKeyring puts what keyring.Export wrote where the configuration has the
// keyring: in its file, or in the database. It does nothing to one that is there
// and says the same, and is an error for any other.
func ImportKeyring(ctx context.Context, cfg config.Config, db *sqldb.DB, exported []byte, log *slog.Logger) error {
	if !cfg.Database.Postgres() || cfg.Keys.Keyring != "" {
		return keyring.Import(ctx, KeyringFile(cfg), exported)
	}
	master, err := masterKey(ctx, cfg, db, log)
	if err != nil {
		return err
	}
	return keyring.ImportDatabase(ctx, db, master, exported)
}
