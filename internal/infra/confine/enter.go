//go:build linux && (amd64 || arm64)

package confine

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// niceness lets the server's own work go first.
const niceness = 10

// Enter confines this process, with all of its threads, for good: limits, no core
// dumps, no privileges from files, and a filter that lets through only the system calls that
// reading and computing need. There is no network after it, no other program and no other
// process. If any of that fails the error says so, and the process must not go on.
func Enter(l Limits) error {
	// The filter and no_new_privs are set for one thread and then carried to the others, by that thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Getpgrp() == unix.Getpid() {
		_ = unix.Setpriority(unix.PRIO_PGRP, 0, niceness) // it may have a higher one already, which is fine
	}
	if l.Memory > 0 {
		debug.SetMemoryLimit(l.Memory - l.Memory/8) // collect garbage with all might before the hard limit
	}
	if err := limit(l); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("confine: no_new_privs: %w", err)
	}
	return filter(unix.Getpid())
}

// limit sets what the kernel counts.
func limit(l Limits) error {
	if err := lower(unix.RLIMIT_CORE, 0); err != nil {
		return err
	}
	if l.Memory > 0 {
		// Not RLIMIT_AS, which counts what Go only reserves and what is mapped from files. The filter
		// forbids the other kinds of memory that this one does not count.
		if err := lower(unix.RLIMIT_DATA, uint64(l.Memory)); err != nil {
			return err
		}
	}
	if l.Files > 0 {
		if err := lower(unix.RLIMIT_NOFILE, l.Files); err != nil {
			return err
		}
	}
	if l.FileSize > 0 {
		if err := lower(unix.RLIMIT_FSIZE, uint64(l.FileSize)); err != nil {
			return err
		}
	}
	if l.CPU > 0 {
		return limitCPU(l.CPU)
	}
	return nil
}

// lower sets a limit and keeps it from being raised again.
func lower(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("confine: reading limit %d: %w", resource, err)
	}
	value = min(value, now.Max)
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("confine: setting limit %d to %d: %w", resource, value, err)
	}
	return nil
}

// limitCPU leaves the upper limit as it is, so that the parent can raise the lower one
// (Allow); the filter keeps this process from doing so.
func limitCPU(d time.Duration) error {
	// Go's runtime takes SIGXCPU and ignores it; this puts the end of the process back in its place.
	var byDefault struct{ handler, flags, restorer, mask uint64 }
	_, _, errno := unix.Syscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGXCPU), uintptr(unsafe.Pointer(&byDefault)), 0, unsafe.Sizeof(byDefault.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("confine: the action of SIGXCPU: %w", errno)
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CPU, &now); err != nil {
		return fmt.Errorf("confine: reading the limit of processor time: %w", err)
	}
	now.Cur = min(seconds(d), now.Max)
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &now); err != nil {
		return fmt.Errorf("confine: setting the limit of processor time: %w", err)
	}
	return nil
}

// filter installs the filter of system calls for all threads.
func filter(pid int) error {
	program := assemble(pid)
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("confine: the kernel, or the container's runtime, refuses a filter of system calls (seccomp: %w); images are not scanned without one: run Berth where seccomp(2) is allowed", errno)
	}
	if thread != 0 {
		return fmt.Errorf("confine: thread %d cannot have the filter of system calls", thread)
	}
	return nil
}
