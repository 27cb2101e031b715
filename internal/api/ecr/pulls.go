package ecr

import (
	"context"
	"errors"
	"io"

	"github.com/berth-registry/berth/internal/api/aws"
	"github.com/berth-registry/berth/internal/api/ecr/addressing"
	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Cache is the pull-through cache; *cache.Service is one.
type Cache interface {
	Covers(ctx context.Context, reg name.Registry, repo name.Repository) (bool, error)
	Image(ctx context.Context, p cache.Pull) (image.Image, repository.Repository, error)
	Stat(ctx context.Context, r repository.Repository, d name.Digest) (layer.Layer, error)
	Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error)
}

// batchGetImage reads images, which a pull-through rule may have come from their
// upstream for it.
func (a *API) batchGetImage(ctx context.Context, c *aws.Call, in *BatchGetImageInput) (*BatchGetImageOutput, error) {
	reg, repo := addressing.Target(c, in.RegistryId, in.RepositoryName)
	access, err := a.Registries.Access(ctx, reg)
	if err != nil {
		return nil, err
	}
	note := !access.ExcludesPull(c.Principal)
	covered, err := a.Cache.Covers(ctx, reg, repo)
	if err != nil {
		return nil, err
	}
	r, err := a.Repositories.Get(ctx, reg, repo)
	if covered && (err == nil || errs.Is(err, errs.RepositoryNotFound)) {
		return a.pullThrough(ctx, c, r, reg, repo, in, note)
	}
	if err != nil {
		return nil, err
	}
	images, failures, err := a.Images.GetAll(ctx, r, refsOf(in.ImageIds), in.AcceptedMediaTypes, note)
	if err == nil {
		images, failures, err = a.Gate.Filter(ctx, r, c.Principal, images, failures)
	}
	if err != nil {
		return nil, err
	}
	return imagesShape(r, images, failuresShape(failures)), nil
}

func imagesShape(r repository.Repository, images []image.Image, failures []ImageFailure) *BatchGetImageOutput {
	out := &BatchGetImageOutput{Images: []Image{}, Failures: failures}
	for _, img := range images {
		out.Images = append(out.Images, *imageShape(r, img))
	}
	return out
}

// pullThrough is batchGetImage through the cache. What the upstream refuses of one
// image is a failure of that image.
func (a *API) pullThrough(ctx context.Context, c *aws.Call, r repository.Repository, reg name.Registry, repo name.Repository, in *BatchGetImageInput, note bool) (*BatchGetImageOutput, error) {
	var images []image.Image
	failures := []ImageFailure{}
	for _, ref := range refsOf(in.ImageIds) {
		p := cache.Pull{Registry: reg, Repository: repo, Ref: ref, Accept: in.AcceptedMediaTypes, Note: note}
		p.Ask(func(ctx context.Context, n authz.Need) error {
			return a.Access.Authorize(ctx, authz.Request{Principal: c.Principal, Needs: []authz.Need{n}, Region: c.Region, Origin: c.Origin, UserAgent: c.UserAgent})
		})
		img, found, err := a.Cache.Image(ctx, p)
		f, refused := image.FailureOf(ref, err)
		switch code := errs.CodeOf(err); {
		case err == nil:
			r, images = found, append(images, img)
		case refused:
			failures = append(failures, failuresShape([]image.Failure{f})...)
		case code == errs.ImageNotFound:
			failures = append(failures, upstreamFailure(ref, ImageFailureCodeImageNotFound, err))
		case code == errs.Throttled:
			failures = append(failures, upstreamFailure(ref, ImageFailureCodeUpstreamTooManyRequests, err))
		case code == errs.UpstreamImageFailed:
			failures = append(failures, upstreamFailure(ref, ImageFailureCodeUpstreamUnavailable, err))
		default:
			return nil, err
		}
	}
	images, blocked, err := a.Gate.Filter(ctx, r, c.Principal, images, nil)
	return imagesShape(r, images, append(failures, failuresShape(blocked)...)), err
}

func upstreamFailure(ref image.Ref, code ImageFailureCode, err error) ImageFailure {
	reason := ""
	if e, ok := errors.AsType[*errs.Error](err); ok {
		reason = e.Message
	}
	return ImageFailure{ImageId: refShape(ref), FailureCode: &code, FailureReason: &reason}
}
