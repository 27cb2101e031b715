package policies

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
	"github.com/berth-registry/berth/internal/domain/principal/managed/overview"
)

// getAccountSummary counts. Server and signing certificates, instance profiles
// and a password of the root user do not exist here: they count zero, beside
// AWS's quotas on them.
func (a *api) getAccountSummary(ctx context.Context, c *aws.Call, _ *shapes.GetAccountSummaryInput) (*shapes.GetAccountSummaryOutput, error) {
	n, err := a.overview.Summary(ctx, c.Principal.Account)
	if err != nil {
		return nil, err
	}
	return &shapes.GetAccountSummaryOutput{SummaryMap: map[shapes.SummaryKeyType]int64{
		shapes.SummaryKeyTypeUsers: n.Users, shapes.SummaryKeyTypeUsersQuota: 5000,
		shapes.SummaryKeyTypeGroups: n.Groups, shapes.SummaryKeyTypeGroupsQuota: 300,
		shapes.SummaryKeyTypeRoles: n.Roles, shapes.SummaryKeyTypeRolesQuota: 1000,
		shapes.SummaryKeyTypePolicies: n.Policies, shapes.SummaryKeyTypePoliciesQuota: managed.MaxPolicies,
		shapes.SummaryKeyTypePolicyVersionsInUse: n.PolicyVersions, shapes.SummaryKeyTypePolicyVersionsInUseQuota: 10000,
		shapes.SummaryKeyTypeVersionsPerPolicyQuota: managed.MaxVersions, shapes.SummaryKeyTypePolicySizeQuota: managed.MaxSize,
		shapes.SummaryKeyTypeUserPolicySizeQuota: 2048, shapes.SummaryKeyTypeGroupPolicySizeQuota: 5120, shapes.SummaryKeyTypeRolePolicySizeQuota: 10240,
		shapes.SummaryKeyTypeAssumeRolePolicySizeQuota:     2048,
		shapes.SummaryKeyTypeAttachedPoliciesPerUserQuota:  10,
		shapes.SummaryKeyTypeAttachedPoliciesPerGroupQuota: 10,
		shapes.SummaryKeyTypeAttachedPoliciesPerRoleQuota:  10,
		shapes.SummaryKeyTypeGroupsPerUserQuota:            10,
		shapes.SummaryKeyTypeAccessKeysPerUserQuota:        2,
		shapes.SummaryKeyTypeMFADevices:                    n.Devices, shapes.SummaryKeyTypeMFADevicesInUse: n.DevicesInUse,
		shapes.SummaryKeyTypeAccountMFAEnabled: min(n.RootDevices, 1), shapes.SummaryKeyTypeAccountAccessKeysPresent: min(n.RootKeys, 1),
		shapes.SummaryKeyTypeAccountPasswordPresent: 0, shapes.SummaryKeyTypeAccountSigningCertificatesPresent: 0,
		shapes.SummaryKeyTypeSigningCertificatesPerUserQuota: 2,
		shapes.SummaryKeyTypeServerCertificates:              0, shapes.SummaryKeyTypeServerCertificatesQuota: 20,
		shapes.SummaryKeyTypeInstanceProfiles: 0, shapes.SummaryKeyTypeInstanceProfilesQuota: 1000,
		shapes.SummaryKeyTypeProviders: n.Providers, shapes.SummaryKeyTypeGlobalEndpointTokenVersion: 1,
	}}, nil
}

// sectionOf is the section that a filter chooses.
func sectionOf(t shapes.EntityType) overview.Section {
	switch t {
	case shapes.EntityTypeUser:
		return overview.Users
	case shapes.EntityTypeGroup:
		return overview.Groups
	case shapes.EntityTypeRole:
		return overview.Roles
	case shapes.EntityTypeLocalManagedPolicy:
		return overview.LocalPolicies
	case shapes.EntityTypeAWSManagedPolicy:
	}
	return overview.AWSPolicies
}

