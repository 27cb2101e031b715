package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// CacheLife bounds how long a node may go on with a registry policy, a setting
// or an exclusion that another node has changed.
const CacheLife = 2 * time.Second

// maxCached bounds the registries that are in memory.
const maxCached = 10_000

// Access is what every request asks a registry for: who may do what in it, and
// how it treats pushes and pulls. It is read once and kept in memory.
type Access struct {
	// Policy is the registry policy, compiled; nil for none.
	Policy *policy.Named
	// V1 says that the policy counts for the three actions of V1Actions only.
	V1 bool
	// BlobMounting is the account setting of that name: Enabled or Disabled, ""
	// while it is not set.
	BlobMounting string
	// exclusions are the ARNs of ExcludesPull.
	exclusions map[string]bool
}

// Mounts says whether pushes may mount layers from other repositories of the
// registry. otherwise holds while the account setting is not set.
func (a Access) Mounts(otherwise bool) bool {
	if a.BlobMounting == "" {
		return otherwise
	}
	return a.BlobMounting == Enabled
}

// V1Actions are what a registry policy of the first scope can allow, and the
// only actions that it is asked about (ECR user guide, "registry policy scope").
var V1Actions = []string{"ecr:ReplicateImage", "ecr:BatchImportUpstreamImage", "ecr:CreateRepository"}

// Applies says whether the registry policy has a say in an action.
func (a Access) Applies(action string) bool {
	return !a.V1 || slices.ContainsFunc(V1Actions, func(one string) bool { return policy.MatchAction(one, action) })
}

// The account settings and their values (ECR API reference, PutAccountSetting):
// the scope of the registry policy, which is V2 in new registries; whether pushes
// may mount layers from other repositories; and the engine of basic scanning.
const (
	SettingPolicyScope  = "REGISTRY_POLICY_SCOPE"
	ScopeV1             = "V1"
	ScopeV2             = "V2"
	SettingBlobMounting = "BLOB_MOUNTING"
	Enabled             = "ENABLED"
	Disabled            = "DISABLED"
	SettingBasicScan    = "BASIC_SCAN_TYPE_VERSION"
	ScanNative          = "AWS_NATIVE"
)

// Access reads what requests ask of the registry, at most CacheLife older than the database
// and never older than the last change on this node.
func (s *Service) Access(ctx context.Context, r name.Registry) (Access, error) {
	return s.access.Get(ctx, r, revcache.Source[Access]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				revision, _, err = accessRow(ctx, tx, r)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (a Access, revision int64, err error) {
			var text, scope string
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				if revision, text, err = accessRow(ctx, tx, r); err != nil {
					return err
				}
				if scope, err = settingTx(ctx, tx, r, SettingPolicyScope, ScopeV2); err != nil {
					return err
				}
				if a.BlobMounting, err = settingTx(ctx, tx, r, SettingBlobMounting, ""); err != nil {
					return err
				}
				a.exclusions, err = exclusionsTx(ctx, tx, r)
				return err
			})
			if err != nil {
				return a, 0, err
			}
			a.V1 = scope == ScopeV1
			if text != "" {
				document, err := policy.Parse(text, policy.Registry)
				if err != nil {
					return a, 0, fmt.Errorf("the policy of registry %s cannot be read: %w", r, err)
				}
				a.Policy = &policy.Named{Name: "registry policy of " + r.String(), Document: document}
			}
			return a, revision, nil
		},
	})
}

func accessRow(ctx context.Context, tx *sqldb.Tx, r name.Registry) (revision int64, text string, err error) {
	err = tx.QueryRow(ctx, `SELECT access_revision, policy FROM registry WHERE account_id = $1 AND region = $2`, string(r.Account), string(r.Region)).Scan(&revision, &text)
	if errors.Is(err, sqldb.ErrNoRows) {
		return -1, "", nil
	}
	return revision, text, err
}

