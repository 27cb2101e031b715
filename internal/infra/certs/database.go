package certs

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Database is a Store in the table acme_cache, which all nodes share.
type Database struct {
	db  *sqldb.DB
	clk clock.Clock
}

var _ Store = (*Database)(nil)

// NewDatabase returns the store in a database with the program's tables.
func NewDatabase(db *sqldb.DB, clk clock.Clock) *Database { return &Database{db: db, clk: clk} }

// Get reads a row.
func (d *Database) Get(ctx context.Context, name string) (data []byte, found bool, err error) {
	err = d.db.View(ctx, func(tx *sqldb.Tx) error {
		data, err = sqldb.One[[]byte](tx.QueryRow(ctx, `SELECT data FROM acme_cache WHERE name = $1`, name))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// Put writes a row.
func (d *Database) Put(ctx context.Context, name string, data []byte) error {
	return d.db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO acme_cache (name, data, updated_at) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at`, name, data, d.clk.Now().UnixMicro())
		return err
	})
}

// Delete removes a row.
func (d *Database) Delete(ctx context.Context, name string) error {
	return d.db.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM acme_cache WHERE name = $1`, name)
		return err
	})
}
