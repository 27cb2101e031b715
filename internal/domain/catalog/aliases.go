package catalog

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	rules "github.com/berth-registry/berth/internal/domain/catalog/alias"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// MaxReason is how long the reason of a rejection can be, in bytes.
const MaxReason = 1000

const aliasColumns = `alias, account_id, status, is_default, is_primary, requested_at, decided_at, reason`

func scanAlias(row sqldb.Scanner) (a Alias, err error) {
	var requested, decided int64
	err = row.Scan(&a.Name, &a.Account, &a.Status, &a.Default, &a.Primary, &requested, &decided, &a.Reason)
	a.RequestedAt = time.UnixMicro(requested).UTC()
	if decided != 0 {
		a.DecidedAt = time.UnixMicro(decided).UTC()
	}
	return a, err
}

// EnsureTx makes the public registry of an account and its default alias, if they are not
// there. errs.InvalidParameter for an account that is not there.
func (s *Service) EnsureTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID) error {
	count := func() (int64, error) {
		return sqldb.One[int64](tx.QueryRow(ctx, `SELECT count(*) FROM public_alias WHERE account_id = $1 AND is_default = $2`, string(account), true))
	}
	if n, err := count(); err != nil || n > 0 { // nearly always, and without a lock
		return err
	}
	if err := s.changeTx(ctx, tx, account); err != nil {
		return err
	}
	if n, err := count(); err != nil || n > 0 { // another transaction was first
		return err
	}
	for range aliasTries {
		alias, ok := randomAlias()
		if !ok {
			continue
		}
		now := s.Clock.Now().UnixMicro()
		n, err := tx.Exec(ctx, `INSERT INTO public_alias (`+aliasColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, '') ON CONFLICT (alias) DO NOTHING`,
			string(alias), string(account), string(Active), true, true, now, now)
		if err != nil {
			return err
		}
		if n == 1 { // nobody can have asked whose it is: no node has it in memory
			return nil
		}
	}
	return errors.New("no default alias was found that is free")
}

// aliasTries is how often a default alias is drawn: of 26*36^7 of them one is free.
const aliasTries = 100

// randomAlias draws a default alias: eight letters and digits, the first a letter, as
// those of AWS look. ok is false for one that says something it should not.
func randomAlias() (alias name.Alias, ok bool) {
	const letters, all = "abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789"
	raw := make([]byte, 8)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	for i, b := range raw {
		from := all
		if i == 0 {
			from = letters
		}
		raw[i] = from[int(b)%len(from)] // not quite even, and nothing hangs on that
	}
	return name.Alias(raw), rules.Check(string(raw), false) == nil
}

// aliasTx reads an alias. errs.InvalidParameter when there is none of the name.
func aliasTx(ctx context.Context, tx *sqldb.Tx, alias name.Alias) (Alias, error) {
	a, err := scanAlias(tx.QueryRow(ctx, `SELECT `+aliasColumns+` FROM public_alias WHERE alias = $1`, string(alias)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return a, noAlias(alias)
	}
	return a, err
}

func noAlias(alias name.Alias) error {
	return errs.New(errs.InvalidParameter, "There is no alias '%s'. berth public alias list shows those that there are.", alias)
}

// customTx finds the custom alias of an account that has the status; "" for none.
func customTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, status AliasStatus) (name.Alias, error) {
	a, err := sqldb.One[string](tx.QueryRow(ctx, `SELECT alias FROM public_alias WHERE account_id = $1 AND is_default = $2 AND status = $3 ORDER BY alias LIMIT 1`,
		string(account), false, string(status)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	return name.Alias(a), err
}

// RequestAlias asks for a custom alias, which is pending until Approve or Reject. The
// account gets its default alias as well, as AWS gives it with a request (ECR Public user
// guide, "Public registries"). One may be pending at a time; one that was rejected may be
// asked for again, by anybody. What should be avoided in an alias is for Approve to refuse.
// errs.InvalidParameter for what cannot be an alias, is taken, or is reserved.
func (s *Service) RequestAlias(ctx context.Context, account name.AccountID, alias string) (made Alias, err error) {
	if err := rules.Check(alias, true); err != nil {
		return Alias{}, err
	}
	wanted, now := name.Alias(alias), s.Clock.Now()
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		if err := s.EnsureTx(ctx, tx, account); err != nil {
			return err
		}
		if err := s.changeTx(ctx, tx, account, wanted); err != nil {
			return err
		}
		pending, err := customTx(ctx, tx, account, Pending)
		if err != nil {
			return err
		}
		if pending != "" {
			return errs.New(errs.InvalidParameter, "The account %s has asked for the alias '%s', and one can wait at a time. Approve or reject that first, or remove it.", account, pending)
		}
		before, err := aliasTx(ctx, tx, wanted)
		switch {
		case errs.Is(err, errs.InvalidParameter): // nobody has it
		case err != nil:
			return err
		case before.Status != Rejected:
			return taken(before)
		case before.Account != account: // its registry loses what was rejected
			if err := s.changeTx(ctx, tx, before.Account); err != nil {
				return err
			}
		}
		n, err := tx.Exec(ctx, `INSERT INTO public_alias (`+aliasColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 0, '')
			ON CONFLICT (alias) DO UPDATE SET account_id = excluded.account_id, status = excluded.status, requested_at = excluded.requested_at, decided_at = 0, reason = ''
			WHERE public_alias.status = $7`,
			alias, string(account), string(Pending), false, false, now.UnixMicro(), string(Rejected))
		if err != nil {
			return err
		}
		made, err = aliasTx(ctx, tx, wanted)
		if err == nil && n == 0 { // another account was first
			return taken(made)
		}
		return err
	})
	if err != nil {
		return Alias{}, err
	}
	return made, nil
}

