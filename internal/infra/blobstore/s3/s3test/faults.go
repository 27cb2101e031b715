package s3test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Rule says which requests are disturbed, and how.
type Rule struct {
	// Op is the operation as Operation names it, "" any.
	Op string
	// Key has to occur in the request's path, "" always does.
	Key string
	// Skip lets so many matching requests pass first.
	Skip int
	// Times is how many are disturbed then, 0 all.
	Times int
	// Do is what happens to them.
	Do Action
}

// Action is one kind of disturbance. The zero value passes the request on.
type Action struct {
	status  int
	code    string
	hang    bool
	reset   bool
	drop    bool
	cutAt   int64 // of the answer's body, when cut
	cut     bool
	flipAt  int64 // of the answer's body, when flip
	flip    bool
	halfReq bool
}

// Fail answers with a status and one of S3's error codes and passes nothing on.
func Fail(status int, code string) Action { return Action{status: status, code: code} }

// SlowDown is how S3 asks for patience.
func SlowDown() Action { return Fail(http.StatusServiceUnavailable, "SlowDown") }

// InternalError is how S3 says that it failed.
func InternalError() Action { return Fail(http.StatusInternalServerError, "InternalError") }

// Hang answers nothing until the client gives up.
func Hang() Action { return Action{hang: true} }

// Reset breaks the connection before anything is passed on.
func Reset() Action { return Action{reset: true} }

// Drop has the server carry the request out and breaks the connection in place of
// its answer.
func Drop() Action { return Action{drop: true} }

// FailAfter has the server carry the request out and answers a failure.
func FailAfter(status int, code string) Action {
	return Action{drop: true, status: status, code: code}
}

// Cut breaks the connection after so many bytes of the answer's body.
func Cut(after int64) Action { return Action{cut: true, cutAt: after} }

// Flip changes a bit in one byte of the answer's body.
func Flip(at int64) Action { return Action{flip: true, flipAt: at} }

// CutRequest passes on half of the request's body and breaks both connections.
func CutRequest() Action { return Action{halfReq: true} }

// Faults is a proxy in front of an S3 server that does what its rules say to the
// requests that pass.
type Faults struct {
	// URL is the proxy's endpoint.
	URL string

	target  *url.URL
	forward *http.Transport
	server  *http.Server
	done    chan struct{} // closed when the server has ended
	quit    chan struct{} // closed when hanging requests are to end

	mu    sync.Mutex
	rules []*rule
	seen  map[string]int
}

type rule struct {
	Rule
	matched int
}

// NewFaults starts a proxy in front of the server and ends it with the test. It
// has no rules at first.
func NewFaults(t testing.TB, s *Server) *Faults {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &Faults{
		URL: "http://" + l.Addr().String(), target: target, seen: map[string]int{},
		forward: &http.Transport{DisableCompression: true},
		done:    make(chan struct{}), quit: make(chan struct{}),
	}
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: callTimeout}
	go func() {
		defer close(f.done)
		_ = f.server.Serve(l) // ends by Close
	}()
	t.Cleanup(func() {
		close(f.quit)
		if err := f.server.Close(); err != nil {
			t.Error(err)
		}
		<-f.done
		f.forward.CloseIdleConnections()
	})
	return f
}

// Set replaces the rules. For each request the first that matches holds.
func (f *Faults) Set(rules ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
	for _, r := range rules {
		f.rules = append(f.rules, &rule{Rule: r})
	}
	clear(f.seen)
}

// Seen is how many requests of an operation came since the last Set, "" all.
func (f *Faults) Seen(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != "" {
		return f.seen[op]
	}
	n := 0
	for _, k := range f.seen {
		n += k
	}
	return n
}

