// Package credential keeps what users and root users prove themselves with:
// access keys, console passwords and the account's rules for them, and virtual
// MFA devices; and the account's alias, which stands in for its number where
// people sign in.
//
// It does not keep users (principal/entity), looks up keys for no signature
// (principal) and gives out no sessions (principal/session, which asks CheckCode
// here). How passwords are hashed, codes computed and QR codes drawn is in its
// subpackages.
package credential

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Service keeps credentials. It is safe for concurrent use.
type Service struct {
	principals *principal.Service
	hasher     *password.Hasher
	guesses    *guesses
}

// New returns the service.
func New(principals *principal.Service) *Service {
	return &Service{principals: principals, hasher: password.NewHasher(0), guesses: newGuesses()}
}

// Owner says whose credentials are meant: the user with the name, without
// regard to case, or the one with the unique id. The zero Owner is the account's
// root user.
type Owner struct {
	Name, ID string
}

// User is a user as far as credentials go. The root user has neither name, path
// nor id.
type User struct {
	ID, Name, Path string
	CreatedAt      time.Time
	// Tags are there only in Service.User's answer.
	Tags []tag.Tag
}

// IsRoot says whether it is the root user.
func (u User) IsRoot() bool { return u.ID == "" }

// ARN is the user's.
func (u User) ARN(account name.AccountID) string {
	if u.IsRoot() {
		return principal.RootARN(account)
	}
	return principal.EntityARN(account, "user", u.Path, u.Name)
}

// User finds a user of the account with its tags. errs.EntityNotFound.
func (s *Service) User(ctx context.Context, account name.AccountID, owner Owner) (User, error) {
	var u User
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		if u, err = find(ctx, tx, account, owner); err == nil && !u.IsRoot() {
			u.Tags, err = tag.Load(ctx, tx, u.ID)
		}
		return err
	})
	return u, err
}

// find is User inside a transaction.
func find(ctx context.Context, tx *sqldb.Tx, account name.AccountID, owner Owner) (User, error) {
	const columns = `SELECT id, name, path, created_at FROM iam_entity WHERE account_id = $1 AND kind = 'user' AND `
	var row sqldb.Row
	shown := owner.Name
	switch {
	case owner.Name != "":
		row = tx.QueryRow(ctx, columns+`name_key = $2`, string(account), strings.ToLower(owner.Name))
	case owner.ID != "":
		shown = owner.ID
		row = tx.QueryRow(ctx, columns+`id = $2`, string(account), owner.ID)
	default:
		u := User{}
		var created int64
		err := tx.QueryRow(ctx, `SELECT created_at FROM account WHERE id = $1`, string(account)).Scan(&created)
		if errors.Is(err, sqldb.ErrNoRows) {
			return User{}, errs.New(errs.EntityNotFound, "The account with id %s cannot be found.", account)
		}
		u.CreatedAt = moment(created)
		return u, err
	}
	var u User
	var created int64
	err := row.Scan(&u.ID, &u.Name, &u.Path, &created)
	if errors.Is(err, sqldb.ErrNoRows) {
		return User{}, errs.New(errs.EntityNotFound, "The user with name %s cannot be found.", shown)
	}
	u.CreatedAt = moment(created)
	return u, err
}

// moment reads a stored time; 0 is none.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
