package overview

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Section is a part of the details. Pages go through the sections in this order.
type Section int

// The sections.
const (
	Users Section = iota
	Groups
	Roles
	// LocalPolicies are the account's own managed policies.
	LocalPolicies
	// AWSPolicies are AWS's own, as far as the account uses them.
	AWSPolicies
	sections // how many there are
)

// kind is the kind of the section's entities; "" for policies.
func (s Section) kind() entity.Kind {
	switch s {
	case Users:
		return entity.User
	case Groups:
		return entity.Group
	case Roles:
		return entity.Role
	case LocalPolicies, AWSPolicies, sections:
	}
	return ""
}

// Cursor is a place in the details: behind the item After of a section. The zero
// value is the beginning.
type Cursor struct {
	Section Section
	After   string
}

// Inline is an inline policy.
type Inline struct{ Name, Document string }

// Entity is a user, group or role with all that hangs on it.
type Entity struct {
	ID, Name, Path, ARN string
	Created             time.Time
	// Boundary is the ARN of the permissions boundary, "" for none.
	Boundary string
	Inline   []Inline
	// Attached are the ARNs of managed policies.
	Attached []string
	// Groups are the names of a user's groups.
	Groups []string
	// Tags of a user or role, by key.
	Tags []managed.Tag
	// Trust is a role's trust policy, with principals as ARNs.
	Trust string
	key   string
}

// Policy is a managed policy with all its versions.
type Policy struct {
	managed.Policy
	Versions []managed.Version
}

// Details are a page of an account's entities and policies.
type Details struct {
	Users, Groups, Roles []Entity
	Policies             []Policy
	// Next is where the next page begins, nil after the last one.
	Next *Cursor
}

// Details reads the sections that include has, from the place on, at most limit
// items.
func (s *Service) Details(ctx context.Context, account name.AccountID, include func(Section) bool, from Cursor, limit int) (Details, error) {
	var d Details
	for section := from.Section; section < sections; section++ {
		if !include(section) {
			continue
		}
		after := ""
		if section == from.Section {
			after = from.After
		}
		// One more than wanted, to know whether there is any.
		room := limit - len(d.Users) - len(d.Groups) - len(d.Roles) - len(d.Policies)
		last, more, err := s.section(ctx, account, section, after, room, &d)
		if err != nil {
			return Details{}, err
		}
		if more {
			if last == "" {
				last = after
			}
			d.Next = &Cursor{Section: section, After: last}
			return d, nil
		}
	}
	return d, nil
}

// section adds up to room items of a section, and returns the key of the last
// one, and whether there are more.
func (s *Service) section(ctx context.Context, account name.AccountID, section Section, after string, room int, d *Details) (last string, more bool, err error) {
	if kind := section.kind(); kind != "" {
		all, err := s.list(ctx, account, kind, after, room+1)
		if more = len(all) > room; more {
			all = all[:room]
		}
		if err != nil || len(all) == 0 {
			return "", more, err
		}
		switch kind {
		case entity.User:
			d.Users = all
		case entity.Group:
			d.Groups = all
		case entity.Role:
			d.Roles = all
		}
		return all[len(all)-1].key, more, nil
	}
	f := managed.Filter{Scope: managed.Local}
	if section == AWSPolicies {
		f = managed.Filter{Scope: managed.AWS, Used: true}
	}
	all, err := s.managed.List(ctx, account, f, after, room+1)
	if more = len(all) > room; more {
		all = all[:room]
	}
	if err != nil || len(all) == 0 {
		return "", more, err
	}
	last = all[len(all)-1].ARN
	versions, err := s.versions(ctx, account, section, after, last)
	for _, p := range all {
		if vs := versions(p.ARN); len(vs) > 0 { // none: the policy has just gone
			d.Policies = append(d.Policies, Policy{Policy: p, Versions: vs})
		}
	}
	return last, more, err
}

