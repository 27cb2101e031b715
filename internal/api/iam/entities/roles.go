package entities

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func (a *api) roles() []aws.Operation {
	return []aws.Operation{
		aws.Op("CreateRole", true, func(c *aws.Call, in *shapes.CreateRoleInput) ([]authz.Need, error) {
			return making("CreateRole", "TagRole", entity.Role, c, in.RoleName, in.Path, in.PermissionsBoundary, in.Tags), nil
		}, a.createRole),
		read(a, "GetRole", entity.Role, func(in *shapes.GetRoleInput) *string { return in.RoleName }, a.getRole),
		change[updateRoleOutput](a, "UpdateRole", entity.Role, func(in *shapes.UpdateRoleInput) *string { return in.RoleName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.UpdateRoleInput) error {
				_, err := a.Entities.UpdateRole(ctx, account, *in.RoleName, entity.RoleChange{Description: in.Description, MaxSession: seconds(in.MaxSessionDuration)})
				return err
			}),
		aws.Op("UpdateRoleDescription", true, on(a, "UpdateRoleDescription", entity.Role, func(in *shapes.UpdateRoleDescriptionInput) *string { return in.RoleName }, nil), a.updateRoleDescription),
		change[shapes.UpdateAssumeRolePolicyOutput](a, "UpdateAssumeRolePolicy", entity.Role, func(in *shapes.UpdateAssumeRolePolicyInput) *string { return in.RoleName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.UpdateAssumeRolePolicyInput) error {
				return a.Entities.SetTrust(ctx, account, *in.RoleName, *in.PolicyDocument)
			}),
		change[shapes.DeleteRoleOutput](a, "DeleteRole", entity.Role, func(in *shapes.DeleteRoleInput) *string { return in.RoleName }, nil,
			func(ctx context.Context, account name.AccountID, in *shapes.DeleteRoleInput) error {
				return a.Entities.Delete(ctx, account, entity.Role, *in.RoleName)
			}),
		aws.Op("ListRoles", false, anywhere[shapes.ListRolesInput]("ListRoles"), a.listRoles),
	}
}

// updateRoleOutput is shapes.UpdateRoleOutput with a member that is never there.
// UpdateRole alone has an UpdateRoleResult with nothing in it, which SDKs insist
// on, and the protocol writes none for an output without members.
type updateRoleOutput struct {
	Nothing *string `json:"Nothing,omitzero"`
}

func seconds(n *int64) time.Duration {
	if n == nil {
		return 0
	}
	return time.Duration(*n) * time.Second
}

// trusted shapes a role with its trust policy.
func (a *api) trusted(ctx context.Context, e entity.Entity) (*shapes.Role, error) {
	trust, err := a.Entities.Trusts(ctx, []entity.Entity{e})
	if err != nil {
		return nil, err
	}
	return new(roleShape(e, trust[0])), nil
}

// withSettings adds what GetRole and ListRoles tell and the answers to changes
// do not.
func withSettings(r shapes.Role, e entity.Entity) shapes.Role {
	r.Description, r.MaxSessionDuration = optional(e.Role.Description), new(int64(e.Role.MaxSession/time.Second))
	return r
}

func (a *api) createRole(ctx context.Context, c *aws.Call, in *shapes.CreateRoleInput) (*shapes.CreateRoleOutput, error) {
	e, err := a.Entities.Create(ctx, entity.Create{
		Account: c.Principal.Account, Kind: entity.Role, Name: *in.RoleName, Path: value(in.Path), Boundary: value(in.PermissionsBoundary), Tags: tagsIn(in.Tags),
		Trust: *in.AssumeRolePolicyDocument, Description: value(in.Description), MaxSession: seconds(in.MaxSessionDuration),
	})
	if err != nil {
		return nil, err
	}
	r, err := a.trusted(ctx, e)
	if err != nil {
		return nil, err
	}
	r.PermissionsBoundary, r.Tags = boundaryShape(e), tagShapes(e.Tags)
	return &shapes.CreateRoleOutput{Role: r}, nil
}

// getRole leaves RoleLastUsed out: nobody keeps it, and an empty one would say
// that the role was not used.
func (a *api) getRole(ctx context.Context, c *aws.Call, in *shapes.GetRoleInput) (*shapes.GetRoleOutput, error) {
	e, err := a.Entities.Get(ctx, c.Principal.Account, entity.Role, *in.RoleName)
	if err != nil {
		return nil, err
	}
	r, err := a.trusted(ctx, e)
	if err != nil {
		return nil, err
	}
	r.PermissionsBoundary, r.Tags = boundaryShape(e), tagShapes(e.Tags)
	return &shapes.GetRoleOutput{Role: new(withSettings(*r, e))}, nil
}

