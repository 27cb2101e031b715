package app_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/app/apptest"
	"github.com/berth-registry/berth/internal/config"
)

// guarded is a log that a test reads while it is written; written gets a line for
// each that holds the text it waits for.
type guarded struct {
	mu      sync.Mutex
	text    bytes.Buffer
	waiting string
	written chan struct{}
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if strings.Contains(string(p), g.waiting) {
		select {
		case g.written <- struct{}{}:
		default:
		}
	}
	return g.text.Write(p)
}

func (g *guarded) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.String()
}

// unsealed runs the program with layers that are kept as they are.
func unsealed(t *testing.T) (s *apptest.Server, data string, log *guarded) {
	t.Helper()
	log = &guarded{waiting: "transfer broke off", written: make(chan struct{}, 1)}
	s = apptest.Start(t, apptest.Options{Log: slog.New(slog.NewTextHandler(log, nil)), Config: func(c *config.Config) {
		c.Blobs.Encryption = "none"
		data = c.Data
	}})
	s.CreateRepository(t, "ab")
	return s, data, log
}

// blobFile is the only file of its size below the data directory.
func blobFile(t *testing.T, data string, size int) (path string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(data, "blobs"), func(p string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() == int64(size) {
			path = p
		}
		return err
	})
	if err != nil || path == "" {
		t.Fatalf("no file of %d bytes: %v", size, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPlainPulls: layers that are kept as they are go out whole and in parts, and
// what shows before the first byte is an error and no broken transfer.
func TestPlainPulls(t *testing.T) {
	s, data, log := unsealed(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	token := s.Authorization(t)
	at := s.URL + "/v2/ab/blobs/" + apptest.PushBlob(t, s.URL, token, "ab", content, nil).String()
	file := blobFile(t, data, len(content))
	for _, c := range []struct {
		method, ranged string
		status         int
		want           []byte
		length         int
	}{
		{http.MethodGet, "", http.StatusOK, content, len(content)},
		{http.MethodHead, "", http.StatusOK, nil, len(content)},
		{http.MethodGet, "bytes=0-0", http.StatusPartialContent, content[:1], 1},
		{http.MethodGet, "bytes=7-1000006", http.StatusPartialContent, content[7:1_000_007], 1_000_000},
		{http.MethodGet, "bytes=3000000-", http.StatusPartialContent, content[3_000_000:], len(content) - 3_000_000},
		{http.MethodGet, "bytes=-5", http.StatusPartialContent, content[len(content)-5:], 5},
		{http.MethodGet, "", http.StatusOK, content, len(content)},
	} {
		header := map[string]string{}
		if c.ranged != "" {
			header["Range"] = c.ranged
		}
		answer, got := apptest.Do(t, c.method, at, token, nil, header)
		if answer.StatusCode != c.status || !bytes.Equal(got, c.want) || answer.ContentLength != int64(c.length) {
			t.Errorf("%s %q: %s with %d bytes, announced %d", c.method, c.ranged, answer.Status, len(got), answer.ContentLength)
		}
	}
	if err := os.Truncate(file, int64(len(content)-1)); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []func() error{
		func() error { return nil }, // it is too short
		func() error { return os.Remove(file) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		for _, ranged := range []string{"", "bytes=0-9"} {
			answer, text := apptest.Do(t, http.MethodGet, at, token, nil, map[string]string{"Range": ranged})
			if answer.StatusCode != http.StatusInternalServerError || answer.Header.Get("Docker-Content-Digest") != "" {
				t.Errorf("damaged, %q: %s %s", ranged, answer.Status, text)
			}
		}
	}
	if n := strings.Count(log.String(), "the bytes of a layer are missing or damaged"); n < 4 {
		t.Errorf("the log speaks %d times of damage:\n%s", n, log)
	}
}

// TestTruncatedWhilePulled: bytes that go missing under way cut the connection, and
// are logged as a fault of this side.
func TestTruncatedWhilePulled(t *testing.T) {
	s, data, log := unsealed(t)
	content := make([]byte, 64<<20)
	token := s.Authorization(t)
	d := apptest.PushBlob(t, s.URL, token, "ab", content, nil)
	client, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }() // the test is over
	// A small window, so that most of the layer waits on the other side.
	if err := client.(*net.TCPConn).SetReadBuffer(256 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(client, "GET /v2/ab/blobs/%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n\r\n", d, strings.TrimPrefix(s.URL, "http://"), token); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(client)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusOK || answer.ContentLength != int64(len(content)) {
		t.Fatalf("%+v, %v", answer, err)
	}
	if err := os.Truncate(blobFile(t, data, len(content)), 60<<20); err != nil {
		t.Fatal(err)
	}
	got, err := io.Copy(io.Discard, answer.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || got > 60<<20 {
		t.Errorf("got %d bytes, %v", got, err)
	}
	<-log.written
	if text := log.String(); !strings.Contains(text, "level=ERROR msg=\"transfer broke off\"") || !strings.Contains(text, "the bytes of a layer are missing or damaged") {
		t.Errorf("the log has no word of it:\n%s", text)
	}
}
