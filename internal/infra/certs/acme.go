package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME says how certificates are got from an authority. Using it is agreeing to
// the authority's terms of service.
//
// The challenges are tls-alpn-01 on port 443 and, with HTTPHandler, http-01 on
// port 80; neither proves a wildcard, so every host has a certificate of its own.
type ACME struct {
	// Directory is the authority's directory URL; "" is Let's Encrypt.
	Directory string
	// DirectoryCA is a PEM file with the authorities that the directory's own
	// certificate is trusted by, in place of the system's; "" for the system's.
	DirectoryCA string
	// Email is whom the authority writes to; "" for nobody.
	Email string
	// Hosts are the names that certificates are got for, at the start.
	Hosts []string
	// Allow admits further names, asked for when a client names them; nil admits
	// none. Authorities hold accounts to rates, so it must know the names.
	Allow func(ctx context.Context, host string) bool
	// KeyID and HMACKey, in base64url, bind the account to one that exists with
	// the authority (external account binding); "" without.
	KeyID, HMACKey string
	// RenewBefore is how long before its end a certificate is renewed; 0 is 30
	// days, or a third of its life where that is shorter (autocert's rule).
	RenewBefore time.Duration
	// Dir is the directory where account, keys and certificates are kept.
	// Cache is used in its place where it is set; nodes that share one answer
	// each other's challenges, since autocert keeps what they need in there.
	Dir   string
	Cache autocert.Cache
}

// manager checks the settings and makes autocert's Manager.
func (a *ACME) manager() (*autocert.Manager, error) {
	if len(a.Hosts) == 0 && a.Allow == nil {
		return nil, errors.New("ACME: name the hosts that certificates are got for")
	}
	hosts := map[string]bool{}
	for _, h := range a.Hosts {
		if strings.Contains(h, "*") {
			return nil, fmt.Errorf("ACME: %q is a wildcard, which needs a DNS challenge; list the hosts one by one, or use certificate files", h)
		}
		if h != strings.ToLower(h) || !strings.Contains(strings.Trim(h, "."), ".") {
			return nil, fmt.Errorf("ACME: %q is not a host name that an authority vouches for; write it in lower case with its domain", h)
		}
		hosts[h] = true
	}
	cache := a.Cache
	if cache == nil {
		if a.Dir == "" {
			return nil, errors.New("ACME: needs a directory or another cache for its certificates")
		}
		cache = autocert.DirCache(a.Dir)
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: cache, Client: client, Email: a.Email, RenewBefore: a.RenewBefore,
		HostPolicy: func(ctx context.Context, host string) error {
			if bare, _, err := net.SplitHostPort(host); err == nil { // http-01's Host header, on a port of a test's
				host = bare
			}
			if hosts[host] || a.Allow != nil && a.Allow(ctx, host) {
				return nil
			}
			return fmt.Errorf("%q is none of the hosts that certificates are got for", host)
		},
	}
	if (a.KeyID == "") != (a.HMACKey == "") {
		return nil, errors.New("ACME: give both the key id and the HMAC key of the external account, or neither")
	}
	if a.KeyID != "" {
		key, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(a.HMACKey, "="))
		if err != nil || len(key) == 0 {
			return nil, errors.New("ACME: the HMAC key of the external account is not base64url; copy it as the authority shows it")
		}
		m.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: a.KeyID, Key: key}
	}
	return m, nil
}

// directoryTimeout bounds one request to the authority.
const directoryTimeout = 30 * time.Second

func (a *ACME) client() (*acme.Client, error) {
	c := &acme.Client{DirectoryURL: a.Directory, UserAgent: "berth"}
	if a.Directory == "" {
		c.DirectoryURL = autocert.DefaultACMEDirectory
	}
	if u, err := url.Parse(c.DirectoryURL); err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("ACME: the directory %q is not an https URL", a.Directory)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: directoryTimeout, IdleConnTimeout: directoryTimeout, ForceAttemptHTTP2: true}
	if a.DirectoryCA != "" {
		text, err := os.ReadFile(a.DirectoryCA)
		if err != nil {
			return nil, fmt.Errorf("ACME: the directory's CA file cannot be read: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ACME: %s holds no certificate", a.DirectoryCA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	c.HTTPClient = &http.Client{Transport: transport, Timeout: directoryTimeout}
	return c, nil
}

// The pauses after a host's certificate was not given, doubled each time: Let's
// Encrypt allows five failed validations of a host in an hour.
const (
	firstPause = 2 * time.Minute
	lastPause  = time.Hour
)

// obtain gets the certificate of a host, or finds it in the cache, after which
// autocert renews it. autocert does not stop for a context, but gives up after
// five minutes; a stopping program does not wait for that.
func (m *Manager) obtain(ctx context.Context, host string) {
	// What autocert reads out of a hello: the name, and that the client takes ECDSA.
	hello := &tls.ClientHelloInfo{
		ServerName: host, SupportedProtos: []string{"h2"},
		CipherSuites:     []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedCurves:  []tls.CurveID{tls.CurveP256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		done := make(chan error, 1)
		go func() {
			cert, err := m.acme.GetCertificate(hello)
			if err == nil {
				m.gave(host, cert)
			}
			done <- err
		}()
		var err error
		select {
		case <-ctx.Done():
			return
		case err = <-done:
		}
		if err == nil {
			return
		}
		m.cfg.Log.Error("no certificate from ACME; trying again", "host", host, "in", pause.String(), "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// gave notes a certificate that ACME gave or that the cache held.
func (m *Manager) gave(host string, cert *tls.Certificate) {
	if cert.Leaf == nil {
		return // autocert parses all that it gives
	}
	m.mu.Lock()
	known, end := m.served[host], cert.Leaf.NotAfter
	m.served[host] = end
	m.mu.Unlock()
	if !known.Equal(end) {
		m.cfg.Log.Info("serving with a certificate from ACME", "host", host, "expires", end)
	}
}