// Operation is S3's name of what a request with a path-style address asks for.
func Operation(r *http.Request) string {
	q := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch has := q.Has; {
	case r.Method == http.MethodPost && has("delete"):
		return "DeleteObjects"
	case r.Method == http.MethodPost && has("uploads"):
		return "CreateMultipartUpload"
	case r.Method == http.MethodPost && has("uploadId"):
		return "CompleteMultipartUpload"
	case r.Method == http.MethodPut && has("partNumber"):
		return "UploadPart"
	case r.Method == http.MethodPut && key != "":
		return "PutObject"
	case r.Method == http.MethodDelete && has("uploadId"):
		return "AbortMultipartUpload"
	case r.Method == http.MethodDelete && key != "":
		return "DeleteObject"
	case r.Method == http.MethodGet && has("uploads"):
		return "ListMultipartUploads"
	case r.Method == http.MethodGet && has("uploadId"):
		return "ListParts"
	case r.Method == http.MethodGet && key != "":
		return "GetObject"
	case r.Method == http.MethodGet:
		return "ListObjectsV2"
	case r.Method == http.MethodHead && key != "":
		return "HeadObject"
	}
	return r.Method
}

// choose finds the action for a request.
func (f *Faults) choose(r *http.Request) Action {
	op := Operation(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[op]++
	for _, rule := range f.rules {
		if (rule.Op != "" && rule.Op != op) || !strings.Contains(r.URL.Path, rule.Key) {
			continue
		}
		rule.matched++
		if n := rule.matched - rule.Skip; n > 0 && (rule.Times == 0 || n <= rule.Times) {
			return rule.Do
		}
	}
	return Action{}
}

func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := f.choose(r)
	switch {
	case action.hang:
		_, _ = io.Copy(io.Discard, r.Body) // the client may break it off
		select {
		case <-r.Context().Done():
		case <-f.quit:
		}
		panic(http.ErrAbortHandler)
	case action.reset:
		reset(w)
		return
	case action.status != 0 && !action.drop:
		_, _ = io.Copy(io.Discard, r.Body) // the client may break it off
		refuse(w, action)
		return
	}
	if action.halfReq {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r.Body, r.ContentLength/2), broken{}), r.Body}
	}
	response, err := f.pass(r)
	if err != nil {
		reset(w)
		return
	}
	defer func() { _ = response.Body.Close() }() // it was read as far as it is wanted
	if action.drop {
		_, _ = io.Copy(io.Discard, response.Body) // only that it is over matters
		if action.status != 0 {
			refuse(w, action)
			return
		}
		reset(w)
		return
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	body := io.Reader(response.Body)
	if action.flip {
		body = &flipper{inner: body, at: action.flipAt}
	}
	if !action.cut {
		_, _ = io.Copy(w, body) // the client may have gone
		return
	}
	_, _ = io.Copy(w, io.LimitReader(body, action.cutAt)) // the client may have gone
	_ = http.NewResponseController(w).Flush()             // the same
	panic(http.ErrAbortHandler)
}

// pass hands a request on as it is: its signature covers the host.
func (f *Faults) pass(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callTimeout)
	out := r.Clone(ctx)
	out.URL.Scheme, out.URL.Host, out.RequestURI = f.target.Scheme, f.target.Host, ""
	out.Header.Del("Expect")
	if r.ContentLength == 0 {
		out.Body = nil
	}
	response, err := f.forward.RoundTrip(out)
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = &cancelBody{response.Body, cancel}
	return response, nil
}

type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancelBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

func refuse(w http.ResponseWriter, a Action) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(a.status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>A fault of the test.</Message></Error>`, a.code) // the client may have gone
}

// reset ends the client's connection the hard way.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it ends softly
	}
	_ = conn.Close() // there is nothing to lose
}

// broken is a body that breaks off.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the body breaks off here") }

// flipper changes a bit on the way.
type flipper struct {
	inner  io.Reader
	at     int64
	passed int64
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.inner.Read(p)
	if i := f.at - f.passed; i >= 0 && i < int64(n) {
		p[i] ^= 0x40
	}
	f.passed += int64(n)
	return n, err
}
