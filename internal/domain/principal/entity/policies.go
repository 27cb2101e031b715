package entity

import (
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// errNoPolicy says that there is no managed policy with the ARN for the account.
var errNoPolicy = errors.New("no such policy")

// attachable looks for a managed policy that entities of the account can have.
// It returns errNoPolicy for one that is not there or is another account's.
func (s *Service) attachable(ctx context.Context, tx *sqldb.Tx, account name.AccountID, policyARN string) error {
	if own, ok := s.p.Managed().Get(policyARN); ok {
		if own.ServiceRole {
			return errs.New(errs.PolicyNotAttachable, "Cannot attach a Service Role Policy to a Customer Role.")
		}
		return nil
	}
	a, err := name.ParseARN(policyARN)
	if err != nil {
		return errs.New(errs.Validation, "ARN %s is not valid.", policyARN)
	}
	if a.Service != "iam" || !strings.HasPrefix(a.Resource, "policy/") {
		return errs.New(errs.InvalidInput, "ARN %s is not valid.", policyARN)
	}
	var n int64
	err = tx.QueryRow(ctx, `SELECT count(*) FROM iam_policy WHERE arn = $1 AND account_id = $2`, policyARN, string(account)).Scan(&n)
	if err == nil && n == 0 {
		err = errNoPolicy
	}
	return err
}

// boundary makes sure that a policy can be a permissions boundary.
func (s *Service) boundary(ctx context.Context, tx *sqldb.Tx, account name.AccountID, policyARN string) error {
	err := s.attachable(ctx, tx, account, policyARN)
	if errors.Is(err, errNoPolicy) {
		return errs.New(errs.EntityNotFound, "Scope ARN: %s does not exist or is not attachable.", policyARN)
	}
	return err
}

// Attach attaches a managed policy; once more changes nothing.
// errs.EntityNotFound when there is no such policy, errs.PolicyNotAttachable for
// one of service-linked roles, errs.EntityLimit over the entity's quota.
func (s *Service) Attach(ctx context.Context, account name.AccountID, kind Kind, entityName, policyARN string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		err = s.attachable(ctx, tx, account, policyARN)
		if errors.Is(err, errNoPolicy) {
			return errs.New(errs.EntityNotFound, "Policy %s does not exist or is not attachable.", policyARN)
		}
		if err != nil {
			return err
		}
		added, err := tx.Exec(ctx, `INSERT INTO iam_attachment (entity_id, policy_arn) VALUES ($1, $2) ON CONFLICT (entity_id, policy_arn) DO NOTHING`, e.ID, policyARN)
		if err != nil || added == 0 {
			return err
		}
		var n int64
		err = tx.QueryRow(ctx, `SELECT count(*) FROM iam_attachment WHERE entity_id = $1`, e.ID).Scan(&n)
		if err == nil && n > maxAttached {
			return limit("PoliciesPer"+kind.title(), maxAttached)
		}
		return err
	})
}

