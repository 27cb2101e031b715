package measured_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/fs"
	"github.com/berth-registry/berth/internal/infra/blobstore/measured"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
)

func ignore(context.Context) measured.Tell { return func(measured.Done) {} }

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) blobstore.Store { return measured.New(memory.New(), ignore) }, storetest.InMemory())
}

// watch is a store and what its observer was told, as "op bytes error".
type watch struct {
	*measured.Store
	told []string
}

func watched(inner blobstore.Store) *watch {
	w := &watch{}
	tell := func(d measured.Done) {
		if d.Begun.IsZero() || d.Took < 0 || !slices.Contains(measured.Ops(), d.Op) {
			w.told = append(w.told, fmt.Sprintf("bad %+v", d))
		}
		w.told = append(w.told, fmt.Sprintf("%s %d %t", d.Op, d.Bytes, d.Err != nil))
	}
	w.Store = measured.New(inner, func(context.Context) measured.Tell { return tell })
	return w
}

func (w *watch) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.told, want) {
		t.Errorf("told %q, want %q", w.told, want)
	}
	w.told = nil
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestObserver(t *testing.T) {
	ctx := t.Context()
	inner := memory.New()
	s := watched(inner)
	w := must[blobstore.Writer](t)(s.Create(ctx, "a", blobstore.Placement{}))
	must[int](t)(w.Write([]byte("hello ")))
	state := must[blobstore.State](t)(w.Suspend(ctx))
	s.expect(t, "create 0 false", "write 6 false", "suspend 0 false")

	w = must[blobstore.Writer](t)(s.Resume(ctx, "a", state))
	must[int](t)(w.Write([]byte("world")))
	o := must[blobstore.Object](t)(w.Commit(ctx))
	s.expect(t, "resume 0 false", "write 5 false", "commit 0 false")
	if _, err := w.Write([]byte("x")); !errors.Is(err, blobstore.ErrEnded) {
		t.Error(err)
	}
	s.expect(t, "write 0 true")

	r := must[io.ReadCloser](t)(s.Open(ctx, o, 6, -1))
	s.expect(t, "open 0 false")
	if text := must[[]byte](t)(io.ReadAll(r)); string(text) != "world" {
		t.Errorf("read %q", text)
	}
	s.expect(t, "first_byte 0 false")
	for range 2 { // and told once
		must[struct{}](t)(struct{}{}, r.Close())
	}
	s.expect(t, "read 5 false")

	for _, err := range s.List(ctx, "") {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if err := s.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	if _, err := s.Open(ctx, o, 0, -1); !errors.Is(err, blobstore.ErrNotFound) {
		t.Error(err)
	}
	s.expect(t, "list 0 false", "delete 0 false", "open 0 true")
}

// writeOnly hides what else a writer can do.
type writeOnly struct{ io.Writer }

// TestWriteTo: the fast way is measured too, and a receiver that fails is not
// taken for a store that does.
func TestWriteTo(t *testing.T) {
	ctx := t.Context()
	files := must[*fs.Store](t)(fs.New(t.TempDir()))
	s := watched(files)
	w := must[blobstore.Writer](t)(s.Create(ctx, "a", blobstore.Placement{}))
	must[int](t)(w.Write([]byte("hello")))
	o := must[blobstore.Object](t)(w.Commit(ctx))
	s.told = nil
	open := func() io.ReadCloser { return must[io.ReadCloser](t)(s.Open(ctx, o, 0, -1)) }

	var plain bytes.Buffer
	r := open()
	if n := must[int64](t)(r.(io.WriterTo).WriteTo(writeOnly{&plain})); n != 5 || plain.String() != "hello" {
		t.Errorf("wrote %d: %q", n, plain.String())
	}
	must[struct{}](t)(struct{}{}, r.Close())
	s.expect(t, "open 0 false", "first_byte 0 false", "read 5 false")

	// bytes.Buffer reads from a reader by itself.
	var direct bytes.Buffer
	r = open()
	must[int64](t)(r.(io.WriterTo).WriteTo(&direct))
	must[struct{}](t)(struct{}{}, r.Close())
	s.expect(t, "open 0 false", "read 5 false")

	r = open()
	if _, err := r.(io.WriterTo).WriteTo(broken{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	must[struct{}](t)(struct{}{}, r.Close())
	s.expect(t, "open 0 false", "first_byte 0 false", "read 0 false")
}

// TestBegin: bytes that are seen to be there have come, for the time until the first.
func TestBegin(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	s := watched(must[*fs.Store](t)(fs.New(dir)))
	w := must[blobstore.Writer](t)(s.Create(ctx, "a", blobstore.Placement{}))
	must[int](t)(w.Write([]byte("hello")))
	o := must[blobstore.Object](t)(w.Commit(ctx))
	s.told = nil
	r := must[io.ReadCloser](t)(s.Open(ctx, o, 0, -1))
	for range 2 { // and told once
		if err := blobstore.Begin(r); err != nil {
			t.Error(err)
		}
	}
	var got bytes.Buffer
	must[int64](t)(r.(io.WriterTo).WriteTo(&got))
	must[struct{}](t)(struct{}{}, r.Close())
	s.expect(t, "open 0 false", "first_byte 0 false", "read 5 false")

	// Bytes that are missing are the store's failure, wherever they were to go.
	r = must[io.ReadCloser](t)(s.Open(ctx, o, 0, -1))
	file := filepath.Join(dir, "a")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	must[struct{}](t)(struct{}{}, os.Truncate(file, 2))
	if _, err := r.(io.WriterTo).WriteTo(&got); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Error(err)
	}
	must[struct{}](t)(struct{}{}, r.Close())
	s.expect(t, "open 0 false", "read 2 true") // and two bytes came

	r = must[io.ReadCloser](t)(watched(failing{memory.New()}).Open(ctx, o, 0, -1))
	if err := blobstore.Begin(r); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a reader that cannot tell: %v", err)
	}
}

// broken is a receiver that takes nothing.
type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestBrokenReading: an object that the store lost half of is its failure.
func TestBrokenReading(t *testing.T) {
	ctx := t.Context()
	s := watched(failing{memory.New()})
	r := must[io.ReadCloser](t)(s.Open(ctx, blobstore.Object{Key: "a", Size: 5}, 0, -1))
	if _, err := io.ReadAll(r); !errors.Is(err, blobstore.ErrCorrupt) {
		t.Error(err)
	}
	must[struct{}](t)(struct{}{}, r.Close())
	s.expect(t, "open 0 false", "first_byte 0 true", "read 0 true")
}

// failing opens readers that fail.
type failing struct{ blobstore.Store }

func (failing) Open(context.Context, blobstore.Object, int64, int64) (io.ReadCloser, error) {
	return io.NopCloser(damaged{}), nil
}

type damaged struct{}

func (damaged) Read([]byte) (int, error) { return 0, blobstore.ErrCorrupt }

// able is a store that can do more than others.
type able struct {
	blobstore.Store
	forgotten []string
}

func (a *able) DeleteAll(_ context.Context, keys []string) (map[string]error, error) {
	return map[string]error{keys[0]: io.ErrClosedPipe}, nil
}

func (a *able) Redirect(_ context.Context, o blobstore.Object, life time.Duration, contentType string) (string, bool, error) {
	return o.Key + " " + life.String() + " " + contentType, true, nil
}

func (a *able) Forget(key string) { a.forgotten = append(a.forgotten, key) }

func TestOptional(t *testing.T) {
	ctx := t.Context()
	inner := &able{Store: memory.New()}
	s := watched(inner)
	if failed, err := blobstore.DeleteAll(ctx, s, []string{"a", "b"}); err != nil || !errors.Is(failed["a"], io.ErrClosedPipe) || len(failed) != 1 {
		t.Errorf("%v, %v", failed, err)
	}
	if url, ok, err := blobstore.Redirect(ctx, s, blobstore.Object{Key: "a"}, time.Minute, "text/plain"); url != "a 1m0s text/plain" || !ok || err != nil {
		t.Errorf("%s, %t, %v", url, ok, err)
	}
	blobstore.Forget(s, "a")
	if !slices.Equal(inner.forgotten, []string{"a"}) {
		t.Errorf("forgotten: %q", inner.forgotten)
	}
	s.expect(t, "delete_all 0 true", "redirect 0 false")

	// A store that can do none of it is not asked for it.
	s = watched(memory.New())
	if failed, err := blobstore.DeleteAll(ctx, s, []string{"a", "b"}); err != nil || len(failed) != 0 {
		t.Errorf("%v, %v", failed, err)
	}
	if _, ok, err := blobstore.Redirect(ctx, s, blobstore.Object{Key: "a"}, time.Minute, ""); ok || err != nil {
		t.Errorf("%t, %v", ok, err)
	}
	blobstore.Forget(s, "a")
	s.expect(t, "delete_all 0 false")
}
