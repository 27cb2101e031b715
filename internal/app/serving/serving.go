// Package serving makes the HTTP servers that the program listens with: how long they
// wait, and how much a client may have on the way.
//
// It does not listen, nor know what is served; package app does.
package serving

import (
	"context"
	"net"
	"net/http"
	"time"
)

// How many bytes an HTTP/2 client may have on the way, in one request and in all of a
// connection: it sends no more of them in the time that an answer takes to reach it.
// With Go's own 1 MiB for both, a push over 50 ms comes to 19 MiB a second, and with
// these to 74, and to 128 in four layers at once. So much is the most that waits in
// memory for a store that is slower than the network.
const (
	streamWindow     = 4 << 20
	connectionWindow = 8 << 20
)

// New returns a server that bounds what a client can hold open without sending
// anything. Bodies have no total limit in time; the routes bound them by progress.
// connContext is http.Server's.
func New(h http.Handler, connContext func(context.Context, net.Conn) context.Context) *http.Server {
	return &http.Server{
		Handler: h, ConnContext: connContext, ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		HTTP2: &http.HTTP2Config{
			// The least that RFC 9113 recommends; a docker push needs five.
			MaxConcurrentStreams:          100,
			MaxReceiveBufferPerConnection: connectionWindow, MaxReceiveBufferPerStream: streamWindow,
			// A connection whose other end is gone is found by asking it; one whose
			// client reads nothing is cut.
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: time.Minute,
		},
	}
}
