package confine

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// self is the program that runs, under whatever name its file goes by now.
const self = "/proc/self/exe"

// attributes puts a process into a group of its own, out of reach of a terminal's
// signals, and has the kernel kill it when the thread ends that started it.
func attributes() (*syscall.SysProcAttr, error) {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}, nil
}

// await waits until the process is dead, and leaves it to be reaped.
func await(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
}

func widen(f *os.File) {
	c, err := f.SyscallConn()
	if err != nil {
		return
	}
	// A user who has too many large pipes keeps the small ones, which are only slower.
	_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

// killFirst has the kernel end this process before others when memory runs short.
func killFirst(pid int) {
	// Where /proc is not to be written, the process's own limit is what there is.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("1000"), 0)
}

// Allow gives the process so much processor time from now on, in whole seconds,
// rounded up, and at least one. Only the parent can: the process itself cannot touch its limits after Enter.
func (p *Process) Allow(cpu time.Duration) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return nil // whoever talks to it will notice
	}
	var used unix.Timespec
	// The number of another process's clock, as clock_getcpuclockid(3) makes it.
	if err := unix.ClockGettime(int32(^p.pid<<3|2), &used); err != nil {
		return fmt.Errorf("confine: how much processor time the process has used: %w", err)
	}
	var now unix.Rlimit
	if err := unix.Prlimit(p.pid, unix.RLIMIT_CPU, nil, &now); err != nil {
		return fmt.Errorf("confine: the process's limit of processor time: %w", err)
	}
	now.Cur = min(seconds(time.Duration(used.Nano())+cpu)+1, now.Max)
	if err := unix.Prlimit(p.pid, unix.RLIMIT_CPU, &now, nil); err != nil {
		return fmt.Errorf("confine: setting the process's limit of processor time: %w", err)
	}
	return nil
}

// seconds are the whole ones, rounded up.
func seconds(d time.Duration) uint64 { return uint64((d + time.Second - 1) / time.Second) }
