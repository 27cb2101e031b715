// Package managed owns the managed policies of an account: their documents in
// versions, the default version, tags, and who uses them. AWS's own policies are
// read here with what the account does with them, and are not changed.
//
// It does not own AWS's documents (principal/awsmanaged), attaching and
// detaching (principal/entity), nor what a policy permits (domain/policy).
package managed

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/tag"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// IAM's quotas (IAM user guide, "IAM and STS quotas"). Sizes are in characters,
// white space not counted.
const (
	MaxPolicies  = 1500 // of an account, AWS's own not counted
	MaxVersions  = 5    // of a policy, at one time
	MaxSize      = 6144 // of a document
	maxNameChars = 128
	maxPathChars = 512
)

// Policy is a managed policy as one account sees it.
type Policy struct {
	ID, ARN, Name, Path, Description string
	// Default is the number of the default version: 3 for v3.
	Default          int64
	Created, Updated time.Time
	// Attachments counts the users, groups and roles of the account that have
	// the policy, Boundaries those whose permissions boundary it is.
	Attachments, Boundaries int64
	// AWS says that the policy is AWS's own.
	AWS bool
	// Tags are nil in lists.
	Tags []Tag
}

// Tag is a tag of a policy. Keys differ in more than case.
type Tag = tag.Tag

// Service stores the policies. Changes are seen by every decision as
// principal.Service.Change says.
type Service struct {
	p *principal.Service
}

// New returns the service.
func New(p *principal.Service) *Service { return &Service{p: p} }

const (
	// counts are the columns that count who uses the policy p.
	counts = `(SELECT count(*) FROM iam_attachment a WHERE a.policy_arn = p.arn) AS attachments,
		(SELECT count(*) FROM iam_entity e WHERE e.boundary = p.arn AND e.boundary <> '') AS boundaries`
	columns = `p.id, p.arn, p.name, p.path, p.description, p.default_version, p.created_at, p.updated_at, ` + counts
)

func scan(row sqldb.Scanner) (Policy, error) {
	var p Policy
	var created, updated int64
	err := row.Scan(&p.ID, &p.ARN, &p.Name, &p.Path, &p.Description, &p.Default, &created, &updated, &p.Attachments, &p.Boundaries)
	p.Created, p.Updated = instant(created), instant(updated)
	return p, err
}

func instant(micros int64) time.Time { return time.UnixMicro(micros).UTC() }

func notFound(arn string) error {
	return errs.New(errs.EntityNotFound, "Policy %s was not found.", arn)
}

// CheckARN says whether an ARN can be a managed policy's, AWS's or an account's:
// errs.InvalidInput.
func CheckARN(arn string) error {
	a, err := name.ParseARN(arn)
	if err != nil || a.Partition != "aws" || a.Service != "iam" || a.Region != "" || a.Account == "" || !strings.HasPrefix(a.Resource, "policy/") {
		return errs.New(errs.InvalidInput, "ARN %s is not valid.", arn)
	}
	return nil
}

// isAWS says whether the ARN is in AWS's own name space.
func isAWS(arn string) bool { return strings.HasPrefix(arn, "arn:aws:iam::aws:") }

// Get finds a policy, with its tags. errs.InvalidInput for an ARN that is no
// policy's, errs.EntityNotFound for a policy that is not there or another
// account's.
func (s *Service) Get(ctx context.Context, account name.AccountID, arn string) (p Policy, err error) {
	err = s.p.View(ctx, func(tx *sqldb.Tx) error {
		if p, err = s.get(ctx, tx, account, arn); err != nil || p.AWS {
			return err
		}
		p.Tags, err = tag.Load(ctx, tx, p.ID)
		return err
	})
	return p, err
}

