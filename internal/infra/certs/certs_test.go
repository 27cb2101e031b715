package certs_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/berth-registry/berth/internal/domain/schema"
	"github.com/berth-registry/berth/internal/infra/certs"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestMain(m *testing.M) {
	sqldbtest.Main(m, sqldbtest.Migrated("schema_version", schema.Durable()...))
}

// generous bounds what a test waits for on a machine that is busy.
const generous = 30 * time.Second

// pair is a certificate with its key, as PEM.
type pair struct {
	certificate, key []byte
	expires          time.Time
}

func newPair(t *testing.T, serial int64, expires time.Time, names ...string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: names,
		NotBefore: time.Unix(1, 0), NotAfter: expires, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), expires,
	}
}

// log is a logger's text that may be read while it grows.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// world is a server that takes connections with a Manager's certificates.
type world struct {
	certificate, key string
	manager          *certs.Manager
	log              *log
	address          string
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, first pair, poll time.Duration) *world {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // the last of the cleanups
	dir := t.TempDir()
	w := &world{certificate: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), log: &log{}}
	write(t, w.certificate, first.certificate)
	write(t, w.key, first.key)
	var err error
	w.manager, err = certs.New(certs.Config{
		Certificate: w.certificate, Key: w.key, Poll: poll,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", w.manager.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { _ = server.Serve(l) }) // ends when it is closed
	ran := make(chan error, 1)
	go func() { ran <- w.manager.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
		_ = server.Close() // nobody is connected
		work.Wait()
	})
	return w
}

// serial makes a handshake and returns the serial number of the certificate.
func (w *world) serial(t *testing.T, edit ...func(*tls.Config)) int64 {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10} // the serial number is what is looked at
	for _, e := range edit {
		e(c)
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: generous}, "tcp", w.address, c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(generous); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %s", what, generous)
		}
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour).Truncate(time.Second)
	first, second, third := newPair(t, 1, year), newPair(t, 2, year.Add(time.Hour)), newPair(t, 3, year)
	w := start(t, first, time.Millisecond)
	if got := w.serial(t); got != 1 || !w.manager.Expiry().Equal(year) {
		t.Fatalf("serial %d, expiry %s", got, w.manager.Expiry())
	}

	// The new certificate without its key is not taken, however long that lasts.
	write(t, w.certificate, second.certificate)
	eventually(t, "the error about a mismatch", func() bool { return w.log.count("level=ERROR") == 1 })
	if w.log.count("private key does not match public key") != 1 {
		t.Error("the log does not say that the two do not match")
	}
	if got := w.serial(t); got != 1 {
		t.Fatalf("serial %d while the key is missing", got)
	}
	write(t, w.key, second.key)
	eventually(t, "the second certificate", func() bool { return w.serial(t) == 2 })
	if !w.manager.Expiry().Equal(second.expires) {
		t.Error(w.manager.Expiry())
	}

	// Rubbish, then nothing at all.
	write(t, w.certificate, []byte("rubbish"))
	eventually(t, "the error about rubbish", func() bool { return w.log.count("level=ERROR") == 2 })
	if err := os.Remove(w.certificate); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the error about a missing file", func() bool { return w.log.count("level=ERROR") == 3 })
	if got := w.serial(t); got != 2 {
		t.Fatalf("serial %d", got)
	}

	// A chain that breaks off is not taken: its first certificate would be good.
	chain := slices.Concat(third.certificate, first.certificate)
	write(t, w.key, third.key)
	write(t, w.certificate, chain[:len(chain)-40])
	eventually(t, "the error about half a chain", func() bool { return w.log.count("breaks off") == 1 })
	if got := w.serial(t); got != 2 {
		t.Fatalf("serial %d", got)
	}
	write(t, w.certificate, chain)
	eventually(t, "the third certificate", func() bool { return w.serial(t) == 3 })
}

// TestNeverAMismatch replaces the pair over and over, file after file, while
// clients connect: every handshake succeeds, which a certificate with another's
// key cannot.
func TestNeverAMismatch(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour)
	pairs := []pair{newPair(t, 1, year), newPair(t, 2, year), newPair(t, 3, year)}
	w := start(t, pairs[0], time.Millisecond)
	seen := map[int64]bool{}
	for i := range 100 {
		next := pairs[i%len(pairs)]
		write(t, w.certificate, next.certificate)
		seen[w.serial(t)] = true
		write(t, w.key, next.key)
		seen[w.serial(t)] = true
	}
	eventually(t, "the last certificate", func() bool { return w.serial(t) == 1 })
	if len(seen) < 2 {
		t.Errorf("only %v were served", seen)
	}
}

