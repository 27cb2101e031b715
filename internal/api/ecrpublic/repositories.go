package ecrpublic

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

func createRepositoryNeeds(c *aws.Call, in *CreateRepositoryInput) ([]authz.Need, error) {
	given, arn := requestTags(in.Tags), own(c).RepositoryARN(name.Repository(*in.RepositoryName))
	needs := []authz.Need{{Action: action("CreateRepository"), Resource: arn, Context: given}}
	if len(in.Tags) > 0 {
		needs = append(needs, authz.Need{Action: action("TagResource"), Resource: arn, Context: given})
	}
	return needs, nil
}

func (a *API) createRepository(ctx context.Context, c *aws.Call, in *CreateRepositoryInput) (*CreateRepositoryOutput, error) {
	tags, err := tagsOf(in.Tags)
	if err != nil {
		return nil, err
	}
	create := repository.Create{
		Registry: own(c), Name: name.Repository(*in.RepositoryName), Tags: tags,
		Mutability: repository.Mutability{Setting: repository.Mutable}, Encryption: repository.Encryption{Type: repository.AES256},
	}
	var data *catalog.DataInput
	if in.CatalogData != nil {
		data = dataOf(in.CatalogData)
	}
	r, said, err := a.Catalog.CreateRepository(ctx, create, data)
	if err != nil {
		return nil, err
	}
	shapes, err := a.repositoriesShape(ctx, c, r.Registry, []repository.Repository{r})
	if err != nil {
		return nil, err
	}
	return &CreateRepositoryOutput{Repository: &shapes[0], CatalogData: a.dataShape(c, said)}, nil
}

// repositoriesShape describes repositories of one registry, under its primary alias.
func (a *API) repositoriesShape(ctx context.Context, c *aws.Call, reg name.Registry, found []repository.Repository) ([]Repository, error) {
	all := []Repository{}
	r, err := a.Catalog.Registry(ctx, reg.Account)
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		all = append(all, Repository{
			RepositoryArn: new(one.ARN().String()), RegistryId: new(string(reg.Account)), RepositoryName: new(string(one.Name)),
			RepositoryUri: new(a.registryURI(c, r.Primary()) + "/" + string(one.Name)), CreatedAt: shape.At(one.CreatedAt),
		})
	}
	return all, nil
}

func describeRepositoriesNeeds(c *aws.Call, in *DescribeRepositoriesInput) ([]authz.Need, error) {
	reg := addressed(c, in.RegistryId)
	names := in.RepositoryNames
	if len(names) == 0 {
		names = []string{"*"}
	}
	var needs []authz.Need
	for _, n := range names {
		needs = append(needs, authz.Need{Action: action("DescribeRepositories"), Resource: reg.RepositoryARN(name.Repository(n))})
	}
	return needs, nil
}

func (a *API) describeRepositories(ctx context.Context, c *aws.Call, in *DescribeRepositoriesInput) (*DescribeRepositoriesOutput, error) {
	reg := addressed(c, in.RegistryId)
	out := &DescribeRepositoriesOutput{}
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
	var err error
	out.Repositories, err = a.repositoriesShape(ctx, c, reg, found)
	return out, err
}

func (a *API) deleteRepository(ctx context.Context, c *aws.Call, in *DeleteRepositoryInput) (*DeleteRepositoryOutput, error) {
	reg, repo := target(c, in.RegistryId, in.RepositoryName)
	r, err := a.Repositories.Delete(ctx, reg, repo, in.Force != nil && *in.Force, func(ctx context.Context, tx *sqldb.Tx, r repository.Repository) error {
		return a.Layers.ReleaseRepositoryTx(ctx, tx, r.ID)
	})
	if err != nil {
		return nil, err
	}
	shapes, err := a.repositoriesShape(ctx, c, reg, []repository.Repository{r})
	if err != nil {
		return nil, err
	}
	return &DeleteRepositoryOutput{Repository: &shapes[0]}, nil
}

func dataOf(in *RepositoryCatalogDataInput) *catalog.DataInput {
	return &catalog.DataInput{
		Description: orEmpty(in.Description), About: orEmpty(in.AboutText), Usage: orEmpty(in.UsageText),
		Architectures: in.Architectures, OperatingSystems: in.OperatingSystems, Logo: in.LogoImageBlob,
	}
}

// dataShape leaves out what was not said. There is no marketplace here that could have
// certified anything.
func (a *API) dataShape(c *aws.Call, d catalog.Data) *RepositoryCatalogData {
	out := &RepositoryCatalogData{
		Description: nonEmpty(d.Description), AboutText: nonEmpty(d.About), UsageText: nonEmpty(d.Usage),
	}
	if len(d.Architectures) > 0 {
		out.Architectures = d.Architectures
	}
	if len(d.OperatingSystems) > 0 {
		out.OperatingSystems = d.OperatingSystems
	}
	if d.Logo != "" {
		out.LogoUrl = new(a.Gallery(c) + "/logo/" + d.Logo + ".png")
	}
	return out
}

func (a *API) getRepositoryCatalogData(ctx context.Context, c *aws.Call, in *GetRepositoryCatalogDataInput) (*GetRepositoryCatalogDataOutput, error) {
	reg, repo := target(c, in.RegistryId, in.RepositoryName)
	d, err := a.Catalog.Data(ctx, reg, repo)
	if err != nil {
		return nil, err
	}
	return &GetRepositoryCatalogDataOutput{CatalogData: a.dataShape(c, d)}, nil
}

func (a *API) putRepositoryCatalogData(ctx context.Context, c *aws.Call, in *PutRepositoryCatalogDataInput) (*PutRepositoryCatalogDataOutput, error) {
	reg, repo := target(c, in.RegistryId, in.RepositoryName)
	d, err := a.Catalog.PutData(ctx, reg, repo, *dataOf(in.CatalogData))
	if err != nil {
		return nil, err
	}
	return &PutRepositoryCatalogDataOutput{CatalogData: a.dataShape(c, d)}, nil
}
