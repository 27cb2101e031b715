package entities

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func (a *api) groups() []aws.Operation {
	return []aws.Operation{
		aws.Op("CreateGroup", true, func(c *aws.Call, in *shapes.CreateGroupInput) ([]authz.Need, error) {
			return making("CreateGroup", "", entity.Group, c, in.GroupName, in.Path, nil, nil), nil
		}, func(ctx context.Context, c *aws.Call, in *shapes.CreateGroupInput) (*shapes.CreateGroupOutput, error) {
			e, err := a.Entities.Create(ctx, entity.Create{Account: c.Principal.Account, Kind: entity.Group, Name: *in.GroupName, Path: value(in.Path)})
			return &shapes.CreateGroupOutput{Group: new(groupShape(e))}, err
		}),
		read(a, "GetGroup", entity.Group, func(in *shapes.GetGroupInput) *string { return in.GroupName }, a.getGroup),
		aws.Op("UpdateGroup", true, func(c *aws.Call, in *shapes.UpdateGroupInput) ([]authz.Need, error) {
			return moving(a, c, "UpdateGroup", entity.Group, in.GroupName, in.NewGroupName, in.NewPath)
		}, func(ctx context.Context, c *aws.Call, in *shapes.UpdateGroupInput) (*shapes.UpdateGroupOutput, error) {
			return &shapes.UpdateGroupOutput{}, a.Entities.Rename(ctx, c.Principal.Account, entity.Group, *in.GroupName, value(in.NewGroupName), value(in.NewPath))
		}),
		change[shapes.DeleteGroupOutput](a, "DeleteGroup", entity.Group, func(in *shapes.DeleteGroupInput) *string { return in.GroupName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteGroupInput) error {
				return a.Entities.Delete(ctx, account, entity.Group, *in.GroupName)
			}),
		aws.Op("ListGroups", false, anywhere[shapes.ListGroupsInput]("ListGroups"), a.listGroups),
		change[shapes.AddUserToGroupOutput](a, "AddUserToGroup", entity.Group, func(in *shapes.AddUserToGroupInput) *string { return in.GroupName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.AddUserToGroupInput) error {
				return a.Entities.AddUser(ctx, account, *in.GroupName, *in.UserName)
			}),
		change[shapes.RemoveUserFromGroupOutput](a, "RemoveUserFromGroup", entity.Group, func(in *shapes.RemoveUserFromGroupInput) *string { return in.GroupName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.RemoveUserFromGroupInput) error {
				return a.Entities.RemoveUser(ctx, account, *in.GroupName, *in.UserName)
			}),
		read(a, "ListGroupsForUser", entity.User, func(in *shapes.ListGroupsForUserInput) *string { return in.UserName }, a.listGroupsForUser),
	}
}

func (a *api) getGroup(ctx context.Context, c *aws.Call, in *shapes.GetGroupInput) (*shapes.GetGroupOutput, error) {
	p, err := pageOf(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	group, users, err := a.Entities.Members(ctx, c.Principal.Account, *in.GroupName, p.after, p.limit+1)
	if err != nil {
		return nil, err
	}
	users, truncated, marker := cut(p, users, nameOf)
	return &shapes.GetGroupOutput{Group: new(groupShape(group)), Users: shaped(users, userShape), IsTruncated: truncated, Marker: marker}, nil
}

func (a *api) listGroups(ctx context.Context, c *aws.Call, in *shapes.ListGroupsInput) (*shapes.ListGroupsOutput, error) {
	groups, truncated, marker, err := a.list(ctx, c, entity.Group, in.PathPrefix, in.Marker, in.MaxItems)
	return &shapes.ListGroupsOutput{Groups: shaped(groups, groupShape), IsTruncated: truncated, Marker: marker}, err
}

func (a *api) listGroupsForUser(ctx context.Context, c *aws.Call, in *shapes.ListGroupsForUserInput) (*shapes.ListGroupsForUserOutput, error) {
	p, err := pageOf(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	groups, err := a.Entities.GroupsOf(ctx, c.Principal.Account, *in.UserName)
	groups, truncated, marker := pick(p, groups, func(e entity.Entity) string { return strings.ToLower(e.Name) })
	return &shapes.ListGroupsForUserOutput{Groups: shaped(groups, groupShape), IsTruncated: truncated, Marker: marker}, err
}
