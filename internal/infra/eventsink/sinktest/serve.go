package sinktest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// patience is how long tests wait for what has to happen; machines may be busy.
const patience = time.Minute

// Server is an HTTP server that can be away for a while and come back at its address.
type Server struct {
	// Address is host:port, on the loopback.
	Address string

	t       testing.TB
	handler http.Handler
	tls     *tls.Config
	mu      sync.Mutex
	running *http.Server
	ended   chan struct{}
}

// Serve starts a server that ends with the test; with a TLS configuration, one of HTTPS.
func Serve(t testing.TB, h http.Handler, c *tls.Config) *Server {
	t.Helper()
	s := &Server{Address: "127.0.0.1:0", t: t, handler: h, tls: c}
	s.Up()
	t.Cleanup(s.Down)
	return s
}

// Up starts the server.
func (s *Server) Up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l net.Listener
	Until(s.t, "an address to listen at", func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", s.Address)
		return err
	})
	s.Address = l.Addr().String()
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.running, s.ended = &http.Server{Handler: s.handler, ReadHeaderTimeout: patience}, make(chan struct{})
	go func(server *http.Server, ended chan struct{}) {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.t.Errorf("serving: %v", err)
		}
	}(s.running, s.ended)
}

// Down ends the server and all its connections.
func (s *Server) Down() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return
	}
	_ = s.running.Close() // connections that are cut are what is asked for
	<-s.ended
	s.running = nil
}

// Until repeats what may fail at first, until it does not. The test ends where it goes
// on failing.
func Until(t testing.TB, what string, do func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
