package entity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// UnknownPrincipal says that a policy names a principal that does not exist.
type UnknownPrincipal struct{ Ref policy.PrincipalRef }

// Error is the text that AWS has for it.
func (u *UnknownPrincipal) Error() string {
	return `Invalid principal in policy: "` + u.Ref.Type + `":"` + u.Ref.Value + `"`
}

// PinPrincipals returns the resource policy as it is to be stored: users and
// roles, which have to exist, as unique ids, so that one that is deleted and
// made again gets nothing back; account numbers as ARNs of their root users.
// Sessions stay as they are, as far as their role or account exists. Services
// and identity providers are not looked at. The error is an *UnknownPrincipal,
// or one of the database.
func (s *Service) PinPrincipals(ctx context.Context, tx *sqldb.Tx, d *policy.Document) (*policy.Document, error) {
	return mapPrincipals(d, func(ref policy.PrincipalRef) (string, error) {
		pinned, err := s.pin(ctx, tx, ref.Value)
		if err == nil && pinned == "" {
			err = &UnknownPrincipal{Ref: ref}
		}
		return pinned, err
	})
}

// ShowPrincipals undoes PinPrincipals: it returns the policy with ARNs in place
// of unique ids, as the users and roles are called now. The ids of those that
// have gone stay.
func (s *Service) ShowPrincipals(ctx context.Context, tx *sqldb.Tx, d *policy.Document) (*policy.Document, error) {
	return mapPrincipals(d, func(ref policy.PrincipalRef) (string, error) {
		if strings.HasPrefix(ref.Value, "arn:") {
			return ref.Value, nil
		}
		e, err := find(ctx, tx, `e.id = $1`, ref.Value)
		if err != nil || e == nil {
			return ref.Value, err
		}
		return e.ARN(), nil
	})
}

// mapPrincipals maps the principals of type AWS but "*".
func mapPrincipals(d *policy.Document, f func(policy.PrincipalRef) (string, error)) (*policy.Document, error) {
	mapped := map[policy.PrincipalRef]string{}
	for _, ref := range d.Principals() {
		if _, done := mapped[ref]; done || ref.Type != "AWS" || ref.Value == "*" {
			continue
		}
		value, err := f(ref)
		if err != nil {
			return nil, err
		}
		mapped[ref] = value
	}
	if len(mapped) == 0 {
		return d, nil
	}
	return d.MapPrincipals(func(ref policy.PrincipalRef) string {
		if value, ok := mapped[ref]; ok {
			return value
		}
		return ref.Value
	}), nil
}

// pin is what stands for a principal of type AWS in a stored policy; "" when
// there is no such principal.
func (s *Service) pin(ctx context.Context, tx *sqldb.Tx, value string) (string, error) {
	if account, err := name.ParseAccountID(value); err == nil {
		return s.pinAccount(ctx, tx, account, principal.RootARN(account))
	}
	arn, err := name.ParseARN(value)
	if err != nil { // a unique id
		e, err := find(ctx, tx, `e.id = $1 AND e.kind <> $2`, value, string(Group))
		if err != nil || e == nil {
			return "", err
		}
		return e.ID, nil
	}
	word, rest, _ := strings.Cut(arn.Resource, "/")
	if arn.Partition != "aws" { // the one that all principals of a deployment are in
		return "", nil
	}
	switch {
	case arn.Service == "iam" && arn.Resource == "root":
		return s.pinAccount(ctx, tx, arn.Account, value)
	case arn.Service == "sts" && word == "federated-user":
		there, err := accountExists(ctx, tx, arn.Account)
		if err != nil || !there {
			return "", err
		}
		return value, nil
	case arn.Service == "sts" && word == "assumed-role":
		role, _, _ := strings.Cut(rest, "/")
		e, err := named(ctx, tx, arn.Account, Role, role)
		if err != nil || e == nil || e.Name != role {
			return "", err
		}
		return value, nil
	case arn.Service == "iam" && (word == string(User) || word == string(Role)):
		e, err := named(ctx, tx, arn.Account, Kind(word), rest[strings.LastIndexByte(rest, '/')+1:])
		if err != nil || e == nil || e.ARN() != value {
			return "", err
		}
		return e.ID, nil
	}
	return "", nil
}

// pinAccount is value where the account exists, here or in another deployment.
func (s *Service) pinAccount(ctx context.Context, tx *sqldb.Tx, account name.AccountID, value string) (string, error) {
	there, err := accountExists(ctx, tx, account)
	if err == nil && !there && s.Elsewhere != nil {
		there, err = s.Elsewhere(ctx, account)
	}
	if err != nil || !there {
		return "", err
	}
	return value, nil
}

func accountExists(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (bool, error) {
	var n int64
	err := tx.QueryRow(ctx, `SELECT count(*) FROM account WHERE id = $1`, string(account)).Scan(&n)
	return n > 0, err
}

// pinTrust parses a trust policy that a person wrote and returns the text to
// store.
func (s *Service) pinTrust(ctx context.Context, tx *sqldb.Tx, document string) (string, error) {
	if size(document) > maxTrust {
		return "", limit("ACLSizePerRole", maxTrust)
	}
	if !json.Valid([]byte(document)) { // AWS has words of its own for it here
		return "", errs.New(errs.PolicyMalformed, "This policy contains invalid Json")
	}
	d, err := policy.Parse(document, policy.Trust)
	if err != nil {
		return "", malformed(err)
	}
	pinned, err := s.PinPrincipals(ctx, tx, d)
	if err != nil {
		return "", malformed(err)
	}
	return pinned.JSON(), nil
}

// SetTrust replaces a role's trust policy. errs.PolicyMalformed when it is none
// or names a principal that does not exist, errs.EntityLimit when it is too
// long.
func (s *Service) SetTrust(ctx context.Context, account name.AccountID, roleName, document string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, Role, roleName)
		if err != nil {
			return err
		}
		trust, err := s.pinTrust(ctx, tx, document)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE iam_entity SET trust = $1 WHERE id = $2`, trust, e.ID)
		return err
	})
}

// TrustPolicy returns a role's trust policy, compiled as it is stored.
func (s *Service) TrustPolicy(_ context.Context, e Entity) (*policy.Document, error) {
	if e.Role == nil {
		return nil, errors.New("entity: " + e.ARN() + " is no role and has no trust policy")
	}
	d, err := policy.Parse(e.Role.Trust, policy.Trust)
	if err != nil {
		return nil, fmt.Errorf("the trust policy of %s cannot be read: %w", e.ARN(), err)
	}
	return d, nil
}

// Trusts returns the trust policies of roles as people read them: with ARNs.
func (s *Service) Trusts(ctx context.Context, roles []Entity) ([]string, error) {
	all := make([]string, len(roles))
	err := s.p.View(ctx, func(tx *sqldb.Tx) error {
		for i, e := range roles {
			d, err := s.TrustPolicy(ctx, e)
			if err != nil {
				return err
			}
			if d, err = s.ShowPrincipals(ctx, tx, d); err != nil {
				return err
			}
			all[i] = d.JSON()
		}
		return nil
	})
	return all, err
}
