// Package registry owns registries: one for each account in each enabled
// region, and what is set for the registry as a whole, its policy among it.
//
// It does not own repositories (domain/repository) or host names (domain/name).
package registry

import (
	"context"
	"slices"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Service knows the enabled regions and makes registries in them.
type Service struct {
	db      *sqldb.DB
	clk     clock.Clock
	regions []name.Region
	access  *revcache.Cache[name.Registry, Access]
}

// New returns the service for the enabled regions; the first is the default.
func New(db *sqldb.DB, clk clock.Clock, regions []name.Region) *Service {
	return &Service{
		db: db, clk: clk, regions: slices.Clone(regions),
		access: revcache.New[name.Registry, Access](clk, CacheLife, maxCached),
	}
}

// Regions lists the enabled regions, the default one first.
func (s *Service) Regions() []name.Region { return slices.Clone(s.regions) }

// Enabled says whether the region is served here.
func (s *Service) Enabled(r name.Region) bool { return slices.Contains(s.regions, r) }

// EnsureTx makes the registry's row when it is the first thing that happens in
// it. The account has to exist: an errs.AccessDenied says that it does not.
func (s *Service) EnsureTx(ctx context.Context, tx *sqldb.Tx, r name.Registry) error {
	var there int64
	if err := tx.QueryRow(ctx, `SELECT count(*) FROM account WHERE id = $1`, string(r.Account)).Scan(&there); err != nil {
		return err
	}
	if there == 0 || !r.IsPublic() && !s.Enabled(r.Region) {
		return errs.New(errs.InvalidParameter, "The registry with id '%s' does not exist in region '%s'", r.Account, r.Region)
	}
	_, err := tx.Exec(ctx, `INSERT INTO registry (account_id, region, repositories, created_at) VALUES ($1, $2, 0, $3)
		ON CONFLICT (account_id, region) DO NOTHING`, string(r.Account), string(r.Region), s.clk.Now().UnixMicro())
	return err
}

// AddRepositoriesTx changes the registry's count of repositories and returns
// the new one. It locks the registry's row until the transaction ends.
func (s *Service) AddRepositoriesTx(ctx context.Context, tx *sqldb.Tx, r name.Registry, delta int64) (int64, error) {
	var n int64
	err := tx.QueryRow(ctx, `UPDATE registry SET repositories = repositories + $1 WHERE account_id = $2 AND region = $3 RETURNING repositories`,
		delta, string(r.Account), string(r.Region)).Scan(&n)
	return n, err
}
