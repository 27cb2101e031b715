package fs

import (
	iofs "io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// canDirect says whether the system can pass its page cache by.
const canDirect = true

// setDirect has the writes to f pass the page cache by, or not.
func setDirect(f *os.File, on bool) error {
	flags := 0
	if on {
		flags = unix.O_DIRECT
	}
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	return err
}

// openBeneath opens the file at a path below dir in one call to the kernel, which
// follows no link out of dir. Whatever it cannot do is an error.
func openBeneath(dir *os.File, path string, flag int, mode iofs.FileMode) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), path, &unix.OpenHow{
		Flags: uint64(flag | unix.O_CLOEXEC | unix.O_LARGEFILE), Mode: uint64(mode.Perm()), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &iofs.PathError{Op: "openat2", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
