// Package webhook sends events to HTTP servers, signed by the Standard Webhooks scheme:
// webhook-id is the event's id, webhook-timestamp the time of the try, and
// webhook-signature has one signature for each secret that holds, so that receivers can
// go over to a new one.
//
// It does not keep secrets or decide when they end (domain/event/destination), nor when
// a failed message is sent again (domain/event/delivery).
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/upstream/address"
)

const (
	// DefaultTimeout and MaxTimeout bound a whole try; Standard Webhooks advises 15 to
	// 30 seconds.
	DefaultTimeout = 15 * time.Second
	MaxTimeout     = time.Minute
	// MaxWait is the longest that a Retry-After is believed.
	MaxWait = time.Hour

	maxRedirects   = 3
	maxHeaderBytes = 64 << 10
	// maxBody is how much of an answer is read: enough to use the connection again, and
	// for the excerpt in an error.
	maxBody    = 64 << 10
	maxExcerpt = 200
	idle       = 32
	idleTime   = time.Minute
)

// Settings are a webhook's.
type Settings struct {
	// URL is where to POST. A "*" in its path stands for a path parameter of the rule's
	// target, as in EventBridge's API destinations.
	URL string
	// Headers are sent with each message; their values may be secret.
	Headers map[string]string
	// Secrets sign; at least one.
	Secrets []Secret
	// Timeout is for a whole try, 0 for DefaultTimeout, MaxTimeout at most.
	Timeout time.Duration
	// CA is certificates in PEM to trust in place of the system's, "" for the system's.
	CA string
	// AllowPrivate lets it connect to addresses that are not public ones; those of
	// clouds' metadata services never. AllowHTTP lets it send without TLS.
	AllowPrivate, AllowHTTP bool
	Clock                   clock.Clock
}

type sink struct {
	Settings
	url    *url.URL
	signs  []key
	client *http.Client
}

// New checks the settings and returns the sink. It connects to nothing.
func New(s Settings) (eventsink.Sink, error) {
	target, err := parseURL(s.URL, s.AllowHTTP)
	if err != nil {
		return nil, err
	}
	for name, value := range s.Headers {
		if err := checkHeader(name, value); err != nil {
			return nil, err
		}
	}
	switch {
	case s.Timeout == 0:
		s.Timeout = DefaultTimeout
	case s.Timeout < 0 || s.Timeout > MaxTimeout:
		return nil, fmt.Errorf("a timeout of %s: take one up to %s", s.Timeout, MaxTimeout)
	}
	if s.Clock == nil {
		s.Clock = clock.System{}
	}
	w := &sink{Settings: s, url: target}
	if w.signs, err = keys(s.Secrets); err != nil {
		return nil, err
	}
	roots, err := pool(s.CA)
	if err != nil {
		return nil, err
	}
	w.client = &http.Client{CheckRedirect: w.redirect, Transport: transport(s.Timeout, roots, s.AllowPrivate)}
	return w, nil
}

func parseURL(text string, plain bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, errors.New("the URL is none; take one such as https://example.com/hook")
	case u.User != nil:
		return nil, errors.New("the URL holds a user or a password; give an Authorization header in their place")
	case u.Fragment != "":
		return nil, errors.New("the URL has a fragment, which servers never see")
	case u.Scheme == "http" && !plain:
		return nil, errors.New("the URL is one of plain HTTP; take https, or allow plain HTTP for webhooks in the configuration (events.allow_http)")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("the URL's scheme is %q; take https", u.Scheme)
	}
	return u, nil
}

// checkHeader refuses headers that are the sender's own.
func checkHeader(name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
		return fmt.Errorf("%q is no header that can be sent", name)
	}
	switch c := textproto.CanonicalMIMEHeaderKey(name); {
	case strings.HasPrefix(c, "Webhook-"), slices.Contains([]string{
		"Host", "Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Keep-Alive", "Expect", "Proxy-Connection",
	}, c):
		return fmt.Errorf("the header %s is set by the sender itself", c)
	}
	return nil
}

func pool(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil // the system's
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(pem)) {
		return nil, errors.New("the certificates of the CA are none in PEM")
	}
	return roots, nil
}

