package credential

import (
	"context"
	"errors"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential/password"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// LoginProfile says that a user has a password.
type LoginProfile struct {
	UserName string
	// ResetRequired has the user choose another password at the next sign-in.
	ResetRequired bool
	CreatedAt     time.Time
}

// login is what a user's password hangs on, as one transaction saw it.
type login struct {
	user    User
	hash    string // "" without a login profile
	profile LoginProfile
	changed time.Time
	policy  *password.Policy
	names   []string // which the password must not be
	former  []string // hashes that the policy rules out, the newest first
}

func loadLogin(ctx context.Context, tx *sqldb.Tx, account name.AccountID, owner Owner) (login, error) {
	l, err := loadProfile(ctx, tx, account, owner)
	if err != nil {
		return login{}, err
	}
	if l.policy, l.names, err = loadPolicy(ctx, tx, account); err != nil {
		return login{}, err
	}
	l.names = append(l.names, l.user.Name)
	if n := l.policy.Forbids(); n > 0 {
		l.former, err = sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT hash FROM iam_password_history WHERE user_id = $1 ORDER BY changed_at DESC LIMIT $2`, l.user.ID, n)
	}
	return l, err
}

// loadProfile reads the user and its login profile, if it has one.
func loadProfile(ctx context.Context, tx *sqldb.Tx, account name.AccountID, owner Owner) (login, error) {
	u, err := find(ctx, tx, account, owner)
	if err != nil {
		return login{}, err
	}
	if u.IsRoot() { // the root user has no login profile here
		return login{}, errs.New(errs.EntityNotFound, "Login Profile for the root user cannot be found.")
	}
	l := login{user: u, profile: LoginProfile{UserName: u.Name}}
	var created, changed int64
	err = tx.QueryRow(ctx, `SELECT hash, reset_required, created_at, changed_at FROM iam_login_profile WHERE user_id = $1`, u.ID).
		Scan(&l.hash, &l.profile.ResetRequired, &created, &changed)
	l.profile.CreatedAt, l.changed = moment(created), moment(changed)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = nil
	}
	return l, err
}

// view reads a login. Hashing comes after it, outside of any transaction.
func (s *Service) view(ctx context.Context, account name.AccountID, owner Owner) (login, error) {
	var l login
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		l, err = loadLogin(ctx, tx, account, owner)
		return err
	})
	return l, err
}

func noProfile(u User) error {
	return errs.New(errs.EntityNotFound, "Login Profile for User %s cannot be found.", u.Name)
}

// admit holds a new password against the account's rules: errs.PasswordRefused.
func (s *Service) admit(ctx context.Context, l login, secret string) error {
	if reason := l.policy.Refusal(secret, l.names...); reason != "" {
		return errs.New(errs.PasswordRefused, "%s", reason)
	}
	for _, hash := range l.former {
		same, err := s.hasher.Verify(ctx, hash, secret)
		if err != nil {
			return err
		}
		if same {
			return errs.New(errs.PasswordRefused, "Policy constraint violation with password reuse prevention during password change.")
		}
	}
	return nil
}

// attempts is how often a change is decided anew because the password has been
// changed by somebody else meanwhile.
const attempts = 5

// change decides about a login outside of a transaction and writes the outcome,
// unless the password has changed since, in which case it decides again.
func (s *Service) change(ctx context.Context, account name.AccountID, owner Owner,
	decide func(l login) (write func(tx *sqldb.Tx, l login) error, err error)) error {
	for range attempts {
		seen, err := s.view(ctx, account, owner)
		if err != nil {
			return err
		}
		write, err := decide(seen)
		if err != nil {
			return err
		}
		stale := false
		err = s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
			now, err := loadProfile(ctx, tx, account, owner)
			if err != nil {
				return err
			}
			if stale = now.user.ID != seen.user.ID || now.hash != seen.hash; stale {
				return nil
			}
			return write(tx, now)
		})
		if err != nil || !stale {
			return err
		}
	}
	return errs.New(errs.Throttled, "The password is being changed by others. Try again.")
}

// store writes a hash and remembers it among the former ones.
func (s *Service) store(ctx context.Context, tx *sqldb.Tx, l login, hash string, reset bool) error {
	now := s.principals.Now().UnixMicro()
	_, err := tx.Exec(ctx, `INSERT INTO iam_login_profile (user_id, hash, reset_required, created_at, changed_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, reset_required = excluded.reset_required, changed_at = excluded.changed_at`,
		l.user.ID, hash, reset, now)
	if err != nil {
		return err
	}
	// Two changes in one microsecond are two entries.
	var last int64
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(changed_at), 0) FROM iam_password_history WHERE user_id = $1`, l.user.ID).Scan(&last); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO iam_password_history (user_id, changed_at, hash) VALUES ($1, $2, $3)`, l.user.ID, max(now, last+1), hash); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM iam_password_history WHERE user_id = $1 AND changed_at NOT IN
		(SELECT changed_at FROM iam_password_history WHERE user_id = $1 ORDER BY changed_at DESC LIMIT $2)`, l.user.ID, password.MaxRemembered)
	return err
}

// CreateLoginProfile gives a user a password. errs.EntityNotFound,
// errs.EntityExists when it has one, errs.PasswordRefused, errs.InvalidUserType
// for the root user.
func (s *Service) CreateLoginProfile(ctx context.Context, account name.AccountID, owner Owner, secret string, reset bool) (LoginProfile, error) {
	if owner == (Owner{}) {
		return LoginProfile{}, errs.New(errs.InvalidUserType, "Only IAM users have a login profile. Specify the name of one.")
	}
	var made LoginProfile
	err := s.change(ctx, account, owner, func(l login) (func(*sqldb.Tx, login) error, error) {
		if l.hash != "" {
			return nil, errs.New(errs.EntityExists, "Login Profile for user %s already exists.", l.user.Name)
		}
		if err := s.admit(ctx, l, secret); err != nil {
			return nil, err
		}
		hash, err := s.hasher.Hash(ctx, secret)
		return func(tx *sqldb.Tx, l login) error {
			made = LoginProfile{UserName: l.user.Name, ResetRequired: reset, CreatedAt: moment(s.principals.Now().UnixMicro())}
			return s.store(ctx, tx, l, hash, reset)
		}, err
	})
	return made, err
}

// LoginProfile finds a user's. errs.EntityNotFound for a user that is none or
// has no password.
func (s *Service) LoginProfile(ctx context.Context, account name.AccountID, owner Owner) (LoginProfile, error) {
	var l login
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		l, err = loadProfile(ctx, tx, account, owner)
		return err
	})
	if err == nil && l.hash == "" {
		err = noProfile(l.user)
	}
	return l.profile, err
}

