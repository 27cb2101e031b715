//go:build linux && (amd64 || arm64)

package confine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/infra/confine"
)

// as is the first argument of this binary when it plays one of the roles.
const as = "as"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == as {
		play(os.Args[2], os.Args[3:])
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long something may take on a busy machine.
const patience = time.Minute

func start(t *testing.T, c confine.Command) *confine.Process {
	t.Helper()
	p, err := confine.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func role(t *testing.T, name string, l confine.Limits, args ...string) *confine.Process {
	t.Helper()
	return start(t, confine.Command{Args: roleArgs(t, name, l, args...), Limits: l, Write: []string{t.TempDir()}})
}

func roleArgs(t *testing.T, name string, l confine.Limits, args ...string) []string {
	t.Helper()
	limits, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{as, name, string(limits)}, args...)
}

// finish closes stdin and returns what the process said and how it ended.
func finish(t *testing.T, p *confine.Process) (string, error) {
	t.Helper()
	_ = p.Stdin.Close()
	out, err := io.ReadAll(p.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
	return string(out), p.Wait()
}

// wantReason returns what the process said on stderr.
func wantReason(t *testing.T, err error, part string) []byte {
	t.Helper()
	ended, ok := errors.AsType[*confine.Ended](err)
	if !ok || !strings.Contains(ended.Reason, part) {
		t.Fatalf("the end is %v, want %q; stderr: %s", err, part, stderr(err))
	}
	return ended.Stderr
}

func stderr(err error) []byte {
	if ended, ok := errors.AsType[*confine.Ended](err); ok {
		return ended.Stderr
	}
	return nil
}

func TestConversation(t *testing.T) {
	p := role(t, "echo", confine.Limits{CPU: time.Minute, Files: 32, FileSize: 1 << 20})
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	failed := make(chan error, 1)
	go func() {
		_, err := p.Stdin.Write(sent)
		failed <- errors.Join(err, p.Stdin.Close())
	}()
	got, err := io.ReadAll(p.Stdout)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(sent), err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr(err))
	}
}

// TestCalls asks for what must be refused, in threads of before and after Enter.
func TestCalls(t *testing.T) {
	out, err := finish(t, role(t, "calls", confine.Limits{}))
	if err != nil {
		t.Fatalf("%v: %s", err, stderr(err))
	}
	threads := strings.Split(strings.TrimSpace(out), "\n")
	if len(threads) != 2*callThreads {
		t.Errorf("%d threads said something, want %d", len(threads), 2*callThreads)
	}
	for _, line := range threads {
		if line != "refused "+strconv.Itoa(len(forbidden())) {
			t.Errorf("a thread says: %s", line)
		}
	}
}

func TestForeignCalls(t *testing.T) {
	if !hasForeignCalls {
		return // this processor has one interface alone
	}
	_, err := finish(t, role(t, "foreign", confine.Limits{}))
	wantReason(t, err, "bad system call")
}

