// Package ecrpublic is the Amazon ECR Public API (2020-10-30, JSON 1.1): the table of
// operations, each with the permissions it needs, and the translation between the
// service's shapes and the domain. It is in one region, its home.
//
// It does not authenticate, validate shapes, authorize or write errors; the
// pipeline in api/aws does. The rules are in the domain packages, what is said of
// registries and repositories in domain/catalog.
package ecrpublic

import (
	"context"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/tagged"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/principal"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/domain/quota"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Config is what the API stands on. Everything is needed.
type Config struct {
	Principals   *principal.Service
	Entities     *entity.Service
	Access       *authz.Service
	Repositories *repository.Service
	Layers       *layer.Service
	Images       *image.Service
	Tags         tagged.Reader
	Catalog      *catalog.Service
	Quotas       quota.Source
	// Home is the region of the API.
	Home name.Region
	// SigningKey signs page tokens; 32 bytes.
	SigningKey []byte
	// Base is the host, with its port, under which the client of a call reaches
	// public registries.
	Base func(c *aws.Call) string
	// Gallery is the URL, without a slash at its end, under which it reaches the
	// gallery.
	Gallery func(c *aws.Call) string
}

// API holds the operations.
type API struct {
	Config
}

// New returns the API.
func New(c Config) *API { return &API{Config: c} }

// catalogBodyLimit holds a logo of 512,000 bytes in base64, and the texts and lists of the
// catalog data in their longest form: 60,000 characters, each escaped in twelve bytes.
const catalogBodyLimit = 2 << 20

// Service describes the API to the pipeline. It can be described without a Config,
// for the documentation.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:        name.ServiceECRPublic,
		EventSource: "ecr-public.amazonaws.com",
		// As CloudTrail's sample in the ECR Public user guide has it, unlike ECR's own.
		RecordedTimes: "Jan 2, 2006, 3:04:05 PM",
		TargetPrefix:  "SpencerFrontendService",
		SigningNames:  []string{name.ServiceECRPublic},
		Host:          name.HostECRPublic,
		Protocol:      json11.Protocol{},
		Regions:       a.atHome,
		Known:         OperationNames(),
		Errors:        errorOf,
		ErrorShapes:   ErrorShapes(),
		BodyLimits: map[string]int64{
			"UploadLayerPart": aws.LayerPartBodyLimit, "PutImage": aws.ManifestBodyLimit,
			"CreateRepository": catalogBodyLimit, "PutRepositoryCatalogData": catalogBodyLimit,
		},
		Operations: a.operations(),
	}
}

// atHome refuses calls in other regions.
func (a *API) atHome(region name.Region) error {
	if region == a.Home {
		return nil
	}
	return errs.New(errs.RegionUnsupported, "ECR Public is in %s only: call with --region %s", a.Home, a.Home)
}

