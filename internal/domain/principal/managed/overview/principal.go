package overview

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/organization"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Source is a policy as it was written.
type Source struct {
	// ID is what simulations call it: a managed policy by its name, an inline
	// one by user_NAME_POLICY, group_NAME_POLICY or role_NAME_POLICY.
	ID   string
	Text string
}

// Principal is a user, group or role with the policies that count for it.
type Principal struct {
	Kind                entity.Kind
	ID, Name, Path, ARN string
	Tags                map[string]string
	// Policies are its own, inline ones first, and those of a user's groups.
	Policies []Source
	// Boundary is nil for none.
	Boundary *Source
	// Organization is the account's place. Its service control policies do not
	// bind a service-linked role.
	Organization  organization.Membership
	ServiceLinked bool
}

// SplitARN reads the kind and the name out of the ARN of a user, group or role,
// or returns errs.InvalidInput.
func SplitARN(arn string) (account name.AccountID, kind entity.Kind, entityName string, err error) {
	a, err := name.ParseARN(arn)
	word, rest, _ := strings.Cut(a.Resource, "/")
	switch kind = entity.Kind(word); {
	case err != nil || a.Partition != "aws" || a.Service != "iam" || a.Region != "":
	case kind == entity.User, kind == entity.Group, kind == entity.Role:
		if entityName = rest[strings.LastIndexByte(rest, '/')+1:]; entityName != "" {
			return a.Account, kind, entityName, nil
		}
	}
	return "", "", "", errs.New(errs.InvalidInput, "Invalid Entity Arn: %s does not clearly define entity type and name.", arn)
}

// Principal finds a user, group or role of the account by its ARN.
// errs.InvalidInput for an ARN that is none of these, errs.EntityNotFound.
func (s *Service) Principal(ctx context.Context, account name.AccountID, arn string) (p Principal, err error) {
	owner, kind, entityName, err := SplitARN(arn)
	if err != nil {
		return p, err
	}
	e, err := s.entities.Get(ctx, account, kind, entityName)
	if err == nil && (owner != account || e.ARN() != arn) {
		err = errs.New(errs.EntityNotFound, "The %s with name %s cannot be found.", kind, entityName)
	}
	if err != nil {
		return p, err
	}
	who, err := s.p.IdentityOf(ctx, account, "")
	if err != nil {
		return p, err
	}
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		p = Principal{Kind: kind, ID: e.ID, Name: e.Name, Path: e.Path, ARN: arn, Tags: e.Tags, Organization: who.Organization,
			ServiceLinked: e.Role != nil && e.Role.Service != ""}
		if p.Policies, err = s.policies(ctx, tx, e.ID); err != nil || e.Boundary == "" {
			return err
		}
		boundary, err := s.managedSource(ctx, tx, e.Boundary)
		p.Boundary = &boundary
		return err
	})
	return p, err
}

// counting finds the rows of an entity and of the groups it is in.
const counting = ` (e.id = $1 OR e.id IN (SELECT group_id FROM iam_membership WHERE user_id = $1)) `

func (s *Service) policies(ctx context.Context, tx *sqldb.Tx, id string) ([]Source, error) {
	all, err := sqldb.Collect(ctx, tx, func(row sqldb.Scanner) (Source, error) {
		var kind, owner, called string
		var source Source
		err := row.Scan(&kind, &owner, &called, &source.Text)
		source.ID = kind + "_" + owner + "_" + called
		return source, err
	}, `SELECT e.kind, e.name, p.name, p.document FROM iam_inline_policy p JOIN iam_entity e ON e.id = p.entity_id WHERE`+counting+`ORDER BY e.kind DESC, e.name_key, p.name`, id)
	if err != nil {
		return nil, err
	}
	attached, err := sqldb.Collect(ctx, tx, sqldb.One[string], `SELECT DISTINCT a.policy_arn FROM iam_attachment a JOIN iam_entity e ON e.id = a.entity_id WHERE`+counting+`ORDER BY a.policy_arn`, id)
	if err != nil {
		return nil, err
	}
	for _, arn := range attached {
		source, err := s.managedSource(ctx, tx, arn)
		if err != nil {
			return nil, err
		}
		all = append(all, source)
	}
	return all, nil
}

// managedSource reads the default version of a managed policy.
func (s *Service) managedSource(ctx context.Context, tx *sqldb.Tx, arn string) (Source, error) {
	if own, ok := s.p.Managed().Get(arn); ok {
		return Source{ID: own.Name, Text: own.Text}, nil
	}
	var source Source
	err := tx.QueryRow(ctx, `SELECT p.name, v.document FROM iam_policy p JOIN iam_policy_version v ON v.policy_id = p.id AND v.version = p.default_version WHERE p.arn = $1`, arn).
		Scan(&source.ID, &source.Text)
	if errors.Is(err, sqldb.ErrNoRows) {
		err = fmt.Errorf("the managed policy %s is used and not there", arn)
	}
	return source, err
}

// CallerOf finds the unique id of a user of the account by its ARN, "" where
// there is no such user.
func (s *Service) CallerOf(ctx context.Context, account name.AccountID, arn string) (string, error) {
	_, kind, entityName, err := SplitARN(arn)
	if err != nil || kind != entity.User {
		return "", err
	}
	e, err := s.entities.Get(ctx, account, kind, entityName)
	if errs.Is(err, errs.EntityNotFound) || err == nil && e.ARN() != arn {
		return "", nil
	}
	return e.ID, err
}
