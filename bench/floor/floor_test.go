package floor

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/berth-registry/berth/bench/content"
)

// client is one of a server whose files are in dir.
type client struct {
	t   *testing.T
	url string
}

func start(t *testing.T) (c client, dir string) {
	dir = t.TempDir()
	h := httptest.NewServer(New(dir))
	t.Cleanup(h.Close)
	return client{t, h.URL}, dir
}

// do makes a request and returns the answer's body, if it has the status.
func (c client) do(method, path string, body []byte, status int) (http.Header, []byte) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if answer.StatusCode != status {
		c.t.Fatalf("%s %s: %s %s", method, path, answer.Status, text)
	}
	return answer.Header, text
}

// push uploads a body as a registry's client does.
func (c client) push(body []byte, digest string, status int) {
	c.t.Helper()
	h, _ := c.do(http.MethodPost, "/v2/some/where/blobs/uploads/", nil, http.StatusAccepted)
	h, _ = c.do(http.MethodPatch, h.Get("Location"), body, http.StatusAccepted)
	c.do(http.MethodPut, h.Get("Location")+"?digest="+digest, nil, status)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

func TestComesBack(t *testing.T) {
	c, dir := start(t)
	c.do(http.MethodGet, "/v2/", nil, http.StatusOK)
	var all sync.WaitGroup
	for _, n := range []int{0, 1, 1000, segment - 1, segment, segment + 1, 4 * segment, 9*segment + 7, 3<<20 + 5} {
		all.Go(func() {
			body := random(n)
			c.push(body, content.Digest(body), http.StatusCreated)
			h, got := c.do(http.MethodGet, "/v2/some/where/blobs/"+content.Digest(body), nil, http.StatusOK)
			if !bytes.Equal(got, body) {
				t.Errorf("%d bytes came back as %d others", n, len(got))
			}
			if head, _ := c.do(http.MethodHead, "/v2/some/where/blobs/"+content.Digest(body), nil, http.StatusOK); head.Get("Content-Length") != h.Get("Content-Length") {
				t.Errorf("HEAD says %s bytes", head.Get("Content-Length"))
			}
		})
	}
	all.Wait()
	// What is on the disk is sealed.
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 9 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	clear := random(32)
	for _, name := range files {
		if text, err := os.ReadFile(name); err != nil || bytes.Contains(text, clear) {
			t.Errorf("%s can be read, %v", name, err)
		}
	}
}

func TestRefuses(t *testing.T) {
	c, _ := start(t)
	body := random(100)
	c.push(body, content.Digest([]byte("other")), http.StatusInternalServerError)
	c.do(http.MethodGet, "/v2/some/where/blobs/"+content.Digest(body), nil, http.StatusNotFound)
	c.do(http.MethodPatch, "/v2/some/where/blobs/uploads/77", body, http.StatusNotFound)
	c.do(http.MethodGet, "/v2/some/where/manifests/latest", nil, http.StatusNotFound)
	c.do(http.MethodDelete, "/v2/some/where/blobs/"+content.Digest(body), nil, http.StatusNotFound)
}

// TestDamaged: a layer that was changed on the disk does not come back as another one.
func TestDamaged(t *testing.T) {
	c, dir := start(t)
	body := random(100)
	c.push(body, content.Digest(body), http.StatusCreated)
	name := filepath.Join(dir, "1")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	text[50] ^= 1
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if answer, err := http.Get(c.url + "/v2/some/where/blobs/" + content.Digest(body)); err == nil {
		_ = answer.Body.Close()
		t.Errorf("the answer is %s", answer.Status)
	}
}