func transport(timeout time.Duration, roots *x509.CertPool, private bool) *http.Transport {
	// The address is checked once the name is resolved, so that no name leads inside.
	dialer := &net.Dialer{Timeout: timeout, Control: func(_, to string, _ syscall.RawConn) error {
		return address.Check(to, private, nil)
	}}
	return &http.Transport{
		// Proxy is nil: a proxy of the environment would dial in our place.
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    timeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        idleTime,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}

// redirect follows what keeps the POST and its body, three times at most, and gives the
// operator's headers to no other server.
func (w *sink) redirect(r *http.Request, via []*http.Request) error {
	if r.Method != http.MethodPost || len(via) > maxRedirects {
		return http.ErrUseLastResponse
	}
	if _, err := parseURL(r.URL.String(), w.AllowHTTP); err != nil {
		return fmt.Errorf("it redirects to where nothing is sent: %w", err)
	}
	r.Header.Del("Referer") // the query may be secret
	// The headers of the first request are there again on each hop.
	if first := via[0].URL; r.URL.Host != first.Host || r.URL.Scheme != first.Scheme {
		maps.DeleteFunc(r.Header, func(name string, _ []string) bool {
			return !strings.HasPrefix(name, "Webhook-") && name != "Content-Type" && name != "User-Agent"
		})
	}
	return nil
}

// Send posts the message. 2xx is success, 410 permanent; Wait of a 429 or a 503 is its
// Retry-After.
func (w *sink) Send(ctx context.Context, m eventsink.Message) error {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	r, err := w.request(ctx, m)
	if err != nil {
		return eventsink.Permanent(err)
	}
	response, err := w.client.Do(r)
	if err != nil {
		return w.failed(err)
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody)) // the status decides; this is for the excerpt
	_ = response.Body.Close()                                     // it was only read
	if response.StatusCode/100 == 2 {
		return nil
	}
	err = fmt.Errorf("the webhook answered %s%s", response.Status, w.excerpt(body))
	switch response.StatusCode {
	case http.StatusGone:
		return eventsink.Permanent(err)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if wait, ok := retryAfter(response.Header.Get("Retry-After"), w.Clock.Now()); ok {
			return eventsink.Later(err, wait)
		}
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return fmt.Errorf("%w: it redirects, and only 307 and 308 are followed, %d times at most; set the destination to where it redirects", err, maxRedirects)
	}
	return err
}

func (w *sink) request(ctx context.Context, m eventsink.Message) (*http.Request, error) {
	target, err := w.target(m.Parameters)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(m.Body))
	if err != nil {
		return nil, errors.New("the URL with the target's parameters is none")
	}
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if json.Valid(m.Body) {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "Berth-Webhook")
	for name, value := range m.Parameters.Header {
		if err := checkHeader(name, value); err != nil {
			return nil, fmt.Errorf("HttpParameters of the rule's target: %w", err)
		}
		r.Header.Set(name, value)
	}
	for name, value := range w.Headers { // the destination's stand above the rule's
		r.Header.Set(name, value)
	}
	now := w.Clock.Now()
	r.Header.Set("webhook-id", m.ID)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	signature, err := sign(w.signs, m.ID, now, m.Body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("webhook-signature", signature)
	return r, nil
}

// target is the URL with the parameters that a rule's target has set.
func (w *sink) target(p eventsink.Parameters) (string, error) {
	u := *w.url
	if parts := strings.Split(u.EscapedPath(), "*"); len(parts) > 1 {
		if len(parts)-1 != len(p.Path) {
			return "", fmt.Errorf("the URL's path has %d wildcards, and the rule's target %d PathParameterValues", len(parts)-1, len(p.Path))
		}
		var b strings.Builder
		for i, part := range parts {
			b.WriteString(part)
			if i < len(p.Path) {
				if p.Path[i] == "." || p.Path[i] == ".." {
					return "", errors.New("a path parameter of the rule's target is a dot, which would lead elsewhere")
				}
				b.WriteString(url.PathEscape(p.Path[i]))
			}
		}
		path, err := url.PathUnescape(b.String())
		if err != nil {
			return "", errors.New("the URL's path is none once the target's parameters are in it")
		}
		u.Path, u.RawPath = path, b.String()
	}
	if len(p.Query) > 0 {
		q := u.Query()
		for _, name := range slices.Sorted(maps.Keys(p.Query)) {
			if !q.Has(name) { // the destination's stand above the rule's
				q.Set(name, p.Query[name])
			}
		}
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// failed words a failure without the URL, whose query may be secret.
func (w *sink) failed(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	var refused *address.Error
	if errors.As(err, &refused) {
		why := "it is not a public one; allow private addresses for webhooks in the configuration (events.allow_private) where that is meant"
		if w.AllowPrivate {
			why = "it is " + refused.Why
		}
		return fmt.Errorf("the webhook is at %s, and nothing is sent there: %s", refused.Addr, why)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the webhook at %s did not answer in %s: %w", w.url.Host, w.Timeout, err)
	}
	return fmt.Errorf("the webhook at %s: %w", w.url.Host, err)
}

// excerpt is the beginning of an answer, without what was sent in secret.
func (w *sink) excerpt(body []byte) string {
	text := strings.ToValidUTF8(string(body), "?")
	for _, value := range w.Headers {
		if value != "" {
			text = strings.ReplaceAll(text, value, "***")
		}
	}
	for _, s := range w.Secrets {
		text = strings.ReplaceAll(text, s.Value, "***")
	}
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxExcerpt {
		text = string(runes[:maxExcerpt]) + "…"
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// retryAfter reads seconds or a date.
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(n)*time.Second, MaxWait), true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), MaxWait), true
}

// Close gives idle connections up.
func (w *sink) Close() error {
	w.client.CloseIdleConnections()
	return nil
}
