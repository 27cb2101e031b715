package fs

import (
	"errors"
	"os"
	"testing"

	"github.com/berth-registry/berth/internal/infra/blobstore"
)

// TestFull writes to the device that is always full.
func TestFull(t *testing.T) {
	s := open(t, t.TempDir())
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{store: s, key: "full", file: f}
	if _, err := w.Write([]byte("x")); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("write: %v", err)
	}
	if _, err := w.Suspend(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("suspend after a failed write: %v", err)
	}
	if _, err := w.Commit(t.Context()); !errors.Is(err, blobstore.ErrFull) {
		t.Errorf("commit after a failed write: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
