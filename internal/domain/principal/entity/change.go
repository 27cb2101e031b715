package entity

import (
	"context"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Quotas (IAM user guide, "IAM and STS quotas").
const (
	maxUsers       = 5000
	maxGroups      = 300
	maxRoles       = 1000
	maxAttached    = 10
	maxMemberships = 10
	maxTrust       = 2048
)

// Bounds of a role's sessions; the least is what a role gets that names none.
const (
	MinMaxSession = time.Hour
	MaxMaxSession = 12 * time.Hour
)

// limit is the failure of a quota, in AWS's words: PoliciesPerUser.
func limit(quota string, n int) error {
	return errs.New(errs.EntityLimit, "Cannot exceed quota for %s: %d", quota, n)
}

// Tag is a tag of a user or a role.
type Tag = tag.Tag

// Create is what a new entity is made of.
type Create struct {
	Account name.AccountID
	Kind    Kind
	Name    string
	// Path "" is "/".
	Path string
	// Boundary and Tags are not for groups.
	Boundary string
	Tags     []Tag
	// Trust, Description and MaxSession are for roles. MaxSession zero is
	// MinMaxSession.
	Trust       string
	Description string
	MaxSession  time.Duration
}

func (k Kind) idPrefix() string {
	switch k {
	case User:
		return principal.PrefixUser
	case Group:
		return principal.PrefixGroup
	case Role:
		return principal.PrefixRole
	}
	panic("entity: kind " + string(k))
}

func (k Kind) quota() int {
	switch k {
	case User:
		return maxUsers
	case Group:
		return maxGroups
	case Role:
		return maxRoles
	}
	panic("entity: kind " + string(k))
}

// Create makes a user, a group or a role. errs.EntityExists when the name is
// taken, errs.EntityLimit over the account's quota, errs.EntityNotFound without
// the policy of the boundary, errs.PolicyMalformed for a trust policy that is
// none.
func (s *Service) Create(ctx context.Context, c Create) (Entity, error) {
	e := Entity{ID: principal.NewID(c.Kind.idPrefix()), Account: c.Account, Kind: c.Kind, Name: c.Name, Path: c.Path, CreatedAt: s.now(), Boundary: c.Boundary}
	if e.Path == "" {
		e.Path = "/"
	}
	if err := checkPlace(e); err != nil {
		return Entity{}, err
	}
	if e.Kind == Role {
		e.Role = &RoleSettings{Trust: c.Trust, Description: c.Description, MaxSession: c.MaxSession}
		if e.Role.MaxSession == 0 {
			e.Role.MaxSession = MinMaxSession
		}
		if err := checkMaxSession(e.Role.MaxSession); err != nil {
			return Entity{}, err
		}
	}
	if err := tag.Check(c.Tags); err != nil {
		return Entity{}, err
	}
	var made Entity
	err := s.p.Change(ctx, c.Account, func(tx *sqldb.Tx) error {
		made = e // the closure may run again
		if made.Boundary != "" {
			if err := s.boundary(ctx, tx, made.Account, made.Boundary); err != nil {
				return err
			}
		}
		if made.Role != nil {
			trust, err := s.pinTrust(ctx, tx, c.Trust)
			if err != nil {
				return err
			}
			settings := *made.Role
			settings.Trust = trust
			made.Role = &settings
		}
		if err := s.free(ctx, tx, made, "", made.Name); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_entity WHERE account_id = $1 AND kind = $2 AND service = ''`, string(made.Account), string(made.Kind)).Scan(&n); err != nil {
			return err
		}
		if n >= int64(made.Kind.quota()) {
			return limit(made.Kind.title()+"sPerAccount", made.Kind.quota())
		}
		if err := insert(ctx, tx, made); err != nil {
			return err
		}
		if made.Kind == Group {
			return nil
		}
		var err error
		made.Tags, err = putTags(ctx, tx, made, c.Tags)
		return err
	})
	if err != nil {
		return Entity{}, err
	}
	return made, nil
}

// now is the time as the database keeps it.
func (s *Service) now() time.Time { return s.p.Now().UTC().Truncate(time.Microsecond) }

func insert(ctx context.Context, tx *sqldb.Tx, e Entity) error {
	var r RoleSettings
	if e.Role != nil {
		r = *e.Role
	}
	_, err := tx.Exec(ctx, `INSERT INTO iam_entity (id, account_id, kind, name, name_key, path, created_at, boundary, trust, description, max_session, service)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		e.ID, string(e.Account), string(e.Kind), e.Name, fold(e.Name), e.Path, e.CreatedAt.UnixMicro(), e.Boundary,
		r.Trust, r.Description, int64(r.MaxSession/time.Second), r.Service)
	return err
}

// checkPlace checks a name and a path that a person chose. What services need
// for their roles is kept free for them.
func checkPlace(e Entity) error {
	if err := e.Kind.checkName(e.Name); err != nil {
		return err
	}
	if err := checkPath(e.Path); err != nil {
		return err
	}
	if e.Kind == Role && strings.HasPrefix(e.Path, servicePath) {
		return errs.New(errs.InvalidInput, "The path %s is reserved for service-linked roles. Use CreateServiceLinkedRole.", servicePath)
	}
	if e.Kind == Role && strings.HasPrefix(fold(e.Name), fold(serviceNamePrefix)) {
		return errs.New(errs.InvalidInput, "The role name prefix %s is reserved for service-linked roles. Use CreateServiceLinkedRole.", serviceNamePrefix)
	}
	return nil
}

func checkMaxSession(d time.Duration) error {
	if d < MinMaxSession || d > MaxMaxSession {
		return errs.New(errs.Validation, "The maximum session duration must be between %d and %d seconds.", MinMaxSession/time.Second, MaxMaxSession/time.Second)
	}
	return nil
}

// free makes sure that nothing but the entity with the id except has the name.
func (s *Service) free(ctx context.Context, tx *sqldb.Tx, e Entity, except, entityName string) error {
	var n int64
	err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_entity WHERE account_id = $1 AND kind = $2 AND name_key = $3 AND id <> $4`,
		string(e.Account), string(e.Kind), fold(entityName), except).Scan(&n)
	if err == nil && n > 0 {
		return errs.New(errs.EntityExists, "%s with name %s already exists.", e.Kind.title(), entityName)
	}
	return err
}

// Rename gives a user or a group another name, another path or both; "" keeps
// what there is. The unique id, and with it everything else, stays.
// errs.EntityExists when the name is taken.
func (s *Service) Rename(ctx context.Context, account name.AccountID, kind Kind, entityName, newName, newPath string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		if newName != "" {
			e.Name = newName
		}
		if newPath != "" {
			e.Path = newPath
		}
		if err := checkPlace(e); err != nil {
			return err
		}
		if err := s.free(ctx, tx, e, e.ID, e.Name); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE iam_entity SET name = $1, name_key = $2, path = $3 WHERE id = $4`, e.Name, fold(e.Name), e.Path, e.ID)
		return err
	})
}

