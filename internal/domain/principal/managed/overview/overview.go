// Package overview reads across an account's users, groups, roles and policies:
// how many there are, all of them in detail, and one of them with the text of
// every policy that counts for it, for simulations.
//
// It changes nothing and decides nothing. What it reads is owned by
// principal/entity, principal/managed and principal/credential.
package overview

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Service reads.
type Service struct {
	p        *principal.Service
	entities *entity.Service
	managed  *managed.Service
}

// New returns the service.
func New(p *principal.Service, entities *entity.Service, policies *managed.Service) *Service {
	return &Service{p: p, entities: entities, managed: policies}
}

// Summary counts what an account has.
type Summary struct {
	Users, Groups, Roles, Policies, PolicyVersions int64
	Providers, Devices, DevicesInUse               int64
	// RootKeys and RootDevices are the root user's.
	RootKeys, RootDevices int64
}

// Summary counts.
func (s *Service) Summary(ctx context.Context, account name.AccountID) (n Summary, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		for _, count := range []struct {
			to  *int64
			sql string
		}{
			{&n.Users, `SELECT count(*) FROM iam_entity WHERE account_id = $1 AND kind = 'user'`},
			{&n.Groups, `SELECT count(*) FROM iam_entity WHERE account_id = $1 AND kind = 'group'`},
			{&n.Roles, `SELECT count(*) FROM iam_entity WHERE account_id = $1 AND kind = 'role'`},
			{&n.Policies, `SELECT count(*) FROM iam_policy WHERE account_id = $1`},
			{&n.PolicyVersions, `SELECT count(*) FROM iam_policy p JOIN iam_policy_version v ON v.policy_id = p.id WHERE p.account_id = $1`},
			{&n.Providers, `SELECT count(*) FROM iam_oidc_provider WHERE account_id = $1`},
			{&n.Devices, `SELECT count(*) FROM iam_mfa_device WHERE account_id = $1`},
			{&n.DevicesInUse, `SELECT count(*) FROM iam_mfa_device WHERE account_id = $1 AND user_id <> ''`},
			{&n.RootDevices, `SELECT count(*) FROM iam_mfa_device WHERE account_id = $1 AND user_id = $1`},
			{&n.RootKeys, `SELECT count(*) FROM access_key WHERE account_id = $1 AND user_id = ''`},
		} {
			if err := tx.QueryRow(ctx, count.sql, string(account)).Scan(count.to); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}
