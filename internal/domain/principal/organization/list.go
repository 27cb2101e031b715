package organization

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// List reads all organizations with all that is in them, by their ids.
func (s *Service) List(ctx context.Context) ([]Organization, error) {
	var all []Organization
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		all = []Organization{}
		records, err := sqldb.Collect(ctx, tx, scanRecord, `SELECT `+recordColumns+` FROM organization ORDER BY id`)
		if err != nil {
			return err
		}
		for _, r := range records {
			o, err := load(ctx, tx, r)
			if err != nil {
				return err
			}
			all = append(all, o)
		}
		return nil
	})
	return all, err
}

// Get reads one organization.
func (s *Service) Get(ctx context.Context, id string) (Organization, error) {
	var o Organization
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		r, err := find(ctx, tx, id, "")
		if err == nil {
			o, err = load(ctx, tx, r)
		}
		return err
	})
	return o, err
}

// Place is where an account stands, as people read it.
type Place struct {
	// ID is the organization's.
	ID string `json:"id"`
	// Unit is the path of the unit that the account is in, "" for the root.
	Unit       string `json:"unit"`
	Management bool   `json:"management"`
}

// PlaceOf finds the account in its organization, if it is in one.
func (s *Service) PlaceOf(ctx context.Context, account name.AccountID) (Place, bool, error) {
	var p Place
	err := s.db.View(ctx, func(tx *sqldb.Tx) error {
		p = Place{}
		in, err := organizationOf(ctx, tx, account)
		if err != nil || in == "" {
			return err
		}
		o, err := find(ctx, tx, in, "")
		if err != nil {
			return err
		}
		var parent string
		if err := tx.QueryRow(ctx, `SELECT parent_id FROM organization_account WHERE account_id = $1`, string(account)).Scan(&parent); err != nil {
			return err
		}
		units, err := unitsAbove(ctx, tx, parent)
		names := make([]string, len(units))
		for i, u := range units {
			names[i] = u.name
		}
		p = Place{ID: o.id, Unit: strings.Join(names, "/"), Management: o.management == string(account)}
		return err
	})
	return p, p.ID != "", err
}

func load(ctx context.Context, tx *sqldb.Tx, r record) (Organization, error) {
	o := Organization{ID: r.id, Root: r.root, ManagementAccount: name.AccountID(r.management), CreatedAt: time.UnixMicro(r.created).UTC()}
	var err error
	if o.Policies, err = sqldb.Collect(ctx, tx, scanPolicy, `SELECT id, name, document, created_at FROM organization_policy WHERE organization_id = $1 ORDER BY name`, r.id); err != nil {
		return Organization{}, err
	}
	attached := map[string][]string{} // names of policies by target
	if _, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var target, policyName string
		err := row.Scan(&target, &policyName)
		attached[target] = append(attached[target], policyName)
		return struct{}{}, err
	}, `SELECT a.target_id, p.name FROM organization_attachment a JOIN organization_policy p ON p.id = a.policy_id WHERE p.organization_id = $1 ORDER BY p.name`, r.id); err != nil {
		return Organization{}, err
	}
	o.RootPolicies = attached[r.root]
	units, err := sqldb.Collect(ctx, tx, scanUnit, `SELECT id, parent_id, name FROM organization_unit WHERE organization_id = $1`, r.id)
	if err != nil {
		return Organization{}, err
	}
	paths := pathsOf(units)
	o.Units = make([]Unit, len(units))
	for i, u := range units {
		o.Units[i] = Unit{ID: u.id, Path: paths[u.id], Policies: attached[u.id]}
	}
	slices.SortFunc(o.Units, func(a, b Unit) int {
		return slices.Compare(strings.Split(a.Path, "/"), strings.Split(b.Path, "/")) // what is in a unit follows it
	})
	o.Accounts, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Account, error) {
		var id, parent string
		var joined int64
		err := row.Scan(&id, &parent, &joined)
		return Account{ID: name.AccountID(id), Unit: paths[parent], JoinedAt: time.UnixMicro(joined).UTC(), Policies: attached[id]}, err
	}, `SELECT account_id, parent_id, joined_at FROM organization_account WHERE organization_id = $1 ORDER BY account_id`, r.id)
	return o, err
}

// pathsOf returns the path of every unit by its id.
func pathsOf(units []unitRecord) map[string]string {
	byID := make(map[string]unitRecord, len(units))
	for _, u := range units {
		byID[u.id] = u
	}
	paths := make(map[string]string, len(units))
	for _, u := range units {
		path := u.name
		for up, ok := byID[u.parent]; ok; up, ok = byID[up.parent] {
			path = up.name + "/" + path
		}
		paths[u.id] = path
	}
	return paths
}