// operations is the table.
func (a *API) operations() []aws.Operation {
	return []aws.Operation{
		// registry.go
		aws.Op("DescribeRegistries", false, onRegistry[DescribeRegistriesInput]("DescribeRegistries"), a.describeRegistries),
		aws.Op("GetRegistryCatalogData", false, onRegistry[GetRegistryCatalogDataInput]("GetRegistryCatalogData"), a.getRegistryCatalogData),
		aws.Op("PutRegistryCatalogData", true, onRegistry[PutRegistryCatalogDataInput]("PutRegistryCatalogData"), a.putRegistryCatalogData),
		aws.Op("GetAuthorizationToken", false, getAuthorizationTokenNeeds, a.getAuthorizationToken),

		// repositories.go
		aws.Op("CreateRepository", true, createRepositoryNeeds, a.createRepository),
		aws.Op("DescribeRepositories", false, describeRepositoriesNeeds, a.describeRepositories),
		aws.Op("DeleteRepository", true, onRepository("DeleteRepository", func(in *DeleteRepositoryInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.deleteRepository),
		aws.Op("GetRepositoryCatalogData", false, onRepository("GetRepositoryCatalogData", func(in *GetRepositoryCatalogDataInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.getRepositoryCatalogData),
		aws.Op("PutRepositoryCatalogData", true, onRepository("PutRepositoryCatalogData", func(in *PutRepositoryCatalogDataInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.putRepositoryCatalogData),

		// tags.go
		aws.Op("TagResource", true, tagResourceNeeds, a.tagResource),
		aws.Op("UntagResource", true, untagResourceNeeds, a.untagResource),
		aws.Op("ListTagsForResource", false, listTagsForResourceNeeds, a.listTagsForResource),

		// policies.go
		aws.Op("SetRepositoryPolicy", true, onRepository("SetRepositoryPolicy", func(in *SetRepositoryPolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.setRepositoryPolicy),
		aws.Op("GetRepositoryPolicy", false, onRepository("GetRepositoryPolicy", func(in *GetRepositoryPolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.getRepositoryPolicy),
		aws.Op("DeleteRepositoryPolicy", true, onRepository("DeleteRepositoryPolicy", func(in *DeleteRepositoryPolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.deleteRepositoryPolicy),

		// layers.go
		byAlias(a, "BatchCheckLayerAvailability", false, func(in *BatchCheckLayerAvailabilityInput) (r, n *string) { return in.RegistryId, in.RepositoryName }, nil, a.batchCheckLayerAvailability),
		byAlias(a, "InitiateLayerUpload", true, func(in *InitiateLayerUploadInput) (r, n *string) { return in.RegistryId, in.RepositoryName }, nil, a.initiateLayerUpload),
		byAlias(a, "UploadLayerPart", true, func(in *UploadLayerPartInput) (r, n *string) { return in.RegistryId, in.RepositoryName }, nil, a.uploadLayerPart),
		byAlias(a, "CompleteLayerUpload", true, func(in *CompleteLayerUploadInput) (r, n *string) { return in.RegistryId, in.RepositoryName }, nil, a.completeLayerUpload),

		// images.go
		byAlias(a, "PutImage", true, func(in *PutImageInput) (r, n *string) { return in.RegistryId, in.RepositoryName }, putImageIDs, a.putImage),
		byAlias(a, "BatchDeleteImage", true, func(in *BatchDeleteImageInput) (r, n *string) { return in.RegistryId, in.RepositoryName }, batchDeleteImageIDs, a.batchDeleteImage),
		aws.Op("DescribeImages", false, onRepository("DescribeImages", func(in *DescribeImagesInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.describeImages),
		aws.Op("DescribeImageTags", false, onRepository("DescribeImageTags", func(in *DescribeImageTagsInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.describeImageTags),
	}
}

// addressed is the public registry that a call is about: the one that Prepare has found,
// the account's that the input names, or the caller's own.
func addressed(c *aws.Call, registryID *string) name.Registry {
	switch {
	case c.Registry.IsPublic():
		return c.Registry
	case registryID != nil:
		return name.PublicRegistry(name.AccountID(*registryID))
	}
	return name.PublicRegistry(c.Registry.Account)
}

// target is the registry and repository that a request names.
func target(c *aws.Call, registryID, repositoryName *string) (name.Registry, name.Repository) {
	return addressed(c, registryID), name.Repository(*repositoryName)
}

// own is the caller's public registry.
func own(c *aws.Call) name.Registry { return name.PublicRegistry(c.Registry.Account) }

// repository finds the repository that a request names.
func (a *API) repository(ctx context.Context, c *aws.Call, registryID, repositoryName *string) (repository.Repository, error) {
	reg, repo := target(c, registryID, repositoryName)
	return a.Repositories.Get(ctx, reg, repo)
}

// action is an action of IAM by the name of the operation.
func action(operation string) string { return name.ServiceECRPublic + ":" + operation }

// onRegistry makes the Needs of an operation on the caller's registry.
func onRegistry[I any](operation string) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, _ *I) ([]authz.Need, error) {
		return []authz.Need{{Action: action(operation), Resource: own(c).RegistryARN()}}, nil
	}
}

// onRepository makes the Needs of an operation on one repository.
func onRepository[I any](operation string, of func(*I) (registryID, repositoryName *string)) func(*aws.Call, *I) ([]authz.Need, error) {
	return func(c *aws.Call, in *I) ([]authz.Need, error) {
		registryID, repositoryName := of(in)
		reg, repo := target(c, registryID, repositoryName)
		return []authz.Need{{Action: action(operation), Resource: reg.RepositoryARN(repo)}}, nil
	}
}

// byAlias makes the row of an operation whose registryId may also be an alias (API model,
// RegistryIdOrAlias), which is looked up before anybody can be asked for a permission.
// images are those that it names, for conditions on their tags; nil for none.
func byAlias[I, O any](
	a *API, operation string, mutates bool, of func(*I) (registryID, repositoryName *string),
	images func(*I) []authz.ImageID, do func(context.Context, *aws.Call, *I) (*O, error),
) aws.Operation {
	op := aws.Op(operation, mutates, func(c *aws.Call, in *I) ([]authz.Need, error) {
		needs, err := onRepository(operation, of)(c, in)
		if images != nil && err == nil {
			needs[0].Images = images(in)
		}
		return needs, err
	}, do)
	op.Prepare = func(ctx context.Context, c *aws.Call, in any) error {
		registryID, repositoryName := of(in.(*I))
		if registryID == nil {
			return nil
		}
		account, err := a.account(ctx, c, *registryID)
		if operation == "BatchDeleteImage" && errs.Is(err, errs.RegistryNotFound) { // it has no such exception
			err = repository.NotFound(name.Registry{Account: name.AccountID(*registryID)}, name.Repository(*repositoryName))
		}
		c.Registry = name.PublicRegistry(account)
		return err
	}
	return op
}

// account finds whose public registry has the id or alias. Who has nothing public has
// none, the caller excepted. errs.RegistryNotFound.
func (a *API) account(ctx context.Context, c *aws.Call, idOrAlias string) (name.AccountID, error) {
	id, err := name.ParseAccountID(idOrAlias)
	if err != nil {
		return a.Catalog.Resolve(ctx, idOrAlias)
	}
	if id == c.Principal.Account {
		return id, nil
	}
	r, err := a.Catalog.Registry(ctx, id)
	if err == nil && r.Primary() == "" {
		err = errs.New(errs.RegistryNotFound, "The registry with id '%s' does not exist", id)
	}
	return id, err
}

// tokens makes and opens the page tokens of all listings.
func (a *API) tokens() paging.Tokens { return paging.Tokens{Key: a.SigningKey} }
