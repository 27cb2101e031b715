package layer

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// RedirectLife is how long the address of a redirect holds (that of ECR's download
// addresses is signed for 3,600 seconds).
const RedirectLife = time.Hour

// Redirect gives an address at which a client can read the layer from the store
// itself. It says false where there is none: the store cannot do that or has no
// address for clients, its bytes are sealed, or the layer cannot be read; Open
// then reads it, or says what is wrong.
func (s *Service) Redirect(ctx context.Context, r repository.Repository, d name.Digest) (address string, ok bool) {
	if !s.redirects {
		return "", false
	}
	h, err := s.lookup(ctx, r, d, false)
	if err != nil || h.Archived {
		return "", false
	}
	store, err := s.place(r.Registry.Region, h.blob.archived)
	if err != nil {
		return "", false
	}
	address, ok, err = blobstore.Redirect(ctx, store, h.object(), RedirectLife, "application/octet-stream")
	if err != nil {
		s.log.WarnContext(ctx, "a download cannot be redirected to the store; sending it from here", "digest", d, "error", err)
		return "", false
	}
	return address, ok
}
