// Package target starts what the benchmark measures: Berth in its shapes, other
// registries, and a static file server, each on a loopback address with a store of its
// own that is empty at first. It also reads what their processes have used. What is
// asked of them is the business of the packages load and scenario.
package target

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// API is how the signed API of a Berth is called.
type API struct {
	// Endpoint is the base URL, http://127.0.0.1:41234.
	Endpoint string
	// Region is the region to sign for.
	Region string
	// AccessKey and SecretKey are the root key of the default account.
	AccessKey, SecretKey string
}

// Target is a kind of server that can be started.
type Target struct {
	// Name is the name in reports, such as "berth-plain".
	Name string
	// Registry says that it speaks the OCI distribution API below /v2/.
	Registry bool
	// Start starts one that keeps everything below dir, a directory that exists and is
	// empty, and waits until it answers. It runs until Stop or until this program ends.
	Start func(ctx context.Context, dir string) (*Server, error)
}

// Targets are all kinds, each of which starts if the directory of tools
// (scripts/install-bench-peers.sh fills it) and the machine hold what it needs; berth is
// the path of a berth binary.
func Targets(tools, berth string) []Target {
	return []Target{
		Berth("berth", berth),
		Berth("berth-plain", berth, "--blobs-encryption", "none"),
		scaleOut(tools, berth),
		distribution(tools),
		dockerRegistry(),
		zot(tools),
		nginx(),
		leastWork(),
	}
}

// kind is a target whose function start makes a server whole; what it began ends where it
// failed. The directory's path is absolute for it.
func kind(name string, registry bool, start func(ctx context.Context, s *Server, dir string) error) Target {
	return Target{Name: name, Registry: registry, Start: func(ctx context.Context, dir string) (*Server, error) {
		s := &Server{Name: name}
		dir, err := filepath.Abs(dir)
		if err == nil {
			err = start(ctx, s, dir)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), s.Stop())
		}
		return s, nil
	}}
}

// Server is a registry, or a file server, that runs on loopback with a store of its own.
// Restart, Stop and Command are not for several goroutines at once.
type Server struct {
	// Name is the target's.
	Name string
	// Base is the URL that it is reached at, http://127.0.0.1:41234; for Berth the one of
	// the default account's registry.
	Base string
	// Host is the value of the Host header.
	Host string
	// Authorization is the header's value for requests below /v2/, "" where the target
	// asks for none.
	Authorization string
	// API is for the signed API, nil for those that have none.
	API *API
	// Root is the directory that a file server serves at /, "" for others.
	Root string
	// Blobs says that it knows uploads and blobs, and nothing else of a registry.
	Blobs bool
	// Version is what the report shows.
	Version string
	// Admin is the base URL of Berth's metrics and profiles, "" for others.
	Admin string
	// Config is the text of Berth's configuration file, "" for others. Restart writes it
	// before it starts the server.
	Config string

	config  string // path of Config, "" where there is none
	path    string // that is asked for to see whether it answers
	program program
	process *process   // nil while it does not run
	behind  []*process // what was started for it, in the order of their starts
}

const (
	startTimeout = 60 * time.Second
	// stopTimeout is more than Berth takes until it gives requests up that are under way.
	stopTimeout = 45 * time.Second
)

// Restart stops the server and starts it again on the same store and address. The
// duration is the time from the start of its process to the first request that it
// answered well.
func (s *Server) Restart(ctx context.Context) (time.Duration, error) {
	if err := s.process.stop(stopTimeout); err != nil {
		return 0, err
	}
	return s.start(ctx)
}

// Stop ends the server and what was started for it. Its store stays.
func (s *Server) Stop() error {
	var all []error
	for _, p := range slices.Backward(append(slices.Clip(s.behind), s.process)) {
		all = append(all, p.stop(stopTimeout))
	}
	s.process, s.behind = nil, nil
	return errors.Join(all...)
}

// Command runs a command of the Berth's own program beside the server, such as "gc",
// "run", and returns what it printed. For others it is an error.
func (s *Server) Command(ctx context.Context, args ...string) (string, error) {
	if s.API == nil {
		return "", fmt.Errorf("%s has no commands", s.Name)
	}
	return output(ctx, s.program.env, s.program.path, args...)
}

// start starts the process and waits until it answers.
func (s *Server) start(ctx context.Context) (time.Duration, error) {
	if s.config != "" {
		if err := os.WriteFile(s.config, []byte(s.Config), 0o600); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	p, err := s.program.start()
	if err != nil {
		return 0, err
	}
	s.process = p
	return s.await(ctx, began)
}

// await asks every other millisecond until there is an answer.
func (s *Server) await(ctx context.Context, began time.Time) (time.Duration, error) {
	ctx, cancel := context.WithDeadline(ctx, began.Add(startTimeout))
	defer cancel()
	// Connections of its own: those of the measurement are not to be warm.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := s.ask(ctx, client)
		if err == nil {
			return time.Since(began), nil
		}
		select {
		case <-s.process.done:
			return 0, fmt.Errorf("%s ended before it answered: %w\n%s", s.Name, s.process.err, s.program.tail())
		case <-ctx.Done():
			return 0, fmt.Errorf("%s does not answer: %w\n%s", s.Name, err, s.program.tail())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// ask makes one request. Before the server's authorization is known, and of an empty file
// server, a refusal is an answer too.
func (s *Server) ask(ctx context.Context, client *http.Client) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Base+s.path, nil)
	if err != nil {
		return err
	}
	if s.Authorization != "" {
		r.Header.Set("Authorization", s.Authorization)
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // the status is all
	if answer.StatusCode >= 500 || (s.Authorization != "" && answer.StatusCode != http.StatusOK) {
		return fmt.Errorf("GET %s: %s", s.path, answer.Status)
	}
	return nil
}

// freeAddress is an address on the loopback that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// installed is the path of a program in the directory of tools.
func installed(tools, name string) (string, error) {
	path, err := filepath.Abs(filepath.Join(tools, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not there; run scripts/install-bench-peers.sh: %w", name, err)
	}
	return path, nil
}

// fromDebian is the path of a program that a package of Debian's brings.
func fromDebian(name string) (string, error) {
	for _, path := range []string{"/usr/sbin/" + name, "/usr/bin/" + name} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not there; run scripts/install-test-deps.sh: %w", name, err)
	}
	return path, nil
}

// output runs a command to its end; an error holds what it wrote to standard error.
func output(ctx context.Context, env []string, path string, args ...string) (string, error) {
	var errs strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Stderr = env, &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(path), strings.Join(args, " "), err, errs.String())
	}
	return string(out), nil
}
