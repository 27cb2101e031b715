//go:build !unix || aix || solaris

package keyring

import (
	"errors"
	"os"
)

// tryLock fails: a keyring that two processes could write at once would lose
// keys, and with them everything that is sealed under them.
func tryLock(*os.File) (bool, error) {
	return false, errors.New("the keyring file is not supported on this operating system; use Linux, macOS or a BSD")
}
