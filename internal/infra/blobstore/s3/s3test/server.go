// Package s3test runs an S3 server (versitygw over a temporary directory) for
// tests, and a proxy that disturbs what goes to it. It supports tests and is not
// for programs.
//
// It does not install the server; scripts/install-test-deps.sh does.
package s3test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	startTimeout = 60 * time.Second
	callTimeout  = 60 * time.Second
	accessKey    = "BERTHTESTROOT"
	region       = "eu-north-1"
	install      = "run scripts/install-test-deps.sh --clients"
	// portAttempts is how often another port is tried when a stranger took the
	// one that was free a moment ago.
	portAttempts = 5
)

// Server is a running S3 server. It wants path-style addresses.
type Server struct {
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string
	Region    string

	dir      string
	keeper   *exec.Cmd
	lifeline *os.File // while this is open, the server runs
	client   *s3.Client
}

// shared is the server of this process, started by the first test that asks.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Start returns the S3 server of the test process, which it starts if need be.
// The server ends with the process, however that ends.
func Start(t testing.TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Run()
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server
}

// Run starts a server of the caller's own, who stops it. It ends with the
// process too.
func Run() (*Server, error) {
	binary, err := find()
	if err != nil {
		return nil, err
	}
	for range portAttempts {
		var s *Server
		if s, err = run(binary); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// find is the path of the server's program.
func find() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "berth", "main.go")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("s3test: the test does not run inside the project's directory")
		}
		dir = parent
	}
	binary := filepath.Join(dir, ".tools", "bin", "versitygw")
	if _, err := os.Stat(binary); err != nil {
		return "", fmt.Errorf("s3test: the S3 server for tests is missing; %s: %w", install, err)
	}
	return binary, nil
}

// keep runs the server until its standard input ends, which the kernel sees to
// however the test process ends, or until the server ends by itself, and removes
// its files.
const keep = `
"$1" --port "$2" --region "$3" --quiet --keep-alive posix --sidecar "$4/meta" "$4/data" >"$4/log" 2>&1 &
cat >/dev/null
kill -KILL $!
wait $!
rm -rf "$4"
`

func run(binary string) (_ *Server, err error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 20)
	_, _ = rand.Read(secret) // cannot fail
	s := &Server{Endpoint: "http://" + port, AccessKey: accessKey, SecretKey: hex.EncodeToString(secret), Region: region}
	if s.dir, err = os.MkdirTemp(temporary(), "berth-s3-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	for _, name := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(s.dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.lifeline = write
	cmd := exec.Command("sh", "-c", keep, "sh", binary, port, s.Region, s.dir)
	cmd.Dir, cmd.Stdin = s.dir, read
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.AccessKey, "ROOT_SECRET_KEY="+s.SecretKey)
	// A group of its own, so that Ctrl-C leaves the cleaning up to the end of
	// the lifeline.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = read.Close() // the child has its own
	if err != nil {
		return nil, fmt.Errorf("s3test: starting the S3 server: %w", err)
	}
	s.keeper = cmd
	s.client = s3.New(s3.Options{
		BaseEndpoint: aws.String(s.Endpoint), Region: s.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		// No connections are left behind.
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	return s, s.waitReady()
}

// freePort is an address on the loopback that nobody listens at now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// temporary is where the server's directory goes: into memory where there is
// room, else to the disk.
func temporary() string {
	const memory, room = "/dev/shm", 2 << 30
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err == nil && fs.Bavail*uint64(fs.Bsize) >= room {
		return memory
	}
	return os.TempDir()
}

func (s *Server) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		// Only our own server knows the secret.
		_, err := s.client.ListBuckets(ctx, &s3.ListBucketsInput{}, func(o *s3.Options) { o.RetryMaxAttempts = 1 })
		if err == nil {
			return nil
		}
		log, _ := os.ReadFile(filepath.Join(s.dir, "log")) // without it the error stands alone
		taken := strings.Contains(string(log), "address already in use")
		select {
		case <-ctx.Done():
			taken = true
		case <-time.After(20 * time.Millisecond):
		}
		if taken {
			return fmt.Errorf("s3test: the S3 server did not start: %w\n%s", err, log)
		}
	}
}

// MakeBucket makes a bucket.
func (s *Server) MakeBucket(ctx context.Context, name string) error {
	_, err := s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
	return err
}

// RemoveBucket removes a bucket with all that is in it.
func (s *Server) RemoveBucket(name string) error {
	return errors.Join(os.RemoveAll(filepath.Join(s.dir, "data", name)), os.RemoveAll(filepath.Join(s.dir, "meta", name)))
}

// Bucket makes a bucket for the test and removes it at the test's end.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	suffix := make([]byte, 8)
	_, _ = rand.Read(suffix) // cannot fail
	name := "test-" + hex.EncodeToString(suffix)
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := s.MakeBucket(ctx, name); err != nil {
		t.Fatalf("s3test: making a bucket: %v", err)
	}
	t.Cleanup(func() {
		if err := s.RemoveBucket(name); err != nil {
			t.Errorf("s3test: removing a bucket: %v", err)
		}
	})
	return name
}

// Client returns a client of the SDK for the server, for tests that look behind
// the store. It keeps no connections open.
func (s *Server) Client() *s3.Client { return s.client }

// Stop ends the server and waits until its files are gone.
func (s *Server) Stop() error {
	if s.keeper == nil {
		if s.lifeline != nil {
			_ = s.lifeline.Close() // nobody holds on to it
		}
		return os.RemoveAll(s.dir)
	}
	if err := s.lifeline.Close(); err != nil {
		return err
	}
	return s.keeper.Wait()
}
