package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one process of a browser. The kernel gives a number again one day;
// together with its start it is unique.
type process struct {
	pid     int
	started string // in ticks since the machine's start
	parent  int
	name    string
}

func (p process) is(q process) bool { return p.pid == q.pid && p.started == q.started }

func (p process) String() string { return fmt.Sprintf("%d %s", p.pid, p.name) }

// kill ends it, if it is still the same.
func (p process) kill() {
	if now, ok := readProcess(p.pid); ok && now.is(p) {
		_ = syscall.Kill(p.pid, syscall.SIGKILL) // gone in between is fine
	}
}

// processes returns the driver and all that it has started, however deep. What ran
// at the start is among it also when the driver is dead.
func (b *Browser) processes() []process {
	all := allProcesses()
	family := map[int]bool{b.cmd.Process.Pid: true}
	for _, p := range all {
		if slices.ContainsFunc(b.first, p.is) {
			family[p.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if family[p.parent] && !family[p.pid] {
				family[p.pid], grown = true, true
			}
		}
	}
	return slices.DeleteFunc(all, func(p process) bool { return !family[p.pid] })
}

// waitGone waits until the processes have ended, and returns those that have not.
func waitGone(family []process, limit time.Duration) []process {
	for deadline := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		now := allProcesses()
		left := slices.DeleteFunc(slices.Clone(family), func(p process) bool {
			return !slices.ContainsFunc(now, p.is)
		})
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// allProcesses returns what runs on the machine, zombies left out: whoever took
// them over may wait for them late or never.
func allProcesses() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*") // the pattern is right
	var all []process
	for _, dir := range stats {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

// readProcess reads /proc/<pid>/stat: pid (name) state parent ... start, the 22nd.
func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	open, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	if open < 0 || end < open {
		return process{}, false
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, false
	}
	return process{pid: pid, parent: parent, started: fields[19], name: string(text[open+1 : end])}, true
}
