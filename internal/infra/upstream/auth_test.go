package upstream_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/infra/clock"
	"github.com/berth-registry/berth/internal/infra/upstream"
	"github.com/berth-registry/berth/internal/infra/upstream/upstreamtest"
)

func TestTokens(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	now := clock.NewFake(time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC))
	config := upstreamtest.Config(r)
	config.Clock = now
	c := client(t, config)
	r.PushImage(repo, "v1")
	r.PushImage("team/other", "v1")
	ask := func(repo string, tokens, requests int) {
		t.Helper()
		r.ResetRequests()
		if _, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
			t.Fatal(err)
		}
		if got := r.Count(upstreamtest.Token); got != tokens {
			t.Errorf("%d tokens fetched, want %d", got, tokens)
		}
		if got := r.Count(upstreamtest.Head); got != requests {
			t.Errorf("%d requests, want %d", got, requests)
		}
	}
	ask(repo, 1, 2) // asked without, then with a token
	if q := r.Requests()[1].Query; !strings.Contains(q, "scope=repository%3Ateam%2Fapp%3Apull") || !strings.Contains(q, "service=127.0.0.1") {
		t.Errorf("asked for a token with %s", q)
	}
	ask(repo, 0, 1)
	ask("team/other", 1, 2)
	ask(repo, 0, 1)
	now.Advance(4*time.Minute + 29*time.Second) // of five
	ask(repo, 0, 1)
	now.Advance(2 * time.Second) // half a minute before its end
	ask(repo, 1, 1)
	r.RevokeTokens()
	ask(repo, 1, 2)
	ask(repo, 0, 1)
	r.SetTokenLife(0)
	r.RevokeTokens()
	ask(repo, 1, 2)
	now.Advance(61 * time.Second)
	ask(repo, 1, 1)

	// Another credential has tokens of its own.
	e := r.Endpoint()
	e.Password = "wrong"
	_, err := c.Head(t.Context(), e, repo, "v1", nil)
	want(t, err, upstream.Unauthorized, "token server")
	_, err = c.Head(t.Context(), upstream.Endpoint{Host: r.Host()}, repo, "v1", nil)
	want(t, err, upstream.Unauthorized, "401")
}

func TestAnonymousTokens(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("", "")
	c := client(t, upstreamtest.Config(r))
	r.PushImage(repo, "v1")
	if _, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
		t.Fatal(err)
	}
	for _, req := range r.Requests() {
		if req.Kind == upstreamtest.Token && req.Header.Get("Authorization") != "" {
			t.Errorf("asked for a token as %s", req.Header.Get("Authorization"))
		}
	}
}

// TestTokenOnce makes sure that one token is fetched for many.
func TestTokenOnce(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	c := client(t, upstreamtest.Config(r))
	r.PushImage(repo, "v1")
	all := func() {
		t.Helper()
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for range 100 {
			wg.Go(func() {
				_, err := c.Manifest(t.Context(), r.Endpoint(), repo, "v1", nil)
				errs <- err
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				t.Error(err)
			}
		}
		if n := r.Count(upstreamtest.Token); n != 1 {
			t.Errorf("%d tokens were fetched", n)
		}
		r.ResetRequests()
	}
	all()
	r.RevokeTokens()
	all()
}

// TestTokenWaiters makes sure that a fetch outlives who began it, while others
// wait, and nobody longer.
func TestTokenWaiters(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	c := client(t, upstreamtest.Config(r))
	r.PushImage(repo, "v1")
	hold := make(chan struct{})
	remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Token, Hold: hold})
	ask := func(ctx context.Context) chan error {
		done := make(chan error, 1)
		n := r.Count(upstreamtest.Head)
		go func() {
			_, err := c.Head(ctx, r.Endpoint(), repo, "v1", nil)
			done <- err
		}()
		until(t, func() bool { return r.Count(upstreamtest.Head) > n })
		return done
	}
	first, cancel := context.WithCancel(t.Context())
	a := ask(first)
	until(t, func() bool { return r.Count(upstreamtest.Token) == 1 })
	b := ask(t.Context())
	// The second is on its way to the same fetch; were it not, it would fetch a token of
	// its own, which is no failure here.
	cancel()
	if err := <-a; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up: %v", err)
	}
	close(hold)
	if err := <-b; err != nil {
		t.Errorf("who waited: %v", err)
	}
	remove()

	// With nobody left the fetch ends; goleak would find it.
	r.RevokeTokens()
	defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Token, Hold: make(chan struct{})})()
	n := r.Count(upstreamtest.Token)
	second, cancel := context.WithCancel(t.Context())
	d := ask(second)
	until(t, func() bool { return r.Count(upstreamtest.Token) > n })
	cancel()
	if err := <-d; !errors.Is(err, context.Canceled) {
		t.Errorf("the last: %v", err)
	}
}

