// Package natstest runs NATS servers for tests. It is test support.
//
// It does not install the server; scripts/install-test-deps.sh does.
package natstest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
)

// Server is a NATS server of a test, with JetStream, that can be away for a while.
type Server struct {
	// Address is host:port, on the loopback.
	Address string

	t      testing.TB
	dir    string
	keeper *exec.Cmd // nil while it is down
	// lifeline is open while the server runs; it ends with the process, however that
	// ends.
	lifeline io.Closer
}

const (
	// program is the server, of Debian's package nats-server.
	program = "/usr/sbin/nats-server"
	wait    = 5 * time.Second
)

// keep runs the server until its standard input ends.
const keep = `
"$1" -c "$2/nats.conf" >"$2/log" 2>&1 &
cat >/dev/null
kill -KILL $!
wait $!
`

// Start starts a server that ends with the test. config is added to its configuration.
func Start(t testing.TB, config string) *Server {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("the NATS server for tests is missing; run scripts/install-test-deps.sh: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: l.Addr().String(), t: t, dir: t.TempDir()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("listen: %q\njetstream { store_dir: %q }\n%s\n", s.Address, filepath.Join(s.dir, "store"), config)
	if err := os.WriteFile(filepath.Join(s.dir, "nats.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Down)
	s.Up()
	return s
}

// Up starts the server and waits until it answers.
func (s *Server) Up() {
	s.t.Helper()
	sinktest.Until(s.t, "starting nats-server", func() error {
		s.Down()
		cmd := exec.Command("sh", "-c", keep, "sh", program, s.dir)
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		// A group of its own, so that Ctrl-C leaves the end to the lifeline.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		s.keeper, s.lifeline = cmd, in
		return s.ready()
	})
}

// ready waits until the server greets, or says that it cannot.
func (s *Server) ready() error {
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		err := s.greeted()
		if err == nil {
			return nil
		}
		log, _ := os.ReadFile(filepath.Join(s.dir, "log")) // without it the error stands alone
		if time.Now().After(deadline) || strings.Contains(string(log), "[FTL]") {
			return fmt.Errorf("%w\n%s", err, log)
		}
	}
}

func (s *Server) greeted() error {
	c, err := net.DialTimeout("tcp", s.Address, wait)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it was only read
	if err := c.SetDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "INFO ") {
		err = fmt.Errorf("it says %q", line)
	}
	return err
}

// Down kills the server.
func (s *Server) Down() {
	if s.keeper == nil {
		return
	}
	_ = s.lifeline.Close() // this is what ends it
	_ = s.keeper.Wait()    // it was killed
	s.keeper = nil
}

// Connections is how many clients are connected, by the server's monitoring, which its
// configuration has to switch on: "http: 127.0.0.1:-1".
func (s *Server) Connections() int {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(log), "http monitor on ")
	address, _, _ := strings.Cut(after, "\n")
	client := &http.Client{Timeout: wait, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + strings.TrimSpace(address) + "/connz")
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	var out struct {
		Connections int `json:"num_connections"`
	}
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		s.t.Fatal(err)
	}
	return out.Connections
}
