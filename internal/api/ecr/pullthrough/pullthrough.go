// Package pullthrough is the part of the ECR API that is about pull-through cache
// rules: its rows, with the permissions that each needs, and the translation between
// the service's shapes and the domain.
//
// It does not own the rules (domain/pullthrough), nor the pulls through them
// (domain/pullthrough/cache), nor the service and its table of errors (api/ecr).
package pullthrough

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/api/ecr/linkedrole"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
)

// Config is what the rows stand on.
type Config struct {
	Rules    *pullthrough.Service
	Entities *entity.Service
	Tokens   paging.Tokens
}

type api struct{ Config }

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{c}
	return []aws.Operation{
		aws.Op("CreatePullThroughCacheRule", true, a.createNeeds, a.create),
		aws.Op("DescribePullThroughCacheRules", false, onOwn("ecr:DescribePullThroughCacheRules", func(in *DescribePullThroughCacheRulesInput) *string { return in.RegistryId }), a.describe),
		aws.Op("UpdatePullThroughCacheRule", true, updateNeeds, a.update),
		aws.Op("DeletePullThroughCacheRule", true, onOwn("ecr:DeletePullThroughCacheRule", func(in *DeletePullThroughCacheRuleInput) *string { return in.RegistryId }), a.delete),
		aws.Op("ValidatePullThroughCacheRule", false, onOwn("ecr:ValidatePullThroughCacheRule", func(in *ValidatePullThroughCacheRuleInput) *string { return in.RegistryId }), a.validate),
	}
}

// ownNeed is the operation's own action, which has no resource type. Another account's
// registry is refused as its repositories are: nothing allows it.
func ownNeed(c *aws.Call, action string, registryID *string) authz.Need {
	reg, _ := addressing.Target(c, registryID, nil)
	if reg.Account == c.Principal.Account {
		return authz.Need{Action: action}
	}
	return authz.Need{Action: action, Resource: reg.RepositoryARN("*")}
}

func onOwn[I any](action string, of func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) { return []authz.Need{ownNeed(c, action, of(in))}, nil }
}

// own is the registry that the request names, which has to be the caller's: the
// service authorization reference has the actions for identity policies only.
func own(c *aws.Call, registryID *string) (name.Registry, error) {
	reg, _ := addressing.Target(c, registryID, nil)
	if reg.Account != c.Principal.Account {
		return name.Registry{}, errs.New(errs.AccessDenied, "Pull through cache rules of the registry with id '%s' can be managed by callers of that account only", reg.Account)
	}
	return reg, nil
}

// createNeeds: who makes the first rule has the service-linked role made.
func (a *api) createNeeds(c *aws.Call, in *CreatePullThroughCacheRuleInput) ([]authz.Need, error) {
	needs, err := withRole([]authz.Need{ownNeed(c, "ecr:CreatePullThroughCacheRule", in.RegistryId)}, in.CustomRoleArn)
	if err != nil {
		return nil, err
	}
	more, err := linkedrole.Needs(a.Entities, c.Principal.Account, pullthrough.ServiceName)
	return append(needs, more...), err
}

func updateNeeds(c *aws.Call, in *UpdatePullThroughCacheRuleInput) ([]authz.Need, error) {
	return withRole([]authz.Need{ownNeed(c, "ecr:UpdatePullThroughCacheRule", in.RegistryId)}, in.CustomRoleArn)
}

// withRole adds the permission to hand the rule's role to the service.
func withRole(needs []authz.Need, role *string) ([]authz.Need, error) {
	if value(role) == "" {
		return needs, nil
	}
	arn, err := name.ParseARN(*role)
	if err != nil {
		return nil, errs.Parameter("customRoleArn", "Invalid ARN")
	}
	return append(needs, authz.Need{Action: "iam:PassRole", Resource: arn, Context: map[string][]string{"iam:passedtoservice": {pullthrough.ServiceName}}}), nil
}

func (a *api) create(ctx context.Context, c *aws.Call, in *CreatePullThroughCacheRuleInput) (*CreatePullThroughCacheRuleOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	r := pullthrough.Rule{
		Registry: reg, Prefix: *in.EcrRepositoryPrefix, URL: *in.UpstreamRegistryUrl, UpstreamPrefix: value(in.UpstreamRepositoryPrefix),
		CredentialARN: value(in.CredentialArn), CustomRole: value(in.CustomRoleArn),
	}
	if in.UpstreamRegistry != nil {
		r.Upstream = pullthrough.Kind(*in.UpstreamRegistry)
	}
	if r, err = a.Rules.Create(ctx, r); err != nil {
		return nil, err
	}
	return &CreatePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &r.Prefix, UpstreamRegistryUrl: &r.URL, CreatedAt: shape.At(r.CreatedAt), RegistryId: registryID(r), UpstreamRegistry: kind(r),
		CredentialArn: optional(r.CredentialARN), CustomRoleArn: optional(r.CustomRole), UpstreamRepositoryPrefix: &r.UpstreamPrefix,
	}, nil
}

