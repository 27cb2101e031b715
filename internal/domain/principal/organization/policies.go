package organization

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// PutPolicy creates a policy, or gives the one with the name another document,
// which then holds wherever it is attached. errs.PolicyMalformed for a text that
// is no service control policy.
func (s *Service) PutPolicy(ctx context.Context, id, policyName, document string) (Policy, error) {
	text, err := checkPolicy(policyName, document)
	if err != nil {
		return Policy{}, err
	}
	var put Policy
	err = s.change(ctx, id, func(tx *sqldb.Tx, o record) (_ []name.AccountID, err error) {
		if put, err = s.put(ctx, tx, o, policyName, text); err != nil {
			return nil, err
		}
		return touchAll(ctx, tx, o)
	})
	return put, err
}

// checkPolicy returns the document as it is stored.
func checkPolicy(policyName, document string) (string, error) {
	if err := checkName("policy", policyName); err != nil {
		return "", err
	}
	if err := ownPolicy(policyName); err != nil {
		return "", err
	}
	d, err := policy.Parse(document, policy.ServiceControl)
	if syntax := (*policy.SyntaxError)(nil); errors.As(err, &syntax) {
		return "", errs.New(errs.PolicyMalformed, "%s", syntax.Message)
	}
	if err != nil {
		return "", err
	}
	text := d.JSON()
	if n := utf8.RuneCountInString(text); n > MaxPolicySize {
		return "", errs.New(errs.EntityLimit, "A service control policy has at most %d characters, white space not counted; this one has %d.", MaxPolicySize, n)
	}
	return text, nil
}

// ownPolicy refuses changes to the policy that belongs to the program.
func ownPolicy(policyName string) error {
	if policyName == FullAccess {
		return errs.New(errs.EntityUnmodifiable, "%s allows everything, always: it can be detached, but neither changed nor deleted.", FullAccess)
	}
	return nil
}

// put stores a policy; the caller touches the accounts.
func (s *Service) put(ctx context.Context, tx *sqldb.Tx, o record, policyName, text string) (Policy, error) {
	n, err := tx.Exec(ctx, `UPDATE organization_policy SET document = $1 WHERE organization_id = $2 AND name = $3`, text, o.id, policyName)
	switch {
	case err != nil:
		return Policy{}, err
	case n == 0:
		return insertPolicy(ctx, tx, o, policyName, text, s.clk.Now().UnixMicro())
	}
	return policyNamed(ctx, tx, o, policyName)
}

func insertPolicy(ctx context.Context, tx *sqldb.Tx, o record, policyName, text string, now int64) (Policy, error) {
	p := Policy{Name: policyName, Document: json.RawMessage(text), CreatedAt: time.UnixMicro(now).UTC()}
	if err := unique(func() (int64, error) {
		p.ID = newPolicyID()
		return tx.Exec(ctx, `INSERT INTO organization_policy (id, organization_id, name, document, created_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`,
			p.ID, o.id, policyName, text, now)
	}); err != nil {
		return Policy{}, err
	}
	return p, within(ctx, tx, MaxPolicies, "service control policies", `SELECT count(*) FROM organization_policy WHERE organization_id = $1`, o.id)
}

func scanPolicy(row sqldb.Scanner) (Policy, error) {
	var p Policy
	var document string
	var created int64
	err := row.Scan(&p.ID, &p.Name, &document, &created)
	p.Document, p.CreatedAt = json.RawMessage(document), time.UnixMicro(created).UTC()
	return p, err
}

func policyNamed(ctx context.Context, tx *sqldb.Tx, o record, policyName string) (Policy, error) {
	p, err := scanPolicy(tx.QueryRow(ctx, `SELECT id, name, document, created_at FROM organization_policy WHERE organization_id = $1 AND name = $2`, o.id, policyName))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Policy{}, errs.New(errs.EntityNotFound, "There is no policy %s in organization %s.", policyName, o.id)
	}
	return p, err
}

