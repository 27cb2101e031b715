package hosts

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/berth-registry/berth/test/contract/harness"
)

// What is held against the server, and what it may cost.
const (
	idleConnections = 10_000
	slowHeaders     = 400
	slowCalls       = 300
	slowPushes      = 300
	// 64 KiB for each of 11,000 connections: buffers of TLS and HTTP, a stack, and as
	// much again that the collector has not come to yet; and a server's 64 MiB.
	memoryBound = 768 << 20
)

// TestHeldConnections holds 10,000 idle connections and 1,000 slow ones, over TLS,
// while images are pushed and pulled: those work, memory stays bounded, and the
// slow ones are cut at their limits.
func TestHeldConnections(t *testing.T) {
	idle := enoughFiles(t)
	certificate := harness.NewCertificate(t)
	s := harness.Start(t, harness.Options{TLS: certificate})
	s.CreateRepository(t, "held")
	registry := s.Registry(t)
	registry.PushImage(t, "held", "before", 1, 1<<20)
	h := &holder{
		address: s.Addr, authorization: "Basic " + s.Token(t),
		config: &tls.Config{ServerName: "localhost", RootCAs: certificate.Pool, ClientSessionCache: tls.NewLRUClientSessionCache(1)},
	}
	ctx, stop := context.WithCancel(t.Context())
	defer h.work.Wait()
	defer stop()

	h.open(ctx, t, idle, func(ctx context.Context, c net.Conn) { <-ctx.Done() })
	held := s.PeakMemory(t)
	t.Logf("%d idle connections: the server's peak memory %d MiB", idle, held>>20)

	// A byte of a header, of a call's body and of a layer each second.
	var cutHeaders, cutCalls, cutPushes atomic.Int64
	h.open(ctx, t, slowHeaders, func(ctx context.Context, c net.Conn) {
		drip(ctx, c, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", &cutHeaders)
	})
	h.open(ctx, t, slowCalls, func(ctx context.Context, c net.Conn) {
		// The most that an operation takes, and the look of a signature.
		drip(ctx, c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n"+
			"X-Amz-Target: AmazonEC2ContainerRegistry_V20150921.UploadLayerPart\r\nContent-Length: 29000000\r\n\r\n"+string(make([]byte, 200_000)), &cutCalls)
	})
	locations := make([]string, slowPushes)
	for i := range locations {
		var err error
		if locations[i], err = registry.StartUpload(t.Context(), "held"); err != nil {
			t.Fatal(err)
		}
	}
	var next atomic.Int64
	h.open(ctx, t, slowPushes, func(ctx context.Context, c net.Conn) {
		drip(ctx, c, fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n",
			locations[next.Add(1)-1], h.authorization), &cutPushes)
	})

	for n := range uint64(5) {
		registry.PushImage(t, "held", fmt.Sprintf("v%d", n), 100+n, 20<<20)
		registry.Verify(t, "held", fmt.Sprintf("v%d", n))
	}
	// Someone new is let in beside them.
	client := &http.Client{Timeout: generous, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: certificate.Pool}, DisableKeepAlives: true}}
	answer, err := client.Get(s.Endpoint + "/readyz")
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("a new client: %v", err)
	}
	_ = answer.Body.Close() // the status is all
	if n := cutPushes.Load(); n != 0 {
		t.Errorf("%d pushes that moved were cut", n)
	}
	eventually(t, "the slow headers are cut", func() (struct{}, error) {
		return struct{}{}, all("headers", cutHeaders.Load(), slowHeaders)
	})
	peak := s.PeakMemory(t)
	t.Logf("with %d slow ones, five pushes and five pulls of 20 MiB: %d MiB", slowHeaders+slowCalls+slowPushes, peak>>20)
	if peak > memoryBound {
		t.Errorf("the server took %d MiB, at most %d are allowed", peak>>20, memoryBound>>20)
	}
	// The calls have two minutes.
	for deadline := time.Now().Add(4 * time.Minute); all("calls", cutCalls.Load(), slowCalls) != nil; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(all("calls", cutCalls.Load(), slowCalls))
		}
	}
	registry.PushImage(t, "held", "after", 2, 1<<20)
	registry.Verify(t, "held", "after")
}

func all(what string, got, want int64) error {
	if got != want {
		return fmt.Errorf("%d of %d %s were cut", got, want, what)
	}
	return nil
}

// enoughFiles raises the limit on descriptors and returns how many idle
// connections it leaves room for; the server has the same limit.
func enoughFiles(t *testing.T) int {
	t.Helper()
	const others = 2_000 // the slow ones, and what both programs have open
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < idleConnections+others {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: idleConnections + others, Max: idleConnections + others}); err == nil {
			return idleConnections
		}
		if limit.Max < 2*others {
			t.Fatalf("the limit on open files is %d, which is too few to test anything; raise it with ulimit -n", limit.Max)
		}
		t.Logf("the limit on open files is %d and cannot be raised: %d idle connections in place of %d", limit.Max, limit.Max-others, idleConnections)
		return int(limit.Max) - others
	}
	return idleConnections
}

// holder opens connections and holds them.
type holder struct {
	address, authorization string
	config                 *tls.Config
	work                   sync.WaitGroup
}

// open opens n connections, returns when all are there, and leaves each to hold.
func (h *holder) open(ctx context.Context, t *testing.T, n int, hold func(context.Context, net.Conn)) {
	t.Helper()
	failed := make(chan error, n)
	slots := make(chan struct{}, 64)
	for range n {
		slots <- struct{}{}
		h.work.Go(func() {
			d := tls.Dialer{Config: h.config, NetDialer: &net.Dialer{Timeout: generous}}
			c, err := d.DialContext(ctx, "tcp", h.address)
			<-slots
			failed <- err
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }() // it has been held
			hold(ctx, c)
		})
	}
	for range n {
		if err := <-failed; err != nil {
			t.Fatalf("a connection is not taken: %v", err)
		}
	}
}

// drip sends the text at once and then a byte each second, until the server cuts
// the connection, which is counted, or ctx ends.
func drip(ctx context.Context, c net.Conn, text string, cut *atomic.Int64) {
	gone := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		_, _ = io.Copy(io.Discard, c) // ends when the server, or this end, closes
		close(gone)
	})
	defer reader.Wait()
	defer func() { _ = c.Close() }() // which ends the reader
	if _, err := c.Write([]byte(text)); err != nil {
		cut.Add(1)
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-gone:
			cut.Add(1)
			return
		case <-tick.C:
			if _, err := c.Write([]byte("x")); err != nil {
				cut.Add(1)
				return
			}
		}
	}
}
