package session

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// Bounds are the session policies that a caller passes.
type Bounds struct {
	// Policy is a document, "" for none.
	Policy string
	// PolicyARNs are managed policies, AWS's or of the session's account.
	PolicyARNs []string
}

// Limits of session policies and tags (STS API reference, AssumeRole).
const (
	maxPolicyARNs = 10
	// maxPlain bounds document and ARNs together, in characters.
	maxPlain = 2048
	// maxPacked bounds document, ARNs and tags together, compressed, in bytes. AWS
	// does not tell its own bound. It keeps session tokens, and the passwords of
	// authorization tokens around them, to what clients and proxies take.
	maxPacked = 4096
)

// check looks at all that needs no database.
func (b Bounds) check() error {
	if len(b.PolicyARNs) > maxPolicyARNs {
		return errs.New(errs.Validation, "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must have length less than or equal to %d", maxPolicyARNs)
	}
	plain := utf8.RuneCountInString(b.Policy)
	for _, arn := range b.PolicyARNs {
		if arn == "" {
			return errs.New(errs.Validation, "1 validation error detected: Value null at 'policyArns' failed to satisfy constraint: Member must not be null")
		}
		plain += utf8.RuneCountInString(arn)
	}
	if plain > maxPlain {
		return tooLarge(plain, maxPlain)
	}
	if b.Policy == "" {
		return nil
	}
	_, err := policy.Parse(b.Policy, policy.Identity)
	var syntax *policy.SyntaxError
	if errors.As(err, &syntax) {
		return errs.New(errs.PolicyMalformed, "%s", syntax.Message)
	}
	return err
}

// percent rounds up, so that only what is nothing is 0.
func percent(n, of int) int { return (100*n + of - 1) / of }

func tooLarge(n, of int) error {
	return errs.New(errs.SessionPolicyTooLarge, "Packed policy consumes %d%% of allotted space, please use smaller policy.", percent(n, of))
}

// packed is how much of the room is taken, in percent. errs.SessionPolicyTooLarge
// when it does not suffice.
func (b Bounds) packed(tags map[string]string) (int, error) {
	if b.none() && len(tags) == 0 {
		return 0, nil
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return 0, err
	}
	texts := append([]string{b.Policy}, b.PolicyARNs...)
	for _, k := range sortedKeys(tags) {
		texts = append(texts, k, tags[k])
	}
	for _, text := range texts {
		if _, err := w.Write(append([]byte(text), 0)); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	if packed.Len() > maxPacked {
		return 0, tooLarge(packed.Len(), maxPacked)
	}
	return percent(packed.Len(), maxPacked), nil
}

func (b Bounds) none() bool { return b.Policy == "" && len(b.PolicyARNs) == 0 }

// limit writes the policies into a session. The managed ones have to exist.
func (s *Service) limit(ctx context.Context, account name.AccountID, b Bounds, to *principal.Session) error {
	for _, arn := range b.PolicyARNs {
		found, err := s.managedPolicy(ctx, account, arn)
		if err != nil {
			return err
		}
		if !found {
			return errs.New(errs.InvalidParameter, "Policy %s does not exist or is not attachable.", arn)
		}
		if !slices.Contains(to.PolicyARNs, arn) {
			to.PolicyARNs = append(to.PolicyARNs, arn)
		}
	}
	if b.Policy != "" {
		to.Policies = []string{b.Policy}
	}
	to.Limited = !b.none()
	return nil
}

// managedPolicy says whether a managed policy can be used in the account.
func (s *Service) managedPolicy(ctx context.Context, account name.AccountID, arn string) (bool, error) {
	if own, ok := s.Principals.Managed().Get(arn); ok {
		return !own.ServiceRole, nil
	}
	var n int64
	err := s.Principals.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT count(*) FROM iam_policy WHERE arn = $1 AND account_id = $2`, arn, string(account)).Scan(&n)
	})
	return n > 0, err
}
