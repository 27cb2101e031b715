package webhook_test

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/eventsink"
	"github.com/berth-registry/berth/internal/infra/eventsink/sinktest"
	"github.com/berth-registry/berth/internal/infra/eventsink/webhook"
)

// hook is a webhook that verifies what it gets with the reference library.
type hook struct {
	t      *testing.T
	secret string

	mu       sync.Mutex
	requests []*http.Request
	got      []sinktest.Received
	// answer takes the place of 204.
	answer http.HandlerFunc
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answer != nil {
		h.requests = append(h.requests, r)
		h.answer(w, r)
		return
	}
	reference, err := standardwebhooks.NewWebhook(h.secret)
	if err == nil {
		err = reference.Verify(body, r.Header)
	}
	if err != nil || r.Method != http.MethodPost {
		h.t.Errorf("%s: %v", r.Method, err)
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	h.requests = append(h.requests, r)
	h.got = append(h.got, sinktest.Received{ID: r.Header.Get("webhook-id"), Body: string(body)})
	w.WriteHeader(http.StatusNoContent)
}

func (h *hook) received() []sinktest.Received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]sinktest.Received(nil), h.got...)
}

func (h *hook) last() *http.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests[len(h.requests)-1]
}

func (h *hook) answers(f http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = f
}

// certificate is one for the loopback, and what trusts it.
func certificate(t *testing.T) (*tls.Config, string) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return &tls.Config{Certificates: server.TLS.Certificates, MinVersion: tls.VersionTLS12}, string(ca)
}

func open(t *testing.T, s webhook.Settings) eventsink.Sink {
	t.Helper()
	sink, err := webhook.New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sink.Close(); err != nil {
			t.Error(err)
		}
	})
	return sink
}

func TestSuite(t *testing.T) {
	config, ca := certificate(t)
	sinktest.Run(t, func(t *testing.T) sinktest.Target {
		h := &hook{t: t, secret: webhook.NewSecret()}
		server := sinktest.Serve(t, h, config.Clone())
		return sinktest.Target{
			New: func(t *testing.T) eventsink.Sink {
				return open(t, webhook.Settings{
					URL: "https://" + server.Address + "/hook?token=of-the-query", Headers: map[string]string{"Authorization": "Bearer of-the-header"},
					Secrets: []webhook.Secret{{Value: h.secret}}, CA: ca, AllowPrivate: true,
				})
			},
			Received: h.received, Down: server.Down, Up: server.Up, Secrets: []string{h.secret, "of-the-query", "of-the-header"},
		}
	})
}

// plain starts a webhook without TLS, and makes settings for it.
func plain(t *testing.T) (*hook, webhook.Settings) {
	h := &hook{t: t, secret: webhook.NewSecret()}
	server := sinktest.Serve(t, h, nil)
	return h, webhook.Settings{URL: "http://" + server.Address + "/hook", Secrets: []webhook.Secret{{Value: h.secret}}, AllowPrivate: true, AllowHTTP: true}
}

