package principal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/revcache"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Identity is what decides about a principal besides the request: its entity's
// policies, compiled, and its account's place in an organization. It is shared
// and must not be changed.
type Identity struct {
	// Found is false when the user, role or account has gone.
	Found bool
	// Name and Path are the user's or role's, ARN the entity's own; "" for root.
	Name, Path, ARN string
	// Service is the service that a service-linked role is for, "" for others.
	Service string
	// MayChangePassword says that the account's password policy lets a user change
	// its own password (IAM user guide, AllowUsersToChangePassword).
	MayChangePassword bool
	// TokenLife is how long the account's authorization tokens live, 0 for the
	// usual time.
	TokenLife time.Duration
	// Tags are the user's or role's.
	Tags map[string]string
	// Policies are the inline and managed ones, those of the user's groups too.
	Policies []policy.Named
	// Boundary is the permissions boundary, nil for none.
	Boundary *policy.Named
	// Organization is the account's place; zero outside of any.
	Organization organization.Membership
}

type identityKey struct {
	account name.AccountID
	entity  string
}

// Identity reads what decides about the principal, at most CacheLife older than
// the database and never older than the last change on this node.
func (s *Service) Identity(ctx context.Context, p Principal) (*Identity, error) {
	return s.IdentityOf(ctx, p.Account, p.Entity)
}

// IdentityOf is Identity for the unique id of a user or role of the account; ""
// is its root user.
func (s *Service) IdentityOf(ctx context.Context, account name.AccountID, entity string) (*Identity, error) {
	key := identityKey{account: account, entity: entity}
	return s.identities.Get(ctx, key, revcache.Source[*Identity]{
		Revision: func(ctx context.Context) (revision int64, err error) {
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				revision, err = revisionOf(ctx, tx, account)
				return err
			})
			return revision, err
		},
		Load: func(ctx context.Context) (who *Identity, revision int64, err error) {
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				if revision, err = revisionOf(ctx, tx, account); err != nil {
					return err
				}
				who, err = s.loadIdentity(ctx, tx, key, revision >= 0)
				return err
			})
			return who, revision, err
		},
	})
}