func (a *api) updateRoleDescription(ctx context.Context, c *aws.Call, in *shapes.UpdateRoleDescriptionInput) (*shapes.UpdateRoleDescriptionOutput, error) {
	e, err := a.Entities.UpdateRole(ctx, c.Principal.Account, *in.RoleName, entity.RoleChange{Description: in.Description})
	if err != nil {
		return nil, err
	}
	r, err := a.trusted(ctx, e)
	if err != nil {
		return nil, err
	}
	r.Description = optional(e.Role.Description)
	return &shapes.UpdateRoleDescriptionOutput{Role: r}, nil
}

func (a *api) listRoles(ctx context.Context, c *aws.Call, in *shapes.ListRolesInput) (*shapes.ListRolesOutput, error) {
	roles, truncated, marker, err := a.list(ctx, c, entity.Role, in.PathPrefix, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	trusts, err := a.Entities.Trusts(ctx, roles)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListRolesOutput{Roles: []shapes.Role{}, IsTruncated: truncated, Marker: marker}
	for i, e := range roles {
		out.Roles = append(out.Roles, withSettings(roleShape(e, trusts[i]), e))
	}
	return out, nil
}

func (a *api) serviceRoles() []aws.Operation {
	return []aws.Operation{
		aws.Op("CreateServiceLinkedRole", true, func(c *aws.Call, in *shapes.CreateServiceLinkedRoleInput) ([]authz.Need, error) {
			return serviceRoleNeeds(c, "CreateServiceLinkedRole", *in.AWSServiceName), nil
		}, a.createServiceRole),
		aws.Op("DeleteServiceLinkedRole", true, on(a, "DeleteServiceLinkedRole", entity.Role, func(in *shapes.DeleteServiceLinkedRoleInput) *string { return in.RoleName },
			func(k keys, _ *shapes.DeleteServiceLinkedRoleInput, e entity.Entity) {
				if e.Role != nil {
					k.set("iam:awsservicename", &e.Role.Service)
				}
			}), a.deleteServiceRole),
		aws.Op("GetServiceLinkedRoleDeletionStatus", false, func(c *aws.Call, in *shapes.GetServiceLinkedRoleDeletionStatusInput) ([]authz.Need, error) {
			service, _, err := entity.ServiceOfTask(*in.DeletionTaskId)
			return serviceRoleNeeds(c, "GetServiceLinkedRoleDeletionStatus", service), err
		}, a.serviceRoleDeletionStatus),
	}
}

// serviceRoleNeeds is the permission on the role that the service has or would
// have.
func serviceRoleNeeds(c *aws.Call, action, service string) []authz.Need {
	e := entity.Entity{Account: c.Principal.Account, Kind: entity.Role, Path: "/aws-service-role/" + service + "/", Name: entity.ServiceRoleName(service)}
	return []authz.Need{{Action: "iam:" + action, Resource: arnOf(e), Context: keys{"iam:awsservicename": {service}}}}
}

func (a *api) createServiceRole(ctx context.Context, c *aws.Call, in *shapes.CreateServiceLinkedRoleInput) (*shapes.CreateServiceLinkedRoleOutput, error) {
	if in.CustomSuffix != nil {
		return nil, errs.New(errs.InvalidInput, "Custom suffix is not allowed for %s", *in.AWSServiceName)
	}
	e, err := a.Entities.CreateServiceRole(ctx, c.Principal.Account, *in.AWSServiceName, value(in.Description))
	if err != nil {
		return nil, err
	}
	r, err := a.trusted(ctx, e)
	return &shapes.CreateServiceLinkedRoleOutput{Role: r}, err
}

func (a *api) deleteServiceRole(ctx context.Context, c *aws.Call, in *shapes.DeleteServiceLinkedRoleInput) (*shapes.DeleteServiceLinkedRoleOutput, error) {
	task, err := a.Entities.DeleteServiceRole(ctx, c.Principal.Account, *in.RoleName, a.InUse)
	return &shapes.DeleteServiceLinkedRoleOutput{DeletionTaskId: &task}, err
}

func (a *api) serviceRoleDeletionStatus(ctx context.Context, c *aws.Call, in *shapes.GetServiceLinkedRoleDeletionStatusInput) (*shapes.GetServiceLinkedRoleDeletionStatusOutput, error) {
	d, err := a.Entities.DeletionStatus(ctx, c.Principal.Account, *in.DeletionTaskId, a.InUse)
	if err != nil {
		return nil, err
	}
	if d.Deleted {
		return &shapes.GetServiceLinkedRoleDeletionStatusOutput{Status: new(shapes.DeletionTaskStatusTypeSucceeded)}, nil
	}
	reason := &shapes.DeletionTaskFailureReasonType{Reason: &d.Reason}
	for _, region := range d.Regions {
		reason.RoleUsageList = append(reason.RoleUsageList, shapes.RoleUsageType{Region: new(string(region)), Resources: []string{d.Role}})
	}
	return &shapes.GetServiceLinkedRoleDeletionStatusOutput{Status: new(shapes.DeletionTaskStatusTypeFailed), Reason: reason}, nil
}
