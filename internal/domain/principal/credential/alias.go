package credential

import (
	"context"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// SetAlias gives the account an alias in place of the one it may have.
// errs.EntityExists when any account of the deployment has it, this one too.
func (s *Service) SetAlias(ctx context.Context, account name.AccountID, alias string) error {
	taken := errs.New(errs.EntityExists, "The account alias %s already exists.", alias)
	// An alias stands where account numbers do, so it must not look like one.
	if _, err := name.ParseAccountID(alias); err == nil {
		return errs.New(errs.Validation, "The account alias %s has the form of an account id; choose one that cannot be taken for one.", alias)
	}
	err := s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE account SET alias = $2 WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM account WHERE alias = $2)`, string(account), alias)
		if err == nil && n == 0 {
			return taken
		}
		return err
	})
	if sqldb.IsUnique(err) { // another account took it at the same time
		return taken
	}
	return err
}

// DeleteAlias takes the alias away. errs.EntityNotFound when the account has
// another one or none.
func (s *Service) DeleteAlias(ctx context.Context, account name.AccountID, alias string) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE account SET alias = '' WHERE id = $1 AND alias = $2 AND alias <> ''`, string(account), alias)
		if err == nil && n == 0 {
			return errs.New(errs.EntityNotFound, "The account alias %s cannot be found.", alias)
		}
		return err
	})
}

// Alias is the account's alias, "" for none.
func (s *Service) Alias(ctx context.Context, account name.AccountID) (string, error) {
	a, err := s.principals.Account(ctx, account)
	return a.Alias, err
}
