package entities

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func (a *api) attachments() []aws.Operation {
	return []aws.Operation{
		attach[shapes.AttachUserPolicyOutput](a, "AttachUserPolicy", entity.User, a.Entities.Attach, func(in *shapes.AttachUserPolicyInput) (of, arn *string) { return in.UserName, in.PolicyArn }),
		attach[shapes.AttachGroupPolicyOutput](a, "AttachGroupPolicy", entity.Group, a.Entities.Attach, func(in *shapes.AttachGroupPolicyInput) (of, arn *string) { return in.GroupName, in.PolicyArn }),
		attach[shapes.AttachRolePolicyOutput](a, "AttachRolePolicy", entity.Role, a.Entities.Attach, func(in *shapes.AttachRolePolicyInput) (of, arn *string) { return in.RoleName, in.PolicyArn }),
		attach[shapes.DetachUserPolicyOutput](a, "DetachUserPolicy", entity.User, a.Entities.Detach, func(in *shapes.DetachUserPolicyInput) (of, arn *string) { return in.UserName, in.PolicyArn }),
		attach[shapes.DetachGroupPolicyOutput](a, "DetachGroupPolicy", entity.Group, a.Entities.Detach, func(in *shapes.DetachGroupPolicyInput) (of, arn *string) { return in.GroupName, in.PolicyArn }),
		attach[shapes.DetachRolePolicyOutput](a, "DetachRolePolicy", entity.Role, a.Entities.Detach, func(in *shapes.DetachRolePolicyInput) (of, arn *string) { return in.RoleName, in.PolicyArn }),
		read(a, "ListAttachedUserPolicies", entity.User, func(in *shapes.ListAttachedUserPoliciesInput) *string { return in.UserName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListAttachedUserPoliciesInput) (*shapes.ListAttachedUserPoliciesOutput, error) {
				page, truncated, marker, err := a.attached(ctx, c, entity.User, in.UserName, in.PathPrefix, in.Marker, in.MaxItems)
				return &shapes.ListAttachedUserPoliciesOutput{AttachedPolicies: page, IsTruncated: truncated, Marker: marker}, err
			}),
		read(a, "ListAttachedGroupPolicies", entity.Group, func(in *shapes.ListAttachedGroupPoliciesInput) *string { return in.GroupName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListAttachedGroupPoliciesInput) (*shapes.ListAttachedGroupPoliciesOutput, error) {
				page, truncated, marker, err := a.attached(ctx, c, entity.Group, in.GroupName, in.PathPrefix, in.Marker, in.MaxItems)
				return &shapes.ListAttachedGroupPoliciesOutput{AttachedPolicies: page, IsTruncated: truncated, Marker: marker}, err
			}),
		read(a, "ListAttachedRolePolicies", entity.Role, func(in *shapes.ListAttachedRolePoliciesInput) *string { return in.RoleName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListAttachedRolePoliciesInput) (*shapes.ListAttachedRolePoliciesOutput, error) {
				page, truncated, marker, err := a.attached(ctx, c, entity.Role, in.RoleName, in.PathPrefix, in.Marker, in.MaxItems)
				return &shapes.ListAttachedRolePoliciesOutput{AttachedPolicies: page, IsTruncated: truncated, Marker: marker}, err
			}),
	}
}

// attach is the row of an operation that attaches a managed policy or detaches
// it.
func attach[O, I any](a *api, op string, kind entity.Kind, do func(ctx context.Context, account name.AccountID, kind entity.Kind, entityName, policyARN string) error, of func(*I) (of, arn *string)) aws.Operation {
	return change[O](a, op, kind, func(in *I) *string { return first(of(in)) },
		func(k keys, in *I, e entity.Entity) {
			k.boundary(e)
			k.set("iam:policyarn", second(of(in)))
		},
		func(ctx context.Context, account name.AccountID, in *I) error {
			return do(ctx, account, kind, *first(of(in)), *second(of(in)))
		})
}

func first(a, _ *string) *string  { return a }
func second(_, b *string) *string { return b }

func (a *api) attached(ctx context.Context, c *aws.Call, kind entity.Kind, entityName, pathPrefix, from *string, maxItems *int64) (page []shapes.AttachedPolicy, truncated *bool, marker *string, err error) {
	p, err := pageOf(from, maxItems)
	if err != nil {
		return nil, nil, nil, err
	}
	all, err := a.Entities.Attached(ctx, c.Principal.Account, kind, *entityName, value(pathPrefix))
	if err != nil {
		return nil, nil, nil, err
	}
	// AWS's policy and the account's own may have the same name. The blank sorts
	// before all that names are made of, as Attached does.
	all, truncated, marker = pick(p, all, func(t entity.Attachment) string {
		return strings.ToLower(t.Name) + " " + t.Account()
	})
	return shaped(all, func(t entity.Attachment) shapes.AttachedPolicy {
		return shapes.AttachedPolicy{PolicyName: &t.Name, PolicyArn: &t.ARN}
	}), truncated, marker, nil
}
