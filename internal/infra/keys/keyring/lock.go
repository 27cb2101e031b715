package keyring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const (
	// A change holds the lock for milliseconds: who waits longer than lockWait
	// waits for a process that hangs.
	lockWait  = 10 * time.Second
	lockRetry = 5 * time.Millisecond
)

// lock keeps other processes from changing the keyring at path until unlock is
// called, or until this process ends. The lock is on a file of its own, which
// stays: the keyring's own file is another one after each change.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("keyring: lock: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		held, err := tryLock(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("keyring: lock %s: %w", f.Name(), err), f.Close())
		}
		if held {
			return func() { _ = f.Close() }, nil // closing gives the lock back
		}
		select {
		case <-ctx.Done():
			err := fmt.Errorf("keyring: another process holds %s: %w", f.Name(), ctx.Err())
			return nil, errors.Join(err, f.Close())
		case <-time.After(lockRetry):
		}
	}
}
