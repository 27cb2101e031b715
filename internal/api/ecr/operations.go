// Package ecr is the Amazon ECR API (2015-09-21, JSON 1.1): the table of
// operations, each with the permissions it needs, and the translation between
// the service's shapes and the domain. Rows about settings, repository creation
// templates, lifecycle policies, replication, pull-through cache rules and scanning
// stand in packages below this one.
//
// It does not authenticate, validate shapes, authorize or write errors; the
// pipeline in api/aws does. The rules are in the domain packages.
package ecr

import (
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/json11"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/api/ecr/lifecycle"
	"github.com/berth-registry/berth/internal/api/ecr/pullthrough"
	"github.com/berth-registry/berth/internal/api/ecr/replication"
	"github.com/berth-registry/berth/internal/api/ecr/scanning"
	"github.com/berth-registry/berth/internal/api/ecr/settings"
	"github.com/berth-registry/berth/internal/api/ecr/templates"
	"github.com/berth-registry/berth/internal/domain/name"
)

// Service describes the API to the pipeline.
func (a *API) Service() aws.Service {
	return aws.Service{
		Name:         "ecr",
		EventSource:  "ecr.amazonaws.com",
		TargetPrefix: "AmazonEC2ContainerRegistry_V20150921",
		SigningNames: []string{"ecr"},
		Host:         name.HostECR,
		Protocol:     json11.Protocol{},
		Known:        OperationNames(),
		Errors:       errorOf,
		ErrorShapes:  ErrorShapes(),
		BodyLimits: map[string]int64{
			"UploadLayerPart": aws.LayerPartBodyLimit, "PutImage": aws.ManifestBodyLimit,
		},
		Operations: slices.Concat(
			a.operations(), lifecycle.Operations(lifecycle.Config{Repositories: a.Repositories, Policies: a.Lifecycle, Tokens: a.tokens()}),
			replication.Operations(replication.Config{Entities: a.Entities, Repositories: a.Repositories, Replication: a.Replication, Backfills: a.Backfills, Tokens: a.tokens()}),
			pullthrough.Operations(pullthrough.Config{Rules: a.Rules, Entities: a.Entities, Tokens: a.tokens()}),
			scanning.Operations(scanning.Config{Scans: a.Scans, Repositories: a.Repositories, Entities: a.Entities, Tokens: a.tokens()}),
			templates.Operations(templates.Config{Templates: a.Templates, Tokens: a.tokens()}),
			settings.Operations(settings.Config{Registries: a.Registries, Tokens: a.tokens(), Quotas: a.Quotas, Mounting: a.BlobMounting}),
		),
	}
}

// operations is the table. What the model has and the table has not is answered
// as an unknown operation and listed as missing in docs/compatibility.md.
func (a *API) operations() []aws.Operation {
	return []aws.Operation{
		// repositories.go
		aws.Op("CreateRepository", true, a.createRepositoryNeeds, a.createRepository),
		aws.Op("DescribeRepositories", false, a.describeRepositoriesNeeds, a.describeRepositories),
		aws.Op("DeleteRepository", true, addressing.OnRepository("ecr:DeleteRepository", func(in *DeleteRepositoryInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.deleteRepository),
		aws.Op("PutImageTagMutability", true, addressing.OnRepository("ecr:PutImageTagMutability", func(in *PutImageTagMutabilityInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.putImageTagMutability),
		aws.Op("TagResource", true, tagResourceNeeds, a.tagResource),
		aws.Op("UntagResource", true, untagResourceNeeds, a.untagResource),
		aws.Op("ListTagsForResource", false, onARN("ecr:ListTagsForResource", func(in *ListTagsForResourceInput) *string { return in.ResourceArn }), a.listTagsForResource),

		// policies.go
		aws.Op("SetRepositoryPolicy", true, addressing.OnRepository("ecr:SetRepositoryPolicy", func(in *SetRepositoryPolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.setRepositoryPolicy),
		aws.Op("GetRepositoryPolicy", false, addressing.OnRepository("ecr:GetRepositoryPolicy", func(in *GetRepositoryPolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.getRepositoryPolicy),
		aws.Op("DeleteRepositoryPolicy", true, addressing.OnRepository("ecr:DeleteRepositoryPolicy", func(in *DeleteRepositoryPolicyInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.deleteRepositoryPolicy),
		aws.Op("PutRegistryPolicy", true, addressing.OnRegistry[PutRegistryPolicyInput]("ecr:PutRegistryPolicy"), a.putRegistryPolicy),
		aws.Op("GetRegistryPolicy", false, addressing.OnRegistry[GetRegistryPolicyInput]("ecr:GetRegistryPolicy"), a.getRegistryPolicy),
		aws.Op("DeleteRegistryPolicy", true, addressing.OnRegistry[DeleteRegistryPolicyInput]("ecr:DeleteRegistryPolicy"), a.deleteRegistryPolicy),

		// registry.go
		aws.Op("GetAuthorizationToken", false, addressing.OnRegistry[GetAuthorizationTokenInput]("ecr:GetAuthorizationToken"), a.getAuthorizationToken),

		// layers.go
		aws.Op("BatchCheckLayerAvailability", false, addressing.OnRepository("ecr:BatchCheckLayerAvailability", func(in *BatchCheckLayerAvailabilityInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.batchCheckLayerAvailability),
		aws.Op("InitiateLayerUpload", true, addressing.OnRepository("ecr:InitiateLayerUpload", func(in *InitiateLayerUploadInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.initiateLayerUpload),
		aws.Op("UploadLayerPart", true, addressing.OnRepository("ecr:UploadLayerPart", func(in *UploadLayerPartInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.uploadLayerPart),
		aws.Op("CompleteLayerUpload", true, addressing.OnRepository("ecr:CompleteLayerUpload", func(in *CompleteLayerUploadInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.completeLayerUpload),
		aws.Op("GetDownloadUrlForLayer", false, addressing.OnRepository("ecr:GetDownloadUrlForLayer", func(in *GetDownloadUrlForLayerInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.getDownloadUrlForLayer),

		// images.go
		aws.Op("PutImage", true, putImageNeeds, a.putImage),
		aws.Op("BatchGetImage", false, addressing.OnRepository("ecr:BatchGetImage", func(in *BatchGetImageInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.batchGetImage),
		aws.Op("BatchDeleteImage", true, batchDeleteImageNeeds, a.batchDeleteImage),
		aws.Op("ListImages", false, addressing.OnRepository("ecr:ListImages", func(in *ListImagesInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.listImages),
		aws.Op("DescribeImages", false, addressing.OnRepository("ecr:DescribeImages", func(in *DescribeImagesInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.describeImages),
		aws.Op("UpdateImageStorageClass", true, addressing.OnRepository("ecr:UpdateImageStorageClass", func(in *UpdateImageStorageClassInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.updateImageStorageClass),
		// IAM has no action of this name: it is authorized as BatchGetImage
		// (service authorization reference).
		aws.Op("ListImageReferrers", false, addressing.OnRepository("ecr:BatchGetImage", func(in *ListImageReferrersInput) (r, n *string) { return in.RegistryId, in.RepositoryName }), a.listImageReferrers),
	}
}
