package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berth-registry/berth/bench/floor"
)

// TestMain is the floor when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == FloorCommand {
		fmt.Fprintln(os.Stderr, floor.Serve(os.Args[2], os.Args[3]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// started starts a program that says "ready" in its log.
func started(t *testing.T, p *program) *process {
	t.Helper()
	running, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = running.what.Kill() // it may be gone
		<-running.done
	})
	err = settle(t.Context(), p, running, func() error {
		text, err := os.ReadFile(p.log)
		if err == nil && !bytes.HasPrefix(text, []byte("ready\n")) {
			err = errors.New("it is not ready")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return running
}

func shell(t *testing.T, script string) *program {
	dir := t.TempDir()
	return &program{path: "/bin/sh", args: []string{"-c", script}, env: environment(dir, "GIVEN=value"), dir: dir, log: filepath.Join(dir, "log")}
}

func TestStop(t *testing.T) {
	polite := started(t, shell(t, "echo ready; exec tail -f /dev/null"))
	if err := polite.stop(time.Minute); err != nil {
		t.Error(err)
	}
	if err := polite.stop(time.Minute); err != nil {
		t.Errorf("stopping it twice: %v", err)
	}
	deaf := started(t, shell(t, "trap '' TERM; echo ready; exec tail -f /dev/null"))
	if err := deaf.stop(time.Millisecond); err == nil {
		t.Error("a process that does not end is stopped without an error")
	}
	<-deaf.done
}

func TestProgramFails(t *testing.T) {
	p := shell(t, "echo went wrong; exit 3")
	running, err := p.start()
	if err != nil {
		t.Fatal(err)
	}
	err = settle(t.Context(), p, running, func() error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "went wrong") {
		t.Errorf("the error is %v", err)
	}
	if _, err := (&program{path: "/nowhere", log: p.log}).start(); err == nil {
		t.Error("a program that is not there is started")
	}
}

// TestEnvironment: a variable of this program's could be a setting of theirs.
func TestEnvironment(t *testing.T) {
	t.Setenv("REGISTRY_AUTH", "htpasswd")
	p := shell(t, `printf 'ready\n%s\n' "$(env)"; exec tail -f /dev/null`)
	started(t, p)
	text, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "REGISTRY_AUTH") || !strings.Contains(string(text), "GIVEN=value\n") {
		t.Errorf("the environment is\n%s", text)
	}
}

func TestAwait(t *testing.T) {
	var asked, status atomic.Int64
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := asked.Add(1); n <= 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		} else if r.Header.Get("Authorization") != "Basic right" {
			w.WriteHeader(http.StatusUnauthorized)
		} else {
			w.WriteHeader(int(status.Load()))
		}
	}))
	defer h.Close()
	status.Store(http.StatusOK)
	s := &Server{Name: "it", Base: h.URL, path: "/v2/", process: &process{done: make(chan struct{})}, program: program{log: filepath.Join(t.TempDir(), "log")}}
	if _, err := s.await(t.Context(), time.Now()); err != nil || asked.Load() != 4 {
		t.Errorf("after %d requests: %v; want an answer after 4, and a refusal is one", asked.Load(), err)
	}
	s.Authorization = "Basic right"
	asked.Store(0)
	if _, err := s.await(t.Context(), time.Now()); err != nil || asked.Load() != 4 {
		t.Errorf("after %d requests: %v; want an answer after 4", asked.Load(), err)
	}
	// With its authorization a refusal is none, and a server that has ended gives no other.
	s.Authorization = "Basic wrong"
	s.process.err = errors.New("exit status 1")
	close(s.process.done)
	if _, err := s.await(t.Context(), time.Now()); err == nil || !strings.Contains(err.Error(), "it ended before it answered: exit status 1") {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.process.done = make(chan struct{})
	if _, err := s.await(ctx, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestExports(t *testing.T) {
	got := exports("export AWS_REGION='us-east-1'\nexport AWS_SECRET_ACCESS_KEY='a=b/c'\nunset AWS_PROFILE\n")
	want := map[string]string{"AWS_REGION": "us-east-1", "AWS_SECRET_ACCESS_KEY": "a=b/c"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v; want %v", got, want)
	}
}

// TestMissing: what is not installed is an error that says how to get it.
func TestMissing(t *testing.T) {
	nowhere := t.TempDir()
	for _, target := range Targets(nowhere, filepath.Join(nowhere, "berth")) {
		hint := map[string]string{"berth": "make build", "berth-plain": "make build", "distribution": "install-bench-peers.sh", "zot": "install-bench-peers.sh"}[target.Name]
		if hint == "" {
			continue // what the machine has is not the test's to say
		}
		if _, err := target.Start(t.Context(), t.TempDir()); err == nil || !strings.Contains(err.Error(), hint) || !strings.Contains(err.Error(), target.Name) {
			t.Errorf("%s: %v; want a hint at %s", target.Name, err, hint)
		}
	}
}

func TestLetIn(t *testing.T) {
	mode := func(dir string) os.FileMode {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	top := t.TempDir()
	dir := filepath.Join(top, "closed", "above", "own")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := letIn(dir); err == nil || !strings.Contains(err.Error(), filepath.Join(top, "closed")) {
		t.Errorf("under a closed directory: %v", err)
	}
	if got := mode(filepath.Join(top, "closed")); got != 0o700 {
		t.Errorf("a directory that is not the benchmark's has mode %o", got)
	}
	if own, above := mode(dir), mode(filepath.Dir(dir)); own != 0o711 || above != 0o711 {
		t.Errorf("the modes are %o and %o; want 711", own, above)
	}
}

// TestFloor starts this program as the floor, and ends it.
func TestFloor(t *testing.T) {
	s, err := leastWork().Start(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(s.Base+"/v2/some/where/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close() // the status is all
	if answer.StatusCode != http.StatusAccepted || !s.Blobs {
		t.Errorf("it answers %s", answer.Status)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}