func taken(a Alias) error {
	return errs.New(errs.InvalidParameter, "The alias '%s' is taken: the account %s has it, and it is %s. Choose another one.", a.Name, a.Account, a.Status)
}

// changeAlias runs fn in a transaction that changes an alias, with the alias as it is, and
// returns it as it is then, or was if it is removed. what is for the log.
// errs.InvalidParameter when there is none of the name.
func (s *Service) changeAlias(ctx context.Context, alias name.Alias, what string, fn func(tx *sqldb.Tx, a Alias) error) (a Alias, err error) {
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		before, err := aliasTx(ctx, tx, alias)
		if err != nil {
			return err
		}
		if err := s.changeTx(ctx, tx, before.Account, alias); err != nil {
			return err
		}
		if a, err = aliasTx(ctx, tx, alias); err != nil { // as it is under the lock
			return err
		}
		if a.Account != before.Account {
			return errs.New(errs.InvalidParameter, "The alias '%s' has just gone to the account %s. Look at it again.", alias, a.Account)
		}
		if err := fn(tx, a); err != nil {
			return err
		}
		now, err := aliasTx(ctx, tx, alias)
		if err == nil {
			a = now
		} else if errs.Is(err, errs.InvalidParameter) { // removed
			err = nil
		}
		return err
	})
	if err != nil {
		return Alias{}, err
	}
	s.Log.InfoContext(ctx, "an alias of a public registry was "+what, "alias", a.Name, "account", a.Account)
	return a, nil
}

// Approve makes a pending alias active, and the primary one of its registry. force lets
// what the naming rules would have avoided pass. An account has one active custom alias at
// most. errs.InvalidParameter.
func (s *Service) Approve(ctx context.Context, alias name.Alias, force bool) (Alias, error) {
	return s.changeAlias(ctx, alias, "approved", func(tx *sqldb.Tx, a Alias) error {
		if a.Status != Pending {
			return notPending(a)
		}
		if err := rules.Check(string(alias), force); err != nil {
			return err
		}
		active, err := customTx(ctx, tx, a.Account, Active)
		if err != nil {
			return err
		}
		if active != "" {
			return errs.New(errs.InvalidParameter, "The account %s has the custom alias '%s', and one can be active. Remove that one first; what is pulled by it then has to be pulled by another alias.", a.Account, active)
		}
		if _, err := tx.Exec(ctx, `UPDATE public_alias SET status = $2, decided_at = $3 WHERE alias = $1`, string(alias), string(Active), s.Clock.Now().UnixMicro()); err != nil {
			return err
		}
		return setPrimaryTx(ctx, tx, a.Account, alias)
	})
}

