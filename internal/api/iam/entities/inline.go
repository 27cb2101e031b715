package entities

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func (a *api) inlinePolicies() []aws.Operation {
	return []aws.Operation{
		change[shapes.PutUserPolicyOutput](a, "PutUserPolicy", entity.User, func(in *shapes.PutUserPolicyInput) *string { return in.UserName }, bounded,
			func(ctx context.Context, account name.AccountID, in *shapes.PutUserPolicyInput) error {
				return a.Entities.PutInline(ctx, account, entity.User, *in.UserName, *in.PolicyName, *in.PolicyDocument)
			}),
		change[shapes.PutGroupPolicyOutput](a, "PutGroupPolicy", entity.Group, func(in *shapes.PutGroupPolicyInput) *string { return in.GroupName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.PutGroupPolicyInput) error {
				return a.Entities.PutInline(ctx, account, entity.Group, *in.GroupName, *in.PolicyName, *in.PolicyDocument)
			}),
		change[shapes.PutRolePolicyOutput](a, "PutRolePolicy", entity.Role, func(in *shapes.PutRolePolicyInput) *string { return in.RoleName }, bounded,
			func(ctx context.Context, account name.AccountID, in *shapes.PutRolePolicyInput) error {
				return a.Entities.PutInline(ctx, account, entity.Role, *in.RoleName, *in.PolicyName, *in.PolicyDocument)
			}),
		change[shapes.DeleteUserPolicyOutput](a, "DeleteUserPolicy", entity.User, func(in *shapes.DeleteUserPolicyInput) *string { return in.UserName }, bounded,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteUserPolicyInput) error {
				return a.Entities.DeleteInline(ctx, account, entity.User, *in.UserName, *in.PolicyName)
			}),
		change[shapes.DeleteGroupPolicyOutput](a, "DeleteGroupPolicy", entity.Group, func(in *shapes.DeleteGroupPolicyInput) *string { return in.GroupName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteGroupPolicyInput) error {
				return a.Entities.DeleteInline(ctx, account, entity.Group, *in.GroupName, *in.PolicyName)
			}),
		change[shapes.DeleteRolePolicyOutput](a, "DeleteRolePolicy", entity.Role, func(in *shapes.DeleteRolePolicyInput) *string { return in.RoleName }, bounded,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteRolePolicyInput) error {
				return a.Entities.DeleteInline(ctx, account, entity.Role, *in.RoleName, *in.PolicyName)
			}),
		read(a, "GetUserPolicy", entity.User, func(in *shapes.GetUserPolicyInput) *string { return in.UserName },
			func(ctx context.Context, c *aws.Call, in *shapes.GetUserPolicyInput) (*shapes.GetUserPolicyOutput, error) {
				e, document, err := a.Entities.Inline(ctx, c.Principal.Account, entity.User, *in.UserName, *in.PolicyName)
				return &shapes.GetUserPolicyOutput{UserName: &e.Name, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, err
			}),
		read(a, "GetGroupPolicy", entity.Group, func(in *shapes.GetGroupPolicyInput) *string { return in.GroupName },
			func(ctx context.Context, c *aws.Call, in *shapes.GetGroupPolicyInput) (*shapes.GetGroupPolicyOutput, error) {
				e, document, err := a.Entities.Inline(ctx, c.Principal.Account, entity.Group, *in.GroupName, *in.PolicyName)
				return &shapes.GetGroupPolicyOutput{GroupName: &e.Name, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, err
			}),
		read(a, "GetRolePolicy", entity.Role, func(in *shapes.GetRolePolicyInput) *string { return in.RoleName },
			func(ctx context.Context, c *aws.Call, in *shapes.GetRolePolicyInput) (*shapes.GetRolePolicyOutput, error) {
				e, document, err := a.Entities.Inline(ctx, c.Principal.Account, entity.Role, *in.RoleName, *in.PolicyName)
				return &shapes.GetRolePolicyOutput{RoleName: &e.Name, PolicyName: in.PolicyName, PolicyDocument: encoded(document)}, err
			}),
		read(a, "ListUserPolicies", entity.User, func(in *shapes.ListUserPoliciesInput) *string { return in.UserName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListUserPoliciesInput) (*shapes.ListUserPoliciesOutput, error) {
				page, truncated, marker, err := a.inlines(ctx, c, entity.User, in.UserName, in.Marker, in.MaxItems)
				return &shapes.ListUserPoliciesOutput{PolicyNames: page, IsTruncated: truncated, Marker: marker}, err
			}),
		read(a, "ListGroupPolicies", entity.Group, func(in *shapes.ListGroupPoliciesInput) *string { return in.GroupName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListGroupPoliciesInput) (*shapes.ListGroupPoliciesOutput, error) {
				page, truncated, marker, err := a.inlines(ctx, c, entity.Group, in.GroupName, in.Marker, in.MaxItems)
				return &shapes.ListGroupPoliciesOutput{PolicyNames: page, IsTruncated: truncated, Marker: marker}, err
			}),
		read(a, "ListRolePolicies", entity.Role, func(in *shapes.ListRolePoliciesInput) *string { return in.RoleName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListRolePoliciesInput) (*shapes.ListRolePoliciesOutput, error) {
				page, truncated, marker, err := a.inlines(ctx, c, entity.Role, in.RoleName, in.Marker, in.MaxItems)
				return &shapes.ListRolePoliciesOutput{PolicyNames: page, IsTruncated: truncated, Marker: marker}, err
			}),
	}
}

func (a *api) inlines(ctx context.Context, c *aws.Call, kind entity.Kind, entityName, from *string, maxItems *int64) (page []string, truncated *bool, marker *string, err error) {
	p, err := pageOf(from, maxItems)
	if err != nil {
		return nil, nil, nil, err
	}
	all, err := a.Entities.Inlines(ctx, c.Principal.Account, kind, *entityName)
	self := func(s string) string { return s }
	page, truncated, marker = pick(p, all, self)
	return shaped(page, self), truncated, marker, err
}
