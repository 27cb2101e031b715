package organization

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Create makes an organization with a root, and puts the management account
// under it. The account must not be in an organization yet.
func (s *Service) Create(ctx context.Context, management name.AccountID) (Organization, error) {
	var made Organization
	err := s.update(ctx, func(tx *sqldb.Tx) error {
		if err := touch(ctx, tx, management); err != nil {
			return err
		}
		if in, err := organizationOf(ctx, tx, management); err != nil {
			return err
		} else if in != "" {
			return errs.New(errs.EntityExists, "Account %s is in organization %s already; an account is in one organization at most.", management, in)
		}
		now := s.clk.Now().UnixMicro()
		o := record{management: string(management), created: now}
		if err := unique(func() (int64, error) {
			o.id, o.root = newOrganizationID(), newRootID()
			return tx.Exec(ctx, `INSERT INTO organization (`+recordColumns+`) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				o.id, o.root, o.management, o.created)
		}); err != nil {
			return err
		}
		if _, err := insertPolicy(ctx, tx, o, FullAccess, fullAccessDocument, now); err != nil {
			return err
		}
		if err := attachFullAccess(ctx, tx, o, o.root); err != nil {
			return err
		}
		if err := s.join(ctx, tx, o, management, o.root); err != nil {
			return err
		}
		s.forgetAfter(tx, management)
		var err error
		made, err = load(ctx, tx, o)
		return err
	})
	return made, err
}

// unique has insert run, with other random ids each time, until it has added a
// row.
func unique(insert func() (int64, error)) error {
	for range 20 {
		if n, err := insert(); err != nil || n > 0 {
			return err
		}
	}
	return errs.New(errs.Internal, "twenty random ids were all taken")
}

// organizationOf returns the id of the organization that the account is in, ""
// for none.
func organizationOf(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (string, error) {
	var id string
	err := tx.QueryRow(ctx, `SELECT organization_id FROM organization_account WHERE account_id = $1`, string(account)).Scan(&id)
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil
	}
	return id, err
}

// join adds an account that is in no organization.
func (s *Service) join(ctx context.Context, tx *sqldb.Tx, o record, account name.AccountID, parent string) error {
	if _, err := tx.Exec(ctx, `INSERT INTO organization_account (account_id, organization_id, parent_id, joined_at) VALUES ($1, $2, $3, $4)`,
		string(account), o.id, parent, s.clk.Now().UnixMicro()); err != nil {
		return err
	}
	return attachFullAccess(ctx, tx, o, string(account))
}

// Delete removes an organization that has no other account than the management
// account, with its units and policies.
func (s *Service) Delete(ctx context.Context, id string) error {
	return s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		var others int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM organization_account WHERE organization_id = $1 AND account_id <> $2`, o.id, o.management).Scan(&others); err != nil {
			return nil, err
		}
		if others > 0 {
			return nil, errs.New(errs.EntityInUse, "Organization %s has %d accounts beside its management account; detach them first.", o.id, others)
		}
		touched, err := touchAll(ctx, tx, o)
		if err != nil {
			return nil, err
		}
		for _, statement := range []string{
			`DELETE FROM organization_attachment WHERE policy_id IN (SELECT id FROM organization_policy WHERE organization_id = $1)`,
			`DELETE FROM organization_policy WHERE organization_id = $1`,
			`DELETE FROM organization_account WHERE organization_id = $1`,
			`DELETE FROM organization_unit WHERE organization_id = $1`,
			`DELETE FROM organization WHERE id = $1`,
		} {
			if _, err := tx.Exec(ctx, statement, o.id); err != nil {
				return nil, err
			}
		}
		return touched, nil
	})
}

// AttachAccount puts an account under a unit, or under the root where unit is
// "". One that is in the organization already is moved there, and keeps the
// policies attached to itself. errs.EntityExists when it is in another
// organization.
func (s *Service) AttachAccount(ctx context.Context, id string, account name.AccountID, unit string) error {
	return s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		parent, err := unitID(ctx, tx, o, unit)
		if err != nil {
			return nil, err
		}
		if err := touch(ctx, tx, account); err != nil {
			return nil, err
		}
		in, err := organizationOf(ctx, tx, account)
		if err != nil {
			return nil, err
		}
		switch in {
		case "":
			err = s.join(ctx, tx, o, account, parent)
		case o.id:
			_, err = tx.Exec(ctx, `UPDATE organization_account SET parent_id = $1 WHERE account_id = $2`, parent, string(account))
		default:
			err = errs.New(errs.EntityExists, "Account %s is in organization %s; detach it there first, an account is in one organization at most.", account, in)
		}
		return []name.AccountID{account}, err
	})
}

