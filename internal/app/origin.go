package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/berth-registry/berth/internal/config"
	"github.com/berth-registry/berth/internal/domain/authz"
)

// listenerKey is the context key of the configured listener that took a
// connection.
type listenerKey struct{}

// taggedConn is a connection with the listener that took it.
type taggedConn struct {
	net.Conn
	from config.Listener
}

// ReadFrom lets a TCP connection take files from the kernel.
func (c taggedConn) ReadFrom(src io.Reader) (int64, error) {
	if to, ok := c.Conn.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, src)
}

// taggedListener marks its connections.
type taggedListener struct {
	net.Listener
	from config.Listener
}

// Accept takes a connection and marks it.
func (l taggedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return taggedConn{Conn: c, from: l.from}, nil
}

// connContext hands the mark of a connection to its requests.
func connContext(ctx context.Context, c net.Conn) context.Context {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = wrapped.NetConn()
	}
	if tagged, ok := c.(taggedConn); ok {
		return context.WithValue(ctx, listenerKey{}, tagged.from)
	}
	return ctx
}

// origin says where a request came from. What proxies say counts only as far
// back as they are trusted: the client is the last address in X-Forwarded-For
// that is no trusted proxy, since anything before it can be made up.
func (a *App) origin(r *http.Request) authz.Origin {
	o := authz.Origin{Secure: r.TLS != nil}
	if l, ok := r.Context().Value(listenerKey{}).(config.Listener); ok {
		o.VPC, o.VPCEndpoint = l.VPC, l.VPCEndpoint
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return o
	}
	o.SourceIP = peer.Addr().Unmap()
	if !a.trusted(o.SourceIP) {
		return o
	}
	if proto := r.Header.Get("X-Forwarded-Proto"); proto != "" {
		o.Secure = strings.EqualFold(strings.TrimSpace(proto), "https")
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return o
		}
		o.SourceIP = hop.Unmap()
		if !a.trusted(o.SourceIP) {
			return o
		}
	}
	return o
}

func (a *App) trusted(ip netip.Addr) bool {
	for _, p := range a.proxies {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
