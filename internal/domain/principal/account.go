package principal

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Account is one account.
type Account struct {
	ID name.AccountID `json:"id"`
	// Name is for people.
	Name string `json:"name"`
	// Alias is the account's alias of IAM, "" for none.
	Alias     string    `json:"alias,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	// TokenLife is how long authorization tokens live that are issued from now on.
	TokenLife time.Duration `json:"tokenLife"`
}

// EnsureAccount makes the account if it is not there.
func (s *Service) EnsureAccount(ctx context.Context, account name.AccountID) error {
	err := s.CreateAccount(ctx, account, string(account))
	if errs.Is(err, errs.EntityExists) {
		return nil
	}
	return err
}

// CreateAccount makes an account; its root user has no access key yet.
// errs.EntityExists when there is one with the number.
func (s *Service) CreateAccount(ctx context.Context, account name.AccountID, accountName string) error {
	return s.db.Update(ctx, func(tx *sqldb.Tx) error {
		n, err := tx.Exec(ctx, `INSERT INTO account (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`,
			string(account), accountName, s.clk.Now().UnixMicro())
		if err == nil && n == 0 {
			return errs.New(errs.EntityExists, "The account %s exists already.", account)
		}
		return err
	})
}

const accountColumns = `id, name, alias, created_at, token_life`

func scanAccount(row sqldb.Scanner) (Account, error) {
	var a Account
	var id string
	var created, life int64
	err := row.Scan(&id, &a.Name, &a.Alias, &created, &life)
	a.ID, a.CreatedAt = name.AccountID(id), time.UnixMicro(created).UTC()
	if a.TokenLife = time.Duration(life) * time.Microsecond; life == 0 {
		a.TokenLife = TokenLife
	}
	return a, err
}

// Accounts lists all accounts by their number.
func (s *Service) Accounts(ctx context.Context) ([]Account, error) {
	var all []Account
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		all, err = sqldb.Collect(ctx, tx, scanAccount, `SELECT `+accountColumns+` FROM account ORDER BY id`)
		return err
	})
	return all, err
}

// Account finds an account, or returns errs.EntityNotFound.
func (s *Service) Account(ctx context.Context, id name.AccountID) (Account, error) {
	var a Account
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		a, err = scanAccount(tx.QueryRow(ctx, `SELECT `+accountColumns+` FROM account WHERE id = $1`, string(id)))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return Account{}, errs.New(errs.EntityNotFound, "There is no account %s; berth account list shows them.", id)
	}
	return a, err
}

// SetTokenLife sets how long the account's authorization tokens live that are
// issued from now on; 0 is the usual time, TokenLife. Those that are issued keep
// theirs. errs.EntityNotFound; errs.InvalidInput for less than MinTokenLife or
// more than TokenLife.
func (s *Service) SetTokenLife(ctx context.Context, id name.AccountID, life time.Duration) error {
	if life != 0 && (life < MinTokenLife || life > TokenLife) {
		return errs.New(errs.InvalidInput, "Authorization tokens live from %s to %s, not %s.", MinTokenLife, TokenLife, life)
	}
	return s.Change(ctx, id, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE account SET token_life = $2 WHERE id = $1`, string(id), life.Microseconds())
		return err
	})
}

func tokenLife(ctx context.Context, tx *sqldb.Tx, id name.AccountID) (time.Duration, error) {
	var life int64
	err := tx.QueryRow(ctx, `SELECT token_life FROM account WHERE id = $1`, string(id)).Scan(&life)
	return time.Duration(life) * time.Microsecond, err
}
