package ecr

import (
	"context"
	"maps"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func (a *API) createRepositoryNeeds(c *aws.Call, in *CreateRepositoryInput) ([]authz.Need, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	given := requestTags(in.Tags)
	needs := []authz.Need{{Action: "ecr:CreateRepository", Resource: reg.RepositoryARN(repo), Context: given}}
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: "ecr:TagResource", Resource: reg.RepositoryARN(repo), Context: given})
	}
	return needs, nil
}

func (a *API) createRepository(ctx context.Context, c *aws.Call, in *CreateRepositoryInput) (*CreateRepositoryOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	create := repository.Create{Registry: reg, Name: repo, Mutability: mutabilityOf(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters)}
	if s := in.ImageScanningConfiguration; s != nil && s.ScanOnPush != nil {
		create.ScanOnPush = *s.ScanOnPush
	}
	if e := in.EncryptionConfiguration; e != nil {
		create.Encryption.Type = repository.EncryptionType(*e.EncryptionType)
		if e.KmsKey != nil {
			create.Encryption.KMSKey = *e.KmsKey
		}
	}
	var err error
	if create.Tags, err = tagsOf(in.Tags); err != nil {
		return nil, err
	}
	r, err := a.Repositories.Create(ctx, create)
	if err != nil {
		return nil, err
	}
	return &CreateRepositoryOutput{Repository: a.repositoryShape(c, r)}, nil
}

func mutabilityOf(setting *ImageTagMutability, filters []ImageTagMutabilityExclusionFilter) repository.Mutability {
	m := repository.Mutability{Setting: repository.Mutable}
	if setting != nil {
		m.Setting = repository.TagMutability(*setting)
	}
	for _, f := range filters {
		m.Filters = append(m.Filters, *f.Filter)
	}
	return m
}

func filtersShape(m repository.Mutability) []ImageTagMutabilityExclusionFilter {
	var out []ImageTagMutabilityExclusionFilter
	for _, f := range m.Filters {
		out = append(out, ImageTagMutabilityExclusionFilter{FilterType: new(ImageTagMutabilityExclusionFilterTypeWildcard), Filter: new(f)})
	}
	return out
}

func (a *API) repositoryShape(c *aws.Call, r repository.Repository) *Repository {
	out := &Repository{
		RepositoryArn:                      new(r.ARN().String()),
		RegistryId:                         new(string(r.Registry.Account)),
		RepositoryName:                     new(string(r.Name)),
		RepositoryUri:                      new(a.registryHost(c, r.Registry) + "/" + string(r.Name)),
		CreatedAt:                          shape.At(r.CreatedAt),
		ImageTagMutability:                 new(ImageTagMutability(r.Mutability.Setting)),
		ImageTagMutabilityExclusionFilters: filtersShape(r.Mutability),
		ImageScanningConfiguration:         &ImageScanningConfiguration{ScanOnPush: new(r.ScanOnPush)},
		EncryptionConfiguration:            &EncryptionConfiguration{EncryptionType: new(EncryptionType(r.Encryption.Type))},
	}
	if r.Encryption.KMSKey != "" {
		out.EncryptionConfiguration.KmsKey = new(r.Encryption.KMSKey)
	}
	return out
}

func (a *API) describeRepositoriesNeeds(c *aws.Call, in *DescribeRepositoriesInput) ([]authz.Need, error) {
	reg, _ := addressing.Target(c, in.RegistryId, nil)
	if len(in.RepositoryNames) == 0 {
		return []authz.Need{{Action: "ecr:DescribeRepositories", Resource: reg.RepositoryARN("*")}}, nil
	}
	var needs []authz.Need
	for _, n := range in.RepositoryNames {
		needs = append(needs, authz.Need{Action: "ecr:DescribeRepositories", Resource: reg.RepositoryARN(name.Repository(n))})
	}
	return needs, nil
}

