package credential

import (
	"context"
	"errors"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/credential/totp"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// How far, in steps of 30 seconds, a device's clock may be from ours, beyond
// the skew that is known of it.
const (
	codeWindow   = 1
	resyncWindow = 120 // an hour
)

func invalidCode() error {
	return errs.New(errs.AuthenticationCode, "Authentication code for device is not valid.")
}

// pair finds the step of the second of two consecutive codes, and how far it is
// from the present one. No step up to the last one used is taken.
func (s *Service) pair(d stored, first, second string, window int64) (step, skew int64, err error) {
	seed, err := s.principals.OpenSecret("mfa "+d.serial, d.sealed)
	if err != nil {
		return 0, 0, err
	}
	now := totp.Step(s.principals.Now())
	// The step of the first code counts as used as well.
	from := max(now-window, d.lastStep+2)
	step, found := totp.FindPair(seed, first, second, from, now+window)
	if !found {
		return 0, 0, invalidCode()
	}
	return step, step - now, nil
}

// EnableDevice gives a device to a user, or to the root user, who shows with two
// consecutive codes to have its seed. errs.EntityNotFound, errs.EntityExists
// when somebody has it, errs.EntityLimit when the user has eight,
// errs.AuthenticationCode.
func (s *Service) EnableDevice(ctx context.Context, account name.AccountID, owner Owner, serial, first, second string) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		u, err := find(ctx, tx, account, owner)
		if err != nil {
			return err
		}
		d, err := loadDevice(ctx, tx, account, serial)
		if err != nil {
			return err
		}
		if d.device(account).User != nil {
			return errs.New(errs.EntityExists, "MFA Device is already in use.")
		}
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_mfa_device WHERE account_id = $1 AND user_id = $2`, string(account), owned(account, u)).Scan(&n); err != nil {
			return err
		}
		if n >= maxDevicesPerUser {
			return errs.New(errs.EntityLimit, "Cannot exceed quota for MFADevicesPerUser: %d", maxDevicesPerUser)
		}
		// What is off by a step is more likely slow fingers than a slow clock.
		step, _, err := s.pair(d, first, second, codeWindow)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE iam_mfa_device SET user_id = $2, enabled_at = $3, skew = 0, last_step = $4 WHERE serial = $1`,
			serial, owned(account, u), s.principals.Now().UnixMicro(), step)
		return err
	})
}

// ResyncDevice learns from two consecutive codes how far the device's clock is
// off, up to an hour. errs.EntityNotFound, errs.AuthenticationCode.
func (s *Service) ResyncDevice(ctx context.Context, account name.AccountID, owner Owner, serial, first, second string) error {
	return s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		d, err := loadOwned(ctx, tx, account, owner, serial)
		if err != nil {
			return err
		}
		step, skew, err := s.pair(d, first, second, resyncWindow)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE iam_mfa_device SET skew = $2, last_step = $3 WHERE serial = $1`, serial, skew, step)
		return err
	})
}

// CheckCode takes a code of the user's device, once: a second time it is wrong.
// userID is the user's unique id, "" or the account's number for the root user.
// It returns errs.AccessDenied in the words that STS has for it: when serial or
// code is missing, when the device is not the user's, when the code is wrong,
// and after too many wrong ones.
func (s *Service) CheckCode(ctx context.Context, account name.AccountID, userID, serial, code string) error {
	if serial == "" || code == "" {
		return errs.New(errs.AccessDenied, "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.")
	}
	if userID == "" {
		userID = string(account)
	}
	foreign := errs.New(errs.AccessDenied, "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid and associated with this user.")
	wrong := errs.New(errs.AccessDenied, "MultiFactorAuthentication failed with invalid MFA one time pass code.")
	var d stored
	err := s.principals.View(ctx, func(tx *sqldb.Tx) error {
		var err error
		d, err = scanDevice(tx.QueryRow(ctx, deviceColumns+`d.serial = $2 AND d.user_id = $3`, string(account), serial, userID))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return foreign
	}
	if err != nil {
		return err
	}
	at := s.principals.Now()
	if !s.guesses.admit(serial, at) {
		return errs.New(errs.AccessDenied, "MultiFactorAuthentication failed, too many invalid MFA one time pass codes. Wait a minute, then try again.")
	}
	seed, err := s.principals.OpenSecret("mfa "+serial, d.sealed)
	if err != nil {
		return err
	}
	now := totp.Step(at) + d.skew
	step, found := totp.Find(seed, code, max(now-codeWindow, d.lastStep+1), now+codeWindow)
	if !found {
		return wrong
	}
	var taken int64
	err = s.principals.Change(ctx, account, func(tx *sqldb.Tx) error {
		var err error
		// Another node may have taken the code, or the device away, meanwhile.
		taken, err = tx.Exec(ctx, `UPDATE iam_mfa_device SET last_step = $2 WHERE serial = $1 AND last_step < $2 AND user_id = $3`, serial, step, userID)
		return err
	})
	if err != nil {
		return err
	}
	if taken == 0 {
		return wrong
	}
	s.guesses.clear(serial)
	return nil
}
