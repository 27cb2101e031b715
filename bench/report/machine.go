package report

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Machine describes what a run was done on.
type Machine struct {
	CPU        string // the model
	Cores      int    // that the program may use
	Memory     int64  // bytes
	Kernel     string
	FileSystem string // where the stores are: its type and how it is mounted
	Go         string // what built the benchmark
}

// ThisMachine describes the machine, and the file system that dir is on.
func ThisMachine(dir string) (Machine, error) {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	var err error
	if m.CPU, err = field("/proc/cpuinfo", "model name"); err != nil {
		m.CPU = runtime.GOARCH // kernels of other architectures name no model
	}
	memory, err := field("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(memory, " kB"), 10, 64)
	if err != nil {
		return m, fmt.Errorf("read the size of memory: %w", err)
	}
	m.Memory = kib << 10
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = "Linux " + strings.TrimSpace(string(kernel))
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return m, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return m, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return m, err
	}
	m.FileSystem = fileSystem(string(mounts), dir)
	return m, nil
}

// field finds the first line "name : value" of a file.
func field(file, name string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("%s has no %q", file, name)
}

// fileSystem finds the mount that a directory is on: the longest path above it, and of
// several mounts there the last one.
func fileSystem(mounts, dir string) string {
	found, longest := "unknown", -1
	for line := range strings.Lines(mounts) {
		f := strings.Fields(line) // device, path, type, options
		if len(f) < 4 || len(f[1]) < longest {
			continue
		}
		if below := strings.TrimSuffix(f[1], "/") + "/"; strings.HasPrefix(dir+"/", below) {
			found, longest = fmt.Sprintf("%s (%s)", f[2], f[3]), len(f[1])
		}
	}
	return found
}
