package ecr

import (
	"context"
	"fmt"
	"slices"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/aws/paging"
	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/api/ecr/scanning"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan"
)

func putImageNeeds(c *aws.Call, in *PutImageInput) ([]authz.Need, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	need := authz.Need{Action: "ecr:PutImage", Resource: reg.RepositoryARN(repo)}
	if in.ImageTag != nil {
		need.Images = []authz.ImageID{{Tag: *in.ImageTag}}
	}
	return []authz.Need{need}, nil
}

func batchDeleteImageNeeds(c *aws.Call, in *BatchDeleteImageInput) ([]authz.Need, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	need := authz.Need{Action: "ecr:BatchDeleteImage", Resource: reg.RepositoryARN(repo)}
	for _, ref := range refsOf(in.ImageIds) {
		need.Images = append(need.Images, authz.ImageID{Tag: string(ref.Tag), Digest: string(ref.Digest)})
	}
	return []authz.Need{need}, nil
}

func (a *API) putImage(ctx context.Context, c *aws.Call, in *PutImageInput) (*PutImageOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	put := image.Put{Manifest: []byte(*in.ImageManifest)}
	if in.ImageManifestMediaType != nil {
		put.MediaType = *in.ImageManifestMediaType
	}
	if in.ImageTag != nil {
		if put.Tag, err = name.ParseTag(*in.ImageTag); err != nil {
			return nil, errs.Parameter("imageTag", "must satisfy regular expression '"+name.TagPattern+"'")
		}
	}
	if in.ImageDigest != nil {
		put.Digest = name.Digest(*in.ImageDigest)
	}
	img, created, err := a.Images.Put(ctx, r, put)
	if err != nil {
		return nil, err
	}
	if !created {
		return nil, image.Exists(r, img.Digest, put.Tag)
	}
	return &PutImageOutput{Image: imageShape(r, img)}, nil
}

func imageShape(r repository.Repository, img image.Image) *Image {
	return &Image{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
		ImageId:                refShape(image.Ref{Digest: img.Digest, Tag: img.Tag}),
		ImageManifest:          new(string(img.Manifest)),
		ImageManifestMediaType: new(img.MediaType),
	}
}

// refsOf reads image identifiers; what is malformed in one is found when it is
// looked up.
func refsOf(ids []ImageIdentifier) []image.Ref {
	refs := make([]image.Ref, len(ids))
	for i, id := range ids {
		if id.ImageDigest != nil {
			refs[i].Digest = name.Digest(*id.ImageDigest)
		}
		if id.ImageTag != nil {
			refs[i].Tag = name.Tag(*id.ImageTag)
		}
	}
	return refs
}

func refShape(ref image.Ref) *ImageIdentifier {
	id := &ImageIdentifier{}
	if ref.Digest != "" {
		id.ImageDigest = new(string(ref.Digest))
	}
	if ref.Tag != "" {
		id.ImageTag = new(string(ref.Tag))
	}
	return id
}

// failuresShape is the table from a failure of one image to its code.
func failuresShape(failures []image.Failure) []ImageFailure {
	out := []ImageFailure{}
	for _, f := range failures {
		var code ImageFailureCode
		switch f.Code {
		case image.MissingRef:
			code = ImageFailureCodeMissingDigestAndTag
		case image.InvalidDigest:
			code = ImageFailureCodeInvalidImageDigest
		case image.InvalidTag:
			code = ImageFailureCodeInvalidImageTag
		case image.TagMismatch:
			code = ImageFailureCodeImageTagDoesNotMatchDigest
		case image.NotFound:
			code = ImageFailureCodeImageNotFound
		case image.Referenced:
			code = ImageFailureCodeImageReferencedByManifestList
		case image.KeyFailed:
			code = ImageFailureCodeKmsError
		case image.Inaccessible:
			code = ImageFailureCodeImageInaccessible
		}
		out = append(out, ImageFailure{ImageId: refShape(f.Ref), FailureCode: new(code), FailureReason: new(f.Reason)})
	}
	return out
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
	out := &BatchDeleteImageOutput{ImageIds: []ImageIdentifier{}, Failures: failuresShape(failures)}
	for _, ref := range removed {
		out.ImageIds = append(out.ImageIds, *refShape(ref))
	}
	return out, nil
}

