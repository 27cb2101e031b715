package ecrpublic

import (
	"context"
	"encoding/base64"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
)

// describeRegistries answers the one registry that an account has, so that no page
// follows, and a token of one cannot be ours.
func (a *API) describeRegistries(ctx context.Context, c *aws.Call, in *DescribeRegistriesInput) (*DescribeRegistriesOutput, error) {
	reg := own(c)
	if _, err := a.tokens().Cursor("registries/"+reg.String(), in.NextToken); err != nil {
		return nil, err
	}
	r, err := a.Catalog.Registry(ctx, reg.Account)
	if err != nil {
		return nil, err
	}
	uri := ""
	if r.Primary() != "" {
		uri = a.registryURI(c, r.Primary())
	}
	one := Registry{
		RegistryId: new(string(reg.Account)), RegistryArn: new(reg.RegistryARN().String()), RegistryUri: &uri,
		Verified: new(r.Verified), Aliases: []RegistryAlias{},
	}
	for _, alias := range r.Aliases {
		one.Aliases = append(one.Aliases, RegistryAlias{
			Name: new(string(alias.Name)), Status: new(RegistryAliasStatus(alias.Status)),
			PrimaryRegistryAlias: new(alias.Primary), DefaultRegistryAlias: new(alias.Default),
		})
	}
	return &DescribeRegistriesOutput{Registries: []Registry{one}}, nil
}

// registryURI is the address of a registry as docker takes it.
func (a *API) registryURI(c *aws.Call, alias name.Alias) string {
	return a.Base(c) + "/" + string(alias)
}

func registryCatalogDataShape(displayName string) *RegistryCatalogData {
	return &RegistryCatalogData{DisplayName: nonEmpty(displayName)}
}

func (a *API) getRegistryCatalogData(ctx context.Context, c *aws.Call, _ *GetRegistryCatalogDataInput) (*GetRegistryCatalogDataOutput, error) {
	r, err := a.Catalog.Registry(ctx, own(c).Account)
	if err != nil {
		return nil, err
	}
	return &GetRegistryCatalogDataOutput{RegistryCatalogData: registryCatalogDataShape(r.DisplayName)}, nil
}

func (a *API) putRegistryCatalogData(ctx context.Context, c *aws.Call, in *PutRegistryCatalogDataInput) (*PutRegistryCatalogDataOutput, error) {
	displayName := orEmpty(in.DisplayName)
	if err := a.Catalog.SetDisplayName(ctx, own(c).Account, displayName); err != nil {
		return nil, err
	}
	return &PutRegistryCatalogDataOutput{RegistryCatalogData: registryCatalogDataShape(displayName)}, nil
}

// getAuthorizationTokenNeeds: the token may be used as a bearer, which is a permission of
// its own (ECR Public user guide, "Registry authentication").
func getAuthorizationTokenNeeds(*aws.Call, *GetAuthorizationTokenInput) ([]authz.Need, error) {
	return []authz.Need{{Action: action("GetAuthorizationToken")}, {Action: "sts:GetServiceBearerToken"}}, nil
}

func (a *API) getAuthorizationToken(ctx context.Context, c *aws.Call, _ *GetAuthorizationTokenInput) (*GetAuthorizationTokenOutput, error) {
	password, expires, err := a.Principals.IssueToken(ctx, c.Principal, name.Public)
	if err != nil {
		return nil, err
	}
	return &GetAuthorizationTokenOutput{AuthorizationData: &AuthorizationData{
		AuthorizationToken: new(base64.StdEncoding.EncodeToString([]byte("AWS:" + password))),
		ExpiresAt:          shape.At(expires),
	}}, nil
}

// orEmpty reads an optional text.
func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// nonEmpty leaves out a text that says nothing.
func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