// revisionOf reads the account's revision, -1 where there is no such account.
func revisionOf(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (int64, error) {
	var revision int64
	err := tx.QueryRow(ctx, `SELECT revision FROM account WHERE id = $1`, string(account)).Scan(&revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return -1, nil
	}
	return revision, err
}

func (s *Service) loadIdentity(ctx context.Context, tx *sqldb.Tx, key identityKey, exists bool) (*Identity, error) {
	who := &Identity{}
	if !exists {
		return who, nil
	}
	var err error
	if who.Organization, err = organization.Load(ctx, tx, key.account); err != nil {
		return nil, err
	}
	if who.TokenLife, err = tokenLife(ctx, tx, key.account); err != nil {
		return nil, err
	}
	if key.entity == "" {
		who.Found = true
		return who, nil
	}
	var kind, boundary string
	err = tx.QueryRow(ctx, `SELECT kind, name, path, boundary, service FROM iam_entity WHERE id = $1 AND account_id = $2`, key.entity, string(key.account)).
		Scan(&kind, &who.Name, &who.Path, &boundary, &who.Service)
	if errors.Is(err, sqldb.ErrNoRows) {
		return who, nil
	}
	if err != nil {
		return nil, err
	}
	who.Found = true
	who.ARN = EntityARN(key.account, kind, who.Path, who.Name)
	if kind == "user" {
		if who.MayChangePassword, err = usersMayChange(ctx, tx, key.account); err != nil {
			return nil, err
		}
	}
	if who.Tags, err = tag.Map(ctx, tx, key.entity); err != nil {
		return nil, err
	}
	if who.Policies, err = s.loadPolicies(ctx, tx, key.entity); err != nil {
		return nil, err
	}
	if boundary != "" {
		bound, err := s.managedDocument(ctx, tx, boundary)
		if err != nil {
			return nil, fmt.Errorf("the permissions boundary of %s: %w", who.ARN, err)
		}
		who.Boundary = &bound
	}
	return who, nil
}

// usersMayChange reads the one setting of the password policy that gives a
// permission; the rest is principal/credential's.
func usersMayChange(ctx context.Context, tx *sqldb.Tx, account name.AccountID) (bool, error) {
	var text string
	if err := tx.QueryRow(ctx, `SELECT password_policy FROM account WHERE id = $1`, string(account)).Scan(&text); err != nil || text == "" {
		return false, err
	}
	var p struct {
		UsersMayChange bool `json:"usersMayChange"`
	}
	err := json.Unmarshal([]byte(text), &p)
	return p.UsersMayChange, err
}

// ofEntity finds the rows of a user or role and of the groups it is in.
const ofEntity = ` (e.id = $1 OR e.id IN (SELECT group_id FROM iam_membership WHERE user_id = $1)) `

func (s *Service) loadPolicies(ctx context.Context, tx *sqldb.Tx, entity string) ([]policy.Named, error) {
	type inline struct{ kind, owner, name, document string }
	inlines, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (inline, error) {
		var i inline
		err := row.Scan(&i.kind, &i.owner, &i.name, &i.document)
		return i, err
	}, `SELECT e.kind, e.name, p.name, p.document FROM iam_inline_policy p JOIN iam_entity e ON e.id = p.entity_id WHERE`+ofEntity+`ORDER BY e.kind, e.name, p.name`, entity)
	if err != nil {
		return nil, err
	}
	attached, err := sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT DISTINCT a.policy_arn FROM iam_attachment a JOIN iam_entity e ON e.id = a.entity_id WHERE`+ofEntity+`ORDER BY a.policy_arn`, entity)
	if err != nil {
		return nil, err
	}
	all := make([]policy.Named, 0, len(inlines)+len(attached))
	for _, i := range inlines {
		called := fmt.Sprintf("inline policy %s of %s %s", i.name, i.kind, i.owner)
		document, err := policy.Parse(i.document, policy.Identity)
		if err != nil {
			return nil, fmt.Errorf("the %s cannot be read: %w", called, err)
		}
		all = append(all, policy.Named{Name: called, Document: document})
	}
	for _, arn := range attached {
		p, err := s.managedDocument(ctx, tx, arn)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// managedDocument reads the default version of a managed policy, AWS's own or
// an account's.
func (s *Service) managedDocument(ctx context.Context, tx *sqldb.Tx, arn string) (policy.Named, error) {
	if own, ok := s.managed.Get(arn); ok {
		return policy.Named{Name: arn, Document: own.Document}, nil
	}
	var text string
	err := tx.QueryRow(ctx, `SELECT v.document FROM iam_policy p JOIN iam_policy_version v ON v.policy_id = p.id AND v.version = p.default_version WHERE p.arn = $1`, arn).Scan(&text)
	if err != nil {
		return policy.Named{}, fmt.Errorf("the managed policy %s cannot be read: %w", arn, err)
	}
	document, err := policy.Parse(text, policy.Identity)
	if err != nil {
		return policy.Named{}, fmt.Errorf("the managed policy %s cannot be read: %w", arn, err)
	}
	return policy.Named{Name: arn, Document: document}, nil
}

// SessionPolicies are the principal's session policies, compiled, at most
// CacheLife older than the managed ones among them.
func (s *Service) SessionPolicies(ctx context.Context, p Principal) ([]policy.Named, error) {
	if p.Session == nil || !p.Session.Limited {
		return nil, nil
	}
	return s.sessionDocuments.Get(ctx, p.AccessKeyID, revcache.Source[[]policy.Named]{
		Revision: func(context.Context) (int64, error) { return s.clk.Now().UnixNano(), nil },
		Load: func(ctx context.Context) (all []policy.Named, _ int64, err error) {
			for i, text := range p.Session.Policies {
				document, err := policy.Parse(text, policy.Identity)
				if err != nil {
					return nil, 0, fmt.Errorf("session policy %d of %s cannot be read: %w", i, p.ARN, err)
				}
				all = append(all, policy.Named{Name: "session policy of " + p.ARN, Document: document})
			}
			err = s.db.View(ctx, func(tx *sqldb.Tx) error {
				for _, arn := range p.Session.PolicyARNs {
					managed, err := s.managedDocument(ctx, tx, arn)
					if errors.Is(err, sqldb.ErrNoRows) { // deleted since: it allows nothing
						managed, err = policy.Named{Name: arn}, nil
					}
					if err != nil {
						return err
					}
					all = append(all, managed)
				}
				return nil
			})
			return all, 0, err
		},
	})
}

// Caller is the principal as Principal elements of policies see it. who is its
// Identity.
func (p Principal) Caller(who *Identity) policy.Caller {
	c := policy.Caller{Type: policy.User, Account: string(p.Account), ARN: p.ARN, UniqueID: p.Entity}
	switch {
	case p.IsRoot():
		c.Type, c.UniqueID = policy.Root, string(p.Account)
	case p.Session != nil && p.Session.Kind == RoleSession:
		c.Type, c.ParentARN = policy.AssumedRole, who.ARN
	case p.Session != nil && p.Session.Kind == FederatedSession:
		c.Type, c.ParentARN = policy.FederatedUser, who.ARN
	}
	return c
}