// DetachAccount takes an account out of its organization, with what is attached
// to the account itself. The management account cannot leave.
func (s *Service) DetachAccount(ctx context.Context, account name.AccountID) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		in, err := organizationOf(ctx, tx, account)
		if err != nil {
			return err
		}
		if in == "" {
			return errs.New(errs.EntityNotFound, "Account %s is in no organization.", account)
		}
		o, err := find(ctx, tx, in, tx.ForUpdate())
		if err != nil {
			return err
		}
		if o.management == string(account) {
			return errs.New(errs.EntityInUse, "Account %s is the management account of organization %s, which cannot leave it; delete the organization instead.", account, o.id)
		}
		if err := touch(ctx, tx, account); err != nil {
			return err
		}
		// Between the look and the lock it may have gone, and joined another one.
		n, err := tx.Exec(ctx, `DELETE FROM organization_account WHERE account_id = $1 AND organization_id = $2`, string(account), o.id)
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.EntityNotFound, "Account %s is no longer in organization %s.", account, o.id)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM organization_attachment WHERE target_id = $1`, string(account)); err != nil {
			return err
		}
		s.forgetAfter(tx, account)
		return nil
	})
}

// CreateUnit makes the unit with the path "dev/team", and those of its parents
// that are missing.
func (s *Service) CreateUnit(ctx context.Context, id, path string) (Unit, error) {
	made := Unit{Path: path, Policies: []string{FullAccess}}
	names, err := splitPath(path)
	if err != nil {
		return Unit{}, err
	}
	err = s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		parent, added := o.root, 0
		for _, unitName := range names {
			child, found, err := childUnit(ctx, tx, parent, unitName)
			if err != nil {
				return nil, err
			}
			if !found {
				if child, err = insertUnit(ctx, tx, o, parent, unitName); err != nil {
					return nil, err
				}
				added++
			}
			parent = child
		}
		made.ID = parent
		if added == 0 {
			return nil, errs.New(errs.EntityExists, "There is a unit %s already.", path)
		}
		return nil, within(ctx, tx, MaxUnits, "units", `SELECT count(*) FROM organization_unit WHERE organization_id = $1`, o.id)
	})
	if err != nil {
		return Unit{}, err
	}
	return made, nil
}

func insertUnit(ctx context.Context, tx *sqldb.Tx, o record, parent, unitName string) (id string, err error) {
	if err := unique(func() (int64, error) {
		id = newUnitID(o.root)
		return tx.Exec(ctx, `INSERT INTO organization_unit (id, organization_id, parent_id, name) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING`,
			id, o.id, parent, unitName)
	}); err != nil {
		return "", err
	}
	return id, attachFullAccess(ctx, tx, o, id)
}

// within refuses when the query counts more than most.
func within(ctx context.Context, tx *sqldb.Tx, most int64, what, query string, args ...any) error {
	var n int64
	if err := tx.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		return err
	}
	if n > most {
		return errs.New(errs.EntityLimit, "An organization has at most %d %s.", most, what)
	}
	return nil
}

// DeleteUnit removes a unit that holds neither accounts nor units.
func (s *Service) DeleteUnit(ctx context.Context, id, path string) error {
	if _, err := splitPath(path); err != nil {
		return err
	}
	return s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		unit, err := unitID(ctx, tx, o, path)
		if err != nil {
			return nil, err
		}
		var accounts, units int64
		if err := tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM organization_account WHERE parent_id = $1), (SELECT count(*) FROM organization_unit WHERE parent_id = $1)`, unit).
			Scan(&accounts, &units); err != nil {
			return nil, err
		}
		if accounts+units > 0 {
			return nil, errs.New(errs.EntityInUse, "Unit %s holds %d accounts and %d units; move or remove them first.", path, accounts, units)
		}
		if _, err := tx.Exec(ctx, `DELETE FROM organization_attachment WHERE target_id = $1`, unit); err != nil {
			return nil, err
		}
		_, err = tx.Exec(ctx, `DELETE FROM organization_unit WHERE id = $1`, unit)
		return nil, err
	})
}

// splitPath returns the names in the path of a unit.
func splitPath(path string) ([]string, error) {
	names := strings.Split(path, "/")
	for _, n := range names {
		if err := checkName("unit", n); err != nil {
			return nil, err
		}
	}
	if len(names) > MaxDepth {
		return nil, errs.New(errs.EntityLimit, "Units stand in each other %d deep at most; %s has %d levels.", MaxDepth, path, len(names))
	}
	return names, nil
}

// checkName refuses names that could not be told apart, or not be typed.
func checkName(what, s string) error {
	switch {
	case s == "" || utf8.RuneCountInString(s) > MaxName:
		return errs.New(errs.InvalidInput, "The name of a %s has 1 to %d characters; %q does not.", what, MaxName, s)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || strings.TrimSpace(s) != s:
		return errs.New(errs.InvalidInput, "The name of a %s has no control characters, and no spaces around it; %q has.", what, s)
	}
	return nil
}

// unitID finds the unit with the path; "" is the root.
func unitID(ctx context.Context, tx *sqldb.Tx, o record, path string) (string, error) {
	if path == "" {
		return o.root, nil
	}
	names, err := splitPath(path)
	if err != nil {
		return "", err
	}
	at := o.root
	for _, n := range names {
		child, found, err := childUnit(ctx, tx, at, n)
		if err != nil {
			return "", err
		}
		if !found {
			return "", errs.New(errs.EntityNotFound, "There is no unit %s in organization %s; make it with: berth organization create-unit %s", path, o.id, path)
		}
		at = child
	}
	return at, nil
}

func childUnit(ctx context.Context, tx *sqldb.Tx, parent, unitName string) (id string, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT id FROM organization_unit WHERE parent_id = $1 AND name = $2`, parent, unitName).Scan(&id)
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", false, nil
	}
	return id, err == nil, err
}