func TestReloadAtOnce(t *testing.T) {
	year := time.Now().Add(365 * 24 * time.Hour)
	second, third := newPair(t, 2, year), newPair(t, 3, time.Now().Add(-time.Hour))
	w := start(t, newPair(t, 1, year), time.Hour)
	write(t, w.certificate, second.certificate)
	w.manager.Reload()
	if w.log.count("level=ERROR") != 1 || w.serial(t) != 1 {
		t.Errorf("serial %d, %d errors", w.serial(t), w.log.count("level=ERROR"))
	}
	write(t, w.key, second.key)
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second certificate, at SIGHUP", func() bool { return w.serial(t) == 2 })
	write(t, w.certificate, third.certificate)
	write(t, w.key, third.key)
	w.manager.Reload()
	if w.serial(t) != 3 || w.log.count("it has expired") != 1 {
		t.Error("an expired certificate is served and not reported")
	}
}

func TestTLSConfig(t *testing.T) {
	w := start(t, newPair(t, 1, time.Now().Add(time.Hour)), time.Hour)
	for _, protocol := range []string{"h2", "http/1.1"} {
		conn, err := tls.Dial("tcp", w.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState(); got.NegotiatedProtocol != protocol || got.Version != tls.VersionTLS13 {
			t.Errorf("%s, version %x", got.NegotiatedProtocol, got.Version)
		}
		_ = conn.Close() // only the handshake counts
	}
	if got := w.serial(t, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); got != 1 {
		t.Error(got)
	}
	if conn, err := tls.Dial("tcp", w.address, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		_ = conn.Close() // it should not be
		t.Error("TLS 1.1 is spoken")
	}
	fallback := http.NotFoundHandler()
	answer := httptest.NewRecorder()
	w.manager.HTTPHandler(fallback).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/.well-known/acme-challenge/x", nil))
	if answer.Code != http.StatusNotFound {
		t.Error(answer.Code)
	}
}

func TestSettingsThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	good, other := newPair(t, 1, time.Now().Add(time.Hour)), newPair(t, 2, time.Now().Add(time.Hour))
	certificate, key, otherKey := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "other")
	write(t, certificate, good.certificate)
	write(t, key, good.key)
	write(t, otherKey, other.key)
	acme := func(edit func(*certs.ACME)) certs.Config {
		a := certs.ACME{Hosts: []string{"registry.example.com"}, Dir: dir}
		edit(&a)
		return certs.Config{ACME: &a}
	}
	for _, c := range []struct {
		name string
		cfg  certs.Config
		part string // of the error; "" is none
	}{
		{"files", certs.Config{Certificate: certificate, Key: key}, ""},
		{"ACME", acme(func(*certs.ACME) {}), ""},
		{"an external account", acme(func(a *certs.ACME) { a.KeyID, a.HMACKey = "kid", "c2VjcmV0LXNlY3JldC1zZWNyZXQ=" }), ""},
		{"nothing", certs.Config{}, "give a TLS certificate"},
		{"no key", certs.Config{Certificate: certificate}, "give both"},
		{"another key", certs.Config{Certificate: certificate, Key: otherKey}, "does not match"},
		{"no such file", certs.Config{Certificate: certificate, Key: filepath.Join(dir, "none")}, "no such file"},
		{"no hosts", acme(func(a *certs.ACME) { a.Hosts = nil }), "name the hosts"},
		{"a wildcard", acme(func(a *certs.ACME) { a.Hosts = []string{"*.example.com"} }), "wildcard"},
		{"no domain", acme(func(a *certs.ACME) { a.Hosts = []string{"localhost"} }), "not a host name"},
		{"no directory for the cache", acme(func(a *certs.ACME) { a.Dir = "" }), "needs a directory"},
		{"http", acme(func(a *certs.ACME) { a.Directory = "http://ca.example.com/directory" }), "https"},
		{"no CA file", acme(func(a *certs.ACME) { a.DirectoryCA = filepath.Join(dir, "none") }), "no such file"},
		{"a CA file without certificates", acme(func(a *certs.ACME) { a.DirectoryCA = key }), "holds no certificate"},
		{"half an external account", acme(func(a *certs.ACME) { a.KeyID = "kid" }), "give both"},
		{"a wrong HMAC key", acme(func(a *certs.ACME) { a.KeyID, a.HMACKey = "kid", "!" }), "base64url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.Log = slog.New(slog.DiscardHandler)
			_, err := certs.New(c.cfg)
			if c.part == "" && err != nil || c.part != "" && (err == nil || !strings.Contains(err.Error(), c.part)) {
				t.Errorf("%v, want %q", err, c.part)
			}
		})
	}
}
