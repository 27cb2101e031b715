package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/berth-registry/berth/internal/infra/upstream/address"
)

const (
	// maxHeaderBytes is a hundred times what registries send.
	maxHeaderBytes = 128 << 10
	idlePerHost    = 32
	idleTimeout    = 60 * time.Second
	// pingAfter is how long an HTTP/2 connection may be silent until it is asked
	// whether it lives, and how long that may take.
	pingAfter = 15 * time.Second
)

// transport makes a transport for one set of rules.
func transport(t Timeouts, roots *x509.CertPool, private bool, allowed []netip.Prefix) *http.Transport {
	dialer := &net.Dialer{Timeout: t.Connect, Control: func(_, to string, _ syscall.RawConn) error {
		return address.Check(to, private, allowed)
	}}
	return &http.Transport{
		// Proxy is nil: a proxy of the environment would dial in our place.
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    t.TLS,
		ResponseHeaderTimeout:  t.Header,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		DisableCompression:     true, // digests are of the bytes as they come
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
}
