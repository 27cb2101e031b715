// Package entity owns an account's users, groups and roles: their names, paths
// and ids, who is in which group, inline policies, attachments, permissions
// boundaries and tags, the trust policies of roles, and service-linked roles. It
// also turns principals that policies name into unique ids and back, for all
// resource policies.
//
// It does not own managed policies (principal/managed, principal/awsmanaged),
// access keys, passwords and MFA devices (principal/credential), nor what any of
// it permits (domain/authz, domain/policy).
package entity

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Kind tells users, groups and roles apart. It is the word in their ARNs.
type Kind string

// The kinds.
const (
	User  Kind = "user"
	Group Kind = "group"
	Role  Kind = "role"
)

// Entity is a user, a group or a role.
type Entity struct {
	// ID is the unique id, which a rename keeps and nothing gets again.
	ID      string
	Account name.AccountID
	Kind    Kind
	// Name as it was given; names are found without regard to case.
	Name string
	// Path begins and ends with a slash.
	Path      string
	CreatedAt time.Time
	// Boundary is the ARN of the permissions boundary, "" for none.
	Boundary string
	// Tags are nil in lists of entities, and for groups, which have none.
	Tags map[string]string
	// PasswordUsed is when a user last signed in with the password; zero: never.
	PasswordUsed time.Time
	// Role is nil for users and groups.
	Role *RoleSettings
}

// RoleSettings is what roles have besides.
type RoleSettings struct {
	// Trust is the trust policy as stored: users and roles stand in it as unique
	// ids. Trusts gives it as people read it.
	Trust       string
	Description string
	MaxSession  time.Duration
	// Service is the service that a service-linked role belongs to, else "".
	Service string
}

// ARN is the entity's ARN.
func (e Entity) ARN() string {
	return principal.EntityARN(e.Account, string(e.Kind), e.Path, e.Name)
}

// protected says whether the entity is a service-linked role.
func (e Entity) protected() bool { return e.Role != nil && e.Role.Service != "" }

// Service stores the entities. Changes are seen by every decision as
// principal.Service.Change says.
type Service struct {
	p *principal.Service
	// Elsewhere says whether an account that is not here is one of another
	// deployment, which policies may name. nil: there are none. It is set before the
	// service is used.
	Elsewhere func(ctx context.Context, account name.AccountID) (bool, error)
}

// New returns the service.
func New(p *principal.Service) *Service { return &Service{p: p} }

const (
	columns = `e.id, e.account_id, e.kind, e.name, e.path, e.created_at, e.boundary, e.trust, e.description, e.max_session, e.service, coalesce(l.used_at, 0)`
	tables  = ` FROM iam_entity e LEFT JOIN iam_login_profile l ON l.user_id = e.id `
)

func scan(row sqldb.Scanner) (Entity, error) {
	var e Entity
	var r RoleSettings
	var account, kind string
	var created, seconds, used int64
	err := row.Scan(&e.ID, &account, &kind, &e.Name, &e.Path, &created, &e.Boundary, &r.Trust, &r.Description, &seconds, &r.Service, &used)
	if err != nil {
		return Entity{}, err
	}
	e.Account, e.Kind, e.CreatedAt = name.AccountID(account), Kind(kind), time.UnixMicro(created).UTC()
	if used != 0 {
		e.PasswordUsed = time.UnixMicro(used).UTC()
	}
	if e.Kind == Role {
		r.MaxSession = time.Duration(seconds) * time.Second
		e.Role = &r
	}
	return e, nil
}

// find reads the entity that the condition picks, without its tags; nil for
// none.
func find(ctx context.Context, tx *sqldb.Tx, condition string, args ...any) (*Entity, error) {
	e, err := scan(tx.QueryRow(ctx, `SELECT `+columns+tables+`WHERE `+condition, args...))
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	return &e, err
}