// until waits for a condition.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
	}
}

// TestTokenServerMoves makes sure that a client finds a registry's new token server
// when the old one is gone.
func TestTokenServerMoves(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	old := httptest.NewServer(r.TokenServer())
	r.SetRealm(old.URL + "/token")
	r.PushImage(repo, "v1")
	now := clock.NewFake(time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC))
	config := upstreamtest.Config(r)
	config.Clock = now
	config.Hosts[r.Host()] = upstream.Host{PlainHTTP: true, Also: []string{strings.TrimPrefix(old.URL, "http://")}}
	c := client(t, config)
	if _, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
		t.Fatal(err)
	}
	old.Close()
	r.SetRealm("")
	now.Advance(time.Hour)
	_, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil)
	want(t, err, upstream.Unavailable, "token server")
	if _, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
		t.Error(err)
	}
}

func TestBasic(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireBasic("user", "secret")
	c := client(t, upstreamtest.Config(r))
	r.PushImage(repo, "v1")
	for range 2 {
		if _, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.Count(upstreamtest.Head); n != 3 { // only the first is asked without
		t.Errorf("%d requests", n)
	}
	e := r.Endpoint()
	e.Password = "wrong"
	_, err := c.Head(t.Context(), e, repo, "v1", nil)
	want(t, err, upstream.Unauthorized, "401")
	_, err = c.Head(t.Context(), upstream.Endpoint{Host: r.Host()}, repo, "v1", nil)
	want(t, err, upstream.Unauthorized, "none are set")
}

func TestTokenServersThatFail(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	config := upstreamtest.Config(r)
	r.PushImage(repo, "v1")
	answer := func(text string) upstreamtest.Fault {
		return upstreamtest.Fault{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })}
	}
	for name, x := range map[string]struct {
		fault upstreamtest.Fault
		kind  upstream.Kind
	}{
		"403":             {upstreamtest.Fault{Status: 403}, upstream.Unauthorized},
		"429":             {upstreamtest.Fault{Status: 429, Header: header("Retry-After", "9")}, upstream.TooManyRequests},
		"502":             {upstreamtest.Fault{Status: 502}, upstream.Unavailable},
		"slow":            {upstreamtest.Fault{Hold: make(chan struct{})}, upstream.Unavailable},
		"redirects":       {upstreamtest.Fault{Redirect: "/v2/"}, upstream.Refused},
		"no JSON":         {answer("<html>"), upstream.Invalid},
		"no token":        {answer("{}"), upstream.Invalid},
		"header in token": {answer(`{"token":"a\r\nX-Evil: 1"}`), upstream.Invalid},
		"token too long":  {answer(`{"token":"` + strings.Repeat("a", 100<<10) + `"}`), upstream.Invalid},
		"answer too long": {answer(`{"token":"` + strings.Repeat("a", 300<<10) + `"}`), upstream.Invalid},
		"endless":         {upstreamtest.Fault{Endless: true}, upstream.Invalid},
		"useless token":   {answer(`{"access_token":"abc","expires_in":300.5}`), upstream.Unauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			x.fault.Kind = upstreamtest.Token
			defer r.Inject(x.fault)()
			config := config
			if x.fault.Hold != nil { // no other case may run into this limit
				config.Timeouts.Manifest = 200 * time.Millisecond
			}
			_, err := client(t, config).Head(t.Context(), r.Endpoint(), repo, "v1", nil)
			want(t, err, x.kind, "")
		})
	}
	for name, realm := range map[string]string{
		"elsewhere": "https://evil.example/token", "none": "", "no address": "https://%zz", "a file": "file:///etc/passwd",
		"metadata": "http://169.254.169.254/token", "with credentials": "http://a:b@" + r.Host() + "/token",
	} {
		t.Run("realm "+name, func(t *testing.T) {
			defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Head, Status: 401, Header: header("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", realm))})()
			_, err := client(t, config).Head(t.Context(), r.Endpoint(), repo, "v1", nil)
			if kind := upstream.KindOf(err); kind != upstream.Refused && kind != upstream.Invalid {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("unknown scheme", func(t *testing.T) {
		defer r.Inject(upstreamtest.Fault{Kind: upstreamtest.Head, Status: 401, Header: header("WWW-Authenticate", "Negotiate")})()
		_, err := client(t, config).Head(t.Context(), r.Endpoint(), repo, "v1", nil)
		want(t, err, upstream.Unauthorized, "no way to log in")
	})
	// After all this a client that failed works again.
	c := client(t, config)
	remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Token, Status: 502})
	_, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil)
	want(t, err, upstream.Unavailable, "502")
	remove()
	if _, err := c.Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
		t.Error(err)
	}
}

