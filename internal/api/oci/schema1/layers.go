// Package schema1 adds the one layer that docker schema 1 manifests name and
// repositories do not hold: the empty one, which stands for every build step
// that changed no file. Old clients download it like any other.
//
// It does not make schema 1 manifests; domain/image/manifest does.
package schema1

import (
	"bytes"
	"context"
	"io"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Layers are a layer.Service's with the empty one beside them for those who read
// it. Stat does not know it: who asks whether it is there is about to push it,
// and an image can only name it once the repository holds it.
type Layers struct {
	*layer.Service
	// Reader reads what is asked for, in the service's place: the pull-through cache,
	// which knows layers that are on their way.
	Reader Reader
}

// Reader reads layers; *layer.Service is one.
type Reader interface {
	Stat(ctx context.Context, r repository.Repository, d name.Digest) (layer.Layer, error)
	Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error)
	Redirect(ctx context.Context, r repository.Repository, d name.Digest) (address string, ok bool)
}

// Stat is the reader's.
func (l Layers) Stat(ctx context.Context, r repository.Repository, d name.Digest) (layer.Layer, error) {
	return l.Reader.Stat(ctx, r, d)
}

// Redirect is the reader's.
func (l Layers) Redirect(ctx context.Context, r repository.Repository, d name.Digest) (address string, ok bool) {
	return l.Reader.Redirect(ctx, r, d)
}

// Open is the reader's, and reads the empty layer where the repository
// does not hold it.
func (l Layers) Open(ctx context.Context, r repository.Repository, d name.Digest, offset, length int64) (io.ReadCloser, layer.Layer, error) {
	body, found, err := l.Reader.Open(ctx, r, d, offset, length)
	if !isEmpty(d, err) {
		return body, found, err
	}
	content := manifest.EmptyLayer()
	if offset < 0 || offset > int64(len(content)) || length > int64(len(content))-offset {
		return nil, layer.Layer{}, errs.New(errs.RangeInvalid, "The empty layer has %d bytes; the range is not in it", len(content))
	}
	content = content[offset:]
	if length >= 0 {
		content = content[:length]
	}
	return io.NopCloser(bytes.NewReader(content)), empty(), nil
}

func isEmpty(d name.Digest, err error) bool {
	return d == manifest.EmptyLayerDigest && errs.Is(err, errs.LayersNotFound)
}

func empty() layer.Layer {
	return layer.Layer{Digest: manifest.EmptyLayerDigest, Size: int64(len(manifest.EmptyLayer())), Referenced: true}
}
