package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/match"
	"github.com/berth-registry/berth/internal/infra/confine"
)

// patience is how long something may take on a busy machine.
const patience = time.Minute

func limits() confine.Limits {
	l := confine.Limits{CPU: time.Minute, Wall: 5 * time.Minute, Files: 64, FileSize: 1 << 20}
	if !underRace {
		l.Memory = 256 << 20
	}
	return l
}

func newPool(t *testing.T, c Config) *Pool {
	t.Helper()
	if c.Limits == (confine.Limits{}) {
		c.Limits = limits()
	}
	if c.Spool == "" {
		c.Spool = t.TempDir()
	}
	p := New(c)
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if left, err := os.ReadDir(c.Spool); err != nil || len(left) > 0 {
			t.Errorf("the pool leaves %v, %v", left, err)
		}
		if left := children(t); len(left) > 0 {
			t.Errorf("the pool leaves the processes %v", left)
		}
	})
	return p
}

// children are the processes that this one has, zombies included.
func children(t *testing.T) []int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var all []int
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(b), " (")
		rest = rest[strings.LastIndex(rest, ") ")+2:]
		if strings.Fields(rest)[1] == strconv.Itoa(os.Getpid()) {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
	}
	return all
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
	}
}

// zeros are so many bytes of a layer.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// count has a layer read that is as it should be, and returns the process that read it.
func count(t *testing.T, p *Pool, size int64) int64 {
	t.Helper()
	l, err := p.ReadLayer(t.Context(), "count", size, zeros(size))
	if err != nil || l.Size != size {
		t.Fatalf("%d bytes of %d were read, %v", l.Size, size, err)
	}
	return l.Entries
}

func wantCrash(t *testing.T, err error, part string) {
	t.Helper()
	if crashed, ok := errors.AsType[*Crashed](err); !ok || !strings.Contains(crashed.Reason, part) {
		t.Errorf("the error is %v, want a crash for %q", err, part)
	}
}

func TestReadLayer(t *testing.T) {
	p := newPool(t, Config{})
	if first := count(t, p, 5<<20+17); first != count(t, p, 1) {
		t.Error("the process was not used again")
	}
	if l, err := p.ReadLayer(t.Context(), "count", 0, iotest.OneByteReader(strings.NewReader("hello"))); err != nil || l.Size != 5 {
		t.Errorf("byte by byte: %d, %v", l.Size, err)
	}
}

// TestRefused: the process answers before it has all, which it then throws away.
func TestRefused(t *testing.T) {
	p := newPool(t, Config{})
	first := count(t, p, 1)
	for _, size := range []int64{1, 64 << 20} {
		_, err := p.ReadLayer(t.Context(), "refuse", size, zeros(size))
		if refused, ok := errors.AsType[*Refused](err); !ok || refused.Reason != "the layer is not to our taste" {
			t.Errorf("the error is %v", err)
		}
	}
	if count(t, p, 3<<20) != first {
		t.Error("the process was not used again")
	}
}

func TestCrashes(t *testing.T) {
	for how, reason := range map[string]string{
		"fail":     "failed: no luck  today",
		"panic":    "exit status 2: panic: at the disco",
		"exit":     "exit status 9",
		"leave":    "stopped answering",
		"memory":   "the scanner ran out of memory",
		"file":     "file too large",
		"noise":    "answered what is no frame",
		"announce": "answered what is no frame",
		"nonsense": "makes no sense",
		"twice":    "more than was asked for",
		"objects":  "more than makes sense",
	} {
		t.Run(how, func(t *testing.T) {
			p := newPool(t, Config{})
			sizes := []int64{1, 16 << 20}
			if slices.Contains([]string{"nonsense", "twice", "objects"}, how) {
				sizes = sizes[:1] // they do not listen any more, which is for the limit of time
			}
			for _, size := range sizes {
				before := count(t, p, 1)
				_, err := p.ReadLayer(t.Context(), how, size, zeros(size))
				wantCrash(t, err, reason)
				if count(t, p, 1<<20) == before {
					t.Error("the process was used again")
				}
			}
		})
	}
}

func TestProcessorTime(t *testing.T) {
	l := limits()
	l.CPU = 2 * time.Second
	p := newPool(t, Config{Limits: l})
	before := count(t, p, 1)
	_, err := p.ReadLayer(t.Context(), "spin", 1, zeros(1))
	wantCrash(t, err, "the scanner used more processor time than it may")
	if count(t, p, 1) == before {
		t.Error("the process was used again")
	}
}

func TestWallTime(t *testing.T) {
	l := limits()
	l.Wall = time.Second
	p := newPool(t, Config{Limits: l})
	_, err := p.ReadLayer(t.Context(), "hang", 1, zeros(1))
	wantCrash(t, err, "the scanner took longer than 1s")
}

