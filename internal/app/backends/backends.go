// Package backends opens what the program keeps its things in, as the
// configuration says: SQLite or PostgreSQL, files or object storage, the keyring
// in a file or in the database.
//
// It does not build anything on top of them; package app does.
package backends

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/cached"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/blobstore/inline"
	"github.com/berth-registry/berth/internal/infra/blobstore/reserve"
	"github.com/berth-registry/berth/internal/infra/blobstore/s3"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Files of the data directory.
const (
	fileDatabase  = "berth.db"
	fileUploads   = "uploads.db"
	fileKeyring   = "keyring.json"
	fileMasterKey = "master.key"
	dirBlobs      = "blobs"
	dirArchive    = "archive"
)

// Options are what opening needs besides the configuration.
type Options struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Observe wraps each store as it stands nearest to the medium; place is "main"
	// or "archive". nil leaves it as it is.
	Observe func(s blobstore.Store, place string, r name.Region) blobstore.Store
}

// Backends are what was opened.
type Backends struct {
	// Durable holds everything that survives a power cut, Volatile the upload
	// sessions. With PostgreSQL they are one database.
	Durable, Volatile *sqldb.DB
	Keys              *keyring.Keyring
	// Stores and Archives are the places of each region's layers.
	Stores, Archives map[name.Region]blobstore.Store
	// Raw and RawArchives are the same places with the bytes as they are stored,
	// sealed or not: for copies of everything.
	Raw, RawArchives map[name.Region]blobstore.Store

	keyDB   *sqldb.DB // the keyring's own handle
	closers []func() error
}

// Databases opens the metadata. Nothing is migrated.
func Databases(ctx context.Context, cfg config.Config) (durable, volatile *sqldb.DB, err error) {
	if cfg.Database.Postgres() {
		durable, err = sqldb.OpenPostgres(ctx, postgres(cfg.Database))
		return durable, durable, err
	}
	// The durable database goes first: its lock keeps a second server out
	// before anything else is touched.
	durable, err = sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: filepath.Join(cfg.Data, fileDatabase), Durable: true, Exclusive: true})
	if err != nil {
		return nil, nil, fmt.Errorf("the database cannot be opened: %w", err)
	}
	volatile, err = sqldb.OpenSQLite(ctx, sqldb.SQLiteOptions{Path: filepath.Join(cfg.Data, fileUploads)})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("the database of uploads cannot be opened: %w", err), durable.Close())
	}
	return durable, volatile, nil
}

func postgres(d config.Database) sqldb.PostgresOptions {
	return sqldb.PostgresOptions{
		URL: d.URL, MaxConns: d.MaxConnections, StatementTimeout: time.Duration(d.StatementTimeout), Pooled: d.Pooled, DirectURL: d.DirectURL,
	}
}

// Migrate brings the databases to this program's form.
func Migrate(ctx context.Context, durable, volatile *sqldb.DB) error {
	if err := durable.Migrate(ctx, VersionTable, schema.Durable()...); err != nil {
		return fmt.Errorf("the database cannot be brought up to date: %w", err)
	}
	if err := volatile.Migrate(ctx, "schema_version_volatile", schema.Volatile()...); err != nil {
		return fmt.Errorf("the database of uploads cannot be brought up to date: %w", err)
	}
	return nil
}

// Open opens everything and brings the databases up to date. Nothing is left
// open when it fails.
func Open(ctx context.Context, cfg config.Config, o Options) (_ *Backends, err error) {
	b := empty()
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	if b.Durable, b.Volatile, err = Databases(ctx, cfg); err != nil {
		return nil, err
	}
	if b.Volatile.Recreated() {
		o.Log.Warn("the database of uploads was damaged, by a power cut perhaps, and was begun anew: clients have to start their unfinished uploads again")
	}
	if err := Migrate(ctx, b.Durable, b.Volatile); err != nil {
		return nil, err
	}
	if err := b.openKeys(ctx, cfg, o); err != nil {
		return nil, err
	}
	if err := b.openStores(ctx, cfg, o); err != nil {
		return nil, err
	}
	return b, nil
}

// Close releases what Open opened.
func (b *Backends) Close() error {
	open := []*sqldb.DB{b.keyDB, b.Durable}
	if b.Volatile != b.Durable {
		open = append(open, b.Volatile)
	}
	var all []error
	for _, db := range open {
		if db != nil {
			all = append(all, db.Close())
		}
	}
	for _, closer := range b.closers {
		all = append(all, closer())
	}
	return errors.Join(all...)
}

func empty() *Backends {
	return &Backends{
		Stores: map[name.Region]blobstore.Store{}, Archives: map[name.Region]blobstore.Store{},
		Raw: map[name.Region]blobstore.Store{}, RawArchives: map[name.Region]blobstore.Store{},
	}
}

// openStores opens the places of all regions.
func (b *Backends) openStores(ctx context.Context, cfg config.Config, o Options) (err error) {
	for _, r := range Regions(cfg) {
		if b.Raw[r], b.Stores[r], err = b.openStore(ctx, cfg, o, "main", r); err != nil {
			return fmt.Errorf("the blob store of %s cannot be opened: %w", r, err)
		}
		if b.RawArchives[r], b.Archives[r], err = b.openStore(ctx, cfg, o, "archive", r); err != nil {
			return fmt.Errorf("the archive of %s cannot be opened: %w", r, err)
		}
	}
	return nil
}

