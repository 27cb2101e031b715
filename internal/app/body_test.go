package app_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// newSlowBody is a request body that comes as it is fed; nil ends it.
func newSlowBody() (io.Reader, func([]byte)) {
	r, w := io.Pipe()
	return r, func(b []byte) {
		if b == nil {
			_ = w.Close() // a pipe's writer always closes
			return
		}
		_, _ = w.Write(b) // fails only when the request has ended, which the test sees
	}
}

// path is the path of a Location that may be absolute.
func path(location string) string {
	if i := strings.Index(location, "/v2/"); i > 0 {
		return location[i:]
	}
	return location
}

func digestOf(b []byte) string { return digest.FromBytes(b).String() }

// freeAddress is an address on 127.0.0.1 that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
