package entities

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func (a *api) users() []aws.Operation {
	return []aws.Operation{
		aws.Op("CreateUser", true, func(c *aws.Call, in *shapes.CreateUserInput) ([]authz.Need, error) {
			return making("CreateUser", "TagUser", entity.User, c, in.UserName, in.Path, in.PermissionsBoundary, in.Tags), nil
		}, a.createUser),
		aws.Op("GetUser", false, a.getUserNeeds, a.getUser),
		aws.Op("UpdateUser", true, func(c *aws.Call, in *shapes.UpdateUserInput) ([]authz.Need, error) {
			return moving(a, c, "UpdateUser", entity.User, in.UserName, in.NewUserName, in.NewPath)
		}, func(ctx context.Context, c *aws.Call, in *shapes.UpdateUserInput) (*shapes.UpdateUserOutput, error) {
			return &shapes.UpdateUserOutput{}, a.Entities.Rename(ctx, c.Principal.Account, entity.User, *in.UserName, value(in.NewUserName), value(in.NewPath))
		}),
		change[shapes.DeleteUserOutput](a, "DeleteUser", entity.User, func(in *shapes.DeleteUserInput) *string { return in.UserName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteUserInput) error {
				return a.Entities.Delete(ctx, account, entity.User, *in.UserName)
			}),
		aws.Op("ListUsers", false, anywhere[shapes.ListUsersInput]("ListUsers"), a.listUsers),
	}
}

func (a *api) createUser(ctx context.Context, c *aws.Call, in *shapes.CreateUserInput) (*shapes.CreateUserOutput, error) {
	e, err := a.Entities.Create(ctx, entity.Create{
		Account: c.Principal.Account, Kind: entity.User, Name: *in.UserName, Path: value(in.Path),
		Boundary: value(in.PermissionsBoundary), Tags: tagsIn(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &shapes.CreateUserOutput{User: wholeUser(e)}, nil
}

func wholeUser(e entity.Entity) *shapes.User {
	u := userShape(e)
	u.PermissionsBoundary, u.Tags = boundaryShape(e), tagShapes(e.Tags)
	return &u
}

// theCaller finds the user that a call without a user's name means. It is false
// for the root user.
func (a *api) theCaller(ctx context.Context, c *aws.Call) (entity.Entity, bool, error) {
	if c.Principal.IsRoot() {
		return entity.Entity{}, false, nil
	}
	if s := c.Principal.Session; s == nil || s.Kind == principal.TokenSession {
		e, found, err := a.Entities.ByID(ctx, c.Principal.Account, c.Principal.Entity)
		if err != nil || found && e.Kind == entity.User {
			return e, found, err
		}
	}
	return entity.Entity{}, false, errs.New(errs.Validation, "Must specify userName when calling with non-User credentials")
}

func (a *api) getUserNeeds(c *aws.Call, in *shapes.GetUserInput) ([]authz.Need, error) {
	if in.UserName != nil {
		e, err := a.find(c, entity.User, *in.UserName)
		return []authz.Need{need("GetUser", e, keys{})}, err
	}
	e, found, err := a.theCaller(context.Background(), c)
	if err != nil {
		return nil, err
	}
	if !found {
		return []authz.Need{{Action: "iam:GetUser", Resource: name.ARN{Partition: "aws", Service: "iam", Account: c.Principal.Account, Resource: "root"}}}, nil
	}
	return []authz.Need{need("GetUser", e, keys{})}, nil
}

func (a *api) getUser(ctx context.Context, c *aws.Call, in *shapes.GetUserInput) (*shapes.GetUserOutput, error) {
	if in.UserName != nil {
		e, err := a.Entities.Get(ctx, c.Principal.Account, entity.User, *in.UserName)
		return &shapes.GetUserOutput{User: wholeUser(e)}, err
	}
	e, found, err := a.theCaller(ctx, c)
	if err != nil {
		return nil, err
	}
	if found {
		return &shapes.GetUserOutput{User: wholeUser(e)}, nil
	}
	account, err := a.Principals.Account(ctx, c.Principal.Account)
	if err != nil {
		return nil, err
	}
	// The root user has neither a name nor a path.
	return &shapes.GetUserOutput{User: &shapes.User{
		UserId: new(string(account.ID)), Arn: new(principal.RootARN(account.ID)), CreateDate: shape.At(account.CreatedAt),
	}}, nil
}

func (a *api) listUsers(ctx context.Context, c *aws.Call, in *shapes.ListUsersInput) (*shapes.ListUsersOutput, error) {
	users, truncated, marker, err := a.list(ctx, c, entity.User, in.PathPrefix, in.Marker, in.MaxItems)
	return &shapes.ListUsersOutput{Users: shaped(users, userShape), IsTruncated: truncated, Marker: marker}, err
}

// list is a page of the account's entities of a kind.
func (a *api) list(ctx context.Context, c *aws.Call, kind entity.Kind, pathPrefix, from *string, maxItems *int64) (page []entity.Entity, truncated *bool, marker *string, err error) {
	p, err := pageOf(from, maxItems)
	if err != nil {
		return nil, nil, nil, err
	}
	all, err := a.Entities.List(ctx, c.Principal.Account, kind, value(pathPrefix), p.after, p.limit+1)
	page, truncated, marker = cut(p, all, nameOf)
	return page, truncated, marker, err
}

func nameOf(e entity.Entity) string { return e.Name }
