package fs

import (
	"fmt"
	"syscall"
)

// Free is how many bytes the file system below the store has left for
// unprivileged users.
func (s *Store) Free() (free uint64, err error) {
	var medium syscall.Statfs_t
	if err := syscall.Fstatfs(int(s.top.Fd()), &medium); err != nil {
		return 0, fmt.Errorf("blobstore: free space: %w", err)
	}
	return medium.Bavail * uint64(medium.Bsize), nil
}
