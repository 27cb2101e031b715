package oidcverify

import (
	"context"
	"crypto/sha1" // what thumbprints are; a forged chain would need a second preimage
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// Bounds of what is read from issuers.
const (
	fetchTimeout   = 5 * time.Second // for discovery document and keys together
	maxDocument    = 256 << 10       // bytes of an answer
	maxHeaderBytes = 64 << 10
	maxKeys        = 100
	maxRedirects   = 3
)

// discoveryPath is where an issuer describes itself (OpenID Connect Discovery
// 1.0, section 4).
const discoveryPath = "/.well-known/openid-configuration"

// fetcher reads the keys of issuers.
type fetcher struct {
	clk   clock.Clock
	roots *x509.CertPool
	dial  func(context.Context, string, string) (net.Conn, error)
}

// keys reads the issuer's discovery document and the keys that it names.
func (f *fetcher) keys(ctx context.Context, issuer Issuer) ([]jose.JSONWebKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := f.get(ctx, issuer, strings.TrimSuffix(issuer.URL, "/")+discoveryPath, &discovery); err != nil {
		return nil, err
	}
	if discovery.Issuer != issuer.URL {
		return nil, fmt.Errorf("%w: its discovery document is for the issuer %q", ErrKey, discovery.Issuer)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := f.get(ctx, issuer, discovery.JWKSURI, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%w: it has more than %d keys", ErrKey, maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// Keys of other kinds, and broken ones, are none of ours (RFC 7517,
		// section 5).
		if key.UnmarshalJSON(raw) == nil && key.IsPublic() && key.Valid() {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// get reads a JSON document.
func (f *fetcher) get(ctx context.Context, issuer Issuer, address string, into any) error {
	u, err := checkURL(address)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrKey, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "berth")
	transport := f.transport(u.Hostname(), issuer.Thumbprints)
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(to *http.Request, via []*http.Request) error {
		if to.URL.Scheme != u.Scheme || to.URL.Host != u.Host || len(via) > maxRedirects {
			return fmt.Errorf("%w: %s redirects to %s", ErrKey, address, to.URL.Redacted())
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		if errors.Is(err, ErrKey) || errors.Is(err, ErrCertificate) {
			return err
		}
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = resp.Body.Close() }() // nothing of it is needed any more
	switch {
	case resp.StatusCode >= http.StatusInternalServerError || resp.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s answers %s", ErrUnreachable, address, resp.Status)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w: %s answers %s", ErrKey, address, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	case len(body) > maxDocument:
		return fmt.Errorf("%w: %s is longer than %d bytes", ErrKey, address, maxDocument)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrKey, address, err)
	}
	return nil
}

// checkURL refuses an address that nothing is read from.
func checkURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%w: %q is no address of an issuer", ErrKey, address)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("%w: %s is not an https address", ErrKey, u.Redacted())
	}
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// transport makes a transport to one host, for a few requests.
func (f *fetcher) transport(host string, thumbprints []string) *http.Transport {
	proxy := http.ProxyFromEnvironment
	if f.dial != nil { // it is to see the issuer's address, not a proxy's
		proxy = nil
	}
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            f.dial,
		MaxResponseHeaderBytes: maxHeaderBytes,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			ServerName: host,
			// VerifyConnection verifies in its place, since thumbprints come after
			// the roots.
			InsecureSkipVerify: true,
			VerifyConnection: func(state tls.ConnectionState) error {
				return f.verifyChain(state.PeerCertificates, host, thumbprints)
			},
		},
	}
}

// verifyChain holds the certificates that a server presented against the roots,
// and then against the thumbprints.
func (f *fetcher) verifyChain(chain []*x509.Certificate, host string, thumbprints []string) error {
	if len(chain) == 0 {
		return ErrCertificate
	}
	options := x509.VerifyOptions{
		DNSName: host, Roots: f.roots, Intermediates: x509.NewCertPool(), CurrentTime: f.clk.Now(),
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(options)
	if err == nil {
		return nil
	}
	top := chain[len(chain)-1]
	sum := sha1.Sum(top.Raw)
	if slices.ContainsFunc(thumbprints, func(t string) bool { return strings.EqualFold(t, hex.EncodeToString(sum[:])) }) {
		options.Roots = x509.NewCertPool()
		options.Roots.AddCert(top)
		if _, err = chain[0].Verify(options); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrCertificate, host, err)
}
