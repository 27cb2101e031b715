package oci

import (
	"context"
	"net/http"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough/cache"
	"github.com/berth-registry/berth/internal/domain/repository"
)

// Cache is the pull-through cache; *cache.Service is one.
type Cache interface {
	Covers(ctx context.Context, reg name.Registry, repo name.Repository) (bool, error)
	Image(ctx context.Context, p cache.Pull) (image.Image, repository.Repository, error)
	Referrers(ctx context.Context, r repository.Repository, subject name.Digest) error
}

// cover finds out whether a pull may be answered from an upstream. found is the
// failure of looking for the repository, which then need not be there.
func (a *API) cover(ctx context.Context, c *call, found error) (err error) {
	if a.c.Cache == nil || found != nil && !errs.Is(found, errs.RepositoryNotFound) {
		return found
	}
	if c.cached, err = a.c.Cache.Covers(ctx, c.registry, c.repo); err != nil || c.cached {
		return err
	}
	return found
}

// pull finds an image for a pull that may go to the upstream. What that takes the
// caller is only asked for when it does.
func (a *API) pull(c *call, note bool) func(context.Context, repository.Repository, image.Ref, []string) (image.Image, error) {
	return func(ctx context.Context, _ repository.Repository, ref image.Ref, accept []string) (img image.Image, err error) {
		p := cache.Pull{Registry: c.registry, Repository: c.repo, Ref: ref, Accept: accept, Head: c.r.Method == http.MethodHead, Note: note}
		p.Ask(func(ctx context.Context, n authz.Need) error { return a.authorize(ctx, c, []authz.Need{n}) })
		img, c.repository, err = a.c.Cache.Image(ctx, p)
		return img, err
	}
}
