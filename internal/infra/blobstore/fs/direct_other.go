//go:build !linux

package fs

import (
	"errors"
	iofs "io/fs"
	"os"
)

// canDirect says whether the system can pass its page cache by.
const canDirect = false

func setDirect(*os.File, bool) error { return errors.ErrUnsupported }

// openBeneath has no quick way here.
func openBeneath(*os.File, string, int, iofs.FileMode) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
