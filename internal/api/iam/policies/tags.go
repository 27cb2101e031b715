package policies

import (
	"context"
	"strings"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/iam/shapes"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/principal/managed"
)

func (a *api) tagPolicyNeeds(c *aws.Call, in *shapes.TagPolicyInput) ([]authz.Need, error) {
	needs, err := a.policyNeeds(c, "iam:TagPolicy", *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return []authz.Need{withTags(needs[0], in.Tags)}, nil
}

func (a *api) tagPolicy(ctx context.Context, c *aws.Call, in *shapes.TagPolicyInput) (*shapes.TagPolicyOutput, error) {
	return &shapes.TagPolicyOutput{}, a.Managed.Tag(ctx, c.Principal.Account, *in.PolicyArn, tagsIn(in.Tags))
}

func (a *api) untagPolicyNeeds(c *aws.Call, in *shapes.UntagPolicyInput) ([]authz.Need, error) {
	needs, err := a.policyNeeds(c, "iam:UntagPolicy", *in.PolicyArn)
	if err == nil && len(in.TagKeys) > 0 {
		needs[0].Context["aws:tagkeys"] = in.TagKeys
	}
	return needs, err
}

func (a *api) untagPolicy(ctx context.Context, c *aws.Call, in *shapes.UntagPolicyInput) (*shapes.UntagPolicyOutput, error) {
	return &shapes.UntagPolicyOutput{}, a.Managed.Untag(ctx, c.Principal.Account, *in.PolicyArn, in.TagKeys)
}

func (a *api) listPolicyTags(ctx context.Context, c *aws.Call, in *shapes.ListPolicyTagsInput) (*shapes.ListPolicyTagsOutput, error) {
	after, err := cursor(in.Marker, 1)
	if err != nil {
		return nil, err
	}
	p, err := a.Managed.Get(ctx, c.Principal.Account, *in.PolicyArn)
	if err != nil {
		return nil, err
	}
	all := p.Tags
	for len(all) > 0 && strings.ToLower(all[0].Key) <= after[0] {
		all = all[1:]
	}
	all, truncated, marker := page(all, limitOf(in.MaxItems), func(t managed.Tag) []string { return []string{strings.ToLower(t.Key)} })
	return &shapes.ListPolicyTagsOutput{Tags: mapped(all, tagOf), IsTruncated: truncated, Marker: marker}, nil
}
