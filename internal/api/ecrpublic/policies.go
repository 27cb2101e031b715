package ecrpublic

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/policytext"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
)

// fits refuses a policy whose text is longer than the account's quota, which may be
// lower than what the service model admits.
func (a *API) fits(ctx context.Context, reg name.Registry, text string) error {
	limits, err := a.Quotas.Limits(ctx, reg.Account)
	if err == nil && utf8.RuneCountInString(text) > limits.PolicyChars {
		err = errs.Parameter("policyText", fmt.Sprintf("Member must have length less than or equal to %d", limits.PolicyChars))
	}
	return err
}

// setRepositoryPolicy keeps also what says something of pulls, which nothing can refuse
// (ECR Public user guide, "Public repository policies").
func (a *API) setRepositoryPolicy(ctx context.Context, c *aws.Call, in *SetRepositoryPolicyInput) (*SetRepositoryPolicyOutput, error) {
	reg, repo := target(c, in.RegistryId, in.RepositoryName)
	if err := a.fits(ctx, reg, *in.PolicyText); err != nil {
		return nil, err
	}
	d, err := policytext.Parse(name.ServiceECRPublic, *in.PolicyText, policy.Repository, "repository")
	if err != nil {
		return nil, err
	}
	if in.Force == nil || !*in.Force {
		out, err := a.Access.LockedOut(ctx, authz.Request{
			Principal: c.Principal, Region: c.Region, Origin: c.Origin, UserAgent: c.UserAgent,
		}, reg.RepositoryARN(repo), d)
		if err != nil {
			return nil, err
		}
		if out {
			return nil, errs.Parameter("PolicyText", "The policy would prevent you from setting another policy in the future. Use force to set it all the same")
		}
	}
	if err := a.Repositories.SetPolicy(ctx, reg, repo, d, a.Entities.PinPrincipals); err != nil {
		return nil, policytext.Failure(err, "repository")
	}
	return &SetRepositoryPolicyOutput{RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), PolicyText: new(d.Pretty())}, nil
}

func (a *API) getRepositoryPolicy(ctx context.Context, c *aws.Call, in *GetRepositoryPolicyInput) (*GetRepositoryPolicyOutput, error) {
	reg, repo := target(c, in.RegistryId, in.RepositoryName)
	d, err := a.Repositories.Policy(ctx, reg, repo, a.Entities.ShowPrincipals)
	if err != nil {
		return nil, err
	}
	return &GetRepositoryPolicyOutput{RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), PolicyText: new(d.Pretty())}, nil
}

func (a *API) deleteRepositoryPolicy(ctx context.Context, c *aws.Call, in *DeleteRepositoryPolicyInput) (*DeleteRepositoryPolicyOutput, error) {
	reg, repo := target(c, in.RegistryId, in.RepositoryName)
	d, err := a.Repositories.DeletePolicy(ctx, reg, repo, a.Entities.ShowPrincipals)
	if err != nil {
		return nil, err
	}
	return &DeleteRepositoryPolicyOutput{RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), PolicyText: new(d.Pretty())}, nil
}
