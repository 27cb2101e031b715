package publishing

import (
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/berth-registry/berth/internal/domain/name"
)

// addresses says under which addresses a client reaches public registries and the
// gallery, by the host under which it reached the program.
type addresses struct {
	hosts name.Hosts
	// listener is the address of the listener that is for them alone, "" for none.
	listener func() string
}

// registry is the host, with its port, of public registries: their canonical host for a
// client that came by a canonical name, and for one that came by another (localhost, an
// address) that name with the listener's port.
func (a addresses) registry(reached string) string {
	switch a.hosts.Parse(reached).Kind {
	case name.HostPublicRegistry:
		return reached
	case name.HostAny:
		if _, port, err := net.SplitHostPort(a.listener()); err == nil {
			return net.JoinHostPort(hostname(reached), port)
		}
	case name.HostRegistry, name.HostECR, name.HostECRPublic, name.HostSTS, name.HostIAM, name.HostGallery, name.HostConsole, name.HostSecretsManager,
		name.HostEvents, name.HostCloudTrail, name.HostCloudWatch, name.HostServiceQuotas:
	}
	return withPort(a.hosts.PublicRegistryHost(), reached)
}

// gallery is the URL of the gallery without a slash at its end.
func (a addresses) gallery(scheme, reached string) string {
	switch a.hosts.Parse(reached).Kind {
	case name.HostGallery:
		return scheme + "://" + reached
	case name.HostAny:
		return scheme + "://" + reached + Prefix
	case name.HostRegistry, name.HostECR, name.HostECRPublic, name.HostSTS, name.HostIAM, name.HostPublicRegistry, name.HostConsole, name.HostSecretsManager,
		name.HostEvents, name.HostCloudTrail, name.HostCloudWatch, name.HostServiceQuotas:
	}
	return scheme + "://" + withPort(a.hosts.GalleryHost(), reached)
}

// Prefix is where the gallery stands on a host that is not its own.
const Prefix = "/gallery"

// prefix is what stands before the gallery's paths in a request.
func (a addresses) prefix(r *http.Request) string {
	if own, _ := r.Context().Value(ownListener{}).(bool); own || a.hosts.Parse(r.Host).Kind == name.HostGallery {
		return ""
	}
	return Prefix
}

// ownListener is the context key of requests that came by the listener of public
// registries.
type ownListener struct{}

// byOwnListener marks a request.
func byOwnListener(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), ownListener{}, true))
}

// hostname is a Host header without its port.
func hostname(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.Trim(hostport, "[]")
}

// withPort gives a host the port of another.
func withPort(host, reached string) string {
	if _, port, err := net.SplitHostPort(reached); err == nil {
		return net.JoinHostPort(host, port)
	}
	return host
}