// UpdateLoginProfile sets another password for a user, whether it has to be
// changed at the next sign-in, or both; nil leaves as is. errs.EntityNotFound,
// errs.PasswordRefused.
func (s *Service) UpdateLoginProfile(ctx context.Context, account name.AccountID, owner Owner, secret *string, reset *bool) error {
	return s.change(ctx, account, owner, func(l login) (func(*sqldb.Tx, login) error, error) {
		if l.hash == "" {
			return nil, noProfile(l.user)
		}
		hash := ""
		if secret != nil {
			err := s.admit(ctx, l, *secret)
			if err != nil {
				return nil, err
			}
			if hash, err = s.hasher.Hash(ctx, *secret); err != nil {
				return nil, err
			}
		}
		return func(tx *sqldb.Tx, l login) error {
			required := l.profile.ResetRequired
			if reset != nil {
				required = *reset
			}
			if hash != "" {
				return s.store(ctx, tx, l, hash, required)
			}
			_, err := tx.Exec(ctx, `UPDATE iam_login_profile SET reset_required = $2 WHERE user_id = $1`, l.user.ID, required)
			return err
		}, nil
	})
}

// DeleteLoginProfile takes a user's password away; what it must not use again
// stays remembered. errs.EntityNotFound as of LoginProfile.
func (s *Service) DeleteLoginProfile(ctx context.Context, account name.AccountID, owner Owner) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		l, err := loadProfile(ctx, tx, account, owner)
		if err != nil {
			return err
		}
		if l.hash == "" {
			return noProfile(l.user)
		}
		_, err = tx.Exec(ctx, `DELETE FROM iam_login_profile WHERE user_id = $1`, l.user.ID)
		return err
	})
}

// ChangePassword is a user's own change, which needs the old password; a reset
// that was required is done with it. errs.EntityNotFound without a password,
// errs.AccessDenied for a wrong old one, errs.PasswordRefused,
// errs.InvalidUserType for the root user.
func (s *Service) ChangePassword(ctx context.Context, account name.AccountID, owner Owner, before, after string) error {
	if owner == (Owner{}) {
		return errs.New(errs.InvalidUserType, "Only IAM Users can change their own password.")
	}
	return s.change(ctx, account, owner, func(l login) (func(*sqldb.Tx, login) error, error) {
		if l.hash == "" {
			return nil, noProfile(l.user)
		}
		ok, err := s.hasher.Verify(ctx, l.hash, before)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, errs.New(errs.AccessDenied, "The old password was incorrect.")
		}
		if err := s.admit(ctx, l, after); err != nil {
			return nil, err
		}
		hash, err := s.hasher.Hash(ctx, after)
		return func(tx *sqldb.Tx, l login) error {
			return s.store(ctx, tx, l, hash, false)
		}, err
	})
}

// Verify holds a password against the user's and notes the sign-in. mustChange
// says that the user has to choose another password first, because that is
// required or this one is too old. A right password that is too old under a
// policy with hard expiry gives false and true: only an administrator can set
// another. Unknown users, and those without a password, take as long as others
// and give false; nothing here counts wrong guesses.
func (s *Service) Verify(ctx context.Context, account name.AccountID, userName, secret string) (ok, mustChange bool, err error) {
	l, err := s.view(ctx, account, Owner{Name: userName})
	if userName == "" || errs.Is(err, errs.EntityNotFound) || err == nil && l.hash == "" {
		return false, false, s.hasher.Pretend(ctx, secret)
	}
	if err != nil {
		return false, false, err
	}
	if ok, err = s.hasher.Verify(ctx, l.hash, secret); err != nil || !ok {
		return false, false, err
	}
	now := s.principals.Now()
	expired := l.policy.Expired(l.changed, now)
	if expired && l.policy.HardExpiry {
		return false, true, nil
	}
	err = s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE iam_login_profile SET used_at = $2 WHERE user_id = $1`, l.user.ID, now.UnixMicro())
		return err
	})
	return err == nil, expired || l.profile.ResetRequired, err
}