func notPending(a Alias) error {
	return errs.New(errs.InvalidParameter, "The alias '%s' is not pending, it is %s. berth public alias list --status pending shows those that are.", a.Name, a.Status)
}

func setPrimaryTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, alias name.Alias) error {
	// Two statements, as a unique index says that there is one at any time.
	if _, err := tx.Exec(ctx, `UPDATE public_alias SET is_primary = $2 WHERE account_id = $1`, string(account), false); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `UPDATE public_alias SET is_primary = $2 WHERE alias = $1`, string(alias), true)
	return err
}

// Reject declines a pending alias. The reason, 1 to MaxReason bytes, is kept with it.
// errs.InvalidParameter.
func (s *Service) Reject(ctx context.Context, alias name.Alias, reason string) (Alias, error) {
	if strings.TrimSpace(reason) == "" || len(reason) > MaxReason {
		return Alias{}, errs.New(errs.InvalidParameter, "A rejection needs a reason, of up to %d bytes.", MaxReason)
	}
	return s.changeAlias(ctx, alias, "rejected", func(tx *sqldb.Tx, a Alias) error {
		if a.Status != Pending {
			return notPending(a)
		}
		_, err := tx.Exec(ctx, `UPDATE public_alias SET status = $2, decided_at = $3, reason = $4 WHERE alias = $1`,
			string(alias), string(Rejected), s.Clock.Now().UnixMicro(), reason)
		return err
	})
}

// SetPrimary has the addresses of a registry show one of its active aliases.
// errs.InvalidParameter.
func (s *Service) SetPrimary(ctx context.Context, alias name.Alias) (Alias, error) {
	return s.changeAlias(ctx, alias, "made the primary one", func(tx *sqldb.Tx, a Alias) error {
		if a.Status != Active {
			return errs.New(errs.InvalidParameter, "The alias '%s' is %s. Only an active one can be the primary one.", alias, a.Status)
		}
		return setPrimaryTx(ctx, tx, a.Account, alias)
	})
}

// RemoveAlias takes a custom alias from its account, whatever its status, and returns it
// as it was. Anybody can ask for it then. The default alias becomes the primary one where
// it was. errs.InvalidParameter, also for the default alias, which stays.
func (s *Service) RemoveAlias(ctx context.Context, alias name.Alias) (Alias, error) {
	return s.changeAlias(ctx, alias, "removed", func(tx *sqldb.Tx, a Alias) error {
		if a.Default {
			return errs.New(errs.InvalidParameter, "The alias '%s' is the default one of the account %s and stays.", alias, a.Account)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM public_alias WHERE alias = $1`, string(alias)); err != nil || !a.Primary {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE public_alias SET is_primary = is_default WHERE account_id = $1`, string(a.Account))
		return err
	})
}

// ListAliases returns up to limit aliases of all accounts whose names come after the given
// one in byte order; only those of the status, unless that is "".
func (s *Service) ListAliases(ctx context.Context, status AliasStatus, after name.Alias, limit int) (all []Alias, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if status == "" {
			all, err = sqldb.Collect(ctx, tx, scanAlias, `SELECT `+aliasColumns+` FROM public_alias WHERE alias > $1 ORDER BY alias LIMIT $2`, string(after), limit)
			return err
		}
		all, err = sqldb.Collect(ctx, tx, scanAlias, `SELECT `+aliasColumns+` FROM public_alias WHERE status = $1 AND alias > $2 ORDER BY alias LIMIT $3`,
			string(status), string(after), limit)
		return err
	})
	return all, err
}