// Regions are those that have stores: the regions that are served, and what public
// registries have in the place of one.
func Regions(cfg config.Config) []name.Region { return append(slices.Clone(cfg.Regions), name.Public) }

// openStore opens one of a region's two places.
func (b *Backends) openStore(ctx context.Context, cfg config.Config, o Options, place string, r name.Region) (raw, store blobstore.Store, err error) {
	where, part := cfg.Blobs.URL, dirBlobs
	if place == "archive" {
		part = dirArchive
		if cfg.Blobs.Archive != "" {
			where = cfg.Blobs.Archive
		}
	}
	var free func() (uint64, error)
	if strings.Contains(where, "://") {
		var bucket *s3.Store
		if bucket, err = b.openS3(ctx, cfg, o, where, part, r); err == nil {
			raw = bucket
		}
	} else {
		if where == "" || place == "main" {
			where = filepath.Join(cfg.Data, part)
		}
		var files *fs.Store
		if files, err = fs.New(filepath.Join(where, string(r))); err == nil {
			raw, free = files, files.Free
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if o.Observe != nil {
		raw = o.Observe(raw, place, r)
	}
	inner := raw
	if dir := cfg.Blobs.Cache.Dir; dir != "" && free == nil && place == "main" {
		near, err := cached.New(raw, cached.Options{
			Dir: filepath.Join(dir, string(r)), MaxBytes: cfg.Blobs.Cache.MaxBytes / int64(len(Regions(cfg))), Log: o.Log,
		})
		if err != nil {
			return nil, nil, fmt.Errorf("blobs.cache: %w", err)
		}
		b.closers = append(b.closers, near.Close)
		inner = near
	}
	seal, small := cfg.Blobs.Encryption == "berth", cfg.Blobs.InlineBytes
	if seal && small > 0 {
		small += encrypted.Overhead
	}
	store = encrypted.NewEither(inline.New(inner, small), b.Keys, seal)
	if least := cfg.Blobs.MinFreeBytes; least > 0 && free != nil {
		store = reserve.New(store, uint64(least), free, o.Clock)
	}
	return raw, store, nil
}

// openKeys opens the keyring, wherever it stands.
func (b *Backends) openKeys(ctx context.Context, cfg config.Config, o Options) (err error) {
	if !cfg.Database.Postgres() || cfg.Keys.Keyring != "" {
		path := KeyringFile(cfg)
		if err := b.requireKeyring(ctx, path); err != nil {
			return err
		}
		if b.Keys, err = keyring.Open(path, o.Clock); err != nil {
			return fmt.Errorf("the keyring cannot be opened: %w", err)
		}
		return nil
	}
	// Keys are looked up within transactions, so they have connections of their own.
	p := postgres(cfg.Database)
	p.MaxConns = keyConnections
	if b.keyDB, err = sqldb.OpenPostgres(ctx, p); err != nil {
		return err
	}
	master, err := masterKey(ctx, cfg, b.keyDB, o.Log)
	if err != nil {
		return err
	}
	if b.Keys, err = keyring.OpenDatabase(ctx, b.keyDB, master, o.Clock); err != nil {
		return fmt.Errorf("the keyring cannot be opened: %w", err)
	}
	return nil
}

// keyConnections is enough to look at one row now and then.
const keyConnections = 2

// KeyringFile is where a keyring that is a file stands.
func KeyringFile(cfg config.Config) string {
	if cfg.Keys.Keyring != "" {
		return cfg.Keys.Keyring
	}
	return filepath.Join(cfg.Data, fileKeyring)
}

// masterKey is the key that seals the keyring in the database. Where none is
// configured it stands in the data directory, and is made there for a deployment
// that has no keyring yet.
func masterKey(ctx context.Context, cfg config.Config, db *sqldb.DB, log *slog.Logger) ([]byte, error) {
	if len(cfg.MasterKey) > 0 {
		return cfg.MasterKey, nil
	}
	path := filepath.Join(cfg.Data, fileMasterKey)
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		has, err := keyring.InDatabase(ctx, db)
		if err != nil {
			return nil, err
		}
		if has {
			return nil, fmt.Errorf("the master key is missing that opens the keyring in the database: give this node the one of the others, with keys.master_key, BERTH_MASTER_KEY or as %s", path)
		}
		key, err := config.NewMasterKey(path)
		if err == nil {
			log.Warn("a master key was made, which every node of this deployment needs and every backup has to hold: copy it now", "file", path)
		}
		return key, err
	}
	if err != nil {
		return nil, fmt.Errorf("the master key cannot be read: %w", err)
	}
	key, err := config.ParseMasterKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// requireKeyring refuses to start on a database whose keyring is gone: a new
// keyring would open nothing that the old one sealed, and hide that it is lost.
func (b *Backends) requireKeyring(ctx context.Context, path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	var sealed int64
	err := b.Durable.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM access_key`).Scan(&sealed)
	})
	if err == nil && sealed > 0 {
		err = fmt.Errorf("%s is missing, and without it nothing that the database holds can be read; restore it from a backup", path)
	}
	return err
}
