// Package certs gives the server its TLS certificates: from a pair of files,
// which are read again when they change, or from a certificate authority that
// speaks ACME (RFC 8555), which renews them by itself.
//
// It does not listen and does not know which hosts exist: it is told the names.
// The ACME protocol is golang.org/x/crypto/acme/autocert's; this package chooses
// when it is asked, and keeps what it stores, sealed, where every node reads it.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// Config says where certificates come from: files, ACME, or both. With both, the
// files serve the names that ACME is not asked for, and clients that name none.
type Config struct {
	// Certificate and Key are PEM files; both or neither.
	Certificate, Key string
	// Poll is how often the files are looked at; 0 is DefaultPoll.
	Poll time.Duration
	// ACME is nil without ACME.
	ACME *ACME
	Log  *slog.Logger
	// Clock judges how old a certificate is; nil is the machine's.
	Clock clock.Clock
}

// DefaultPoll is how often the files are looked at. They are two small files;
// certificates are replaced days before they end.
const DefaultPoll = 10 * time.Second

// Manager holds the certificates. It is safe for concurrent use.
type Manager struct {
	cfg   Config
	files *files // nil without files
	acme  *autocert.Manager

	mu     sync.Mutex
	served map[string]time.Time // by host: the end of what ACME gave last
}

// New reads the files, which have to be good at the start, and prepares ACME,
// which is not asked yet. Its errors say what to change.
func New(cfg Config) (*Manager, error) {
	if cfg.Log == nil {
		return nil, errors.New("certs: needs a Log")
	}
	if cfg.Poll <= 0 {
		cfg.Poll = DefaultPoll
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if (cfg.Certificate == "") != (cfg.Key == "") {
		return nil, errors.New("give both the TLS certificate and its key, or neither")
	}
	if cfg.Certificate == "" && cfg.ACME == nil {
		return nil, errors.New("give a TLS certificate and its key, or ACME settings")
	}
	m := &Manager{cfg: cfg, served: map[string]time.Time{}}
	if cfg.Certificate != "" {
		m.files = &files{certificate: cfg.Certificate, key: cfg.Key, log: cfg.Log, clk: cfg.Clock}
		if err := m.files.load(); err != nil {
			return nil, err
		}
	}
	if cfg.ACME != nil {
		var err error
		if m.acme, err = cfg.ACME.manager(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// TLSConfig is for the server's listeners: TLS 1.2 and 1.3 with Go's choice of
// suites, HTTP/2 before HTTP/1.1, and ACME's challenge where it is used.
//
// Session tickets are Go's: each process has keys of its own, changed daily. A
// client that resumes a session at another node gets a full handshake there.
func (m *Manager) TLSConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: m.certificate}
	if m.acme != nil {
		c.NextProtos = append(c.NextProtos, acme.ALPNProto)
	}
	return c
}

// certificate chooses for a handshake.
func (m *Manager) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if m.acme == nil {
		return m.files.current.Load(), nil
	}
	host := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if err := m.acme.HostPolicy(hello.Context(), host); err != nil {
		if m.files != nil {
			return m.files.current.Load(), nil
		}
		m.cfg.Log.Debug("a client asked for another host", "error", err)
		return nil, err
	}
	cert, err := m.acme.GetCertificate(hello)
	if err != nil {
		m.cfg.Log.Warn("no certificate from ACME for a client", "host", host, "error", err)
		return nil, err
	}
	if !slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) { // not for a challenge
		m.gave(host, cert)
	}
	return cert, nil
}

// HTTPHandler answers ACME's http-01 challenges, on port 80, and leaves all else
// to fallback; nil sends browsers on to https. Without ACME it is fallback, which
// then must not be nil. Call it before the first handshake: from then on http-01
// is tried where tls-alpn-01 fails.
func (m *Manager) HTTPHandler(fallback http.Handler) http.Handler {
	if m.acme == nil {
		return fallback
	}
	return m.acme.HTTPHandler(fallback)
}

// Run looks at the files, at every poll and at SIGHUP, and gets the certificates
// of ACME's listed hosts, so that the first client does not wait and a host
// without clients is renewed. It ends with ctx, which it returns the error of.
func (m *Manager) Run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	if m.acme != nil {
		for _, host := range m.cfg.ACME.Hosts {
			work.Go(func() { m.obtain(ctx, host) })
		}
	}
	if m.files == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	tick := time.NewTicker(m.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			m.files.poll()
		case <-hangup:
			m.cfg.Log.Info("SIGHUP: reading the TLS certificate again")
			m.Reload()
		}
	}
}

// Reload reads the files at once. What cannot be used is logged and leaves the
// old pair.
func (m *Manager) Reload() {
	if m.files != nil {
		m.files.reload()
	}
}

// Expiry is when the first of the certificates ends that are in use: of the
// files' one and of those that ACME has given since the start. It is the zero
// time when there is none yet.
func (m *Manager) Expiry() time.Time {
	var first time.Time
	if m.files != nil {
		first = m.files.current.Load().Leaf.NotAfter
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, end := range m.served {
		if first.IsZero() || end.Before(first) {
			first = end
		}
	}
	return first
}