// tagStatusOf reads a filter; nil keeps all.
func tagStatusOf(s *TagStatus) image.TagStatus {
	if s == nil {
		return image.AnyTags
	}
	switch *s {
	case TagStatusTagged:
		return image.Tagged
	case TagStatusUntagged:
		return image.Untagged
	case TagStatusAny:
		return image.AnyTags
	}
	return image.AnyTags
}

// statusOf reads a filter; nil keeps active images.
func statusOf(s *ImageStatusFilter) image.StatusFilter {
	if s == nil {
		return image.ActiveOnly
	}
	switch *s {
	case ImageStatusFilterActive:
		return image.ActiveOnly
	case ImageStatusFilterArchived:
		return image.ArchivedOnly
	case ImageStatusFilterActivating:
		return image.ActivatingOnly
	case ImageStatusFilterAny:
		return image.AnyStatus
	}
	return image.ActiveOnly
}

// artifactStatusOf reads a filter of referrers; nil keeps active ones.
func artifactStatusOf(s *ArtifactStatusFilter) image.StatusFilter {
	if s == nil {
		return image.ActiveOnly
	}
	return statusOf(new(ImageStatusFilter(*s))) // the same words
}

// pageOf opens a page token of an image listing.
func (a *API) pageOf(scope string, token *string) (image.Cursor, error) {
	text, err := a.tokens().Cursor(scope, token)
	return image.Cursor(text), err
}

func (a *API) nextPage(scope string, next image.Cursor) *string {
	return a.tokens().Token(scope, string(next))
}

func (a *API) listImages(ctx context.Context, c *aws.Call, in *ListImagesInput) (*ListImagesOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	q := image.ListQuery{Limit: paging.LimitOf(in.MaxResults, paging.Size)}
	out := &ListImagesOutput{ImageIds: []ImageIdentifier{}}
	if f := in.Filter; f != nil {
		q.TagStatus, q.Status = tagStatusOf(f.TagStatus), statusOf(f.ImageStatus)
	}
	scope := fmt.Sprintf("images/%d/%d/%s", r.ID, q.TagStatus, q.Status)
	if q.After, err = a.pageOf(scope, in.NextToken); err != nil {
		return nil, err
	}
	refs, next, err := a.Images.List(ctx, r, q)
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		out.ImageIds = append(out.ImageIds, *refShape(ref))
	}
	out.NextToken = a.nextPage(scope, next)
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
	q := image.DescribeQuery{Refs: refsOf(in.ImageIds), Limit: paging.LimitOf(in.MaxResults, paging.Size)}
	out := &DescribeImagesOutput{}
	// Images that are asked for by name are shown whatever their status, unless
	// the call names one.
	byName := image.AnyStatus
	if f := in.Filter; f != nil {
		q.TagStatus, q.Status = tagStatusOf(f.TagStatus), statusOf(f.ImageStatus)
		if f.ImageStatus != nil {
			byName = q.Status
		}
	}
	scope := fmt.Sprintf("details/%d/%d/%s", r.ID, q.TagStatus, q.Status)
	if q.After, err = a.pageOf(scope, in.NextToken); err != nil {
		return nil, err
	}
	details, next, err := a.Images.Describe(ctx, r, q)
	if err != nil {
		return nil, err
	}
	if len(q.Refs) > 0 {
		details = slices.DeleteFunc(details, func(d image.Detail) bool { return !wantsTags(q.TagStatus, d) || !byName.Lets(d.Status) })
	}
	out.ImageDetails = make([]ImageDetail, len(details))
	for i := range details {
		out.ImageDetails[i] = detailShape(&r, &details[i])
	}
	out.NextToken = a.nextPage(scope, next)
	scans, err := a.Scans.Summaries(ctx, r, details)
	for i := range details {
		addScan(&out.ImageDetails[i], scans[details[i].Digest])
	}
	return out, err
}

