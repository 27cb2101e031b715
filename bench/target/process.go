package target

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// program is how a process is started.
type program struct {
	path string
	args []string
	env  []string
	dir  string // its working directory
	log  string // the file that it writes to
	// as is whom it runs as, nil as this program.
	as *syscall.Credential
	// end asks it to end, death ends it when this program has died. 0 are SIGTERM and
	// SIGKILL; programs with children of their own need another death, which they pass on.
	end, death syscall.Signal
}

// environment is what the programs see of this program's: nothing that one of them could
// take for a setting.
func environment(dir string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, more...)
}

// process is a started program. err may be read once done is closed.
type process struct {
	pid  int
	end  syscall.Signal
	what *os.Process
	done chan struct{}
	err  error
}

// starter has a thread that stays: a process with a parent death signal gets it when the
// thread ends that has started it.
var starter = sync.OnceValue(func() chan func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

func (p *program) start() (*process, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	end, death := p.end, p.death
	if end == 0 {
		end = syscall.SIGTERM
	}
	if death == 0 {
		death = syscall.SIGKILL
	}
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: death, Credential: p.as}
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s cannot be started: %w", filepath.Base(p.path), err)
	}
	running := &process{pid: cmd.Process.Pid, end: end, what: cmd.Process, done: make(chan struct{})}
	go func() {
		running.err = cmd.Wait()
		if running.err == nil {
			running.err = errors.New("exit status 0")
		}
		close(running.done)
	}()
	return running, nil
}

// tail is the end of what it wrote to its log.
func (p *program) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// stop asks the process to end, kills it when it has not after the timeout, and waits
// until it is gone. It is an error if it had to be killed. nil is stopped.
func (p *process) stop(timeout time.Duration) error {
	if p == nil {
		return nil
	}
	_ = p.what.Signal(p.end) // it may have ended by itself
	select {
	case <-p.done:
		return nil
	case <-time.After(timeout):
	}
	_ = p.what.Kill() // it may have ended just now
	<-p.done
	return fmt.Errorf("process %d did not end within %s and was killed", p.pid, timeout)
}