// TestTokensElsewhere has the token server on a host of its own.
func TestTokensElsewhere(t *testing.T) {
	r := upstreamtest.New(t)
	r.RequireToken("user", "secret")
	auth := httptest.NewServer(r.TokenServer())
	defer auth.Close()
	r.SetRealm(auth.URL + "/token")
	r.PushImage(repo, "v1")
	config := upstreamtest.Config(r)
	_, err := client(t, config).Head(t.Context(), r.Endpoint(), repo, "v1", nil)
	want(t, err, upstream.Refused, "none of its hosts")
	config.Hosts[r.Host()] = upstream.Host{PlainHTTP: true, Also: []string{strings.TrimPrefix(auth.URL, "http://")}}
	if _, err := client(t, config).Head(t.Context(), r.Endpoint(), repo, "v1", nil); err != nil {
		t.Error(err)
	}
}

func TestPing(t *testing.T) {
	r := upstreamtest.New(t)
	c := client(t, upstreamtest.Config(r))
	ctx, anonymous := t.Context(), upstream.Endpoint{Host: r.Host()}
	for _, require := range []func(string, string){nil, r.RequireBasic, r.RequireToken} {
		if require != nil {
			require("user", "secret")
		}
		if err := c.Ping(ctx, r.Endpoint(), ""); err != nil {
			t.Error(err)
		}
		if err := c.Ping(ctx, anonymous, ""); err != nil {
			t.Error(err)
		}
		wrong := r.Endpoint()
		if wrong.Password != "" {
			wrong.Password = "wrong"
			want(t, c.Ping(ctx, wrong, ""), upstream.Unauthorized, "")
			want(t, c.Ping(ctx, wrong, repo), upstream.Unauthorized, "")
		}
		want(t, c.Ping(ctx, r.Endpoint(), "team/none"), upstream.NotFound, "")
		r.PushImage(repo, "v1")
		if err := c.Ping(ctx, r.Endpoint(), repo); err != nil {
			t.Error(err)
		}
		r.Delete(repo, "v1")
	}
	defer r.Inject(upstreamtest.Fault{Status: 404})()
	want(t, c.Ping(ctx, anonymous, ""), upstream.NotFound, "404")
}