func (a *API) describeRepositories(ctx context.Context, c *aws.Call, in *DescribeRepositoriesInput) (*DescribeRepositoriesOutput, error) {
	reg, _ := addressing.Target(c, in.RegistryId, nil)
	out := &DescribeRepositoriesOutput{Repositories: []Repository{}}
	var found []repository.Repository
	if len(in.RepositoryNames) > 0 {
		if in.NextToken != nil || in.MaxResults != nil {
			return nil, errs.Parameter("repositoryNames", "nextToken and maxResults cannot be used together with repositoryNames")
		}
		names := make([]name.Repository, len(in.RepositoryNames))
		for i, n := range in.RepositoryNames {
			names[i] = name.Repository(n)
		}
		var err error
		if found, err = a.Repositories.GetAll(ctx, reg, names); err != nil {
			return nil, err
		}
	} else {
		scope := "repositories/" + reg.String()
		after, err := a.tokens().Cursor(scope, in.NextToken)
		if err != nil {
			return nil, err
		}
		limit := paging.LimitOf(in.MaxResults, paging.Size)
		if found, err = a.Repositories.List(ctx, reg, name.Repository(after), limit+1); err != nil {
			return nil, err
		}
		if len(found) > limit {
			found = found[:limit]
			out.NextToken = a.tokens().Token(scope, string(found[limit-1].Name))
		}
	}
	for _, r := range found {
		out.Repositories = append(out.Repositories, *a.repositoryShape(c, r))
	}
	return out, nil
}

func (a *API) deleteRepository(ctx context.Context, c *aws.Call, in *DeleteRepositoryInput) (*DeleteRepositoryOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	force := in.Force != nil && *in.Force
	r, err := a.Repositories.Delete(ctx, reg, repo, force, func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
		return a.Layers.ReleaseRepositoryTx(ctx, tx, r.ID)
	})
	if err != nil {
		return nil, err
	}
	return &DeleteRepositoryOutput{Repository: a.repositoryShape(c, r)}, nil
}

func (a *API) putImageTagMutability(ctx context.Context, c *aws.Call, in *PutImageTagMutabilityInput) (*PutImageTagMutabilityOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	r, err := a.Repositories.SetMutability(ctx, reg, repo, mutabilityOf(in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters))
	if err != nil {
		return nil, err
	}
	return &PutImageTagMutabilityOutput{
		RegistryId: new(string(reg.Account)), RepositoryName: new(string(repo)),
		ImageTagMutability:                 new(ImageTagMutability(r.Mutability.Setting)),
		ImageTagMutabilityExclusionFilters: filtersShape(r.Mutability),
	}, nil
}

// tagsOf reads resource tags; a key that stands twice is refused.
func tagsOf(in []Tag) (map[string]string, error) {
	tags := map[string]string{}
	for _, t := range in {
		if _, twice := tags[*t.Key]; twice {
			return nil, errs.New(errs.InvalidResourceTag, "Invalid tags: the tag key '%s' is given more than once", *t.Key)
		}
		tags[*t.Key] = *t.Value
	}
	return tags, nil
}

func (a *API) tagResource(ctx context.Context, c *aws.Call, in *TagResourceInput) (*TagResourceOutput, error) {
	r, err := a.repositoryByARN(ctx, c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	return &TagResourceOutput{}, a.Repositories.SetTags(ctx, r, tags)
}

func (a *API) untagResource(ctx context.Context, c *aws.Call, in *UntagResourceInput) (*UntagResourceOutput, error) {
	r, err := a.repositoryByARN(ctx, c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &UntagResourceOutput{}, a.Repositories.RemoveTags(ctx, r, in.TagKeys)
}

func (a *API) listTagsForResource(ctx context.Context, c *aws.Call, in *ListTagsForResourceInput) (*ListTagsForResourceOutput, error) {
	r, err := a.repositoryByARN(ctx, c, in.ResourceArn)
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

func (a *API) repositoryByARN(ctx context.Context, c *aws.Call, arn *string) (repository.Repository, error) {
	reg, repo, err := repositoryOfARN(c, arn)
	if err != nil {
		return repository.Repository{}, err
	}
	return a.Repositories.Get(ctx, reg, repo)
}
