package sqldbtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Private is a PostgreSQL server of the test's own, which the test may kill and
// start again on its data. Unlike the shared one it has PostgreSQL's own settings:
// what was committed is in the log on disk, and a killed server replays it.
type Private struct {
	// URL is how to reach its database, which is empty at first.
	URL string

	bin string
	as  *syscall.Credential
	s   *server

	postmaster *exec.Cmd // nil while it is down
	ended      chan struct{}
}

// NewPrivate starts one, which goes away with the test.
func NewPrivate(t testing.TB) *Private {
	t.Helper()
	p := &Private{}
	var err error
	if p.bin, err = binaries(); err == nil {
		p.as, err = unprivileged()
	}
	if err != nil {
		t.Fatalf("PostgreSQL is needed for this test: %v", err)
	}
	dir, err := os.MkdirTemp(temporary(), "berth-pg-")
	if err != nil {
		t.Fatal(err)
	}
	p.s = &server{dir: dir}
	// Registered first: it runs when the server has ended.
	t.Cleanup(func() {
		if err := p.s.stop(); err != nil {
			t.Errorf("removing PostgreSQL's files: %v", err)
		}
	})
	if p.as != nil {
		if err := os.Chown(dir, int(p.as.Uid), int(p.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	if err := initdb(p.bin, dir, p.as); err != nil {
		t.Fatal(err)
	}
	if err := p.remover(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(t) })
	p.Start(t)
	if err := p.s.admin(t.Context(), "CREATE DATABASE own TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	p.URL = p.s.url("own")
	return p
}

// remove waits until its standard input ends, which the kernel sees to however
// the test process ends, and removes the files.
const remove = `cat >/dev/null; rm -rf "$1"`

func (p *Private) remover() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", remove, "sh", p.s.dir)
	cmd.Stdin = read
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Setpgid: true}
	err = cmd.Start()
	_ = read.Close() // the child has its own
	if err != nil {
		return errors.Join(err, write.Close())
	}
	p.s.lifeline, p.s.keeper = write, cmd
	return nil
}

// Start starts the server, which must be down, on its data and waits until it
// answers.
func (p *Private) Start(t testing.TB) {
	t.Helper()
	if p.postmaster != nil {
		t.Fatal("PostgreSQL runs already")
	}
	log, err := os.OpenFile(filepath.Join(p.s.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the server has its own descriptor
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), "-D", filepath.Join(p.s.dir, "data"), "-k", p.s.dir, "-p", "5432",
		"-c", "listen_addresses=", "-c", "shared_buffers=32MB")
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.s.dir, log, log
	// Its immediate shutdown when the test dies. A group of its own keeps Ctrl-C
	// away.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.as, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting postgres: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // with the status of a program that was told to end
		close(ended)
	}()
	p.postmaster, p.ended = cmd, ended
	if err := p.s.waitReady(); err != nil {
		t.Fatal(err)
	}
}

// Stop is the server's proper end (fast shutdown): open transactions are rolled
// back, connections are told, and what stands in memory is written.
func (p *Private) Stop(t testing.TB) {
	t.Helper()
	if p.postmaster == nil {
		return
	}
	if err := p.postmaster.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
		p.postmaster = nil
	case <-time.After(startTimeout):
		t.Fatal("PostgreSQL does not stop")
	}
}

// Kill ends the server and all its processes with SIGKILL, as a machine that runs
// out of memory would, and waits until they are gone. It does nothing to a server
// that is down.
func (p *Private) Kill(t testing.TB) {
	t.Helper()
	if p.postmaster == nil {
		return
	}
	pid := p.postmaster.Process.Pid
	// Standing still, it makes no more processes and sees none of them end.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	children, err := childrenOf(pid)
	if err != nil {
		t.Error(err)
	}
	for _, c := range append(children, pid) {
		if err := syscall.Kill(c, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
	<-p.ended
	p.postmaster = nil
	// The next server refuses to start while one of them holds the memory.
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for _, c := range children {
		for running(c) {
			select {
			case <-ctx.Done():
				t.Errorf("PostgreSQL's process %d does not end", c)
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

// childrenOf lists the processes that a process has started and that are there.
func childrenOf(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, path := range stats {
		if _, parent := stateOf(path); parent == pid {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				return nil, err
			}
			children = append(children, child)
		}
	}
	return children, nil
}

// running says whether a process is there and has not ended: one that nobody has
// waited for holds nothing any more.
func running(pid int) bool {
	state, _ := stateOf(fmt.Sprintf("/proc/%d/stat", pid))
	return state != "" && state != "Z" && state != "X"
}

// stateOf reads the state and the parent out of a process's stat file, "" and 0
// where there is none.
func stateOf(path string) (state string, parent int) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", 0
	}
	// The name before them may hold anything, in parentheses.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return "", 0
	}
	parent, _ = strconv.Atoi(fields[1]) // always a number
	return fields[0], parent
}
