package ecrpublic

import (
	"context"
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// repositoryOfARN reads the ARN of a public repository.
func repositoryOfARN(arn *string) (name.Registry, name.Repository, error) {
	a, err := name.ParseARN(*arn)
	if err == nil {
		if reg, repo, ok := a.RepositoryOf(); ok && reg.IsPublic() && a.Partition == "aws" {
			return reg, repo, nil
		}
	}
	return name.Registry{}, "", errs.Parameter("resourceArn", "Invalid ARN")
}

// requestTags are the condition keys of tags that a request gives.
func requestTags(tags []Tag) map[string][]string {
	given := map[string]string{}
	for _, t := range tags {
		given[orEmpty(t.Key)] = orEmpty(t.Value)
	}
	return authz.TagContext(given)
}

// onARN is the need of an operation on a resource named by its ARN.
func onARN(operation string, arn *string, given map[string][]string) ([]authz.Need, error) {
	reg, repo, err := repositoryOfARN(arn)
	if err != nil {
		return nil, err
	}
	return []authz.Need{{Action: action(operation), Resource: reg.RepositoryARN(repo), Context: given}}, nil
}

func tagResourceNeeds(_ *aws.Call, in *TagResourceInput) ([]authz.Need, error) {
	return onARN("TagResource", in.ResourceArn, requestTags(in.Tags))
}

func untagResourceNeeds(_ *aws.Call, in *UntagResourceInput) ([]authz.Need, error) {
	return onARN("UntagResource", in.ResourceArn, map[string][]string{"aws:tagkeys": in.TagKeys})
}

func listTagsForResourceNeeds(_ *aws.Call, in *ListTagsForResourceInput) ([]authz.Need, error) {
	return onARN("ListTagsForResource", in.ResourceArn, nil)
}

// tagsOf reads resource tags, whose members the service model does not require: one
// without a value has an empty one. A key that stands twice is refused.
func tagsOf(in []Tag) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range in {
		key := orEmpty(t.Key)
		if _, twice := tags[key]; twice {
			return nil, errs.New(errs.InvalidResourceTag, "Invalid tags: the tag key '%s' is given more than once", key)
		}
		tags[key] = orEmpty(t.Value)
	}
	return tags, nil
}

func (a *API) tagResource(ctx context.Context, _ *aws.Call, in *TagResourceInput) (*TagResourceOutput, error) {
	r, err := a.repositoryByARN(ctx, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	return &TagResourceOutput{}, a.Repositories.SetTags(ctx, r, tags)
}

func (a *API) untagResource(ctx context.Context, _ *aws.Call, in *UntagResourceInput) (*UntagResourceOutput, error) {
	r, err := a.repositoryByARN(ctx, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &UntagResourceOutput{}, a.Repositories.RemoveTags(ctx, r, in.TagKeys)
}

func (a *API) listTagsForResource(ctx context.Context, _ *aws.Call, in *ListTagsForResourceInput) (*ListTagsForResourceOutput, error) {
	r, err := a.repositoryByARN(ctx, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags, err := a.Repositories.Tags(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &ListTagsForResourceOutput{Tags: []Tag{}}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Tags = append(out.Tags, Tag{Key: new(k), Value: new(tags[k])})
	}
	return out, nil
}

func (a *API) repositoryByARN(ctx context.Context, arn *string) (repository.Repository, error) {
	reg, repo, err := repositoryOfARN(arn)
	if err != nil {
		return repository.Repository{}, err
	}
	return a.Repositories.Get(ctx, reg, repo)
}
