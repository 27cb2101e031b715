package policies

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
)

// summaryOf is a policy as lists have it: without description and tags.
func summaryOf(p managed.Policy) shapes.Policy {
	return shapes.Policy{
		PolicyName: &p.Name, PolicyId: &p.ID, Arn: &p.ARN, Path: &p.Path, DefaultVersionId: new(managed.VersionID(p.Default)),
		AttachmentCount: &p.Attachments, PermissionsBoundaryUsageCount: &p.Boundaries, IsAttachable: new(true),
		CreateDate: shape.At(p.Created), UpdateDate: shape.At(p.Updated),
	}
}

func tagOf(t managed.Tag) shapes.Tag { return shapes.Tag{Key: &t.Key, Value: &t.Value} }

func tagsIn(tags []shapes.Tag) []managed.Tag {
	return mapped(tags, func(t shapes.Tag) managed.Tag { return managed.Tag{Key: *t.Key, Value: *t.Value} })
}

func (a *api) createPolicyNeeds(c *aws.Call, in *shapes.CreatePolicyInput) ([]authz.Need, error) {
	need := withTags(authz.Need{
		Action:   "iam:CreatePolicy",
		Resource: name.ARN{Partition: "aws", Service: "iam", Account: c.Principal.Account, Resource: "policy" + or(in.Path, "/") + *in.PolicyName},
	}, in.Tags)
	if len(in.Tags) == 0 {
		return []authz.Need{need}, nil
	}
	tag := need
	tag.Action = "iam:TagPolicy"
	return []authz.Need{need, tag}, nil
}

func (a *api) createPolicy(ctx context.Context, c *aws.Call, in *shapes.CreatePolicyInput) (*shapes.CreatePolicyOutput, error) {
	p, err := a.Managed.Create(ctx, managed.Create{
		Account: c.Principal.Account, Name: *in.PolicyName, Path: or(in.Path, "/"), Description: or(in.Description, ""),
		Document: *in.PolicyDocument, Tags: tagsIn(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	out := summaryOf(p)
	if len(p.Tags) > 0 {
		out.Tags = mapped(p.Tags, tagOf)
	}
	return &shapes.CreatePolicyOutput{Policy: &out}, nil
}

func (a *api) getPolicy(ctx context.Context, c *aws.Call, in *shapes.GetPolicyInput) (*shapes.GetPolicyOutput, error) {
	p, err := a.Managed.Get(ctx, c.Principal.Account, *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := summaryOf(p)
	if p.Description != "" {
		out.Description = &p.Description
	}
	out.Tags = mapped(p.Tags, tagOf)
	return &shapes.GetPolicyOutput{Policy: &out}, nil
}

func (a *api) deletePolicy(ctx context.Context, c *aws.Call, in *shapes.DeletePolicyInput) (*shapes.DeletePolicyOutput, error) {
	return &shapes.DeletePolicyOutput{}, a.Managed.Delete(ctx, c.Principal.Account, *in.PolicyArn)
}

func usageOf(given *shapes.PolicyUsageType) managed.Usage {
	switch or(given, "") {
	case shapes.PolicyUsageTypePermissionsPolicy:
		return managed.AsPermissions
	case shapes.PolicyUsageTypePermissionsBoundary:
		return managed.AsBoundary
	}
	return managed.AnyUse
}

func (a *api) listPolicies(ctx context.Context, c *aws.Call, in *shapes.ListPoliciesInput) (*shapes.ListPoliciesOutput, error) {
	after, err := cursor(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	f := managed.Filter{Used: in.OnlyAttached != nil && *in.OnlyAttached, Usage: usageOf(in.PolicyUsageFilter), PathPrefix: or(in.PathPrefix, "/")}
	switch or(in.Scope, shapes.PolicyScopeTypeAll) {
	case shapes.PolicyScopeTypeAll:
	case shapes.PolicyScopeTypeAws:
		f.Scope = managed.AWS
	case shapes.PolicyScopeTypeLocal:
		f.Scope = managed.Local
	}
	limit := limitOf(in.MaxItems)
	all, err := a.Managed.List(ctx, c.Principal.Account, f, after[0], limit+1)
	if err != nil {
		return nil, err
	}
	all, truncated, marker := page(all, limit, func(p managed.Policy) []string { return []string{p.ARN} })
	return &shapes.ListPoliciesOutput{Policies: mapped(all, summaryOf), IsTruncated: truncated, Marker: marker}, nil
}

func (a *api) listEntitiesForPolicy(ctx context.Context, c *aws.Call, in *shapes.ListEntitiesForPolicyInput) (*shapes.ListEntitiesForPolicyOutput, error) {
	after, err := cursor(in.Marker, 2)
	if err != nil {
		return nil, err
	}
	f := managed.EntityFilter{PathPrefix: or(in.PathPrefix, "/"), Usage: usageOf(in.PolicyUsageFilter)}
	switch or(in.EntityFilter, "") {
	case shapes.EntityTypeUser:
		f.Kind = "user"
	case shapes.EntityTypeGroup:
		f.Kind = "group"
	case shapes.EntityTypeRole:
		f.Kind = "role"
	case shapes.EntityTypeLocalManagedPolicy, shapes.EntityTypeAWSManagedPolicy:
		f.Kind = "policy" // no policy is attached to a policy
	}
	limit := limitOf(in.MaxItems)
	all, err := a.Managed.Entities(ctx, c.Principal.Account, *in.PolicyArn, f, managed.Entity{Kind: after[0], Name: after[1]}, limit+1)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListEntitiesForPolicyOutput{PolicyGroups: []shapes.PolicyGroup{}, PolicyUsers: []shapes.PolicyUser{}, PolicyRoles: []shapes.PolicyRole{}}
	all, out.IsTruncated, out.Marker = page(all, limit, func(e managed.Entity) []string { return []string{e.Kind, e.Name} })
	for _, e := range all {
		switch e.Kind {
		case "user":
			out.PolicyUsers = append(out.PolicyUsers, shapes.PolicyUser{UserName: &e.Name, UserId: &e.ID})
		case "group":
			out.PolicyGroups = append(out.PolicyGroups, shapes.PolicyGroup{GroupName: &e.Name, GroupId: &e.ID})
		case "role":
			out.PolicyRoles = append(out.PolicyRoles, shapes.PolicyRole{RoleName: &e.Name, RoleId: &e.ID})
		}
	}
	return out, nil
}