// Detach undoes Attach; errs.EntityNotFound when the policy is not attached.
func (s *Service) Detach(ctx context.Context, account name.AccountID, kind Kind, entityName, policyARN string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM iam_attachment WHERE entity_id = $1 AND policy_arn = $2`, e.ID, policyARN)
		if err == nil && n == 0 {
			return errs.New(errs.EntityNotFound, "Policy %s was not found.", policyARN)
		}
		return err
	})
}

// Attachment is a managed policy of an entity. Path begins and ends with a
// slash.
type Attachment struct{ ARN, Name, Path string }

// Account is the account's number, or "aws" for AWS's own policies.
func (a Attachment) Account() string {
	arn, _ := name.ParseARN(a.ARN) // it was found under it
	return string(arn.Account)
}

// Attached returns the attached policies whose path begins with pathPrefix, by
// their name.
func (s *Service) Attached(ctx context.Context, account name.AccountID, kind Kind, entityName, pathPrefix string) ([]Attachment, error) {
	var arns []string
	err := s.p.View(ctx, func(tx *sqldb.Tx) error {
		e, err := s.GetTx(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		arns, err = sqldb.Collect(ctx, tx, text, `SELECT policy_arn FROM iam_attachment WHERE entity_id = $1 ORDER BY policy_arn`, e.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []Attachment
	for _, arn := range arns {
		_, place, _ := strings.Cut(arn, ":policy")
		cut := strings.LastIndexByte(place, '/') + 1
		if a := (Attachment{ARN: arn, Name: place[cut:], Path: place[:cut]}); strings.HasPrefix(a.Path, pathPrefix) {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b Attachment) int { return strings.Compare(fold(a.Name), fold(b.Name)) })
	return all, nil
}

func text(row sqldb.Scanner) (string, error) {
	var s string
	err := row.Scan(&s)
	return s, err
}

// inlineSize is how many characters an entity's inline policies may have
// together, white space apart.
func (k Kind) inlineSize() int {
	switch k {
	case User:
		return 2048
	case Group:
		return 5120
	case Role:
		return 10240
	}
	panic("entity: kind " + string(k))
}

// size counts the characters of a policy as IAM's quotas do, without white
// space.
func size(document string) int {
	n := utf8.RuneCountInString(document)
	for _, space := range []string{" ", "\t", "\r", "\n"} {
		n -= strings.Count(document, space)
	}
	return n
}

// PutInline stores an inline policy as it is written, in place of one with the
// same name. errs.PolicyMalformed when it is no policy, errs.EntityLimit when
// the entity's inline policies get too long.
func (s *Service) PutInline(ctx context.Context, account name.AccountID, kind Kind, entityName, policyName, document string) error {
	if len(policyName) > 128 || !nameForm.MatchString(policyName) {
		return errs.New(errs.Validation, "The specified value for policyName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
	}
	if _, err := policy.Parse(document, policy.Identity); err != nil {
		return malformed(err)
	}
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		others, err := sqldb.Collect(ctx, tx, text, `SELECT document FROM iam_inline_policy WHERE entity_id = $1 AND name <> $2`, e.ID, policyName)
		if err != nil {
			return err
		}
		n := size(document)
		for _, other := range others {
			n += size(other)
		}
		if n > kind.inlineSize() {
			return errs.New(errs.EntityLimit, "Maximum policy size of %d bytes exceeded for %s %s", kind.inlineSize(), kind, e.Name)
		}
		_, err = tx.Exec(ctx, `INSERT INTO iam_inline_policy (entity_id, name, document) VALUES ($1, $2, $3)
			ON CONFLICT (entity_id, name) DO UPDATE SET document = excluded.document`, e.ID, policyName, document)
		return err
	})
}

func noInline(kind Kind, policyName string) error {
	return errs.New(errs.EntityNotFound, "The %s policy with name %s cannot be found.", kind, policyName)
}

// Inline returns an inline policy as it was written, and the entity that has it.
func (s *Service) Inline(ctx context.Context, account name.AccountID, kind Kind, entityName, policyName string) (e Entity, document string, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		if e, err = s.GetTx(ctx, tx, account, kind, entityName); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `SELECT document FROM iam_inline_policy WHERE entity_id = $1 AND name = $2`, e.ID, policyName).Scan(&document)
		if errors.Is(err, sqldb.ErrNoRows) {
			return noInline(kind, policyName)
		}
		return err
	})
	return e, document, err
}

// DeleteInline deletes an inline policy.
func (s *Service) DeleteInline(ctx context.Context, account name.AccountID, kind Kind, entityName, policyName string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		e, err := s.editable(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM iam_inline_policy WHERE entity_id = $1 AND name = $2`, e.ID, policyName)
		if err == nil && n == 0 {
			return noInline(kind, policyName)
		}
		return err
	})
}

// Inlines returns the names of an entity's inline policies, sorted.
func (s *Service) Inlines(ctx context.Context, account name.AccountID, kind Kind, entityName string) (names []string, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		e, err := s.GetTx(ctx, tx, account, kind, entityName)
		if err != nil {
			return err
		}
		names, err = sqldb.Collect(ctx, tx, text, `SELECT name FROM iam_inline_policy WHERE entity_id = $1 ORDER BY name`, e.ID)
		return err
	})
	return names, err
}

// malformed turns an error of policy.Parse, or an UnknownPrincipal, into
// errs.PolicyMalformed.
func malformed(err error) error {
	var syntax *policy.SyntaxError
	var unknown *UnknownPrincipal
	if errors.As(err, &syntax) || errors.As(err, &unknown) {
		return errs.New(errs.PolicyMalformed, "%s", err.Error())
	}
	return err
}