func TestSurroundings(t *testing.T) {
	t.Setenv("BERTH_SECRET", "hunter2")
	dir := t.TempDir()
	readable, writable, closed := filepath.Join(dir, "readable"), filepath.Join(dir, "writable"), filepath.Join(dir, "closed")
	for _, d := range []string{readable, writable, closed} {
		if err := errors.Join(os.Mkdir(d, 0o700), os.WriteFile(filepath.Join(d, "file"), []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	p := start(t, confine.Command{
		Args: roleArgs(t, "look", confine.Limits{Files: 40}, readable, writable, closed),
		Dir:  writable, Read: []string{readable}, Write: []string{writable},
	})
	if group, err := syscall.Getpgid(p.PID()); err != nil || group != p.PID() {
		t.Errorf("it is in group %d, not in its own; %v", group, err)
	}
	adj, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.PID()))
	if err != nil || strings.TrimSpace(string(adj)) != "1000" {
		t.Errorf("oom_score_adj is %q, %v", adj, err)
	}
	if _, err := io.ReadFull(p.Stdout, make([]byte, 1)); err != nil { // Enter is behind it
		t.Fatal(err)
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	if err != nil || len(tasks) < 2 {
		t.Errorf("it has the threads %q, %v", tasks, err)
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if nice := strings.Fields(rest)[16]; nice != "10" {
			t.Errorf("a thread has niceness %s", nice)
		}
	}
	out, err := finish(t, p)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr(err))
	}
	var got seen
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(got.Env) != 0 {
		t.Errorf("the environment is %q", got.Env)
	}
	if got.Dir != writable {
		t.Errorf("the working directory is %s", got.Dir)
	}
	want := []string{
		"read readable", "no write readable", "read writable", "write writable", "remove writable",
		"no read closed", "no write closed", "no list closed", "no read parent", "no run", "core 0",
	}
	if !confine.HidesFiles() {
		t.Fatal("this kernel has no Landlock, which the tests need")
	}
	if !slices.Equal(got.Files, want) {
		t.Errorf("files:\n got %q\nwant %q", got.Files, want)
	}
	// What was taken from the process was not taken from this one.
	if b, err := os.ReadFile(filepath.Join(closed, "file")); err != nil || string(b) != "x" {
		t.Errorf("the parent reads %q, %v", b, err)
	}
}

func TestParentKeepsItsFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	for range 8 {
		p := role(t, "echo", confine.Limits{})
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if _, err := finish(t, p); err != nil {
			t.Errorf("%v: %s", err, stderr(err))
		}
	}
}

func TestProcessorTime(t *testing.T) {
	_, err := finish(t, role(t, "spin", confine.Limits{CPU: time.Second}))
	wantReason(t, err, "processor time")
}

func TestAllow(t *testing.T) {
	p := role(t, "spin", confine.Limits{CPU: time.Hour})
	ready := make([]byte, 1)
	if _, err := io.ReadFull(p.Stdout, ready); err != nil { // Enter is behind it
		t.Fatal(err)
	}
	if err := p.Allow(time.Second); err != nil {
		t.Fatal(err)
	}
	_, err := finish(t, p)
	wantReason(t, err, "processor time")
	if err := p.Allow(time.Second); err != nil {
		t.Errorf("of a dead process: %v", err)
	}
}

