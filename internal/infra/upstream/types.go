package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
)

// Endpoint is a registry, and as whom it is spoken to.
type Endpoint struct {
	// Host is the registry's name, with a port where it is not 443:
	// "registry-1.docker.io", "registry.example:5000".
	Host string
	// Username and Password log in; both "" is anonymous.
	Username, Password string
	// Via, if set, carries all requests in place of the client's own transport. It
	// is for a registry of this deployment, spoken to in-process: rules on
	// addresses do not apply, and redirects stay on the same host.
	Via http.RoundTripper
}

// Manifest is a manifest or an index. Digest is that of Body.
type Manifest struct {
	MediaType string // without parameters, lower case
	Digest    string // "sha256:..."; sha512 where the reference was one
	Body      []byte // as it came, at most Config.MaxManifest bytes
}

// Descriptor is what a registry says of a manifest without sending it. None of
// it is verified.
type Descriptor struct {
	MediaType string // "" where the registry does not say
	Digest    string // "" where the registry does not say
	Size      int64  // bytes, -1 unknown
}

// Config is what a Client works by. The zero value is useful.
type Config struct {
	// Hosts has settings of single registries, by Endpoint.Host in lower case.
	Hosts map[string]Host
	// AllowPrivate are addresses that may be dialled for any host although they are
	// not public ones.
	AllowPrivate []netip.Prefix
	// Roots are who signs servers' certificates, for all hosts; nil the system's.
	Roots *x509.CertPool
	// UserAgent is sent with every request, "" is "berth".
	UserAgent string
	// Log gets what is refused, nil nothing.
	Log *slog.Logger
	// Clock is what tokens run out by, nil the system's.
	Clock clock.Clock
	// MaxManifest is how many bytes a manifest or a list of referrers may have, 0 is
	// 4 MiB: what registries have to accept, by the OCI distribution specification.
	MaxManifest int64
	Timeouts    Timeouts
}

// Timeouts are how long a registry is waited for; 0 takes the default of each.
type Timeouts struct {
	// Connect is for a connection, with looking its host up; 10 s.
	Connect time.Duration
	// TLS is for the handshake; 10 s.
	TLS time.Duration
	// Header is from the request to the header of its response; 30 s.
	Header time.Duration
	// Stall is how long a body may rest without a byte; 60 s. The whole of a blob has
	// no limit.
	Stall time.Duration
	// Manifest is for all that a manifest, a HEAD, a list of referrers or a token
	// takes, logging in included; 60 s.
	Manifest time.Duration
}

// Host is what is set for one registry.
type Host struct {
	// Endpoint is a base URL to go to in the registry's place, such as a mirror:
	// "https://mirror.example:5000". "" is https at the registry's name. Credentials
	// for the registry are sent there.
	Endpoint string
	// Also are further hosts where its tokens are made and its blobs are kept:
	// "auth.example", "auth.example:8443", or "*.cdn.example" for all names under one.
	Also []string
	// Roots are who signs this registry's certificates, nil those of Config.
	Roots *x509.CertPool
	// PlainHTTP speaks http to the registry and to the hosts in Also.
	PlainHTTP bool
	// AllowPrivate lets this registry and those in Also have any address, except
	// the clouds' metadata services; these need Config.AllowPrivate.
	AllowPrivate bool
}

// Kind says what to do about a failure.
type Kind int

// What can be wrong with an upstream.
const (
	// NotFound: the registry answers 404.
	NotFound Kind = iota + 1
	// Unauthorized: it answers 401 or 403, which several registries do for what
	// does not exist, too.
	Unauthorized
	// TooManyRequests: it answers 429; RetryAfter may say how long to leave it alone.
	TooManyRequests
	// Unavailable: it answers 5xx, cannot be reached, is too slow or broke off.
	// Another try may help.
	Unavailable
	// Refused: we do not go where this leads: an address, a redirect, a token realm,
	// a certificate, a host that is none.
	Refused
	// Invalid: the answer cannot be believed or understood: digest, size, range,
	// media type, or a status that registries do not answer with.
	Invalid
)

// String is the kind's name, lower case, fit for a label of a metric.
func (k Kind) String() string {
	switch k {
	case NotFound:
		return "not-found"
	case Unauthorized:
		return "unauthorized"
	case TooManyRequests:
		return "too-many-requests"
	case Unavailable:
		return "unavailable"
	case Refused:
		return "refused"
	case Invalid:
		return "invalid"
	}
	return fmt.Sprintf("kind-%d", int(k))
}

// Failure is every error of a Client, and of the bodies that it returns, except
// the caller's own context's error, which is returned wrapped and bare of a
// Failure. Its text names host and path, never a credential, a token or the query
// of an address.
type Failure struct {
	Kind       Kind
	Status     int           // of the HTTP answer, 0 where there was none
	RetryAfter time.Duration // of TooManyRequests and Unavailable, 0 unknown, at most a day
	Err        error
}

// Error is the text of Err.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap is Err.
func (f *Failure) Unwrap() error { return f.Err }

// KindOf is the kind of the Failure in err, 0 where there is none.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	return 0
}
