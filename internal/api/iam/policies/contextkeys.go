package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/policy"
)

// parsed reads a policy that the request brings; called names it in the error.
func parsed(called, text string, g policy.Grammar) (*policy.Document, error) {
	d, err := policy.Parse(text, g)
	var wrong *policy.SyntaxError
	if errors.As(err, &wrong) {
		return nil, errs.New(errs.InvalidInput, "The policy %s is not valid: %s", called, wrong.Message)
	}
	return d, err
}

// member is how AWS calls a policy of a list that the request brings.
func member(list string, i int) string { return fmt.Sprintf("%s.%d", list, i+1) }

// keysOf adds the condition keys of a policy that are not there in any case.
func keysOf(keys []string, d *policy.Document) []string {
	for _, k := range d.ContextKeys() {
		if !slices.ContainsFunc(keys, func(there string) bool { return strings.EqualFold(there, k) }) {
			keys = append(keys, k)
		}
	}
	return keys
}

// getContextKeysForCustomPolicy takes resource policies as well.
func (a *api) getContextKeysForCustomPolicy(_ context.Context, _ *aws.Call, in *shapes.GetContextKeysForCustomPolicyInput) (*shapes.GetContextKeysForCustomPolicyOutput, error) {
	keys := []string{}
	for i, text := range in.PolicyInputList {
		d, err := policy.Parse(text, policy.Repository)
		if err != nil {
			if d, err = parsed(member("PolicyInputList", i), text, policy.Identity); err != nil {
				return nil, err
			}
		}
		keys = keysOf(keys, d)
	}
	return &shapes.GetContextKeysForCustomPolicyOutput{ContextKeyNames: keys}, nil
}

func (a *api) getContextKeysForPrincipalPolicy(ctx context.Context, c *aws.Call, in *shapes.GetContextKeysForPrincipalPolicyInput) (*shapes.GetContextKeysForPrincipalPolicyOutput, error) {
	p, err := a.overview.Principal(ctx, c.Principal.Account, *in.PolicySourceArn)
	if err != nil {
		return nil, err
	}
	keys := []string{}
	for _, source := range p.Policies {
		d, err := policy.Parse(source.Text, policy.Identity)
		if err != nil {
			return nil, fmt.Errorf("the policy %s of %s cannot be read: %w", source.ID, p.ARN, err)
		}
		keys = keysOf(keys, d)
	}
	for i, text := range in.PolicyInputList {
		d, err := parsed(member("PolicyInputList", i), text, policy.Identity)
		if err != nil {
			return nil, err
		}
		keys = keysOf(keys, d)
	}
	return &shapes.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: keys}, nil
}
