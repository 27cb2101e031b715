// Package policies is the part of the IAM API about managed policies, the
// overviews of an account, and the policy simulator: its rows of the table of
// operations, and the translation between the API's shapes and the domain.
//
// It does not own users, groups and roles (api/iam/entities), keys, passwords
// and devices (api/iam/credentials), nor the service's description and errors
// (api/iam). The rules are in principal/managed and domain/policy.
package policies

import (
	"context"
	"maps"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
	"github.com/berth-registry/berth/internal/domain/principal/managed/overview"
)

// Config is what the operations stand on. Everything is needed.
type Config struct {
	Principals *principal.Service
	Managed    *managed.Service
	Entities   *entity.Service
}

type api struct {
	Config
	overview *overview.Service
}

// Operations are the rows.
func Operations(c Config) []aws.Operation {
	a := &api{Config: c, overview: overview.New(c.Principals, c.Entities, c.Managed)}
	return []aws.Operation{
		// policies.go
		aws.Op("CreatePolicy", true, a.createPolicyNeeds, a.createPolicy),
		aws.Op("GetPolicy", false, onPolicy(a, "iam:GetPolicy", func(in *shapes.GetPolicyInput) *string { return in.PolicyArn }), a.getPolicy),
		aws.Op("DeletePolicy", true, onPolicy(a, "iam:DeletePolicy", func(in *shapes.DeletePolicyInput) *string { return in.PolicyArn }), a.deletePolicy),
		aws.Op("ListPolicies", false, anywhere[shapes.ListPoliciesInput]("iam:ListPolicies"), a.listPolicies),
		aws.Op("ListEntitiesForPolicy", false, onPolicy(a, "iam:ListEntitiesForPolicy", func(in *shapes.ListEntitiesForPolicyInput) *string { return in.PolicyArn }), a.listEntitiesForPolicy),

		// versions.go
		aws.Op("CreatePolicyVersion", true, onPolicy(a, "iam:CreatePolicyVersion", func(in *shapes.CreatePolicyVersionInput) *string { return in.PolicyArn }), a.createPolicyVersion),
		aws.Op("GetPolicyVersion", false, onPolicy(a, "iam:GetPolicyVersion", func(in *shapes.GetPolicyVersionInput) *string { return in.PolicyArn }), a.getPolicyVersion),
		aws.Op("DeletePolicyVersion", true, onPolicy(a, "iam:DeletePolicyVersion", func(in *shapes.DeletePolicyVersionInput) *string { return in.PolicyArn }), a.deletePolicyVersion),
		aws.Op("ListPolicyVersions", false, onPolicy(a, "iam:ListPolicyVersions", func(in *shapes.ListPolicyVersionsInput) *string { return in.PolicyArn }), a.listPolicyVersions),
		aws.Op("SetDefaultPolicyVersion", true, onPolicy(a, "iam:SetDefaultPolicyVersion", func(in *shapes.SetDefaultPolicyVersionInput) *string { return in.PolicyArn }), a.setDefaultPolicyVersion),

		// tags.go
		aws.Op("TagPolicy", true, a.tagPolicyNeeds, a.tagPolicy),
		aws.Op("UntagPolicy", true, a.untagPolicyNeeds, a.untagPolicy),
		aws.Op("ListPolicyTags", false, onPolicy(a, "iam:ListPolicyTags", func(in *shapes.ListPolicyTagsInput) *string { return in.PolicyArn }), a.listPolicyTags),

		// account.go
		aws.Op("GetAccountSummary", false, anywhere[shapes.GetAccountSummaryInput]("iam:GetAccountSummary"), a.getAccountSummary),
		aws.Op("GetAccountAuthorizationDetails", false, anywhere[shapes.GetAccountAuthorizationDetailsInput]("iam:GetAccountAuthorizationDetails"), a.getAccountAuthorizationDetails),

		// contextkeys.go
		aws.Op("GetContextKeysForCustomPolicy", false, anywhere[shapes.GetContextKeysForCustomPolicyInput]("iam:GetContextKeysForCustomPolicy"), a.getContextKeysForCustomPolicy),
		aws.Op("GetContextKeysForPrincipalPolicy", false, onEntity(a, "iam:GetContextKeysForPrincipalPolicy", func(in *shapes.GetContextKeysForPrincipalPolicyInput) *string { return in.PolicySourceArn }), a.getContextKeysForPrincipalPolicy),

		// simulate.go
		aws.Op("SimulateCustomPolicy", false, anywhere[shapes.SimulateCustomPolicyInput]("iam:SimulateCustomPolicy"), a.simulateCustomPolicy),
		aws.Op("SimulatePrincipalPolicy", false, onEntity(a, "iam:SimulatePrincipalPolicy", func(in *shapes.SimulatePrincipalPolicyInput) *string { return in.PolicySourceArn }), a.simulatePrincipalPolicy),
	}
}

// anywhere makes the Needs of an operation without a resource type.
func anywhere[I any](action string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(*aws.Call, *I) ([]authz.Need, error) { return []authz.Need{{Action: action}}, nil }
}

// onPolicy makes the Needs of an operation on the policy that the input names.
func onPolicy[I any](a *api, action string, arn func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) { return a.policyNeeds(c, action, *arn(in)) }
}

// policyNeeds names a policy with its tags, as far as it is there and the
// caller's account's own.
func (a *api) policyNeeds(c *aws.Call, action, arn string) ([]authz.Need, error) {
	if err := managed.CheckARN(arn); err != nil {
		return nil, err
	}
	resource, err := name.ParseARN(arn)
	if err != nil {
		return nil, err
	}
	need := authz.Need{Action: action, Resource: resource, Context: map[string][]string{}}
	if resource.Account == c.Principal.Account {
		// The pipeline gives no context; this reads three rows. A failure shows
		// again when the operation runs, and until then is a policy without tags.
		if p, err := a.Managed.Get(context.Background(), resource.Account, arn); err == nil {
			for _, t := range p.Tags {
				need.Context["aws:resourcetag/"+strings.ToLower(t.Key)] = []string{t.Value}
			}
		}
	}
	return []authz.Need{need}, nil
}

// onEntity makes the Needs of an operation on the user, group or role that the
// input names by its ARN.
func onEntity[I any](a *api, action string, arn func(*I) *string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		account, kind, called, err := overview.SplitARN(*arn(in))
		if err != nil {
			return nil, err
		}
		resource, err := name.ParseARN(*arn(in))
		if err != nil {
			return nil, err
		}
		need := authz.Need{Action: action, Resource: resource, Context: map[string][]string{}}
		if account == c.Principal.Account {
			if e, err := a.Entities.Get(context.Background(), account, kind, called); err == nil && e.ARN() == *arn(in) {
				for k, v := range e.Tags {
					need.Context["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
					need.Context["iam:resourcetag/"+strings.ToLower(k)] = []string{v}
				}
			}
		}
		return []authz.Need{need}, nil
	}
}

// withTags adds the condition keys of tags that the request brings.
func withTags(need authz.Need, tags []shapes.Tag) authz.Need {
	asked := map[string]string{}
	for _, t := range tags {
		asked[*t.Key] = *t.Value
	}
	merged := authz.TagContext(asked)
	maps.Copy(merged, need.Context)
	need.Context = merged
	return need
}
