package hosts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/keys/keyring"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
	"github.com/berth-registry/berth/test/contract/harness"
)

// generous bounds what a test waits for on a machine that is busy.
const generous = time.Minute

// The names that certificates are asked for; the authority's name server has
// all of them at 127.0.0.1.
const (
	registryHost = "000000000000.dkr.ecr.us-east-1.registry.example"
	apiHost      = "api.ecr.us-east-1.registry.example"
)

// The account that exists with the authority, and its key in base64url.
const (
	externalID  = "kid-1"
	externalKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// authority is a certificate authority that speaks ACME: Let's Encrypt's pebble,
// with a name server of its own. It asks the ports http and tls of every host.
type authority struct {
	directory, ca string
	http, tls     string
	roots         *x509.CertPool
}

func startAuthority(t *testing.T) *authority {
	t.Helper()
	names, api, management := harness.FreeAddress(t), harness.FreeAddress(t), harness.FreeAddress(t)
	own := harness.NewCertificate(t)
	a := &authority{directory: "https://localhost:" + port(t, api) + "/dir", ca: own.Path, http: harness.FreeAddress(t), tls: harness.FreeAddress(t)}
	run(t, nil, "pebble-challtestsrv", "-dnsserver", names, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
		"-management", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "")
	config := filepath.Join(t.TempDir(), "pebble.json")
	text := fmt.Sprintf(`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q,
		"httpPort": %s, "tlsPort": %s, "externalAccountBindingRequired": true, "externalAccountMACKeys": {%q: %q},
		"retryAfter": {"authz": 1, "order": 1}, "profiles": {"default": {"description": "any", "validityPeriod": 7776000}}}}`,
		api, management, own.Path, own.KeyPath, port(t, a.http), port(t, a.tls), externalID, externalKey)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, []string{"PEBBLE_VA_NOSLEEP=1"}, "pebble", "-config", config, "-dnsserver", names)
	client := &http.Client{Timeout: generous, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: own.Pool}, DisableKeepAlives: true}}
	root := eventually(t, "the authority's root certificate", func() ([]byte, error) {
		answer, err := client.Get("https://localhost:" + port(t, management) + "/roots/0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = answer.Body.Close() }() // it was read
		return io.ReadAll(answer.Body)
	})
	a.roots = x509.NewCertPool()
	if !a.roots.AppendCertsFromPEM(root) {
		t.Fatalf("no certificate: %s", root)
	}
	return a
}

func port(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// run starts a program of the project's tools, which ends with the test.
func run(t *testing.T, env []string, program string, args ...string) {
	t.Helper()
	path := filepath.Join(harness.Root(t), ".tools", "bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not installed; run scripts/install-test-deps.sh", program)
	}
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // says that it was killed
		if t.Failed() {
			t.Logf("%s:\n%s", program, out.Bytes()[max(0, out.Len()-6000):])
		}
	})
}

// eventually asks until there is an answer.
func eventually[T any](t *testing.T, what string, ask func() (T, error)) T {
	t.Helper()
	for deadline := time.Now().Add(generous); ; time.Sleep(20 * time.Millisecond) {
		v, err := ask()
		if err == nil {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// node is one of several that serve the same hosts.
type node struct {
	*certs.Manager
	address string
}

// serveTLS takes connections with the manager's certificates until the test ends.
func serveTLS(t *testing.T, m *certs.Manager, address string) *node {
	t.Helper()
	l, err := tls.Listen("tcp", address, m.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, http.NotFoundHandler())
	return &node{m, l.Addr().String()}
}

func serve(t *testing.T, l net.Listener, h http.Handler) {
	t.Helper()
	server := &http.Server{Handler: h, ReadHeaderTimeout: generous, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(l) }) // ends when it is closed
	t.Cleanup(func() {
		_ = server.Close() // nothing is left to do for its clients
		work.Wait()
	})
}

// leaf connects as a client that trusts the authority, and returns the
// certificate.
func (n *node) leaf(a *authority, host string) (*x509.Certificate, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: generous}, "tcp", n.address, &tls.Config{ServerName: host, RootCAs: a.roots})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // the handshake is all
	return conn.ConnectionState().PeerCertificates[0], nil
}

func (a *authority) settings() *certs.ACME {
	return &certs.ACME{Directory: a.directory, DirectoryCA: a.ca, Email: "admin@registry.example", KeyID: externalID, HMACKey: externalKey}
}

