package target

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseStat(t *testing.T) {
	const line = "10599 (sh) S 10594 10557 21522 0 -1 4194304 65 0 1 0 23 7 150 3 20 0 1 0 77820 2654208 379"
	got, err := parseStat(line)
	if want := (stat{parent: 10594, reaped: 1530 * time.Millisecond}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, wrong := range []string{"", "12 (sh", "12 (sh) S 1 2 3", "12 (sh) S x 0 0 0 0 0 0 0 0 0 0 0 1 1 0", "12 (sh) S 1 0 0 0 0 0 0 0 0 0 0 0 1 y 0"} {
		if got, err := parseStat(wrong); err == nil {
			t.Errorf("%q is understood as %+v", wrong, got)
		}
	}
}

func TestParseStatWithAnyName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[ -~]{0,15}`).Draw(t, "name")
		parent := rapid.IntRange(0, 1<<22).Draw(t, "parent")
		user, system := rapid.Int64Range(0, 1e9).Draw(t, "user"), rapid.Int64Range(0, 1e9).Draw(t, "system")
		got, err := parseStat(fmt.Sprintf("7 (%s) R %d 0 0 0 -1 0 0 0 0 0 5 6 %d %d 20 0 1 0", name, parent, user, system))
		if want := (stat{parent: parent, reaped: time.Duration(user+system) * tick}); err != nil || got != want {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

func TestStatusBytes(t *testing.T) {
	const text = "Name:\tVmRSS:\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
	for field, want := range map[string]int64{"VmHWM:": 2 << 20, "VmRSS:": 1 << 20, "VmSwap:": 0} {
		if got, err := statusBytes(text, field); err != nil || got != want {
			t.Errorf("%s %d, %v; want %d", field, got, err, want)
		}
	}
	for _, wrong := range []string{"VmRSS:\t1024 MB\n", "VmRSS:\tmany kB\n", "VmRSS:\n"} {
		if got, err := statusBytes(wrong, "VmRSS:"); err == nil {
			t.Errorf("%q is understood as %d", wrong, got)
		}
	}
}

func TestDescends(t *testing.T) {
	all := map[int]stat{1: {}, 10: {parent: 1}, 11: {parent: 10}, 12: {parent: 11}, 20: {parent: 1}, 30: {parent: 31}, 31: {parent: 30}}
	for pid, want := range map[int]bool{10: false, 11: true, 12: true, 20: false, 1: false, 30: false, 99: false} {
		if got := descends(all, pid, 10); got != want {
			t.Errorf("%d descends from 10: %t", pid, got)
		}
	}
}

// TestUsage measures the test's own process.
func TestUsage(t *testing.T) {
	s := &Server{process: &process{pid: os.Getpid()}}
	before, err := s.CPU()
	if err != nil || before <= 0 {
		t.Fatalf("CPU time %s, %v", before, err)
	}
	const size = 64 << 20
	block, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < size; i += 4096 {
		block[i] = 1
	}
	full, err := s.Resident()
	if err != nil || full < size {
		t.Errorf("%d bytes are resident, %v; want more than %d", full, err, size)
	}
	if after, err := s.CPU(); err != nil || after <= before {
		t.Errorf("CPU time went from %s to %s, %v", before, after, err)
	}
	if err := syscall.Munmap(block); err != nil {
		t.Fatal(err)
	}
	peak, err := s.Peak()
	if err != nil || peak < size {
		t.Errorf("the peak is %d, %v; want more than %d", peak, err, size)
	}
	if err := s.ResetPeak(); err != nil {
		t.Fatal(err)
	}
	if low, err := s.Peak(); err != nil || low > peak-size/2 {
		t.Errorf("the peak is %d after ResetPeak, and was %d; %v", low, peak, err)
	}
}

// TestUsageOfChildren runs a shell whose child uses CPU time.
func TestUsageOfChildren(t *testing.T) {
	p := &program{path: "/bin/sh", args: []string{"-c", `sh -c 'while :; do :; done' & echo ready; wait`}, env: environment(t.TempDir()), log: t.TempDir() + "/log"}
	running := started(t, p)
	s := &Server{process: running}
	first, err := s.CPU()
	if err != nil {
		t.Fatal(err)
	}
	err = settle(t.Context(), p, running, func() error {
		used, err := s.CPU()
		if err == nil && used < first+50*time.Millisecond {
			err = errors.New("the child's time is not in it yet")
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	for pid := range all {
		if descends(all, pid, running.pid) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestUsageOfNone(t *testing.T) {
	for _, s := range []*Server{{}, {process: &process{pid: 1 << 30}}} {
		if _, err := s.CPU(); !errors.Is(err, errDown) {
			t.Errorf("CPU: %v", err)
		}
		if _, err := s.Peak(); !errors.Is(err, errDown) {
			t.Errorf("Peak: %v", err)
		}
	}
}