func TestRequest(t *testing.T) {
	h, s := plain(t)
	s.URL = strings.Replace(s.URL, "/hook", "/*/of/*?fixed=1", 1)
	s.Headers = map[string]string{"X-Key": "destination's"}
	sink := open(t, s)
	m := sinktest.Message("team/app", 1)
	m.Parameters = eventsink.Parameters{
		Path: []string{"a/b", "ü*"}, Query: map[string]string{"fixed": "2", "q": "a&b"}, Header: map[string]string{"X-Key": "rule's", "X-Rule": "r"},
	}
	if err := sink.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r := h.last()
	if got := r.RequestURI; got != "/a%2Fb/of/%C3%BC%2A?fixed=1&q=a%26b" {
		t.Error(got)
	}
	if r.Header.Get("X-Key") != "destination's" || r.Header.Get("X-Rule") != "r" || r.Header.Get("Content-Type") != "application/json" {
		t.Error(r.Header)
	}
	m.Body = []byte("an image was pushed")
	if err := sink.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := h.last().Header.Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Error(got)
	}
	for what, p := range map[string]eventsink.Parameters{
		"too few": {Path: []string{"a"}}, "none": {}, "dots": {Path: []string{"..", "a"}},
		"signature": {Path: []string{"a", "b"}, Header: map[string]string{"Webhook-Signature": "v1,x"}},
		"line ends": {Path: []string{"a", "b"}, Header: map[string]string{"X": "a\r\nY: b"}},
	} {
		m.Parameters = p
		if err := sink.Send(t.Context(), m); !eventsink.IsPermanent(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRotation(t *testing.T) {
	h, s := plain(t)
	old := h.secret
	now := time.Now()
	clk := clock.NewFake(now)
	s.Clock = clk
	s.Secrets = []webhook.Secret{{Value: webhook.NewSecret()}, {Value: old, Until: now.Add(time.Minute)}}
	sink := open(t, s)
	if err := sink.Send(t.Context(), sinktest.Message("a", 1)); err != nil {
		t.Fatal(err)
	}
	if got := h.last().Header.Get("webhook-signature"); strings.Count(got, "v1,") != 2 {
		t.Error(got)
	}
	clk.Advance(time.Minute)
	h.mu.Lock()
	h.secret = s.Secrets[0].Value
	h.mu.Unlock()
	if err := sink.Send(t.Context(), sinktest.Message("a", 2)); err != nil {
		t.Fatal(err)
	}
	if got := h.last().Header.Get("webhook-signature"); strings.Count(got, "v1,") != 1 {
		t.Error(got)
	}
	ended := open(t, webhook.Settings{URL: s.URL, Secrets: s.Secrets[1:], AllowPrivate: true, AllowHTTP: true, Clock: clk})
	if err := ended.Send(t.Context(), sinktest.Message("a", 3)); err == nil {
		t.Error("nothing signs")
	}
}

func TestAnswers(t *testing.T) {
	h, s := plain(t)
	s.Headers = map[string]string{"X-Key": "a-secret-key"}
	sink := open(t, s)
	for _, c := range []struct {
		status     int
		retryAfter string
		permanent  bool
		wait       time.Duration
	}{
		{status: 200}, {status: 202}, {status: 299},
		{status: 400}, {status: 401}, {status: 404}, {status: 410, permanent: true}, {status: 500}, {status: 304}, {status: 302},
		{status: 429, retryAfter: "7", wait: 7 * time.Second}, {status: 503, retryAfter: "99999999", wait: time.Hour},
		{status: 503, retryAfter: "soon"}, {status: 503}, {status: 500, retryAfter: "7"},
		{status: 429, retryAfter: "Thu, 01 Jan 1970 00:00:00 GMT", wait: 0},
	} {
		h.answers(func(w http.ResponseWriter, r *http.Request) {
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			w.WriteHeader(c.status)
			if c.status >= 400 {
				fmt.Fprintf(w, "you sent \x1b[31m %s\n", r.Header.Get("X-Key"))
			}
		})
		err := sink.Send(t.Context(), sinktest.Message("a", 1))
		if (err == nil) != (c.status/100 == 2) || eventsink.IsPermanent(err) != c.permanent {
			t.Errorf("%d: %v", c.status, err)
		}
		wait, said := eventsink.Wait(err)
		if wait != c.wait || said != (c.wait != 0 || strings.HasPrefix(c.retryAfter, "Thu")) {
			t.Errorf("%d, Retry-After %q: %s %v", c.status, c.retryAfter, wait, said)
		}
		if err != nil && (strings.Contains(err.Error(), "a-secret-key") || !strings.Contains(err.Error(), fmt.Sprint(c.status))) {
			t.Errorf("%d: %v", c.status, err)
		}
	}
	h.answers(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, strings.Repeat("x", 1<<20)) // the client may have gone
	})
	if err := sink.Send(t.Context(), sinktest.Message("a", 1)); err == nil || len(err.Error()) > 1000 {
		t.Error("a long answer")
	}
}

