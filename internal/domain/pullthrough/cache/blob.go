package cache

import (
	"context"
	"fmt"
	"io"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache/fetch"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Stat describes a layer of the repository, or a blob of an image that is on its way
// here, by its manifest; otherwise it fails as layer.Service.Stat does.
func (s *Service) Stat(ctx context.Context, r repository.Repository, d name.Digest) (layer.Layer, error) {
	l, err := s.Layers.Stat(ctx, r, d)
	if s.quiet.Load() || err == nil && l.Referenced || err != nil && !errs.Is(err, errs.LayersNotFound) {
		return l, err
	}
	b, found, lookErr := s.needed(ctx, r, d)
	switch {
	case lookErr != nil:
		return layer.Layer{}, lookErr
	case found:
		return asLayer(b), nil
	case err == nil:
		return l, nil
	}
	return s.Layers.Stat(ctx, r, d) // it may have come between the two looks
}

// asLayer is the blob as a layer that is here.
func asLayer(b fetch.Blob) layer.Layer {
	return layer.Layer{Digest: b.Digest, Size: b.Size, MediaType: b.MediaType, Referenced: true}
}

// Redirect is layer.Service.Redirect: to the store of this deployment and nowhere else.
func (s *Service) Redirect(ctx context.Context, r repository.Repository, d name.Digest) (address string, ok bool) {
	return s.Layers.Redirect(ctx, r, d)
}

// Open reads a layer of the repository as layer.Service.Open does, or a blob of an
// image that is on its way here while it is stored. Reading such a one fails, and
// never ends early, when the upstream fails for good or has sent something else.
//
// Beside the failures of layer.Service.Open: errs.UpstreamLayerFailed and
// errs.Throttled when the upstream does not give the blob, and what storing it fails
// with, errs.LimitExceeded and errs.StorageFull among them.
func (s *Service) Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error) {
	body, l, err := s.Layers.Open(ctx, r, d, offset, length)
	if s.quiet.Load() || !errs.Is(err, errs.LayersNotFound) && !errs.Is(err, errs.LayerInaccessible) {
		return body, l, err
	}
	b, found, lookErr := s.needed(ctx, r, d)
	if lookErr != nil {
		return nil, layer.Layer{}, lookErr
	}
	if !found {
		return s.Layers.Open(ctx, r, d, offset, length) // it may have come between the two looks
	}
	if length < 0 && offset >= 0 && offset <= b.Size {
		length = b.Size - offset
	}
	if offset < 0 || length < 0 || offset > b.Size || length > b.Size-offset {
		return nil, layer.Layer{}, errs.New(errs.RangeInvalid, "The layer with digest '%s' has %d bytes: the range asked for does not lie within", d, b.Size)
	}
	f, err := s.blobs.Begin(ctx, r, b)
	if err != nil {
		return nil, layer.Layer{}, err
	}
	defer f.Release()
	body, err = s.blobs.Open(ctx, f, offset, length)
	if err != nil {
		return nil, layer.Layer{}, err
	}
	s.goOn(ctx, r, b)
	return body, asLayer(b), nil
}

// goOn has the imports that need the blob go on once it is here: a first try may have
// failed that clients now make up for.
func (s *Service) goOn(ctx context.Context, r repository.Repository, b fetch.Blob) {
	_, _ = s.work.Fly(ctx, fmt.Sprintf("b/%d/%s", r.ID, b.Digest), func(ctx context.Context) error {
		if err := s.fetchOne(ctx, r, b); err != nil {
			return err
		}
		ids, err := s.needing(ctx, r, b.Digest)
		for _, id := range ids {
			if _, failed := s.bring(ctx, id); failed != nil {
				err = failed
			}
		}
		return err
	}) // it fails while the process ends; then a job goes on
}
