package registry

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// ExcludesPull says whether pulls by the principal leave an image's last pull
// time as it is. A role that is excluded is so with all of its sessions, a user
// with its own temporary credentials too; a federated user is neither.
func (a Access) ExcludesPull(p principal.Principal) bool {
	if len(a.exclusions) == 0 {
		return false
	}
	if s := p.Session; s != nil && s.Kind == principal.RoleSession {
		return a.exclusions[s.RoleARN]
	}
	return a.exclusions[p.ARN]
}

// exclusionsTx reads the registry's exclusions; nil for none.
func exclusionsTx(ctx context.Context, tx *sqldb.Tx, r name.Registry) (map[string]bool, error) {
	arns, err := sqldb.Collect(ctx, tx, scanARN, `SELECT principal_arn FROM registry_pull_exclusion WHERE account_id = $1 AND region = $2`, string(r.Account), string(r.Region))
	if err != nil || len(arns) == 0 {
		return nil, err
	}
	all := make(map[string]bool, len(arns))
	for _, arn := range arns {
		all[arn] = true
	}
	return all, nil
}

func scanARN(row sqldb.Scanner) (string, error) {
	var arn string
	err := row.Scan(&arn)
	return arn, err
}

// ExcludePulls stops pulls by the role or user from moving the last pull time of
// images, and returns since when. Whether the principal exists is not looked at.
// errs.ExclusionExists when it is excluded, errs.LimitExceeded when limit others
// are (quota.Limits.PullTimeExclusions).
func (s *Service) ExcludePulls(ctx context.Context, r name.Registry, arn string, limit int) (time.Time, error) {
	at := s.clk.Now().UTC().Truncate(time.Millisecond)
	err := s.changeAccess(ctx, r, func(tx *sqldb.Tx) error {
		added, err := tx.Exec(ctx, `INSERT INTO registry_pull_exclusion (account_id, region, principal_arn, created_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (account_id, region, principal_arn) DO NOTHING`, string(r.Account), string(r.Region), arn, at.UnixMicro())
		if err != nil {
			return err
		}
		if added == 0 {
			return errs.New(errs.ExclusionExists, "The pull time update exclusion for the principal '%s' already exists in the registry with id '%s'", arn, r.Account)
		}
		var n int
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM registry_pull_exclusion WHERE account_id = $1 AND region = $2`, string(r.Account), string(r.Region)).Scan(&n); err != nil {
			return err
		}
		if n > limit {
			return errs.New(errs.LimitExceeded, "The registry with id '%s' already has the maximum allowed number of pull time update exclusions which is '%d'", r.Account, limit)
		}
		return nil
	})
	return at, err
}

// IncludePulls undoes ExcludePulls. errs.ExclusionNotFound when there is nothing
// to undo.
func (s *Service) IncludePulls(ctx context.Context, r name.Registry, arn string) error {
	return s.changeAccess(ctx, r, func(tx *sqldb.Tx) error {
		removed, err := tx.Exec(ctx, `DELETE FROM registry_pull_exclusion WHERE account_id = $1 AND region = $2 AND principal_arn = $3`, string(r.Account), string(r.Region), arn)
		if err == nil && removed == 0 {
			err = errs.New(errs.ExclusionNotFound, "The pull time update exclusion for the principal '%s' does not exist in the registry with id '%s'", arn, r.Account)
		}
		return err
	})
}

// PullExclusions lists up to limit principals whose pulls are not recorded, in
// the byte order of their ARNs, from the first after the one given.
func (s *Service) PullExclusions(ctx context.Context, r name.Registry, after string, limit int) (all []string, err error) {
	err = s.db.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, scanARN, `SELECT principal_arn FROM registry_pull_exclusion
			WHERE account_id = $1 AND region = $2 AND principal_arn > $3 ORDER BY principal_arn LIMIT $4`, string(r.Account), string(r.Region), after, limit)
		return err
	})
	return all, err
}
