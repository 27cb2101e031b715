package ecr

import (
	"context"
	"encoding/base64"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

func (a *API) getAuthorizationToken(ctx context.Context, c *aws.Call, in *GetAuthorizationTokenInput) (*GetAuthorizationTokenOutput, error) {
	if !a.Registries.Enabled(c.Region) {
		return nil, errs.New(errs.InvalidParameter, "The region '%s' is not served here; the regions are %v", c.Region, a.Registries.Regions())
	}
	ids := in.RegistryIds
	if len(ids) == 0 {
		ids = []string{string(c.Registry.Account)}
	}
	out := &GetAuthorizationTokenOutput{}
	for _, id := range ids {
		password, expires, err := a.Principals.IssueToken(ctx, c.Principal, c.Region)
		if err != nil {
			return nil, err
		}
		reg := name.Registry{Account: name.AccountID(id), Region: c.Region}
		out.AuthorizationData = append(out.AuthorizationData, AuthorizationData{
			AuthorizationToken: new(base64.StdEncoding.EncodeToString([]byte("AWS:" + password))),
			ExpiresAt:          shape.At(expires),
			ProxyEndpoint:      new(c.Scheme + "://" + a.registryHost(c, reg)),
		})
	}
	return out, nil
}