// get is Get without tags.
func (s *Service) get(ctx context.Context, tx *sqldb.Tx, account name.AccountID, arn string) (Policy, error) {
	if err := CheckARN(arn); err != nil {
		return Policy{}, err
	}
	if own, ok := s.p.Managed().Get(arn); ok {
		uses, err := usesOf(ctx, tx, account, arn)
		return fromAWS(own, uses[arn]), err
	}
	p, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM iam_policy p WHERE p.arn = $1 AND p.account_id = $2`, arn, string(account)))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Policy{}, notFound(arn)
	}
	return p, err
}

// own is get for a change: AWS's policies are nobody's to change.
func (s *Service) own(ctx context.Context, tx *sqldb.Tx, account name.AccountID, arn string) (Policy, error) {
	if isAWS(arn) {
		return Policy{}, errs.New(errs.AccessDenied, "The policy %s is managed by AWS and cannot be changed.", arn)
	}
	return s.get(ctx, tx, account, arn)
}

// Create is what a policy is made of.
type Create struct {
	Account           name.AccountID
	Name, Description string
	// Path begins and ends with a slash.
	Path     string
	Document string
	Tags     []Tag
}

var (
	nameForm = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathForm = regexp.MustCompile(`^(/|/[\x21-\x7e]+/)$`)
)

// Create makes a policy with its version v1. errs.EntityExists when the account
// has one of the name in any case, errs.PolicyMalformed for a document that is
// none, errs.EntityLimit over a quota, errs.Validation and errs.InvalidInput for
// a name, a path or tags that cannot be.
func (s *Service) Create(ctx context.Context, c Create) (p Policy, err error) {
	if utf8.RuneCountInString(c.Name) > maxNameChars || !nameForm.MatchString(c.Name) {
		return p, errs.New(errs.Validation, "The specified value for policyName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
	}
	if len(c.Path) > maxPathChars || !pathForm.MatchString(c.Path) {
		return p, errs.New(errs.Validation, "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	if err := checkDocument(c.Document); err != nil {
		return p, err
	}
	if err := tag.Check(c.Tags); err != nil {
		return p, err
	}
	err = s.p.Change(ctx, c.Account, func(tx *sqldb.Tx) error {
		now := s.p.Now().UnixMicro()
		p = Policy{
			ID: principal.NewID(principal.PrefixPolicy), ARN: principal.EntityARN(c.Account, "policy", c.Path, c.Name), Name: c.Name,
			Path: c.Path, Description: c.Description, Default: 1, Created: instant(now), Updated: instant(now),
		}
		n, err := tx.Exec(ctx, `INSERT INTO iam_policy (id, account_id, arn, name, name_key, path, description, default_version, last_version, created_at, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, 1, 1, $8, $8) ON CONFLICT (account_id, name_key) DO NOTHING`,
			p.ID, string(c.Account), p.ARN, p.Name, fold(p.Name), p.Path, p.Description, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.New(errs.EntityExists, "A policy called %s already exists. Duplicate names are not allowed.", c.Name)
		}
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_policy WHERE account_id = $1`, string(c.Account)).Scan(&n); err != nil {
			return err
		}
		if n > MaxPolicies {
			return limit("PoliciesPerAccount", MaxPolicies)
		}
		if err := putVersion(ctx, tx, p.ID, 1, c.Document, now); err != nil {
			return err
		}
		if err := tag.Put(ctx, tx, p.ID, "Policy", c.Tags); err != nil {
			return err
		}
		p.Tags, err = tag.Load(ctx, tx, p.ID)
		return err
	})
	return p, err
}

// Delete removes a policy with its default version. errs.EntityInUse while it has
// other versions, is attached, or is a permissions boundary.
func (s *Service) Delete(ctx context.Context, account name.AccountID, arn string) error {
	return s.p.Change(ctx, account, func(tx *sqldb.Tx) error {
		p, err := s.own(ctx, tx, account, arn)
		if err != nil {
			return err
		}
		if p.Attachments+p.Boundaries > 0 {
			return errs.New(errs.EntityInUse, "Cannot delete a policy attached to entities.")
		}
		var versions int64
		if err := tx.QueryRow(ctx, `SELECT count(*) FROM iam_policy_version WHERE policy_id = $1`, p.ID).Scan(&versions); err != nil {
			return err
		}
		if versions > 1 {
			return errs.New(errs.EntityInUse, "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.")
		}
		for _, statement := range []string{`DELETE FROM iam_tag WHERE owner = $1`, `DELETE FROM iam_policy WHERE id = $1`} {
			if _, err := tx.Exec(ctx, statement, p.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkDocument holds a document against the language and the quota.
func checkDocument(text string) error {
	if size(text) > MaxSize {
		return limit("PolicySize", MaxSize)
	}
	_, err := policy.Parse(text, policy.Identity)
	var wrong *policy.SyntaxError
	if errors.As(err, &wrong) {
		return errs.New(errs.PolicyMalformed, "%s", wrong.Message)
	}
	return err
}

// size counts the characters of a document as IAM does, without white space.
func size(text string) int {
	n := 0
	for _, c := range text {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			n++
		}
	}
	return n
}

func limit(quota string, most int) error {
	return errs.New(errs.EntityLimit, "Cannot exceed quota for %s: %d", quota, most)
}

// fold is what names and tag keys are compared by.
func fold(s string) string { return strings.ToLower(s) }
