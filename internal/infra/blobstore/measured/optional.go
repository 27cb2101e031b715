package measured

import (
	"context"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// What a store may be besides a Store, a watched one is: it hands on what the inner
// one can, and is without effect where that cannot.
var (
	_ blobstore.BatchDeleter = (*Store)(nil)
	_ blobstore.Redirector   = (*Store)(nil)
	_ blobstore.Forgetter    = (*Store)(nil)
)

// DeleteAll implements blobstore.BatchDeleter. It is one operation, which has failed
// if one of the keys has.
func (s *Store) DeleteAll(ctx context.Context, keys []string) (failed map[string]error, err error) {
	tell, begun := s.observe(ctx), time.Now()
	failed, err = blobstore.DeleteAll(ctx, s.inner, keys)
	told := err
	for _, one := range failed {
		if told == nil {
			told = one
		}
	}
	tell.done(DeleteAll, begun, 0, told)
	return failed, err
}

// Redirect implements blobstore.Redirector. Where the inner store has no URL nothing
// is told.
func (s *Store) Redirect(ctx context.Context, o blobstore.Object, life time.Duration, contentType string) (url string, ok bool, err error) {
	tell, begun := s.observe(ctx), time.Now()
	url, ok, err = blobstore.Redirect(ctx, s.inner, o, life, contentType)
	if ok || err != nil {
		tell.done(Redirect, begun, 0, err)
	}
	return url, ok, err
}

// Forget implements blobstore.Forgetter.
func (s *Store) Forget(key string) { blobstore.Forget(s.inner, key) }
