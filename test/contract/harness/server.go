package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Options change how a server is started. The zero value is the first start of
// a server that was told nothing but where to listen.
type Options struct {
	// Data is the data directory; "" makes a temporary one.
	Data string
	// Listen is the address, host:port; "" is a free port on 127.0.0.1.
	Listen string
	// Args follow the flags that the harness gives.
	Args []string
	// Env is added to the environment, KEY=value.
	Env []string
	// Config is the text of a configuration file; "" is none.
	Config string
	// Namespace runs the server, and fsck, in there.
	Namespace *Namespace
	// TLS serves HTTPS with the certificate.
	TLS *Certificate
	// Shape is where the server keeps its things; "" is the shape of the run, or
	// what stands behind Data already.
	Shape Shape
	// Backing is what an earlier server was started on: this one is another node.
	Backing *Backing
}

// Server is one berth serve process with its data directory. It may be killed
// and started again; address and data stay.
type Server struct {
	// Data is the data directory.
	Data string
	// Backing is what stands behind the server besides its data directory.
	Backing *Backing
	// Addr is the address that the server listens on, Host the same with the
	// name localhost, as a user would write it in an image name.
	Addr, Host string
	// Endpoint is http://Host, or https.
	Endpoint string
	// PublicHost is the address of the public registry and the gallery as Host is,
	// PublicEndpoint its URL.
	PublicHost, PublicEndpoint string
	// Account and Region are those of the default registry.
	Account, Region string
	// AccessKeyID and SecretAccessKey are the root key out of the credentials
	// file.
	AccessKeyID, SecretAccessKey string
	// Ready is how long the last start took until /readyz answered 200.
	Ready time.Duration

	binary    string
	args      []string // of serve
	settings  []string // of fsck
	env       []string
	in        *Namespace
	transport *http.Transport
	log       string // path
	process   *process
}

// process is a started program. err may be read once done is closed.
type process struct {
	*os.Process
	done chan struct{}
	err  error
}

// watch waits for the end of a program that was started.
func watch(cmd *exec.Cmd) *process {
	p := &process{Process: cmd.Process, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p
}

// startTimeout is how long a server may take until it is ready: far more than
// it needs, for a machine that is busy with other tests.
const startTimeout = 30 * time.Second

// Start starts a server and waits until it is ready. It is killed when the test
// ends, and the end of its log printed if the test failed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := Prepare(t, o)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.ReadCredentials(t)
	return s
}

// StartNode starts another node of the deployment that the first server belongs
// to, with a data directory of its own.
func StartNode(t testing.TB, first *Server, o Options) *Server {
	t.Helper()
	o.Backing = first.Backing
	s := Prepare(t, o)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.AccessKeyID, s.SecretAccessKey = first.AccessKeyID, first.SecretAccessKey
	return s
}

// Prepare makes a server ready to be started, with Start.
func Prepare(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{
		binary: Binary(t), Data: o.Data, Addr: o.Listen, Account: "000000000000", Region: "us-east-1",
		in: o.Namespace, log: filepath.Join(t.TempDir(), "berth.log"),
	}
	if s.Data == "" {
		s.Data = filepath.Join(t.TempDir(), "data")
	}
	if s.Addr == "" {
		s.Addr = FreeAddress(t)
	}
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Host = "localhost:" + port
	s.Endpoint = "http://" + s.Host
	public := FreeAddress(t)
	if _, port, err = net.SplitHostPort(public); err != nil {
		t.Fatal(err)
	}
	s.PublicHost = "localhost:" + port
	s.PublicEndpoint = "http://" + s.PublicHost
	s.args = []string{"serve", "--data", s.Data, "--listen", s.Addr, "--public-listen", public}
	s.transport = &http.Transport{DialContext: s.in.Dial, MaxIdleConnsPerHost: 256}
	if o.TLS != nil {
		s.Endpoint, s.PublicEndpoint = "https://"+s.Host, "https://"+s.PublicHost
		s.args = append(s.args, "--tls-cert", o.TLS.Path, "--tls-key", o.TLS.KeyPath)
		s.transport.TLSClientConfig = &tls.Config{RootCAs: o.TLS.Pool, MinVersion: tls.VersionTLS12}
	}
	if o.Config != "" {
		path := filepath.Join(t.TempDir(), "berth.yaml")
		if err := os.WriteFile(path, []byte(o.Config), 0o600); err != nil {
			t.Fatal(err)
		}
		s.settings = append(s.settings, "--config", path)
	}
	s.settings = append(s.settings, o.Args...)
	s.args = append(s.args, s.settings...)
	s.Backing = backingOf(t, o, s.Data)
	s.env = append(append(plainEnv(t.TempDir()), s.Backing.Env...), o.Env...)
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", tail(s.Log(), 4000))
		}
	})
	return s
}

