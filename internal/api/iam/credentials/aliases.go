package credentials

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
)

func (a *api) createAccountAlias(ctx context.Context, c *aws.Call, in *shapes.CreateAccountAliasInput) (*shapes.CreateAccountAliasOutput, error) {
	return &shapes.CreateAccountAliasOutput{}, a.Credentials.SetAlias(ctx, c.Principal.Account, *in.AccountAlias)
}

func (a *api) deleteAccountAlias(ctx context.Context, c *aws.Call, in *shapes.DeleteAccountAliasInput) (*shapes.DeleteAccountAliasOutput, error) {
	return &shapes.DeleteAccountAliasOutput{}, a.Credentials.DeleteAlias(ctx, c.Principal.Account, *in.AccountAlias)
}

// listAccountAliases has one page: an account has one alias at most.
func (a *api) listAccountAliases(ctx context.Context, c *aws.Call, in *shapes.ListAccountAliasesInput) (*shapes.ListAccountAliasesOutput, error) {
	if _, _, err := page(in.Marker, in.MaxItems); err != nil {
		return nil, err
	}
	alias, err := a.Credentials.Alias(ctx, c.Principal.Account)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListAccountAliasesOutput{AccountAliases: []string{}, IsTruncated: new(false)}
	if alias != "" && in.Marker == nil {
		out.AccountAliases = append(out.AccountAliases, alias)
	}
	return out, nil
}
