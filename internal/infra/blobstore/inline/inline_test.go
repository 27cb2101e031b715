package inline_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/encrypted"
	"github.com/berth-registry/berth/internal/infra/blobstore/inline"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
)

const limit = 1000

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) blobstore.Store { return inline.New(memory.New(), limit) },
		storetest.InMemory(), storetest.Inline(limit))
}

// TestStoreUnderSeals: as a program has it.
func TestStoreUnderSeals(t *testing.T) {
	var inners sync.Map
	storetest.Run(t, func(t *testing.T) blobstore.Store {
		inner := memory.New()
		s := encrypted.NewEither(inline.New(inner, limit), manager(t), true)
		inners.Store(s, inner)
		return s
	}, storetest.Sealed(), storetest.InMemory(), storetest.Inline(limit),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			inner, ok := inners.Load(s)
			if !ok {
				t.Fatal("not one of this test's stores")
			}
			if err := inner.(*memory.Store).Damage(key, change); err != nil {
				t.Fatal(err)
			}
		}))
}

func manager(t *testing.T) *keyring.Keyring {
	t.Helper()
	m, err := keyring.Open(filepath.Join(t.TempDir(), "keyring.json"), clock.NewFake(time.Unix(1_700_000_000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// counting is a store that counts what it is asked for.
type counting struct {
	blobstore.Store
	creates, resumes, opens, deletes int
	refuse                           error
}

func (c *counting) Create(ctx context.Context, key string, p blobstore.Placement) (blobstore.Writer, error) {
	if c.creates++; c.refuse != nil {
		return nil, c.refuse
	}
	return c.Store.Create(ctx, key, p)
}

func (c *counting) Resume(ctx context.Context, key string, s blobstore.State) (blobstore.Writer, error) {
	c.resumes++
	return c.Store.Resume(ctx, key, s)
}

func (c *counting) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	c.opens++
	return c.Store.Open(ctx, o, offset, length)
}

func (c *counting) Delete(ctx context.Context, key string) error {
	c.deletes++
	return c.Store.Delete(ctx, key)
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7)
	}
	return p
}

func read(t *testing.T, s blobstore.Store, o blobstore.Object, offset, length int64) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), o, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// push makes an object in two requests, the way that clients do.
func push(t *testing.T, s blobstore.Store, key string, p []byte, cut int) blobstore.Object {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	w, err := s.Create(t.Context(), key, blobstore.Placement{})
	must(err)
	_, err = w.Write(p[:cut])
	must(err)
	state, err := w.Suspend(t.Context())
	must(err)
	w, err = s.Resume(t.Context(), key, state)
	must(err)
	_, err = w.Write(p[cut:])
	must(err)
	o, err := w.Commit(t.Context())
	must(err)
	return o
}

// TestNothingIsStored: the inner store is not asked for a small object, and is for a
// larger one, sealed or not.
func TestNothingIsStored(t *testing.T) {
	for name, seal := range map[string]bool{"sealed": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			inner := &counting{Store: memory.New()}
			s := encrypted.NewEither(inline.New(inner, limit), manager(t), seal)
			for _, size := range []int{0, 1, 500, limit - 28, limit - 27, limit, limit + 1, 3 * limit} {
				stored := size
				if seal {
					stored += 28
				}
				small := stored <= limit
				*inner = counting{Store: inner.Store}
				p, key := pattern(size), "object/"+string(rune('a'+size%26))
				o := push(t, s, key, p, size/2)
				if o.Within() != small || o.Sealed() != seal || o.Size != int64(size) {
					t.Errorf("%d bytes: %+v", size, o)
				}
				if got, err := read(t, s, o, 0, -1); err != nil || !bytes.Equal(got, p) {
					t.Errorf("%d bytes: read %d, %v", size, len(got), err)
				}
				if got, err := read(t, s, o, int64(size/3), int64(size/4)); err != nil || !bytes.Equal(got, p[size/3:size/3+size/4]) {
					t.Errorf("a part of %d bytes: read %d, %v", size, len(got), err)
				}
				asked := inner.creates + inner.opens
				if small && asked+inner.resumes+inner.deletes > 0 || !small && asked != 3 {
					t.Errorf("%d bytes: the inner store was asked: %+v", size, inner)
				}
				if small && encrypted.StoredSize(o) != 0 {
					t.Errorf("%d bytes take %d in the store", size, encrypted.StoredSize(o))
				}
				if seal && size > 100 && small && bytes.Contains(o.Seal, p[20:60]) {
					t.Error("the seal shows the bytes")
				}
			}
		})
	}
}

// TestOutgrown: an unfinished object that stood in its State goes on in the inner
// store, and what a lost writer left there is not in the way.
func TestOutgrown(t *testing.T) {
	inner := memory.New()
	s := inline.New(inner, limit)
	p := pattern(5 * limit)
	w, err := s.Create(t.Context(), "a", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p[:limit]); err != nil {
		t.Fatal(err)
	}
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first one is lost
		if w, err = s.Resume(t.Context(), "a", state); err != nil {
			t.Fatal(err)
		}
		if w.Offset() != limit {
			t.Fatalf("resumed at %d", w.Offset())
		}
		if _, err := w.Write(p[limit:]); err != nil {
			t.Fatal(err)
		}
	}
	o, err := w.Commit(t.Context())
	if err != nil || o.Within() {
		t.Fatalf("%+v, %v", o, err)
	}
	if got, err := read(t, s, o, 0, -1); err != nil || !bytes.Equal(got, p) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// TestSettingChanged: what was made under another limit is read and goes on.
