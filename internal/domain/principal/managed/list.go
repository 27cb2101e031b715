package managed

import (
	"context"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/awsmanaged"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Usage is a way to use a policy.
type Usage int

// The usages.
const (
	// AnyUse is either way.
	AnyUse Usage = iota
	// AsPermissions is being attached.
	AsPermissions
	// AsBoundary is being a permissions boundary.
	AsBoundary
)

// Scope says whose policies are listed.
type Scope int

// The scopes.
const (
	All Scope = iota
	// Local are the account's own.
	Local
	// AWS are AWS's.
	AWS
)

// Filter chooses policies.
type Filter struct {
	Scope Scope
	// Used leaves out what nobody in the account uses in the way of Usage. A
	// Usage other than AnyUse does so by itself.
	Used  bool
	Usage Usage
	// PathPrefix is what the path begins with.
	PathPrefix string
}

// admits says whether a policy with these counts is chosen.
func (f Filter) admits(u uses) bool {
	switch f.Usage {
	case AsPermissions:
		return u.attachments > 0
	case AsBoundary:
		return u.boundaries > 0
	case AnyUse:
	}
	return !f.Used || u.attachments+u.boundaries > 0
}

// List returns policies by their ARN, the account's own before AWS's, from the
// first after the ARN after, at most limit, without tags.
func (s *Service) List(ctx context.Context, account name.AccountID, f Filter, after string, limit int) (all []Policy, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		all = nil
		if f.Scope != AWS && !isAWS(after) {
			if all, err = sqldb.Collect(ctx, tx, scan, `SELECT * FROM (SELECT `+columns+` FROM iam_policy p
				WHERE p.account_id = $1 AND p.arn > $2 AND p.path LIKE $3 ESCAPE '\') q WHERE `+f.condition()+` ORDER BY arn LIMIT $4`,
				string(account), after, likePrefix(f.PathPrefix), limit); err != nil {
				return err
			}
		}
		if f.Scope == Local || len(all) == limit {
			return nil
		}
		of, err := usesOf(ctx, tx, account, "")
		if err != nil {
			return err
		}
		for _, own := range s.awsByARN() {
			if len(all) < limit && own.ARN > after && strings.HasPrefix(own.Path, f.PathPrefix) && f.admits(of[own.ARN]) {
				all = append(all, fromAWS(own, of[own.ARN]))
			}
		}
		return nil
	})
	return all, err
}

// awsByARN lists AWS's policies by their ARN.
func (s *Service) awsByARN() []awsmanaged.Policy {
	all := slices.Clone(s.p.Managed().All())
	slices.SortFunc(all, func(a, b awsmanaged.Policy) int { return strings.Compare(a.ARN, b.ARN) })
	return all
}

// condition is admits in SQL.
func (f Filter) condition() string {
	switch {
	case f.Usage == AsPermissions:
		return `attachments > 0`
	case f.Usage == AsBoundary:
		return `boundaries > 0`
	case f.Used:
		return `attachments + boundaries > 0`
	}
	return `1 = 1`
}

// uses counts how often an account uses a policy.
type uses struct{ attachments, boundaries int64 }

// usesOf counts the account's uses of one policy, or where arn is "" of all
// policies of AWS's own.
func usesOf(ctx context.Context, tx *sqldb.Tx, account name.AccountID, arn string) (map[string]uses, error) {
	pattern := likePrefix(arn)
	if arn == "" {
		pattern = likePrefix("arn:aws:iam::aws:")
	} else {
		pattern = strings.TrimSuffix(pattern, "%")
	}
	all := map[string]uses{}
	_, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (struct{}, error) {
		var arn, way string
		var n int64
		err := row.Scan(&arn, &way, &n)
		u := all[arn]
		if way == "boundary" {
			u.boundaries = n
		} else {
			u.attachments = n
		}
		all[arn] = u
		return struct{}{}, err
	}, `SELECT a.policy_arn, 'attached', count(*) FROM iam_attachment a JOIN iam_entity e ON e.id = a.entity_id
			WHERE e.account_id = $1 AND a.policy_arn LIKE $2 ESCAPE '\' GROUP BY a.policy_arn
		UNION ALL SELECT boundary, 'boundary', count(*) FROM iam_entity
			WHERE account_id = $1 AND boundary LIKE $2 ESCAPE '\' GROUP BY boundary`, string(account), pattern)
	return all, err
}

func fromAWS(own awsmanaged.Policy, u uses) Policy {
	return Policy{
		ID: own.ID, ARN: own.ARN, Name: own.Name, Path: own.Path, Description: own.Description, Default: own.Version,
		Created: own.Created, Updated: own.Updated, Attachments: u.attachments, Boundaries: u.boundaries, AWS: true,
	}
}

// likePrefix is the LIKE pattern of what begins with prefix.
func likePrefix(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(prefix) + "%"
}

// Entity is a user, group or role that uses a policy.
type Entity struct {
	// Kind is the word in its ARN: "user", "group" or "role".
	Kind, Name, ID string
}

// EntityFilter chooses entities.
type EntityFilter struct {
	// Kind is "" for all.
	Kind       string
	PathPrefix string
	Usage      Usage
}

// Entities returns who uses a policy, groups before roles before users, each by
// the name without regard to case, from the first after the entity after (its
// Kind and Name count; zero: from the beginning), at most limit. Errors are those
// of Get.
func (s *Service) Entities(ctx context.Context, account name.AccountID, arn string, f EntityFilter, after Entity, limit int) (all []Entity, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		if _, err := s.get(ctx, tx, account, arn); err != nil {
			return err
		}
		attached, bound := f.Usage != AsBoundary, f.Usage != AsPermissions
		all, err = sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Entity, error) {
			var e Entity
			err := row.Scan(&e.Kind, &e.Name, &e.ID)
			return e, err
		}, `SELECT e.kind, e.name, e.id FROM iam_entity e WHERE e.account_id = $1
			AND ($2 AND e.id IN (SELECT a.entity_id FROM iam_attachment a WHERE a.policy_arn = $4) OR $3 AND e.boundary = $4)
			AND ($5 = '' OR e.kind = $5) AND e.path LIKE $6 ESCAPE '\' AND (e.kind > $7 OR e.kind = $7 AND e.name_key > $8)
			ORDER BY e.kind, e.name_key LIMIT $9`,
			string(account), attached, bound, arn, f.Kind, likePrefix(f.PathPrefix), after.Kind, fold(after.Name), limit)
		return err
	})
	return all, err
}
