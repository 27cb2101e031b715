// Package organization owns organizations: a root, units under it, accounts in
// them, and the service control policies attached to any of these. It keeps
// AWS's rules for them (Organizations user guide, "Quotas" and "SCP
// evaluation"), and reads what binds an account.
//
// It does not own accounts (domain/principal), the language of policies
// (domain/policy), nor what follows from them (domain/authz). AWS's Organizations
// API is not served; an operator's commands are (cmd/berth organization).
package organization

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Quotas of AWS Organizations.
const (
	// MaxPolicySize bounds a service control policy, in characters without the
	// white space between its tokens.
	MaxPolicySize = 5120
	// MaxPoliciesPerTarget bounds what is attached to a root, unit or account.
	MaxPoliciesPerTarget = 5
	// MaxDepth is how deep units may stand in each other.
	MaxDepth = 5
	// MaxUnits bounds the units of an organization.
	MaxUnits = 2000
	// MaxPolicies bounds the policies of an organization.
	MaxPolicies = 10_000
	// MaxName bounds the names of units and policies, in characters.
	MaxName = 128
)

// FullAccess is the policy that every root, unit and account begins with. It
// allows everything, and can be detached but neither changed nor deleted.
const FullAccess = "FullAWSAccess"

const fullAccessDocument = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`

// Membership is an account's place in an organization; zero outside of any.
type Membership struct {
	// ID is the organization's, "o-...".
	ID string
	// Path is o-.../r-.../ou-.../, as aws:PrincipalOrgPaths has it.
	Path string
	// Management says that the account is the management account, which no
	// service control policy binds.
	Management bool
	// ServiceControl are the policies of each level, root first; nil where none
	// binds the account.
	ServiceControl [][]policy.Named
}

// Organization is an organization with all that is in it.
type Organization struct {
	ID                string         `json:"id"`
	Root              string         `json:"root"`
	ManagementAccount name.AccountID `json:"managementAccount"`
	CreatedAt         time.Time      `json:"createdAt"`
	// RootPolicies are the names of the policies attached to the root.
	RootPolicies []string  `json:"rootPolicies"`
	Units        []Unit    `json:"units"`    // by path
	Accounts     []Account `json:"accounts"` // by number
	Policies     []Policy  `json:"policies"` // by name
}

// Unit is an organizational unit.
type Unit struct {
	ID string `json:"id"`
	// Path is the names from the root down, "dev/team".
	Path string `json:"path"`
	// Policies are the names of those attached to the unit itself.
	Policies []string `json:"policies"`
}

// Account is a member of an organization.
type Account struct {
	ID name.AccountID `json:"id"`
	// Unit is the path of the unit that the account is in, "" for the root.
	Unit     string    `json:"unit"`
	JoinedAt time.Time `json:"joinedAt"`
	// Policies are the names of those attached to the account itself.
	Policies []string `json:"policies"`
}

// Policy is a service control policy.
type Policy struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Document  json.RawMessage `json:"document"`
	CreatedAt time.Time       `json:"createdAt"`
}

// Config is what a Service stands on.
type Config struct {
	DB    *sqldb.DB
	Clock clock.Clock
	// Forget is called after a commit with the accounts that a change touches; it
	// has this node read anew what it knows of their principals. It is never
	// called without an account.
	Forget func(accounts ...name.AccountID)
}

// Service stores organizations. Changes of one organization come one after the
// other; the methods that take an organization's id take "" for the only one
// there is.
type Service struct {
	db     *sqldb.DB
	clk    clock.Clock
	forget func(accounts ...name.AccountID)
}

// New returns the service.
func New(c Config) *Service {
	return &Service{db: c.DB, clk: c.Clock, forget: c.Forget}
}

// record is an organization's own row.
type record struct {
	id, root, management string
	created              int64
}

const recordColumns = `id, root_id, management_account, created_at`

func scanRecord(row sqldb.Scanner) (record, error) {
	var r record
	err := row.Scan(&r.id, &r.root, &r.management, &r.created)
	return r, err
}

// find reads the organization with the id, or the only one where id is "".
// ending is the end of the SELECT, for a lock.
func find(ctx context.Context, tx *sqldb.Tx, id, ending string) (record, error) {
	where, args := ``, []any{}
	if id != "" {
		where, args = ` WHERE id = $1`, []any{id}
	}
	all, err := sqldb.Collect(ctx, tx, scanRecord, `SELECT `+recordColumns+` FROM organization`+where+` ORDER BY id`+ending, args...)
	switch {
	case err != nil:
		return record{}, err
	case len(all) == 1:
		return all[0], nil
	case id != "":
		return record{}, errs.New(errs.EntityNotFound, "There is no organization %s; berth organization show lists them.", id)
	case len(all) == 0:
		return record{}, errs.New(errs.EntityNotFound, "There is no organization yet; make one with: berth organization create --management-account ID")
	}
	return record{}, errs.New(errs.InvalidInput, "There are %d organizations; name the one that is meant by its id (--organization).", len(all))
}

// change runs fn on an organization that is locked against other changes, and
// has the accounts that fn returns decided about anew.
func (s *Service) change(ctx context.Context, id string, fn func(tx *sqldb.Tx, o record) ([]name.AccountID, error)) error {
	return s.update(ctx, func(tx *sqldb.Tx) error {
		o, err := find(ctx, tx, id, tx.ForUpdate())
		if err != nil {
			return err
		}
		touched, err := fn(tx, o)
		if err == nil {
			s.forgetAfter(tx, touched...)
		}
		return err
	})
}

func (s *Service) update(ctx context.Context, fn func(tx *sqldb.Tx) error) error {
	err := s.db.Update(ctx, fn)
	if errors.Is(err, sqldb.ErrFull) {
		return errs.Wrap(err, errs.StorageFull, "The registry has no storage space left. Ask its operator to make room, then try again.")
	}
	return err
}

func (s *Service) forgetAfter(tx *sqldb.Tx, accounts ...name.AccountID) {
	if len(accounts) > 0 && s.forget != nil {
		tx.AfterCommit(func() { s.forget(accounts...) })
	}
}

// touch gives an account a new revision, or fails with errs.EntityNotFound when
// there is no such account. It locks the account's row.
func touch(ctx context.Context, tx *sqldb.Tx, account name.AccountID) error {
	n, err := tx.Exec(ctx, `UPDATE account SET revision = revision + 1 WHERE id = $1`, string(account))
	if err == nil && n == 0 {
		return errs.New(errs.EntityNotFound, "There is no account %s; berth account list shows them.", account)
	}
	return err
}

// touchAll gives every account of the organization a new revision.
func touchAll(ctx context.Context, tx *sqldb.Tx, o record) ([]name.AccountID, error) {
	return sqldb.Collect(ctx, tx, sqldb.One[name.AccountID], `UPDATE account SET revision = revision + 1 WHERE id IN (SELECT account_id FROM organization_account WHERE organization_id = $1) RETURNING id`, o.id)
}

// Load reads an account's place in its organization.
func Load(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (Membership, error) {
	var o record
	var parent string
	err := tx.QueryRow(ctx, `SELECT o.id, o.root_id, o.management_account, a.parent_id FROM organization_account a
		JOIN organization o ON o.id = a.organization_id WHERE a.account_id = $1`, string(account)).Scan(&o.id, &o.root, &o.management, &parent)
	if errors.Is(err, sqldb.ErrNoRows) {
		return Membership{}, nil
	}
	if err != nil {
		return Membership{}, err
	}
	units, err := unitsAbove(ctx, tx, parent)
	if err != nil {
		return Membership{}, err
	}
	m := Membership{ID: o.id, Path: o.id + "/" + o.root + "/", Management: o.management == string(account)}
	levels := []level{{id: o.root, called: "root " + o.root}}
	for _, u := range units {
		m.Path += u.id + "/"
		levels = append(levels, level{id: u.id, called: "unit " + u.id + " (" + u.name + ")"})
	}
	if m.Management {
		return m, nil
	}
	levels = append(levels, level{id: string(account), called: "account " + string(account)})
	m.ServiceControl, err = loadPolicies(ctx, tx, levels)
	return m, err
}

// level is a place that policies hang on, and what to call it.
type level struct{ id, called string }

type unitRecord struct{ id, parent, name string }

func scanUnit(row sqldb.Scanner) (unitRecord, error) {
	var u unitRecord
	err := row.Scan(&u.id, &u.parent, &u.name)
	return u, err
}

// unitsAbove are the unit with the id and all that it is in, the outermost
// first; none for the id of a root.
func unitsAbove(ctx context.Context, tx *sqldb.Tx, id string) ([]unitRecord, error) {
	up, err := sqldb.Collect(ctx, tx, scanUnit, `WITH RECURSIVE up (id, parent_id, name) AS (
		SELECT id, parent_id, name FROM organization_unit WHERE id = $1
		UNION ALL SELECT u.id, u.parent_id, u.name FROM organization_unit u JOIN up ON u.id = up.parent_id)
		SELECT id, parent_id, name FROM up`, id)
	if err != nil {
		return nil, err
	}
	// The order of a recursive query's rows is nobody's promise.
	ordered := make([]unitRecord, 0, len(up))
	for next := id; ; {
		i := slices.IndexFunc(up, func(u unitRecord) bool { return u.id == next })
		if i < 0 || len(ordered) == len(up) {
			slices.Reverse(ordered)
			return ordered, nil
		}
		ordered = append(ordered, up[i])
		next = up[i].parent
	}
}

// loadPolicies compiles what is attached to each level, by name.
func loadPolicies(ctx context.Context, tx *sqldb.Tx, levels []level) ([][]policy.Named, error) {
	type attached struct{ target, id, name, document string }
	ids := make([]any, len(levels))
	for i, l := range levels {
		ids[i] = l.id
	}
	rows, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (attached, error) {
		var a attached
		err := row.Scan(&a.target, &a.id, &a.name, &a.document)
		return a, err
	}, `SELECT a.target_id, p.id, p.name, p.document FROM organization_attachment a JOIN organization_policy p ON p.id = a.policy_id
		WHERE a.target_id IN `+sqldb.In(1, len(ids))+` ORDER BY p.name, p.id`, ids...)
	if err != nil {
		return nil, err
	}
	compiled := map[string]*policy.Document{}
	all := make([][]policy.Named, len(levels))
	for i, l := range levels {
		for _, a := range rows {
			if a.target != l.id {
				continue
			}
			called := fmt.Sprintf("service control policy %s (%s) on %s", a.name, a.id, l.called)
			if compiled[a.id] == nil {
				if compiled[a.id], err = policy.Parse(a.document, policy.ServiceControl); err != nil {
					return nil, fmt.Errorf("the %s cannot be read: %w", called, err)
				}
			}
			all[i] = append(all[i], policy.Named{Name: called, Document: compiled[a.id]})
		}
	}
	return all, nil
}