// versions reads the versions of the policies behind one ARN up to another.
func (s *Service) versions(ctx context.Context, account name.AccountID, section Section, after, last string) (of func(arn string) []managed.Version, err error) {
	if section == AWSPolicies {
		return func(arn string) (all []managed.Version) {
			own, _ := s.p.Managed().Get(arn)
			for _, v := range own.Versions {
				all = append(all, managed.Version{Number: v.Number, Document: v.Text, Default: v.Number == own.Version, Created: v.Created})
			}
			return all
		}, nil
	}
	found := map[string][]managed.Version{}
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		clear(found)
		return each(ctx, tx, func(row sqldb.Scanner) error {
			var arn string
			var v managed.Version
			var created int64
			err := row.Scan(&arn, &v.Number, &v.Document, &v.Default, &created)
			v.Created = time.UnixMicro(created).UTC()
			found[arn] = append(found[arn], v)
			return err
		}, `SELECT p.arn, v.version, v.document, v.version = p.default_version, v.created_at FROM iam_policy p JOIN iam_policy_version v ON v.policy_id = p.id
			WHERE p.account_id = $1 AND p.arn > $2 AND p.arn <= $3 ORDER BY p.arn, v.version DESC`, string(account), after, last)
	})
	return func(arn string) []managed.Version { return found[arn] }, err
}

// each calls f for every row of a query.
func each(ctx context.Context, tx *sqldb.Tx, f func(sqldb.Scanner) error, query string, args ...any) error {
	_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) { return struct{}{}, f(row) }, query, args...)
	return err
}

// list reads entities of a kind by their name without regard to case.
func (s *Service) list(ctx context.Context, account name.AccountID, kind entity.Kind, after string, limit int) (all []Entity, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Entity, error) {
			var e Entity
			var created int64
			err := row.Scan(&e.ID, &e.Name, &e.Path, &e.Boundary, &e.Trust, &e.key, &created)
			e.ARN, e.Created = principal.EntityARN(account, string(kind), e.Path, e.Name), time.UnixMicro(created).UTC()
			return e, err
		}, `SELECT id, name, path, boundary, trust, name_key, created_at FROM iam_entity WHERE account_id = $1 AND kind = $2 AND name_key > $3 ORDER BY name_key LIMIT $4`,
			string(account), string(kind), after, limit)
		if err != nil || len(all) == 0 {
			return err
		}
		byID := map[string]*Entity{}
		for i := range all {
			byID[all[i].ID] = &all[i]
		}
		if err := s.hang(ctx, tx, byID, string(account), string(kind), after, all[len(all)-1].key); err != nil {
			return err
		}
		for i := range all {
			if all[i].Trust, err = s.trust(ctx, tx, all[i].Trust); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// hang reads what hangs on the entities of a range of names.
func (s *Service) hang(ctx context.Context, tx *sqldb.Tx, byID map[string]*Entity, of ...any) error {
	const within = ` WHERE e.account_id = $1 AND e.kind = $2 AND e.name_key > $3 AND e.name_key <= $4 `
	for _, part := range []struct {
		sql string
		add func(e *Entity, a, b string)
	}{
		{`SELECT e.id, i.name, i.document FROM iam_entity e JOIN iam_inline_policy i ON i.entity_id = e.id` + within + `ORDER BY e.id, i.name`,
			func(e *Entity, a, b string) { e.Inline = append(e.Inline, Inline{Name: a, Document: b}) }},
		{`SELECT e.id, a.policy_arn, '' FROM iam_entity e JOIN iam_attachment a ON a.entity_id = e.id` + within + `ORDER BY e.id, a.policy_arn`,
			func(e *Entity, a, _ string) { e.Attached = append(e.Attached, a) }},
		{`SELECT e.id, g.name, '' FROM iam_entity e JOIN iam_membership m ON m.user_id = e.id JOIN iam_entity g ON g.id = m.group_id` + within + `ORDER BY e.id, g.name_key`,
			func(e *Entity, a, _ string) { e.Groups = append(e.Groups, a) }},
		{`SELECT e.id, t.tag_key, t.tag_value FROM iam_entity e JOIN iam_tag t ON t.owner = e.id` + within + `ORDER BY e.id, t.key_fold`,
			func(e *Entity, a, b string) { e.Tags = append(e.Tags, managed.Tag{Key: a, Value: b}) }},
	} {
		if err := each(ctx, tx, func(row sqldb.Scanner) error {
			var id, a, b string
			err := row.Scan(&id, &a, &b)
			if e := byID[id]; e != nil {
				part.add(e, a, b)
			}
			return err
		}, part.sql, of...); err != nil {
			return err
		}
	}
	return nil
}

// trust is a stored trust policy with the principals as they are called now.
func (s *Service) trust(ctx context.Context, tx *sqldb.Tx, stored string) (string, error) {
	if stored == "" {
		return "", nil
	}
	d, err := policy.Parse(stored, policy.Trust)
	if err != nil {
		return "", err
	}
	if d, err = s.entities.ShowPrincipals(ctx, tx, d); err != nil {
		return "", err
	}
	return d.JSON(), nil
}