func (a *api) update(ctx context.Context, c *aws.Call, in *UpdatePullThroughCacheRuleInput) (*UpdatePullThroughCacheRuleOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	r, err := a.Rules.Update(ctx, reg, *in.EcrRepositoryPrefix, pullthrough.Change{CredentialARN: in.CredentialArn, CustomRole: in.CustomRoleArn})
	if err != nil {
		return nil, err
	}
	return &UpdatePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &r.Prefix, RegistryId: registryID(r), UpdatedAt: shape.At(r.UpdatedAt),
		CredentialArn: optional(r.CredentialARN), CustomRoleArn: optional(r.CustomRole), UpstreamRepositoryPrefix: &r.UpstreamPrefix,
	}, nil
}

func (a *api) delete(ctx context.Context, c *aws.Call, in *DeletePullThroughCacheRuleInput) (*DeletePullThroughCacheRuleOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	r, err := a.Rules.Delete(ctx, reg, *in.EcrRepositoryPrefix)
	if err != nil {
		return nil, err
	}
	return &DeletePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &r.Prefix, UpstreamRegistryUrl: &r.URL, CreatedAt: shape.At(r.CreatedAt), RegistryId: registryID(r),
		CredentialArn: optional(r.CredentialARN), CustomRoleArn: optional(r.CustomRole), UpstreamRepositoryPrefix: &r.UpstreamPrefix,
	}, nil
}

func (a *api) describe(ctx context.Context, c *aws.Call, in *DescribePullThroughCacheRulesInput) (*DescribePullThroughCacheRulesOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	// A token opens for the same prefixes only.
	sum := sha256.Sum256([]byte(strings.Join(in.EcrRepositoryPrefixes, "\n")))
	scope := "pull through cache rules/" + reg.String() + "/" + hex.EncodeToString(sum[:])
	after, err := a.Tokens.Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := paging.LimitOf(in.MaxResults, paging.Size)
	found, err := a.Rules.List(ctx, reg, in.EcrRepositoryPrefixes, after, limit+1)
	if err != nil {
		return nil, err
	}
	out := &DescribePullThroughCacheRulesOutput{PullThroughCacheRules: []PullThroughCacheRule{}}
	if len(found) > limit {
		found = found[:limit]
		out.NextToken = a.Tokens.Token(scope, found[limit-1].Prefix)
	}
	for _, r := range found {
		out.PullThroughCacheRules = append(out.PullThroughCacheRules, PullThroughCacheRule{
			EcrRepositoryPrefix: &r.Prefix, UpstreamRegistryUrl: &r.URL, CreatedAt: shape.At(r.CreatedAt), UpdatedAt: shape.At(r.UpdatedAt), RegistryId: registryID(r),
			UpstreamRegistry: kind(r), CredentialArn: optional(r.CredentialARN), CustomRoleArn: optional(r.CustomRole), UpstreamRepositoryPrefix: &r.UpstreamPrefix,
		})
	}
	return out, nil
}

func (a *api) validate(ctx context.Context, c *aws.Call, in *ValidatePullThroughCacheRuleInput) (*ValidatePullThroughCacheRuleOutput, error) {
	reg, err := own(c, in.RegistryId)
	if err != nil {
		return nil, err
	}
	r, err := a.Rules.Get(ctx, reg, *in.EcrRepositoryPrefix)
	if err != nil {
		return nil, err
	}
	ok, failure, err := a.Rules.Validate(ctx, r)
	if err != nil {
		return nil, err
	}
	return &ValidatePullThroughCacheRuleOutput{
		EcrRepositoryPrefix: &r.Prefix, RegistryId: registryID(r), UpstreamRegistryUrl: &r.URL, CredentialArn: optional(r.CredentialARN),
		CustomRoleArn: optional(r.CustomRole), UpstreamRepositoryPrefix: &r.UpstreamPrefix, IsValid: &ok, Failure: optional(failure),
	}, nil
}

func registryID(r pullthrough.Rule) *string { return new(string(r.Registry.Account)) }

// kind is left out for a registry that the API has no name for.
func kind(r pullthrough.Rule) *UpstreamRegistry {
	if r.Upstream == "" {
		return nil
	}
	return new(UpstreamRegistry(r.Upstream))
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