func TestStopwatch(t *testing.T) {
	fired := make(chan struct{})
	w := startWatch(time.Hour, func() { close(fired) })
	w.pause()
	w.left = 0
	select {
	case <-fired:
		t.Error("it fires in a pause")
	case <-time.After(50 * time.Millisecond):
	}
	w.resume()
	<-fired
	w.pause()
	w.resume()
	if w.stop() {
		t.Error("it does not know that it has fired")
	}
	if w = startWatch(time.Hour, func() {}); !w.stop() {
		t.Error("it thinks that it has fired")
	}
}

func TestKilled(t *testing.T) {
	p := newPool(t, Config{})
	failed := make(chan error)
	go func() {
		_, err := p.ReadLayer(t.Context(), "hang", 8<<20, zeros(8<<20))
		failed <- err
	}()
	eventually(t, "a process", func() bool { return len(children(t)) == 1 && ready(p) })
	if err := syscall.Kill(children(t)[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantCrash(t, <-failed, "the scanner was killed")
	// One that is killed while it has nothing to do is not missed, however late its end is noticed.
	for range 20 {
		if err := syscall.Kill(int(count(t, p, 1)), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	// Nor does its end hide that of a request.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.ReadLayer(ctx, "count", 1, zeros(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// ready says whether a process of the pool has its directory, which it has before it starts.
func ready(p *Pool) bool {
	p.spool.mu.Lock()
	defer p.spool.mu.Unlock()
	return p.spool.home != nil
}

func TestSourceFails(t *testing.T) {
	p := newPool(t, Config{})
	first := count(t, p, 1)
	broken := errors.New("the disk is broken")
	for _, r := range []io.Reader{
		iotest.ErrReader(broken),
		io.MultiReader(zeros(3<<20), iotest.ErrReader(broken)),
	} {
		if _, err := p.ReadLayer(t.Context(), "count", 8<<20, r); !errors.Is(err, broken) {
			t.Errorf("the error is %v", err)
		}
	}
	if _, err := p.ReadLayer(t.Context(), "count", 8<<20, zeros(3<<20)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a layer that is too short: %v", err)
	}
	if count(t, p, 1) != first {
		t.Error("the process was not used again")
	}
	// Both at once: the store is what is to be mended first.
	if _, err := p.ReadLayer(t.Context(), "hang", 0, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

func TestCancel(t *testing.T) {
	p := newPool(t, Config{})
	for _, how := range []string{"hang", "spin"} {
		ctx, cancel := context.WithCancel(t.Context())
		r := &watched{Reader: zeros(64 << 20), read: cancel}
		if _, err := p.ReadLayer(ctx, how, 64<<20, r); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the error is %v", how, err)
		}
		count(t, p, 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.ReadLayer(ctx, "count", 1, zeros(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// watched calls a function before it reads.
type watched struct {
	io.Reader
	read func()
}

func (w *watched) Read(b []byte) (int, error) {
	w.read()
	return w.Reader.Read(b)
}

func TestManyLayers(t *testing.T) {
	const readers = 2
	p := newPool(t, Config{Readers: readers})
	var most, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			const size = 2 << 20
			r := &watched{Reader: zeros(size), read: func() {
				n := int64(len(children(t)))
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
			}}
			switch {
			case i%10 == 3:
				_, err := p.ReadLayer(t.Context(), "exit", size, r)
				wantCrash(t, err, "exit status 9")
			case i%10 == 7:
				_, err := p.ReadLayer(t.Context(), "refuse", size, r)
				if _, ok := errors.AsType[*Refused](err); !ok {
					t.Errorf("the error is %v", err)
				}
				refused.Add(1)
			default:
				if l, err := p.ReadLayer(t.Context(), "count", size, r); err != nil || l.Size != size {
					t.Errorf("%d bytes, %v", l.Size, err)
				}
			}
		})
	}
	all.Wait()
	if most.Load() != readers {
		t.Errorf("there were %d processes at most, want %d", most.Load(), readers)
	}
	if refused.Load() != 5 {
		t.Errorf("%d layers were refused", refused.Load())
	}
}

func TestProcessesAreReplaced(t *testing.T) {
	p := newPool(t, Config{})
	var pids []int64
	for range maxLayers + 1 {
		pids = append(pids, count(t, p, 1))
	}
	if slices.Index(pids, pids[maxLayers]) != maxLayers || pids[0] != pids[maxLayers-1] {
		t.Errorf("the layers were read by %v", pids)
	}
}

func TestRetire(t *testing.T) {
	p := newPool(t, Config{})
	first := count(t, p, 1)
	s := p.readers[0]
	p.retire(s)
	p.retire(s) // it is not there any more
	if second := count(t, p, 1); first == second {
		t.Error("the process was not ended")
	}
	dir := databaseDir(t, "good")
	before := echo(t, p, dir)
	m := p.matchers[dir]
	p.retireMatcher(m)
	p.retireMatcher(m)
	if echo(t, p, dir) == before {
		t.Error("the matcher was not ended")
	}
}

func TestSpool(t *testing.T) {
	root := t.TempDir()
	left := filepath.Join(root, spoolPrefix+"left")
	if err := os.MkdirAll(filepath.Join(left, "process-1", "deep"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := newPool(t, Config{Spool: root})
	first := count(t, p, 1)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a dead server left is still there: %v", err)
	}
	// Another server with the same directory.
	other := New(Config{Spool: root, Limits: limits()})
	count(t, other, 1)
	if l, err := p.ReadLayer(t.Context(), "spool", 1, zeros(1)); err != nil || l.Entries != first {
		t.Errorf("read by %d, %v", l.Entries, err)
	}
	files, err := filepath.Glob(filepath.Join(root, "*", "*", "*"))
	if err != nil || len(files) > 0 {
		t.Errorf("files stay behind: %v, %v", files, err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	if count(t, p, 1) != first {
		t.Error("the process was not used again")
	}
}

func TestNothingStarts(t *testing.T) {
	p := newPool(t, Config{Command: []string{"/nonexistent", "x"}})
	if _, err := p.ReadLayer(t.Context(), "count", 1, zeros(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the error is %v", err)
	}
	p = newPool(t, Config{Command: []string{os.Args[0], Argument, "nothing"}})
	_, err := p.ReadLayer(t.Context(), "count", 1, zeros(1))
	wantCrash(t, err, "exit status 2: scan-worker is started by the server")
}

func databaseDir(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kind"), []byte(kind), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// echo has an image matched, and returns the process that did it.
func echo(t *testing.T, p *Pool, dir string) string {
	t.Helper()
	img := inventory.Image{Architecture: "echo", Packages: []inventory.Package{{Name: "p"}}}
	r, err := p.Match(t.Context(), dir, img, match.Options{Languages: true})
	if err != nil || !r.Supported || !r.EndOfLife {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Architecture
}

func TestMatch(t *testing.T) {
	p := newPool(t, Config{})
	one, two := databaseDir(t, "good"), databaseDir(t, "good")
	first := echo(t, p, one)
	if echo(t, p, one) != first {
		t.Error("the process was not used again")
	}
	second := echo(t, p, two)
	if first == second {
		t.Error("one process has two databases")
	}
	if left := children(t); len(left) != 1 || fmt.Sprint(left[0]) != second {
		t.Errorf("there are the processes %v, not %s alone", left, second)
	}
	for how, reason := range map[string]string{"exit": "exit status 9", "panic": "at the disco", "fail": "failed: no luck"} {
		_, err := p.Match(t.Context(), two, inventory.Image{Architecture: how}, match.Options{})
		wantCrash(t, err, reason)
		if echo(t, p, two) == second {
			t.Error("the process was used again")
		}
	}
	for range 20 { // one that is killed while it has nothing to do is not missed either
		pid, err := strconv.Atoi(echo(t, p, two))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the end", func() bool { return len(children(t)) == 0 })
	echo(t, p, two)
}

func TestMatchManyAtOnce(t *testing.T) {
	p := newPool(t, Config{})
	one, two := databaseDir(t, "good"), databaseDir(t, "good")
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			switch dir := []string{one, two}[i%2]; {
			case i%8 == 5:
				_, err := p.Match(t.Context(), dir, inventory.Image{Architecture: "exit"}, match.Options{})
				wantCrash(t, err, "exit status 9")
			default:
				if r, err := p.Match(t.Context(), dir, inventory.Image{Architecture: "echo"}, match.Options{Languages: true}); err != nil || !r.Supported {
					t.Errorf("%+v, %v", r, err)
				}
			}
			if n := len(children(t)); n > 3 { // one that has just been left may be on its way out
				t.Errorf("there are %d processes", n)
			}
		})
	}
	all.Wait()
	if n := len(children(t)); n > 1 {
		t.Errorf("%d processes are left", n)
	}
}

func TestMatchCancel(t *testing.T) {
	p := newPool(t, Config{})
	dir := databaseDir(t, "good")
	first := echo(t, p, dir)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := p.Match(ctx, dir, inventory.Image{Architecture: "hang"}, match.Options{})
		failed <- err
	}()
	eventually(t, "a request", func() bool { return len(p.matchers[dir].turn) == 1 })
	// One that waits for its turn leaves the other alone.
	waiting, stop := context.WithCancel(t.Context())
	stop()
	if _, err := p.Match(waiting, dir, inventory.Image{Architecture: "echo"}, match.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if echo(t, p, dir) == first {
		t.Error("the process was used again")
	}
}

func TestTooManyPackages(t *testing.T) {
	p := newPool(t, Config{})
	p.question = 1 << 20
	dir := databaseDir(t, "good")
	img := inventory.Image{Architecture: "echo", Packages: []inventory.Package{{Name: strings.Repeat("x", 1<<20)}}}
	_, err := p.Match(t.Context(), dir, img, match.Options{})
	if refused, ok := errors.AsType[*Refused](err); !ok || !strings.Contains(refused.Reason, "too large") {
		t.Errorf("the error is %v", err)
	}
	echo(t, p, dir)
}

func TestBadDatabase(t *testing.T) {
	p := newPool(t, Config{})
	bad := databaseDir(t, "fail")
	_, err := p.Match(t.Context(), bad, inventory.Image{Architecture: "echo"}, match.Options{})
	wantCrash(t, err, "cannot open its database: no luck")
	_, err = p.Check(t.Context(), bad)
	if refused, ok := errors.AsType[*Refused](err); !ok || refused.Reason != "no luck  today" {
		t.Errorf("the error is %v", err)
	}
	_, err = p.Check(t.Context(), databaseDir(t, "good"))
	if refused, ok := errors.AsType[*Refused](err); !ok || refused.Reason != "page 7 is missing" {
		t.Errorf("the error is %v", err)
	}
	_, err = p.Check(t.Context(), databaseDir(t, "panic"))
	wantCrash(t, err, "at the disco")
}

func TestClose(t *testing.T) {
	p := newPool(t, Config{})
	dir := databaseDir(t, "good")
	echo(t, p, dir)
	failed := make(chan error)
	go func() {
		_, err := p.ReadLayer(t.Context(), "hang", 1, zeros(1))
		failed <- err
	}()
	go func() {
		_, err := p.Match(t.Context(), dir, inventory.Image{Architecture: "hang"}, match.Options{})
		failed <- err
	}()
	eventually(t, "requests", func() bool { return len(p.reading) == 1 && len(p.matchers[dir].turn) == 1 })
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("the error is %v", err)
		}
	}
	if _, err := p.ReadLayer(t.Context(), "count", 1, zeros(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("the error is %v", err)
	}
	if _, err := p.Check(t.Context(), dir); !errors.Is(err, ErrClosed) {
		t.Errorf("the error is %v", err)
	}
}

// TestFrames talks to the process's side without a process; what it is told first is wrong.
func TestFrames(t *testing.T) {
	for name, said := range map[string][]byte{
		"nothing":    nil,
		"half":       {byte(kindHello), 0, 0},
		"no hello":   {byte(kindLayer), 0, 0, 0, 2, '{', '}'},
		"no version": {byte(kindHello), 0, 0, 0, 2, '{', '}'},
		"too long":   {byte(kindHello), 0xff, 0, 0, 0},
		"cut off":    {byte(kindHello), 0, 0, 0, 9, '{'},
	} {
		var out, errOut bytes.Buffer
		if status := mainWith(handlers{}, []string{"read"}, bytes.NewReader(said), &out, &errOut); status != exitError || errOut.Len() == 0 {
			t.Errorf("%s: status %d, %q", name, status, &errOut)
		}
		if out.Len() == 0 || kind(out.Bytes()[0]) != kindFailed {
			t.Errorf("%s: it says %q", name, &out)
		}
	}
	for _, args := range [][]string{nil, {"read", "x"}, {"match"}, {"match", "a", "b"}, {"steal"}} {
		var out, errOut bytes.Buffer
		if status := Main(args, strings.NewReader(""), &out, &errOut); status != exitUsage || errOut.Len() == 0 || out.Len() > 0 {
			t.Errorf("%q: status %d, %q, %q", args, status, &out, &errOut)
		}
	}
}

// BenchmarkReadLayer streams a gibibyte to a process that only reads it.
func BenchmarkReadLayer(b *testing.B) {
	p := New(Config{Limits: limits(), Spool: b.TempDir()})
	const size = 1 << 30
	b.SetBytes(size)
	for b.Loop() {
		if l, err := p.ReadLayer(b.Context(), "count", size, zeros(size)); err != nil || l.Size != size {
			b.Fatalf("%d bytes, %v", l.Size, err)
		}
	}
	if err := p.Close(); err != nil {
		b.Error(err)
	}
}
