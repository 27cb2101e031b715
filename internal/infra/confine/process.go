package confine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// pipeSize is the size of the pipes to and from a process: larger ones mean fewer changes from one to
	// the other. It is what Linux grants everybody (fs.pipe-max-size).
	pipeSize = 1 << 20
	// lastWords is how long a dead process's stderr is waited for; nobody else can hold it open for long.
	lastWords = 5 * time.Second
)

// Process is a process that was started. All its methods may be called at any time, by anyone.
type Process struct {
	// Stdin and Stdout are the other ends of the process's. Close closes both; a
	// process is to end when its stdin does.
	Stdin, Stdout *os.File

	pid    int
	stderr words
	done   chan struct{}
	ended  *Ended // once done is closed; nil if it ended well

	mu     sync.Mutex
	reaped bool
	killed string // why Kill was called first
}

// Start starts a process. It is killed when ctx ends, when it has lived for
// c.Limits.Wall, and by the kernel when this process dies in whatever way.
// Somebody must call Close in the end.
func Start(ctx context.Context, c Command) (*Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cmd, err := command(c)
	if err != nil {
		return nil, err
	}
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("confine: a pipe: %w", err)
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		closeAll(in, stdin)
		return nil, fmt.Errorf("confine: a pipe: %w", err)
	}
	widen(stdin)
	widen(stdout)
	p := &Process{Stdin: stdin, Stdout: stdout, done: make(chan struct{})}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &p.stderr
	started := make(chan error)
	go p.run(ctx, c, cmd, started)
	err = <-started
	closeAll(in, out)
	if err != nil {
		closeAll(stdin, stdout)
		return nil, fmt.Errorf("confine: starting %s: %w", cmd.Path, err)
	}
	killFirst(p.pid)
	return p, nil
}

func command(c Command) (*exec.Cmd, error) {
	attributes, err := attributes()
	if err != nil {
		return nil, err
	}
	path, shown := c.Path, c.Path
	if path == "" {
		path = self
		if shown, err = os.Executable(); err != nil {
			return nil, fmt.Errorf("confine: finding this program: %w", err)
		}
	}
	env := append([]string{}, c.Env...) // never nil: that would hand down ours, with its secrets
	return &exec.Cmd{
		Path: path, Args: append([]string{shown}, c.Args...), Env: env, Dir: c.Dir,
		SysProcAttr: attributes, WaitDelay: lastWords,
	}, nil
}

// run starts the process and waits for its end, all in one thread: the kernel kills
// the process when the thread ends that started it, and the thread gives up its own
// access to files, for the process to inherit that. So it is never given back: it ends with the goroutine.
func (p *Process) run(ctx context.Context, c Command, cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	err := restrict(cmd.Path, c.Read, c.Write)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	forget := context.AfterFunc(ctx, func() { p.Kill("was not needed any more") })
	if wall := c.Limits.Wall; wall > 0 {
		t := time.AfterFunc(wall, func() { p.Kill("took longer than " + wall.String()) })
		defer t.Stop()
	}
	started <- nil
	await(p.pid)
	p.mu.Lock()
	// It is dead and not yet reaped, so its number, which is its group's as well, is still its own.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // as a rule nobody is left in the group
	p.reaped = true
	p.mu.Unlock()
	_ = cmd.Wait() // ProcessState says more than its error does
	forget()
	if state := cmd.ProcessState; state == nil || !state.Success() {
		p.ended = &Ended{Reason: p.reason(state), Stderr: p.stderr.bytes()}
	}
	close(p.done)
}

// Kill ends the process and all of its group at once. The reason, a phrase as in Ended, is what Wait will say.
func (p *Process) Kill(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return
	}
	if p.killed == "" {
		p.killed = reason
	}
	_ = syscall.Kill(-p.pid, syscall.SIGKILL) // it can fail only where the process is dead
}

// Done is closed when the process has ended and left nothing behind.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process. It returns nil after exit status 0, *Ended otherwise.
func (p *Process) Wait() error {
	<-p.done
	if p.ended != nil {
		return p.ended
	}
	return nil
}

// Close kills the process, waits for its end and closes the pipes.
func (p *Process) Close() {
	p.Kill("was not needed any more")
	<-p.done
	closeAll(p.Stdin, p.Stdout)
}

// PID is the number of the process.
func (p *Process) PID() int { return p.pid }

// reason says how the process ended.
func (p *Process) reason(state *os.ProcessState) string {
	if state == nil {
		return "ended in a way that is not known"
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return "ended: " + state.String()
	}
	first := p.stderr.firstLine()
	switch {
	case status.Signaled() && status.Signal() == syscall.SIGKILL:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.killed != "" {
			return p.killed
		}
		return "was killed"
	case status.Signaled() && status.Signal() == syscall.SIGXCPU:
		return "used more processor time than it may"
	case outOfMemory(first):
		return "ran out of memory"
	case first == "":
		return "ended with " + state.String()
	}
	return "ended with " + state.String() + ": " + first
}

// outOfMemory recognizes what Go's runtime and C's library say.
func outOfMemory(line string) bool {
	return strings.Contains(line, "out of memory") || strings.Contains(line, "cannot allocate memory") ||
		strings.Contains(line, "failed to create new OS thread") || strings.Contains(line, "pthread_create failed")
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // the end of a pipe, closed already or not
	}
}
