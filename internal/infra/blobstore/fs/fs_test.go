package fs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/blobstore"
	"github.com/berth-registry/berth/internal/infra/blobstore/storetest"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := New(dir)
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
		func(t *testing.T) blobstore.Store { return open(t, filepath.Join(t.TempDir(), "blobs")) },
		storetest.WithReopen(func(t *testing.T, s blobstore.Store) blobstore.Store {
			return open(t, s.(*Store).root.Name())
		}),
		storetest.WithDamage(func(t *testing.T, s blobstore.Store, key string, change func([]byte) []byte) {
			damageFile(t, filepath.Join(s.(*Store).root.Name(), key), change)
		}),
	)
}

func damageFile(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := change(stored)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, changed, 0o400); err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, s *Store, key, content string) blobstore.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), key, blobstore.Placement{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	return w
}

func commit(t *testing.T, w blobstore.Writer) blobstore.Object {
	t.Helper()
	o, err := w.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "blobs")
	s := open(t, dir)
	modes := func() map[string]iofs.FileMode {
		got := map[string]iofs.FileMode{}
		err := filepath.WalkDir(filepath.Dir(dir), func(path string, _ iofs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			got[filepath.Base(path)] = info.Mode().Perm()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	w := create(t, s, "a/b/file", "x")
	for name, want := range map[string]iofs.FileMode{"data": 0o700, "blobs": 0o700, "a": 0o700, "b": 0o700, "file": 0o600} {
		if got := modes()[name]; got != want {
			t.Errorf("%s has mode %o, want %o", name, got, want)
		}
	}
	commit(t, w)
	if got := modes()["file"]; got != 0o400 {
		t.Errorf("a finished file has mode %o", got)
	}
}

func TestTakenKey(t *testing.T) {
	s := open(t, t.TempDir())
	commit(t, create(t, s, "a", "first"))
	_, err := s.Create(t.Context(), "a", blobstore.Placement{})
	if !errors.Is(err, iofs.ErrExist) {
		t.Errorf("second creation: %v", err)
	}
}

// TestLinks plants links that lead out of the directory.
func TestLinks(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"out/secret", "link"} {
		if r, err := s.Open(t.Context(), blobstore.Object{Key: key, Size: 6}, 0, -1); err == nil {
			_ = r.Close()
			t.Errorf("opened %s", key)
		}
		if w, err := s.Resume(t.Context(), key, append([]byte{stateFormat}, make([]byte, 8)...)); err == nil {
			_ = w.Close()
			t.Errorf("resumed %s", key)
		}
	}
	if w, err := s.Create(t.Context(), "out/new", blobstore.Placement{}); err == nil {
		_ = w.Close()
		t.Error("created a file outside")
	}
	if err := s.Delete(t.Context(), "out/secret"); err == nil {
		t.Error("deleted outside")
	}
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("listed %q, %v", info.Key, err)
	}
	if got, err := os.ReadFile(filepath.Join(outside, "secret")); err != nil || string(got) != "secret" {
		t.Errorf("the file outside is %q, %v", got, err)
	}
}

func TestListLeavesOutForeignFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, create(t, s, "a/object", "x"))
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o000); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "b~"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "a", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for info, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if !slices.Equal(keys, []string{"a/object"}) {
		t.Errorf("listed %q", keys)
	}
}

// counted records which directories were synced.
func counted(s *Store) (taken func() []string) {
	var mu sync.Mutex
	var synced []string
	inner := s.fsync
	s.fsync = func(dir string) error {
		mu.Lock()
		synced = append(synced, dir)
		mu.Unlock()
		return inner(dir)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		got := synced
		synced = nil
		return got
	}
}

func TestDirectoriesAreSyncedWhenTheyHaveNewEntries(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	synced := counted(s)
	expect := func(what string, want ...string) {
		t.Helper()
		if got := synced(); !slices.Equal(got, want) {
			t.Errorf("%s synced %q, want %q", what, got, want)
		}
	}
	commit(t, create(t, s, "a/b/1", "x"))
	expect("the first commit", "a/b", "a", "")
	commit(t, create(t, s, "a/b/2", "x"))
	expect("the second one in a directory", "a/b")
	commit(t, create(t, s, "a/c/1", "x"))
	expect("the first one in a new directory", "a/c", "a")

	three, four := create(t, s, "a/b/3", "x"), create(t, s, "a/b/4", "x")
	commit(t, four)
	expect("one of two", "a/b")
	commit(t, three)
	expect("the other one, whose entry was synced")

	// Another process does not know what the first one synced.
	state, err := create(t, s, "a/b/5", "x").Suspend(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	synced = counted(s)
	w, err := s.Resume(t.Context(), "a/b/5", state)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, w)
	expect("the first commit of a process", "a/b", "a", "")
	commit(t, create(t, s, "a/b/6", "x"))
	expect("the second commit of a process", "a/b")
}

// TestCommitsShareASync holds the first sync until all others wait for the
// next one.
func TestCommitsShareASync(t *testing.T) {
	s := open(t, t.TempDir())
	d, err := s.directory("")
	if err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	calls := 0
	s.fsync = func(string) error {
		mu.Lock()
		calls++
		first := calls == 1
		mu.Unlock()
		if first {
			close(started)
			<-release
		}
		return nil
	}
	var group sync.WaitGroup
	commitOne := func(i int) {
		w := create(t, s, fmt.Sprintf("object%d", i), "x")
		group.Go(func() { commit(t, w) })
	}
	commitOne(0)
	<-started
	const others = 20
	for i := range others {
		commitOne(i + 1)
	}
	for d.newest() != 1+1+others {
		time.Sleep(time.Millisecond)
	}
	close(release)
	group.Wait()
	if calls != 2 {
		t.Errorf("%d commits took %d syncs, want 2", 1+others, calls)
	}
}

