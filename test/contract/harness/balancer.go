package harness

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Balancer is a plain round-robin proxy in front of nodes: each request goes to
// the next one, whoever sent it. It asks each node ten times a second whether it
// is ready, and passes over those that say no or take no connection, as every
// balancer does; nothing else is tried again.
type Balancer struct {
	// Addr is its address, Host the same with the name localhost, Endpoint
	// http://Host.
	Addr, Host, Endpoint string

	nodes     []string
	ready     []atomic.Bool
	next      atomic.Uint64
	transport *http.Transport
}

// StartBalancer starts one, which ends with the test.
func StartBalancer(t testing.TB, nodes ...*Server) *Balancer {
	t.Helper()
	b := &Balancer{transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 64, DisableCompression: true,
	}}
	for _, n := range nodes {
		b.nodes = append(b.nodes, n.Addr)
	}
	b.ready = make([]atomic.Bool, len(nodes))
	stop := make(chan struct{})
	var looking sync.WaitGroup
	for i := range nodes {
		b.ready[i].Store(true)
		looking.Go(func() { b.look(i, stop) })
	}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.Host = r.In.Host },
		Transport:     b,
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo), // nodes are killed on purpose
	})
	t.Cleanup(func() {
		close(stop)
		looking.Wait()
		server.CloseClientConnections()
		server.Close()
		b.transport.CloseIdleConnections()
	})
	b.Addr = server.Listener.Addr().String()
	_, port, err := net.SplitHostPort(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	b.Host = "localhost:" + port
	b.Endpoint = "http://" + b.Host
	return b
}

// look asks a node again and again whether it is ready.
func (b *Balancer) look(i int, stop chan struct{}) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
		answer, err := client.Get("http://" + b.nodes[i] + "/readyz")
		if err == nil {
			_ = answer.Body.Close() // the status is all
		}
		b.ready[i].Store(err == nil && answer.StatusCode == http.StatusOK)
	}
}

// RoundTrip sends a request to the next node that is ready and takes connections,
// or to one that is not where none is.
func (b *Balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	var all []error
	for try := range 2 * len(b.nodes) {
		i := b.next.Add(1) % uint64(len(b.nodes))
		if try < len(b.nodes) && !b.ready[i].Load() {
			continue
		}
		r.URL.Scheme, r.URL.Host = "http", b.nodes[i]
		answer, err := b.transport.RoundTrip(r)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return answer, err
		}
		all = append(all, err)
	}
	return nil, fmt.Errorf("no node takes connections: %w", errors.Join(all...))
}

// Behind is the server as its clients see it through the balancer.
func (b *Balancer) Behind(s *Server) *Server {
	seen := *s
	seen.Addr, seen.Host, seen.Endpoint, seen.transport = b.Addr, b.Host, b.Endpoint, &http.Transport{MaxIdleConnsPerHost: 256}
	return &seen
}
