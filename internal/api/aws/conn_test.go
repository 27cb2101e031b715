package aws_test

import (
	"io"
	"net"
	"strings"
	"testing"
)

// rawConn speaks to a server byte by byte, for requests that net/http's client
// does not send.
type rawConn struct {
	t *testing.T
	c *net.TCPConn
}

func dial(t *testing.T, url string) rawConn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return rawConn{t: t, c: c.(*net.TCPConn)}
}

func (r rawConn) write(s string) {
	r.t.Helper()
	if _, err := io.WriteString(r.c, s); err != nil {
		r.t.Fatal(err)
	}
}

func (r rawConn) closeWrite() {
	r.t.Helper()
	if err := r.c.CloseWrite(); err != nil {
		r.t.Fatal(err)
	}
}

func (r rawConn) readAll() string {
	r.t.Helper()
	b, err := io.ReadAll(r.c)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}