func TestFailedSync(t *testing.T) {
	s := open(t, t.TempDir())
	broken := errors.New("broken disk")
	s.fsync = func(string) error { return broken }
	_, err := create(t, s, "a/b", "x").Commit(t.Context())
	if !errors.Is(err, broken) {
		t.Errorf("commit: %v", err)
	}
	s.fsync = s.syncPath
	commit(t, create(t, s, "a/c", "x"))
}

// TestFailedFileSync commits to a pipe, which cannot be synced: nobody may go on
// from what the disk may have lost.
func TestFailedFileSync(t *testing.T) {
	s := open(t, t.TempDir())
	w := create(t, s, "a", "x").(*writer)
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(from.Close(), w.file.Close()); err != nil {
		t.Fatal(err)
	}
	w.file = to
	if _, err := w.Commit(t.Context()); err == nil {
		t.Error("committed without a sync")
	}
	for info, err := range s.List(t.Context(), "") {
		t.Errorf("%s is left, %v", info.Key, err)
	}
}

// TestTruncatedWhileOpen cuts the file of a reader.
func TestTruncatedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	o := commit(t, create(t, s, "a", "0123456789"))
	if err := os.Chmod(filepath.Join(dir, "a"), 0o600); err != nil {
		t.Fatal(err)
	}
	var readers []io.ReadCloser
	for range 3 {
		r, err := s.Open(t.Context(), o, 2, -1)
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if err := os.Truncate(filepath.Join(dir, "a"), 5); err != nil {
		t.Fatal(err)
	}
	for i, read := range []func(r io.Reader) (string, error){
		func(r io.Reader) (string, error) { b, err := io.ReadAll(r); return string(b), err },
		func(r io.Reader) (string, error) {
			var b strings.Builder
			_, err := io.Copy(&b, r)
			return b.String(), err
		},
		func(r io.Reader) (string, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, r)
			return b.String(), err
		},
	} {
		if got, err := read(readers[i]); got != "234" || !errors.Is(err, blobstore.ErrCorrupt) {
			t.Errorf("way %d read %q, %v", i, got, err)
		}
		if err := readers[i].Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDirectoryRemoved tidies up behind the store's back.
func TestDirectoryRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	commit(t, create(t, s, "a/b/1", "x"))
	if err := s.Delete(t.Context(), "a/b/1"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	synced := counted(s)
	commit(t, create(t, s, "a/b/2", "x"))
	if got := synced(); !slices.Equal(got, []string{"a/b", "a", ""}) {
		t.Errorf("synced %q", got)
	}
}

func TestForgetsDirectories(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range maxDirs + 2 {
		s.dirs[fmt.Sprintf("x%d", i)] = &directory{}
	}
	commit(t, create(t, s, "a/b", "x"))
	if len(s.dirs) > 2 {
		t.Errorf("%d directories are remembered", len(s.dirs))
	}
}

func TestErrors(t *testing.T) {
	for _, test := range []struct{ err, want error }{
		{&iofs.PathError{Op: "write", Err: syscall.ENOSPC}, blobstore.ErrFull},
		{&iofs.PathError{Op: "write", Err: syscall.EDQUOT}, blobstore.ErrFull},
		{&iofs.PathError{Op: "open", Err: syscall.ENOENT}, blobstore.ErrNotFound},
	} {
		if err := storeError("op", "key", test.err); !errors.Is(err, test.want) || !errors.Is(err, test.err) {
			t.Errorf("%v became %v", test.err, err)
		}
	}
	err := storeError("op", "key", syscall.EIO)
	for _, other := range []error{blobstore.ErrFull, blobstore.ErrNotFound, blobstore.ErrCorrupt} {
		if errors.Is(err, other) {
			t.Errorf("EIO became %v", err)
		}
	}
}

func TestNew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if s, err := New(path); err == nil {
			_ = s.Close()
			t.Errorf("a store in %s", path)
		}
	}
}

// sendfileSeen notes what a connection is asked to read from.
type sendfileSeen struct {
	*net.TCPConn
	files *int
	mu    *sync.Mutex
}

func (c sendfileSeen) ReadFrom(r io.Reader) (int64, error) {
	if part, ok := r.(*io.LimitedReader); ok {
		if _, ok := part.R.(*os.File); ok {
			c.mu.Lock()
			*c.files++
			c.mu.Unlock()
		}
	}
	return c.TCPConn.ReadFrom(r)
}

type sendfileListener struct {
	net.Listener
	files *int
	mu    *sync.Mutex
}

func (l sendfileListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return sendfileSeen{c.(*net.TCPConn), l.files, l.mu}, nil
}

// TestSendfile sees that a plain answer of net/http gets the file itself.
func TestSendfile(t *testing.T) {
	s := open(t, t.TempDir())
	content := string(slices.Repeat([]byte("0123456789abcdef"), 1<<14))
	o := commit(t, create(t, s, "a", content))
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := s.Open(r.Context(), o, 16, -1)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = body.Close() }()
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-16))
		if _, err := io.Copy(w, body); err != nil {
			t.Error(err)
		}
	})
	server := httptest.NewUnstartedServer(handler)
	files, mu := 0, sync.Mutex{}
	server.Listener = sendfileListener{server.Listener, &files, &mu}
	server.Start()
	defer server.Close()
	answer, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if string(got) != content[16:] {
		t.Errorf("got %d bytes, want %d", len(got), len(content)-16)
	}
	mu.Lock()
	defer mu.Unlock()
	if files != 1 {
		t.Errorf("the connection got a file %d times, want once", files)
	}
}
