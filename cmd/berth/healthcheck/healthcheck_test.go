package healthcheck

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app"
	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
)

// TestOfDataDirectory asks the whole program, found by its data directory.
func TestOfDataDirectory(t *testing.T) {
	data := ""
	s := apptest.Start(t, apptest.Options{Config: func(c *config.Config) { data, c.Listen = c.Data, "127.0.0.1:0" }})
	probe := Command{Data: data, Timeout: 30 * time.Second}
	if err := probe.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no server has run on "+data) {
		t.Errorf("before the first start: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.App.Run(ctx, func(app.ServerInfo) { close(ready) }) }()
	<-ready
	if err := probe.Run(t.Context()); err != nil {
		t.Errorf("of a running server: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := probe.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("of a server that has stopped: %v", err)
	}
}

func TestOfURL(t *testing.T) {
	status, asked := http.StatusOK, ""
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("the database does not answer\n")) // the probe reads it or has gone
	})
	plain, secured := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secured.Close()
	for _, c := range []struct {
		url    string
		status int
		path   string
		fails  string
	}{
		{url: plain.URL, status: 200, path: "/readyz"},
		{url: secured.URL + "/", status: 200, path: "/readyz"},
		{url: plain.URL + "/healthz", status: 200, path: "/healthz"},
		{url: plain.URL, status: 503, path: "/readyz", fails: "is not ready: 503 Service Unavailable: the database does not answer"},
		{url: plain.URL, status: 302, path: "/readyz", fails: "is not ready: 302 Found"},
		{url: "127.0.0.1:5000", fails: "is not the address of a server"},
		{url: "unix:///socket", fails: "is not the address of a server"},
	} {
		status, asked = c.status, ""
		err := Command{URL: c.url, Timeout: 30 * time.Second}.Run(t.Context())
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
			t.Errorf("%s answering %d: %v", c.url, c.status, err)
		}
		if asked != c.path {
			t.Errorf("%s asked for %q, want %q", c.url, asked, c.path)
		}
	}
}
