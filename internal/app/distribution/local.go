package distribution

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/berth-registry/berth/internal/domain/authz"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/pullthrough"
	"github.com/berth-registry/berth/internal/infra/upstream"
)

// PullThroughService is the service whose role fetches images for the pull-through
// cache.
const PullThroughService = "pullthroughcache.ecr.amazonaws.com"

// localUpstream is how a rule's upstream is spoken to that is a registry of this
// deployment: in-process, as the rule's role.
func (s *Services) localUpstream(ctx context.Context, r pullthrough.Rule, role string) (upstream.Endpoint, error) {
	h := s.c.Hosts.Parse(r.URL)
	if h.Kind != name.HostRegistry {
		return upstream.Endpoint{}, fmt.Errorf("%s is no registry of this deployment", r.URL)
	}
	who, err := s.c.Access.ServiceSession(ctx, authz.ServiceRole{
		Service: PullThroughService, Role: role, Session: "pull-through-cache", Source: r.Registry.RepositoryARN(name.Repository(r.Prefix)), Region: r.Registry.Region,
	})
	if err != nil {
		return upstream.Endpoint{}, err
	}
	password, _, err := s.c.Principals.IssueToken(ctx, who, h.Region)
	if err != nil {
		return upstream.Endpoint{}, err
	}
	return upstream.Endpoint{Host: r.URL, Username: "AWS", Password: password, Via: inProcess{handler: s.c.Handler, rule: keyOf(r)}}, nil
}

// ruleKey names a rule.
type ruleKey struct {
	registry name.Registry
	prefix   string
}

func keyOf(r pullthrough.Rule) ruleKey { return ruleKey{r.Registry, r.Prefix} }

// visitedKey is where a context keeps the rules that a request has come through.
type visitedKey struct{}

func visited(ctx context.Context, k ruleKey) bool {
	all, _ := ctx.Value(visitedKey{}).([]ruleKey)
	for _, v := range all {
		if v == k {
			return true
		}
	}
	return false
}

// rules are the pull-through rules, of which each is followed once on the way of a
// request: two registries of this deployment may be each other's upstreams.
type rules struct{ *pullthrough.Service }

// Covering is pullthrough.Service.Covering, without the rules that the request has
// come through.
func (r rules) Covering(ctx context.Context, reg name.Registry, repo name.Repository) (pullthrough.Rule, bool, error) {
	rule, ok, err := r.Service.Covering(ctx, reg, repo)
	if ok && visited(ctx, keyOf(rule)) {
		return pullthrough.Rule{}, false, nil
	}
	return rule, ok, err
}

// inProcess is an http.RoundTripper to a handler of this process.
type inProcess struct {
	handler func() http.Handler
	rule    ruleKey
}

var _ http.RoundTripper = inProcess{}

// RoundTrip has the handler answer the request, while the answer is read.
func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	all, _ := req.Context().Value(visitedKey{}).([]ruleKey)
	ctx, cancel := context.WithCancel(context.WithValue(req.Context(), visitedKey{}, append(all[:len(all):len(all)], t.rule)))
	in := req.Clone(ctx)
	in.RequestURI, in.RemoteAddr = req.URL.RequestURI(), "127.0.0.1:0"
	in.TLS = &tls.ConnectionState{} // nobody can listen in
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, w := io.Pipe()
	answer := &answerWriter{header: http.Header{}, body: w, begun: make(chan struct{})}
	go func() {
		defer cancel()
		defer func() {
			if v := recover(); v != nil {
				_ = w.CloseWithError(fmt.Errorf("the answer broke off: %v", v)) // never fails
			}
			answer.WriteHeader(http.StatusOK) // of an answer without a body
			_ = w.Close()                     // never fails
		}()
		t.handler().ServeHTTP(answer, in)
	}()
	select {
	case <-answer.begun:
	case <-ctx.Done():
		<-answer.begun // the handler has its context too
	}
	resp := &http.Response{
		Status: fmt.Sprintf("%d %s", answer.status, http.StatusText(answer.status)), StatusCode: answer.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.sent, Body: &answerBody{PipeReader: body, cancel: cancel}, Request: req, ContentLength: -1,
	}
	if n, err := contentLength(answer.sent); err == nil {
		resp.ContentLength = n
	}
	return resp, nil
}

func contentLength(h http.Header) (n int64, err error) {
	text := h.Get("Content-Length")
	if text == "" {
		return 0, errors.New("no length")
	}
	_, err = fmt.Sscan(text, &n)
	return n, err
}

// answerBody ends the handler when it is closed before its end.
type answerBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close ends the answer.
func (b *answerBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}

// answerWriter is the http.ResponseWriter of an answer in a pipe.
type answerWriter struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	begun  chan struct{}
	status int
	sent   http.Header
}

// Header is what WriteHeader sends.
func (w *answerWriter) Header() http.Header { return w.header }

// WriteHeader begins the answer; only the first call does.
func (w *answerWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.begun)
	})
}

// Write passes a piece on.
func (w *answerWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}
