package harness

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Distribution is Debian's registry (docker-registry, distribution 2.8): a registry
// of others, which knows no logins here. It may be killed and started again; address
// and data stay.
type Distribution struct {
	// Host is its address with the port, 127.0.0.1:41234.
	Host string
	// Registry is a client of it.
	Registry *Registry

	box     *Box
	dir     string
	process *process
}

// StartDistribution starts one on a loopback address, with an empty storage in a
// temporary directory. It is killed when the test ends.
func StartDistribution(t testing.TB) *Distribution {
	t.Helper()
	d := &Distribution{Host: FreeAddress(t), dir: t.TempDir(), box: NewBox(t, "docker-registry")}
	// Its own transport: connections end with the process.
	d.Registry = NewRegistry("http://"+d.Host, "", &http.Transport{DisableKeepAlives: true})
	config := fmt.Sprintf("version: 0.1\nlog: {level: warn, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(d.dir, "storage"), d.Host)
	if err := os.WriteFile(filepath.Join(d.dir, "config.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.Kill()
		if text, err := os.ReadFile(filepath.Join(d.dir, "log")); err == nil && t.Failed() {
			t.Logf("the end of docker-registry's log:\n%s", tail(string(text), 3000))
		}
	})
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// Start starts the process and waits until it answers.
func (d *Distribution) Start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	// It ends with Kill, not with a context.
	cmd := d.box.Command(context.WithoutCancel(ctx), "docker-registry", "serve", filepath.Join(d.dir, "config.yml"))
	// Not the box's environment: the program takes REGISTRY_AUTH_FILE for a setting.
	cmd.Env, cmd.Stdout, cmd.Stderr = plainEnv(d.dir), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that dies leaves no registry
	if err := d.box.Namespace.Start(cmd); err != nil {
		return fmt.Errorf("docker-registry cannot be started: %w", err)
	}
	d.process = watch(cmd)
	for began := time.Now(); ; {
		_, err := d.Registry.Do(ctx, Request{Method: http.MethodGet, Path: "/v2/"}, http.StatusOK)
		if err == nil {
			return nil
		}
		if time.Since(began) > startTimeout {
			return fmt.Errorf("docker-registry does not answer: %w", err)
		}
		select {
		case <-d.process.done:
			return fmt.Errorf("docker-registry ended: %w", d.process.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the process with SIGKILL and waits until it is gone. It does nothing to
// one that is not running.
func (d *Distribution) Kill() {
	if d.process == nil {
		return
	}
	_ = d.process.Kill() // it may have ended by itself
	<-d.process.done
	d.process = nil
}
