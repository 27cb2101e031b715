//go:build linux && (amd64 || arm64)

package confine

import "golang.org/x/sys/unix"

// The filter is a list of what may be called: what the kernel learns tomorrow is refused
// as well. Refused calls fail with EPERM; those through another processor's numbers kill the process.

// Where seccomp_data has its fields (both processors are little-endian).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// A test is what an argument, masked, must be: equal to value, or with not unequal.
type test struct {
	arg         uint32
	high        bool // the upper half of the argument, else the lower one
	mask, value uint32
	not         bool
}

// A rule is a system call that is allowed where all its tests hold. Otherwise
// it fails with errno.
type rule struct {
	number uint32
	tests  []test
	errno  uint32
}

const (
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	anyBit     = 0xffffffff
	// sharedMemory is memory that RLIMIT_DATA does not count.
	sharedMemory = unix.MAP_SHARED | unix.MAP_ANONYMOUS
)

// careful are the calls that are allowed in part.
func careful(pid int) []rule {
	own := []test{{arg: 0, mask: anyBit, value: uint32(pid)}}
	noCode := test{arg: 2, mask: unix.PROT_EXEC, value: 0}
	return []rule{
		// Threads, not processes.
		{number: unix.SYS_CLONE, tests: []test{{arg: 0, mask: unix.CLONE_THREAD | namespaces, value: unix.CLONE_THREAD}}, errno: uint32(unix.EPERM)},
		// Its flags are in memory, where a filter cannot look. C's library then takes clone.
		{number: unix.SYS_CLONE3, tests: []test{{arg: 0, mask: 0, value: 1}}, errno: uint32(unix.ENOSYS)},
		// The runtime interrupts its threads, and ends itself.
		{number: unix.SYS_TGKILL, tests: own, errno: uint32(unix.EPERM)},
		{number: unix.SYS_KILL, tests: own, errno: uint32(unix.EPERM)},
		// Limits can be read: there is no new one.
		{number: unix.SYS_PRLIMIT64, tests: []test{{arg: 2, mask: anyBit, value: 0}, {arg: 2, high: true, mask: anyBit, value: 0}}, errno: uint32(unix.EPERM)},
		// The runtime gives its memory names.
		{number: unix.SYS_PRCTL, tests: []test{{arg: 0, mask: anyBit, value: unix.PR_SET_VMA}}, errno: uint32(unix.EPERM)},
		// No new machine code.
		{number: unix.SYS_MMAP, tests: []test{noCode, {arg: 3, mask: sharedMemory, value: sharedMemory, not: true}}, errno: uint32(unix.EPERM)},
		{number: unix.SYS_MPROTECT, tests: []test{noCode}, errno: uint32(unix.EPERM)},
	}
}

// plain are the calls that are allowed: what Go's runtime and C's library do of themselves, and files.
func plain() []uint32 {
	return append([]uint32{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_READV, unix.SYS_WRITEV, unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_LSEEK, unix.SYS_CLOSE,
		unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME,
		unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
		unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_MSYNC, unix.SYS_MINCORE, unix.SYS_BRK,
		unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK,
		unix.SYS_SET_ROBUST_LIST, unix.SYS_GET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_MEMBARRIER, unix.SYS_SET_TID_ADDRESS,
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_PPOLL, unix.SYS_PSELECT6,
		unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETTID, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
		unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETRUSAGE, unix.SYS_GETRLIMIT, unix.SYS_GETRANDOM, unix.SYS_GETCWD,
		unix.SYS_OPENAT, unix.SYS_NEWFSTATAT, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_FSTATFS, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_READLINKAT,
		unix.SYS_GETDENTS64, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_RENAMEAT, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_FADVISE64,
		unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_FLOCK, unix.SYS_FCNTL, unix.SYS_DUP, unix.SYS_DUP3,
	}, formerly()...)
}

// assemble writes the filter as a program.
func assemble(pid int) []unix.SockFilter {
	var p []unix.SockFilter
	load := func(offset uint32) {
		p = append(p, unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
	}
	// jump goes on where the condition holds, and skips what its second argument says otherwise.
	jump := func(condition uint16, value uint32, skip int) {
		p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | condition, Jf: uint8(skip), K: value})
	}
	end := func(action uint32) {
		p = append(p, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action})
	}
	load(offsetArch)
	p = append(p, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: arch})
	end(unix.SECCOMP_RET_KILL_PROCESS)
	load(offsetNumber)
	jump(unix.BPF_JGE, foreign, 1)
	end(unix.SECCOMP_RET_KILL_PROCESS)
	for _, number := range plain() {
		jump(unix.BPF_JEQ, number, 1)
		end(unix.SECCOMP_RET_ALLOW)
	}
	for _, r := range careful(pid) {
		const each = 4 // instructions of a test
		jump(unix.BPF_JEQ, r.number, each*len(r.tests)+1)
		for _, t := range r.tests {
			offset := offsetArgs + 8*t.arg
			if t.high {
				offset += 4
			}
			load(offset)
			p = append(p, unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: t.mask})
			is := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: t.value, Jt: 1}
			if t.not {
				is.Jt, is.Jf = 0, 1
			}
			p = append(p, is)
			end(unix.SECCOMP_RET_ERRNO | r.errno)
		}
		end(unix.SECCOMP_RET_ALLOW)
	}
	end(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	return p
}
