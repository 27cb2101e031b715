package harness

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestLink: what passes takes the line's time, and no more than that.
func TestLink(t *testing.T) {
	a, b := NewNamespace(t, true), NewNamespace(t, true)
	const rate, delay = 100_000_000, 25 * time.Millisecond
	l := NewLink(t, a, b, rate, delay)
	var listener net.Listener
	err := b.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(l.B.String(), "7000"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	var conn net.Conn
	began := time.Now()
	err = a.Do(func() (err error) {
		conn, err = net.Dial("tcp", net.JoinHostPort(l.B.String(), "7000"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("a handshake took %s over a line of %s each way", took, delay)
	}
	const size = 25 << 20
	go func() {
		_, _ = conn.Write(make([]byte, size)) // the reader counts
		_ = conn.Close()
	}()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	n, err := io.Copy(io.Discard, server)
	took := time.Since(began)
	if err != nil || n != size {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if least := time.Duration(size * 8 * int64(time.Second) / rate); took < least*9/10 {
		t.Errorf("%d bytes passed in %s, faster than the line's %s", n, took, least)
	}
	there, _ := l.Bytes()
	t.Logf("%d bytes in %s: %.1f Mbit/s, %d bytes of packets", n, took, float64(n)*8/took.Seconds()/1e6, there)
	_ = server.Close() // was read to its end
}
