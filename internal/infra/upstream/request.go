package upstream

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/infra/upstream/address"
)

const (
	maxRedirects = 5
	// maxError is how much of an error's body is read, so that its connection can be
	// used again.
	maxError = 64 << 10
	// maxRetryAfter is the longest pause that is believed.
	maxRetryAfter = 24 * time.Hour
)

var (
	errSlow    = errors.New("it takes too long")
	errStalled = errors.New("it sent nothing for too long")
)

// call is one call of a client: to whom, about what, and where it has got to.
type call struct {
	site   site
	e      Endpoint
	repo   string
	method string
	at     *url.URL // where the present request goes
	login  bool     // it is to a token server
}

// fail makes a failure of the call; its text begins with the request.
func (t call) fail(kind Kind, status int, format string, args ...any) *Failure {
	return &Failure{Kind: kind, Status: status, Err: fmt.Errorf("upstream: %s: it %s", t.text(), fmt.Sprintf(format, args...))}
}

// text names the request without what could be secret.
func (t call) text() string {
	host, path := "", ""
	if t.at != nil {
		host = t.at.Host
		// Paths of others may be signed or hold what they please.
		switch {
		case t.login:
			path = " (its token server)"
		case t.site.same(t.at) && strings.HasPrefix(t.at.Path, "/v2/"):
			path = t.at.Path
		default:
			path = "/..."
		}
	}
	return clip(t.method + " " + host + path)
}

// refusef is a failure before there is a request.
func refusef(format string, args ...any) *Failure {
	return &Failure{Kind: Refused, Err: fmt.Errorf("upstream: "+format, args...)}
}

// clip makes foreign text short and printable.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > 300 {
		s = s[:300] + "..."
	}
	return s
}

// ended is the error of a call whose context has ended: by one of our limits, or
// by the caller.
func (t call) ended(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, errSlow) || errors.Is(cause, errStalled) {
		return &Failure{Kind: Unavailable, Err: fmt.Errorf("upstream: %s: %w", t.text(), cause)}
	}
	return fmt.Errorf("upstream: %s: %w", t.text(), ctx.Err())
}

// start begins a call at a path under the registry.
func (c *Client) start(e Endpoint, repo, method, path string, query url.Values) (call, error) {
	s, err := c.siteOf(e)
	if err != nil {
		c.log.Debug("An upstream registry is refused.", "err", err)
		return call{}, err
	}
	at := *s.base
	at.Path, at.RawQuery = path, query.Encode()
	return call{site: s, e: e, repo: repo, method: method, at: &at}, nil
}

// do sends a call, logs in where that is asked for, and follows redirects. The
// call that it returns tells where the answer is from.
func (c *Client) do(ctx context.Context, t call, header http.Header) (*http.Response, call, error) {
	auth, err := c.authorization(ctx, t)
	if err != nil {
		return nil, t, err
	}
	resp, at, err := c.follow(ctx, t, header, auth)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !t.site.same(at.at) {
		return resp, at, err
	}
	drain(resp)
	if auth, err = c.login(ctx, t, resp.Header.Values("WWW-Authenticate"), auth); err != nil {
		return nil, t, err
	}
	return c.follow(ctx, t, header, auth)
}

// follow sends a call and follows redirects to where they may lead.
func (c *Client) follow(ctx context.Context, t call, header http.Header, auth string) (*http.Response, call, error) {
	for hops := 0; ; hops++ {
		h := header.Clone()
		if auth != "" && t.site.same(t.at) {
			h.Set("Authorization", auth)
		}
		resp, err := c.send(ctx, t, h, auth)
		if err != nil {
			return nil, t, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, t, nil
		}
		location := resp.Header.Get("Location")
		drain(resp)
		if hops == maxRedirects {
			return nil, t, t.fail(Refused, resp.StatusCode, "redirects more than %d times", maxRedirects)
		}
		to, err := t.at.Parse(location)
		if err != nil || location == "" {
			return nil, t, t.fail(Invalid, resp.StatusCode, "redirects to no address")
		}
		if why := t.site.mayRedirect(to); why != "" {
			return nil, t, t.fail(Refused, resp.StatusCode, "redirects to %q: %s", clip(to.Host), why)
		}
		to.Fragment = ""
		t.at = to
	}
}

