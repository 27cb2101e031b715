package ecr

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/policytext"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/policy"
	"github.com/berth-registry/berth/internal/domain/registry"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// requestTags are the condition keys of tags that a request gives.
func requestTags(tags []Tag) map[string][]string {
	given := map[string]string{}
	for _, t := range tags {
		if t.Key != nil && t.Value != nil {
			given[*t.Key] = *t.Value
		}
	}
	return authz.TagContext(given)
}

func tagResourceNeeds(c *aws.Call, in *TagResourceInput) ([]authz.Need, error) {
	return withContext(c, "ecr:TagResource", in.ResourceArn, requestTags(in.Tags))
}

func untagResourceNeeds(c *aws.Call, in *UntagResourceInput) ([]authz.Need, error) {
	return withContext(c, "ecr:UntagResource", in.ResourceArn, map[string][]string{"aws:tagkeys": in.TagKeys})
}

func withContext(c *aws.Call, action string, arn *string, given map[string][]string) ([]authz.Need, error) {
	reg, repo, err := repositoryOfARN(c, arn)
	if err != nil {
		return nil, err
	}
	return []authz.Need{{Action: action, Resource: reg.RepositoryARN(repo), Context: given}}, nil
}

func (a *API) pin(ctx context.Context, tx *sqldb.Tx, d *policy.Document) (*policy.Document, error) {
	return a.Entities.PinPrincipals(ctx, tx, d)
}

func (a *API) show(ctx context.Context, tx *sqldb.Tx, d *policy.Document) (*policy.Document, error) {
	return a.Entities.ShowPrincipals(ctx, tx, d)
}

// fits refuses a policy whose text is longer than the account's quota, which may be
// lower than what the service model admits.
func (a *API) fits(ctx context.Context, reg name.Registry, text string) error {
	limits, err := a.Quotas.Limits(ctx, reg.Account)
	if err == nil && utf8.RuneCountInString(text) > limits.PolicyChars {
		err = errs.Parameter("policyText", fmt.Sprintf("Member must have length less than or equal to %d", limits.PolicyChars))
	}
	return err
}

func (a *API) setRepositoryPolicy(ctx context.Context, c *aws.Call, in *SetRepositoryPolicyInput) (*SetRepositoryPolicyOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	if err := a.fits(ctx, reg, *in.PolicyText); err != nil {
		return nil, err
	}
	d, err := policytext.Parse("ecr", *in.PolicyText, policy.Repository, "repository")
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
	if err := a.Repositories.SetPolicy(ctx, reg, repo, d, a.pin); err != nil {
		return nil, policytext.Failure(err, "repository")
	}
	return &SetRepositoryPolicyOutput{RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), PolicyText: new(d.Pretty())}, nil
}

func (a *API) getRepositoryPolicy(ctx context.Context, c *aws.Call, in *GetRepositoryPolicyInput) (*GetRepositoryPolicyOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	d, err := a.Repositories.Policy(ctx, reg, repo, a.show)
	if err != nil {
		return nil, err
	}
	return &GetRepositoryPolicyOutput{RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), PolicyText: new(d.Pretty())}, nil
}

func (a *API) deleteRepositoryPolicy(ctx context.Context, c *aws.Call, in *DeleteRepositoryPolicyInput) (*DeleteRepositoryPolicyOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	d, err := a.Repositories.DeletePolicy(ctx, reg, repo, a.show)
	if err != nil {
		return nil, err
	}
	return &DeleteRepositoryPolicyOutput{RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)), PolicyText: new(d.Pretty())}, nil
}

func (a *API) putRegistryPolicy(ctx context.Context, c *aws.Call, in *PutRegistryPolicyInput) (*PutRegistryPolicyOutput, error) {
	if err := a.fits(ctx, c.Registry, *in.PolicyText); err != nil {
		return nil, err
	}
	d, err := policytext.Parse("ecr", *in.PolicyText, policy.Registry, "registry")
	if err != nil {
		return nil, err
	}
	if err := a.checkRegistryPolicy(ctx, c.Registry, d); err != nil {
		return nil, policytext.Failure(err, "registry")
	}
	if err := a.Registries.SetPolicy(ctx, c.Registry, d, a.pin); err != nil {
		return nil, policytext.Failure(err, "registry")
	}
	return &PutRegistryPolicyOutput{RegistryId: new(string(c.Registry.Account)), PolicyText: new(d.Pretty())}, nil
}

// checkRegistryPolicy holds a registry policy to the scope that is set, and its
// resources to the registry's own repositories.
func (a *API) checkRegistryPolicy(ctx context.Context, reg name.Registry, d *policy.Document) error {
	for _, resource := range d.Resources() {
		if arn, err := name.ParseARN(resource); resource != "*" && (err != nil || !within(arn, reg)) {
			return &policy.SyntaxError{Message: "the resource " + resource + " is none of the registry's repositories"}
		}
	}
	scope, err := a.Registries.Setting(ctx, reg, registry.SettingPolicyScope, registry.ScopeV2)
	if err != nil || scope != registry.ScopeV1 {
		return err
	}
	allowed := registry.Access{V1: true}
	for _, action := range d.Actions() {
		if !allowed.Applies(action) {
			return &policy.SyntaxError{Message: "the action " + action + " is not one that the scope V1 takes"}
		}
	}
	return nil
}

// within says whether an ARN pattern speaks of the registry's repositories; a
// segment may be a wildcard as a whole.
func within(arn name.ARN, reg name.Registry) bool {
	is := func(got, want string) bool { return got == want || got == "*" }
	return is(arn.Partition, reg.Region.Partition()) && is(arn.Service, "ecr") && is(string(arn.Region), string(reg.Region)) &&
		is(string(arn.Account), string(reg.Account)) && (strings.HasPrefix(arn.Resource, "repository/") || arn.Resource == "*")
}

func (a *API) getRegistryPolicy(ctx context.Context, c *aws.Call, _ *GetRegistryPolicyInput) (*GetRegistryPolicyOutput, error) {
	d, err := a.Registries.Policy(ctx, c.Registry, a.show)
	if err != nil {
		return nil, err
	}
	return &GetRegistryPolicyOutput{RegistryId: new(string(c.Registry.Account)), PolicyText: new(d.Pretty())}, nil
}

func (a *API) deleteRegistryPolicy(ctx context.Context, c *aws.Call, _ *DeleteRegistryPolicyInput) (*DeleteRegistryPolicyOutput, error) {
	d, err := a.Registries.DeletePolicy(ctx, c.Registry, a.show)
	if err != nil {
		return nil, err
	}
	return &DeleteRegistryPolicyOutput{RegistryId: new(string(c.Registry.Account)), PolicyText: new(d.Pretty())}, nil
}