func TestSettingChanged(t *testing.T) {
	inner := memory.New()
	before := inline.New(inner, limit)
	o := push(t, before, "done", pattern(limit), 10)
	w, err := before.Create(t.Context(), "begun", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(limit)); err != nil {
		t.Fatal(err)
	}
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	after := inline.New(inner, 0)
	if got, err := read(t, after, o, 0, -1); err != nil || !bytes.Equal(got, pattern(limit)) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if w, err = after.Resume(t.Context(), "begun", state); err != nil {
		t.Fatal(err)
	}
	o, err = w.Commit(t.Context())
	if err != nil || o.Within() {
		t.Fatalf("%+v, %v", o, err)
	}
	if got, err := read(t, after, o, 0, -1); err != nil || !bytes.Equal(got, pattern(limit)) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// TestStatesOfTheInnerStore: an upload that was begun without this package goes on.
func TestStatesOfTheInnerStore(t *testing.T) {
	inner := memory.New()
	w, err := inner.Create(t.Context(), "old", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(10)); err != nil {
		t.Fatal(err)
	}
	state, err := w.Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w, err = inline.New(inner, limit).Resume(t.Context(), "old", state); err != nil || w.Offset() != 10 {
		t.Fatalf("%v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	// And the other way, where nothing stands in Seals.
	if w, err = inline.New(inner, 0).Resume(t.Context(), "old", state); err != nil {
		t.Fatal(err)
	}
	if state, err = w.Suspend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w, err = inner.Resume(t.Context(), "old", state); err != nil || w.Offset() != 10 {
		t.Fatalf("%v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestDamagedSeals(t *testing.T) {
	m := manager(t)
	for name, seal := range map[string]bool{"sealed": true, "plain": false} {
		s := encrypted.NewEither(inline.New(memory.New(), limit), m, seal)
		o := push(t, s, "a", pattern(100), 50)
		for at := range o.Seal {
			bad := o
			bad.Seal = slices.Clone(o.Seal)[:at]
			if at == 0 {
				continue // no seal at all: stored bytes, which are not there
			}
			if got, err := read(t, s, bad, 0, -1); err == nil {
				t.Errorf("%s: %d bytes of a seal read %d", name, at, len(got))
			}
		}
		bad := o
		bad.Seal = append(slices.Clone(o.Seal), 0)
		if _, err := read(t, s, bad, 0, -1); !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("%s: a byte too many: %v", name, err)
		}
	}
}

// TestRefusal: what the inner store refuses is the failure of the write that it is
// asked for, and of all that follows.
func TestRefusal(t *testing.T) {
	inner := &counting{Store: memory.New(), refuse: blobstore.ErrFull}
	w, err := inline.New(inner, limit).Create(t.Context(), "a", blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(pattern(limit + 1)); !errors.Is(err, blobstore.ErrFull) {
			t.Errorf("write: %v", err)
		}
	}
	if _, err := w.Suspend(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("suspend: %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("commit: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if inner.creates != 1 {
		t.Errorf("asked %d times", inner.creates)
	}
}

func TestEnded(t *testing.T) {
	for name, end := range map[string]func(w blobstore.Writer) error{
		"suspend": func(w blobstore.Writer) error { _, err := w.Suspend(t.Context()); return err },
		"commit":  func(w blobstore.Writer) error { _, err := w.Commit(t.Context()); return err },
		"close":   func(w blobstore.Writer) error { return w.Close() },
	} {
		w, err := inline.New(memory.New(), limit).Create(t.Context(), "a", blobstore.Placement{})
		if err != nil {
			t.Fatal(err)
		}
		if err := end(w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := w.Write([]byte("x")); !errors.Is(err, blobstore.ErrEnded) {
			t.Errorf("write after %s: %v", name, err)
		}
		if _, err := w.Suspend(t.Context()); !errors.Is(err, blobstore.ErrEnded) {
			t.Errorf("suspend after %s: %v", name, err)
		}
		if _, err := w.Commit(t.Context()); !errors.Is(err, blobstore.ErrEnded) {
			t.Errorf("commit after %s: %v", name, err)
		}
	}
}

func TestNoRedirect(t *testing.T) {
	s := inline.New(redirecting{memory.New()}, limit)
	for _, size := range []int{limit, limit + 1} {
		o := push(t, s, "a", pattern(size), 1)
		_, ok, err := blobstore.Redirect(t.Context(), s, o, time.Minute, "")
		if err != nil || ok != (size > limit) {
			t.Errorf("%d bytes: %v, %v", size, ok, err)
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
}

type redirecting struct{ blobstore.Store }

func (redirecting) Redirect(context.Context, blobstore.Object, time.Duration, string) (string, bool, error) {
	return "https://store.example/object", true, nil
}