func TestRedirects(t *testing.T) {
	h, s := plain(t)
	other, at := plain(t)
	other.secret = h.secret
	s.Headers = map[string]string{"X-Key": "key"}
	sink := open(t, s)
	to := at.URL
	status := http.StatusTemporaryRedirect
	h.answers(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, status) })
	m := sinktest.Message("a", 1)
	m.Parameters.Header = map[string]string{"X-Rule": "r"}
	if err := sink.Send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	r := other.last()
	if r.Header.Get("X-Key") != "" || r.Header.Get("X-Rule") != "" || r.Header.Get("Referer") != "" || r.Header.Get("webhook-id") != m.ID {
		t.Error(r.Header)
	}
	for what, c := range map[string]struct {
		to     string
		status int
	}{
		"found": {at.URL, http.StatusFound}, "see other": {at.URL, http.StatusSeeOther}, "in a circle": {s.URL, http.StatusPermanentRedirect},
		"a file": {"file:///etc/passwd", http.StatusTemporaryRedirect}, "a metadata service": {"http://169.254.169.254/latest", http.StatusTemporaryRedirect},
	} {
		to, status = c.to, c.status
		if err := sink.Send(t.Context(), m); err == nil || eventsink.IsPermanent(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := len(other.received()); n != 1 {
		t.Errorf("%d have come", n)
	}
}

func TestAddresses(t *testing.T) {
	h, s := plain(t)
	s.AllowPrivate = false
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		s.URL = "http://" + host + ":" + port
		err := open(t, s).Send(t.Context(), sinktest.Message("a", 1))
		if err == nil || !strings.Contains(err.Error(), "allow private addresses for webhooks") {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := len(h.received()); n != 0 {
		t.Errorf("%d have come", n)
	}
}

func TestTrust(t *testing.T) {
	config, _ := certificate(t)
	h := &hook{t: t, secret: webhook.NewSecret()}
	server := sinktest.Serve(t, h, config)
	s := webhook.Settings{URL: "https://" + server.Address, Secrets: []webhook.Secret{{Value: h.secret}}, AllowPrivate: true}
	if err := open(t, s).Send(t.Context(), sinktest.Message("a", 1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
}

func TestTimeout(t *testing.T) {
	h, s := plain(t)
	let := make(chan struct{})
	t.Cleanup(func() { close(let) })
	h.answers(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-let:
		case <-r.Context().Done():
		}
	})
	s.Timeout = 50 * time.Millisecond
	if err := open(t, s).Send(context.Background(), sinktest.Message("a", 1)); err == nil || !strings.Contains(err.Error(), "did not answer in 50ms") {
		t.Error(err)
	}
}

func TestSettings(t *testing.T) {
	secret := []webhook.Secret{{Value: webhook.NewSecret()}}
	for what, c := range map[string]struct {
		s    webhook.Settings
		want string
	}{
		"no URL":           {webhook.Settings{Secrets: secret}, "the URL is none"},
		"no host":          {webhook.Settings{URL: "https:///x", Secrets: secret}, "the URL is none"},
		"plain HTTP":       {webhook.Settings{URL: "http://example.com", Secrets: secret}, "plain HTTP"},
		"a scheme":         {webhook.Settings{URL: "ftp://example.com", Secrets: secret}, "scheme"},
		"a password":       {webhook.Settings{URL: "https://a:b@example.com", Secrets: secret}, "Authorization"},
		"a fragment":       {webhook.Settings{URL: "https://example.com/#a", Secrets: secret}, "fragment"},
		"no secret":        {webhook.Settings{URL: "https://example.com"}, "signing secret"},
		"a short secret":   {webhook.Settings{URL: "https://example.com", Secrets: []webhook.Secret{{Value: "whsec_YQ=="}}}, "24 to 64 bytes"},
		"no prefix":        {webhook.Settings{URL: "https://example.com", Secrets: []webhook.Secret{{Value: strings.TrimPrefix(secret[0].Value, "whsec_")}}}, "whsec_"},
		"a header of ours": {webhook.Settings{URL: "https://example.com", Secrets: secret, Headers: map[string]string{"webhook-ID": "x"}}, "by the sender itself"},
		"no header":        {webhook.Settings{URL: "https://example.com", Secrets: secret, Headers: map[string]string{"a b": "x"}}, "no header"},
		"a long timeout":   {webhook.Settings{URL: "https://example.com", Secrets: secret, Timeout: time.Hour}, "up to 1m0s"},
		"no CA":            {webhook.Settings{URL: "https://example.com", Secrets: secret, CA: "x"}, "PEM"},
	} {
		if _, err := webhook.New(c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := webhook.CheckSecret(secret[0].Value); err != nil {
		t.Error(err)
	}
}
