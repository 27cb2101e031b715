package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// tick is the unit of the times in /proc/PID/stat, on every architecture of Go's.
const tick = 10 * time.Millisecond

var errDown = errors.New("the server does not run")

// CPU is the time that all processes of the server have used so far, in user and system
// mode: its own and its descendants', exact to the microsecond, and those of descendants
// that have ended, to the hundredth of a second. What was started beside it, a database
// for one, is not in it.
func (s *Server) CPU() (time.Duration, error) {
	var sum time.Duration
	err := s.each(func(pid int, stat stat) error {
		used, err := cpuClock(pid)
		sum += used + stat.reaped
		return err
	})
	return sum, err
}

// Resident is how much of its processes is in memory, in bytes (VmRSS, summed).
func (s *Server) Resident() (int64, error) { return s.memory("VmRSS:") }

// Peak is the most that its processes had in memory since they started or since
// ResetPeak, in bytes (VmHWM, summed).
func (s *Server) Peak() (int64, error) { return s.memory("VmHWM:") }

// ResetPeak has Peak begin anew with what is resident.
func (s *Server) ResetPeak() error {
	return s.each(func(pid int, _ stat) error {
		return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	})
}

func (s *Server) memory(field string) (int64, error) {
	var sum int64
	err := s.each(func(pid int, _ stat) error {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return err
		}
		n, err := statusBytes(string(text), field)
		sum += n
		return err
	})
	return sum, err
}

// each calls f for the server's process and for all that descend from it. A descendant
// that ends meanwhile is left out.
func (s *Server) each(f func(pid int, stat stat) error) error {
	if s.process == nil {
		return errDown
	}
	all, err := processes()
	if err != nil {
		return err
	}
	root, ok := all[s.process.pid]
	if !ok {
		return errDown
	}
	if err := f(s.process.pid, root); err != nil {
		return err
	}
	for pid, stat := range all {
		if !descends(all, pid, s.process.pid) {
			continue
		}
		if err := f(pid, stat); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EINVAL) {
			return err
		}
	}
	return nil
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	parent int
	reaped time.Duration // CPU time of its children that have ended
}

func processes() (map[int]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := map[int]stat{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		if all[pid], err = parseStat(string(text)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func descends(all map[int]stat, pid, from int) bool {
	for range len(all) { // a table that is read piece by piece may have a circle
		s, ok := all[pid]
		if !ok {
			return false
		}
		if pid = s.parent; pid == from {
			return true
		}
	}
	return false
}

// parseStat reads a line of the form "12 (name) S 1 ...", where the name may hold anything.
func parseStat(line string) (stat, error) {
	end := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[end+1:])
	if end < 0 || len(fields) < 15 {
		return stat{}, fmt.Errorf("/proc/PID/stat is not understood: %q", line)
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.ParseInt(fields[13], 10, 64)
	system, err3 := strconv.ParseInt(fields[14], 10, 64)
	return stat{parent: parent, reaped: time.Duration(user+system) * tick}, errors.Join(err1, err2, err3)
}

// statusBytes is a field of /proc/PID/status that is in kB, in bytes. A process that has
// just ended has none.
func statusBytes(text, field string) (int64, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, field)
		if !ok {
			continue
		}
		number, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		n, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("/proc/PID/status is not understood: %q", line)
		}
		return n << 10, nil
	}
	return 0, nil
}

// cpuClock is the CPU time of all threads of a process, those that have ended included.
// /proc/PID/stat has it in hundredths of a second only, too coarse for short measurements;
// the clock has no wrapper in the standard library.
func cpuClock(pid int) (time.Duration, error) {
	const scheduler = 2 // which of a process's clocks: the sum of its threads' run times
	id := ^int32(pid)<<3 | scheduler
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(uint32(id)), uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		return 0, fmt.Errorf("the CPU clock of process %d: %w", pid, errno)
	}
	return time.Duration(t.Nano()), nil
}
