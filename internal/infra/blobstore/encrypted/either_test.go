package encrypted_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
)

func TestEither(t *testing.T) {
	for _, seal := range []bool{true, false} {
		t.Run(fmt.Sprintf("seal=%t", seal), func(t *testing.T) {
			var inners sync.Map // the inner store of each store that was opened
			options := []storetest.Option{storetest.InMemory()}
			if seal {
				options = append(options, storetest.Sealed(), storetest.WithDamage(
					func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
						inner, ok := inners.Load(s)
						if !ok {
							t.Fatal("not one of this test's stores")
						}
						if err := inner.(*memory.Store).Damage(key, change); err != nil {
							t.Fatal(err)
						}
					}))
			}
			storetest.Run(t, func(t *testing.T) blobstore.Store {
				inner := memory.New()
				s := encrypted.NewEither(inner, manager(t), seal)
				inners.Store(s, inner)
				return s
			}, options...)
		})
	}
}

// TestSettingChanges reads objects, and goes on with unfinished ones, after the
// setting was changed to the other and back.
func TestSettingChanges(t *testing.T) {
	ctx := t.Context()
	inner, m := memory.New(), manager(t)
	stores := map[bool]*encrypted.Either{true: encrypted.NewEither(inner, m, true), false: encrypted.NewEither(inner, m, false)}
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	for _, seal := range []bool{true, false} {
		key := fmt.Sprintf("object-%t", seal)
		w, err := stores[seal].Create(ctx, key, blobstore.Placement{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content[:70_000]); err != nil {
			t.Fatal(err)
		}
		state, err := w.Suspend(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if w, err = stores[!seal].Resume(ctx, key, state); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content[70_000:]); err != nil {
			t.Fatal(err)
		}
		o, err := w.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if sealed := len(o.Seal) > 0; sealed != seal {
			t.Errorf("begun with seal=%t, the object is sealed: %t", seal, sealed)
		}
		for _, s := range stores {
			body, err := s.Open(ctx, o, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err := errors.Join(err, body.Close()); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes came back, want %d: %v", len(got), len(content), err)
			}
		}
	}
	for _, state := range []blobstore.State{nil, {}, []byte("x"), []byte("p"), []byte("s")} {
		if w, err := stores[true].Resume(ctx, "other", state); !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("the state %q: %v, %v", state, w, err)
		}
	}
}
