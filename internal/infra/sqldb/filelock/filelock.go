// Package filelock keeps two processes from having one file open. It knows nothing
// of what the file is for.
package filelock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Lock is a lock that the kernel drops when the process ends, however it
// ends.
type Lock struct{ f *os.File }

// Take takes the lock on the file at path, which it makes if need be, and
// does not wait for another holder.
func Take(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the lock file cannot be opened: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is locked: is another berth serving this data directory? Stop it first, or choose another data directory", path)
		}
		return nil, fmt.Errorf("%s cannot be locked: %w", path, err)
	}
	return &Lock{f: f}, nil
}

// Release gives the lock up. The file stays: removing it would let two
// processes lock two files of that name.
func (l *Lock) Release() error { return l.f.Close() }
