package blobstore_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/reserve"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

// able is a store with everything that a store may be able to do.
type able struct {
	*memory.Store
	batches, forgotten []string
}

func (a *able) DeleteAll(ctx context.Context, keys []string) (map[string]error, error) {
	a.batches = append(a.batches, keys...)
	failed := map[string]error{}
	for _, key := range keys {
		if err := a.Delete(ctx, key); err != nil {
			failed[key] = err
		}
	}
	return failed, nil
}

func (a *able) Redirect(_ context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	return fmt.Sprintf("https://there/%s?%s&%s", o.Key, life, contentType), true, nil
}

func (a *able) Forget(key string) { a.forgotten = append(a.forgotten, key) }

func fill(t *testing.T, s blobstore.Store, n int) []string {
	t.Helper()
	var names []string
	for i := range n {
		key := fmt.Sprintf("k/%d", i)
		w, err := s.Create(t.Context(), key, blobstore.Placement{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		names = append(names, key)
	}
	return names
}

func count(t *testing.T, s blobstore.Store) (n int) {
	t.Helper()
	for _, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// failing is a store that cannot delete some objects.
type failing struct {
	*memory.Store
	mu            sync.Mutex
	now, together int
}

var errStuck = errors.New("stuck")

func (f *failing) Delete(ctx context.Context, key string) error {
	f.mu.Lock()
	f.now++
	f.together = max(f.together, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if key == "k/7" {
		return errStuck
	}
	return f.Store.Delete(ctx, key)
}

func TestDeleteAllSingly(t *testing.T) {
	s := &failing{Store: memory.New()}
	names := fill(t, s, 100)
	failed, err := blobstore.DeleteAll(t.Context(), s, names)
	if err != nil || len(failed) != 1 || !errors.Is(failed["k/7"], errStuck) {
		t.Errorf("%v, %v", failed, err)
	}
	if n := count(t, s); n != 1 {
		t.Errorf("%d objects are left", n)
	}
	if s.together > 8 {
		t.Errorf("%d deletions at once", s.together)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := blobstore.DeleteAll(ctx, s, names); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestPassedThrough: what the store at the bottom can do, decorators do as well.
func TestPassedThrough(t *testing.T) {
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	free := func() (uint64, error) { return 1 << 40, nil }
	for name, over := range map[string]func(inner blobstore.Store) blobstore.Store{
		"none":    func(inner blobstore.Store) blobstore.Store { return inner },
		"reserve": func(inner blobstore.Store) blobstore.Store { return reserve.New(inner, 1, free, clock.System{}) },
		"either":  func(inner blobstore.Store) blobstore.Store { return encrypted.NewEither(inner, ring, true) },
	} {
		bottom := &able{Store: memory.New()}
		s := over(bottom)
		names := fill(t, s, 5)
		if failed, err := blobstore.DeleteAll(t.Context(), s, names); err != nil || len(failed) > 0 || len(bottom.batches) != 5 || count(t, s) != 0 {
			t.Errorf("%s: deleted %q: %v, %v", name, bottom.batches, failed, err)
		}
		url, ok, err := blobstore.Redirect(t.Context(), s, blobstore.Object{Key: "k"}, time.Minute, "text/plain")
		if !ok || err != nil || url != "https://there/k?1m0s&text/plain" {
			t.Errorf("%s: %q, %v, %v", name, url, ok, err)
		}
		blobstore.Forget(s, "k")
		if len(bottom.forgotten) != 1 || bottom.forgotten[0] != "k" {
			t.Errorf("%s: forgot %q", name, bottom.forgotten)
		}
		plain := over(memory.New())
		if _, ok, err := blobstore.Redirect(t.Context(), plain, blobstore.Object{Key: "k"}, time.Minute, ""); ok || err != nil {
			t.Errorf("%s: redirected by a store that cannot: %v, %v", name, ok, err)
		}
		blobstore.Forget(plain, "k") // there is nothing to forget
		if failed, err := blobstore.DeleteAll(t.Context(), plain, fill(t, plain, 3)); err != nil || len(failed) > 0 || count(t, plain) != 0 {
			t.Errorf("%s: %v, %v", name, failed, err)
		}
	}

	// Sealed bytes are not for clients.
	bottom := &able{Store: memory.New()}
	either := encrypted.NewEither(bottom, ring, true)
	w, err := either.Create(t.Context(), "sealed", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	o, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if url, ok, err := either.Redirect(t.Context(), o, time.Minute, ""); ok || err != nil {
		t.Errorf("a sealed object: %q, %v", url, err)
	}
	if _, ok, err := blobstore.Redirect(t.Context(), encrypted.New(bottom, ring), o, time.Minute, ""); ok || err != nil {
		t.Errorf("a store that seals all: %v", err)
	}
	// Damaged bytes are forgotten.
	if err := bottom.Damage("sealed", func(b []byte) []byte { b[13] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	r, err := either.Open(t.Context(), o, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Errorf("damaged: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if len(bottom.forgotten) == 0 || bottom.forgotten[0] != "sealed" {
		t.Errorf("forgot %q", bottom.forgotten)
	}
}
