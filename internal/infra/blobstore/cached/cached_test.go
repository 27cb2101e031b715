package cached

import (
	"bytes"
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/memory"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, inner blobstore.Store, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "cache")
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = MinBytes
	}
	s, err := New(inner, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t,
		func(t *testing.T) blobstore.Store {
			return open(t, memory.New(), Options{MaxBytes: 64 << 20, MaxObject: 32 << 20})
		},
		storetest.InMemory(),
		storetest.WithReopen(func(t *testing.T, s blobstore.Store) blobstore.Store {
			return open(t, s.(*Store).inner, Options{})
		}),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			if err := s.(*Store).inner.(*memory.Store).Damage(key, change); err != nil {
				t.Fatal(err)
			}
		}),
	)
}

// counted counts how often the store below is opened.
type counted struct {
	*memory.Store
	opens atomic.Int64
	// gate, if not nil, is waited for in Open.
	gate chan struct{}
}

func (c *counted) Open(ctx context.Context, o blobstore.Object, offset, length int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	if c.gate != nil {
		<-c.gate
	}
	return c.Store.Open(ctx, o, offset, length)
}

func content(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b) // cannot fail
	return b
}

func put(t *testing.T, s blobstore.Store, key string, p []byte) blobstore.Object {
	t.Helper()
	w, err := s.Create(t.Context(), key, blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	o, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func read(ctx context.Context, s blobstore.Store, o blobstore.Object, offset, length int64) ([]byte, error) {
	r, err := s.Open(ctx, o, offset, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func expect(t *testing.T, s blobstore.Store, o blobstore.Object, want []byte) {
	t.Helper()
	got, err := read(t.Context(), s, o, 0, -1)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: read %d bytes of %d: %v", o.Key, len(got), len(want), err)
	}
}

// onDisk is the size of all files of the cache, in blocks.
func onDisk(t *testing.T, dir string) (size int64, files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "chunks"), func(path string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += (info.Size() + block - 1) / block * block
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size, files
}

// TestHits: what was read once comes from the disk, whatever part is asked for.
func TestHits(t *testing.T) {
	inner := &counted{Store: memory.New()}
	s := open(t, inner, Options{})
	want := content(1, 3*ChunkSize+100)
	s.maxObject = int64(len(want))
	o := put(t, s, "hits", want)
	expect(t, s, o, want)
	if n := inner.opens.Load(); n != 1 {
		t.Errorf("the first read opened %d times", n)
	}
	expect(t, s, o, want)
	got, err := read(t.Context(), s, o, ChunkSize-5, ChunkSize+10)
	if err != nil || !bytes.Equal(got, want[ChunkSize-5:2*ChunkSize+5]) {
		t.Errorf("a part: %v", err)
	}
	if n := inner.opens.Load(); n != 1 {
		t.Errorf("%d opens after reading from the cache", n)
	}
	if stats := s.Stats(); stats.Misses != 4 || stats.Hits != 4+3 {
		t.Errorf("%+v", stats)
	}

	// A hole in the middle: the chunks around it stay.
	part := put(t, s, "hole", want)
	if _, err := read(t.Context(), s, part, ChunkSize, ChunkSize); err != nil {
		t.Fatal(err)
	}
	expect(t, s, part, want)
	if n := inner.opens.Load(); n != 1+1+2 {
		t.Errorf("%d opens", n)
	}

	// Too large to be cached.
	large := put(t, s, "large", content(2, len(want)+1))
	expect(t, s, large, content(2, len(want)+1))
	expect(t, s, large, content(2, len(want)+1))
	if n := inner.opens.Load(); n != 4+2 {
		t.Errorf("%d opens", n)
	}
}

// TestBound: the cache never has more than it may, and what was used last stays.
func TestBound(t *testing.T) {
	inner := &counted{Store: memory.New()}
	dir := filepath.Join(t.TempDir(), "cache")
	s := open(t, inner, Options{Dir: dir})
	hot := put(t, s, "hot", content(0, ChunkSize))
	expect(t, s, hot, content(0, ChunkSize))
	for i := byte(1); i < 60; i++ {
		size := ChunkSize - int(i)*100
		o := put(t, s, "object/"+string('a'+rune(i%26))+string('a'+rune(i/26)), content(i, size))
		expect(t, s, o, content(i, size))
		expect(t, s, hot, content(0, ChunkSize))
		size64, _ := onDisk(t, dir)
		if used := s.Stats().Bytes; size64 > MinBytes || used != size64 {
			t.Fatalf("%d bytes on disk, counted are %d of %d", size64, used, MinBytes)
		}
	}
	if n := inner.opens.Load(); n != 60 {
		t.Errorf("%d opens for 60 objects: what is used all the time was displaced", n)
	}
	if size, _ := onDisk(t, dir); size < MinBytes/2 {
		t.Errorf("only %d bytes are used", size)
	}
}

// TestDamage: chunks that were altered, cut or removed on disk are fetched anew.
func TestDamage(t *testing.T) {
	inner := &counted{Store: memory.New()}
	dir := filepath.Join(t.TempDir(), "cache")
	s := open(t, inner, Options{Dir: dir})
	want := content(3, ChunkSize/2)
	o := put(t, s, "damage", want)
	expect(t, s, o, want)
	for i, harm := range []func(file string, b []byte) error{
		func(file string, b []byte) error { b[1000] ^= 1; return os.WriteFile(file, b, 0o600) },
		func(file string, b []byte) error { b[0] ^= 1; return os.WriteFile(file, b, 0o600) },
		func(file string, b []byte) error { return os.WriteFile(file, b[:len(b)-1], 0o600) },
		func(file string, _ []byte) error { return os.WriteFile(file, nil, 0o600) },
		func(file string, _ []byte) error { return os.Remove(file) },
	} {
		_, files := onDisk(t, dir)
		if len(files) != 1 {
			t.Fatalf("%d files", len(files))
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := harm(files[0], b); err != nil {
			t.Fatal(err)
		}
		expect(t, s, o, want)
		if n := inner.opens.Load(); n != int64(i+2) {
			t.Errorf("harm %d: %d opens", i, n)
		}
		expect(t, s, o, want)
		if n := inner.opens.Load(); n != int64(i+2) {
			t.Errorf("harm %d: it is not cached again", i)
		}
	}
	// A chunk in another's place.
	other := put(t, s, "other", content(4, ChunkSize/2))
	expect(t, s, other, content(4, ChunkSize/2))
	_, files := onDisk(t, dir)
	a, errA := os.ReadFile(files[0])
	b, errB := os.ReadFile(files[1])
	if err := errors.Join(errA, errB, os.WriteFile(files[0], b, 0o600), os.WriteFile(files[1], a, 0o600)); err != nil {
		t.Fatal(err)
	}
	expect(t, s, o, want)
	expect(t, s, other, content(4, ChunkSize/2))
}

// TestForgotten: deleted objects are gone from the cache, and so is what a store
// above does not believe.
func TestForgotten(t *testing.T) {
	inner := &counted{Store: memory.New()}
	dir := filepath.Join(t.TempDir(), "cache")
	s := open(t, inner, Options{Dir: dir})
	want := content(5, 2*ChunkSize)
	for name, remove := range map[string]func(key string) error{
		"delete":     func(key string) error { return s.Delete(t.Context(), key) },
		"delete all": func(key string) error { _, err := s.DeleteAll(t.Context(), []string{key}); return err },
		"forget":     func(key string) error { s.Forget(key); return inner.Delete(t.Context(), key) },
	} {
		o := put(t, s, "gone", want)
		expect(t, s, o, want)
		if err := remove("gone"); err != nil {
			t.Fatal(err)
		}
		if _, err := read(t.Context(), s, o, 0, -1); !errors.Is(err, blobstore.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if size, _ := onDisk(t, dir); size != 0 || s.Stats().Bytes != 0 {
			t.Errorf("%s: %d bytes are left", name, size)
		}
	}

	// Deleted while it is being fetched: what comes is not kept.
	o := put(t, s, "race", want[:100])
	inner.gate = make(chan struct{})
	got := make(chan error, 1)
	go func() {
		_, err := read(t.Context(), s, o, 0, -1)
		got <- err
	}()
	s.awaitFetch(t)
	s.Forget("race")
	close(inner.gate)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if size, _ := onDisk(t, dir); size != 0 {
		t.Errorf("%d bytes of a deleted object are kept", size)
	}
}

// awaitFetch waits until a chunk is being fetched.
func (s *Store) awaitFetch(t *testing.T) {
	t.Helper()
	for range 60_000 {
		s.chunks.mu.Lock()
		n := len(s.chunks.fetches)
		s.chunks.mu.Unlock()
		if n > 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("no fetch began")
}

// TestTogether: many readers of one object fetch it once.
func TestTogether(t *testing.T) {
	inner := &counted{Store: memory.New(), gate: make(chan struct{})}
	s := open(t, inner, Options{})
	want := content(6, ChunkSize-1)
	o := put(t, s, "together", want)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			got, err := read(t.Context(), s, o, 0, -1)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	close(inner.gate)
	group.Wait()
	if n := inner.opens.Load(); n != 1 {
		t.Errorf("%d opens", n)
	}
	// A reader does not wait longer than its context.
	o = put(t, s, "waiting", want)
	inner.gate = make(chan struct{})
	first := make(chan error, 1)
	go func() {
		_, err := read(t.Context(), s, o, 0, -1)
		first <- err
	}()
	s.awaitFetch(t)
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error, 1)
	go func() {
		_, err := read(ctx, s, o, 0, -1)
		second <- err
	}()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("a reader whose context ended: %v", err)
	}
	close(inner.gate)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// TestDiskFails: reads go on without the disk.
func TestDiskFails(t *testing.T) {
	inner := &counted{Store: memory.New()}
	dir := filepath.Join(t.TempDir(), "cache")
	var log bytes.Buffer
	s := open(t, inner, Options{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := os.RemoveAll(filepath.Join(dir, "chunks")); err != nil {
		t.Fatal(err)
	}
	want := content(7, 2*ChunkSize)
	o := put(t, s, "fails", want)
	for range 3 {
		expect(t, s, o, want)
	}
	if n := inner.opens.Load(); n != 3 {
		t.Errorf("%d opens", n)
	}
	if s.Stats().Bytes != 0 {
		t.Errorf("%d bytes are counted", s.Stats().Bytes)
	}
	if n := strings.Count(log.String(), "cannot write"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, &log)
	}
}

// TestNew: the directory is one process's alone, and begins empty.
func TestNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	inner := memory.New()
	s, err := New(inner, Options{Dir: dir, MaxBytes: MinBytes})
	if err != nil {
		t.Fatal(err)
	}
	o := put(t, s, "kept", content(8, 100))
	expect(t, s, o, content(8, 100))
	if _, err := New(inner, Options{Dir: dir, MaxBytes: MinBytes}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a directory that is in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, inner, Options{Dir: dir})
	if size, _ := onDisk(t, dir); size != 0 {
		t.Errorf("%d bytes of the last process are there", size)
	}
	expect(t, s, o, content(8, 100))
	for _, bad := range []Options{{Dir: dir, MaxBytes: MinBytes - 1}, {MaxBytes: MinBytes}, {Dir: "/proc/none", MaxBytes: MinBytes}} {
		if _, err := New(inner, bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}
