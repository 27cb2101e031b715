package policies

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
)

// versionOf is a version without its document.
func versionOf(v managed.Version) shapes.PolicyVersion {
	return shapes.PolicyVersion{VersionId: new(v.ID()), IsDefaultVersion: &v.Default, CreateDate: shape.At(v.Created)}
}

// withDocument is a version with its document.
func withDocument(v managed.Version) shapes.PolicyVersion {
	out := versionOf(v)
	out.Document = encoded(v.Document)
	return out
}

// versionIn reads a version's id. The service model admits text behind a dot,
// which says nothing.
func versionIn(id *string) int64 {
	plain, _, _ := strings.Cut(*id, ".")
	return managed.ParseVersion(plain)
}

func (a *api) createPolicyVersion(ctx context.Context, c *aws.Call, in *shapes.CreatePolicyVersionInput) (*shapes.CreatePolicyVersionOutput, error) {
	v, err := a.Managed.CreateVersion(ctx, c.Principal.Account, *in.PolicyArn, *in.PolicyDocument, in.SetAsDefault != nil && *in.SetAsDefault)
	if err != nil {
		return nil, err
	}
	return &shapes.CreatePolicyVersionOutput{PolicyVersion: new(versionOf(v))}, nil
}

func (a *api) getPolicyVersion(ctx context.Context, c *aws.Call, in *shapes.GetPolicyVersionInput) (*shapes.GetPolicyVersionOutput, error) {
	v, err := a.Managed.Version(ctx, c.Principal.Account, *in.PolicyArn, versionIn(in.VersionId))
	if err != nil {
		return nil, err
	}
	return &shapes.GetPolicyVersionOutput{PolicyVersion: new(withDocument(v))}, nil
}

func (a *api) deletePolicyVersion(ctx context.Context, c *aws.Call, in *shapes.DeletePolicyVersionInput) (*shapes.DeletePolicyVersionOutput, error) {
	return &shapes.DeletePolicyVersionOutput{}, a.Managed.DeleteVersion(ctx, c.Principal.Account, *in.PolicyArn, versionIn(in.VersionId))
}

func (a *api) listPolicyVersions(ctx context.Context, c *aws.Call, in *shapes.ListPolicyVersionsInput) (*shapes.ListPolicyVersionsOutput, error) {
	after, err := cursor(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	all, err := a.Managed.Versions(ctx, c.Principal.Account, *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	if after[0] != "" {
		last := managed.ParseVersion(after[0])
		if last == 0 {
			return nil, errInvalidMarker()
		}
		for len(all) > 0 && all[0].Number >= last {
			all = all[1:]
		}
	}
	all, truncated, marker := page(all, limitOf(in.MaxItems), func(v managed.Version) []string { return []string{v.ID()} })
	return &shapes.ListPolicyVersionsOutput{Versions: mapped(all, versionOf), IsTruncated: truncated, Marker: marker}, nil
}

func (a *api) setDefaultPolicyVersion(ctx context.Context, c *aws.Call, in *shapes.SetDefaultPolicyVersionInput) (*shapes.SetDefaultPolicyVersionOutput, error) {
	return &shapes.SetDefaultPolicyVersionOutput{}, a.Managed.SetDefault(ctx, c.Principal.Account, *in.PolicyArn, versionIn(in.VersionId))
}