func (a *api) getAccountAuthorizationDetails(ctx context.Context, c *aws.Call, in *shapes.GetAccountAuthorizationDetailsInput) (*shapes.GetAccountAuthorizationDetailsOutput, error) {
	var from overview.Cursor
	if in.Marker != nil {
		keys, err := cursor(in.Marker, 2)
		if err != nil {
			return nil, err
		}
		section, err := strconv.ParseUint(keys[0], 10, 8)
		if err != nil {
			return nil, errInvalidMarker()
		}
		from = overview.Cursor{Section: overview.Section(section), After: keys[1]}
	}
	wanted := mapped(in.Filter, sectionOf)
	include := func(s overview.Section) bool { return len(wanted) == 0 || slices.Contains(wanted, s) }
	d, err := a.overview.Details(ctx, c.Principal.Account, include, from, limitOf(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &shapes.GetAccountAuthorizationDetailsOutput{
		UserDetailList: mapped(d.Users, userDetail), GroupDetailList: mapped(d.Groups, groupDetail), RoleDetailList: mapped(d.Roles, roleDetail),
		Policies: mapped(d.Policies, policyDetail), IsTruncated: new(d.Next != nil),
	}
	if d.Next != nil {
		out.Marker = markerOf(strconv.Itoa(int(d.Next.Section)), d.Next.After)
	}
	return out, nil
}

func inlineOf(i overview.Inline) shapes.PolicyDetail {
	return shapes.PolicyDetail{PolicyName: &i.Name, PolicyDocument: encoded(i.Document)}
}

func attachedOf(arn string) shapes.AttachedPolicy {
	return shapes.AttachedPolicy{PolicyName: new(arn[strings.LastIndexByte(arn, '/')+1:]), PolicyArn: &arn}
}

func boundaryOf(arn string) *shapes.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &shapes.AttachedPermissionsBoundary{
		PermissionsBoundaryType: new(shapes.PermissionsBoundaryAttachmentTypePermissionsBoundaryPolicy), PermissionsBoundaryArn: &arn,
	}
}

func userDetail(e overview.Entity) shapes.UserDetail {
	return shapes.UserDetail{
		Path: &e.Path, UserName: &e.Name, UserId: &e.ID, Arn: &e.ARN, CreateDate: shape.At(e.Created),
		UserPolicyList: mapped(e.Inline, inlineOf), GroupList: append([]string{}, e.Groups...), AttachedManagedPolicies: mapped(e.Attached, attachedOf),
		PermissionsBoundary: boundaryOf(e.Boundary), Tags: mapped(e.Tags, tagOf),
	}
}

func groupDetail(e overview.Entity) shapes.GroupDetail {
	return shapes.GroupDetail{
		Path: &e.Path, GroupName: &e.Name, GroupId: &e.ID, Arn: &e.ARN, CreateDate: shape.At(e.Created),
		GroupPolicyList: mapped(e.Inline, inlineOf), AttachedManagedPolicies: mapped(e.Attached, attachedOf),
	}
}

// roleDetail leaves RoleLastUsed empty: it is not recorded.
func roleDetail(e overview.Entity) shapes.RoleDetail {
	return shapes.RoleDetail{
		Path: &e.Path, RoleName: &e.Name, RoleId: &e.ID, Arn: &e.ARN, CreateDate: shape.At(e.Created), AssumeRolePolicyDocument: encoded(e.Trust),
		InstanceProfileList: []shapes.InstanceProfile{}, RolePolicyList: mapped(e.Inline, inlineOf), AttachedManagedPolicies: mapped(e.Attached, attachedOf),
		PermissionsBoundary: boundaryOf(e.Boundary), Tags: mapped(e.Tags, tagOf), RoleLastUsed: &shapes.RoleLastUsed{},
	}
}

func policyDetail(p overview.Policy) shapes.ManagedPolicyDetail {
	d := shapes.ManagedPolicyDetail{
		PolicyName: &p.Name, PolicyId: &p.ID, Arn: &p.ARN, Path: &p.Path, DefaultVersionId: new(managed.VersionID(p.Default)),
		AttachmentCount: &p.Attachments, PermissionsBoundaryUsageCount: &p.Boundaries, IsAttachable: new(true),
		CreateDate: shape.At(p.Created), UpdateDate: shape.At(p.Updated), PolicyVersionList: mapped(p.Versions, withDocument),
	}
	if p.Description != "" {
		d.Description = &p.Description
	}
	return d
}
