package serving_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/app/serving"
)

// TestWindows reads what the server tells an HTTP/2 client first: how much it may
// have on the way (RFC 9113, 6.5.2 and 6.9).
func TestWindows(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config = serving.New(nil, nil)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	const settings, windowUpdate, initialWindow = 4, 8, 4
	empty := []byte{0, 0, 0, settings, 0, 0, 0, 0, 0}
	if _, err := conn.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), empty...)); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	stream, connection := 0, 65_535
	for stream == 0 || connection == 65_535 {
		header := make([]byte, 9)
		if _, err := io.ReadFull(conn, header); err != nil {
			t.Fatalf("the windows so far are %d and %d: %v", stream, connection, err)
		}
		payload := make([]byte, int(header[0])<<16|int(header[1])<<8|int(header[2]))
		if _, err := io.ReadFull(conn, payload); err != nil {
			t.Fatal(err)
		}
		switch header[3] {
		case settings:
			for ; len(payload) >= 6; payload = payload[6:] {
				if binary.BigEndian.Uint16(payload) == initialWindow {
					stream = int(binary.BigEndian.Uint32(payload[2:]))
				}
			}
		case windowUpdate:
			connection += int(binary.BigEndian.Uint32(payload))
		}
	}
	if stream != 4<<20 || connection < 8<<20 {
		t.Errorf("a stream has %d bytes and a connection %d, want 4 MiB and 8 MiB", stream, connection)
	}
}