// TestACMEOverManyNodes lets one node order a certificate, while the authority's
// question (tls-alpn-01) reaches another one: they share a database and keys and
// nothing else. A third, started later, serves the same certificate.
func TestACMEOverManyNodes(t *testing.T) {
	a := startAuthority(t)
	db := sqldbtest.SQLite(t)
	if err := db.Migrate(t.Context(), "schema_version", schema.Durable()...); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Open(filepath.Join(t.TempDir(), "keyring"), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	newNode := func(address string, hosts ...string) *node {
		t.Helper()
		cache, err := certs.NewCache(certs.NewDatabase(db, clock.System{}), ring)
		if err != nil {
			t.Fatal(err)
		}
		settings := a.settings()
		settings.Cache = cache
		settings.Hosts = hosts
		settings.Allow = func(_ context.Context, host string) bool { return host == registryHost || host == apiHost }
		m, err := certs.New(certs.Config{ACME: settings, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		return serveTLS(t, m, address)
	}
	asked, ordering := newNode(a.tls), newNode("127.0.0.1:0", registryHost)
	if !ordering.Expiry().IsZero() {
		t.Error("a certificate before one was ordered")
	}
	// The order is made at the start, without a client.
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- ordering.Run(ctx) }()
	end := eventually(t, "the listed host's certificate", func() (time.Time, error) {
		if end := ordering.Expiry(); !end.IsZero() {
			return end, nil
		}
		return time.Time{}, errors.New("no certificate yet")
	})
	stop()
	if err := <-ran; !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
	if asked.Expiry() != (time.Time{}) {
		t.Error("the node that was only asked has ordered as well")
	}
	first, err := ordering.leaf(a, registryHost)
	if err != nil {
		t.Fatal(err)
	}
	if !first.NotAfter.Equal(end) {
		t.Errorf("the certificate ends %s, Expiry says %s", first.NotAfter, end)
	}
	for i, n := range []*node{asked, newNode("127.0.0.1:0")} {
		leaf, err := n.leaf(a, registryHost)
		if err != nil || leaf.SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Errorf("node %d has another certificate: %v", i, err)
		}
	}
	// An allowed host is ordered when a client names it; others are not.
	leaf, err := ordering.leaf(a, apiHost)
	if err != nil || leaf.VerifyHostname(apiHost) != nil {
		t.Fatalf("%s: %v", apiHost, err)
	}
	if _, err := ordering.leaf(a, "api.ecr.eu-west-1.registry.example"); err == nil {
		t.Error("a host that is not allowed has a certificate")
	}
}

// TestACMEOverHTTP has the question come over http (http-01): nothing answers on
// the port for TLS. The files of the data directory then serve the next process,
// and a pair of files the hosts that ACME is not for.
func TestACMEOverHTTP(t *testing.T) {
	a := startAuthority(t)
	dir := filepath.Join(t.TempDir(), "acme")
	own := harness.NewCertificate(t)
	newManager := func() *certs.Manager {
		t.Helper()
		settings := a.settings()
		settings.Hosts, settings.Dir = []string{registryHost}, dir
		m, err := certs.New(certs.Config{ACME: settings, Certificate: own.Path, Key: own.KeyPath, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := newManager()
	l, err := net.Listen("tcp", a.http)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, m.HTTPHandler(nil))
	n := serveTLS(t, m, "127.0.0.1:0")
	first, err := n.leaf(a, registryHost)
	if err != nil {
		t.Fatal(err)
	}
	again, err := serveTLS(t, newManager(), "127.0.0.1:0").leaf(a, registryHost)
	if err != nil || again.SerialNumber.Cmp(first.SerialNumber) != 0 {
		t.Errorf("after a restart there is another certificate: %v", err)
	}
	for _, host := range []string{"localhost", ""} {
		conn, err := tls.Dial("tcp", n.address, &tls.Config{ServerName: host, RootCAs: own.Pool, InsecureSkipVerify: host == ""})
		if err != nil {
			t.Errorf("host %q: %v", host, err)
			continue
		}
		if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != "berth test" {
			t.Errorf("host %q is served with %q", host, got)
		}
		_ = conn.Close() // the handshake is all
	}
	if end := m.Expiry(); end.After(time.Now().Add(25 * time.Hour)) {
		t.Errorf("the first certificate to end is the file's, in a day; Expiry says %s", end)
	}
	// Everything else on that port is sent on to https.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get("http://" + a.http + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // the header is all
	if answer.StatusCode != http.StatusFound {
		t.Errorf("status %d", answer.StatusCode)
	}
}

// decode reads a JSON answer of a tool.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}