func TestAllowMore(t *testing.T) {
	p := role(t, "echo", confine.Limits{CPU: time.Second})
	if _, err := p.Stdin.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(p.Stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.Allow(time.Hour); err != nil {
		t.Fatal(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if strings.HasPrefix(line, "Max cpu time") {
			if soft, err := strconv.Atoi(strings.Fields(line)[3]); err != nil || soft < 3600 || soft > 3700 {
				t.Errorf("the limit is %s", line)
			}
		}
	}
}

func TestWallTime(t *testing.T) {
	p := role(t, "deaf", confine.Limits{Wall: 100 * time.Millisecond})
	_, err := finish(t, p)
	wantReason(t, err, "took longer than 100ms")
}

func TestFileSize(t *testing.T) {
	dir := t.TempDir()
	l := confine.Limits{FileSize: 1 << 20}
	p := start(t, confine.Command{Args: roleArgs(t, "write", l, filepath.Join(dir, "file"), strconv.Itoa(2<<20)), Write: []string{dir}})
	out, err := finish(t, p)
	if err != nil || out != "1048576 file too large\n" {
		t.Errorf("it says %q, %v: %s", out, err, stderr(err))
	}
}

func TestOpenFiles(t *testing.T) {
	out, err := finish(t, role(t, "open", confine.Limits{Files: 24}))
	if err != nil {
		t.Fatalf("%v: %s", err, stderr(err))
	}
	if n, err := strconv.Atoi(strings.TrimSpace(out)); err != nil || n < 10 || n > 24 {
		t.Errorf("it opened %q, %v", out, err)
	}
}

func TestMemory(t *testing.T) {
	program := filepath.Join(t.TempDir(), "hungry")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/hungry")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	hungry := func(mode string, limit int) (string, error) {
		return finish(t, start(t, confine.Command{Path: program, Args: []string{mode, strconv.Itoa(limit)}}))
	}
	for _, limit := range []int{128 << 20, 1 << 30} {
		if out, err := hungry("garbage", limit); err != nil || out != "done 8\n" {
			t.Errorf("within %d: %q, %v: %s", limit, out, err, stderr(err))
		}
	}
	out, err := hungry("keep", 128<<20)
	if out != "" {
		t.Error(out)
	}
	wantReason(t, err, "ran out of memory")
	if out, err := hungry("map", 128<<20); err != nil || out != "done\n" {
		t.Errorf("mappings: %q, %v: %s", out, err, stderr(err))
	}
}

func TestPanic(t *testing.T) {
	_, err := finish(t, role(t, "panic", confine.Limits{}))
	said := wantReason(t, err, "ended with exit status 2: panic: the worst")
	if len(said) > 64<<10+64 || !bytes.HasSuffix(bytes.TrimSpace(said), []byte("exit status 2")) && !bytes.Contains(said, []byte("goroutine")) {
		t.Errorf("%d bytes of stderr are kept: %s", len(said), said)
	}
}

func TestStderrIsBounded(t *testing.T) {
	_, err := finish(t, role(t, "chatter", confine.Limits{}))
	said := wantReason(t, err, "ended with exit status 7: line 0")
	if n := len(said); n < 60<<10 || n > 64<<10+16 {
		t.Errorf("%d bytes are kept", n)
	}
	if !bytes.HasPrefix(said, []byte("line 0\nline 1\n")) || !bytes.HasSuffix(said, []byte("line 99998\nline 99999\n")) {
		t.Errorf("what is kept begins with %q and ends with %q", said[:20], said[len(said)-20:])
	}
}

func TestKilledFromOutside(t *testing.T) {
	p := role(t, "echo", confine.Limits{})
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantReason(t, p.Wait(), "was killed")
	p.Kill("too late")
	wantReason(t, p.Wait(), "was killed")
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p, err := confine.Start(ctx, confine.Command{Args: roleArgs(t, "deaf", confine.Limits{})})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	cancel()
	wantReason(t, p.Wait(), "was not needed")
	if _, err := confine.Start(ctx, confine.Command{}); !errors.Is(err, context.Canceled) {
		t.Errorf("starting with an ended context: %v", err)
	}
}

// TestNothingIsLeft looks for zombies and open files.
func TestNothingIsLeft(t *testing.T) {
	before := openFiles(t)
	for range 10 {
		p, err := confine.Start(t.Context(), confine.Command{Args: roleArgs(t, "deaf", confine.Limits{})})
		if err != nil {
			t.Fatal(err)
		}
		pid := p.PID()
		p.Close()
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
	if _, err := confine.Start(t.Context(), confine.Command{Path: "/nonexistent"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	if _, err := confine.Start(t.Context(), confine.Command{Read: []string{"/nonexistent"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// TestParentDies kills a process that has started another, which does not listen to
// its stdin.
func TestParentDies(t *testing.T) {
	parent := exec.CommandContext(t.Context(), os.Args[0], as, "parent")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscan(out, &child); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child does not live: %v", err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	for limit := time.Now().Add(patience); running(child); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the child outlives its parent")
		}
	}
}

// running says whether a process still lives; whoever adopted it may be slow to reap it.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// TestEnterTwice: where the kernel refuses the filter, Enter says so.
func TestEnterTwice(t *testing.T) {
	out, err := finish(t, role(t, "twice", confine.Limits{}))
	if err != nil {
		t.Fatalf("%v: %s", err, stderr(err))
	}
	if !strings.Contains(out, "seccomp") || !strings.Contains(out, "refuses") {
		t.Errorf("it says %q", out)
	}
}
