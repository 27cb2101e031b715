package app

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Files of the data directory.
const (
	fileDatabase    = "berth.db"
	fileUploads     = "uploads.db"
	fileKeyring     = "keyring.json"
	fileCredentials = "credentials"
	fileServer      = "server.json"
	fileSocket      = "admin.sock"
	dirBlobs        = "blobs"
	dirArchive      = "archive"
)

// openBackends opens the embedded shape: SQLite and files.
func (a *App) openBackends(ctx context.Context) (err error) {
	// The durable database goes first: its lock keeps a second server out
	// before anything else is touched.
	a.durable, err = sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: a.path(fileDatabase), Durable: true, Exclusive: true})
	if err != nil {
		return fmt.Errorf("the database cannot be opened: %w", err)
	}
	a.volatile, err = sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: a.path(fileUploads)})
	if err != nil {
		return fmt.Errorf("the database of uploads cannot be opened: %w", err)
	}
	if a.volatile.Recreated() {
		a.log.Warn("the database of uploads was damaged, by a power cut perhaps, and was begun anew: clients have to start their unfinished uploads again")
	}
	if err := a.migrate(ctx); err != nil {
		return err
	}
	if err := a.requireKeyring(ctx); err != nil {
		return err
	}
	if a.keys, err = keyring.Open(a.path(fileKeyring), a.clk); err != nil {
		return fmt.Errorf("the keyring cannot be opened: %w", err)
	}
	a.stores, a.archives = map[name.Region]blobstore.Store{}, map[name.Region]blobstore.Store{}
	archive := a.cfg.Blobs.Archive
	if archive == "" {
		archive = a.path(dirArchive)
	}
	for _, region := range a.cfg.Regions {
		if a.stores[region], err = a.openFiles(filepath.Join(a.path(dirBlobs), string(region))); err != nil {
			return fmt.Errorf("the blob store of %s cannot be opened: %w", region, err)
		}
		if a.archives[region], err = a.openFiles(filepath.Join(archive, string(region))); err != nil {
			return fmt.Errorf("the archive of %s cannot be opened: %w", region, err)
		}
	}
	return nil
}

// openFiles opens a directory as a store, sealed as the configuration says.
func (a *App) openFiles(dir string) (blobstore.Store, error) {
	files, err := fs.New(dir)
	if err != nil {
		return nil, err
	}
	return a.keepFree(encrypted.NewEither(files, a.keys, a.cfg.Blobs.Encryption == "berth"), files.Free), nil
}

// requireKeyring refuses to start on a database whose keyring is gone: a new
// keyring would open nothing that the old one sealed, and hide that it is lost.
func (a *App) requireKeyring(ctx context.Context) error {
	if fileExists(a.path(fileKeyring)) {
		return nil
	}
	var sealed int64
	err := a.durable.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM access_key`).Scan(&sealed)
	})
	if err == nil && sealed > 0 {
		err = fmt.Errorf("%s is missing, and without it nothing that this data directory holds can be read; restore it from a backup", a.path(fileKeyring))
	}
	return err
}