func settingTx(ctx context.Context, tx *sqldb.Tx, r name.Registry, setting, otherwise string) (string, error) {
	var value string
	err := tx.QueryRow(ctx, `SELECT value FROM registry_setting WHERE account_id = $1 AND region = $2 AND name = $3`, string(r.Account), string(r.Region), setting).Scan(&value)
	if errors.Is(err, sqldb.ErrNoRows) {
		return otherwise, nil
	}
	return value, err
}

// changeAccess runs fn in a transaction that changes what Access reads.
func (s *Service) changeAccess(ctx context.Context, r name.Registry, fn func(tx *sqldb.Tx) error) error {
	return s.db.Update(ctx, func(tx *sqldb.Tx) error {
		if err := s.EnsureTx(ctx, tx, r); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE registry SET access_revision = $3 WHERE account_id = $1 AND region = $2`, string(r.Account), string(r.Region), sqldb.NewID())
		if err != nil {
			return err
		}
		tx.AfterCommit(func() { s.access.Forget(func(k name.Registry) bool { return k == r }) })
		return fn(tx)
	})
}

// PinPolicy rewrites the principals of a policy: to unique ids before it is
// stored, so that a user made again under its old name is another one, and back
// to ARNs when it is shown.
type PinPolicy func(ctx context.Context, tx *sqldb.Tx, d *policy.Document) (*policy.Document, error)

// SetPolicy stores the registry's policy in place of the one before.
func (s *Service) SetPolicy(ctx context.Context, r name.Registry, d *policy.Document, pin PinPolicy) error {
	return s.changeAccess(ctx, r, func(tx *sqldb.Tx) error {
		pinned, err := pin(ctx, tx, d)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE registry SET policy = $3 WHERE account_id = $1 AND region = $2`, string(r.Account), string(r.Region), pinned.JSON())
		return err
	})
}

// Policy reads the registry's policy, its principals shown by show.
// errs.RegistryPolicyNotFound when there is none.
func (s *Service) Policy(ctx context.Context, r name.Registry, show PinPolicy) (*policy.Document, error) {
	var d *policy.Document
	err := s.db.View(ctx, func(tx *sqldb.Tx) (err error) {
		d, err = policyTx(ctx, tx, r, show)
		return err
	})
	return d, err
}

func policyTx(ctx context.Context, tx *sqldb.Tx, r name.Registry, show PinPolicy) (*policy.Document, error) {
	_, text, err := accessRow(ctx, tx, r)
	if err != nil {
		return nil, err
	}
	if text == "" {
		return nil, errs.New(errs.RegistryPolicyNotFound, "Registry policy does not exist in the registry with id '%s'", r.Account)
	}
	d, err := policy.Parse(text, policy.Registry)
	if err != nil {
		return nil, fmt.Errorf("the policy of registry %s cannot be read: %w", r, err)
	}
	return show(ctx, tx, d)
}

// DeletePolicy removes the registry's policy and returns it.
// errs.RegistryPolicyNotFound when there is none.
func (s *Service) DeletePolicy(ctx context.Context, r name.Registry, show PinPolicy) (*policy.Document, error) {
	var d *policy.Document
	err := s.changeAccess(ctx, r, func(tx *sqldb.Tx) (err error) {
		if d, err = policyTx(ctx, tx, r, show); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE registry SET policy = '' WHERE account_id = $1 AND region = $2`, string(r.Account), string(r.Region))
		return err
	})
	return d, err
}

// Setting reads a setting of the registry, or what holds while it is not set.
func (s *Service) Setting(ctx context.Context, r name.Registry, setting, otherwise string) (value string, err error) {
	err = s.db.View(ctx, func(tx *sqldb.Tx) error {
		value, err = settingTx(ctx, tx, r, setting, otherwise)
		return err
	})
	return value, err
}

// PutSetting stores a setting of the registry. Which names and values there are
// is for the caller to know.
func (s *Service) PutSetting(ctx context.Context, r name.Registry, setting, value string) error {
	return s.changeAccess(ctx, r, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO registry_setting (account_id, region, name, value) VALUES ($1, $2, $3, $4)
			ON CONFLICT (account_id, region, name) DO UPDATE SET value = excluded.value`, string(r.Account), string(r.Region), setting, value)
		return err
	})
}
