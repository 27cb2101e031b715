package collect

import (
	"context"
	"sync"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// deleters is how many objects are deleted at once in a store that takes them
// singly.
const deleters = 16

// deleteAll deletes objects, at once where the store can. failed has those that
// are still there; err is a failure of all.
func deleteAll(ctx context.Context, store blobstore.Store, keys []string) (failed map[string]error, err error) {
	if b, ok := store.(interface {
		DeleteAll(ctx context.Context, keys []string) (map[string]error, error)
	}); ok {
		return b.DeleteAll(ctx, keys)
	}
	failed = map[string]error{}
	next := make(chan string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range min(deleters, len(keys)) {
		wg.Go(func() {
			for k := range next {
				if err := store.Delete(ctx, k); err != nil {
					mu.Lock()
					failed[k] = err
					mu.Unlock()
				}
			}
		})
	}
	for _, k := range keys {
		next <- k
	}
	close(next)
	wg.Wait()
	return failed, nil
}
