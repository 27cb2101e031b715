package rules

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Stored reads the configuration of a registry in the caller's transaction; Default
// while none was ever stored.
func Stored(ctx context.Context, tx *sqldb.Tx, reg name.Registry) (Configuration, error) {
	var c Configuration
	var text string
	err := tx.QueryRow(ctx, `SELECT scan_type, rules FROM scan_config WHERE account_id = $1 AND region = $2`, string(reg.Account), string(reg.Region)).Scan(&c.Type, &text)
	if err != nil && !errors.Is(err, sqldb.ErrNoRows) {
		return Configuration{}, err
	}
	return Read(reg, c.Type, text)
}

// Read reads the columns scan_type and rules of a registry's row in scan_config; ""
// for both, where it has none, is Default.
func Read(reg name.Registry, kind ScanType, text string) (Configuration, error) {
	if kind == "" {
		return Default(), nil
	}
	c := Configuration{Type: kind}
	if err := json.Unmarshal([]byte(text), &c.Rules); err != nil {
		return Configuration{}, fmt.Errorf("the scanning configuration of the registry %s cannot be read: %w", reg, err)
	}
	return c, nil
}

// Store sets the configuration of a registry, in place of the one before, in the
// caller's transaction. The registry's row has to be there (registry.EnsureTx), and
// the configuration has to be valid: what Validate says is returned.
func Store(ctx context.Context, tx *sqldb.Tx, reg name.Registry, c Configuration, now time.Time) error {
	if err := c.Validate(); err != nil {
		return err
	}
	stored := make([]Rule, len(c.Rules)) // lists are written as such, not as null
	for i, r := range c.Rules {
		stored[i] = Rule{Frequency: r.Frequency, Filters: append([]Filter{}, r.Filters...)}
	}
	text, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO scan_config (account_id, region, scan_type, rules, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (account_id, region) DO UPDATE SET scan_type = excluded.scan_type, rules = excluded.rules, updated_at = excluded.updated_at`,
		string(reg.Account), string(reg.Region), string(c.Type), string(text), now.UnixMicro())
	return err
}

// Registries lists the registries with enhanced scanning, by account and region, in
// the caller's transaction: those whose images are matched again when there is
// a new vulnerability database.
func Registries(ctx context.Context, tx *sqldb.Tx) ([]name.Registry, error) {
	return sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (name.Registry, error) {
		var r name.Registry
		err := row.Scan(&r.Account, &r.Region)
		return r, err
	}, `SELECT account_id, region FROM scan_config WHERE scan_type = $1 ORDER BY account_id, region`, string(Enhanced))
}
