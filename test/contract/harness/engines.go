package harness

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// engineTimeout bounds how long an engine takes to come up.
const engineTimeout = 60 * time.Second

// StartDocker starts a docker engine of the box's own and points its docker
// client there. Images are kept and pushed; the engine has no network for
// containers. It ends with the test.
func StartDocker(t testing.TB, b *Box) {
	t.Helper()
	NeedRoot(t, "the docker engine")
	b.need("docker")
	b.need("containerd")
	dir := shortDir(t)
	socket := filepath.Join(dir, "docker.sock")
	b.With("DOCKER_HOST=unix://"+socket,
		// The classic builder is the one that Debian's engine brings.
		"DOCKER_BUILDKIT=0",
		// docker manifest was experimental in docker 20.10.
		"DOCKER_CLI_EXPERIMENTAL=enabled")
	startEngine(t, b, dir, []string{
		"dockerd", "--iptables=false", "--bridge=none", "--storage-driver=vfs",
		"--data-root=" + filepath.Join(dir, "data"), "--exec-root=" + filepath.Join(dir, "exec"),
		"-H", "unix://" + socket, "--pidfile=" + filepath.Join(dir, "docker.pid"),
	}, func(ctx context.Context) error { return b.Command(ctx, "docker", "version").Run() })
}

// StartContainerd starts a containerd of the box's own and points ctr there.
func StartContainerd(t testing.TB, b *Box) {
	t.Helper()
	NeedRoot(t, "containerd")
	b.need("ctr")
	dir := shortDir(t)
	socket := filepath.Join(dir, "containerd.sock")
	config := filepath.Join(dir, "config.toml")
	text := "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b.With("CONTAINERD_ADDRESS="+socket, "CONTAINERD_SNAPSHOTTER=native")
	startEngine(t, b, dir, []string{
		"containerd", "--config", config, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"), "--address", socket,
	}, func(ctx context.Context) error { return b.Command(ctx, "ctr", "version").Run() })
}

// shortDir is a temporary directory whose path leaves room for the name of a
// socket: those end at 107 bytes, and t.TempDir holds the test's whole name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "berth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("the engine left something behind: %v", err)
		}
	})
	return dir
}

func startEngine(t testing.TB, b *Box, dir string, args []string, up func(context.Context) error) {
	t.Helper()
	logPath := filepath.Join(dir, "log")
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }() // the engine has its own descriptor
	// The engine ends by a signal, not with the test's context: it has to stop
	// its own children.
	cmd := exec.Command(b.need(args[0]), args[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = b.env, dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := b.Namespace.Start(cmd); err != nil {
		t.Fatal(err)
	}
	engine := watch(cmd)
	t.Cleanup(func() {
		if t.Failed() {
			if text, err := os.ReadFile(logPath); err == nil {
				t.Logf("the end of %s's log:\n%s", args[0], tail(string(text), 3000))
			}
		}
		_ = engine.Signal(syscall.SIGTERM) // it may be gone already
		select {
		case <-engine.done:
		case <-time.After(30 * time.Second):
			t.Errorf("%s did not stop; killing it", args[0])
			_ = engine.Kill() // it may have gone just now
			<-engine.done
		}
	})
	deadline := time.Now().Add(engineTimeout)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		probe := b.Namespace.Do(func() error { return up(ctx) })
		cancel()
		if probe == nil {
			return
		}
		select {
		case <-engine.done:
			t.Fatalf("%s ended: %v", args[0], engine.err)
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal(errors.Join(errors.New(args[0]+" did not come up"), probe))
		}
	}
}
