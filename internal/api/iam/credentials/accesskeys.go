package credentials

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/credential"
)

func statusOf(active bool) *shapes.StatusType {
	if active {
		return new(shapes.StatusTypeActive)
	}
	return new(shapes.StatusTypeInactive)
}

func (a *api) createAccessKey(ctx context.Context, c *aws.Call, in *shapes.CreateAccessKeyInput) (*shapes.CreateAccessKeyOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	k, err := a.Credentials.CreateAccessKey(ctx, c.Principal.Account, owner)
	if err != nil {
		return nil, err
	}
	return &shapes.CreateAccessKeyOutput{AccessKey: &shapes.AccessKey{
		UserName: shownName(c, k.UserName), AccessKeyId: new(k.ID), SecretAccessKey: new(k.Secret),
		Status: statusOf(k.Active), CreateDate: shape.At(k.CreatedAt),
	}}, nil
}

func (a *api) updateAccessKey(ctx context.Context, c *aws.Call, in *shapes.UpdateAccessKeyInput) (*shapes.UpdateAccessKeyOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	// The model has Expired as well, which only IAM itself gives to a key.
	if *in.Status == shapes.StatusTypeExpired {
		return nil, errs.New(errs.InvalidInput, "The status of an access key can be set to Active or Inactive only.")
	}
	return &shapes.UpdateAccessKeyOutput{}, a.Credentials.SetAccessKey(ctx, c.Principal.Account, owner, *in.AccessKeyId, *in.Status == shapes.StatusTypeActive)
}

func (a *api) deleteAccessKey(ctx context.Context, c *aws.Call, in *shapes.DeleteAccessKeyInput) (*shapes.DeleteAccessKeyOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	return &shapes.DeleteAccessKeyOutput{}, a.Credentials.DeleteAccessKey(ctx, c.Principal.Account, owner, *in.AccessKeyId)
}

func (a *api) listAccessKeys(ctx context.Context, c *aws.Call, in *shapes.ListAccessKeysInput) (*shapes.ListAccessKeysOutput, error) {
	owner, err := ownerOf(c, in.UserName)
	if err != nil {
		return nil, err
	}
	after, limit, err := page(in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	keys, err := a.Credentials.AccessKeys(ctx, c.Principal.Account, owner, after, limit+1)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListAccessKeysOutput{AccessKeyMetadata: []shapes.AccessKeyMetadata{}}
	keys, out.IsTruncated, out.Marker = cut(keys, limit, func(k credential.AccessKey) string { return k.ID })
	for _, k := range keys {
		out.AccessKeyMetadata = append(out.AccessKeyMetadata, shapes.AccessKeyMetadata{
			UserName: shownName(c, k.UserName), AccessKeyId: new(k.ID), Status: statusOf(k.Active), CreateDate: shape.At(k.CreatedAt),
		})
	}
	return out, nil
}

// getAccessKeyLastUsedNeeds asks about the user who has the key. A key that
// nobody has is asked for as everybody's.
func (a *api) getAccessKeyLastUsedNeeds(c *aws.Call, in *shapes.GetAccessKeyLastUsedInput) ([]authz.Need, error) {
	const action = "iam:GetAccessKeyLastUsed"
	u, err := a.Credentials.KeyOwner(context.Background(), c.Principal.Account, *in.AccessKeyId)
	if errs.Is(err, errs.EntityNotFound) {
		return []authz.Need{{Action: action, Resource: iamARN(c, "user/*")}}, nil
	}
	if err != nil {
		return nil, err
	}
	return a.userNeed(c, action, credential.Owner{ID: u.ID})
}

func (a *api) getAccessKeyLastUsed(ctx context.Context, c *aws.Call, in *shapes.GetAccessKeyLastUsedInput) (*shapes.GetAccessKeyLastUsedOutput, error) {
	u, use, err := a.Credentials.LastUsed(ctx, c.Principal.Account, *in.AccessKeyId)
	if err != nil {
		return nil, err
	}
	last := &shapes.AccessKeyLastUsed{ServiceName: new("N/A"), Region: new("N/A"), LastUsedDate: shape.AtNonZero(use.At)}
	if !use.At.IsZero() {
		last.ServiceName, last.Region = new(use.Service), new(use.Region)
	}
	return &shapes.GetAccessKeyLastUsedOutput{UserName: shownName(c, u.Name), AccessKeyLastUsed: last}, nil
}
