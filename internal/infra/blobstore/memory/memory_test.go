package memory_test

import (
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t,
		func(*testing.T) blobstore.Store { return memory.New() },
		storetest.InMemory(),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			if err := s.(*memory.Store).Damage(key, change); err != nil {
				t.Fatal(err)
			}
		}),
	)
}

func TestTakenKey(t *testing.T) {
	s := memory.New()
	for i, wantError := range []bool{false, true} {
		_, err := s.Create(t.Context(), "a", blobstore.Placement{})
		if (err != nil) != wantError {
			t.Errorf("creation %d: %v", i, err)
		}
	}
}