// RoleChange is what UpdateRole changes.
type RoleChange struct {
	// Description nil keeps it.
	Description *string
	// MaxSession zero keeps it.
	MaxSession time.Duration
}

// UpdateRole changes a role's settings and returns it. Of a service-linked one
// only the description can be changed (errs.EntityUnmodifiable).
func (s *Service) UpdateRole(ctx context.Context, account name.AccountID, roleName string, c RoleChange) (Entity, error) {
	var e Entity
	err := s.p.Change(ctx, account, func(tx *sqldb.Tx) (err error) {
		if e, err = s.GetTx(ctx, tx, account, Role, roleName); err != nil {
			return err
		}
		if c.Description != nil {
			e.Role.Description = *c.Description
		}
		if c.MaxSession != 0 {
			if e.protected() {
				return unmodifiable(e)
			}
			if err := checkMaxSession(c.MaxSession); err != nil {
				return err
			}
			e.Role.MaxSession = c.MaxSession
		}
		_, err = tx.Exec(ctx, `UPDATE iam_entity SET description = $1, max_session = $2 WHERE id = $3`, e.Role.Description, int64(e.Role.MaxSession/time.Second), e.ID)
		return err
	})
	if err != nil {
		return Entity{}, err
	}
	return e, nil
}

// SetBoundary sets the permissions boundary of a user or a role; "" takes it
// away. errs.EntityNotFound when there is no such policy.
func (s *Service) SetBoundary(ctx context.Context, account name.AccountID, kind Kind, entityName, policyARN string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		if policyARN != "" {
			if err := s.boundary(ctx, tx, account, policyARN); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `UPDATE iam_entity SET boundary = $1 WHERE id = $2`, policyARN, e.ID)
		return err
	})
}

// obstacle is something that has to go before an entity can be deleted.
type obstacle struct {
	kinds string // of the entities that may have it, "user group"
	count string // counts it, by the entity's id
	text  string // what to do first
}

// obstacles are asked in this order.
var obstacles = []obstacle{
	{"user", `SELECT count(*) FROM iam_membership WHERE user_id = $1`, "remove users from group"},
	{"group", `SELECT count(*) FROM iam_membership WHERE group_id = $1`, "remove users from group"},
	{"user group role", `SELECT count(*) FROM iam_attachment WHERE entity_id = $1`, "detach all policies"},
	{"user group role", `SELECT count(*) FROM iam_inline_policy WHERE entity_id = $1`, "delete policies"},
	{"user", `SELECT count(*) FROM access_key WHERE user_id = $1`, "delete access keys"},
	{"user", `SELECT count(*) FROM iam_login_profile WHERE user_id = $1`, "delete login profile"},
	{"user", `SELECT count(*) FROM iam_mfa_device WHERE user_id = $1`, "delete MFA device"},
}

// Delete deletes an entity that nothing hangs on any more: errs.EntityInUse says
// what has to go first.
func (s *Service) Delete(ctx context.Context, account name.AccountID, kind Kind, entityName string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		for _, o := range obstacles {
			if !strings.Contains(o.kinds, string(kind)) {
				continue
			}
			var n int64
			if err := tx.QueryRow(ctx, o.count, e.ID).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				return errs.New(errs.EntityInUse, "Cannot delete entity, must %s first.", o.text)
			}
		}
		return remove(ctx, tx, e.ID)
	})
}

// remove deletes an entity with all that is only its own.
func remove(ctx context.Context, tx *sqldb.Tx, id string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM iam_tag WHERE owner = $1`, id); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `DELETE FROM iam_entity WHERE id = $1`, id)
	return err
}