// send sends one request. The errors of what carries it are made failures.
func (c *Client) send(ctx context.Context, t call, header http.Header, auth string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, t.method, t.at.String(), nil)
	if err != nil {
		return nil, t.fail(Invalid, 0, "cannot be asked")
	}
	req.Header = header
	req.Header.Set("User-Agent", c.userAgent)
	carrier := t.e.Via
	if carrier == nil {
		carrier = c.carrier(t.site)
	}
	resp, err := carrier.RoundTrip(req)
	if err != nil {
		f := c.broken(ctx, t, err, secretsOf(t.e, auth))
		c.log.Debug("An upstream registry was not reached.", "err", f)
		return nil, f
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		drain(resp)
		return nil, t.fail(Invalid, resp.StatusCode, "encodes its answer, which it was not asked for")
	}
	return resp, nil
}

// broken makes a failure of an error that a connection had.
func (c *Client) broken(ctx context.Context, t call, err error, secrets []string) error {
	if ctx.Err() != nil {
		return t.ended(ctx)
	}
	kind := Unavailable
	_, private := errors.AsType[*address.Error](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	if private || certificate || record || alert || errors.Is(err, http.ErrSchemeMismatch) {
		kind = Refused
	}
	// net/http's errors quote what a server sent, which can be what we sent it.
	text := clip(err.Error())
	for _, secret := range secrets {
		if secret != "" && strings.Contains(err.Error(), secret) {
			text = "the connection failed in a way that repeats what was sent"
		}
	}
	return &Failure{Kind: kind, Err: fmt.Errorf("upstream: %s: %s", t.text(), text)}
}

// statusFailure makes a failure of an answer that is not the wanted one.
func (c *Client) statusFailure(t call, resp *http.Response) *Failure {
	code := ""
	if body, err := io.ReadAll(io.LimitReader(resp.Body, maxError)); err == nil {
		code = errorCode(body)
	}
	f := t.fail(Invalid, resp.StatusCode, "answers %d%s", resp.StatusCode, code)
	elsewhere := !t.site.same(t.at) && !strings.HasPrefix(t.at.Path, "/v2/") && !t.login
	switch {
	case resp.StatusCode == http.StatusNotFound:
		f.Kind = NotFound
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		f.Kind = Unauthorized
		if elsewhere { // a signed address that ran out says nothing about our credentials
			f.Kind = Unavailable
		}
	case resp.StatusCode == http.StatusTooManyRequests:
		f.Kind = TooManyRequests
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout:
		f.Kind = Unavailable
	}
	if f.Kind == TooManyRequests || f.Kind == Unavailable {
		f.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), c.clock.Now())
	}
	return f
}

// errorCode is the code of an error as registries word it, with a space before it,
// "" where there is none. Messages are left out: they can repeat what was sent.
func errorCode(body []byte) string {
	var e struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	code := e.Errors[0].Code
	if code == "" || len(code) > 40 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
		return ""
	}
	return " " + code
}

// retryAfter reads a Retry-After header: seconds, or a date.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if n, err := strconv.ParseUint(value, 10, 63); err == nil {
		return time.Duration(min(n, uint64(maxRetryAfter.Seconds()))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// readAll reads a body of at most limit bytes.
func (c *Client) readAll(ctx context.Context, t call, resp *http.Response, limit int64) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, t.fail(Invalid, resp.StatusCode, "answers with %d bytes, more than %d", resp.ContentLength, limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, c.broken(ctx, t, err, nil)
	}
	if int64(len(body)) > limit {
		return nil, t.fail(Invalid, resp.StatusCode, "answers with more than %d bytes", limit)
	}
	return body, nil
}

// drain ends with a response, so that its connection can be used again.
func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxError) // what is left is of no interest
	_ = resp.Body.Close()                            // nor is how it ends
}