// DeletePolicy removes a policy that is attached to nothing.
func (s *Service) DeletePolicy(ctx context.Context, id, policyName string) error {
	if err := ownPolicy(policyName); err != nil {
		return err
	}
	return s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		p, err := policyNamed(ctx, tx, o, policyName)
		if err != nil {
			return nil, err
		}
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM organization_attachment WHERE policy_id = $1`, p.ID).Scan(&n); err != nil {
			return nil, err
		}
		if n > 0 {
			return nil, errs.New(errs.EntityInUse, "Policy %s is attached in %d places; detach it everywhere first (berth organization show lists them).", policyName, n)
		}
		_, err = tx.Exec(ctx, `DELETE FROM organization_policy WHERE id = $1`, p.ID)
		return nil, err
	})
}

// AttachPolicy has a policy bind the target and all under it. A target is "root",
// "unit:PATH", the number of an account in the organization, or the id of the
// root or a unit. With a document the policy is created or replaced first, as
// PutPolicy does. A policy that is attached there already stays so.
func (s *Service) AttachPolicy(ctx context.Context, id, policyName, document, to string) error {
	text := ""
	if document != "" {
		var err error
		if text, err = checkPolicy(policyName, document); err != nil {
			return err
		}
	}
	return s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		if text != "" {
			if _, err := s.put(ctx, tx, o, policyName, text); err != nil {
				return nil, err
			}
		}
		p, at, err := attachment(ctx, tx, o, policyName, to)
		if err != nil {
			return nil, err
		}
		n, err := tx.Exec(ctx, `INSERT INTO organization_attachment (target_id, policy_id) VALUES ($1, $2) ON CONFLICT (target_id, policy_id) DO NOTHING`, at.id, p.ID)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if n, err = attachedTo(ctx, tx, at); err != nil {
				return nil, err
			}
			if n > MaxPoliciesPerTarget {
				return nil, errs.New(errs.EntityLimit, "At most %d policies can be attached to one target, and %s has them; detach one first.", MaxPoliciesPerTarget, at.called)
			}
		}
		return touchAll(ctx, tx, o)
	})
}

// DetachPolicy ends what AttachPolicy began. The last policy of a target stays:
// without any, nothing would be allowed there, and AWS refuses it as well.
func (s *Service) DetachPolicy(ctx context.Context, id, policyName, from string) error {
	return s.change(ctx, id, func(tx *sqldb.Tx, o record) ([]name.AccountID, error) {
		p, at, err := attachment(ctx, tx, o, policyName, from)
		if err != nil {
			return nil, err
		}
		n, err := tx.Exec(ctx, `DELETE FROM organization_attachment WHERE target_id = $1 AND policy_id = $2`, at.id, p.ID)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errs.New(errs.EntityNotFound, "Policy %s is not attached to %s.", policyName, at.called)
		}
		if n, err = attachedTo(ctx, tx, at); err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, errs.New(errs.EntityInUse, "%s is the last policy of %s, which needs one at least: attach another one first, %s to allow everything.", policyName, at.called, FullAccess)
		}
		return touchAll(ctx, tx, o)
	})
}

func attachment(ctx context.Context, tx *sqldb.Tx, o record, policyName, target string) (Policy, level, error) {
	p, err := policyNamed(ctx, tx, o, policyName)
	if err != nil {
		return Policy{}, level{}, err
	}
	at, err := targetOf(ctx, tx, o, target)
	return p, at, err
}

func attachedTo(ctx context.Context, tx *sqldb.Tx, at level) (n int64, err error) {
	err = tx.QueryRow(ctx, `SELECT count(*) FROM organization_attachment WHERE target_id = $1`, at.id).Scan(&n)
	return n, err
}

// targetOf finds what policies are attached to.
func targetOf(ctx context.Context, tx *sqldb.Tx, o record, target string) (level, error) {
	if target == "root" || target == o.root {
		return level{id: o.root, called: "the root"}, nil
	}
	if path, ok := strings.CutPrefix(target, "unit:"); ok && path != "" {
		id, err := unitID(ctx, tx, o, path)
		return level{id: id, called: "unit " + path}, err
	}
	found := int64(0)
	at := level{id: target, called: "unit " + target}
	query := `SELECT count(*) FROM organization_unit WHERE id = $1 AND organization_id = $2`
	if _, err := name.ParseAccountID(target); err == nil {
		at.called = "account " + target
		query = `SELECT count(*) FROM organization_account WHERE account_id = $1 AND organization_id = $2`
	} else if !strings.HasPrefix(target, "ou-") {
		return level{}, errs.New(errs.InvalidInput, "%q is no target: root, unit:PATH, or the number of an account.", target)
	}
	if err := tx.QueryRow(ctx, query, target, o.id).Scan(&found); err != nil {
		return level{}, err
	}
	if found == 0 {
		return level{}, errs.New(errs.EntityNotFound, "There is no %s in organization %s.", at.called, o.id)
	}
	return at, nil
}

// attachFullAccess gives a new target the policy that AWS gives it.
func attachFullAccess(ctx context.Context, tx *sqldb.Tx, o record, target string) error {
	_, err := tx.Exec(ctx, `INSERT INTO organization_attachment (target_id, policy_id)
		SELECT $1, id FROM organization_policy WHERE organization_id = $2 AND name = $3`, target, o.id, FullAccess)
	return err
}
