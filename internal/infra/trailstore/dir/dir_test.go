package dir_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/infra/trailstore/dir"
	"github.com/berth-registry/berth/internal/infra/trailstore/trailstoretest"
)

func open(t *testing.T, directory string) *dir.Store {
	t.Helper()
	s, err := dir.Open(directory)
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

func TestStore(t *testing.T) { trailstoretest.Run(t, open(t, t.TempDir())) }

func TestNothingOutsideIsTouched(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := open(t, root).Put(t.Context(), "link/a", []byte("x"), nil); err == nil {
		t.Error("wrote through a link that leads out of the directory")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestFilesThatAreNotCompleteAreNotListed(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	if err := s.Put(t.Context(), "a/b", []byte("x"), map[string]string{"signature": "y"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "a", ".berth-LEFTOVER"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var keys []string
	if err := s.List(t.Context(), "a/", func(key string) error { keys = append(keys, key); return nil }); err != nil || !slices.Equal(keys, []string{"a/b"}) {
		t.Errorf("%q, %v", keys, err)
	}
	entries, err := os.ReadDir(filepath.Join(root, "a"))
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestADirectoryThatIsNotThere(t *testing.T) {
	if _, err := dir.Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("opened")
	}
}
