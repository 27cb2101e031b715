//go:build linux

package confine_test

import "golang.org/x/sys/unix"

const hasForeignCalls = true

// callForeign asks for the process's number through the x32 interface.
func callForeign() { _, _, _ = unix.RawSyscall(0x40000000|unix.SYS_GETPID, 0, 0, 0) }
