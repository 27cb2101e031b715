package ecrpublic

import (
	"context"
	"fmt"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
)

// putImageIDs is the tag that a push sets.
func putImageIDs(in *PutImageInput) []authz.ImageID {
	if in.ImageTag == nil {
		return nil
	}
	return []authz.ImageID{{Tag: *in.ImageTag}}
}

// batchDeleteImageIDs are the images that a deletion names.
func batchDeleteImageIDs(in *BatchDeleteImageInput) (ids []authz.ImageID) {
	for _, i := range in.ImageIds {
		ids = append(ids, authz.ImageID{Tag: orEmpty(i.ImageTag), Digest: orEmpty(i.ImageDigest)})
	}
	return ids
}

func (a *API) putImage(ctx context.Context, c *aws.Call, in *PutImageInput) (*PutImageOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	put := image.Put{Manifest: []byte(*in.ImageManifest), MediaType: orEmpty(in.ImageManifestMediaType), Digest: name.Digest(orEmpty(in.ImageDigest))}
	if in.ImageTag != nil {
		if put.Tag, err = name.ParseTag(*in.ImageTag); err != nil {
			return nil, errs.Parameter("imageTag", "must satisfy regular expression '"+name.TagPattern+"'")
		}
	}
	img, created, err := a.Images.Put(ctx, r, put)
	if err != nil {
		return nil, err
	}
	if !created {
		return nil, image.Exists(r, img.Digest, put.Tag)
	}
	return &PutImageOutput{Image: &Image{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
		ImageId:       refShape(image.Ref{Digest: img.Digest, Tag: img.Tag}),
		ImageManifest: new(string(img.Manifest)), ImageManifestMediaType: new(img.MediaType),
	}}, nil
}

// refsOf reads image identifiers; what is malformed in one is found when it is
// looked up.
func refsOf(ids []ImageIdentifier) []image.Ref {
	refs := make([]image.Ref, len(ids))
	for i, id := range ids {
		refs[i] = image.Ref{Digest: name.Digest(orEmpty(id.ImageDigest)), Tag: name.Tag(orEmpty(id.ImageTag))}
	}
	return refs
}

func refShape(ref image.Ref) *ImageIdentifier {
	return &ImageIdentifier{ImageDigest: nonEmpty(string(ref.Digest)), ImageTag: nonEmpty(string(ref.Tag))}
}

// failureCode is the table from a failure of one image to its code.
func failureCode(code image.FailureCode) ImageFailureCode {
	switch code {
	case image.MissingRef:
		return ImageFailureCodeMissingDigestAndTag
	case image.InvalidDigest:
		return ImageFailureCodeInvalidImageDigest
	case image.InvalidTag:
		return ImageFailureCodeInvalidImageTag
	case image.TagMismatch:
		return ImageFailureCodeImageTagDoesNotMatchDigest
	case image.NotFound, image.Inaccessible: // there is no archive that could hold one back
		return ImageFailureCodeImageNotFound
	case image.Referenced:
		return ImageFailureCodeImageReferencedByManifestList
	case image.KeyFailed:
		return ImageFailureCodeKmsError
	}
	return ImageFailureCodeImageNotFound
}

func (a *API) batchDeleteImage(ctx context.Context, c *aws.Call, in *BatchDeleteImageInput) (*BatchDeleteImageOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	removed, failures, err := a.Images.Delete(ctx, r, refsOf(in.ImageIds))
	if err != nil {
		return nil, err
	}
	out := &BatchDeleteImageOutput{ImageIds: []ImageIdentifier{}, Failures: []ImageFailure{}}
	for _, ref := range removed {
		out.ImageIds = append(out.ImageIds, *refShape(ref))
	}
	for _, f := range failures {
		out.Failures = append(out.Failures, ImageFailure{ImageId: refShape(f.Ref), FailureCode: new(failureCode(f.Code)), FailureReason: new(f.Reason)})
	}
	return out, nil
}

func (a *API) describeImages(ctx context.Context, c *aws.Call, in *DescribeImagesInput) (*DescribeImagesOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	if in.ImageIds != nil && (in.NextToken != nil || in.MaxResults != nil) {
		return nil, errs.Parameter("imageIds", "nextToken and maxResults cannot be used together with imageIds")
	}
	scope := fmt.Sprintf("details/%d", r.ID)
	after, err := a.tokens().Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	details, next, err := a.Images.Describe(ctx, r, image.DescribeQuery{
		Refs: refsOf(in.ImageIds), Status: image.AnyStatus, After: image.Cursor(after), Limit: paging.LimitOf(in.MaxResults, paging.Size),
	})
	if err != nil {
		return nil, err
	}
	out := &DescribeImagesOutput{ImageDetails: []ImageDetail{}, NextToken: a.tokens().Token(scope, string(next))}
	for _, d := range details {
		one := ImageDetail{
			RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
			ImageDigest: new(string(d.Digest)), ImageSizeInBytes: new(d.Size), ImagePushedAt: shape.At(d.PushedAt),
			ImageManifestMediaType: new(d.MediaType), ArtifactMediaType: nonEmpty(d.ArtifactType),
		}
		for _, t := range d.Tags {
			one.ImageTags = append(one.ImageTags, string(t))
		}
		out.ImageDetails = append(out.ImageDetails, one)
	}
	return out, nil
}

// describeImageTags lists the tags in the order of their names, so that each comes once
// whatever images they move to meanwhile.
func (a *API) describeImageTags(ctx context.Context, c *aws.Call, in *DescribeImageTagsInput) (*DescribeImageTagsOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	scope := fmt.Sprintf("tags/%d", r.ID)
	after, err := a.tokens().Cursor(scope, in.NextToken)
	if err != nil {
		return nil, err
	}
	limit := paging.LimitOf(in.MaxResults, paging.Size)
	tags, err := a.Tags.List(ctx, r.ID, name.Tag(after), limit+1)
	if err != nil {
		return nil, err
	}
	out := &DescribeImageTagsOutput{ImageTagDetails: []ImageTagDetail{}}
	if len(tags) > limit {
		tags = tags[:limit]
		out.NextToken = a.tokens().Token(scope, string(tags[limit-1].Name))
	}
	for _, t := range tags {
		out.ImageTagDetails = append(out.ImageTagDetails, ImageTagDetail{
			ImageTag: new(string(t.Name)), CreatedAt: shape.At(t.SetAt),
			ImageDetail: &ReferencedImageDetail{
				ImageDigest: new(string(t.Digest)), ImageSizeInBytes: new(t.Size), ImagePushedAt: shape.At(t.PushedAt),
				ImageManifestMediaType: new(t.MediaType), ArtifactMediaType: nonEmpty(t.ArtifactType),
			},
		})
	}
	return out, nil
}