// addScan says how the basic scan of an image stands; the zero summary is none.
func addScan(d *ImageDetail, s scan.Summary) {
	if s.Status == "" {
		return
	}
	d.ImageScanStatus = &ImageScanStatus{Status: new(ScanStatus(s.Status)), Description: scanning.Description(s.State)}
	if !s.CompletedAt.IsZero() {
		d.ImageScanFindingsSummary = &ImageScanFindingsSummary{
			ImageScanCompletedAt: shape.At(s.CompletedAt), VulnerabilitySourceUpdatedAt: shape.AtNonZero(s.SourceUpdatedAt), FindingSeverityCounts: scanning.Counts[FindingSeverity](s),
		}
	}
}

// wantsTags applies the tag filter to an image that was asked for by name; pages are
// filtered where they are read.
func wantsTags(s image.TagStatus, d image.Detail) bool {
	return s == image.AnyTags || (s == image.Tagged) == (len(d.Tags) > 0)
}

// detailShape shares what it points to with its arguments.
func detailShape(r *repository.Repository, d *image.Detail) ImageDetail {
	out := ImageDetail{
		RegistryId: (*string)(&r.Registry.Account), RepositoryName: (*string)(&r.Name),
		ImageDigest: (*string)(&d.Digest), ImageSizeInBytes: &d.Size, ImagePushedAt: shape.At(d.PushedAt),
		ImageManifestMediaType: &d.MediaType, LastRecordedPullTime: shape.AtNonZero(d.LastPulledAt),
		ImageStatus: new(ImageStatus(d.Status.String())), LastArchivedAt: shape.AtNonZero(d.ArchivedAt), LastActivatedAt: shape.AtNonZero(d.ActivatedAt),
	}
	for _, t := range d.Tags {
		out.ImageTags = append(out.ImageTags, string(t))
	}
	if d.ArtifactType != "" {
		out.ArtifactMediaType = &d.ArtifactType
	}
	if d.Subject != "" {
		out.SubjectManifestDigest = (*string)(&d.Subject)
	}
	return out
}

func (a *API) listImageReferrers(ctx context.Context, c *aws.Call, in *ListImageReferrersInput) (*ListImageReferrersOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	subject := name.Digest(*in.SubjectId.ImageDigest)
	if !name.LooksLikeDigest(string(subject)) { // one that nothing can have is nobody's subject
		return nil, errs.Parameter("subjectId.imageDigest", "must satisfy regular expression '"+name.DigestPattern+"'")
	}
	q := image.ReferrersQuery{Limit: paging.LimitOf(in.MaxResults, paging.ReferrersSize)}
	out := &ListImageReferrersOutput{Referrers: []ImageReferrer{}}
	if f := in.Filter; f != nil {
		q.ArtifactTypes, q.Status = f.ArtifactTypes, artifactStatusOf(f.ArtifactStatus)
	}
	scope := fmt.Sprintf("referrers/%d/%s/%q/%s", r.ID, subject, q.ArtifactTypes, q.Status)
	if q.After, err = a.pageOf(scope, in.NextToken); err != nil {
		return nil, err
	}
	found, next, err := a.Images.Referrers(ctx, r, subject, q)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		one := ImageReferrer{
			Digest: new(string(f.Digest)), MediaType: new(f.MediaType), Size: new(f.Size),
			Annotations: f.Annotations, ArtifactStatus: new(ArtifactStatus(f.Status.String())),
		}
		if f.ArtifactType != "" {
			one.ArtifactType = new(f.ArtifactType)
		}
		out.Referrers = append(out.Referrers, one)
	}
	out.NextToken = a.nextPage(scope, next)
	return out, nil
}

func (a *API) updateImageStorageClass(ctx context.Context, c *aws.Call, in *UpdateImageStorageClassInput) (*UpdateImageStorageClassOutput, error) {
	r, err := a.repository(ctx, c, in.RegistryId, in.RepositoryName)
	if err != nil {
		return nil, err
	}
	ref := refsOf([]ImageIdentifier{*in.ImageId})[0]
	change := a.Storage.Restore
	if *in.TargetStorageClass == TargetStorageClassArchive {
		change = a.Storage.Archive
	}
	d, err := change(ctx, r, ref)
	if err != nil {
		return nil, err
	}
	return &UpdateImageStorageClassOutput{
		RegistryId: new(string(r.Registry.Account)), RepositoryName: new(string(r.Name)),
		ImageId: refShape(image.Ref{Digest: d.Digest, Tag: ref.Tag}), ImageStatus: new(ImageStatus(d.Status.String())),
	}, nil
}
