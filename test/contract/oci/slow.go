package oci

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// slowClient sends a byte now and then, for several times as long as it may
// stand still. There is no limit on a transfer as a whole.
func slowClient(t *testing.T, s *suite) {
	content := random(12)
	at := s.start(t, s.Repo1)
	reader, writer := io.Pipe()
	go func() {
		for i := range content {
			time.Sleep(s.Stall / 3)
			if _, err := writer.Write(content[i : i+1]); err != nil {
				return // the server gave up, which the answer tells
			}
		}
		_ = writer.Close() // a pipe's Close cannot fail
	}()
	a := s.want(t, http.StatusAccepted, request{method: http.MethodPatch, path: at, body: reader, length: int64(len(content))})
	wantRange(t, a, len(content))
	s.want(t, http.StatusCreated, put(withQuery(t, location(t, a), "digest", sha(content)), nil))
	s.holds(t, s.Repo1, sha(content), content)
}

// stalledClient sends half and then nothing. The server gives up, keeps the
// half, and the client goes on from there.
func stalledClient(t *testing.T, s *suite) {
	content := random(2000)
	at := s.start(t, s.Repo1)
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write(content[:1000]) // the answer tells
	}()
	begun := time.Now()
	resp, err := s.send(t, request{method: http.MethodPatch, path: at, body: reader, length: int64(len(content))})
	if err == nil {
		_ = resp.Body.Close() // only the status counts
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("a stalled client is answered %d", resp.StatusCode)
		}
	}
	if took := time.Since(begun); took > 4*s.Stall+5*time.Second {
		t.Errorf("a stalled client was cut after %v", took)
	}
	_ = writer.Close() // a pipe's Close cannot fail
	if got := s.settled(t, at); got != 1000 {
		t.Fatalf("the upload has %d bytes, want 1000", got)
	}
	a := s.want(t, http.StatusAccepted, chunk(at, content, 1000, 2000))
	s.want(t, http.StatusCreated, put(withQuery(t, location(t, a), "digest", sha(content)), nil))
	s.holds(t, s.Repo1, sha(content), content)

	// A manifest that never comes.
	reader, writer = io.Pipe()
	defer func() { _ = writer.Close() }()
	resp, err = s.send(t, request{method: http.MethodPut, path: s.manifestPath(s.Repo1, unique("stall")), body: reader, length: 1000, header: map[string]string{"Content-Type": typeImage}})
	if err == nil {
		_ = resp.Body.Close() // only the status counts
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("a manifest that does not come is answered %d", resp.StatusCode)
		}
	}
}
