package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/test/contract/harness"
)

// TestSlowClients holds many connections with a trickle of bytes each, in the
// request line, in the header and in the body: others are served as before, and
// each trickle of a body ends well.
func TestSlowClients(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "slow")
	registry := s.Registry(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients sync.WaitGroup
	for range 100 {
		clients.Go(func() {
			trickle(ctx, s.Addr, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "+strings.Repeat("x", 10_000))
		})
	}
	var slow sync.WaitGroup
	for n := range 20 {
		slow.Go(func() {
			content := harness.Random(uint64(n), 40)
			location, err := registry.StartUpload(ctx, "slow")
			if err != nil {
				t.Error(err)
				return
			}
			digest := harness.Digest(content)
			_, err = registry.Do(ctx, harness.Request{
				Method: http.MethodPut, Path: location + "?digest=" + url.QueryEscape(digest), Body: &dripping{content}, Length: int64(len(content)),
			}, http.StatusCreated)
			if err != nil {
				t.Errorf("a slow push: %v", err)
				return
			}
			if _, err := registry.Blob(ctx, "slow", digest); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	for n := range uint64(5) {
		began := time.Now()
		registry.PushImage(t, "slow", fmt.Sprintf("quick-%d", n), 1000+n, 100_000)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a push beside slow clients took %s", took)
		}
	}
	slow.Wait()
	stop()
	clients.Wait()
	s.MustFsck(t)
}

// dripping gives one byte at a time, for about two seconds.
type dripping struct{ rest []byte }

func (d *dripping) Read(p []byte) (int, error) {
	if len(d.rest) == 0 {
		return 0, io.EOF
	}
	time.Sleep(50 * time.Millisecond)
	p[0] = d.rest[0]
	d.rest = d.rest[1:]
	return 1, nil
}

func trickle(ctx context.Context, address, text string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	for i := range text {
		if _, err := conn.Write([]byte{text[i]}); err != nil {
			return // the server has had enough
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestCutConnections cuts pushes and pulls in the middle, many times: uploads go
// on from what arrived, nothing half is ever served, and no file or descriptor
// stays behind.
func TestCutConnections(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	s.CreateRepository(t, "cut")
	registry := s.Registry(t)
	registry.PushImage(t, "cut", "v1", 1, 5<<20)
	layer := registry.Verify(t, "cut", "v1").Manifest.Layers[0].Digest
	round := func(first uint64) {
		var cut sync.WaitGroup
		for n := range uint64(40) {
			cut.Go(func() {
				if err := cutPull(t.Context(), registry, "cut", layer); err != nil {
					t.Error(err)
				}
				if err := cutPush(t.Context(), registry, "cut", harness.Random(first+n, 300_000)); err != nil {
					t.Error(err)
				}
			})
		}
		cut.Wait()
		registry.HTTP.CloseIdleConnections()
	}
	round(10) // after which the server holds what it keeps open for long
	before := s.SettledFiles(t, 0)
	round(100)
	// A few more are the database's own, which opens readers as they are needed;
	// what a cut transfer left behind would be there 40 or 80 times.
	if after := s.SettledFiles(t, before); after > before+15 {
		t.Errorf("the server had %d files open after 40 cut pushes and pulls, and %d after as many more", before, after)
	}
	s.MustFsck(t)
}

func cutPull(ctx context.Context, registry *harness.Registry, repo, digest string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	response, err := registry.Open(ctx, harness.Request{Method: http.MethodGet, Path: "/v2/" + repo + "/blobs/" + digest})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it is cut
	_, err = io.CopyN(io.Discard, response.Body, 100_000)
	return err
}

func cutPush(ctx context.Context, registry *harness.Registry, repo string, content []byte) error {
	location, err := registry.StartUpload(ctx, repo)
	if err != nil {
		return err
	}
	digest := harness.Digest(content)
	half, cancel := context.WithCancel(ctx)
	body := io.MultiReader(bytes.NewReader(content[:200_000]), &cutting{cancel})
	_, err = registry.Do(half, harness.Request{
		Method: http.MethodPut, Path: location + "?digest=" + url.QueryEscape(digest), Body: body, Length: int64(len(content)),
	})
	if err == nil {
		return errors.New("a cut push was answered")
	}
	if _, err := registry.Blob(ctx, repo, digest); err == nil {
		return errors.New("a cut push is served as a blob")
	}
	// Another request may find the upload busy until the server has seen the end.
	deadline := time.Now().Add(20 * time.Second)
	for {
		n, found, err := registry.Received(ctx, location)
		if err == nil && !found {
			return errors.New("a cut upload is gone")
		}
		if err == nil {
			if n > 200_000 {
				return fmt.Errorf("a cut upload holds %d bytes, 200000 were sent", n)
			}
			err = registry.FinishAt(ctx, location, digest, n, content[n:])
		}
		if err == nil {
			_, err = registry.Blob(ctx, repo, digest)
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a cut upload does not go on: %w", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// cutting cuts the connection when it is read.
type cutting struct{ cancel func() }

func (c *cutting) Read([]byte) (int, error) {
	time.Sleep(20 * time.Millisecond) // what came before is on its way
	c.cancel()
	return 0, os.ErrClosed
}
