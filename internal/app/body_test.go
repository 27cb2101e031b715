package app_test

import (
	"io"
	"strings"

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
