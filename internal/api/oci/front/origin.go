package front

import (
	"net/http"
	"net/netip"

	"github.com/berth-registry/berth/internal/domain/authz"
)

// Connection takes the connection's word for where a request came from.
func Connection(r *http.Request) authz.Origin {
	o := authz.Origin{Secure: r.TLS != nil}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.SourceIP = from.Addr().Unmap()
	}
	return o
}