// TestSecrets makes sure that credentials and tokens go to the registry and its token server
// only, and into no error and no log.
func TestSecrets(t *testing.T) {
	r, storage := upstreamtest.New(t), upstreamtest.New(t)
	r.RequireToken("user", "pass-word-secret")
	var log strings.Builder
	config := upstreamtest.Config(r, storage)
	config.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := client(t, config)
	blob := pattern(1000)
	digest := r.PutBlob(repo, blob)
	storage.PutBlob("", blob)
	remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Skip: 1, Redirect: storage.URL() + "/storage/{digest}?signature=signed-secret"})
	content, size, err := c.Blob(t.Context(), r.Endpoint(), repo, digest, 400)
	if err != nil || size != 1000 {
		t.Fatalf("%d, %v", size, err)
	}
	if got, err := io.ReadAll(content); err != nil || string(got) != string(blob[400:]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := content.Close(); err != nil {
		t.Error(err)
	}
	got := storage.Requests()
	if len(got) != 1 || got[0].Header.Get("Range") != "bytes=400-" || got[0].Query != "signature=signed-secret" {
		t.Errorf("storage was asked %v", got)
	}
	for _, req := range got {
		for _, name := range []string{"Authorization", "Cookie", "Referer"} {
			if v := req.Header.Get(name); v != "" {
				t.Errorf("storage got %s: %s", name, v)
			}
		}
	}
	token := ""
	for _, req := range r.Requests() {
		if v, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer "); ok {
			token = v
		}
	}
	if token == "" {
		t.Fatal("no token was used")
	}

	var failures []error
	_, _, err = c.Blob(t.Context(), r.Endpoint(), repo, digest, 5000) // storage answers 416
	failures = append(failures, err)
	for _, status := range []int{403, 404, 500} {
		unhappy := storage.Inject(upstreamtest.Fault{Status: status})
		_, _, err = c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
		if status == 403 {
			want(t, err, upstream.Unavailable, "403") // it is the address that is refused
		}
		failures = append(failures, err)
		unhappy()
	}
	remove()
	for _, location := range []string{"https://evil.example/" + token + "?pass-word-secret", "https://u:pass-word-secret@evil.example/", "https://%zz" + token} {
		remove := r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Redirect: location})
		_, _, err = c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
		failures = append(failures, err)
		remove()
	}
	remove = r.Inject(upstreamtest.Fault{Kind: upstreamtest.Blob, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(400)
		_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%[1]q}]}`, req.Header.Get("Authorization"))
	})})
	_, _, err = c.Blob(t.Context(), r.Endpoint(), repo, digest, 0)
	failures = append(failures, err)
	remove()
	wrong := r.Endpoint()
	wrong.Username = "other"
	_, _, err = c.Blob(t.Context(), wrong, repo, digest, 0)
	failures = append(failures, err)
	failures = append(failures, echo(t, token))

	basic := base64.StdEncoding.EncodeToString([]byte("user:pass-word-secret"))
	for _, err := range failures {
		if upstream.KindOf(err) == 0 {
			t.Errorf("no failure: %v", err)
			continue
		}
		for _, secret := range []string{token, "pass-word-secret", basic, "signed-secret"} {
			if strings.Contains(fmt.Sprintf("%v %+v %q", err, err, err), secret) {
				t.Errorf("told: %v", err)
			}
		}
	}
	for _, secret := range []string{token, "pass-word-secret", basic, "signed-secret"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("logged: %s", &log)
		}
	}
}

// echo asks a server that is no HTTP server, and answers with what it was sent.
func echo(t *testing.T, token string) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil {
				switch auth := req.Header.Get("Authorization"); {
				case req.URL.Path == "/token":
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"token\":%q}", token)
				case auth == "":
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 401 No\r\nConnection: close\r\nContent-Length: 0\r\nWWW-Authenticate: Bearer realm=\"http://%s/token\"\r\n\r\n", host)
				default:
					_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", strings.TrimPrefix(auth, "Bearer "))
				}
			}
			_ = conn.Close()
		}
	}()
	defer func() {
		_ = l.Close()
		<-done
	}()
	c := client(t, upstream.Config{AllowPrivate: upstreamtest.Loopback(), Hosts: map[string]upstream.Host{host: {PlainHTTP: true}}})
	_, err = c.Head(t.Context(), upstream.Endpoint{Host: host, Username: "user", Password: "pass-word-secret"}, repo, "v1", nil)
	want(t, err, upstream.Unavailable, "repeats what was sent")
	return err
}
