package credentials

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal/provider"
)

// onProvider is for operations on a provider, with what their input says about
// tags.
func onProvider[I any](a *api, action string, of func(*I) (arn *string, keys map[string][]string)) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		text, keys := of(in)
		arn, err := name.ParseARN(*text)
		if err != nil || arn.Service != "iam" || !strings.HasPrefix(arn.Resource, "oidc-provider/") {
			return nil, errs.New(errs.InvalidInput, "Invalid ARN: %s is not that of an OpenID Connect provider.", *text)
		}
		tags, err := a.Providers.Tags(context.Background(), c.Principal.Account, *text)
		if err != nil && !errs.Is(err, errs.EntityNotFound) {
			return nil, err
		}
		return []authz.Need{{Action: action, Resource: arn, Context: tagged(keys, tags)}}, nil
	}
}

func (a *api) createOpenIDConnectProviderNeeds(c *aws.Call, in *shapes.CreateOpenIDConnectProviderInput) ([]authz.Need, error) {
	text, err := provider.ARN(c.Principal.Account, *in.Url)
	if err != nil {
		return nil, err
	}
	arn, err := name.ParseARN(text)
	if err != nil {
		return nil, err
	}
	needs := []authz.Need{{Action: "iam:CreateOpenIDConnectProvider", Resource: arn, Context: requested(in.Tags)}}
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "iam:TagOpenIDConnectProvider", Resource: arn, Context: requested(in.Tags)})
	}
	return needs, nil
}

func (a *api) createOpenIDConnectProvider(ctx context.Context, c *aws.Call, in *shapes.CreateOpenIDConnectProviderInput) (*shapes.CreateOpenIDConnectProviderOutput, error) {
	p, err := a.Providers.Create(ctx, c.Principal.Account, provider.Create{
		URL: *in.Url, ClientIDs: in.ClientIDList, Thumbprints: in.ThumbprintList, Tags: tagsOf(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	out := &shapes.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: new(p.ARN)}
	if len(in.Tags) > 0 {
		out.Tags = in.Tags
	}
	return out, nil
}

// getOpenIDConnectProvider gives the URL without its scheme, as AWS does.
func (a *api) getOpenIDConnectProvider(ctx context.Context, c *aws.Call, in *shapes.GetOpenIDConnectProviderInput) (*shapes.GetOpenIDConnectProviderOutput, error) {
	p, err := a.Providers.Get(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	tags, err := a.Providers.Tags(ctx, c.Principal.Account, p.ARN)
	if err != nil {
		return nil, err
	}
	return &shapes.GetOpenIDConnectProviderOutput{
		Url: new(p.Host), ClientIDList: p.ClientIDs, ThumbprintList: p.Thumbprints, CreateDate: shape.At(p.CreatedAt), Tags: tagShapes(tags),
	}, nil
}

func (a *api) deleteOpenIDConnectProvider(ctx context.Context, c *aws.Call, in *shapes.DeleteOpenIDConnectProviderInput) (*shapes.DeleteOpenIDConnectProviderOutput, error) {
	return &shapes.DeleteOpenIDConnectProviderOutput{}, a.Providers.Delete(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn)
}

func (a *api) listOpenIDConnectProviders(ctx context.Context, c *aws.Call, _ *shapes.ListOpenIDConnectProvidersInput) (*shapes.ListOpenIDConnectProvidersOutput, error) {
	arns, err := a.Providers.List(ctx, c.Principal.Account)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListOpenIDConnectProvidersOutput{OpenIDConnectProviderList: []shapes.OpenIDConnectProviderListEntry{}}
	for _, arn := range arns {
		out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, shapes.OpenIDConnectProviderListEntry{Arn: new(arn)})
	}
	return out, nil
}

func (a *api) addClientID(ctx context.Context, c *aws.Call, in *shapes.AddClientIDToOpenIDConnectProviderInput) (*shapes.AddClientIDToOpenIDConnectProviderOutput, error) {
	return &shapes.AddClientIDToOpenIDConnectProviderOutput{}, a.Providers.AddClientID(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn, *in.ClientID)
}

func (a *api) removeClientID(ctx context.Context, c *aws.Call, in *shapes.RemoveClientIDFromOpenIDConnectProviderInput) (*shapes.RemoveClientIDFromOpenIDConnectProviderOutput, error) {
	return &shapes.RemoveClientIDFromOpenIDConnectProviderOutput{}, a.Providers.RemoveClientID(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn, *in.ClientID)
}

func (a *api) updateThumbprint(ctx context.Context, c *aws.Call, in *shapes.UpdateOpenIDConnectProviderThumbprintInput) (*shapes.UpdateOpenIDConnectProviderThumbprintOutput, error) {
	return &shapes.UpdateOpenIDConnectProviderThumbprintOutput{}, a.Providers.SetThumbprints(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn, in.ThumbprintList)
}

func (a *api) tagOpenIDConnectProvider(ctx context.Context, c *aws.Call, in *shapes.TagOpenIDConnectProviderInput) (*shapes.TagOpenIDConnectProviderOutput, error) {
	return &shapes.TagOpenIDConnectProviderOutput{}, a.Providers.Tag(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn, tagsOf(in.Tags))
}

func (a *api) untagOpenIDConnectProvider(ctx context.Context, c *aws.Call, in *shapes.UntagOpenIDConnectProviderInput) (*shapes.UntagOpenIDConnectProviderOutput, error) {
	return &shapes.UntagOpenIDConnectProviderOutput{}, a.Providers.Untag(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn, in.TagKeys)
}

func (a *api) listOpenIDConnectProviderTags(ctx context.Context, c *aws.Call, in *shapes.ListOpenIDConnectProviderTagsInput) (*shapes.ListOpenIDConnectProviderTagsOutput, error) {
	tags, err := a.Providers.Tags(ctx, c.Principal.Account, *in.OpenIDConnectProviderArn)
	if err != nil {
		return nil, err
	}
	out := &shapes.ListOpenIDConnectProviderTagsOutput{}
	out.Tags, out.IsTruncated, out.Marker, err = tagPage(tags, in.Marker, in.MaxItems)
	return out, err
}