// readTags reads the entity's tags into it.
func (e *Entity) readTags(ctx context.Context, tx *sqldb.Tx) (err error) {
	if e != nil && e.Kind != Group {
		e.Tags, err = tag.Map(ctx, tx, e.ID)
	}
	return err
}

// named is find by the name.
func named(ctx context.Context, tx *sqldb.Tx, account name.AccountID, kind Kind, entityName string) (*Entity, error) {
	return find(ctx, tx, `e.account_id = $1 AND e.kind = $2 AND e.name_key = $3`, string(account), string(kind), fold(entityName))
}

// Get finds an entity by its name, or returns errs.EntityNotFound.
func (s *Service) Get(ctx context.Context, account name.AccountID, kind Kind, entityName string) (e Entity, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		e, err = s.GetTx(ctx, tx, account, kind, entityName)
		return err
	})
	return e, err
}

// GetTx is Get inside of a transaction.
func (s *Service) GetTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, kind Kind, entityName string) (Entity, error) {
	e, err := named(ctx, tx, account, kind, entityName)
	if err != nil {
		return Entity{}, err
	}
	if e == nil {
		return Entity{}, errs.New(errs.EntityNotFound, "The %s with name %s cannot be found.", kind, entityName)
	}
	return *e, e.readTags(ctx, tx)
}

// editable is GetTx for changes that a service-linked role refuses.
func (s *Service) editable(ctx context.Context, tx *sqldb.Tx, account name.AccountID, kind Kind, entityName string) (Entity, error) {
	e, err := s.GetTx(ctx, tx, account, kind, entityName)
	if err == nil && e.protected() {
		err = unmodifiable(e)
	}
	return e, err
}

func unmodifiable(e Entity) error {
	return errs.New(errs.EntityUnmodifiable, "Cannot perform the operation on the protected role '%s' - this role is only modifiable by AWS", e.Name)
}

// ByID finds an entity of the account by its unique id.
func (s *Service) ByID(ctx context.Context, account name.AccountID, id string) (Entity, bool, error) {
	var e *Entity
	err := s.p.View(ctx, func(tx *sqldb.Tx) (err error) {
		if e, err = find(ctx, tx, `e.account_id = $1 AND e.id = $2`, string(account), id); err != nil {
			return err
		}
		return e.readTags(ctx, tx)
	})
	if err != nil || e == nil {
		return Entity{}, false, err
	}
	return *e, true, nil
}

// List returns the account's entities of a kind whose path begins with
// pathPrefix, by their name without regard to case, from the first after the
// name after, limit at most. They come without tags.
func (s *Service) List(ctx context.Context, account name.AccountID, kind Kind, pathPrefix, after string, limit int) (all []Entity, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+tables+`WHERE e.account_id = $1 AND e.kind = $2 AND e.path LIKE $3 ESCAPE '\' AND e.name_key > $4
			ORDER BY e.name_key LIMIT $5`, string(account), string(kind), likePrefix(pathPrefix), fold(after), limit)
		return err
	})
	return all, err
}

// likePrefix is the LIKE pattern of what begins with prefix.
func likePrefix(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(prefix) + "%"
}

// fold is what names and tag keys are compared by.
func fold(s string) string { return strings.ToLower(s) }

// Forms of names and paths (IAM API reference).
var (
	nameForm = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]+$`)
	pathForm = regexp.MustCompile(`^(/|/[\x21-\x7e]+/)$`)
)

// Lengths of names and paths, in characters.
const (
	maxName      = 64
	maxGroupName = 128
	maxPath      = 512
)

func (k Kind) checkName(entityName string) error {
	most := maxName
	if k == Group {
		most = maxGroupName
	}
	if len(entityName) > most || !nameForm.MatchString(entityName) {
		return errs.New(errs.Validation, "The specified value for %sName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-", k)
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > maxPath || !pathForm.MatchString(path) {
		return errs.New(errs.Validation, "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

// title is the kind at the beginning of a sentence.
func (k Kind) title() string { return strings.ToUpper(string(k[:1])) + string(k[1:]) }
