package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// PasswordPolicy is the account's, nil when it has set none, and IAM's default
// one holds.
func (s *Service) PasswordPolicy(ctx context.Context, account name.AccountID) (*password.Policy, error) {
	var p *password.Policy
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		p, _, err = loadPolicy(ctx, tx, account)
		return err
	})
	return p, err
}

// loadPolicy reads the policy and the account's names, which are no passwords.
func loadPolicy(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (*password.Policy, []string, error) {
	var text, accountName, alias string
	err := tx.QueryRow(ctx, `SELECT password_policy, name, alias FROM account WHERE id = $1`, string(account)).Scan(&text, &accountName, &alias)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil, errs.New(errs.EntityNotFound, "The account with id %s cannot be found.", account)
	}
	names := []string{accountName, alias, string(account)}
	if err != nil || text == "" {
		return nil, names, err
	}
	p := &password.Policy{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil, nil, fmt.Errorf("the password policy of account %s cannot be read: %w", account, err)
	}
	return p, names, nil
}

// SetPasswordPolicy sets the account's policy as a whole. Passwords that are
// there stay.
func (s *Service) SetPasswordPolicy(ctx context.Context, account name.AccountID, p password.Policy) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE account SET password_policy = $2 WHERE id = $1`, string(account), string(text))
		return err
	})
}

// DeletePasswordPolicy goes back to IAM's default one. errs.EntityNotFound when
// the account has set none.
func (s *Service) DeletePasswordPolicy(ctx context.Context, account name.AccountID) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE account SET password_policy = '' WHERE id = $1 AND password_policy <> ''`, string(account))
		if err == nil && n == 0 {
			return NoPasswordPolicy(account)
		}
		return err
	})
}

// NoPasswordPolicy is the refusal for an account that has set none.
func NoPasswordPolicy(account name.AccountID) error {
	return errs.New(errs.EntityNotFound, "The Password Policy with domain name %s cannot be found.", account)
}
