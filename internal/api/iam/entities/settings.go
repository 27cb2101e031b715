package entities

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func (a *api) boundaries() []aws.Operation {
	return []aws.Operation{
		change[shapes.PutUserPermissionsBoundaryOutput](a, "PutUserPermissionsBoundary", entity.User, func(in *shapes.PutUserPermissionsBoundaryInput) *string { return in.UserName },
			func(k keys, in *shapes.PutUserPermissionsBoundaryInput, _ entity.Entity) {
				k.set("iam:permissionsboundary", in.PermissionsBoundary)
			},
			func(ctx context.Context, account name.AccountID, in *shapes.PutUserPermissionsBoundaryInput) error {
				return a.Entities.SetBoundary(ctx, account, entity.User, *in.UserName, *in.PermissionsBoundary)
			}),
		change[shapes.PutRolePermissionsBoundaryOutput](a, "PutRolePermissionsBoundary", entity.Role, func(in *shapes.PutRolePermissionsBoundaryInput) *string { return in.RoleName },
			func(k keys, in *shapes.PutRolePermissionsBoundaryInput, _ entity.Entity) {
				k.set("iam:permissionsboundary", in.PermissionsBoundary)
			},
			func(ctx context.Context, account name.AccountID, in *shapes.PutRolePermissionsBoundaryInput) error {
				return a.Entities.SetBoundary(ctx, account, entity.Role, *in.RoleName, *in.PermissionsBoundary)
			}),
		change[shapes.DeleteUserPermissionsBoundaryOutput](a, "DeleteUserPermissionsBoundary", entity.User, func(in *shapes.DeleteUserPermissionsBoundaryInput) *string { return in.UserName }, bounded,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteUserPermissionsBoundaryInput) error {
				return a.Entities.SetBoundary(ctx, account, entity.User, *in.UserName, "")
			}),
		change[shapes.DeleteRolePermissionsBoundaryOutput](a, "DeleteRolePermissionsBoundary", entity.Role, func(in *shapes.DeleteRolePermissionsBoundaryInput) *string { return in.RoleName }, bounded,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteRolePermissionsBoundaryInput) error {
				return a.Entities.SetBoundary(ctx, account, entity.Role, *in.RoleName, "")
			}),
	}
}

func (a *api) tags() []aws.Operation {
	return []aws.Operation{
		change[shapes.TagUserOutput](a, "TagUser", entity.User, func(in *shapes.TagUserInput) *string { return in.UserName },
			func(k keys, in *shapes.TagUserInput, _ entity.Entity) { k.requestTags(in.Tags) },
			func(ctx context.Context, account name.AccountID, in *shapes.TagUserInput) error {
				return a.Entities.Tag(ctx, account, entity.User, *in.UserName, tagsIn(in.Tags))
			}),
		change[shapes.TagRoleOutput](a, "TagRole", entity.Role, func(in *shapes.TagRoleInput) *string { return in.RoleName },
			func(k keys, in *shapes.TagRoleInput, _ entity.Entity) { k.requestTags(in.Tags) },
			func(ctx context.Context, account name.AccountID, in *shapes.TagRoleInput) error {
				return a.Entities.Tag(ctx, account, entity.Role, *in.RoleName, tagsIn(in.Tags))
			}),
		change[shapes.UntagUserOutput](a, "UntagUser", entity.User, func(in *shapes.UntagUserInput) *string { return in.UserName },
			func(k keys, in *shapes.UntagUserInput, _ entity.Entity) { k["aws:tagkeys"] = in.TagKeys },
			func(ctx context.Context, account name.AccountID, in *shapes.UntagUserInput) error {
				return a.Entities.Untag(ctx, account, entity.User, *in.UserName, in.TagKeys)
			}),
		change[shapes.UntagRoleOutput](a, "UntagRole", entity.Role, func(in *shapes.UntagRoleInput) *string { return in.RoleName },
			func(k keys, in *shapes.UntagRoleInput, _ entity.Entity) { k["aws:tagkeys"] = in.TagKeys },
			func(ctx context.Context, account name.AccountID, in *shapes.UntagRoleInput) error {
				return a.Entities.Untag(ctx, account, entity.Role, *in.RoleName, in.TagKeys)
			}),
		read(a, "ListUserTags", entity.User, func(in *shapes.ListUserTagsInput) *string { return in.UserName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListUserTagsInput) (*shapes.ListUserTagsOutput, error) {
				page, truncated, marker, err := a.tagsOf(ctx, c, entity.User, in.UserName, in.Marker, in.MaxItems)
				return &shapes.ListUserTagsOutput{Tags: page, IsTruncated: truncated, Marker: marker}, err
			}),
		read(a, "ListRoleTags", entity.Role, func(in *shapes.ListRoleTagsInput) *string { return in.RoleName },
			func(ctx context.Context, c *aws.Call, in *shapes.ListRoleTagsInput) (*shapes.ListRoleTagsOutput, error) {
				page, truncated, marker, err := a.tagsOf(ctx, c, entity.Role, in.RoleName, in.Marker, in.MaxItems)
				return &shapes.ListRoleTagsOutput{Tags: page, IsTruncated: truncated, Marker: marker}, err
			}),
	}
}

// numbered is an item with its place in the list.
type numbered struct {
	place string
	tag   shapes.Tag
}

// tagsOf pages by number: a key would not fit into a marker.
func (a *api) tagsOf(ctx context.Context, c *aws.Call, kind entity.Kind, entityName, from *string, maxItems *int64) (page []shapes.Tag, truncated *bool, marker *string, err error) {
	p, err := pageOf(from, maxItems)
	if err != nil {
		return nil, nil, nil, err
	}
	e, err := a.Entities.Get(ctx, c.Principal.Account, kind, *entityName)
	if err != nil {
		return nil, nil, nil, err
	}
	var all []numbered
	for i, t := range tagShapes(e.Tags) {
		all = append(all, numbered{place: fmt.Sprintf("%03d", i), tag: t})
	}
	all, truncated, marker = pick(p, all, func(n numbered) string { return n.place })
	return shaped(all, func(n numbered) shapes.Tag { return n.tag }), truncated, marker, nil
}
