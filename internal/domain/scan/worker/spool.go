package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// spoolPrefix is what the names of pools' directories begin with.
const spoolPrefix = "berth-scan-"

// spool is the directory of a pool, which has one for each of its processes. It is locked, so
// that other pools know it from one whose server is gone.
type spool struct {
	root string

	mu   sync.Mutex
	home *os.File // nil before the first use
}

// make makes a directory for a process.
func (s *spool) make() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home == nil {
		home, err := s.move()
		if err != nil {
			return "", fmt.Errorf("worker: the directory for the scanners' files: %w", err)
		}
		s.home = home
	}
	dir, err := os.MkdirTemp(s.home.Name(), "process-")
	if err != nil {
		return "", fmt.Errorf("worker: a directory for a scanner's files: %w", err)
	}
	return dir, nil
}

// move makes the pool's directory, and removes those whose servers are gone.
func (s *spool) move() (*os.File, error) {
	root := s.root
	if root == "" {
		root = os.TempDir()
	}
	root, err := filepath.Abs(root) // the processes work elsewhere
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), spoolPrefix) {
			continue
		}
		if old, err := locked(filepath.Join(root, e.Name())); err == nil {
			// What cannot be removed stands in nobody's way.
			_ = os.RemoveAll(old.Name())
			_ = old.Close() // it was opened for the lock alone
		}
	}
	// Another pool may come between the two steps and remove the directory; so there is a next try.
	const tries = 10
	for range tries {
		dir, err := os.MkdirTemp(root, spoolPrefix)
		if err != nil {
			return nil, err
		}
		home, err := locked(dir)
		if err == nil {
			if _, err = os.Stat(dir); err == nil {
				return home, nil
			}
			_ = home.Close() // it is gone
		}
	}
	return nil, errors.New("other servers remove it again and again")
}

// locked opens a directory and locks it, or fails if someone else has it.
func locked(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // it was opened for the lock alone
		return nil, err
	}
	return f, nil
}

// remove removes everything.
func (s *spool) remove() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.home == nil {
		return nil
	}
	err := os.RemoveAll(s.home.Name())
	_ = s.home.Close() // it was opened for the lock alone
	s.home = nil
	return err
}
