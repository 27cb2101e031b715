package credential

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// maxAccessKeys is how many a user, and the root user, can have (IAM user guide,
// "IAM and STS quotas").
const maxAccessKeys = 2

// AccessKey is an access key as its owner sees it.
type AccessKey struct {
	ID string
	// Secret is there only in CreateAccessKey's answer.
	Secret    string
	UserName  string // "" for the root user's
	Active    bool
	CreatedAt time.Time
}

// KeyUse is when and for what an access key was last used. The zero value is a
// key that never was.
type KeyUse struct {
	At              time.Time
	Region, Service string
}

// CreateAccessKey makes an active key, whose secret is never shown again.
// errs.EntityNotFound, errs.EntityLimit when the owner has two.
func (s *Service) CreateAccessKey(ctx context.Context, account name.AccountID, owner Owner) (AccessKey, error) {
	id, secret := principal.NewAccessKeyPair(principal.PrefixAccessKey, account)
	var k AccessKey
	err := s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		u, err := find(ctx, tx, account, owner)
		if err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM access_key WHERE account_id = $1 AND user_id = $2`, string(account), u.ID).Scan(&n); err != nil {
			return err
		}
		if n >= maxAccessKeys {
			return errs.New(errs.EntityLimit, "Cannot exceed quota for AccessKeysPerUser: %d", maxAccessKeys)
		}
		if err := s.principals.PutKeyTx(ctx, tx, account, u.ID, id, secret); err != nil {
			return err
		}
		k = AccessKey{ID: id, Secret: secret, UserName: u.Name, Active: true}
		var created int64
		err = tx.QueryRow(ctx, `SELECT created_at FROM access_key WHERE id = $1`, id).Scan(&created)
		k.CreatedAt = moment(created)
		return err
	})
	return k, err
}

// noKey is the refusal for a key that its owner has not.
func noKey(id string) error {
	return errs.New(errs.EntityNotFound, "The Access Key with id %s cannot be found.", id)
}

// SetAccessKey switches a key on or off. errs.EntityNotFound for an owner that
// is none and for a key of somebody else.
func (s *Service) SetAccessKey(ctx context.Context, account name.AccountID, owner Owner, id string, active bool) error {
	return s.onKey(ctx, account, owner, id, `UPDATE access_key SET enabled = $4 WHERE id = $1 AND account_id = $2 AND user_id = $3`, active)
}

// DeleteAccessKey removes a key. errs.EntityNotFound as of SetAccessKey.
func (s *Service) DeleteAccessKey(ctx context.Context, account name.AccountID, owner Owner, id string) error {
	return s.onKey(ctx, account, owner, id, `DELETE FROM access_key WHERE id = $1 AND account_id = $2 AND user_id = $3`)
}

func (s *Service) onKey(ctx context.Context, account name.AccountID, owner Owner, id, statement string, more ...any) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		u, err := find(ctx, tx, account, owner)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, statement, append([]any{id, string(account), u.ID}, more...)...)
		if err == nil && n == 0 {
			return noKey(id)
		}
		return err
	})
}

// AccessKeys lists the owner's keys by their id, limit of them after the id
// after. errs.EntityNotFound for an owner that is none.
func (s *Service) AccessKeys(ctx context.Context, account name.AccountID, owner Owner, after string, limit int) ([]AccessKey, error) {
	var all []AccessKey
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		u, err := find(ctx, tx, account, owner)
		if err != nil {
			return err
		}
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (AccessKey, error) {
			k := AccessKey{UserName: u.Name}
			var created int64
			err := row.Scan(&k.ID, &k.Active, &created)
			k.CreatedAt = moment(created)
			return k, err
		}, `SELECT id, enabled, created_at FROM access_key WHERE account_id = $1 AND user_id = $2 AND id > $3 ORDER BY id LIMIT $4`,
			string(account), u.ID, after, limit)
		return err
	})
	return all, err
}

// KeyOwner finds whose key it is. errs.EntityNotFound for a key that is none of
// the account's.
func (s *Service) KeyOwner(ctx context.Context, account name.AccountID, id string) (User, error) {
	u, _, err := s.LastUsed(ctx, account, id)
	return u, err
}

// LastUsed finds whose key it is and when it was last used, as far as that has
// been written: the last seconds can be missing. errs.EntityNotFound for a key
// that is none of the account's.
func (s *Service) LastUsed(ctx context.Context, account name.AccountID, id string) (User, KeyUse, error) {
	var u User
	var use KeyUse
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var user string
		var at *int64
		var region, service *string
		err := tx.QueryRow(ctx, `SELECT k.user_id, u.used_at, u.region, u.service FROM access_key k
			LEFT JOIN access_key_use u ON u.key_id = k.id WHERE k.id = $1 AND k.account_id = $2`, id, string(account)).
			Scan(&user, &at, &region, &service)
		if errors.Is(err, sqldb.ErrNoRows) {
			return noKey(id)
		}
		if err != nil {
			return err
		}
		use = KeyUse{}
		if at != nil {
			use = KeyUse{At: moment(*at), Region: *region, Service: *service}
		}
		u, err = find(ctx, tx, account, Owner{ID: user})
		return err
	})
	return u, use, err
}
