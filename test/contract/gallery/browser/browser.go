package browser

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// driver is embedded, so that the go command sees when it changes.
//
//go:embed drive.mjs
var driver []byte

const (
	node     = "/usr/bin/node"
	chromium = "/usr/lib/chromium/chromium" // not /usr/bin/chromium, which adds the machine's own flags
	// answerTimeout bounds a command. The driver gives up earlier, after 60 s, and
	// says what it waited for.
	answerTimeout = 90 * time.Second
	// endTimeout bounds the end of a browser.
	endTimeout = 30 * time.Second
)

// errEnded is what a command is answered once the browser has ended.
var errEnded = errors.New("the browser has ended")

// Browser is one Chromium. Its methods may be called by several tests at once.
type Browser struct {
	// Version is Chromium's, such as "150.0.7871.100".
	Version string

	dir    string // of the browser: its profile, and whatever it leaves
	cmd    *exec.Cmd
	in     io.WriteCloser
	ended  chan struct{} // closed when the driver has ended
	stderr lockedBuffer  // of the driver
	first  []process     // what ran once the browser was ready

	writing sync.Mutex

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer // nil once there will be no answers
}

// answer is a line of the driver's.
type answer struct {
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

// Start starts a browser, which ends with the test. It takes a second or two: a
// test that needs several pages starts one browser for them.
func Start(t testing.TB) *Browser {
	t.Helper()
	modules := filepath.Join(harness.Root(t), ".tools", "browser")
	for _, file := range []string{node, chromium, filepath.Join(modules, "node_modules", "playwright-core", "package.json"), filepath.Join(modules, "node_modules", "axe-core", "axe.min.js")} {
		if _, err := os.Stat(file); err != nil {
			t.Fatalf("%v: run scripts/install-test-deps.sh", err)
		}
	}
	// Not the test's own directory: the path of Chromium's socket must be short.
	dir, err := os.MkdirTemp("", "berth-browser-")
	if err != nil {
		t.Fatal(err)
	}
	b := &Browser{dir: dir, ended: make(chan struct{}), waiting: map[int]chan answer{}}
	t.Cleanup(func() { b.end(t) })
	if err := b.start(modules); err != nil {
		t.Fatalf("the browser does not start: %v\n%s", err, b.stderr.String())
	}
	return b
}

func (b *Browser) start(modules string) error {
	script := filepath.Join(b.dir, "drive.mjs")
	if err := os.WriteFile(script, driver, 0o600); err != nil {
		return err
	}
	// Not bound to the test's context, which ends before the clean-up.
	cmd := exec.Command(node, script, modules, chromium)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + b.dir, "TMPDIR=" + b.dir, "LANG=C.UTF-8", "TZ=UTC"}
	cmd.Stderr = &b.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt is for the test, which ends the browser
	var err error
	if b.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	ready := b.expect(0)
	if err := cmd.Start(); err != nil {
		return err
	}
	b.cmd = cmd
	go b.read(out)
	value, err := b.wait(0, ready)
	if err != nil {
		return err
	}
	b.first = b.processes()
	return json.Unmarshal(value, &b.Version)
}

// read hands out the answers until there are no more, and waits for the driver.
func (b *Browser) read(out io.Reader) {
	lines := bufio.NewReader(out) // not a Scanner: the text of a page may be long
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var a answer
		if err := json.Unmarshal(line, &a); err != nil {
			_, _ = fmt.Fprintf(&b.stderr, "not an answer: %s", line) // a buffer takes everything
			break
		}
		b.mu.Lock()
		to := b.waiting[a.ID]
		delete(b.waiting, a.ID)
		b.mu.Unlock()
		if to != nil {
			to <- a
		}
	}
	_ = b.cmd.Process.Kill() // it has ended, or makes no sense any more
	_ = b.cmd.Wait()         // how it ended, its error output tells
	b.mu.Lock()
	b.waiting = nil
	b.mu.Unlock()
	close(b.ended)
}

func (b *Browser) expect(id int) chan answer {
	to := make(chan answer, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting != nil {
		b.waiting[id] = to
	}
	return to
}

// wait returns the value that a command is answered.
func (b *Browser) wait(id int, to chan answer) (json.RawMessage, error) {
	late := time.NewTimer(answerTimeout)
	defer late.Stop()
	select {
	case a := <-to:
		if a.Error != "" {
			return nil, errors.New(a.Error)
		}
		return a.Value, nil
	case <-b.ended:
		return nil, fmt.Errorf("%w: %s", errEnded, b.stderr.String())
	case <-late.C:
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiting, id)
		return nil, fmt.Errorf("no answer after %v: %s", answerTimeout, b.stderr.String())
	}
}

// do has the driver do something, on a page or on none, and decodes its answer
// into a variable or nowhere.
func (b *Browser) do(command string, page int, args map[string]any, into any) error {
	b.mu.Lock()
	b.last++
	id := b.last
	b.mu.Unlock()
	line := map[string]any{"id": id, "do": command, "page": page}
	for k, v := range args {
		line[k] = v
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	to := b.expect(id)
	b.writing.Lock()
	_, err = b.in.Write(append(text, '\n'))
	b.writing.Unlock()
	if err != nil {
		return fmt.Errorf("%w: %w: %s", errEnded, err, b.stderr.String())
	}
	value, err := b.wait(id, to)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(value, into)
}

// end ends the browser and makes sure that nothing of it is left.
func (b *Browser) end(t testing.TB) {
	t.Helper()
	if b.cmd != nil {
		family := b.processes()
		_ = b.in.Close() // the driver closes the browser; it may be dead already
		select {
		case <-b.ended:
		case <-time.After(endTimeout):
			t.Errorf("the browser's driver does not end: %s", b.stderr.String())
			_ = b.cmd.Process.Kill() // whether it worked, the next line tells
			<-b.ended
		}
		if left := waitGone(family, endTimeout); len(left) > 0 {
			t.Errorf("processes of the browser were left: %v", left)
			for _, p := range left {
				p.kill()
			}
		}
	}
	if err := os.RemoveAll(b.dir); err != nil {
		t.Errorf("the browser's directory: %v", err)
	}
}

// lockedBuffer keeps what a program writes while others read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