// FreeAddress is an address on 127.0.0.1 that nobody listens on. Its port is not one of
// those that the system gives to connections (from 32768 on, on Linux), so that none of
// them has it before whoever is to listen there.
func FreeAddress(t testing.TB) string {
	t.Helper()
	const first, last, tries = 10_000, 32_000, 100
	var err error
	for range tries {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(last-first)))); err == nil {
			_ = l.Close() // it was only tried
			return l.Addr().String()
		}
	}
	t.Fatal(err)
	return ""
}

// Start starts the process and waits until it is ready. An error holds the end
// of the server's log.
func (s *Server) Start(ctx context.Context) error {
	if err := s.Launch(); err != nil {
		return err
	}
	began := time.Now()
	// Connections to a server that was killed, and the probe's own, are not for
	// others to use.
	s.transport.CloseIdleConnections()
	transport := s.transport.Clone()
	transport.DisableKeepAlives = true
	client := &http.Client{Timeout: 2 * time.Second, Transport: transport}
	for time.Since(began) < startTimeout {
		select {
		case <-s.process.done:
			return fmt.Errorf("berth serve ended before it was ready: %w\n%s", s.process.err, tail(s.Log(), 4000))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(r)
		if err != nil {
			continue
		}
		_ = answer.Body.Close() // the status is all
		if answer.StatusCode == http.StatusOK {
			s.Ready = time.Since(began)
			return nil
		}
	}
	return fmt.Errorf("berth was not ready after %s\n%s", startTimeout, tail(s.Log(), 4000))
}

// Launch starts the process and does not wait.
func (s *Server) Launch() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	cmd := exec.Command(s.binary, s.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that dies leaves no server
	if err := s.in.Start(cmd); err != nil {
		return fmt.Errorf("berth cannot be started: %w", err)
	}
	s.process = watch(cmd)
	return nil
}

// Kill ends the process with SIGKILL and waits until it is gone. It does nothing
// to a server that is not running.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Kill() // it may have ended by itself
	<-s.process.done
	s.process = nil
}

// Stop ends the process with SIGTERM, waits, and returns how it ended: nil is
// exit status 0.
func (s *Server) Stop(ctx context.Context) error {
	if s.process == nil {
		return errors.New("the server is not running")
	}
	if err := s.process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.Wait(ctx)
}

// Wait waits until the process ends by itself, and returns how.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.process.done:
		err := s.process.err
		s.process = nil
		return err
	case <-ctx.Done():
		return fmt.Errorf("the server has not ended: %w", ctx.Err())
	}
}

// Pid is the running process's number.
func (s *Server) Pid() int { return s.process.Pid }

// Log is everything that the server has written so far, in all its lives.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Command prepares a berth command, such as fsck or env, with the server's
// environment. It is not tied to the server's data directory.
func (s *Server) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.binary, args...)
	cmd.Env = s.env
	return cmd
}

// Binary is the path of the program.
func (s *Server) Binary() string { return s.binary }

// Fsck runs berth fsck on the data directory, through the running server or
// without one. The error is nil when everything is whole; the output always
// holds what the command said.
func (s *Server) Fsck(ctx context.Context) (output string, err error) {
	cmd := s.Command(ctx, append([]string{"fsck", "--data", s.Data}, s.settings...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.in.Do(cmd.Start); err != nil {
		return "", err
	}
	err = cmd.Wait()
	return out.String(), err
}

// MustFsck fails the test unless everything that is stored is whole.
func (s *Server) MustFsck(t testing.TB) string {
	t.Helper()
	out, err := s.Fsck(t.Context())
	if err != nil {
		t.Fatalf("berth fsck: %v\n%s", err, out)
	}
	return out
}

// PeakMemory is the most memory that the process has held at once, in bytes
// (VmHWM).
func (s *Server) PeakMemory(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatal("the kernel does not tell VmHWM")
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// OpenFiles is how many descriptors the process holds.
func (s *Server) OpenFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// SettledFiles waits until the number of open descriptors is not above the goal,
// or has not changed for a second, and returns it.
func (s *Server) SettledFiles(t testing.TB, goal int) int {
	t.Helper()
	last, since := s.OpenFiles(t), time.Now()
	for last > goal && time.Since(since) < time.Second {
		time.Sleep(50 * time.Millisecond)
		if n := s.OpenFiles(t); n != last {
			last, since = n, time.Now()
		}
	}
	return last
}

// ReadCredentials takes the root key from what the first start wrote; Start does it by
// itself.
func (s *Server) ReadCredentials(t testing.TB) {
	t.Helper()
	var b []byte
	err := s.in.Do(func() (err error) {
		b, err = os.ReadFile(filepath.Join(s.Data, "credentials"))
		return err
	})
	if err != nil {
		t.Fatalf("the first start wrote no credentials: %v", err)
	}
	m := regexp.MustCompile(`(?m)^\[default\]\naws_access_key_id = (\S+)\naws_secret_access_key = (\S+)$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("not an AWS credentials file:\n%s", b)
	}
	s.AccessKeyID, s.SecretAccessKey = string(m[1]), string(m[2])
}

func tail(text string, n int) string {
	if len(text) > n {
		return "..." + text[len(text)-n:]
	}
	return text
}
