package distribution

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/name"
)

func through(h http.HandlerFunc) *http.Client {
	return &http.Client{Transport: inProcess{
		handler: func() http.Handler { return h },
		rule:    ruleKey{name.Registry{Account: "111111111111", Region: "us-east-1"}, "a"},
	}}
}

func TestInProcess(t *testing.T) {
	c := through(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "registry.example" || r.TLS == nil || r.RequestURI != "/v2/x?a=b" || r.Header.Get("Authorization") == "" || !visited(r.Context(), ruleKey{name.Registry{Account: "111111111111", Region: "us-east-1"}, "a"}) {
			t.Errorf("%+v", r)
		}
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("Late", "x")
		_, _ = io.Copy(w, strings.NewReader("0123456789"))
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://registry.example/v2/x?a=b", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("AWS", "secret")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "0123456789" || resp.StatusCode != http.StatusAccepted || resp.ContentLength != 10 || resp.Header.Get("Late") != "" {
		t.Errorf("%+v %q %v", resp, body, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
}

// TestInProcessEnds: a reader that goes away ends the handler, and a handler that
// breaks off is an error for the reader and no short answer.
func TestInProcessEnds(t *testing.T) {
	ended := make(chan error, 1)
	c := through(func(w http.ResponseWriter, r *http.Request) {
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 1<<10))
		}
		<-r.Context().Done()
		ended <- err
	})
	resp, err := c.Get("https://registry.example/endless")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 5<<10); err != nil {
		t.Error(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}

	c = through(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("begun"))
		panic(http.ErrAbortHandler)
	})
	if resp, err = c.Get("https://registry.example/broken"); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "begun" {
		t.Errorf("%q %v", body, err)
	}
	_ = resp.Body.Close() // was read to its end

	c = through(func(http.ResponseWriter, *http.Request) {})
	if resp, err = c.Get("https://registry.example/nothing"); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v %v", resp, err)
	}
	_ = resp.Body.Close() // has nothing

	if visited(context.Background(), ruleKey{}) {
		t.Error("a request from outside has come through a rule")
	}
}
